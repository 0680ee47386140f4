"""Integrals of the gradient along a straight line between a reference and the input."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from attributome.core.probe import at_once, gradient, predict
from attributome.core.types import Images, Maps, Predictor, Scores, Target

FIRST = 5
"""Steps after which the sum is first compared with the difference in the target."""


def _along(
    model: Predictor,
    x: Images,
    target: Target,
    start: Images,
    nodes: np.ndarray,
    weights: np.ndarray,
) -> Iterator[tuple[np.ndarray, Images]]:
    """The gradient at each node between `start` (0) and `x` (1), with its column of weights."""
    group = at_once(x, len(nodes))
    for first in range(0, len(nodes), group):
        some = nodes[first : first + group]
        points = torch.cat([start + float(at) * (x - start) for at in some])
        slopes = gradient(model, points, target, copies=len(some)).view(len(some), *x.shape)
        yield from zip(weights[:, first : first + group].T, slopes, strict=True)


def with_steps(model: Predictor, x: Images, target: Target, start: Images, steps: int) -> Maps:
    """The Gauss–Legendre rule of so many gradients."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(x)
    for weight, slope in _along(model, x, target, start, (nodes + 1) / 2, weights[None] / 2):
        total.add_(slope, alpha=float(weight[0]))
    return (x - start) * total


def until_complete(
    model: Predictor, x: Images, target: Target, start: Images, tolerance: float, most: int
) -> Maps:
    """Fejér's rule of 2^k − 1 nodes, doubled until complete.

    All later sums are kept beside the present one, so that no gradient is needed twice and no
    more than a handful of maps are held.
    """
    sizes = [FIRST]
    while 2 * sizes[-1] + 1 <= most:
        sizes.append(2 * sizes[-1] + 1)
    with torch.no_grad():
        gap = target(predict(model, x)) - target(predict(model, start))
    maps, open_ = torch.zeros_like(x), torch.ones_like(gap, dtype=torch.bool)
    sums = [torch.zeros_like(x) for _ in sizes]
    for level, size in enumerate(sizes):
        nodes, weights = _new_nodes(size, sizes[level:])
        for weight, slope in _along(model, x, target, start, nodes, weights):
            for share, into in zip(weight, sums[level:], strict=True):
                into.add_(slope, alpha=float(share))
        found = (x - start) * sums[level]
        maps[open_] = found[open_]
        open_ &= ~_complete(found, gap, tolerance)
        if not open_.any():
            break
    return maps


def _complete(maps: Maps, gap: Scores, tolerance: float) -> Bool[Tensor, " b"]:
    """Whether each map sums to the difference it explains; rounding alone never counts."""
    rounding = 100 * torch.finfo(maps.dtype).eps * maps.flatten(1).abs().sum(1)
    return (maps.flatten(1).sum(1) - gap).abs() <= tolerance * gap.abs() + rounding


def _new_nodes(size: int, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Nodes in (0, 1) that Fejér's rule of `size` adds to the one before; weights in `sizes`."""
    index = np.arange(1, size + 1)
    if size != FIRST:
        index = index[::2]
    angle = index * np.pi / (size + 1)
    return (1 - np.cos(angle)) / 2, np.stack([_fejer(angle, many) for many in sizes])


def _fejer(angle: np.ndarray, size: int) -> np.ndarray:
    """Weights of Fejér's second rule of `size` nodes, on an interval of length 1."""
    odd = np.arange(1, size + 1, 2)
    series = (np.sin(np.outer(angle, odd)) / odd).sum(axis=1)
    return np.asarray(2 / (size + 1) * np.sin(angle) * series)
