"""The planted answer is what it claims to be: nothing but region 1 enters the target."""

import numpy as np
import pytest
from scipy import ndimage

from attributome.core.errors import DataError, UsageError
from attributome.data.images import probe_image
from attributome.data.intensity import measure
from attributome.data.manifest import open_images
from attributome.data.optics import nuclear_stain
from attributome.data.planted import CHANNELS, TARGET_CHANNELS, planted, simulate, write_planted
from attributome.data.scenes import _levels, scene

TASKS = ["image", "regression", "classification"]
SIZES = [(96, 96), (12, 80, 96)]


@pytest.fixture(scope="module")
def fields():
    """Eighteen whole fields of three nuclei each."""
    return list(planted("image", fields=18, seed=5))


def same(a, b):
    return (
        np.array_equal(a.image, b.image)
        and np.array_equal(a.target, b.target)
        and np.array_equal(a.regions, b.regions)
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", TASKS)
def test_a_sample_is_a_function_of_seed_and_number(task, size):
    one = planted(task, fields=9, size=size, seed=3)[4]
    assert same(one, planted(task, fields=5, size=size, seed=3)[4])
    assert same(one, planted(task, fields=9, size=size, seed=3)[2:][2])
    assert not same(one, planted(task, fields=9, size=size, seed=4)[4])
    assert not same(one, planted(task, fields=9, size=size, seed=3)[5])


def test_the_data_set_stays_the_same():
    # published figures rest on it: a change here is another data set
    one = planted("image", fields=1, size=(64, 64), seed=0)[0]
    assert [(one.regions == r).sum() for r in (1, 2)] == pytest.approx([725, 363], abs=3)
    assert [one.image.mean(), one.target.mean()] == pytest.approx([19584.2, 1405.7], rel=1e-3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("task", TASKS)
def test_the_target_depends_on_nothing_outside_region_1(task, size):
    one = simulate(task, size, seed=1, i=2)
    other = simulate(task, size, seed=1, i=2, surroundings=77)
    bare = simulate(task, size, seed=1, i=2, decoy=False)
    for changed in (other, bare):
        assert np.array_equal(changed.target, one.target)
        assert np.array_equal(changed.regions == 1, one.regions == 1)
    outside = one.regions != 1
    assert (other.image[0][outside] != one.image[0][outside]).mean() > 0.99
    assert set(np.unique(bare.regions)) == {0, 1}


def test_the_stain_is_dark_outside_the_nuclei_and_lost_with_their_chromatin(fields):
    one = fields[0]
    far = ndimage.distance_transform_edt(one.regions != 1)
    assert one.target[0][far > 4].mean() == pytest.approx(300, rel=0.05)
    assert one.target[0][one.regions == 1].mean() > 3000
    truth = scene("image", (1, 128, 128), seed=5, index=0, decoy=True)
    assert (truth.chromatin[truth.labels == 1] > 0).all()
    assert (truth.chromatin[truth.labels != 1] == 0).all()
    truth.chromatin[:, 40:60] = 0  # take a part of every nucleus there away, and its stain goes
    again = nuclear_stain(truth, np.random.default_rng(0))
    assert again[:, 44:56].mean() == pytest.approx(300, rel=0.05)


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (200, 150), (12, 80, 96)])
@pytest.mark.parametrize("task", TASKS)
def test_nuclei_cover_12_to_20_percent(task, size):
    for one in planted(task, fields=4, size=size, seed=9):
        assert one.image.shape == (1, *size)
        assert one.regions.shape == size
        assert 0.12 <= (one.regions == 1).mean() <= 0.2


def test_the_decoy_is_a_third_to_a_half_of_the_nucleus_and_bright(fields):
    areas = [(one.regions == 2).sum() / (one.regions == 1).sum() for one in fields]
    assert 0.33 <= np.mean(areas) <= 0.5
    for one in fields:
        tops = [np.percentile(one.image[0][one.regions == region], 95) for region in (0, 1, 2)]
        assert np.argmax(tops) == 2


def test_decoy_contrast_correlates_with_chromatin_over_cells():
    draw, around = np.random.default_rng(0), np.random.default_rng(1)
    level, contrast = _levels("image", 20000, draw, around)
    assert 0.63 <= np.corrcoef(level, contrast)[0, 1] <= 0.67
    stains, spreads = [], []  # and as it is drawn, in fewer cells
    for i in range(60):
        truth = scene("image", (1, 64, 64), seed=0, index=i, decoy=True)
        stains.append(truth.chromatin[truth.labels == 1].mean())
        spreads.append(truth.vesicles[truth.labels == 2].std())
    assert 0.4 <= np.corrcoef(stains, spreads)[0, 1] <= 0.85


