"""Where in a field two images agree: Pearson correlation window by window, as a map.

The moments of windows are merged from those of their parts (Chan et al. 1983), about the parts' own
means and never as a difference of large sums. A faint background beside bright objects therefore
keeps its digits, and the time does not depend on the size of the window.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Real

from attributome.core.errors import DataError, UsageError

CACHED = 2**17
"""Pixels that are reduced at a time, so that they stay in the processor's cache."""
FLAT = 64 * np.finfo(np.float64).eps
"""A window that varies by less than this share of its mean holds rounding and nothing else."""

Image = Real[np.ndarray, "..."] | Bool[np.ndarray, "..."]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpatialPcc:
    """The correlation of each window, and for each pixel the mean over the windows that cover it.

    `map` has the shape of the images; a pixel is NaN where no window with a correlation covers it.
    `windows` holds the correlation of each window by its place in the grid, NaN where one of the
    images is constant in it or undefined. `undefined` of `n` windows are NaN, and `lost` pixels.
    """

    map: Float[np.ndarray, "*s"]
    windows: Float[np.ndarray, "*w"]
    n: int
    undefined: int
    lost: int


class _Moments(NamedTuple):
    """Of parts of equal size: means, and sums of products about them."""

    size: int
    a: np.ndarray
    b: np.ndarray
    aa: np.ndarray
    bb: np.ndarray
    ab: np.ndarray


def spatial_pcc(
    a: Image,
    b: Image,
    *,
    window: int | Sequence[int] = 32,
    stride: int | Sequence[int] | None = None,
    edges: str = "cover",
) -> SpatialPcc:
    """Correlation map of two planes `(y, x)` or stacks `(z, y, x)`.

    `window` and `stride` (half a window) are in pixels along each axis; one number is for y and x,
    and in a stack each slice is then correlated alone. Windows start at multiples of the stride,
    and with `edges="cover"` a last one ends where the image does, so that every pixel is covered;
    `"leave"` leaves such strips NaN. A NaN in an image makes the windows that hold it undefined.
    """
    if a.shape != b.shape or a.ndim not in (2, 3):
        raise DataError(f"images of {a.shape} and {b.shape}; give two planes or stacks of one grid")
    if edges not in ("cover", "leave"):
        raise UsageError(f"edges are not {edges!r}: they are cover or leave")
    if _infinite(a) or _infinite(b):
        raise DataError("an image holds infinite values, which correlate with nothing")
    wide = _sizes(window, a.ndim, "window")
    steps = _sizes(stride, a.ndim, "stride") if stride is not None else _halves(wide)
    if too_wide := [(w, s) for w, s in zip(wide, a.shape, strict=True) if w > s]:
        raise UsageError(
            f"a window of {too_wide[0][0]} pixels does not fit into an axis of {too_wide[0][1]}"
        )
    if math.prod(wide) < 2:
        raise UsageError("a window of one pixel has no correlation: give more, such as 32")
    starts = [
        _starts(size, w, step, edges) for size, w, step in zip(a.shape, wide, steps, strict=True)
    ]
    found = np.empty([len(one) for one in starts])
    for corner, place in _parts(starts, wide, steps, a.shape):
        found[place] = _correlation(_windows(a[corner], b[corner], wide, steps))
    mapped, lost = _mapped(found, starts, wide, a.shape)
    return SpatialPcc(
        map=mapped,
        windows=found,
        n=found.size,
        undefined=int(np.isnan(found).sum()),
        lost=lost,
    )


def pearson(a: Image, b: Image, weight: Image | None = None) -> float:
    """Pearson correlation over all voxels, or with their weights; NaN where a side is constant.

    Weights are 0 or above; a weight of 0 takes the voxel out, and a mask of ones changes nothing.
    Voxels with NaN in either image make it NaN; select before, and report how many.
    """
    if a.shape != b.shape or (weight is not None and weight.shape != a.shape):
        shapes = [one.shape for one in (a, b, weight) if one is not None]
        raise DataError(f"images of the shapes {shapes} have no correlation: give one grid")
    x, y = np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel()
    w = np.ones(len(x)) if weight is None else np.asarray(weight, np.float64).ravel()
    if not (np.isfinite(w).all() and (w >= 0).all()):
        raise DataError("some weights are negative or undefined; each must be 0 or above")
    x, y, w = x[w > 0], y[w > 0], w[w > 0]
    if len(x) < 2:
        return float("nan")
    w = w / w.sum()
    means = float(w @ x), float(w @ y)
    x, y = x - means[0], y - means[1]
    powers = float(w @ (x * x)), float(w @ (y * y))
    if any(_flat(p, m) for p, m in zip(powers, means, strict=True)):
        return float("nan")
    return float(np.clip((w @ (x * y)) / math.sqrt(powers[0]) / math.sqrt(powers[1]), -1, 1))


