"""How much of a map lies on the cell that it is about, on its neighbours, on the background.

A map H ≥ 0 on the grid of a layer is enlarged to the crop by linear interpolation R (half-pixel
centres, `align_corners=False`), and its mass inside a mask M is ⟨R H, M⟩ = ⟨H, Rᵀ M⟩: the masks are
brought to the grid, once per cell, and no map is ever enlarged for its shares. This is exact,
because nothing but R, which is linear, comes between map and mask; a ReLU has to come before.

The shares do not change when a map is multiplied by a positive number. They do change when its
minimum is subtracted, so nobody may do that before. A uniform map scores the mask's share of the
crop, which is what chance is here: half of the mass means much for a small cell and little for one
that fills half of its crop. A map that is 0 everywhere says nothing, and its scores are undefined.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attributome.core.errors import DataError, UsageError

INTERPOLATION = "linear, half-pixel centres"
AT_A_TIME = 2**22
"""Numbers of enlarged maps that are held at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlap:
    """Scores of map j of sample i at `[i, j]`; NaN is undefined, to be counted and not averaged.

    `cell`, `neighbours` and `background` are shares of the map's mass and sum to 1. `chance` is the
    own mask's share of the crop, what a uniform map scores; `enrichment` is cell / chance, and
    `corrected` is (cell − chance) / (1 − chance), undefined where the mask fills the crop. `iou`
    and `dice` compare the own mask with where the map reaches a level of its maximum, and
    `pointing` says whether the maximum lies in the own mask; of several, each counts for its share.
    `undefined` says which maps are 0 everywhere.
    """

    cell: Float[Tensor, "b k"]
    neighbours: Float[Tensor, "b k"]
    background: Float[Tensor, "b k"]
    chance: Float[Tensor, "b k"]
    enrichment: Float[Tensor, "b k"]
    corrected: Float[Tensor, "b k"]
    iou: Float[Tensor, "b k"]
    dice: Float[Tensor, "b k"]
    pointing: Float[Tensor, "b k"]
    undefined: Bool[Tensor, "b k"]


def overlap(
    maps: Float[Tensor, "b k *t"],
    labels: Int[Tensor, "b *s"],
    own: Int[Tensor, " b"],
    *,
    level: float = 0.5,
    dilate: int | Sequence[int] = 0,
    fine: bool = True,
) -> Overlap:
    """Where the mass of maps lies, in crops whose cell of interest has the label `own`.

    `labels` has all cells of the crop, 0 where none is; a map is on the crop's own grid or on a
    coarser one of as many axes. Only the pixels with the label `own` are the cell, so that its
    neighbours never count for it; with `dilate` (pixels, for all axes or each) the box around each
    of its pixels is counted in, from whomever it takes them, and in `chance` as well. The level is
    a share of the map's maximum. With `fine`, `iou`, `dice` and `pointing` are those of the
    enlarged map; without, those of the places of its grid, of which the mask covers a share: no
    map is enlarged, which is what many features need. The shares are the same either way, and have
    a gradient with respect to the maps.

    Maps must not be negative (DataError), and the label `own` must be in its crop (DataError).
    """
    if maps.ndim != labels.ndim + 1:
        raise UsageError(
            f"maps of shape {tuple(maps.shape)} for labels of shape {tuple(labels.shape)}: give "
            f"(batch, maps, *space) and (batch, *space) of as many axes"
        )
    parts = regions(labels.to(maps.device), own.to(maps.device), dilate=dilate)
    return overlap_in(maps, parts, level=level, fine=fine)


def overlap_in(
    maps: Float[Tensor, "b k *t"],
    regions: Bool[Tensor, "b 3 *s"],
    *,
    level: float = 0.5,
    fine: bool = True,
    first: tuple[int, int] = (0, 0),
) -> Overlap:
    """`overlap` of regions that are known; `first` numbers the first sample and map in messages."""
    if not 0 < level <= 1:
        raise UsageError(f"a level of {level} of the maximum; it is above 0 and at most 1")
    unit = _of_maximum(maps, first)
    parts, grid = regions.to(unit), tuple(maps.shape[2:])
    mass = unit.flatten(2) @ onto_grid(parts, grid).flatten(2).mT
    total = mass.sum(2)
    undefined = total == 0
    shares = mass / torch.where(undefined, 1.0, total)[..., None]
    with torch.no_grad():
        if fine:
            shapes = _enlarged_shapes(unit, parts, level)
        else:
            covered = covered_shares(parts[:, :1], grid).flatten(1)
            shapes = _shapes(unit.flatten(2), covered, level)
    return _record(
        unless(undefined[..., None], shares), parts, unless(undefined, shapes), undefined
    )


