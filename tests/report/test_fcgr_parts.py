import base64

import numpy as np
import pandas as pd
import pytest
from fcgr_runs import whole
from scipy.stats import spearmanr

from attributome.report.fcgr import explorer
from attributome.report.fcgr.agreement import matrix, ranks, standing
from attributome.report.fcgr.facts import read
from attributome.report.fcgr.logos import information, logo, stacked
from attributome.report.fcgr.page import embedded
from attributome.report.fcgr.profile import banded, in_seed_frame, partner_of_2
from attributome.sequence.alphabet import reverse_complement
from attributome.sequence.regions import seed_match


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    return read(whole(tmp_path_factory.mktemp("runs") / "demo"))


@pytest.mark.parametrize(
    "values",
    [
        np.array([0.123456, -7.65432, 0.0, np.nan]),
        np.array([1e-9, -2e-9]),
        np.array([0.99951, 1.0004]),
        np.zeros(3),
        np.array([np.nan, np.nan]),
    ],
)
def test_packed_numbers_come_back_to_three_digits_of_the_largest(values):
    pack = explorer.packed(values)
    steps = np.array([np.nan if step is None else step for step in pack["q"]], float)
    again = steps / explorer.STEPS * pack["s"]
    assert np.array_equal(np.isnan(again), np.isnan(values))
    assert np.nanmax(np.abs(steps), initial=0) <= explorer.STEPS
    np.testing.assert_allclose(again, values, atol=pack["s"] / explorer.STEPS / 1.9, rtol=0)


@pytest.mark.parametrize(
    ("full", "dense", "keys"),
    [(0.9, True, {"s", "d"}), (0.1, True, {"s", "i", "q"}), (0.9, False, {"s", "cut", "i", "q"})],
)
def test_a_map_comes_back_whole_where_there_is_room(full, dense, keys):
    draw = np.random.default_rng(0)
    values = draw.normal(size=256) * (draw.random(256) < full)
    pack = explorer._map(values, 22, dense)
    assert set(pack) == keys
    again = np.zeros(256)
    if "d" in pack:
        again = np.frombuffer(base64.b64decode(pack["d"]), np.int8) / 127 * pack["s"]
    else:
        again[pack["i"]] = np.array(pack["q"]) / 127 * pack["s"]
    kept = again != 0 if "cut" in pack else np.ones(256, bool)
    np.testing.assert_allclose(again[kept], values[kept], atol=pack["s"] / 127 / 1.9, rtol=0)
    if "cut" in pack:
        assert len(pack["i"]) == 22
        assert np.abs(values[pack["i"]]).min() >= np.abs(np.delete(values, pack["i"])).max()


def test_the_pairs_are_chosen_evenly_and_those_with_interactions_first(facts):
    found = explorer.chosen(facts, 40)
    assert len(found) == 40
    sizes = pd.Series(explorer.outcomes(facts.explained)).value_counts()
    got = found["outcome"].value_counts()
    small = sizes.index[sizes <= 10]
    assert (got[small] == sizes[small]).all()  # a rare outcome is there whole
    rest = got.drop(small)
    assert rest.max() - rest.min() <= 1
    with_maps = set(explorer.with_epistasis(facts, "pairs-000000"))
    assert with_maps <= set(found["id"])
    assert explorer.chosen(facts, 1000)["id"].tolist() == facts.explained["id"].tolist()


def test_rows_of_the_arrays_stay_with_their_pairs(facts):
    data = explorer.payload(facts, explorer.chosen(facts, 30))
    assert data["methods"][0]["key"] == facts.default
    for pair in data["pairs"]:
        row = facts.explained.set_index("id").loc[pair["id"]]
        stored = facts.stored(row["unit"], "track_mutagenesis_site")[row["row"]]
        pack = pair["tracks"]["mutagenesis"]["site"]
        again = np.array(pack["q"], float) / explorer.STEPS * pack["s"]
        np.testing.assert_allclose(again, stored[: len(row["site"])], atol=pack["s"] / 999)
        assert pair["kind"] == seed_match(row["mirna"], row["site"]).kind
        for i, j in pair["duplex"]:
            assert 0 <= i < len(row["mirna"])
            assert 0 <= j < len(row["site"])


def test_json_in_a_script_element_cannot_end_it():
    text = embedded({"a": "</script>\u2028&<!--", "b": [1.5, None]})
    assert not set(str(text)) & set("<>&\u2028")


