"""Scaling is what was published, to its digits, and says what it did."""

import numpy as np
import pandas as pd
import pytest
from skimage.transform import resize

from attributome.core.errors import DataError, UsageError
from attributome.inpainting import cells as cells_module
from attributome.inpainting.cells import Cells
from attributome.inpainting.preprocess import (
    RECIPES,
    Recipe,
    central,
    clip_floor,
    constant,
    half,
    min_max,
    prepare,
)


def some_cells(crops, masks=None):
    n = len(crops)
    names = ("protein", "nucleus", "tubules")[: crops.shape[1]]
    return Cells(
        table=pd.DataFrame({"id": [f"c{i}" for i in range(n)], "group": "g", "field": "f"}),
        crops=crops,
        channels=names,
        targets=names[:1],
        markers=names[1:],
        masks=masks,
        about={"source": "drawn"},
    )


def test_each_plane_spans_0_to_1():
    crops = np.array([[[[2, 4], [6, 10]], [[-1, 0], [0, 1]]]], np.float32)
    wanted = [[[[0, 0.25], [0.5, 1]], [[0, 0.5], [0.5, 1]]]]
    np.testing.assert_array_equal(min_max(crops), np.float32(wanted))
    np.testing.assert_array_equal(min_max(crops[0, 0]), np.float32(wanted[0][0]))


def test_scaling_does_not_look_at_other_planes(random):
    crops = random.random((5, 2, 4, 6)).astype(np.float32)
    crops[3] *= 1000
    for i in range(5):
        np.testing.assert_array_equal(min_max(crops)[i], min_max(crops[i : i + 1])[0])


@pytest.mark.parametrize("value", [0.0, 0.3, -7.0, 3e38])
def test_a_constant_plane_is_zero_and_counted(random, value):
    crops = random.random((3, 2, 4, 4)).astype(np.float32)
    crops[1, 1] = value
    assert not min_max(crops)[1, 1].any()
    np.testing.assert_array_equal(constant(crops), [[0, 0], [0, 1], [0, 0]])
    made = prepare(some_cells(crops), "yeast")
    assert made.about["prepared"]["constant"] == {"protein": 0, "nucleus": 1}
    assert not made.crops[1, 1].any()


