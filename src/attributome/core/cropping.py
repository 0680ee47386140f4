"""Fixed boxes around labelled cells, the same in 2-D and 3-D."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, Integer, Shaped

from attributome.core.errors import DataError, UsageError

Border = Literal["drop", "pad"]
_MOST = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boxes:
    """The cells of one field by rising label, each in the middle of its box.

    `crops` has the image's own dtype. `labels` are the labels of all cells in the box, 0 where no
    cell is and outside the field; `own` is the label of the cell in the middle. `centres` are
    centroids in voxels of the field, `volumes` counts of voxels (of pixels in 2-D), `inside` the
    share of the cell's voxels that is in its box, and `at_edge` says whether the cell touches an
    edge of the field, beyond which it may go on. `dropped` are the labels whose box leaves the
    field, where those are dropped.
    """

    crops: Shaped[np.ndarray, "n c *box"]
    labels: Int32[np.ndarray, "n *box"]
    own: Int32[np.ndarray, " n"]
    centres: Float64[np.ndarray, "n axes"]
    volumes: Int64[np.ndarray, " n"]
    inside: Float64[np.ndarray, " n"]
    at_edge: Bool[np.ndarray, " n"]
    dropped: Int32[np.ndarray, " dropped"]

    def __len__(self) -> int:
        return len(self.own)

    def neighbours(self) -> list[list[int]]:
        """For each cell, the labels of the other cells that are seen in its box, rising."""
        near = []
        for box, own in zip(self.labels, self.own, strict=True):
            seen = np.unique(box)
            near.append([int(label) for label in seen if label not in (0, own)])
        return near


def cut_boxes(
    image: Shaped[np.ndarray, "c *s"],
    labels: Integer[np.ndarray, "*field"],
    *,
    size: tuple[int, ...],
    border: Border = "drop",
) -> Boxes:
    """A box of `size` voxels per axis around each cell, from k - size // 2 on along each axis.

    k is the centroid (the mean over the cell's voxels), truncated to a whole number. A box that
    leaves the field is dropped, as Lu et al. (2019) published, or padded with each channel's least
    value in the field, which leaves the scale of a crop as it was, and with label 0.

    Raises `DataError` where labels do not fit the image, where a label is negative or does not fit
    32 bits, and where a voxel is not finite.
    """
    _check(image, labels, size, border)
    ids, centres, volumes, at_edge = _measured(labels)
    starts = centres.astype(np.int64) - np.array(size) // 2
    fits = ((starts >= 0) & (starts + size <= labels.shape)).all(1)
    kept = fits if border == "drop" else np.ones(len(ids), bool)
    count = int(kept.sum())
    crops = np.empty((count, len(image), *size), image.dtype)
    if not fits[kept].all():
        least = image.min(tuple(range(1, image.ndim)))
        crops[:] = least.reshape(-1, *[1] * labels.ndim)
    boxes = np.zeros((count, *size), np.int32)
    for row, start in enumerate(starts[kept].tolist()):
        there, here = _overlap(start, size, labels.shape)
        crops[row][(slice(None), *here)] = image[(slice(None), *there)]
        boxes[row][here] = labels[there]
    own = ids[kept]
    mine = boxes == own.reshape(-1, *[1] * labels.ndim)
    return Boxes(
        crops=crops,
        labels=boxes,
        own=own,
        centres=centres[kept],
        volumes=volumes[kept],
        inside=mine.sum(tuple(range(1, mine.ndim))) / volumes[kept],
        at_edge=at_edge[kept],
        dropped=ids[~kept],
    )


def box(size_um: float | Sequence[float], spacing: Sequence[float]) -> tuple[int, ...]:
    """A box in voxels: its length in micrometres over the voxel's, to the nearest whole number.

    One length stands for all axes, so that a cube becomes flat where slices are far apart. Halves
    are rounded up; a box that is no voxel long along an axis is refused.
    """
    lengths = [*size_um] if isinstance(size_um, Sequence) else [size_um] * len(spacing)
    if len(lengths) != len(spacing) or not all(
        math.isfinite(value) and value > 0 for value in (*lengths, *spacing)
    ):
        raise UsageError(
            f"a box of {size_um} µm in voxels of {tuple(spacing)} µm cannot be meant: each axis "
            f"needs a length and a spacing above 0"
        )
    voxels = tuple(
        math.floor(length / step + 0.5) for length, step in zip(lengths, spacing, strict=True)
    )
    if min(voxels) < 1:
        raise UsageError(
            f"a box of {size_um} µm is {' x '.join(map(str, voxels))} voxels of {tuple(spacing)} "
            f"µm: each axis needs one at least"
        )
    return voxels


def corrected(
    image: Shaped[np.ndarray, "c *s"], illumination: Shaped[np.ndarray, "k *t"]
) -> Float32[np.ndarray, "c *s"]:
    """An image over its illumination, channel by channel: what would be seen under even light.

    `illumination` `(c, *s)` has the shape of the image, or `(c, y, x)` that of each slice of a
    z-stack; it is positive everywhere, as CellProfiler's functions are, and it is not rescaled.
    """
    slice_of = (len(image), *image.shape[-2:])
    if illumination.shape not in (image.shape, slice_of):
        raise DataError(
            f"an illumination of shape {illumination.shape} does not fit an image of "
            f"{image.shape}; it would be {slice_of} or the same"
        )
    light = illumination.astype(np.float64)
    if not (np.isfinite(light) & (light > 0)).all():
        wrong = int((~(np.isfinite(light) & (light > 0))).sum())
        raise DataError(f"{wrong} pixels of an illumination are 0, negative or no number")
    if illumination.ndim < image.ndim:
        light = light[:, None]
    out = np.empty(image.shape, np.float32)
    for into, channel, over in zip(out, image, light, strict=True):
        into[...] = channel / over
    if not np.isfinite(out).all():
        raise DataError(f"{int((~np.isfinite(out)).sum())} pixels are NaN or infinite")
    return out


def _check(image: np.ndarray, labels: np.ndarray, size: tuple[int, ...], border: str) -> None:
    shown = " x ".join(map(str, size))
    if len(size) != labels.ndim or labels.ndim not in (2, 3):
        raise UsageError(f"a box of {shown} does not fit labels of shape {labels.shape}")
    if min(size) < 1:
        raise UsageError(f"boxes of {shown} pixels are none")
    if border not in ("drop", "pad"):
        raise UsageError(f"border={border!r} cannot be meant; it is 'drop' or 'pad'")
    if labels.shape != image.shape[1:]:
        raise DataError(f"labels of shape {labels.shape} do not fit an image of {image.shape}")
    if not image.size:
        raise DataError(f"an image of shape {image.shape} has no pixels")
    if image.dtype.kind not in "buif":
        raise DataError(f"an image of {image.dtype} cannot be cut: it holds real numbers")
    if labels.min() < 0:
        raise DataError("an image of labels holds negative numbers; 0 is where no cell is")
    if labels.max() > _MOST:
        raise DataError(f"the label {labels.max()} does not fit 32 bits; number the cells anew")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise DataError(f"{int((~np.isfinite(image)).sum())} pixels are NaN or infinite")


def _measured(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels that occur, their centroids and sizes, and whether they touch an edge.

    Only what is labelled is looked at, and sums of whole numbers are exact.
    """
    flat = labels.ravel()
    at = np.flatnonzero(flat)
    ids, place = np.unique(flat[at], return_inverse=True)
    volumes = np.bincount(place, minlength=len(ids)).astype(np.int64)
    centres = np.empty((len(ids), labels.ndim))
    rest = at
    for axis in reversed(range(labels.ndim)):
        rest, along = np.divmod(rest, labels.shape[axis])
        centres[:, axis] = np.bincount(place, along, minlength=len(ids)) / volumes
    faces = [np.unique(labels.take(end, axis)) for axis in range(labels.ndim) for end in (0, -1)]
    return ids.astype(np.int32), centres, volumes, np.isin(ids, np.concatenate(faces))


def _overlap(
    start: Sequence[int], size: Sequence[int], room: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of a box that is in the field, as places in the field and in the box."""
    there, here = [], []
    for begin, length, end in zip(start, size, room, strict=True):
        first, last = max(begin, 0), min(begin + length, end)
        there.append(slice(first, last))
        here.append(slice(first - begin, last - begin))
    return tuple(there), tuple(here)
