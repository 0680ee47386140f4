"""Boxes around cells in 2-D and 3-D, by slow loops and by hand."""

import numpy as np
import pytest

from attributome.core.cropping import box, corrected, cut_boxes
from attributome.core.errors import DataError, UsageError


@pytest.fixture
def scene(random, dims):
    """Four cells, among them one at an edge, one beside another and one in two pieces."""
    shape = (20, 24) if dims == 2 else (12, 20, 24)
    image = random.integers(5, 60000, (2, *shape)).astype(np.uint16)
    labels = np.zeros(shape, np.int64)
    rest = (slice(4, 9),) * (dims - 2)
    labels[*rest, 8:12, 9:14] = 7
    labels[*rest, 12:15, 8:10] = 2
    labels[*(slice(0, 3),) * (dims - 2), 0:2, 20:23] = 300000
    labels[*rest, 3:5, 4:6] = labels[*rest, 16:17, 15:18] = 11
    return image, labels


def loops(image, labels, label, size):
    """One box, voxel by voxel; outside the field the least value of a channel, and label 0."""
    at = np.argwhere(labels == label)
    start = [int(sum(c) / len(c)) - length // 2 for c, length in zip(at.T, size, strict=True)]
    crop = np.zeros((len(image), *size), image.dtype)
    seen = np.zeros(size, np.int32)
    leaves = False
    for index in np.ndindex(*size):
        there = tuple(s + i for s, i in zip(start, index, strict=True))
        if all(0 <= t < end for t, end in zip(there, labels.shape, strict=True)):
            crop[:, *index] = image[:, *there]
            seen[index] = labels[there]
        else:
            leaves = True
            crop[:, *index] = [channel.min() for channel in image]
    return crop, seen, leaves, at


@pytest.mark.parametrize("border", ["drop", "pad"])
@pytest.mark.parametrize("length", [1, 4, 7, 30])
def test_boxes_by_loops(scene, dims, border, length):
    image, labels = scene
    size = (length, length + 1) if dims == 2 else (min(length, 5), length, length + 1)
    boxes = cut_boxes(image, labels, size=size, border=border)
    kept, dropped = [], []
    for label in (2, 7, 11, 300000):
        crop, seen, leaves, at = loops(image, labels, label, size)
        if leaves and border == "drop":
            dropped.append(label)
            continue
        row = len(kept)
        kept.append(label)
        np.testing.assert_array_equal(boxes.crops[row], crop)
        np.testing.assert_array_equal(boxes.labels[row], seen)
        np.testing.assert_allclose(boxes.centres[row], at.mean(0), rtol=1e-14)
        assert boxes.volumes[row] == len(at)
        assert boxes.inside[row] == (seen == label).sum() / len(at)
        assert boxes.neighbours()[row] == sorted({*seen.ravel().tolist()} - {0, label})
    assert boxes.own.tolist() == kept
    assert boxes.dropped.tolist() == dropped
    assert boxes.at_edge.tolist() == [label == 300000 for label in kept]
    assert boxes.crops.shape == (len(kept), 2, *size)
    assert len(boxes) == len(kept)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32, np.float64])
def test_crops_keep_their_type(dims, dtype, random):
    image = (random.random((1, *[9] * dims)) * 7).astype(dtype)
    labels = np.zeros([9] * dims, np.uint8)
    labels[*[4] * dims] = 255
    boxes = cut_boxes(image, labels, size=(3,) * dims)
    assert boxes.crops.dtype == dtype
    assert boxes.labels.dtype == boxes.own.dtype == np.int32
    np.testing.assert_array_equal(boxes.crops[0], image[:, *[slice(3, 6)] * dims])


def test_the_box_of_a_cell_does_not_depend_on_the_others(scene, dims):
    image, labels = scene
    size = (4,) * dims
    together = cut_boxes(image, labels, size=size, border="pad")
    for row, label in enumerate(together.own):
        alone = cut_boxes(image, np.where(labels == label, labels, 0), size=size, border="pad")
        np.testing.assert_array_equal(alone.crops[0], together.crops[row])
        mine = np.where(together.labels[row] == label, label, 0)
        np.testing.assert_array_equal(alone.labels[0], mine)


