"""How far two maps of a sample agree (the measures of Krishna et al. 2022, and two of our own).

Each is 1 for two equal maps and takes maps of one shape. The top features of a map are the
`share` of largest |φ|; a feature of no importance is never one of them, and where a map has fewer,
the larger of the two sets counts as full. NaN where a map is constant.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attributome.core.arrays import top_share
from attributome.core.errors import UsageError
from attributome.core.types import Maps, Scores
from attributome.metrics.ranking import (
    check_alike,
    constant,
    one_channel,
    positions,
    unless,
)
from attributome.metrics.ranking import rank_correlation as rank_correlation

Measure = Callable[[Maps, Maps], Scores]


class Matrix(NamedTuple):
    """Agreement of every method with every other, per sample; `values[:, i, j]` is i with j."""

    names: tuple[str, ...]
    values: Float[Tensor, "b n n"]


def feature_agreement(maps: Maps, others: Maps, *, share: float = 0.1) -> Scores:
    """Share of the top features that both maps have."""
    return _shared(maps, others, share)


def sign_agreement(maps: Maps, others: Maps, *, share: float = 0.1) -> Scores:
    """Share of the top features that both have with the same sign."""
    return _shared(maps, others, share, signs=True)


def rank_agreement(maps: Maps, others: Maps, *, share: float = 0.1) -> Scores:
    """Share of the top features that both have in the same place of their order."""
    return _shared(maps, others, share, ranks=True)


def signed_rank_agreement(maps: Maps, others: Maps, *, share: float = 0.1) -> Scores:
    """Share of the top features that both have in the same place and with the same sign."""
    return _shared(maps, others, share, signs=True, ranks=True)


def iou_at_share(maps: Maps, others: Maps, *, share: float = 0.1) -> Scores:
    """Intersection over union of the highest `share` of both maps, signs included.

    A map's smallest value is never among its highest.
    """
    undefined = _undefined(maps, others)
    rows = [m.flatten(1) for m in (maps, others)]
    a, b = ((top_share(r[:, None], share)[:, 0] > 0) & (r > r.amin(1, keepdim=True)) for r in rows)
    return unless(undefined, (a & b).sum(1).to(maps) / (a | b).sum(1).to(maps))


def pairwise_rank_agreement(
    maps: Maps, others: Maps, *, pairs: int = 20_000, seed: int = 0
) -> Scores:
    """Share of the pairs of features that both maps order alike; a tie is an order of its own.

    Of every pair where there are at most `pairs`, else of so many drawn ones, the same for all
    samples.
    """
    undefined = _undefined(maps, others)
    n = maps[0].numel()
    if n * (n - 1) // 2 <= pairs:
        first, second = torch.triu_indices(n, n, 1).unbind(0)
    else:
        generator = torch.Generator().manual_seed(seed)
        first = torch.randint(n, (pairs,), generator=generator)
        second = (first + torch.randint(1, n, (pairs,), generator=generator)) % n
    a, b = ((m.flatten(1)[:, first] - m.flatten(1)[:, second]).sign() for m in (maps, others))
    return unless(undefined, (a == b).to(maps).mean(1))


def agreement_matrix(maps: Mapping[str, Maps], measure: Measure = rank_correlation) -> Matrix:
    """Agreement of all pairs of methods; every map is summed over its channels first."""
    names = tuple(maps)
    if not names:
        raise UsageError("no maps were given to compare")
    single = [one_channel(maps[name]) for name in names]
    rows = torch.zeros(len(single[0]), len(names), len(names)).to(single[0])
    for i, a in enumerate(single):
        for j, b in enumerate(single[i:], i):
            rows[:, i, j] = rows[:, j, i] = measure(a, b)
    return Matrix(names, rows)


def _shared(
    maps: Maps, others: Maps, share: float, *, signs: bool = False, ranks: bool = False
) -> Scores:
    undefined = _undefined(maps, others)
    count = max(1, round(share * maps[0].numel()))
    sizes = [m.flatten(1).abs() for m in (maps, others)]
    places = [positions(m.abs()).flatten(1) for m in (maps, others)]
    top, other_top = (
        (place < count) & (size > 0) for place, size in zip(places, sizes, strict=True)
    )
    alike: Bool[Tensor, "b n"] = top & other_top
    if signs:
        alike = alike & (maps.flatten(1).sign() == others.flatten(1).sign())
    if ranks:
        alike = alike & (places[0] == places[1])
    full = torch.maximum(top.sum(1), other_top.sum(1))
    return unless(undefined, alike.sum(1).to(maps) / full.to(maps))


def _undefined(maps: Maps, others: Maps) -> Bool[Tensor, " b"]:
    check_alike(maps, others)
    return constant(maps) | constant(others)