def map_agreement(
    first: Float[np.ndarray, "..."],
    second: Float[np.ndarray, "..."],
    *,
    window: int | Sequence[int] = 32,
    stride: int | Sequence[int] | None = None,
) -> tuple[float, int, SpatialPcc]:
    """Whether two correlation maps are high in the same places.

    Returns their correlation over the pixels where both are defined, how many those are, and the
    map of it: where prediction and truth agree, does the noisy prediction agree as well?
    """
    both = ~np.isnan(first) & ~np.isnan(second) if first.shape == second.shape else None
    if both is None:
        raise DataError(f"maps of {first.shape} and {second.shape} are not of one field")
    again = spatial_pcc(first, second, window=window, stride=stride)
    return pearson(first[both], second[both]), int(both.sum()), again


def _infinite(image: np.ndarray) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        quick = np.isfinite(image.sum(dtype=np.float64))
    return not quick and bool(np.isinf(image).any())


def _flat(power: float, mean: float) -> bool:
    """NaN is not flat: it goes on to be seen."""
    return bool(power <= (FLAT * mean) ** 2)


def _sizes(given: int | Sequence[int], dims: int, name: str) -> tuple[int, ...]:
    sizes = (1,) * (dims - 2) + (given,) * 2 if isinstance(given, int) else tuple(given)
    if len(sizes) != dims or min(sizes) < 1:
        raise UsageError(f"a {name} of {given} pixels; give one number, or {dims}, from 1 on")
    return sizes