def at_maximum(
    maps: Float[Tensor, "b k *t"],
    regions: Bool[Tensor, "b 3 *s"],
    *,
    first: tuple[int, int] = (0, 0),
) -> Overlap:
    """Where the maximum of maps lies, whatever their signs: exact for max-pooled features.

    Such a feature is the value at one place of the grid and at no other. The place is a box of the
    crop, which cell, neighbours and background cover in shares; of several places that reach the
    maximum each counts alike. A constant map has no maximum and is undefined; a place has no
    extent to compare with a mask, so that `iou` and `dice` are undefined throughout.
    """
    flat = maps.detach().flatten(2)
    low, high = flat.amin(2), flat.amax(2)
    wrong = ~(low.isfinite() & high.isfinite())
    if wrong.any():
        sample, which = wrong.nonzero()[0].tolist()
        raise DataError(
            f"map {which + first[1]} of sample {sample + first[0]} holds what is not finite"
        )
    parts = regions.to(flat)
    covered = covered_shares(parts, tuple(maps.shape[2:])).flatten(2)
    top = (flat == high[..., None]).to(flat)
    undefined = low == high
    shares = unless(undefined[..., None], top @ covered.mT / top.sum(2, keepdim=True))
    nowhere = torch.full_like(high, torch.nan)
    return _record(shares, parts, torch.stack([nowhere, nowhere, shares[..., 0]]), undefined)


def regions(
    labels: Int[Tensor, "b *s"], own: Int[Tensor, " b"], *, dilate: int | Sequence[int] = 0
) -> Bool[Tensor, "b 3 *s"]:
    """Cell, neighbours and background of each crop: every pixel is in one of them."""
    if (labels < 0).any():
        raise DataError("an image of labels holds negative numbers; 0 is where no cell is")
    cell = labels == own.view(-1, *[1] * (labels.ndim - 1))
    lost = (own <= 0) | ~cell.flatten(1).any(1)
    if lost.any():
        sample = int(lost.nonzero()[0, 0])
        raise DataError(
            f"sample {sample} of the batch is about the cell with the label {int(own[sample])}, "
            f"which is not in its crop; labels of cells count from 1"
        )
    cell = _dilated(cell, dilate)
    others = (labels > 0) & ~cell
    return torch.stack([cell, others, ~(cell | others)], 1)


def onto_grid(parts: Float[Tensor, "b m *s"], grid: Sequence[int]) -> Float[Tensor, "b m *t"]:
    """Rᵀ of masks: how much of each mask a unit at a place of the grid becomes when enlarged.

    One small matrix per axis, and not the backward pass of the interpolation, whose sums are in no
    fixed order on a GPU.
    """
    for axis, places in reversed([*enumerate(grid, start=2)]):  # the last lies side by side
        one = torch.eye(places, dtype=parts.dtype, device=parts.device)[None]
        weights = F.interpolate(one, size=parts.shape[axis], mode="linear", align_corners=False)[0]
        parts = (parts.movedim(axis, -1) @ weights.mT).movedim(-1, axis)
    return parts


def covered_shares(parts: Float[Tensor, "b m *s"], grid: Sequence[int]) -> Float[Tensor, "b m *t"]:
    """How much of each place of the grid a mask covers, 0 to 1, if places are boxes side by side.

    It is the mean of the mask over the box, also where a box does not hold whole pixels.
    """
    for axis, places in reversed([*enumerate(grid, start=2)]):
        size = parts.shape[axis]
        ends = torch.arange(places + 1, dtype=parts.dtype, device=parts.device) * (size / places)
        pixel = torch.arange(size, dtype=parts.dtype, device=parts.device)[:, None]
        held = torch.minimum(ends[1:], pixel + 1) - torch.maximum(ends[:-1], pixel)
        weights = held.clamp_min(0) * (places / size)
        parts = (parts.movedim(axis, -1) @ weights).movedim(-1, axis)
    return parts


