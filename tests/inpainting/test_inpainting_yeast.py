"""Round cells that were drawn are found again, under uneven light, and an empty field has none."""

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.crops import Field, crop_fields
from attributome.inpainting.yeast import yeast_labels


def simulated(seed=0, size=256, count=30, gap=3.0, noise=0.02, focus=1.0):
    """A bright field of round cells with dark rims (or bright ones, `focus` -1), and its labels."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    truth = np.zeros((size, size), int)
    light = np.zeros((size, size))
    cells = []
    while len(cells) < count:
        r = draw.uniform(9, 14)
        at = draw.uniform(r + 4, size - r - 4, 2)
        if any(np.hypot(*(at - there)) < r + other + gap for there, other in cells):
            continue
        cells.append((at, r))
        d = np.hypot(y - at[0], x - at[1])
        truth[d <= r] = len(cells)
        light -= focus * 0.25 * np.exp(-(((d - r) / 1.5) ** 2))
        light += focus * 0.15 * np.exp(-((d / (0.6 * r)) ** 2))
    uneven = 1 + 0.4 * (x / size - 0.5) - 0.5 * (y / size - 0.5) ** 2
    plane = 1000 * uneven * (1 + light + noise * draw.standard_normal((size, size)))
    return plane.astype(np.float32), truth


def overlaps(truth, labels):
    """For each drawn cell, its best intersection over union."""
    found = []
    for cell in range(1, truth.max() + 1):
        mine = truth == cell
        best = [((labels == i) & mine).sum() / ((labels == i) | mine).sum()
                for i in np.unique(labels[mine]) if i]  # fmt: skip
        found.append(max(best, default=0))
    return np.array(found)


@pytest.mark.parametrize(
    "field",
    [{}, {"noise": 0.06}, {"gap": 0.0}, {"focus": -1.0}, {"gap": 0.0, "noise": 0.06, "seed": 3}],
)
def test_drawn_cells_are_found(field):
    plane, truth = simulated(**field)
    labels = yeast_labels(plane)
    overlap = overlaps(truth, labels)
    assert (overlap > 0.5).mean() >= 0.9
    assert np.median(overlap) > 0.75
    assert labels.max() <= 32
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) == set(range(labels.max() + 1))


def test_the_brightness_of_the_lamp_changes_nothing():
    plane, _ = simulated()
    np.testing.assert_array_equal(yeast_labels(plane), yeast_labels(plane.astype(np.float64) * 8))


def test_limits_of_size_and_the_border_are_held():
    plane, truth = simulated()
    areas = np.bincount(yeast_labels(plane, smallest=300, largest=400).ravel())[1:]
    assert len(areas)
    assert (areas > 300).all()
    assert (areas <= 400).all()
    cut = plane[:, int(np.argwhere(truth == 1)[:, 1].mean()) :]
    dropped, kept = (yeast_labels(cut, border=border) for border in ("drop", "keep"))
    assert not dropped[:, 0].any()
    assert kept[:, 0].any()
    assert dropped.max() < kept.max()


def test_an_empty_field_has_no_cells():
    for seed in range(3):
        noise = np.random.default_rng(seed).standard_normal((128, 128))
        assert yeast_labels(1000 + 20 * noise).max() == 0


def test_a_field_with_a_bright_field_and_a_protein_becomes_cells():
    plane, truth = simulated()
    protein = (truth > 0) + np.random.default_rng(0).random(truth.shape)
    image = np.stack([plane, protein]).astype(np.float32)
    one = Field(id="f1", group="AAC1", image=image, labels=yeast_labels(image[0]))
    cells = crop_fields([one], channels=("bf", "gfp"), targets=("gfp",), size=32)
    assert len(cells) > 20
    assert cells.markers == ("bf",)
    own = np.array([p[m].mean() for p, m in zip(cells.crops[:, 1], cells.masks, strict=True)])
    assert (own > 1.25).all()  # 1.5 inside and 0.5 outside


@pytest.mark.parametrize(
    ("plane", "options", "error", "words"),
    [
        (np.full((32, 32), 7.0), {}, DataError, "the one value 7"),
        (np.full((32, 32), np.nan), {}, DataError, "no number"),
        (np.zeros((0, 4)), {}, DataError, "no pixels"),
        (-simulated(count=3, size=96)[0], {}, DataError, "light, above 0"),
        (simulated(count=3, size=96)[0], {"rim": 0.0}, UsageError, "rim=0.0"),
        (simulated(count=3, size=96)[0], {"rim": 9.0, "background": 8.0}, UsageError, "larger"),
        (simulated(count=3, size=96)[0], {"smallest": 9, "largest": 5}, UsageError, "largest=5"),
    ],
)
def test_what_shows_no_cells_is_refused(plane, options, error, words):
    with pytest.raises(error, match=words):
        yeast_labels(plane, **options)
