"""How the target changes while pixels are replaced one share after the other, in a map's order.

MoRF replaces the most relevant first, LeRF the least relevant first: its exact reverse. A map of
one channel orders pixels, a map of the image's channels orders every channel of every pixel. Ties
are in the order of position; the scores of a constant map are NaN.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from attributome.core.draws import Seeds, each, normal
from attributome.core.errors import UsageError
from attributome.core.types import Images, Maps, Predictor, Scores, Target
from attributome.metrics.ranking import check_channels, constant, unless
from attributome.metrics.versions import each_version

Curve = Float[Tensor, "b n"]
Orders = Integer[Tensor, "r b n"]
"""Places of the values of each map, in the order in which they are replaced; r orders."""


def flipping(
    model: Predictor,
    x: Images,
    target: Target,
    maps: Maps,
    fill: Images,
    *,
    steps: int = 32,
    order: Literal["morf", "lerf"] = "morf",
) -> Curve:
    """The target after 0, 1, …, `steps` equal shares of the pixels gave way to `fill`.

    Pixel flipping (Bach et al. 2015): it begins at the target of `x` and ends at that of `fill`.
    """
    first = _order(x, maps)
    orders = (first if order == "morf" else first.flip(1))[None]
    return replaced(model, x, target, fill, orders, shares(orders, steps))[0]


def deletion_curve(
    model: Predictor, x: Images, target: Target, maps: Maps, fill: Images, *, steps: int = 32
) -> Curve:
    """The target while the most relevant pixels give way to `fill` (Petsiuk et al. 2018)."""
    return flipping(model, x, target, maps, fill, steps=steps)


def insertion_curve(
    model: Predictor, x: Images, target: Target, maps: Maps, fill: Images, *, steps: int = 32
) -> Curve:
    """The target while the most relevant pixels come back into `fill`: LeRF read backwards."""
    return flipping(model, x, target, maps, fill, steps=steps, order="lerf").flip(1)


def height(curve: Curve, whole: Scores, blank: Scores) -> Scores:
    """Mean of a curve between its ends, on the scale where `blank` is 0 and `whole` is 1.

    The ends are the same for every map and do not count; with them, the trapezoid area of a curve
    of n steps is ((n − 1) · height + 1/2) / n. NaN where `whole` equals `blank`.
    """
    return (curve[:, 1:-1].mean(1) - blank) / unless(whole == blank, whole - blank)


def deletion(
    model: Predictor, x: Images, target: Target, maps: Maps, fill: Images, *, steps: int = 32
) -> Scores:
    """Height of the deletion curve: 0 where the first step already takes all evidence away."""
    curve = deletion_curve(model, x, target, maps, fill, steps=steps)
    return unless(constant(maps), height(curve, curve[:, 0], curve[:, -1]))


def insertion(
    model: Predictor, x: Images, target: Target, maps: Maps, fill: Images, *, steps: int = 32
) -> Scores:
    """Height of the insertion curve: 1 where the first step already brings all evidence back."""
    curve = insertion_curve(model, x, target, maps, fill, steps=steps)
    return unless(constant(maps), height(curve, curve[:, -1], curve[:, 0]))


def abpc(
    model: Predictor, x: Images, target: Target, maps: Maps, fill: Images, *, steps: int = 32
) -> Scores:
    """Area between LeRF and MoRF, as the mean of their difference between the ends.

    On the scale of F(x) − F(fill): 1 where evidence falls at once and at last, 0 for a random
    order (Schulz et al. 2020 call it degradation).
    """
    first = _order(x, maps)
    both = torch.stack([first, first.flip(1)])
    morf, lerf = replaced(model, x, target, fill, both, shares(both, steps))
    whole, blank = morf[:, 0], morf[:, -1]
    between = height(lerf, whole, blank) - height(morf, whole, blank)
    return unless(constant(maps), between)


def deletion_over_random(
    model: Predictor,
    x: Images,
    target: Target,
    maps: Maps,
    fill: Images,
    *,
    steps: int = 32,
    draws: int = 8,
    seed: Seeds = 0,
) -> Scores:
    """1 − deletion of the map / mean deletion of `draws` random orders: 0 is as good as chance.

    1 at best. NaN where random orders already come to 0 or below.
    """
    ours = deletion(model, x, target, maps, fill, steps=steps)
    chance = random_height(model, x, target, maps, fill, steps=steps, draws=draws, seed=seed)
    return 1 - ours / unless(chance <= 0, chance)


def insertion_over_random(
    model: Predictor,
    x: Images,
    target: Target,
    maps: Maps,
    fill: Images,
    *,
    steps: int = 32,
    draws: int = 8,
    seed: Seeds = 0,
) -> Scores:
    """How much of the way from random orders to 1 the insertion of the map goes; 1 at best.

    NaN where random orders already come to 1 or above.
    """
    ours = insertion(model, x, target, maps, fill, steps=steps)
    # a random order read backwards is a random order, so the same height holds for insertion
    chance = random_height(model, x, target, maps, fill, steps=steps, draws=draws, seed=seed)
    return (ours - chance) / unless(chance >= 1, 1 - chance)


def random_height(
    model: Predictor,
    x: Images,
    target: Target,
    maps: Maps,
    fill: Images,
    *,
    steps: int = 32,
    draws: int = 8,
    seed: Seeds = 0,
) -> Scores:
    """Mean height of the curve over random orders of as many values as the maps have."""

    def draw(one: Tensor, generator: torch.Generator) -> Tensor:
        return torch.stack([normal(one, generator) for _ in range(draws)], 1)

    orders = torch.stack([_order(x, noise) for noise in each(maps, seed, draw).unbind(1)])
    curves = replaced(model, x, target, fill, orders, shares(orders, steps))
    return torch.stack([height(c, c[:, 0], c[:, -1]) for c in curves]).mean(0)


def shares(orders: Orders, steps: int) -> list[int]:
    """How many values are replaced after every step."""
    total = orders.shape[2]
    if not 2 <= steps <= total:
        raise UsageError(f"{steps} steps were asked over {total} values: ask for 2 to {total}")
    return [round(step * total / steps) for step in range(steps + 1)]


def replaced(
    model: Predictor,
    x: Images,
    target: Target,
    fill: Images,
    orders: Orders,
    counts: Sequence[int],
) -> Float[Tensor, "r b t"]:
    """The target when, in each of r orders, the first values were replaced, for rising counts."""
    found = each_version(
        model, x, target, _growing(x, fill, orders, counts), len(orders) * len(counts)
    )
    curves: Tensor = found.unflatten(0, (len(orders), len(counts))).movedim(2, 1)
    return curves


def _growing(x: Images, fill: Images, orders: Orders, counts: Sequence[int]) -> Iterator[Images]:
    """One tensor that loses more and more, so that a step costs what it replaces."""
    for order in orders:
        now, done = x.clone(memory_format=torch.contiguous_format), 0
        rows = now.view(len(x), -1, order.shape[1])  # every channel, where pixels are ordered
        other = fill.reshape(rows.shape)
        for count in counts:
            step = order[:, None, done:count].expand(-1, rows.shape[1], -1)
            rows.scatter_(2, step, other.gather(2, step))
            done = count
            yield now


def _order(x: Images, maps: Maps) -> Integer[Tensor, "b n"]:
    """Places of a map's values from the largest on."""
    check_channels(maps, x)
    return maps.flatten(1).argsort(dim=1, descending=True, stable=True)
