"""Deletion and insertion in sequence space: letters give way in the order of a track.

What stands in their place is a letter of a dinucleotide shuffle of the same sequence at the same
position ("shuffle": the composition stays, and by chance a letter may, too), or any other letter
("letters"); either is averaged over several draws. So every image is that of a sequence.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Packed, pack
from attributome.core.probe import at_once, values
from attributome.core.seeds import rng
from attributome.core.types import Target
from attributome.sequence.alphabet import UNKNOWN, Strands
from attributome.sequence.evidence.branches import images_of
from attributome.sequence.evidence.references import Context, shuffled, substituted
from attributome.sequence.tracks import BRANCHES, Branch, varies

Fill = Literal["shuffle", "letters"]
Ranks = Int[np.ndarray, "b letters"]


def replacement(
    net: nn.Module,
    context: Context,
    tracks: Mapping[Branch, np.ndarray],
    target: Target,
    *,
    fill: Fill = "shuffle",
    steps: int = 10,
    draws: int = 4,
    orders: int = 4,
) -> pd.DataFrame:
    """The mean target while letters of both sequences give way, in the track's order and at random.

    `deletion` replaces the letters with the largest values first, in `steps` equal shares, and is
    the mean over the steps between none and all: low where the track finds what carries the
    target. `insertion` brings them back first: high. `random` is the mean of `orders` random
    orders, which serves both, since read backwards they are random orders too. The gains,
    `random - deletion` and `insertion - random`, are 0 for a track that knows nothing, in units of
    the target. `n` is the number of letters; all NaN for a pair with fewer than `steps` of them or
    a constant track.
    """
    if steps < 2 or min(draws, orders) < 1:
        raise UsageError(
            f"steps is {steps}, draws {draws} and orders {orders}; they are at least 2, 1 and 1"
        )
    scores = np.concatenate([tracks[branch] for branch in BRANCHES], 1)
    known = np.concatenate([context.strands(b).codes < UNKNOWN for b in BRANCHES], 1)
    if scores.shape != known.shape:
        raise UsageError(
            f"tracks of {scores.shape} letters do not lie on sequences of {known.shape}"
        )
    known &= np.isfinite(scores)
    many = known.sum(1)
    first = _ranks(np.where(known, -scores, np.inf), known)
    last = np.where(known, many[:, None] - 1 - first, first)
    ranks = [first, last, *(random_ranks(context, known, order) for order in range(orders))]
    new = shuffled(context, draws) if fill == "shuffle" else substituted(context, draws, 1.0)
    curves = _curves(net, context, target, np.stack(ranks), many, new, steps, draws)
    defined = (many >= steps) & varies(np.where(known, scores, np.nan))
    heights = np.where(defined, curves.mean(1), np.nan)
    table = {"deletion": heights[0], "insertion": heights[1], "random": heights[2:].mean(0)}
    found = pd.DataFrame(table)
    found["deletion_gain"] = found["random"] - found["deletion"]
    found["insertion_gain"] = found["insertion"] - found["random"]
    return found.assign(n=many)


def _curves(
    net: nn.Module,
    context: Context,
    target: Target,
    ranks: Int[np.ndarray, "orders b letters"],
    many: Int[np.ndarray, " b"],
    new: Mapping[Branch, Strands],
    steps: int,
    draws: int,
) -> Float[np.ndarray, "orders steps b"]:
    """The target after each inner step, the mean over what is put in."""
    whole = {branch: context.strands(branch) for branch in BRANCHES}
    fills = {b: new[b].codes.reshape(draws, *whole[b].codes.shape) for b in BRANCHES}
    inner = [np.rint(step * many / steps)[:, None] for step in range(1, steps)]
    gone = [one < count for one in ranks for count in inner]
    asked = [(mask, draw) for mask in gone for draw in range(draws)]
    images = images_of(net, context.mirna, context.site)
    shapes = tuple(tuple(images[branch].shape[1:]) for branch in BRANCHES)
    group = at_once(pack([*images.values()]), len(asked))
    found = list[np.ndarray]()
    for begin in range(0, len(asked), group):
        some, rows = asked[begin : begin + group], list[Tensor]()
        for branch, part in zip(BRANCHES, _parts(whole), strict=True):
            own = whole[branch]
            put = [np.where(mask[:, part], fills[branch][draw], own.codes) for mask, draw in some]
            batch = Strands(np.concatenate(put), np.tile(own.lengths, len(some)))
            rows.append(context.encode(branch, batch, images[branch]))
        found.append(
            values(Packed(net, shapes), pack(rows), target, copies=len(some)).cpu().numpy()
        )
    together = np.concatenate(found).astype(np.float64)
    curves: np.ndarray = together.reshape(len(ranks), steps - 1, draws, -1).mean(2)
    return curves


def _parts(whole: Mapping[Branch, Strands]) -> list[slice]:
    """Where each branch's letters stand among those of both."""
    ends = np.cumsum([0, *(whole[branch].codes.shape[1] for branch in BRANCHES)])
    return [slice(a, b) for a, b in pairwise(ends.tolist())]


def random_ranks(context: Context, known: np.ndarray, order: int) -> Ranks:
    """A random order of each pair's letters; it does not depend on how its batch is padded."""
    lots = np.full(known.shape, np.inf)
    for row, there, seed in zip(lots, known, context.seeds("order", order), strict=True):
        row[there] = rng(seed).random(int(there.sum()))
    return _ranks(lots, known)


def _ranks(values: np.ndarray, known: np.ndarray) -> Ranks:
    """Place of each letter from the smallest value on; those that do not count come last."""
    order = np.argsort(values, axis=1, kind="stable")
    ranks = np.empty(values.shape, np.int64)
    np.put_along_axis(ranks, order, np.arange(values.shape[1])[None], 1)
    return np.where(known, ranks, values.shape[1])
