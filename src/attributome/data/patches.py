"""Patches for training, drawn so that each field is read about once an epoch."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from jaxtyping import Float32

from attributome.core.errors import DataError, UsageError
from attributome.core.records import Sample
from attributome.core.seeds import rng
from attributome.data.intensity import Kind, measure
from attributome.data.samples import Samples

Pair = tuple[np.ndarray, np.ndarray | float | None]
Batch = tuple[Float32[np.ndarray, "b c *s"], Float32[np.ndarray, "b *t"] | None]


@dataclass(slots=True, kw_only=True)
class FieldCache:
    """Normalised fields, the latest in memory up to `max_bytes`. A class: it owns that memory.

    Each image is scaled by its own statistics, an image target likewise (`target_scale`); a
    number is passed on as it is.
    """

    samples: Samples
    scale: Kind = "zscore"
    target_scale: Kind = "zscore"
    max_bytes: int = 2**30
    _kept: OrderedDict[int, Pair] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    def get(self, i: int) -> Pair:
        """Image `(c, *s)` and target `(k, *s)`, a number or None, of sample `i`; do not write."""
        if i in self._kept:
            self._kept.move_to_end(i)
            return self._kept[i]
        pair = normalised(self.samples[i], self.scale, self.target_scale)
        self._kept[i] = pair
        self._bytes += _size(pair)
        while self._bytes > self.max_bytes and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return pair


def normalised(sample: Sample, scale: Kind, target_scale: Kind) -> Pair:
    """A sample's image and target in normalised units."""
    where = f"sample {sample.id!r}"
    image = measure(sample.image, scale, where=where).apply(sample.image)
    target = sample.target
    if isinstance(target, np.ndarray):
        where = f"the target of {where}"
        target = measure(target, target_scale, where=where).apply(target)
    return image, target


def _size(pair: Pair) -> int:
    return sum(part.nbytes for part in pair if isinstance(part, np.ndarray))


def random_patches(
    cache: FieldCache,
    *,
    size: tuple[int, ...],
    batch: int,
    steps: int,
    seed: int,
    epoch: int,
    flips: bool = True,
    rotations: bool = True,
    pool: int = 16,
) -> Iterator[Batch]:
    """`steps` batches: patches `(b, c, *size)` and targets `(b, k, *size)`, `(b, 1)` or None.

    Step n of an epoch is a function of (seed, epoch, n). An epoch goes through the fields in a
    shuffled order, `pool` of them at a time: with a cache that holds a pool, each is read once.
    Patches are flipped along every axis and turned by quarters in the plane (halves, where the
    patch is not square there).
    """
    fields = schedule(len(cache), batch * steps, pool=pool, seed=seed, epoch=epoch)
    for step in range(steps):
        draw = rng(seed, "patches", epoch, step)
        pairs = [
            _patch(cache, int(i), size, draw, flips=flips, rotations=rotations)
            for i in fields[step * batch : (step + 1) * batch]
        ]
        targets = [target for _, target in pairs if target is not None]
        yield np.stack([image for image, _ in pairs]), np.stack(targets) if targets else None


def schedule(count: int, draws: int, *, pool: int, seed: int, epoch: int) -> np.ndarray:
    """Which field each draw takes: pool after pool, each pool in shuffled rounds."""
    if not count:
        raise DataError("there are no fields to draw patches from")
    draw = rng(seed, "fields", epoch)
    order = draw.permutation(count)
    pools = np.array_split(order, -(-count // pool))
    ends = [round(draws * end / count) for end in np.cumsum([len(p) for p in pools])]
    parts = []
    for members, start, end in zip(pools, [0, *ends[:-1]], ends, strict=True):
        rounds = -(-(end - start) // len(members))
        taken = [draw.permutation(members) for _ in range(rounds)]
        parts += [np.concatenate(taken)[: end - start]] if taken else []
    return np.concatenate(parts)


def _patch(
    cache: FieldCache,
    i: int,
    size: tuple[int, ...],
    draw: np.random.Generator,
    *,
    flips: bool,
    rotations: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    image, target = cache.get(i)
    space = image.shape[1:]
    if len(space) != len(size) or any(s < p for s, p in zip(space, size, strict=True)):
        raise DataError(
            f"sample {cache.samples[i].id!r} has the spatial size {space}, which a patch of "
            f"{size} does not fit into: choose a patch that fits into every field"
        )
    corner = [int(draw.integers(s - p + 1)) for s, p in zip(space, size, strict=True)]
    box = (slice(None), *(slice(c, c + p) for c, p in zip(corner, size, strict=True)))
    flipped = tuple(axis for axis in range(1, len(size) + 1) if draw.random() < 0.5)
    turns = int(draw.integers(4)) if size[-1] == size[-2] else 2 * int(draw.integers(2))

    def cut(field: np.ndarray) -> np.ndarray:
        patch = np.flip(field[box], flipped) if flips else field[box]
        patch = np.rot90(patch, turns, axes=(-2, -1)) if rotations else patch
        return np.ascontiguousarray(patch)

    if isinstance(target, np.ndarray):
        return cut(image), cut(target)
    return cut(image), None if target is None else np.array([target], np.float32)


def grid_patches(
    shape: tuple[int, ...], size: tuple[int, ...], overlap: float = 0.5
) -> list[tuple[slice, ...]]:
    """Boxes of `size` that cover `shape`; the last along an axis is moved back to the border."""
    if not 0 <= overlap < 1:
        raise UsageError(f"overlap {overlap} is not a share: it must be at least 0 and below 1")
    if len(shape) != len(size) or any(s < p for s, p in zip(shape, size, strict=True)):
        raise DataError(f"a patch of {size} does not fit into a field of {shape}")
    starts = []
    for s, p in zip(shape, size, strict=True):
        step = max(1, round(p * (1 - overlap)))
        starts.append([*range(0, s - p, step), s - p])
    return [
        tuple(slice(start, start + p) for start, p in zip(corner, size, strict=True))
        for corner in product(*starts)
    ]
