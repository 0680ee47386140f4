"""Tubes and dots that were drawn are found, and each step is what it says that it is."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu, threshold_triangle

from attributome.core.errors import DataError, UsageError
from attributome.data.filaments import (
    _eigenvalues,
    dots_2d,
    dots_3d,
    filled,
    keep_edges,
    tubes_2d,
    tubes_3d,
    without_small,
)
from attributome.data.recipes import (
    RECIPES,
    Recipe,
    in_objects,
    recipe_of,
    scaled,
    segment,
    thinned,
)

SHAPE = (14, 40, 44)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def chance(found, truth, random):
    """Dice of masks that are as large as what was found, and lie anywhere."""
    return max(dice(random.permutation(found.ravel()), truth.ravel()) for _ in range(20))


def grid():
    return np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]].astype(float)


def tube(radius=1.2):
    """A wire from one side to the other that rises as it goes."""
    z, y, x = grid()
    return np.hypot(z - (4 + x / 10), y - (20 + 5 * np.sin(x / 9))) <= radius


def dots(radius=1.8, count=12):
    draw = np.random.default_rng(3)
    z, y, x = grid()
    places = draw.uniform([3, 4, 4], [11, 36, 40], (count, 3))
    return np.any(
        [(z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 <= radius**2 for a, b, c in places], 0
    )


def counts(truth, random, signal=900.0, blur=0.7):
    """What a camera makes of it, in uint16."""
    light = ndimage.gaussian_filter(truth.astype(float), blur) * signal + 400
    return random.poisson(light).astype(np.uint16)


def test_a_tube_and_dots_are_each_found_by_the_filter_for_them(random):
    for truth, answer in ((tube(), tubes_3d), (dots(), dots_3d)):
        bright = scaled(counts(truth, random), (3, 15))
        value = answer(ndimage.gaussian_filter(bright, 1), 1.5)
        found = value > np.quantile(value, 1 - truth.mean())
        assert dice(found, truth) > 0.6
        assert dice(found, truth) > 3 * chance(found, truth, random)
    # a dot bends as much in all directions: the filter for tubes prefers the tube
    both = ndimage.gaussian_filter(tube().astype(np.float32), 1)
    blob = np.zeros_like(both)
    blob[7, 5, 5] = 1
    blob = ndimage.gaussian_filter(blob, 1.5)
    both += blob / blob.max() * both.max()
    assert dots_3d(both, 1.5)[7, 5, 5] > dots_3d(both, 1.5)[tube()].mean()


DRAWN = {
    "Microtubules": tube, "Actomyosin": tube, "Actin filaments": tube, "Tight junctions": tube,
    "ER": tube, "Golgi": lambda: dots(3.0, 6), "Lysosome": lambda: dots(4.0, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_finds_its_structure_well_above_chance(name, random):
    truth = DRAWN[name]()
    found = segment(counts(truth, random), RECIPES[name])
    assert found.shape == truth.shape
    assert dice(found, truth) > 0.4
    assert dice(found, truth) > 3 * chance(found, truth, random)


def test_a_tube_has_the_measure_that_its_curvatures_give():
    """Of a straight Gaussian wire, in the middle: b = m, so 1; where b = m / 4 by hand."""
    z, y, _ = grid()
    wire = np.exp(-((z - 7) ** 2 + (y - 20) ** 2) / (2 * 2.0**2)).astype(np.float32)
    measure = tubes_3d(wire, 1.0)
    assert measure[7, 20, 22] == 1
    assert measure[7, 30, 22] == pytest.approx(0, abs=1e-3)
    assert (tubes_3d(-wire + 1, 1.0)[7, 20, 10:34] == 0).all()  # a dark one is none
    # along y off the middle: (1 - d²/s²) G across and G the other way; the weaker is b
    away = np.arange(20, 25)
    s = np.sqrt(2.0**2 + 1)
    profile = np.exp(-((away - 20) ** 2) / (2 * s**2))
    share = np.clip(profile * (1 - (away - 20) ** 2 / s**2), 0, 1)
    assert 0 < share[2] < 0.2
    expected = np.where(share >= 0.5, 1, 27 * share**2 * (1 - share) / (1 + share) ** 3)
    assert measure[7, away, 22] == pytest.approx(expected, abs=0.03)
    plain = np.zeros((3, 20, 20), np.float32)
    assert (tubes_3d(plain, 1.0) == 0).all()
    assert (tubes_2d(plain, 1.0) == 0).all()
    line = plain.copy()
    line[1, 10] = 1
    flat = tubes_2d(line, 1.0)
    assert (flat[1, 10, 4:16] == 1).all()
    assert (flat[0] == 0).all()


def test_a_dot_of_the_same_width_has_the_largest_answer():
    """-s² times the Laplacian of exp(-r²/2w²) after a blur of s is, in the middle, known."""
    for answer, axes in ((dots_3d, 3), (dots_2d, 2)):
        z, y, x = grid()
        square = (y - 20) ** 2 + (x - 22) ** 2 + (z - 7) ** 2 * (axes == 3)
        width, sigma = 2.0, 1.5
        blob = np.exp(-square / (2 * width**2)).astype(np.float32)
        total = width**2 + sigma**2
        peak = (width**2 / total) ** (axes / 2) * axes * sigma**2 / total
        assert answer(blob, sigma)[7, 20, 22] == pytest.approx(peak, rel=0.02)


def test_eigenvalues_are_those_of_linear_algebra(random):
    matrices = random.normal(size=(200, 3, 3))
    matrices = matrices + matrices.transpose(0, 2, 1)
    matrices[:3] = np.eye(3) * 2, np.zeros((3, 3)), np.diag([1, 1, -3])
    places = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    parts = [matrices[:, i, j].reshape(5, 5, 8).astype(np.float32) for i, j in places]
    found = np.stack([one.ravel() for one in _eigenvalues(*parts)], 1)
    expected = np.linalg.eigvalsh(matrices.astype(np.float32).astype(float))
    assert np.abs(found - expected).max() < 1e-5


def test_diffusion_is_the_slow_one_and_keeps_edges(random):
    volume = random.normal(size=(3, 4, 5)).astype(np.float32)
    slow = volume.astype(float)
    for _ in range(2):
        pairs = [
            (place, tuple(p + (i == axis) for i, p in enumerate(place)))
            for axis in range(3)
            for place in np.ndindex(*volume.shape)
            if place[axis] + 1 < volume.shape[axis]
        ]
        mean = np.mean([(slow[b] - slow[a]) ** 2 for a, b in pairs])
        new = slow.copy()
        for a, b in pairs:
            flow = (slow[b] - slow[a]) / 16
            flow *= np.exp(-((slow[b] - slow[a]) ** 2) / (2 * 1.2**2 * mean))
            new[a] += flow
            new[b] -= flow
        slow = new
    assert np.abs(keep_edges(volume, steps=2) - slow).max() < 1e-5
    step = np.zeros((4, 20, 20), np.float32)
    step[:, :, 10:] = 1
    noisy = step + random.normal(0, 0.05, step.shape).astype(np.float32)
    kept, blurred = keep_edges(noisy), ndimage.gaussian_filter(noisy, 1)
    assert np.abs(kept - step)[:, :, 9:11].mean() < np.abs(blurred - step)[:, :, 9:11].mean() / 3
    assert kept[:, :, :8].std() < noisy[:, :, :8].std() / 2
    assert (keep_edges(np.ones((2, 3, 4), np.float32)) == 1).all()


def test_small_pieces_go_and_small_holes_are_filled():
    mask = np.zeros((2, 7, 9), bool)
    mask[0, 1:3, 1:3] = True
    mask[1, 5, 5:8] = True
    mask[1, 4, 4] = True  # touches it over an edge of a voxel only
    assert without_small(mask, 4).sum() == 4
    assert without_small(mask, 3).sum() == 7
    assert without_small(mask, 1).sum() == 8
    assert without_small(~mask, 10**6).sum() == 0
    ring = np.ones((1, 6, 6), bool)
    ring[0, 2:4, 2:4] = ring[0, 0, 0] = False
    assert filled(ring, 3).sum() == 31
    assert filled(ring, 4).sum() == 35  # the corner is no hole
    assert ring.sum() == 31


def test_large_objects_have_a_threshold_of_their_own(random):
    """Two blocks of other brightness, each with a bright half; one that is too small."""
    bright = random.normal(0.02, 0.005, (6, 30, 30)).astype(np.float32)
    bright[1:5, 2:12, 2:12], bright[1:5, 2:12, 7:12] = 0.3, 0.5
    bright[1:5, 16:26, 16:26], bright[1:5, 16:26, 21:26] = 0.6, 1.0
    bright[2, 28, 2] = 1
    bright *= random.normal(1, 0.05, bright.shape).astype(np.float32)
    found = in_objects(bright, 50)
    expected = np.zeros_like(found)
    expected[1:5, 2:12, 7:12] = expected[1:5, 16:26, 21:26] = True
    # Otsu's threshold of two far groups is the upper end of the lower one, of which some are above
    assert (found | expected == found).all()
    assert dice(found, expected) > 0.97
    assert not found[2, 28, 2]
    bright[1:5, 2:12, 2:12] /= 8
    bright[0, 0, :20] = 0.3  # with these, the volume's threshold is above three times the object's
    found = in_objects(bright, 50)
    own = bright[1:5, 2:12, 2:12]
    assert threshold_triangle(bright) < np.median(own)
    assert threshold_otsu(own) < threshold_otsu(bright) / 3
    assert not found[:, :14, :14].any()
    assert found[:, 14:].sum() > 190


def test_thinning_keeps_what_is_near_the_skeleton():
    mask = np.zeros((1, 15, 30), bool)
    mask[0, 4:11, 3:27] = True
    mask[0, 7, 27:29] = True  # one pixel wide: erosion alone would take it away
    made = thinned(mask, 1.6, 1)
    assert made[0, 5:10, 5:25].all()
    assert not made[0, 4, 8:22].any()
    assert made[0, 7, 27]
    assert not (made & ~mask).any()


def test_intensities_are_scaled_about_the_mean():
    volume = np.array([0, 10, 10, 10, 20, 110], np.uint16).reshape(1, 2, 3)
    mean, std = volume.mean(), volume.std()
    low, high = 0.0, mean + 1 * std
    expected = np.clip((volume - low) / (high - low), 0, 1)
    assert scaled(volume, (3, 1)) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(DataError, match="nothing can be found"):
        scaled(np.full((2, 3, 4), 7, np.uint16), (1, 1))
    with pytest.raises(DataError, match="mean nan"):
        scaled(np.full((2, 3, 4), np.nan, np.float32), (1, 1))


def test_recipes_go_by_names_that_people_use():
    assert recipe_of("tight-junctions") is RECIPES["Tight junctions"]
    assert recipe_of("Endoplasmic reticulum") is RECIPES["ER"]
    assert recipe_of("Actomyosin bundles") is RECIPES["Actomyosin"]
    with pytest.raises(UsageError, match="no recipe for 'Microtubes'.*did you mean 'Microtubules'"):
        recipe_of("Microtubes")
    assert isinstance(RECIPES["ER"], Recipe)
