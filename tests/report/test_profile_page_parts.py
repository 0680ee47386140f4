import re

import numpy as np
import pandas as pd
import pytest
from profile_run import (
    CHANNELS,
    add_causes,
    add_evaluation,
    add_features,
    add_worst,
    changed,
    crops,
    looked,
    scores,
    section,
    text,
    whole,
)

from attributome.core.errors import DataError
from attributome.core.files import read_json, write_json, write_text
from attributome.report.profile import build_profile
from attributome.report.profile.plates import well_place
from attributome.report.profile.views import cuts, kinds, outline


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in which nothing is missing."""
    return whole(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="module")
def page(run):
    return text(run)


def test_columns_of_the_histogram_are_the_shares_of_cells(page, run):
    inside = page.split('<section id="where"')[1].split("</section>")[0]
    told = re.findall(r"<title>([0-9.]+) to ([0-9.]+): ([0-9.]+) % of cells</title>", inside)
    values = scores()["score_cell"].dropna().to_numpy()
    assert len(told) == 2 * 20  # a wide and a narrow drawing
    for low, high, share in told[:20]:
        last = float(high) == 1.0
        held = (values >= float(low)) & ((values < float(high)) | last)
        assert float(share) == pytest.approx(100 * held.mean(), abs=0.5)


def test_shares_by_treatment_are_means_over_its_cells(page):
    table = scores().dropna(subset=["score_cell"])
    means = table.groupby("treatment")["score_cell"].mean().sort_values()
    found = section(page, "where")
    assert f"{means.index[0]} {100 * means.iloc[0]:.0f} %" in found
    order = [found.index(f"{name} {100 * value:.0f} %") for name, value in means.items()]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("well", "place"),
    [("A01", (0, 0)), ("a1", (0, 0)), ("P24", (15, 23)), ("AF48", (31, 47)), ("B010", (1, 9)),
     ("A00", None), ("1A", None), ("well-3", None), ("", None)],
)  # fmt: skip
def test_a_well_has_its_place_on_the_plate(well, place):
    assert well_place(well) == place


def test_every_well_is_drawn_in_its_place_with_its_number(page, run):
    by = {(row["plate"], row["well"]): row for row in read_json(run.root / "camo.json")["by"]}
    inside = page.split('aria-label="Plate BR0118: median')[1].split("</svg>")[0]
    well = r"<title>([A-P]\d+), \w+: Grad-CAMO ([0-9.]+).*?</title>"
    told = re.findall(well + r'<rect fill="#[0-9a-f]{6}" x="(\d+)" y="(\d+)"', inside)
    assert len(told) == 60
    for well, value, x, y in told:
        row, column = ord(well[0]) - 65, int(well[1:]) - 1
        assert (int(x), int(y)) == (30 + 26 * column + 1, 22 + 26 * row + 1)
        assert float(value) == pytest.approx(by["BR0118", well]["median"], abs=0.005)
    assert inside.count('class="hole"') == 96 - 60


def test_a_larger_plate_and_a_well_without_maps(tmp_path):
    def change(found):
        found["by"][0].update(well="P24", median=None, cells=0)

    found = text(changed(looked(tmp_path), "camo", change))
    inside = found.split('aria-label="Plate BR0117: median')[1].split("</svg>")[0]
    assert inside.count("<rect") == 384
    assert inside.count('class="no"') == 1
    odd = changed(looked(tmp_path / "odd"), "camo", lambda c: c["by"][0].update(well="left"))
    assert "Not drawn: the wells are not named" in section(text(odd), "where")


def test_outlines_enclose_the_area_of_their_mask():
    y, x = np.mgrid[:40, :40] - 19.5
    mask = y**2 + x**2 < 12**2
    drawn = outline(mask, 1.0, 2.0)
    points = np.array([[float(v) for v in p.split()] for p in re.findall(r"[ML]([^MLz]+)", drawn)])
    a, b = points[:, 0], points[:, 1]
    area = abs(np.dot(a, np.roll(b, 1)) - np.dot(b, np.roll(a, 1))) / 2
    assert area == pytest.approx(2 * mask.sum(), rel=0.02)
    assert points.mean(0) == pytest.approx([40, 20], abs=0.7)  # twice as wide as high
    assert outline(np.zeros((5, 5), bool)) == ""


def test_cuts_of_a_volume_go_through_the_cell():
    labels = np.zeros((6, 8, 10), np.int32)
    labels[1:4, 2:5, 3:8] = 4
    labels[5, 7, 9] = labels[5, 3, 4] = 2  # one of them above the cell
    ways = cuts(labels == 4, (3.0, 1.0, 0.5))
    assert [(way.axis, way.at, way.steps) for way in ways] == [
        (0, None, (1.0, 0.5)), (0, 2, (1.0, 0.5)), (1, 3, (3.0, 0.5)), (2, 5, (3.0, 1.0))
    ]  # fmt: skip
    volume = np.arange(480).reshape(6, 8, 10)
    np.testing.assert_array_equal(ways[0].of(volume), volume.max(0))
    np.testing.assert_array_equal(ways[2].of(volume), volume[:, 3])
    flat = kinds(labels, 4, ways[0])
    assert flat[3, 4] == 1
    assert flat[7, 9] == 2
    assert (flat == 1).sum() == 15


def test_maps_have_one_scale_and_an_empty_one_is_not_drawn(page, run):
    found = section(page, "cells")
    tops = [float(m.max()) for name in ("worst", "best")
            for m in run.array("worst", name, "maps")[:6]]  # fmt: skip
    scale = np.median([top for top in tops if top > 0])
    assert f"to {scale:.3g} and more" in found
    assert found.count("No evidence:") == 1
    for top in tops:
        assert top == 0 or f"The map reaches {top:.3g}{', beyond' if top > scale else '.'}" in found
    assert "Not shown: AGP, Mito" in found
    assert "12 of 16 cells that were kept" in found
    inside = page.split('<section id="cells"')[1].split("</section>")[0]
    assert inside.count('class="own"') == 12 * 4 - 1  # three channels and the map, one is empty
    assert 0 < inside.count('class="other"') <= inside.count('class="own"')


def test_a_volume_is_shown_as_projection_and_three_slices_in_its_proportions(tmp_path):
    page = text(whole(tmp_path / "demo", dims=3))
    found = section(page, "cells")
    for name in ("DNA, z-projection", "map, z-projection", "map, slice z = ", "DNA, slice y = "):
        assert name in found
    # 12 planes of 1.5 µm beside 48 pixels of 0.5 µm
    assert 'viewBox="0 0 48 36"' in page


def test_large_crops_do_not_make_a_large_page(tmp_path):
    run = looked(tmp_path)
    draw = np.random.default_rng(0)
    arrays = {"images": draw.integers(0, 4000, (12, 5, 512, 512)).astype(np.uint16)}
    arrays["labels"] = np.ones((12, 512, 512), np.int32)
    arrays["maps"] = draw.random((12, 512, 512)).astype(np.float32)
    table = pd.DataFrame({"id": [f"c{n}" for n in range(12)], "own": 1, "score_cell": 0.1})
    for name in ("worst", "best"):
        note = {"channels": [*CHANNELS], "spacing": None}
        run.write("worst", name, arrays=arrays, tables={"cells": table}, note=note)
    assert build_profile(run).stat().st_size < 4_000_000


def test_features_are_counted_beside_chance(page, run):
    table = pd.read_parquet(run.root / "camo_features.parquet")
    above, below = (table["low"] > table["chance"]).sum(), (table["high"] < table["chance"]).sum()
    found = section(page, "features")
    assert f"{above} of 320 features ({100 * above / 320:.0f} %) look at the cell clearly" in found
    assert f"{below} clearly less, {317 - above - below} cannot be told apart" in found
    assert "and 3 have no map in any cell" in found
    lowest = table.sort_values("median").iloc[0]["feature"]
    assert found.index(lowest) < found.index("higher ones are in camo_features.parquet")


def _table(name, change):
    def made(run):
        path = run.root / name
        table = pd.read_parquet(path)
        change(table)
        table.to_parquet(path)

    return made


def _json(name, change):
    return lambda run: changed(run, name, change)


def _maps(value):
    def made(run):
        path = run.root / "parts" / "worst" / "worst" / "maps.npy"
        maps = np.load(path)
        maps[0, 0, 0] = value
        np.save(path, maps)

    return made


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_json("camo", lambda c: c.pop("excess_low")), "has no 'excess_low'"),
        (_json("camo", lambda c: c.update(median="high")), "median = 'high', which is no number"),
        (_json("camo", lambda c: c.update(grid="8x8")), "grid = '8x8', not a list"),
        (_json("camo", lambda c: c["flag"].pop("reasons")), "reasons = None, not a list"),
        (_json("camo", lambda c: c["by"][3].pop("well")), r"by\[3\] has no 'well'"),
        (_json("causes", lambda c: c.pop("flagged")), "has no 'flagged'"),
        (_json("causes", lambda c: c["tests"][0].pop("wells")), r"tests\[0\] has no 'wells'"),
        (_json("evaluation", lambda c: c.update(accuracy=[])), ""),
        (_json("evaluation", lambda c: c.update(accuracy=[1])), "'accuracy' is a list"),
        (_json("evaluation", lambda c: c["retrieval"][0].update(profiles="x")), "profiles 'x'"),
        (_json("evaluation", lambda c: c["batches"][1].pop("low")), r"batches\[1\] has no 'low'"),
        (_json("splits", lambda c: c.update(train="A01")), "'train' is a str"),
        (_table("camo.parquet", lambda t: t.drop(columns="well", inplace=True)), "column 'well'"),
        (_table("camo.parquet", lambda t: t.update({"score_cell": [3.0]})), "outside 0 to 1"),
        (_table("camo_features.parquet", lambda t: t.insert(0, "x", 1)), ""),
        (_table("umap.parquet", lambda t: t.drop(columns="camo", inplace=True)), "column 'camo'"),
        (_maps(np.nan), "not finite"),
        (_maps(-1.0), "below 0"),
        (lambda run: write_text(run.root / "remedies.json", "{"), "cannot read"),
        (lambda run: write_json(run.root / "remedies.json", 3), "not a list"),
    ],
)  # fmt: skip
def test_a_malformed_part_is_refused(tmp_path, spoil, told):
    run = looked(tmp_path)
    add_worst(run, scores(), count=2)
    add_features(run, count=4)
    add_causes(run)
    add_evaluation(run)
    pd.DataFrame({"id": ["a"], "treatment": ["b"], "plate": ["c"], "profiles": ["raw"], "x": [0.0],
                  "y": [1.0], "camo": [0.5]}).to_parquet(run.root / "umap.parquet")  # fmt: skip
    spoil(run)
    if told:
        with pytest.raises(DataError, match=told):
            build_profile(run)
    else:
        build_profile(run)


def test_pictures_that_do_not_belong_together_are_refused(tmp_path):
    arrays = crops(2)
    table = pd.DataFrame({"id": ["a", "b"], "own": [1, 9], "score_cell": [0.1, 0.2]})
    note = {"channels": [*CHANNELS], "spacing": None}
    for name, changes, told in (
        ("odd", {"labels": arrays["labels"][:, 1:]}, "do not belong together"),
        ("lost", {}, "has the label 9, which is not in its crop"),
    ):
        run = looked(tmp_path / name)
        run.write("worst", "worst", arrays=arrays | changes, tables={"cells": table}, note=note)
        with pytest.raises(DataError, match=told):
            build_profile(run)
