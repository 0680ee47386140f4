"""Regions are where they were drawn, erosion takes what it says, and correlations are by slice."""

import json

import numpy as np
import pytest
from scipy import ndimage

from attributome.core.errors import DataError, UsageError
from attributome.studies.regions import (
    Region,
    beyond,
    eroded,
    erosion_steps,
    history_entry,
    region_from,
    region_mask,
    restrict,
    slice_pcc,
)

LABELS = np.zeros((12, 14), int)
LABELS[2:6, 2:6], LABELS[7:11, 7:13] = 3, 7


def crossings(y, x, corners):
    """Whether a point is inside, by how often a ray to the right crosses an edge."""
    inside = False
    for (y0, x0), (y1, x1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


@pytest.mark.parametrize("shape", [(12, 14), (3, 12, 14)])
def test_regions_are_where_they_were_drawn_in_every_slice(shape):
    planes = {
        "full": np.ones((12, 14), bool),
        "rectangle:2,3,6,14": np.zeros((12, 14), bool),
        "pixel:11,0": np.zeros((12, 14), bool),
        "labels": LABELS > 0,
        "labels:7": LABELS == 7,
    }
    planes["rectangle:2,3,6,14"][2:6, 3:14] = True
    planes["pixel:11,0"][11, 0] = True
    for flag, plane in planes.items():
        found = region_mask(region_from(flag), shape, labels=LABELS)
        assert found.shape == shape
        assert (found == plane).all()


def test_a_polygon_holds_the_centres_inside():
    corners = [(1.5, 1.2), (10.3, 3.4), (6.2, 7.1), (9.6, 12.3), (2.4, 11.6)]
    told = "polygon:" + ";".join(f"{y},{x}" for y, x in corners)
    found = region_mask(region_from(told), (12, 14))
    expected = [[crossings(y, x, corners) for x in range(14)] for y in range(12)]
    np.testing.assert_array_equal(found, expected)


def test_labels_may_differ_from_slice_to_slice():
    stack = np.stack([LABELS, LABELS.T[:12, :12].repeat(2, 1)[:, :14]])
    found = region_mask(region_from("labels:3"), (2, 12, 14), labels=stack)
    assert (found == (stack == 3)).all()


def test_erosion_is_by_a_square_and_not_at_the_edge_of_the_field():
    mask = region_mask(Region(kind="rectangle", numbers=(0, 3, 8, 12), erosion=2), (2, 12, 14))
    expected = np.zeros((2, 12, 14), bool)
    expected[:, 0:6, 5:10] = True
    np.testing.assert_array_equal(mask, expected)
    whole = np.ones((5, 5), bool)
    assert eroded(whole, size=3, times=4).all()
    assert (eroded(mask, size=3, times=2) == eroded(mask, size=5)).all()


def test_steps_end_before_nothing_is_left():
    mask = np.zeros((40, 40), bool)
    mask[5:32, 5:32] = True
    steps = erosion_steps(mask, size=11, steps=5)
    assert [int(step.sum()) for step in steps] == [27**2, 17**2, 7**2]
    assert [int(step.sum()) for step in erosion_steps(mask, size=3, steps=1)] == [27**2, 25**2]


def test_what_lies_beyond_the_organelle():
    signature = np.zeros((2, 40, 40), bool)
    signature[:, 5:30, 5:30] = True
    signature[:, 15, 20] = False  # a gap that closing fills
    signature[:, 35:38, 35:38] = True  # an object of 18 voxels
    organelle = np.zeros_like(signature)
    organelle[:, 5:30, 5:12] = True
    found = beyond(signature, organelle, smallest=100, close=3, erode=7)
    expected = np.zeros_like(signature)
    expected[:, 8:27, 15:27] = True
    np.testing.assert_array_equal(found, expected)
    assert not (found & organelle).any()
    assert beyond(signature, organelle, smallest=1, close=3, erode=1)[:, 36, 36].all()
    thread = np.zeros_like(signature)
    thread[:, 5:30, 17] = True  # closing would fill it
    assert not (beyond(signature, thread, close=5, erode=1) & thread).any()
    sides = np.ones((1, 20, 20), bool)
    assert beyond(sides, np.zeros_like(sides), close=5).all()  # the edge of a field is no border


def test_a_mask_is_kept_inside_and_one_number_outside():
    mask = np.random.default_rng(0).random((12, 14)).astype(np.float32)
    where = region_mask(region_from("rectangle:2,3,6,9"), mask.shape)
    found = restrict(mask, where, outside=1.0)
    assert found.dtype == np.float32
    assert (found[where] == mask[where]).all()
    assert (found[~where] == 1).all()
    assert restrict(mask > 0.5, where, outside=0.5)[0, 0] == 0.5


def test_slices_correlate_alone_and_together():
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((2, 3, 12, 14))
    b[1] = 4.0
    where = region_mask(region_from("labels"), a.shape, labels=LABELS)
    weight = draw.integers(0, 3, a.shape).astype(float)
    found = slice_pcc(a, b, weight=weight, region=where)
    assert found["z"].tolist() == [0, 1, 2, -1]
    assert found["n"].tolist() == [40, 40, 40, 120]
    assert np.isnan(found["pcc"][1])
    inside = where[2]
    assert found["pcc"][2] == pytest.approx(np.corrcoef(a[2][inside], b[2][inside])[0, 1])
    assert found["pcc"][3] == pytest.approx(np.corrcoef(a[where], b[where])[0, 1])
    many = [np.repeat(v[2][inside], weight[2][inside].astype(int)) for v in (a, b)]
    assert found["weighted"][2] == pytest.approx(np.corrcoef(*many)[0, 1])
    assert found["weight"][3] == weight[where].sum()
    alone = slice_pcc(a[0], b[0])
    assert alone["pcc"].tolist() == pytest.approx(
        [np.corrcoef(a[0].ravel(), b[0].ravel())[0, 1]] * 2
    )
    ones = slice_pcc(a, b, weight=np.ones_like(a))
    np.testing.assert_allclose(ones["weighted"], ones["pcc"])


def test_weights_of_a_dilated_cell_are_its_own_in_every_slice():
    """The published dilation touched the first slice alone, and ones gave NaN."""
    stack = np.zeros((3, 20, 20), bool)
    stack[:, 8:12, 8:12] = True
    wide = ndimage.binary_dilation(stack, np.ones((1, 5, 5), bool))
    a, b = np.random.default_rng(0).standard_normal((2, 3, 20, 20))
    found = slice_pcc(a, b, weight=wide.astype(float))
    assert found["weight"].tolist() == [64, 64, 64, 192]
    assert found["weighted"].notna().all()


def test_history_can_be_written_and_read():
    region = Region(kind="polygon", numbers=(1.5, 1, 10, 3, 6, 12), erosion=1)
    mask = np.linspace(0, 1, 168).reshape(12, 14)
    where = region_mask(region, mask.shape)
    entry = history_entry(region, where, mask, threshold=0.4, field="f1", method="mask")
    again = json.loads(json.dumps(entry))
    assert region_from(again["region"]) == region
    assert again["voxels"] == where.sum()
    assert again["kept"] == pytest.approx((mask[where] > 0.4).mean())
    assert again["mean"] == pytest.approx(mask[where].mean())
    assert again["field"] == "f1"


@pytest.mark.parametrize(
    ("flag", "error", "words"),
    [
        ("circle:3,3,2", UsageError, "no region 'circle'; there are full"),
        ("rectangle:1,2,3", UsageError, "write rectangle:y0,x0,y1,x1"),
        ("polygon:1,2,3,4", UsageError, "polygon came with 4 numbers"),
        ("pixel:1", UsageError, "pixel came with 1 numbers"),
        ("pixel:1.5,2", UsageError, "are whole"),
        ("pixel:one,two", UsageError, "'one' in the region"),
        ("full:1", UsageError, "full came with 1 numbers"),
        ("pixel:12,0", UsageError, "reaches out of a field of 12 × 14 pixels"),
        ("rectangle:-1,0,4,4", UsageError, "reaches out"),
        ("rectangle:0,0,4,15", UsageError, "reaches out"),
        ("rectangle:6,6,4,9", DataError, "holds no pixel"),
        ("labels:4", DataError, "no cell 4"),
        ("labels:0", DataError, "no cell 0"),
    ],
)
def test_a_region_that_cannot_be_meant_is_refused(flag, error, words):
    with pytest.raises(error, match=words):
        region_mask(region_from(flag), (12, 14), labels=LABELS)


def test_pieces_that_do_not_fit_are_refused():
    plane = np.zeros((12, 14))
    with pytest.raises(UsageError, match="needs a label image"):
        region_mask(region_from("labels"), (12, 14))
    with pytest.raises(DataError, match="do not lie on a field"):
        region_mask(region_from("labels"), (12, 13), labels=LABELS)
    with pytest.raises(DataError, match="neither a plane"):
        region_mask(region_from("full"), (2, 2, 12, 14))
    with pytest.raises(DataError, match="holds no pixel"):
        region_mask(Region(kind="pixel", numbers=(5, 5), erosion=1), (12, 14))
    with pytest.raises(UsageError, match="erosion of -1"):
        Region(kind="full", erosion=-1)
    with pytest.raises(UsageError, match="has no middle"):
        eroded(plane > 1, size=4)
    with pytest.raises(UsageError, match="-1 erosions"):
        eroded(plane > 1, size=3, times=-1)
    with pytest.raises(UsageError, match="-1 steps"):
        erosion_steps(plane > 1, steps=-1)
    with pytest.raises(DataError, match="came with a region"):
        restrict(plane, np.ones((12, 13), bool), outside=0.0)
    with pytest.raises(UsageError, match="no value of a mask"):
        restrict(plane, plane > 1, outside=2.0)
    with pytest.raises(DataError, match="one grid"):
        slice_pcc(plane, plane[1:])
    with pytest.raises(DataError, match="came with a region"):
        history_entry(region_from("full"), np.ones((2, 2), bool), plane, threshold=0.5)
    with pytest.raises(UsageError, match="'kept' is told"):
        history_entry(region_from("full"), plane > -1, plane, threshold=0.5, kept=1)
    with pytest.raises(DataError, match="'erosion' is amiss"):
        region_from({"kind": "full", "numbers": []})
