"""The order of a map's values, and the correlations that are made of it."""

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.types import Maps, Masks, Scores

Rows = Float[Tensor, "b n"]


def one_channel(maps: Maps) -> Masks:
    """Maps summed over their channels: contributions of one pixel add up, signs included."""
    return maps.sum(1, keepdim=True)


def constant(maps: Maps) -> Bool[Tensor, " b"]:
    """Where a map has one value everywhere: it is no evidence for anything."""
    flat = maps.flatten(1)
    return flat.amax(1) == flat.amin(1)


def unless(undefined: Bool[Tensor, " b"], scores: Scores) -> Scores:
    """The scores, NaN where they are undefined: to be counted and not averaged."""
    return scores.masked_fill(undefined, float("nan"))


def positions(maps: Maps) -> Integer[Tensor, "b k *s"]:
    """Place of every value in its map, 0 for the largest; ties are in the order of position."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(order.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places).view_as(maps)


def mid_ranks(values: Rows) -> Rows:
    """Ranks from 0 to 1 from the smallest on; ties share the middle of their ranks."""
    ordered, values = values.sort(dim=1).values, values.contiguous()
    below = torch.searchsorted(ordered, values)
    upto = torch.searchsorted(ordered, values, right=True)
    return (below + upto - 1).to(values) / (2 * max(1, values.shape[1] - 1))


def correlation(a: Rows, b: Rows) -> Scores:
    """Pearson correlation of rows; NaN where one of them is constant."""
    flat = (a.amax(1) == a.amin(1)) | (b.amax(1) == b.amin(1))
    a, b = (v - v.mean(1, keepdim=True) for v in (a, b))
    # each row at a length of about one, so that no product leaves the range of its type
    a, b = (v / v.abs().amax(1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny) for v in (a, b))
    lengths = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    return unless(flat, torch.linalg.vecdot(a, b) / torch.where(flat, 1.0, lengths))


def rank_correlation(maps: Maps, others: Maps) -> Scores:
    """Spearman's correlation of two maps of a sample over all their values, ties at mid-ranks.

    1 for the same order, −1 for the reverse, NaN where one map is constant.
    """
    check_alike(maps, others)
    return correlation(mid_ranks(maps.flatten(1)), mid_ranks(others.flatten(1)))


def check_alike(maps: Tensor, others: Tensor) -> None:
    """Refuse two maps that have not the same values to compare."""
    if maps.shape != others.shape:
        raise UsageError(
            f"maps of shapes {tuple(maps.shape)} and {tuple(others.shape)} cannot be compared "
            f"value by value: sum them over their channels first"
        )


def check_channels(maps: Tensor, x: Tensor) -> None:
    """Refuse maps that give neither one value per pixel nor one per pixel and channel."""
    if maps.shape[0] != x.shape[0] or maps.shape[2:] != x.shape[2:]:
        raise UsageError(
            f"maps of shape {tuple(maps.shape)} do not lie on images of shape {tuple(x.shape)}"
        )
    if maps.shape[1] not in (1, x.shape[1]):
        raise UsageError(
            f"maps of {maps.shape[1]} channels came for images of {x.shape[1]}: give one value per "
            f"pixel, or one per pixel and channel"
        )