def test_json_refuses_what_is_no_number():
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded({"a": float("nan")})


def test_ranks_within_tracks_give_spearman():
    draw = np.random.default_rng(1)
    a, b = (np.round(draw.normal(size=(6, 12)), 1) for _ in range(2))
    a[1, 9:] = b[1, 9:] = np.nan  # a shorter sequence
    a[2] = 0.5  # constant: undefined
    found = (standing(a) * standing(b)).sum(1)
    for row in (0, 1, 3, 4, 5):
        there = np.isfinite(a[row])
        assert found[row] == pytest.approx(spearmanr(a[row, there], b[row, there]).statistic)
    assert np.isnan(found[2])


def test_the_matrix_of_methods_agrees_with_a_loop(facts):
    table = matrix(facts)
    i, j = facts.methods.index("integrated_gradients"), facts.methods.index("saliency")
    a, b = (facts.tracks(name, "site") for name in ("integrated_gradients", "saliency"))
    each = [spearmanr(x, y, nan_policy="omit").statistic for x, y in zip(a, b, strict=True)]
    assert table["rows"][i][1][j]["text"] == f"{np.median(each):.2f}"
    assert table["rows"][i][1][i] is None


def test_a_rank_is_a_mean_over_pairs_with_an_interval_over_mirnas(facts):
    found = {(r.method, r.branch): r for r in ranks(facts)}
    rows = facts.scores[
        (facts.scores["method"] == "saliency") & (facts.scores["branch"] == "mirna")
    ]
    rank = found["saliency", "mirna"]
    assert rank.mean == pytest.approx(rows["rank_mutagenesis"].mean())
    assert rank.low < rank.mean < rank.high
    assert (rank.n, rank.groups) == (len(rows), facts.explained["mirna"].nunique())
    assert ("mutagenesis", "site") not in found


def test_the_seed_frame_puts_partners_opposite():
    mirna = "TGAGGTAGTAGGTTGTATAGTT"
    rows = []
    for kind, word, ahead in (
        ("8mer", reverse_complement(mirna[1:8]) + "A", 10),
        ("7mer-m8", reverse_complement(mirna[1:8]) + "C", 3),
        ("7mer-A1", "G" + reverse_complement(mirna[1:7]) + "A", 20),
        ("6mer", "G" + reverse_complement(mirna[1:7]) + "C", 0),
    ):
        site = ("C" * ahead + word).ljust(40, "C")
        match = seed_match(mirna, site)
        assert match.kind == kind
        rows.append({"seed_kind": kind, "seed_stop": match.stop, "site": site})
    pairs = pd.DataFrame(rows)
    codes = np.array([["ACGT".index(letter) for letter in site] for site in pairs["site"]], float)
    framed = in_seed_frame(codes, partner_of_2(pairs))
    for nt in range(2, 8):  # place nt holds the complement of nt, whatever the kind of match
        assert set(framed[:, nt + 5]) == {"TGCA".index(mirna[nt - 1])}
    assert np.isnan(framed[0, 0:2]).all() == (partner_of_2(pairs)[0] + 7 >= 40)


def test_a_band_leaves_out_places_that_few_mirnas_have():
    values = np.arange(24.0).reshape(8, 3)
    values[2:, 2] = np.nan
    groups = np.repeat(["a", "b", "c", "d"], 2)
    band = banded(values, groups)
    np.testing.assert_allclose(band.mean[:2], values[:, :2].mean(0))
    assert np.isnan([band.mean[2], band.low[2], band.high[2]]).all()
    assert (band.low[:2] < band.mean[:2]).all()
    assert band.groups == 4


def test_letters_of_a_logo_stack_to_their_information():
    sharp, even = [1.0, 0.0, 0.0, 0.0], [0.25] * 4
    assert information([sharp, even, [0.5, 0.5, 0, 0]]) == [
        [2.0, 0.0, 0.0, 0.0],
        [0.0] * 4,
        [0.5, 0.5, 0.0, 0.0],
    ]
    heights = [[0.3, -0.2, -0.4, 0.1], [0.0, 0.2, 0.0, 0.0]]
    assert stacked(heights) == pytest.approx(0.6)
    drawn = logo(heights, unit="evidence", top=0.6, alt="<b>")
    assert drawn.count('class="letter') == 5
    assert "&lt;b&gt;" in drawn