def _halves(wide: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(1, w // 2) for w in wide)


def _starts(size: int, wide: int, step: int, edges: str) -> np.ndarray:
    starts = np.arange(0, size - wide + 1, step)
    if edges == "cover" and starts[-1] + wide < size:
        starts = np.append(starts, size - wide)
    return starts


def _parts(
    starts: list[np.ndarray], wide: tuple[int, ...], steps: tuple[int, ...], shape: tuple[int, ...]
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """The grid of regular windows, and those that were moved back to an edge, one axis or more."""
    axes = []
    for at, w, step, size in zip(starts, wide, steps, shape, strict=True):
        whole = (size - w) // step + 1
        ways = [(slice(0, (whole - 1) * step + w), slice(0, whole))]
        if len(at) > whole:
            ways.append((slice(size - w, size), slice(whole, whole + 1)))
        axes.append(ways)
    for chosen in product(*axes):
        yield tuple(one for one, _ in chosen), tuple(one for _, one in chosen)


def _windows(
    a: np.ndarray, b: np.ndarray, wide: tuple[int, ...], steps: tuple[int, ...]
) -> _Moments:
    """Moments of all windows that start at multiples of the steps."""
    bricks = tuple(math.gcd(w, step) for w, step in zip(wide, steps, strict=True))
    found = _bricks(a, b, bricks)
    for axis, (w, step, g) in enumerate(zip(wide, steps, bricks, strict=True)):
        found = _slide(found, axis, w // g, step // g)
    return found


def _bricks(a: np.ndarray, b: np.ndarray, sizes: tuple[int, ...]) -> _Moments:
    """Moments of bricks that tile the images, some rows of them at a time."""
    grid = tuple(size // g for size, g in zip(a.shape, sizes, strict=True))
    out = _Moments(math.prod(sizes), *(np.empty(grid) for _ in range(5)))
    one = math.prod(sizes[:-1]) * a.shape[-1]
    rows = max(1, CACHED // one)
    room = np.empty((2, rows * one))
    lanes = [range(0, n, rows if axis == len(grid) - 2 else 1) for axis, n in enumerate(grid[:-1])]
    for place in product(*lanes):
        grown = [slice(p, p + lane.step) for p, lane in zip(place, lanes, strict=True)]
        pixels = tuple(slice(s.start * g, s.stop * g) for s, g in zip(grown, sizes, strict=False))
        x, y = (np.asarray(image[pixels], np.float64) for image in (a, b))
        zero = np.zeros((1,) * a.ndim)
        part = _Moments(1, x, y, zero, zero, zero)
        for axis, g in enumerate(sizes):
            part = _fold(part, axis, g, room)
        for whole, piece in zip(out[1:], part[1:], strict=True):
            whole[tuple(grown)] = piece
    return out


def _fold(parts: _Moments, axis: int, g: int, room: np.ndarray) -> _Moments:
    """Merge every g neighbours along an axis; `room` holds two images of pixels."""
    if g == 1:
        return parts
    shape = parts.a.shape
    lines = (-1, g, math.prod(shape[axis + 1 :]))
    merged = (*shape[:axis], shape[axis] // g, *shape[axis + 1 :])
    a, b = parts.a.reshape(lines), parts.b.reshape(lines)
    mean_a, mean_b = a.sum(1) / g, b.sum(1) / g
    da, db = (one[: a.size].reshape(a.shape) for one in room)
    np.subtract(a, mean_a[:, None], out=da)
    np.subtract(b, mean_b[:, None], out=db)
    sums = []
    for inner, x, y in ((parts.aa, da, da), (parts.bb, db, db), (parts.ab, da, db)):
        between = parts.size * np.einsum("igj,igj->ij", x, y)
        if parts.size > 1:  # single pixels have no moments of their own
            between = between + inner.reshape(lines).sum(1)
        sums.append(between.reshape(merged))
    return _Moments(parts.size * g, mean_a.reshape(merged), mean_b.reshape(merged), *sums)


def _slide(parts: _Moments, axis: int, w: int, step: int) -> _Moments:
    """Merge w neighbours along an axis at every `step`-th place, from pieces that double."""
    found, reach = None, 0
    piece, length = parts, 1
    while True:
        if w & length:
            found = piece if found is None else _join(found, piece, axis, reach)
            reach += length
        if reach == w:
            break
        piece = _join(piece, piece, axis, length)
        length *= 2
    assert found is not None
    at = (slice(None),) * axis + (slice(None, None, step),)
    return _Moments(found.size, *(one[at] for one in found[1:]))


def _join(first: _Moments, second: _Moments, axis: int, apart: int) -> _Moments:
    """Merge each part with the one that lies `apart` further on."""
    n = min(first.a.shape[axis], second.a.shape[axis] - apart)
    here = (slice(None),) * axis + (slice(0, n),)
    there = (slice(None),) * axis + (slice(apart, apart + n),)
    size = first.size + second.size
    share = second.size / size
    da = second.a[there] - first.a[here]
    db = second.b[there] - first.b[here]
    weight = first.size * share
    return _Moments(
        size,
        first.a[here] + share * da,
        first.b[here] + share * db,
        first.aa[here] + second.aa[there] + weight * da * da,
        first.bb[here] + second.bb[there] + weight * db * db,
        first.ab[here] + second.ab[there] + weight * da * db,
    )


def _correlation(of: _Moments) -> np.ndarray:
    found = np.full(of.a.shape, np.nan)
    varies = (of.aa > of.size * (FLAT * of.a) ** 2) & (of.bb > of.size * (FLAT * of.b) ** 2)
    # roots first: the product of two small powers may be too small for a number
    np.divide(of.ab, np.sqrt(of.aa) * np.sqrt(of.bb), out=found, where=varies)
    clipped: np.ndarray = np.clip(found, -1, 1)
    return clipped


def _mapped(
    found: np.ndarray, starts: list[np.ndarray], wide: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[np.ndarray, int]:
    """For each pixel the mean over the defined windows that cover it; NaN, and how many, if none.

    All pixels between two neighbouring edges of windows are covered alike, and computed once.
    """
    defined = ~np.isnan(found)
    total, count = np.where(defined, found, 0.0), defined.astype(np.float64)
    lengths = []
    for axis, (at, w, size) in enumerate(zip(starts, wide, shape, strict=True)):
        cuts = np.unique(np.concatenate([[0, size], at, at + w]))
        lengths.append(np.diff(cuts))
        first, last = np.searchsorted(cuts, at), np.searchsorted(cuts, at + w)
        total, count = (_covered(one, axis, first, last, len(cuts)) for one in (total, count))
    mapped = np.full(total.shape, np.nan)
    np.divide(total, count, out=mapped, where=count > 0.5)
    holes: np.ndarray = np.isnan(mapped)
    for axis in reversed(range(len(shape))):
        if (lengths[axis] > 1).any():
            mapped = np.repeat(mapped, lengths[axis], axis=axis)
        holes = holes @ lengths[axis]
    return mapped, int(holes)


def _covered(
    values: np.ndarray, axis: int, first: np.ndarray, last: np.ndarray, cuts: int
) -> np.ndarray:
    """Sums along an axis over the windows that cover each stretch between two cuts."""
    steps = np.zeros((*values.shape[:axis], cuts, *values.shape[axis + 1 :]))
    along = np.moveaxis(steps, axis, 0), np.moveaxis(values, axis, 0)
    along[0][first] += along[1]  # no two windows start together, and no two end together
    along[0][last] -= along[1]
    return np.cumsum(steps, axis=axis).take(range(cuts - 1), axis)