def test_extreme_values_keep_their_scale():
    tiny = np.float32([[1e-45, 0], [0, 0]])
    np.testing.assert_array_equal(min_max(tiny), [[1, 0], [0, 0]])
    huge = np.float32([[3e38, -3e38], [0, 0]])
    np.testing.assert_array_equal(min_max(huge), [[1, 0], [0.5, 0.5]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scale", [min_max, constant])
def test_a_pixel_that_is_no_number_is_refused(bad, scale):
    crops = np.zeros((2, 1, 2, 2), np.float32)
    crops[1, 0, 0, 1] = bad
    with pytest.raises(DataError, match="1 planes hold NaN or infinite"):
        scale(crops)


def test_the_floor():
    crops = np.float64([[0, 0.05], [0.525, 1.3]])
    np.testing.assert_array_equal(clip_floor(crops), np.float32([[0, 0], [0.5, 1]]))
    np.testing.assert_array_equal(clip_floor(crops, 0), np.float32([[0, 0.05], [0.525, 1]]))
    with pytest.raises(UsageError, match="a floor of 1.0 cannot be meant"):
        clip_floor(crops, 1.0)


@pytest.mark.parametrize(("shrink", "factor"), [(half, 2), (central, 4)])
def test_shrinking_is_bilinear_without_smoothing(random, shrink, factor):
    crops = random.random((3, 2, 16, 24))
    made = shrink(crops)
    for i in range(3):
        for c in range(2):
            small = (16 // factor, 24 // factor)
            wanted = resize(crops[i, c], small, order=1, mode="constant", anti_aliasing=False)
            np.testing.assert_allclose(made[i, c], wanted, atol=1e-7)


def test_shrinking_by_loops(random):
    plane = random.random((8, 12))
    for i in range(4):
        for j in range(6):
            block = plane[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            assert half(plane)[i, j] == pytest.approx(block.mean(), abs=1e-7)
    for i in range(2):
        for j in range(3):
            block = plane[4 * i + 1 : 4 * i + 3, 4 * j + 1 : 4 * j + 3]
            assert central(plane)[i, j] == pytest.approx(block.mean(), abs=1e-7)
    with pytest.raises(DataError, match="6 x 12 pixels cannot be shrunk by 4"):
        central(plane[:6])


@pytest.mark.parametrize("block", [1, 2**26])
@pytest.mark.parametrize("on_disk", [False, True])
def test_the_human_recipe(tmp_path, monkeypatch, random, block, on_disk):
    monkeypatch.setattr(cells_module, "BLOCK", block)
    crops = random.random((4, 3, 8, 8)).astype(np.float32)
    masks = random.random((4, 8, 8)) < 0.5
    made = prepare(some_cells(crops, masks), "human", folder=tmp_path if on_disk else None)
    small = half(crops)
    np.testing.assert_array_equal(made.crops[:, :1], min_max(small[:, :1]))
    np.testing.assert_array_equal(made.crops[:, 1:], clip_floor(small[:, 1:]))
    np.testing.assert_array_equal(made.masks, half(masks.astype(np.float32)) >= 0.5)
    assert made.about == {
        "source": "drawn",
        "prepared": {
            "recipe": "human",
            "shrink": 2,
            "targets": "min_max",
            "markers": "clip_floor",
            "floor": 0.05,
            "constant": {"protein": 0, "nucleus": 0, "tubules": 0},
        },
    }


def test_recipes_of_ones_own_and_none(random):
    crops = random.random((2, 2, 8, 8)).astype(np.float32)
    made = prepare(some_cells(crops), Recipe(shrink=4, targets="none", markers="min_max"))
    np.testing.assert_array_equal(made.crops[:, 0], central(crops)[:, 0])
    np.testing.assert_array_equal(made.crops[:, 1], min_max(central(crops))[:, 1])
    assert made.about["prepared"]["recipe"] == "own"
    np.testing.assert_array_equal(prepare(some_cells(crops), "none").crops, crops)
    assert set(RECIPES) == {"yeast", "human", "none"}


def test_what_cannot_be_prepared(random):
    crops = random.random((2, 2, 8, 8)).astype(np.float32)
    cells = some_cells(crops)
    with pytest.raises(UsageError, match="no recipe 'yaest'.*did you mean 'yeast'"):
        prepare(cells, "yaest")
    with pytest.raises(UsageError, match="prepared already, by 'yeast'"):
        prepare(prepare(cells, "yeast"), "human")
    with pytest.raises(DataError, match=r"the channel 'nucleus' reaches .* bring it to 0 to 1"):
        prepare(some_cells(crops * 255), "human")


@pytest.mark.real
def test_the_golden_values_of_real_crops(real_data):
    """Means that were measured once with scikit-image 0.13's arithmetic, to six digits."""
    import tifffile

    home = real_data / "human_inpainting" / "A1CF_762_F2" / "762_F2_1_10"
    green, blue, red = (tifffile.imread(f"{home}_{c}.tif") for c in ("green", "blue", "red"))
    raw = [plane.mean(dtype=float) for plane in (green, blue, red)]
    np.testing.assert_allclose(raw, [0.159052, 0.143322, 0.100817], atol=6e-7)
    made = [min_max(half(green)), clip_floor(half(blue)), clip_floor(half(red))]
    means = [plane.mean(dtype=float) for plane in made]
    np.testing.assert_allclose(means, [0.192162, 0.125332, 0.069289], atol=6e-7)
    tops = [plane.max() for plane in made]
    np.testing.assert_allclose(tops, [1, 0.964396, 0.975748], atol=6e-7)

    home = real_data / "yeast_inpainting" / "images" / "AAC1" / "AAC1_1_rfp_10"
    gfp, rfp = (tifffile.imread(f"{home}_{c}.tif") for c in ("gfp", "rfp"))
    found = [f(plane) for plane in (gfp, rfp) for f in (np.min, np.max, np.mean)]
    wanted = [0.001514, 0.037093, 0.012065, 0.003466, 0.102253, 0.031193]
    np.testing.assert_allclose(found, wanted, atol=6e-7)
    means = [min_max(plane).mean(dtype=float) for plane in (gfp, rfp)]
    np.testing.assert_allclose(means, [0.296548, 0.280676], atol=6e-7)