def unless(undefined: Bool[Tensor, "..."], scores: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The scores, and NaN where they are undefined."""
    return torch.where(undefined, torch.nan, scores)


def _record(
    shares: Float[Tensor, "b k 3"],
    parts: Float[Tensor, "b 3 *s"],
    shapes: Float[Tensor, "3 b k"],
    undefined: Bool[Tensor, "b k"],
) -> Overlap:
    cell, neighbours, background = shares.unbind(2)
    iou, dice, pointing = shapes
    chance = parts[:, 0].flatten(1).mean(1)[:, None].expand_as(cell)
    full = chance == 1
    return Overlap(
        cell=cell,
        neighbours=neighbours,
        background=background,
        chance=chance,
        enrichment=cell / chance,
        corrected=unless(full, (cell - chance) / torch.where(full, 1.0, 1 - chance)),
        iou=iou,
        dice=dice,
        pointing=pointing,
        undefined=undefined,
    )


def _of_maximum(maps: Float[Tensor, "b k *t"], first: tuple[int, int]) -> Float[Tensor, "b k *t"]:
    """Maps as shares of their own maximum, which changes no score and keeps sums in range."""
    found = maps.detach().flatten(2)
    low, high = found.amin(2), found.amax(2)
    wrong = ~((low >= 0) & high.isfinite())  # NaN is not ≥ 0
    if wrong.any():
        sample, which = wrong.nonzero()[0].tolist()
        raise DataError(
            f"map {which + first[1]} of sample {sample + first[0]} reaches from "
            f"{float(low[sample, which]):g} to {float(high[sample, which]):g}: shares of a map "
            f"need finite values that are not negative (apply a ReLU first, and subtract nothing)"
        )
    scale = torch.where(high > 0, high, 1.0)
    return maps / scale.view(*scale.shape, *[1] * (maps.ndim - 2))


def _enlarged_shapes(
    maps: Float[Tensor, "b k *t"], parts: Float[Tensor, "b m *s"], level: float
) -> Float[Tensor, "3 b k"]:
    """`_shapes` of the enlarged maps, some at a time."""
    size, mode = parts.shape[2:], {3: "linear", 4: "bilinear", 5: "trilinear"}[maps.ndim]
    step = max(1, AT_A_TIME // (len(maps) * size.numel()))
    found = [
        _shapes(
            F.interpolate(some, size=size, mode=mode, align_corners=False).flatten(2),
            parts[:, 0].flatten(1),
            level,
        )
        for some in maps.split(step, 1)
    ]
    return torch.cat(found, 2)


def _shapes(
    maps: Float[Tensor, "b k n"], inside: Float[Tensor, "b n"], level: float
) -> Float[Tensor, "3 b k"]:
    """Intersection over union, Dice and pointing game with a mask that may cover in part."""
    peak = maps.amax(2, keepdim=True)
    # written as numbers at once: to convert truth values takes several times as long
    on = torch.ge(maps, level * peak, out=torch.empty_like(maps))
    top = torch.eq(maps, peak, out=torch.empty_like(maps))
    both = (on @ inside[..., None]).squeeze(2)
    sizes = on.sum(2) + inside.sum(1, keepdim=True)
    pointing = (top @ inside[..., None]).squeeze(2) / top.sum(2)
    return torch.stack([both / (sizes - both), 2 * both / sizes, pointing])


def _dilated(cell: Bool[Tensor, "b *s"], by: int | Sequence[int]) -> Bool[Tensor, "b *s"]:
    reach = (by,) * (cell.ndim - 1) if isinstance(by, int) else tuple(by)
    if len(reach) != cell.ndim - 1 or min(reach) < 0:
        raise UsageError(
            f"a dilation of {by} pixels for crops of {cell.ndim - 1} axes: give one number that is "
            f"not negative, or one for each axis"
        )
    for axis, pixels in enumerate(reach, start=1):
        lines = cell.movedim(axis, -1)
        grown = F.max_pool1d(
            lines.flatten(0, -2)[:, None].float(), 2 * pixels + 1, stride=1, padding=pixels
        )
        cell = (grown[:, 0] > 0).view(lines.shape).movedim(-1, axis)
    return cell
