"""Whether an explanation stays when what should not matter changes.

The explainer is called with whole batches only, so that its target keeps its samples.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.arrays import space
from attributome.core.draws import Seeds, each
from attributome.core.errors import UsageError
from attributome.core.types import Explainer, Images, Maps, Predictor, Scores, Target
from attributome.metrics.ranking import correlation, rank_correlation

Move = Callable[[Tensor], Tensor]
"""Moves images, and maps alike, without changing their shape."""


def max_sensitivity(
    model: Predictor,
    x: Images,
    target: Target,
    explainer: Explainer,
    *,
    radius: float = 0.02,
    draws: int = 8,
    seed: Seeds = 0,
) -> Scores:
    """Largest relative change of the map over images within `radius` of `x` (Yeh et al. 2019).

    Each pixel moves uniformly by at most `radius`, in the units of the image; the change is
    ‖φ(x + δ) − φ(x)‖ / ‖φ(x)‖. NaN where the map is 0 everywhere.
    """
    return _changes(model, x, target, explainer, radius, draws, seed).amax(0)


def mean_sensitivity(
    model: Predictor,
    x: Images,
    target: Target,
    explainer: Explainer,
    *,
    radius: float = 0.02,
    draws: int = 8,
    seed: Seeds = 0,
) -> Scores:
    """As `max_sensitivity`, but the mean change: less a matter of how many draws there are."""
    return _changes(model, x, target, explainer, radius, draws, seed).mean(0)


def seed_stability(
    model: Predictor,
    x: Images,
    target: Target,
    explainer: Callable[..., Maps],
    *,
    seeds: Sequence[int] = (0, 1, 2),
) -> Scores:
    """Mean rank correlation of the maps of an explainer that takes `seed`, over pairs of seeds.

    NaN where one of the maps is constant.
    """
    if len(set(seeds)) < 2:
        raise UsageError(f"seeds {tuple(seeds)} make no pair: give at least two different ones")
    maps = [explainer(model, x, target, seed=seed) for seed in seeds]
    return torch.stack([rank_correlation(a, b) for a, b in combinations(maps, 2)]).mean(0)


def equivariance(
    model: Predictor,
    x: Images,
    target: Target,
    explainer: Explainer,
    *,
    moves: Sequence[Move] | None = None,
) -> Scores:
    """Correlation of the map of the moved image with the moved map, averaged over `moves`.

    By default every flip along one axis. A target that looks at a place in the output does not
    move along, and a network need not be symmetric itself: low values tell of either. NaN where
    a map is constant.
    """
    before = explainer(model, x, target)
    moves = flips(x) if moves is None else moves
    if not moves:
        raise UsageError("equivariance needs at least one move, such as a flip")
    found = [
        correlation(explainer(model, move(x), target).flatten(1), move(before).flatten(1))
        for move in moves
    ]
    return torch.stack(found).mean(0)


def flips(x: Images) -> list[Move]:
    """One flip for every axis."""
    return [lambda v, axis=axis: v.flip(axis) for axis in space(x)]  # type: ignore[misc]


def shifted(*by: int) -> Move:
    """Round the field by so many pixels along each axis."""
    return lambda v: v.roll(by, space(v))


def _changes(
    model: Predictor,
    x: Images,
    target: Target,
    explainer: Explainer,
    radius: float,
    draws: int,
    seed: Seeds,
) -> Float[Tensor, "n b"]:
    if draws < 1 or radius <= 0:
        raise UsageError(f"{draws} draws within {radius} change nothing: both must be positive")

    def draw(one: Tensor, generator: torch.Generator) -> Tensor:
        shape = (1, draws, *one.shape[1:])
        return radius * (2 * torch.rand(shape, generator=generator).to(one) - 1)

    before = explainer(model, x, target)
    length = before.flatten(1).norm(dim=1)
    found = []
    for jitter in each(x, seed, draw).unbind(1):
        change = (explainer(model, x + jitter, target) - before).flatten(1).norm(dim=1)
        found.append(change / torch.where(length == 0, float("nan"), length))
    return torch.stack(found)
