"""Patches: named draws, the same turn for image and target, each field read about once."""

from collections import Counter
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.core.records import Sample
from attributome.data.patches import FieldCache, grid_patches, random_patches, schedule


class Counted(Sequence):
    """Fields of distinct pixels, whose target is the image times two; counts its reads."""

    def __init__(self, count, space, target="image"):
        self.count, self.space, self.target, self.reads = count, space, target, Counter()

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        self.reads[i] += 1
        image = np.arange(np.prod(self.space), dtype=np.float32).reshape(1, *self.space) + 1e6 * i
        target = {"image": 2 * image, "number": float(i), None: None}[self.target]
        return Sample(id=f"s{i}", image=image, channels=("a",), target=target)


def cache(samples, **options):
    return FieldCache(samples=samples, scale="none", target_scale="none", **options)


def batches(samples, **options):
    given = {"size": (4, 4), "batch": 3, "steps": 5, "seed": 7, "epoch": 0}
    return list(random_patches(cache(samples), **(given | options)))


def equal(a, b):
    return all(
        np.array_equal(x, u) and np.array_equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True)
    )


def test_a_step_is_a_function_of_seed_epoch_and_number():
    samples = Counted(6, (9, 11))
    first = batches(samples)
    assert equal(first, batches(samples))
    small = cache(samples, max_bytes=1)  # nothing stays in memory, and nothing changes
    given = {"size": (4, 4), "batch": 3, "steps": 5, "seed": 7, "epoch": 0}
    assert equal(first, list(random_patches(small, **given)))
    assert equal(first[:2], list(islice(random_patches(cache(samples), **given), 2)))
    assert not equal(first, batches(samples, epoch=1))
    assert not equal(first, batches(samples, seed=8))


@pytest.mark.parametrize("space", [(9, 11), (6, 9, 11)])
def test_image_and_target_turn_together(space):
    size = (4,) * len(space)
    seen = set()
    for x, y in batches(Counted(3, space), size=size, steps=150, batch=1):
        assert x.shape == y.shape == (1, 1, *size)
        assert x.dtype == np.float32
        assert np.array_equal(y, 2 * x)
        steps = [np.diff(x[0, 0], axis=axis).flat[0] for axis in range(len(space))]
        seen.add(tuple(steps))
    # signs from flips along every axis, and x and y change places in quarter turns
    assert len(seen) == 2 ** len(space) * 2


def test_without_turns_a_patch_is_a_crop():
    for x, _ in batches(Counted(2, (9, 11)), flips=False, rotations=False, steps=9):
        assert (np.diff(x, axis=-1) == 1).all()
        assert (np.diff(x, axis=-2) == 11).all()


def test_patches_that_are_not_square_only_turn_by_halves():
    for x, _ in batches(Counted(2, (9, 11)), size=(3, 5), steps=20):
        assert x.shape == (3, 1, 3, 5)
        assert (np.abs(np.diff(x, axis=-1)) == 1).all()


def test_crops_reach_every_pixel():
    seen = np.concatenate([x.ravel() for x, _ in batches(Counted(1, (6, 7)), steps=60)])
    assert set(seen) == set(range(42))


def test_numbers_and_none_pass():
    for x, y in batches(Counted(4, (4, 4), "number")):
        assert (y.shape, y.dtype) == ((3, 1), np.float32)
        assert np.array_equal(y[:, 0], x.min((1, 2, 3)) // 1e6)
    assert all(y is None for _, y in batches(Counted(4, (4, 4), None)))


def test_each_field_is_read_once_an_epoch_and_used_equally():
    samples = Counted(50, (8, 8))
    small = cache(samples, max_bytes=9 * 2 * 8 * 8 * 4)  # nine fields fit
    used = Counter()
    for x, _ in random_patches(small, size=(4, 4), batch=8, steps=50, seed=0, epoch=0, pool=8):
        used.update((x.min((1, 2, 3)) // 1e6).astype(int).tolist())
    assert set(samples.reads.values()) == {1}
    assert len(samples.reads) == 50
    assert set(used.values()) == {8}


def test_a_short_epoch_takes_other_fields_each_time():
    taken = [set(schedule(40, 8, pool=4, seed=0, epoch=e).tolist()) for e in range(12)]
    assert all(len(fields) == 8 for fields in taken)
    assert len(set.union(*taken)) > 30


def test_the_cache_keeps_the_latest_within_its_bytes():
    samples = Counted(5, (8, 8), None)
    held = cache(samples, max_bytes=2 * 8 * 8 * 4)
    for i in (0, 1, 0, 2, 0, 1):
        held.get(i)
    assert samples.reads == {0: 1, 1: 2, 2: 1}


def test_fields_are_normalised_each_by_itself():
    held = FieldCache(samples=Counted(2, (8, 8)))
    image, target = held.get(1)
    assert image.mean() == pytest.approx(0, abs=1e-6)
    assert image.std() == pytest.approx(1)
    assert target == pytest.approx(image, abs=1e-5)
    flat = [Sample(id="flat", image=np.ones((1, 4, 4), np.float32), channels=("a",))]
    with pytest.raises(DataError, match="channel 0 of sample 'flat' is constant"):
        FieldCache(samples=flat).get(0)


@pytest.mark.parametrize("size", [(12, 4), (4, 4, 4), (4,)])
def test_a_patch_that_does_not_fit_is_refused(size):
    with pytest.raises(DataError, match=r"'s\d' has the spatial size \(9, 11\), which a patch of"):
        batches(Counted(2, (9, 11)), size=size)


def test_no_fields_are_refused():
    with pytest.raises(DataError, match="there are no fields"):
        batches(Counted(0, (9, 11)))


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.9])
def test_a_grid_covers_everything_within_the_border(overlap):
    shape, size = (10, 23, 17), (4, 7, 17)
    count = np.zeros(shape, int)
    boxes = grid_patches(shape, size, overlap)
    for box in boxes:
        assert count[box].shape == size
        count[box] += 1
    assert count.min() >= 1
    assert len({tuple(s.start for s in box) for box in boxes}) == len(boxes)


def test_the_last_of_a_grid_is_moved_back():
    assert [box[0].start for box in grid_patches((65,), (32,), 0.5)] == [0, 16, 32, 33]
    assert grid_patches((8, 8), (8, 8), 0.5) == [(slice(0, 8), slice(0, 8))]
    with pytest.raises(
        DataError, match=r"a patch of \(9, 8\) does not fit into a field of \(8, 8\)"
    ):
        grid_patches((8, 8), (9, 8))
    with pytest.raises(UsageError, match="overlap 1 is not a share"):
        grid_patches((8, 8), (4, 4), 1)
