"""Gradients of a pair network at many points near a pair, both branches together.

A point is an image of each branch for the whole batch. Points come one by one and run in groups,
as many copies of the batch at once as are worth it.
"""

from collections.abc import Iterator
from itertools import chain, islice

import torch
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Packed, pack, unpack
from attributome.core.probe import at_once, gradient
from attributome.core.types import Target
from attributome.sequence.alphabet import Strands
from attributome.sequence.evidence.references import Context, Pairs, places
from attributome.sequence.tracks import BRANCHES, Branch

Images = dict[Branch, Tensor]
Points = Iterator[Images]


def copies(rows: Pairs, context: Context, like: Images, count: int) -> Points:
    """Copy after copy of a batch of reference pairs, as images."""
    size = len(context.site)
    for copy in range(count):
        some = slice(copy * size, (copy + 1) * size)
        yield {
            branch: context.encode(
                branch, Strands(batch.codes[some], batch.lengths[some]), like[branch]
            )
            for branch, batch in rows.items()
        }


def between(rows: Pairs, context: Context, images: Images, count: int) -> Points:
    """One image on the line from the pair to each of its references."""
    references = copies(rows, context, images, count)
    for reference, place in zip(references, places(context, count), strict=True):
        yield {
            branch: reference[branch] + place.to(x).view(-1, 1, 1, 1) * (x - reference[branch])
            for branch, x in images.items()
        }


def slopes_at(net: nn.Module, target: Target, points: Points, count: int, size: int) -> Points:
    """The gradient at each copy of the batch, both branches together, as many at once as fit."""
    first = next(points)
    group = at_once(pack([*first.values()]), count)
    waiting = chain([first], points)
    while some := [*islice(waiting, group)]:
        stacked = {branch: torch.cat([one[branch] for one in some]) for branch in BRANCHES}
        slopes = slopes_of(net, target, stacked, len(some))
        for copy in range(len(some)):
            rows = slice(copy * size, (copy + 1) * size)
            yield {branch: slope[rows] for branch, slope in slopes.items()}


def mean_slope(net: nn.Module, target: Target, points: Points, count: int, size: int) -> Images:
    """The mean of `slopes_at`."""
    total: Images = {}
    for slope in slopes_at(net, target, points, count, size):
        for branch, one in slope.items():
            total[branch] = total[branch] + one / count if branch in total else one / count
    return total


def slopes_of(net: nn.Module, target: Target, images: Images, count: int = 1) -> Images:
    """The gradient with respect to both images; they hold `count` copies of the batch."""
    inputs = [images[branch] for branch in BRANCHES]
    shapes = tuple(tuple(one.shape[1:]) for one in inputs)
    found = unpack(gradient(Packed(net, shapes), pack(inputs), target, copies=count), shapes)
    return dict(zip(BRANCHES, found, strict=True))


def both(site: Tensor, mirna: Tensor) -> Images:
    """The images of both branches by name."""
    return {"site": site, "mirna": mirna}


def at_least(number: int, what: str) -> None:
    """Refuse a number of gradients that is none."""
    if number < 1:
        raise UsageError(f"{what} is {number}; it must be at least 1")
