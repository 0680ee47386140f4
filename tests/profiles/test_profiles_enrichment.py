"""Chances are those of counting every way to draw; a planted set is found and noise is not."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import fisher_exact

from attributome.core.errors import DataError, UsageError
from attributome.profiles.proteins.enrichment import enrich, read_sets


def counted(population, members, drawn, hits):
    """The share of all ways to draw so many labels that hold so many members or more."""
    ways = [len(members & {*some}) >= hits for some in combinations(population, drawn)]
    return np.mean(ways)


def adjusted(p):
    """Benjamini and Hochberg's q, test by test."""
    order = np.argsort(p)
    q = [min(p[j] * len(p) / (rank + 1) for rank, j in enumerate(order) if rank >= r)
         for r in range(len(p))]  # fmt: skip
    out = np.empty(len(p))
    out[order] = np.minimum(q, 1)
    return out


CLUSTERS = {f"P{i}": 1 + (i >= 4) + (i >= 7) for i in range(11)}
SETS = {
    "first": ["P0", "P1", "P2", "P2", "Q"],
    "mixed": ["P3", "P5", "P8", "P9"],
    "last": ["P7", "P8", "P9", "P10"],
    "tiny": ["P0", "P6"],
    "foreign": ["Q", "R", "S"],
}


@pytest.mark.parametrize("background", ["annotated", "clustered"])
def test_every_chance_is_that_of_counting_all_draws(background):
    found = enrich(CLUSTERS, SETS, smallest=3, background=background)
    pool = {*CLUSTERS} - ({"P4"} if background == "annotated" else set())
    assert {*found["set"]} == {"first", "mixed", "last"}
    assert len(found) == 9
    assert (found["background"] == len(pool)).all()
    for row in found.itertuples():
        members = pool.intersection(SETS[row.set])
        cluster = {label for label in pool if CLUSTERS[label] == row.cluster}
        assert row.size == len(members)
        assert row.drawn == len(cluster)
        assert row.hits == len(members & cluster)
        assert row.p == pytest.approx(counted(sorted(pool), members, len(cluster), row.hits))
        table = [[len(members & cluster), len(members - cluster)],
                 [len(cluster - members), len(pool - members - cluster)]]  # fmt: skip
        odds, p = fisher_exact(table, "greater")
        assert row.p == pytest.approx(p)
        np.testing.assert_allclose(row.odds, odds)
    np.testing.assert_allclose(found["q"], adjusted(found["p"].to_numpy()))
    assert found["p"].is_monotonic_increasing
    assert found["set"][0] == "last"


def test_a_planted_set_is_found_among_hundreds_and_shuffled_clusters_find_nothing():
    draw = np.random.default_rng(0)
    labels = [f"P{i}" for i in range(400)]
    clusters = {label: 1 + i // 40 for i, label in enumerate(labels)}
    sets = {f"noise {i}": [*draw.choice(labels, 20, replace=False)] for i in range(200)}
    sets["planted"] = labels[80:92] + labels[200:206]
    found = enrich(clusters, sets)
    assert found["set"][0] == "planted"
    assert found["cluster"][0] == 3
    assert found["q"][0] < 1e-5
    assert (found["q"] < 0.05).sum() == 1
    mixed = dict(zip(labels, draw.permutation([*clusters.values()]).tolist(), strict=True))
    assert (enrich(mixed, sets)["q"] < 0.05).sum() == 0


def test_files_of_both_kinds_say_the_same(tmp_path):
    gmt, table = tmp_path / "go.gmt", tmp_path / "go.csv"
    gmt.write_text("nucleus\thttp://x\tA\tB\tA\t\n\nvacuole\t\tB\tC\n")
    table.write_text("\ufeffmember,set\nA,nucleus\nB,nucleus\nB,vacuole\nA,nucleus\nC,vacuole\n")
    wanted = {"nucleus": ["A", "B"], "vacuole": ["B", "C"]}
    assert read_sets(gmt) == wanted
    assert read_sets(table) == wanted


@pytest.mark.parametrize(
    ("name", "text", "error", "words"),
    [
        ("a.txt", "x", UsageError, "give a .gmt or a .csv"),
        ("a.gmt", "", DataError, "no sets"),
        ("a.gmt", "nucleus\tabout\n", DataError, "line 1 .* has no members"),
        ("a.gmt", "n\t\tA\nn\t\tB\n", DataError, "line 2 .* 'n' a second time"),
        ("a.csv", "set,protein\n", DataError, "no column 'member'; it has set, protein"),
        ("a.csv", "set,member\nnucleus\n", DataError, "row 1 .* has no member"),
        ("a.csv", "set,member\n,A\n", DataError, "row 1 .* has no set"),
    ],
)
def test_files_that_hold_no_sets_are_refused(tmp_path, name, text, error, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=words):
        read_sets(tmp_path / name)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        read_sets(tmp_path / "a.gmt")
    (tmp_path / "a.gmt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read"):
        read_sets(tmp_path / "a.gmt")


@pytest.mark.parametrize(
    ("clusters", "sets", "options", "error", "words"),
    [
        (CLUSTERS, {"s": ["Q", "R"]}, {}, DataError, "such as 'P0'.*such as 'Q'"),
        (CLUSTERS, {}, {}, DataError, "in any of the 0 sets"),
        (CLUSTERS, {"s": ["P1", "P2"]}, {}, DataError, "the largest of 1 has 2"),
        (dict.fromkeys(CLUSTERS, 1), SETS, {}, DataError, "in 1 cluster"),
        (CLUSTERS, SETS, {"smallest": 0}, UsageError, "sets of 0 to 500"),
    ],
)
def test_what_cannot_be_tested_is_refused(clusters, sets, options, error, words):
    with pytest.raises(error, match=words):
        enrich(clusters, sets, **options)
