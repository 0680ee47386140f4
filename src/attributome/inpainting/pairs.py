"""Which cell is shown and which is predicted: two cells of one group, drawn anew every epoch."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng

Lonely = Literal["refuse", "drop"]
Rows = Int[np.ndarray, " pairs"]


def partners(
    groups: Sequence[object] | np.ndarray | pd.Series,
    *,
    seed: int,
    epoch: int,
    balanced: bool = False,
    lonely: Lonely = "refuse",
) -> tuple[Rows, Rows]:
    """Source and target rows of one epoch, in the order of training (Lu et al. 2019).

    `groups` holds the group of each row. Every row is a source once; its target is uniform over
    the other rows of its group, so no row is its own partner and none is of another group.

    With `balanced`, as many pairs, but the same number from each group (one more for some, by
    lot): a large group's cells are then not all sources and a small one's are several times, as
    evenly as can be. A group of one cell has no pair: its name is refused, or, with
    `lonely="drop"`, its cell is neither source nor target. The same (groups, seed, epoch) give
    the same pairs.
    """
    if lonely not in ("refuse", "drop"):
        raise UsageError(f"lonely={lonely!r} cannot be meant; it is 'refuse' or 'drop'")
    codes, names = pd.factorize(pd.Series(groups), sort=False)
    if (codes < 0).any():
        raise DataError(f"row {int((codes < 0).argmax()) + 1} has no group; every cell needs one")
    sizes = np.bincount(codes, minlength=len(names))
    alone = sizes == 1
    if alone.any() and lonely == "refuse":
        raise DataError(_words([str(name) for name in names[alone]]))
    if not (sizes > 1).any():
        raise DataError(f"none of {len(sizes)} groups has two cells, and a pair needs two")

    draw = rng(seed, "pairs", epoch)
    starts = np.cumsum(sizes) - sizes
    if balanced:
        order = np.lexsort((draw.random(len(codes)), codes))
        at = _even(sizes, starts, draw)
    else:
        order = np.argsort(codes, kind="stable")
        at = np.flatnonzero(sizes[codes[order]] > 1)
    group = codes[order[at]]
    # a partner's place among the others of the group: from the own place on, one further
    other = draw.integers(0, sizes[group] - 1)
    other += other >= at - starts[group]
    mixed = draw.permutation(len(at))
    sources, targets = order[at], order[starts[group] + other]
    return sources[mixed].astype(np.int64), targets[mixed].astype(np.int64)


def _even(sizes: np.ndarray, starts: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Places in the grouped order, the same number from each group and round after round in it."""
    paired = np.flatnonzero(sizes > 1)
    total = int(sizes[paired].sum())
    quota = np.full(len(paired), total // len(paired))
    quota[draw.permutation(len(paired))[: total % len(paired)]] += 1
    group = np.repeat(paired, quota)
    turn = np.arange(total) - np.repeat(np.cumsum(quota) - quota, quota)
    places: np.ndarray = starts[group] + turn % sizes[group]
    return places


def _words(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return (
        f"{len(names)} groups have one cell, and a pair needs two: {shown}{more}; leave them out, "
        f"or group by something wider"
    )
