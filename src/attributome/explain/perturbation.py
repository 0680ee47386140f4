"""Attributions that only call the model forwards, so the model need not be differentiable."""

from collections.abc import Sequence
from math import ceil, prod

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from attributome.core.draws import Seeds, each
from attributome.core.errors import UsageError
from attributome.core.probe import at_once, values
from attributome.core.types import Images, Maps, Predictor, Target
from attributome.explain.segments import (
    Baseline,
    Labels,
    backdrop,
    compact,
    per_axis,
    sizes_of,
    usual_blocks,
)


def occlusion(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    window: int | Sequence[int] = 8,
    stride: int | Sequence[int] | None = None,
    baseline: Baseline = 0.0,
) -> Maps:
    """Drop in the target when a window is replaced, averaged over the windows that hide a pixel.

    Windows tile the image (Zeiler & Fergus 2014) unless `stride` makes them overlap; those at the
    far borders are cut off. Both count in pixels, along all axes or along each.
    """
    windows = per_axis(x, window, "window")
    strides = windows if stride is None else per_axis(x, stride, "stride")
    if any(step > size for step, size in zip(strides, windows, strict=True)):
        raise UsageError(
            f"a stride of {strides} leaves gaps between windows of {windows} pixels: it must not "
            f"be larger"
        )
    inside = [
        _windows(n, size, step).to(x)
        for n, size, step in zip(x.shape[2:], windows, strides, strict=True)
    ]
    counts = [len(axis) for axis in inside]
    hidden, before = backdrop(x, baseline), values(model, x, target)
    total = before.new_zeros(len(x), prod(x.shape[2:]))
    places = torch.cartesian_prod(*(torch.arange(n, device=x.device) for n in counts))
    for group in places.view(prod(counts), -1).split(at_once(x, prod(counts))):
        holes = _outer([axis[at] for axis, at in zip(inside, group.T, strict=True)])
        versions = torch.lerp(x, hidden, holes[:, None, None]).flatten(0, 1)
        drop = before - values(model, versions, target, copies=len(group))
        total += drop.T @ holes.flatten(1).to(drop)
    cover = _outer([axis.sum(0, keepdim=True) for axis in inside])
    return (total.view(len(x), 1, *x.shape[2:]) / cover).to(x)


def feature_ablation(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    features: Labels | None = None,
    baseline: Baseline = 0.0,
) -> Maps:
    """Drop in the target when one feature is replaced, shown on all pixels of the feature.

    `features` are label images, such as cells; without them about 64 blocks.
    """
    labels = usual_blocks(x) if features is None else compact(features, x)
    hidden, before = backdrop(x, baseline), values(model, x, target)
    flat = labels.flatten(1)
    maps = torch.zeros_like(flat, dtype=before.dtype)
    numbers = torch.arange(sizes_of(labels).shape[1], device=x.device)
    for group in numbers.split(at_once(x, len(numbers))):
        holes = (flat == group[:, None, None]).to(x)
        many = holes.view(len(group), len(x), 1, *x.shape[2:])
        versions = torch.lerp(x, hidden, many).flatten(0, 1)
        drop = before - values(model, versions, target, copies=len(group))
        # every pixel is in one feature, so that at most one term of the sum is not 0
        maps += torch.einsum("kb,kbp->bp", drop, holes.to(drop))
    return maps.view_as(x[:, :1]).to(x)


def rise(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    masks: int = 512,
    cells: int = 7,
    keep: float = 0.5,
    baseline: Baseline = 0.0,
    seed: Seeds = 0,
) -> Maps:
    """Mean target over random smooth masks that keep a pixel, less its mean over all masks.

    `E[F m] / E[m] - E[F]`. Petsiuk et al. 2018 do not take the last term away; it is one number
    per sample, and without it a pixel that changes nothing would not get 0. A mask is a grid of
    `cells` cells along each axis, each kept with probability `keep`, enlarged by linear
    interpolation and shifted at random by less than a cell.
    """
    if masks < 2 or cells < 1 or not 0 < keep < 1:
        raise UsageError(
            f"{masks} masks of {cells} cells, kept with probability {keep}: give at least two "
            f"masks, one cell and a probability between 0 and 1"
        )
    dims = x.ndim - 2
    numbers = dims + (cells + 1) ** dims
    alike = x[:1] if isinstance(seed, int) else x  # one seed: the same masks for every sample
    drawn = each(alike, seed, lambda _, g: torch.rand(1, masks, numbers, generator=g)).to(x.device)
    hidden = backdrop(x, baseline)
    nothing = values(model, hidden, target)[0]
    kept = x.new_zeros(len(alike), prod(x.shape[2:]))
    with_kept, scores = torch.zeros_like(x[:, 0]).flatten(1), torch.zeros_like(nothing)
    for group in drawn.transpose(0, 1).split(at_once(x, masks)):
        smooth = _smooth_masks(group.flatten(0, 1), x, cells, keep)
        smooth = smooth.unflatten(0, group.shape[:2])
        versions = torch.lerp(hidden, x, smooth[:, :, None]).flatten(0, 1)
        # counted from the value of nothing, so that a constant model scores exactly 0
        score = values(model, versions, target, copies=len(group)) - nothing
        flat = smooth.flatten(2)
        with_kept += torch.einsum("kb,kbp->bp", score.to(x), flat.expand(-1, len(x), -1))
        kept += flat.sum(0)
        scores += score.sum(0)
    if not kept.all():
        raise UsageError(f"some pixels were hidden by all {masks} masks: give more of them")
    return (with_kept / kept - scores[:, None] / masks).view_as(x[:, :1]).to(x)


def _windows(size: int, window: int, stride: int) -> Bool[Tensor, "n s"]:
    """Which pixels along an axis each window covers; the last window reaches the far border."""
    starts = torch.arange(max(0, ceil((size - window) / stride)) + 1)[:, None] * stride
    pixels = torch.arange(size)
    return (pixels >= starts) & (pixels < starts + window)


def _outer(axes: Sequence[Tensor]) -> Tensor:
    """Products of `(n, s_a)` over all axes: `(n, *s)`."""
    found = axes[0]
    for axis in axes[1:]:
        found = found[..., None] * axis.view(len(axis), *[1] * (found.ndim - 1), -1)
    return found


def _smooth_masks(
    drawn: Float[Tensor, "n q"], x: Images, cells: int, keep: float
) -> Float[Tensor, "n *s"]:
    """Masks from uniform numbers: first the shift along each axis, then the cells."""
    dims = x.ndim - 2
    masks: Tensor = (drawn[:, dims:] < keep).to(x).unflatten(1, [cells + 1] * dims)
    for axis, size in enumerate(x.shape[2:]):
        cell = ceil(size / cells)
        grid = torch.eye(cells + 1, dtype=x.dtype, device=x.device)[None]
        enlarge = F.interpolate(grid, size=(cells + 1) * cell, mode="linear")[0].T
        shift = (drawn[:, axis] * cell).long().clamp_max(cell - 1)
        rows = enlarge[shift[:, None] + torch.arange(size, device=x.device)]
        # takes the first axis away and puts its pixels last, so that `dims` turns keep the order
        masks = torch.einsum("ng...,npg->n...p", masks, rows)
    return masks
