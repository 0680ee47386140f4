"""Regions of a field, by flags or a label image: where a mask is asked for, noised or compared.

A region is drawn in y and x and goes through all slices of a stack, but for labels, which may have
a shape of their own in each. It is written down as a plain dict, so that a run's history can say
which mask was made where.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Integer, Real
from scipy import ndimage

from attributome.core.errors import DataError, UsageError
from attributome.studies.spatial import pearson

Mask = Bool[np.ndarray, "*s"]
Image = Real[np.ndarray, "..."] | Bool[np.ndarray, "..."]

KINDS = {
    "full": "full",
    "rectangle": "rectangle:y0,x0,y1,x1",
    "polygon": "polygon:y,x,y,x,y,x",
    "pixel": "pixel:y,x",
    "labels": "labels or labels:3,7",
}
"""How each kind is written as a flag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of a field, in pixels.

    `numbers` are: of a rectangle y0, x0, y1, x1 (the last two lie outside, as in a slice); of a
    polygon y and x of three or more corners; of a pixel y and x; of labels their numbers (none for
    every cell). Then `erosion` pixels are taken from its edge in y and x.
    """

    kind: str
    numbers: tuple[float, ...] = ()
    erosion: int = 0

    def __post_init__(self) -> None:
        count = len(self.numbers)
        fits = {
            "full": count == 0,
            "rectangle": count == 4,
            "polygon": count >= 6 and count % 2 == 0,
            "pixel": count == 2,
            "labels": True,
        }
        if self.kind not in fits:
            raise UsageError(f"no region {self.kind!r}; there are {', '.join(KINDS)}")
        if not fits[self.kind]:
            raise UsageError(
                f"a region {self.kind} came with {count} numbers; write {KINDS[self.kind]}"
            )
        whole = all(float(number).is_integer() for number in self.numbers)
        if self.kind != "polygon" and not whole:
            raise UsageError(f"the numbers of a {self.kind} are whole, not {self.numbers}")
        if self.erosion < 0:
            raise UsageError(f"an erosion of {self.erosion} pixels; give 0 or more")

    def record(self) -> dict[str, Any]:
        """What JSON can hold, and `region_from` reads."""
        return {"kind": self.kind, "numbers": [*self.numbers], "erosion": self.erosion}


def region_from(told: str | Mapping[str, Any]) -> Region:
    """The region that a flag such as `rectangle:10,20,60,80` or a `record` names."""
    if not isinstance(told, str):
        wrong = [*({*told} ^ {"kind", "numbers", "erosion"})]
        if wrong:
            raise DataError(f"a record of a region has {sorted(told)}: {wrong[0]!r} is amiss")
        return Region(
            kind=str(told["kind"]),
            numbers=tuple(float(number) for number in told["numbers"]),
            erosion=int(told["erosion"]),
        )
    kind, _, rest = told.partition(":")
    words = rest.replace(";", ",").split(",") if rest else []
    number = re.compile(r"\s*-?\d+(\.\d+)?\s*")
    if wrong := [word for word in words if not number.fullmatch(word)]:
        raise UsageError(f"{wrong[0]!r} in the region {told!r} is no number")
    return Region(kind=kind.strip(), numbers=tuple(map(float, words)))


def region_mask(
    region: Region, shape: tuple[int, ...], *, labels: Integer[np.ndarray, "..."] | None = None
) -> Bool[np.ndarray, "..."]:
    """Where the region is, in a plane `(y, x)` or a stack `(z, y, x)`.

    A pixel belongs to a polygon if its centre, which has whole numbers, lies inside. A region that
    reaches out of the field, or of which erosion leaves nothing, is refused.
    """
    if len(shape) not in (2, 3):
        raise DataError(f"a field of {shape} is neither a plane (y, x) nor a stack (z, y, x)")
    if region.kind == "labels":
        found = _labelled(region, shape, labels)
    else:
        plane = _plane(region, (shape[-2], shape[-1]))
        found = np.broadcast_to(plane, shape).copy()
    if region.erosion:
        found = eroded(found, size=2 * region.erosion + 1)
    if not found.any():
        raise DataError(f"the region {region.record()} holds no pixel of a field of {shape}")
    return found


def eroded(mask: Mask, *, size: int, times: int = 1) -> Mask:
    """Without all that lies nearer to the outside than half a square of `size` pixels in y and x.

    The edge of the field is no outside: nobody knows what lies beyond.
    """
    _check_odd(size)
    if times < 0:
        raise UsageError(f"{times} erosions; give 0 or more")
    square = np.ones((1,) * (mask.ndim - 2) + (size, size), bool)
    found = mask.copy()
    for _ in range(times):
        found = ndimage.binary_erosion(found, square, border_value=1)
    return found


def erosion_steps(mask: Mask, *, size: int = 11, steps: int = 3) -> list[Mask]:
    """The region and what each further erosion leaves of it, down to the last that is not empty."""
    if steps < 0:
        raise UsageError(f"{steps} steps of erosion; give 0 or more")
    found = [mask]
    for _ in range(steps):
        less = eroded(found[-1], size=size)
        if not less.any():
            break
        found.append(less)
    return found


def beyond(
    signature: Mask, segmentation: Mask, *, smallest: int = 100, close: int = 3, erode: int = 7
) -> Mask:
    """What a signature holds beyond the segmented organelle, to be noised and judged.

    Objects of fewer than `smallest` voxels (that touch by a side, in the field as it is) are
    dropped, gaps below a square of `close` pixels closed, and the edge eroded by a square of
    `erode`, slice by slice. It never reaches into the organelle.
    """
    _check_odd(close)
    outside = signature & ~segmentation
    labels, count = ndimage.label(outside)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    large = sizes >= smallest
    large[0] = False
    kept = large[labels]
    square = np.ones((1,) * (kept.ndim - 2) + (close, close), bool)
    width = [(0, 0)] * (kept.ndim - 2) + [(close, close)] * 2
    padded = np.pad(kept, width, mode="edge")
    inner = (..., slice(close, -close), slice(close, -close))
    closed = ndimage.binary_closing(padded, square)[inner] & ~segmentation
    return eroded(closed, size=erode)


def restrict(mask: Image, region: Bool[np.ndarray, "..."], *, outside: float) -> np.ndarray:
    """The mask inside the region and one number outside: 1 keeps what is there, 0 noises it."""
    if mask.shape != region.shape:
        raise DataError(f"a mask of {mask.shape} came with a region of {region.shape}")
    if not 0 <= outside <= 1:
        raise UsageError(f"{outside} outside the region is no value of a mask: it is 0 to 1")
    return np.where(region, mask, np.asarray(outside, np.result_type(mask.dtype, np.float32)))


def slice_pcc(
    a: Image,
    b: Image,
    *,
    weight: Image | None = None,
    region: Bool[np.ndarray, "..."] | None = None,
) -> pd.DataFrame:
    """Correlation of two stacks slice by slice, and of all slices together (`z` is −1).

    Columns: `z`, `n` voxels, `pcc`, and with `weight` also `weighted` and `weight`, the sum of the
    weights. Only voxels of the region count. NaN where an image is constant, or nothing counts.
    """
    shapes = {one.shape for one in (a, b, weight, region) if one is not None}
    if len(shapes) > 1 or a.ndim not in (2, 3):
        raise DataError(f"arrays of {sorted(shapes)}: give planes or stacks of one grid")
    stack = a.shape if a.ndim == 3 else (1, *a.shape)
    x, y = a.reshape(stack), b.reshape(stack)
    w = None if weight is None else weight.reshape(stack)
    inside = np.ones(stack, bool) if region is None else region.reshape(stack)
    rows = []
    for z in [*range(stack[0]), -1]:
        planes = slice(z, z + 1) if z >= 0 else slice(None)
        where = inside[planes]
        part = x[planes][where], y[planes][where]
        row: dict[str, float | int] = {"z": z, "n": part[0].size, "pcc": pearson(*part)}
        if w is not None:
            own = w[planes][where]
            row |= {"weighted": pearson(*part, own), "weight": float(own.sum())}
        rows.append(row)
    return pd.DataFrame(rows)


def history_entry(
    region: Region, where: Bool[np.ndarray, "..."], mask: Image, *, threshold: float, **told: Any
) -> dict[str, Any]:
    """A line of a run's history of masks: which region, how large, and what the mask keeps there.

    `told` are further facts that JSON can hold, such as the field, the predictor and the method.
    """
    if mask.shape != where.shape:
        raise DataError(f"a mask of {mask.shape} came with a region of {where.shape}")
    known = {"region", "voxels", "share", "threshold", "kept", "mean"}
    if same := sorted(known & told.keys()):
        raise UsageError(f"{same[0]!r} is told by the mask itself")
    inside = mask[where]
    return told | {
        "region": region.record(),
        "voxels": int(where.sum()),
        "share": float(where.mean()),
        "threshold": threshold,
        "kept": float((inside > threshold).mean()) if inside.size else float("nan"),
        "mean": float(inside.mean()) if inside.size else float("nan"),
    }


def _plane(region: Region, shape: tuple[int, int]) -> np.ndarray:
    from skimage.draw import polygon2mask

    found = np.zeros(shape, bool)
    if region.kind == "full":
        return ~found
    numbers = region.numbers
    ys, xs = np.array(numbers[::2]), np.array(numbers[1::2])
    last = np.array(shape) - (0 if region.kind == "rectangle" else 1)
    if min(*ys, *xs) < 0 or ys.max() > last[0] or xs.max() > last[1]:
        raise UsageError(
            f"the {region.kind} {[*numbers]} reaches out of a field of {shape[0]} × {shape[1]} "
            f"pixels"
        )
    if region.kind == "polygon":
        inside: np.ndarray = polygon2mask(shape, np.stack([ys, xs], axis=1))
        return inside
    y, x = int(ys[0]), int(xs[0])
    if region.kind == "pixel":
        found[y, x] = True
        return found
    found[y : int(ys[1]), x : int(xs[1])] = True
    return found


def _labelled(
    region: Region, shape: tuple[int, ...], labels: Integer[np.ndarray, "..."] | None
) -> np.ndarray:
    if labels is None:
        raise UsageError("a region of labels needs a label image")
    if labels.shape not in (shape, shape[-2:]):
        raise DataError(f"labels of {labels.shape} do not lie on a field of {shape}")
    ids = [int(number) for number in region.numbers]
    if lost := [one for one in ids if one < 1 or not (labels == one).any()]:
        raise DataError(f"the label image has no cell {lost[0]}")
    found = np.isin(labels, ids) if ids else labels > 0
    return np.broadcast_to(found, shape).copy()


def _check_odd(size: int) -> None:
    if size < 1 or size % 2 == 0:
        raise UsageError(f"a square of {size} pixels has no middle; give an odd number")
