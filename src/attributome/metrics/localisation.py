"""Whether the mask lies where the evidence is known to be, or where a structure is segmented.

All are NaN where a region or a signature is empty: undefined, to be counted and not averaged.
Scores of maps (not of masks) are NaN, too, where the region is the whole field or the map is
constant; a map of several channels is summed over them, and ties count by their expected share.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.types import Maps, Masks, Scores
from attributome.metrics.ranking import constant, one_channel, unless

Region = Bool[Tensor, "b 1 *s"]


def recall(masks: Masks, region: Region) -> Scores:
    """Share of the region that the binary mask keeps."""
    return _sum(masks * region) / _sum(region)


def precision(masks: Masks, region: Region) -> Scores:
    """Share of the binary mask that lies in the region."""
    return _sum(masks * region) / _sum(masks)


def mean_inside(maps: Masks, region: Region) -> Scores:
    """Mean importance inside the region."""
    return _sum(maps * region) / _sum(region)


def context(masks: Masks, region: Region) -> Scores:
    """Mask size over the share of the mask inside the region: how much surrounding is needed.

    Infinite where mask and region do not meet (Mask Interpreter).
    """
    return masks.flatten(1).mean(1) / precision(masks, region)


def pointing_game(
    maps: Maps,
    region: Region,
    *,
    tolerance_um: float = 0.0,
    pixel_size: Sequence[float] | None = None,
) -> Scores:
    """1 where the largest value lies in the region or nearer to it than the tolerance, else 0.

    Zhang et al. 2018, with the tolerance in micrometres: `pixel_size` is µm along each axis. Of
    several largest values each counts for its share.
    """
    if tolerance_um > 0 and (pixel_size is None or len(pixel_size) != region.ndim - 2):
        raise UsageError(
            f"a tolerance of {tolerance_um:g} µm needs the pixel size along each of "
            f"{region.ndim - 2} axes, not {pixel_size}"
        )
    summed = one_channel(maps)
    hit = region if tolerance_um <= 0 else _grown(region, tolerance_um, pixel_size)
    largest = summed == summed.flatten(1).amax(1).view(-1, *[1] * (maps.ndim - 1))
    return unless(_undefined(summed, region), (largest & hit).flatten(1).sum(1) / _sum(largest))


def relevance_mass(
    maps: Maps, region: Region, *, sign: Literal["positive", "negative", "both"] = "positive"
) -> Scores:
    """Share of the map's relevance inside the region (Arras et al. 2022).

    Of the positive values, of the negative ones, or of both by their size. NaN where there is no
    such value.
    """
    summed = one_channel(maps)
    parts = {"positive": summed.clamp_min(0), "negative": (-summed).clamp_min(0)}
    mass = parts[sign] if sign in parts else summed.abs()
    return unless(_undefined(summed, region), _sum(mass * region) / _sum(mass))


def relevance_rank(maps: Maps, region: Region) -> Scores:
    """Share of the region among as many pixels of highest value as it has (Arras et al. 2022)."""
    return _matched(maps, region)[0]


def iou_at_area(maps: Maps, region: Region) -> Scores:
    """Intersection over union of the region and the map's highest values of the same area."""
    share, undefined = _matched(maps, region)
    return unless(undefined, share / (2 - share))


def average_precision(maps: Maps, region: Region) -> Scores:
    """Area below the precision-recall curve, as the sum of precision over steps of recall.

    Pixels of one value enter together, as scikit-learn has it.
    """
    summed = one_channel(maps)
    flat, inside = summed.flatten(1).contiguous(), region.flatten(1)
    ordered, order = flat.sort(dim=1)
    lower = torch.searchsorted(ordered, flat)  # how many pixels lie below this one's value
    hits = inside.gather(1, order).long().cumsum(1)
    hits_below = torch.where(lower > 0, hits.gather(1, (lower - 1).clamp_min(0)), 0)
    found = (hits[:, -1:] - hits_below).to(flat) / (flat.shape[1] - lower).to(flat)
    mean = (found * inside).sum(1) / inside.sum(1)
    return unless(_undefined(summed, region), mean)


def _matched(maps: Maps, region: Region) -> tuple[Scores, Bool[Tensor, " b"]]:
    """Expected share of the region in the top of its own size, and where that is undefined."""
    summed = one_channel(maps)
    flat, inside = summed.flatten(1), region.flatten(1)
    undefined, area = _undefined(summed, region), inside.sum(1, keepdim=True)
    last = flat.sort(dim=1, descending=True).values.gather(1, (area - 1).clamp_min(0))
    above, level = flat > last, flat == last
    room = (area - above.sum(1, keepdim=True)).to(flat) / level.sum(1, keepdim=True)
    hits = (above & inside).sum(1, keepdim=True) + room * (level & inside).sum(1, keepdim=True)
    return unless(undefined, (hits / area).squeeze(1)), undefined


def _undefined(maps: Masks, region: Region) -> Bool[Tensor, " b"]:
    inside = region.flatten(1)
    return constant(maps) | ~inside.any(1) | inside.all(1)


def _grown(region: Region, by: float, pixel_size: Sequence[float] | None) -> Region:
    """The region and what is at most `by` from a pixel of it, centre to centre."""
    near = []
    for one in region[:, 0].cpu().numpy():
        away: Float[np.ndarray, "*s"] = distance_transform_edt(~one, sampling=pixel_size)
        near.append(torch.from_numpy(away <= by * (1 + 1e-9)) & bool(one.any()))
    return torch.stack(near)[:, None].to(region.device)


def _sum(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1, dtype=torch.promote_types(x.dtype, torch.float32))
