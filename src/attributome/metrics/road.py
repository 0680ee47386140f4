"""Remove and debias: pixels are removed by noisy linear imputation (ROAD, Rong et al. 2022).

A removed pixel becomes the weighted mean of its neighbours, removed ones included, plus a little
noise. In n-D a neighbour's weight halves for every further axis along which it differs.

Smoothing a map adds no information and yet raises this score (2304.13836): read a score only
beside that of the blurred copy, which `road_and_blurred` returns with it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from attributome.core.arrays import space
from attributome.core.draws import Seeds, each, normal
from attributome.core.errors import DataError, UsageError
from attributome.core.fills import blur
from attributome.core.types import Images, Maps, Predictor, Scores, Target
from attributome.metrics.ranking import check_channels, constant, positions, unless
from attributome.metrics.versions import each_version

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)


def road(
    model: Predictor,
    x: Images,
    target: Target,
    maps: Maps,
    *,
    shares: Sequence[float] = SHARES,
    noise: float = 0.01,
    seed: Seeds = 0,
) -> Scores:
    """The target without the least relevant minus that without the most relevant pixels.

    Averaged over the removed shares, in the units of the target; with a target between 0 and 1,
    such as `TopProbability`, from −1 to 1. NaN where the map is constant.
    """
    ranks = positions(maps)
    least = ranks[0].numel() - 1 - ranks
    versions = [
        version
        for order in (least, ranks)
        for version in _removed(x, order, maps, shares=shares, noise=noise, seed=seed)
    ]
    found = each_version(model, x, target, versions, len(versions))
    lerf, morf = found.unflatten(0, (2, -1)).mean(1)
    return unless(constant(maps), lerf - morf)


def road_and_blurred(
    model: Predictor,
    x: Images,
    target: Target,
    maps: Maps,
    *,
    sigma: float = 2.0,
    shares: Sequence[float] = SHARES,
    noise: float = 0.01,
    seed: Seeds = 0,
) -> tuple[Scores, Scores]:
    """The score of the map, and of its copy blurred over `sigma` pixels: the control."""
    smooth = blur(maps, torch.Generator(), sigma / 4)
    ours, control = (
        road(model, x, target, m, shares=shares, noise=noise, seed=seed) for m in (maps, smooth)
    )
    return ours, control


def remove_and_debias(
    x: Images, maps: Maps, share: float, *, noise: float = 0.01, seed: Seeds = 0
) -> Images:
    """The images without the `share` of pixels that score highest.

    `noise` is the standard deviation, in the units of the images, of what is added where a pixel
    was removed.
    """
    return _removed(x, positions(maps), maps, shares=(share,), noise=noise, seed=seed)[0]


def impute(x: Images, gone: Bool[Tensor, "b k *s"], start: Images | None = None) -> Images:
    """Every pixel that is gone as the weighted mean of its neighbours, solved exactly.

    A symmetric positive system, by conjugate gradients for all images and channels at once;
    `start` is a first guess. A row that is solved stays as it is while others go on, so that no
    sample depends on its neighbours in the batch.
    """
    hole = gone.expand_as(x).to(x)
    degree = _around(torch.ones_like(x[:1, :1]))

    def system(v: Images) -> Images:
        return hole * (degree * v - _around(v))

    def dot(a: Images, b: Images) -> Tensor:
        return (a * b).sum(space(x), keepdim=True)

    found = torch.zeros_like(x) if start is None else hole * start
    rest = hole * _around((1 - hole) * x) - system(found)
    way, length = rest.clone(), dot(rest, rest)
    enough = dot(x, x) * torch.finfo(x.dtype).eps ** 1.5
    for _ in range(1000 + 50 * max(x.shape[2:])):
        going = length > enough
        if not going.any():
            return torch.where(gone, found, x)
        ahead = system(way)
        step = torch.where(going, length / torch.where(going, dot(way, ahead), 1.0), 0.0)
        found = found + step * way
        rest = rest - step * ahead
        new = dot(rest, rest)
        way = rest + new / torch.where(going, length, 1.0) * way
        length = new
    raise DataError("the linear imputation of removed pixels did not settle: look at the images")


def _removed(
    x: Images,
    ranks: Tensor,
    maps: Maps,
    *,
    shares: Sequence[float],
    noise: float,
    seed: Seeds,
) -> list[Images]:
    check_channels(maps, x)
    counts = [round(share * ranks[0].numel()) for share in shares]
    if not counts or not min(counts) > 0 or max(counts) >= ranks[0].numel():
        raise UsageError(
            f"shares of {tuple(shares)} remove nothing or everything somewhere: each must leave at "
            f"least one pixel, and take one"
        )
    jitter = noise * each(x, seed, normal)
    versions, solved = [], None
    for count in counts:
        gone = ranks < count
        solved = impute(x, gone, solved)  # the last share's answer is near the next one's
        versions.append(torch.where(gone, solved + jitter, solved))
    return versions


def _around(v: Images) -> Images:
    """Sum of the neighbours: 1/2 across a face, 1/4 across an edge, 1/8 across a corner."""
    total = v
    for axis in space(v):
        last = v.shape[axis] - 1
        beside = torch.zeros_like(total)
        beside.narrow(axis, 0, last).add_(total.narrow(axis, 1, last), alpha=0.5)
        beside.narrow(axis, 1, last).add_(total.narrow(axis, 0, last), alpha=0.5)
        total = total + beside
    return total - v
