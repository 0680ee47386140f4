"""The same crops for paired inpainting: pixels, masks and rows come through, block by block."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.training import Plan
from attributome.inpainting import cells as inpainting_cells
from attributome.inpainting.cells import read_cells
from attributome.inpainting.fit import fit_inpainter
from attributome.inpainting.network import Inpainter
from attributome.inpainting.preprocess import Recipe, min_max
from attributome.profiles.bridge import as_cells
from attributome.profiles.features import extract
from attributome.profiles.formats import values
from attributome.profiles.neighbours import protocols
from attributome.profiles.single_cells import from_arrays

CHANNELS = ("actin", "DNA", "ER")
NAMES = {"targets": ["actin"], "markers": ["DNA"], "group": ["plate", "treatment"]}


def crops(n=12, size=(10, 13), *, flat=()):
    """Crops whose cell in the middle, n // 2 along each axis, is number 3."""
    random = np.random.default_rng(0)
    images = random.integers(1, 4000, (n, 3, *size)).astype(np.uint16)
    images[list(flat), 1] = 7
    labels = random.integers(0, 3, (n, *size)).astype(np.int32)
    labels[(slice(None), *[slice(s // 2 - 1, s // 2 + 1) for s in size])] = 3
    table = pd.DataFrame(
        {
            "id": [f"c{i}" for i in range(n)],
            "field": [f"f{i // 2}" for i in range(n)],
            "plate": [i % 2 for i in range(n)],
            "treatment": ["a" if i < n // 2 else "b" for i in range(n)],
        }
    )
    return from_arrays(table, images, labels, np.full(n, 3), CHANNELS, (0.5,) * len(size))


def test_pixels_masks_and_rows_come_through():
    given = crops()
    cells = as_cells(given, **NAMES, recipe="none")
    every = np.arange(12)
    # 10 x 13 becomes 8 x 12 about the pixel (5, 6), which is then (4, 6)
    np.testing.assert_array_equal(cells.crops, given.images(every)[:, :, 1:9, 0:12])
    np.testing.assert_array_equal(cells.masks, given.labels(every)[:, 1:9, 0:12] == 3)
    assert cells.masks[:, 3:5, 5:7].all()
    assert cells.masks.sum() == 12 * 4
    assert (cells.channels, cells.targets, cells.markers) == (CHANNELS, ("actin",), ("DNA",))
    assert cells.table["group"].tolist()[:2] == ["0/a", "1/a"]
    pd.testing.assert_frame_equal(cells.table.drop(columns="group"), given.table)
    assert cells.about["single_cells"] == {
        "from": [10, 13],
        "cut_to": [8, 12],
        "projection": None,
        "group": ["plate", "treatment"],
        "spacing": [0.5, 0.5],
    }


@pytest.mark.parametrize("odd", [8, 9, 10, 11])
def test_the_cell_stays_in_the_middle(odd):
    cells = as_cells(crops(4, (odd, 12)), **NAMES)
    assert cells.size == (8, 12)
    assert cells.masks[:, 3:5, 5:7].all()


def test_crops_are_scaled_by_the_recipe_and_what_is_constant_is_counted(monkeypatch):
    given = crops(flat=[2, 11])
    whole = as_cells(given, **NAMES)
    np.testing.assert_array_equal(whole.crops, min_max(given.images(np.arange(12))[..., 1:9, :12]))
    assert whole.about["prepared"]["recipe"] == "yeast"
    assert whole.about["prepared"]["constant"] == {"actin": 0, "DNA": 2, "ER": 0}
    monkeypatch.setattr(inpainting_cells, "BLOCK", 4 * 3 * 10 * 13 * 5)  # five cells at a time
    parts = as_cells(given, **NAMES)
    np.testing.assert_array_equal(parts.crops, whole.crops)
    np.testing.assert_array_equal(parts.masks, whole.masks)
    assert parts.about == whole.about
    pd.testing.assert_frame_equal(parts.table, whole.table)


def test_a_folder_holds_the_same(tmp_path):
    here = as_cells(crops(), **NAMES)
    there = as_cells(crops(), **NAMES, folder=tmp_path)
    assert isinstance(there.crops, np.memmap)
    again = read_cells(tmp_path)
    for cells in (there, again):
        np.testing.assert_array_equal(cells.crops, here.crops)
        np.testing.assert_array_equal(cells.masks, here.masks)
        pd.testing.assert_frame_equal(cells.table, here.table)
        assert cells.about == here.about


@pytest.mark.parametrize(("how", "over"), [("max", np.max), ("mean", np.mean)])
def test_volumes_are_projected(how, over):
    given = crops(5, (6, 8, 12))
    cells = as_cells(given, **NAMES, recipe="none", projection=how)
    x, labels = given.images(np.arange(5)), given.labels(np.arange(5))
    np.testing.assert_allclose(cells.crops, over(x.astype(np.float64), axis=2), rtol=1e-6)
    np.testing.assert_array_equal(cells.masks, (labels == 3).any(1))
    assert cells.about["single_cells"]["projection"] == how
    assert cells.about["single_cells"]["cut_to"] == [8, 12]


def test_a_recipe_that_shrinks_leaves_sides_that_an_inpainter_reads():
    cells = as_cells(crops(4, (19, 26)), **NAMES, recipe=Recipe(shrink=2))
    assert cells.about["single_cells"]["cut_to"] == [16, 24]
    assert cells.size == (8, 12)


def test_an_inpainter_learns_from_the_crops_and_gives_features(tmp_path):
    cells = as_cells(crops(), **NAMES, folder=tmp_path)
    net = Inpainter(1, 1, widths=(3, 3, 3, 3, 3), marker_width=2)
    ids = cells.table["id"].tolist()
    # fields are pairs of neighbours, of both plates, so that each group has cells in both parts
    parts = {"train": ids[:4] + ids[8:], "validate": ids[4:8]}
    with pytest.raises(DataError, match="pair"):
        fit_inpainter(net, cells, parts, plan=Plan(epochs=1), batch=4, compute=Compute())
    by_plate = as_cells(crops(), **NAMES | {"group": ["plate"]})
    story = fit_inpainter(net, by_plate, parts, plan=Plan(epochs=1), batch=4, compute=Compute())
    assert story.finished
    table = pd.concat(extract(net, by_plate, pools=("max", "masked_mean")), ignore_index=True)
    assert table["Metadata_id"].tolist() == ids
    assert np.isfinite(values(table)).all()
    groups = {name: by_plate.table[name].to_numpy() for name in ("field", "plate")}
    labels = by_plate.table["treatment"].to_numpy()
    found = protocols(values(table), labels, groups, k=3, draws=10).set_index("protocol")
    assert found.loc["leave plate out", "n"] == 12
    assert 0 <= found.loc["leave plate out", "balanced"] <= 1


@pytest.mark.parametrize(
    ("given", "change", "words"),
    [
        ({}, {"projection": "max"}, "nothing to project"),
        ({"size": (6, 8, 8)}, {}, "3-D"),
        ({"size": (3, 8)}, {}, "too small"),
        ({"size": (7, 8)}, {"recipe": Recipe(shrink=2)}, "too small"),
        ({}, {"recipe": "yest"}, "yeast"),
        ({}, {"group": ["drug"]}, "'drug'"),
        ({}, {"group": []}, "one or more"),
        ({}, {"group": "plate"}, "one or more"),
        ({}, {"targets": ["RNA"]}, "'RNA'"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, change, words):
    with pytest.raises(UsageError, match=words):
        as_cells(crops(4, **given), **NAMES | change)


def test_groups_must_be_said_and_be_one():
    some = crops(4)
    holes = some.table.assign(treatment=["a", None, "b", ""])
    args = (some.images(np.arange(4)), some.labels(np.arange(4)), some.owns, CHANNELS)
    with pytest.raises(DataError, match="2 cells have no plate or treatment, the first 'c1'"):
        as_cells(from_arrays(holes, *args), **NAMES)
    taken = from_arrays(some.table.assign(group=[*"abab"]), *args)
    with pytest.raises(UsageError, match="column 'group'"):
        as_cells(taken, **NAMES)
    kept = as_cells(taken, **NAMES | {"group": ["group"]})
    assert kept.table["group"].tolist() == [*"abab"]
