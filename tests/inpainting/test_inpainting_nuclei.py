"""Rendered discs are found, each once; the published steps are those of scikit-image."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import filters, measure, morphology, segmentation

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.nuclei import otsu_threshold, segment_nuclei


def discs(centers, radius=14, size=(160, 200), light=1.0):
    y, x = np.mgrid[: size[0], : size[1]]
    made = np.zeros(size)
    for a, b in centers:
        made[(y - a) ** 2 + (x - b) ** 2 <= radius**2] = light
    return made


APART = [(30, 40), (30, 120), (80, 60), (90, 150), (130, 40)]


def centers_of(labels):
    ids = range(1, labels.max() + 1)
    return np.array(ndimage.center_of_mass(labels > 0, labels, ids))


@pytest.mark.parametrize("split", [False, True])
def test_discs_are_found_in_reading_order_and_none_is_lost(random, split):
    plane = discs(APART) + 0.1 * random.random((160, 200))
    labels = segment_nuclei(plane, sigma=2.0, split=split)
    assert labels.dtype == np.int32
    assert np.unique(labels).tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(centers_of(labels), APART, atol=0.5)
    truth = discs(APART) > 0
    both, either = ((labels > 0) & truth).sum(), ((labels > 0) | truth).sum()
    assert both / either > 0.9


@pytest.mark.parametrize("gap", [18, 22, 26])
@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2])
def test_touching_nuclei_are_split_in_the_middle(gap, angle):
    step = gap / 2 * np.array([np.sin(angle), np.cos(angle)])
    centers = np.array([80, 100]) + np.array([step, -step])
    plane = discs(centers)
    whole = segment_nuclei(plane, sigma=1.0, split=False)
    assert whole.max() == 1
    labels = segment_nuclei(plane, sigma=1.0)
    assert labels.max() == 2
    np.testing.assert_array_equal(labels > 0, whole > 0)
    sizes = np.bincount(labels.ravel())[1:]
    assert min(sizes) > 0.9 * max(sizes)
    y, x = np.nonzero(labels)
    near = np.hypot(y[:, None] - centers[:, 0], x[:, None] - centers[:, 1]).argmin(1)
    own = labels[y, x] - 1
    assert max((near == own).mean(), (near != own).mean()) > 0.95


def test_how_deep_a_waist_has_to_be():
    """Discs of radius 14 whose centres are 22 apart: the waist is 8.7 deep, the discs 14."""
    plane = discs([(80, 89), (80, 111)])
    counts = [segment_nuclei(plane, sigma=0.0, neck=neck).max() for neck in (1.5, 4.0, 7.0, 20.0)]
    assert counts == [2, 2, 1, 1]
    one = discs([(80, 100)], radius=30)
    assert segment_nuclei(one, sigma=0.0).max() == 1
    y, x = np.mgrid[:160, :200]
    oval = ((y - 80) / 15) ** 2 + ((x - 100) / 40) ** 2 <= 1.0
    assert segment_nuclei(oval.astype(float), sigma=0.0).max() == 1


def published(plane):
    """The steps as they were published, by scikit-image, with the last label kept."""
    mask = ndimage.gaussian_filter(plane, 5, mode="nearest") > filters.threshold_otsu(plane)
    mask = morphology.remove_small_holes(mask, max_size=299)
    labels = segmentation.clear_border(measure.label(mask))
    sizes = np.bincount(labels.ravel())
    return measure.label(np.where(sizes[labels] > 100, labels, 0) > 0)


@pytest.mark.parametrize("seed", range(4))
def test_the_published_steps(seed):
    draw = np.random.default_rng(seed)
    centers = draw.uniform(0, (160, 200), (14, 2))
    plane = np.maximum(discs(centers, radius=11), discs(centers[:3], radius=7, light=1.5))
    plane = ndimage.gaussian_filter(plane, 1) + 0.1 * draw.random(plane.shape)
    plane[60:64, 60:64] = 0  # a hole
    labels = segment_nuclei(plane, otsu="raw", split=False)
    wanted = published(plane)
    np.testing.assert_array_equal(labels > 0, wanted > 0)
    assert labels.max() == wanted.max() > 2
    # in reading order both; a piece is the same piece
    np.testing.assert_array_equal(labels, wanted)


@pytest.mark.parametrize("seed", range(3))
def test_otsus_threshold(seed):
    draw = np.random.default_rng(seed)
    values = np.concatenate([draw.normal(0, 1, 900), draw.normal(5, 2, 300)]).reshape(30, 40)
    assert otsu_threshold(values) == pytest.approx(filters.threshold_otsu(values), rel=1e-12)
    assert otsu_threshold(np.float32([0, 0, 1])) == pytest.approx(0.5, abs=0.5)


def test_the_smoothed_threshold_finds_what_is_dim():
    plane = discs([(40, 50)], radius=8) + discs([(100, 120)], radius=8)
    kwargs = {"split": False, "smallest": 0}
    raw, smoothed = (segment_nuclei(plane, otsu=o, **kwargs) for o in ("raw", "smoothed"))
    assert raw.max() == smoothed.max() == 2
    fixed = segment_nuclei(plane, threshold=0.3, **kwargs)
    np.testing.assert_array_equal(
        fixed > 0, ndimage.gaussian_filter(plane, 5, mode="nearest") > 0.3
    )


def test_holes_sizes_and_borders():
    ring = discs([(80, 100)], radius=20)
    ring[75:85, 95:105] = 0  # 100 pixels
    area = int(ring.sum())
    options = {"sigma": 0.0, "split": False}
    assert (segment_nuclei(ring, holes=101, **options) > 0).sum() == area + 100
    assert (segment_nuclei(ring, holes=100, **options) > 0).sum() == area
    assert segment_nuclei(ring, holes=0, smallest=area - 1, **options).max() == 1
    assert segment_nuclei(ring, holes=0, smallest=area, **options).max() == 0
    assert segment_nuclei(ring, holes=0, largest=area, **options).max() == 1
    assert segment_nuclei(ring, holes=0, largest=area - 1, **options).max() == 0
    edge = discs([(5, 100), (80, 100), (150, 195)])
    assert segment_nuclei(edge, **options).max() == 1
    assert segment_nuclei(edge, border="keep", **options).max() == 3
    assert segment_nuclei(edge, border="keep", sigma=0.0).max() == 3


def test_pieces_thinner_than_the_neck_stay():
    plane = np.zeros((40, 60))
    plane[10:12, 10:50] = 1
    plane[20:30, 20:30] = 1
    labels = segment_nuclei(plane, sigma=0.0, smallest=10, neck=3.0)
    assert np.bincount(labels.ravel())[1:].tolist() == [80, 100]


def test_pieces_that_touch_at_a_corner_are_one():
    plane = np.zeros((30, 30))
    plane[5:15, 5:15] = 1
    plane[15:25, 15:25] = 1
    assert segment_nuclei(plane, sigma=0.0, smallest=0, split=False).max() == 1
    assert (
        np.bincount(segment_nuclei(plane, sigma=0.0, smallest=0).ravel())[1:].tolist() == [100] * 2
    )


def test_what_cannot_be_segmented():
    plane = discs(APART)
    for wrong in ({"sigma": -1.0}, {"largest": 100}, {"neck": -0.1}):
        with pytest.raises(UsageError, match="none is below 0, and largest is above smallest"):
            segment_nuclei(plane, **wrong)
    with pytest.raises(DataError, match="of the one value 3 has no threshold"):
        segment_nuclei(np.full((20, 20), 3.0))
    assert segment_nuclei(np.zeros((20, 20)), threshold=1.0).max() == 0
    for bad in (np.full((5, 5), np.nan), np.zeros((0, 5))):
        with pytest.raises(DataError, match="has no pixels, or some that are no number"):
            segment_nuclei(bad)