def test_every_face_is_an_edge(dims):
    for axis in range(dims):
        for at, wanted in ((0, True), (1, False), (7, False), (8, True)):
            labels = np.zeros([9] * dims, np.int32)
            labels[tuple(at if i == axis else 4 for i in range(dims))] = 1
            boxes = cut_boxes(labels[None], labels, size=(1,) * dims)
            assert boxes.at_edge.tolist() == [wanted]


def test_a_field_without_cells(dims):
    empty = np.zeros([8] * dims, np.int32)
    boxes = cut_boxes(np.ones((3, *[8] * dims), np.uint8), empty, size=(4,) * dims)
    assert boxes.crops.shape == (0, 3, *[4] * dims)
    assert (len(boxes), len(boxes.dropped), boxes.neighbours()) == (0, 0, [])


def test_boxes_in_micrometres():
    assert box(20.0, (2.0, 0.5, 0.5)) == (10, 40, 40)
    assert box((9, 20, 10.1), (2.0, 0.5, 0.5)) == (5, 40, 20)  # 4.5 slices are rounded up
    assert box(10, (0.3, 0.3)) == (33, 33)
    for size, spacing in [((5, 5), (1, 1, 1)), (0, (1, 1)), (5, (1, -1)), (float("nan"), (1, 1))]:
        with pytest.raises(UsageError, match="cannot be meant"):
            box(size, spacing)
    with pytest.raises(UsageError, match="is 0 x 10 voxels"):
        box(1.0, (2.1, 0.1))


def test_illumination_is_divided_out(dims, random):
    truth = random.random((2, *[6] * dims)) + 1
    light = random.random((2, *[6] * dims)) + 0.5
    np.testing.assert_allclose(corrected(truth * light, light), truth, rtol=1e-6)
    counts = (truth * 1000).astype(np.uint16)
    np.testing.assert_allclose(corrected(counts, light), counts / light, rtol=1e-6)
    if dims == 3:  # one function for all slices
        even = corrected(truth * light[:, :1], light[:, 0])
        np.testing.assert_allclose(even, truth, rtol=1e-6)


def test_illumination_that_cannot_be_used(random):
    image = random.random((2, 6, 7))
    for shape in [(6, 7), (1, 6, 7), (2, 7, 6)]:
        with pytest.raises(DataError, match="does not fit an image"):
            corrected(image, np.ones(shape))
    for value in (0.0, -1.0, np.nan, np.inf):
        light = np.ones((2, 6, 7))
        light[0, :2, 0] = value
        with pytest.raises(DataError, match="2 pixels of an illumination are 0"):
            corrected(image, light)
    with pytest.raises(DataError, match="1 pixels are NaN"):
        corrected(np.where(np.arange(84).reshape(2, 6, 7) == 3, np.nan, image), np.ones((2, 6, 7)))


def test_what_cannot_be_cut(scene, dims):
    image, labels = scene
    good = (4,) * dims
    with pytest.raises(UsageError, match="does not fit labels"):
        cut_boxes(image, labels, size=(4,) * (dims - 1))
    with pytest.raises(UsageError, match="pixels are none"):
        cut_boxes(image, labels, size=(*good[1:], 0))
    with pytest.raises(DataError, match="do not fit an image"):
        cut_boxes(image, labels[..., 1:], size=good)
    with pytest.raises(DataError, match="negative"):
        cut_boxes(image, -labels, size=good)
    with pytest.raises(DataError, match="does not fit 32 bits"):
        cut_boxes(image, labels << 30, size=good)
    with pytest.raises(DataError, match="real numbers"):
        cut_boxes(image.astype(complex), labels, size=good)
    bad = image.astype(np.float32)
    bad[0, *[0] * dims] = np.inf
    with pytest.raises(DataError, match="1 pixels are NaN or infinite"):
        cut_boxes(bad, labels, size=good)