def test_given_the_nucleus_the_decoy_says_nothing():
    # the same nuclei among new decoys: what is left of the contrast is not in the stain
    rows = []
    for i in range(15):
        for around in (1000 + i, 2000 + i):
            truth = scene("image", (1, 64, 64), seed=0, index=i, decoy=True, surroundings=around)
            rows.append((truth.level[0], truth.contrast[0], truth.chromatin.sum()))
    level, contrast, stain = np.array(rows).T
    assert np.array_equal(stain[::2], stain[1::2])
    assert not np.array_equal(contrast[::2], contrast[1::2])
    assert np.array_equal(level[::2], level[1::2])


def test_the_stain_is_read_from_the_bright_field_at_the_nucleus(fields):
    """Filtered bright field, pixel by pixel, gives most of the stain inside the nuclei."""

    def features(one):
        image = measure(one.image, "zscore").apply(one.image)[0]
        blurs = [image] + [ndimage.gaussian_filter(image, s) for s in (1, 2, 4, 8)]
        inside = one.regions == 1
        return np.stack([*blurs, np.ones_like(image)], -1)[inside], one.target[0][inside]

    pairs = [features(one) for one in fields]
    x, y = (np.concatenate(parts) for parts in zip(*pairs[:12], strict=True))
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    x, y = (np.concatenate(parts) for parts in zip(*pairs[12:], strict=True))
    assert 1 - np.square(x @ weights - y).mean() / y.var() > 0.7


def test_numbers_are_about_0_to_1_and_classes_come_in_pairs():
    values = [s.target for s in planted("regression", fields=24, size=(64, 64))]
    assert all(isinstance(v, float) for v in values)
    assert -0.1 < min(values) < 0.4
    assert 0.7 < max(values) < 1.2
    classes = [s.target for s in planted("classification", fields=24, size=(64, 64))]
    assert all(sum(pair) == 1 for pair in zip(classes[::2], classes[1::2], strict=True))
    assert len({tuple(classes[i : i + 2]) for i in range(0, 24, 2)}) == 2


def test_the_classes_differ_in_grain_and_not_in_density():
    truths = [scene("classification", (1, 64, 64), seed=0, index=i, decoy=True) for i in range(30)]
    classes = [s.target for s in planted("classification", fields=30, size=(64, 64))]
    inside = [t.chromatin[(t.labels == 1) & (t.nucleoli < 0.01)] / t.level[0] for t in truths]
    grain = np.array([values.std() for values in inside])
    mean = np.array([values.mean() for values in inside])
    punctate = np.array(classes) == 1
    assert grain[punctate].min() > grain[~punctate].max()
    assert abs(mean[punctate].mean() - mean[~punctate].mean()) < 0.05


@pytest.mark.parametrize("size", SIZES)
def test_samples_carry_names_and_pixel_size(size):
    one = planted(fields=1, size=size)[0]
    assert (one.channels, one.target_channels) == (CHANNELS, TARGET_CHANNELS)
    assert one.pixel_size == ((0.29, 0.29) if len(size) == 2 else (0.58, 0.29, 0.29))
    assert one.image.dtype == one.target.dtype == np.float32
    assert one.image.min() > 0
    assert one.image.max() < 65535


@pytest.mark.parametrize("task", TASKS)
def test_what_is_written_is_read_back(tmp_path, task):
    path = write_planted(tmp_path / "p", task, fields=8, size=(64, 64), seed=2)
    read = open_images(path)
    made = planted(task, fields=8, size=(64, 64), seed=2)
    assert read.ids == [one.id for one in made]
    for i in (0, 7):
        assert same(read[i], made[i])
        assert read[i].pixel_size == made[i].pixel_size
        assert (read[i].channels, read[i].target_channels) == (CHANNELS, made[i].target_channels)
    wells, parts = read.groups("well"), read.groups("split")
    assert set(parts) == {"train", "validate", "calibrate", "test"}
    assert len(set(zip(wells, parts, strict=True))) == len(set(wells)) == 4
    assert probe_image(tmp_path / "p" / "images" / "field0000.ome.tif")[4] == np.uint16


def test_what_cannot_be_simulated_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no planted task 'video': there are image, regression"):
        getattr(planted, "__wrapped__", planted)("video", fields=1)  # past the check of types
    with pytest.raises(UsageError, match="0 fields are none"):
        planted(fields=0)
    for size in ((64,), (32, 64), (4, 64, 64), (1, 1, 64, 64)):
        with pytest.raises(UsageError, match="a planted field cannot have the size"):
            planted(fields=1, size=size)
    with pytest.raises(DataError, match=r"2 groups \(well\) cannot fill 4 parts"):
        write_planted(tmp_path, fields=2, size=(64, 64))
