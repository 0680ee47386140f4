"""A score against right and wrong, where units are drawn again: as weights of rows, all at once.

A draw of units is a row of weights, how often it holds each image; every number here is that of
the rows repeated so often. The tests permute what belongs to whole units.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Integer, Num

from attributome.core.seeds import rng

Values = Float[np.ndarray, " n"]
Weights = Integer[np.ndarray, "draws n"]


def auroc(values: Values, right: Num[np.ndarray, " n"], weights: Weights) -> Float[np.ndarray, "_"]:
    """The chance that a right image scores above a wrong one, ties half, in each draw.

    As if every row stood there `weight` times; NaN where a draw has no right or no wrong image.
    """
    code = np.unique(values, return_inverse=True)[1]
    good = _summed(weights * (right > 0), code)
    bad = _summed(weights * (right == 0), code)
    below = np.cumsum(bad, 1) - bad
    return ratio((good * (below + bad / 2)).sum(1), good.sum(1) * bad.sum(1))


def point_biserial(values: Values, right: Values, weights: Weights) -> Float[np.ndarray, " draws"]:
    """Pearson's correlation of a number with 0 and 1: the point-biserial one."""
    if values.min() == values.max():
        return np.full(len(weights), np.nan)
    total = weights.sum(1)
    scaled = (values - values.mean()) / values.std()  # around the mean, squares do not cancel
    means = [ratio(weights @ one, total) for one in (scaled, right)]
    both = ratio(weights @ (scaled * right), total) - means[0] * means[1]
    own = [
        np.clip(ratio(weights @ (one * one), total) - mean**2, 0, None)
        for one, mean in zip((scaled, right), means, strict=True)
    ]
    below = np.sqrt(own[0] * own[1])
    return ratio(both, np.where(below > 1e-9, below, 0.0)).clip(-1, 1)


def weighted_median(values: Values, weights: Weights) -> Float[np.ndarray, " draws"]:
    """The median of rows that stand there `weight` times; NaN where none does."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], 1)
    total = reached[:, -1]
    low = (2 * reached >= total[:, None]).argmax(1)
    high = (2 * reached > total[:, None]).argmax(1)
    middle = (values[order][low] + values[order][high]) / 2
    return np.where(total > 0, middle, np.nan)


def permuted(
    values: Values,
    right: Values,
    units: Int[np.ndarray, " n"],
    draws: int,
    seed: int,
    words: Sequence[str],
) -> float:
    """How often whole units in another order are as far from an AUROC of 0.5; NaN for none."""
    if not 0 < right.sum() < len(right):
        return float("nan")
    order = np.argsort(units, kind="stable")
    ranks, right = _ranks(values)[order] - (len(values) + 1) / 2, right[order]
    sizes = np.unique(units, return_counts=True)[1]
    starts = np.cumsum(sizes) - sizes
    draw = rng(seed, "scores of units permuted", *words)
    sums = np.zeros(draws)
    for size in np.unique(sizes):
        # images of a unit keep their order; units of other sizes cannot take their place
        rows = starts[sizes == size][:, None] + np.arange(size)
        blocks, flags = ranks[rows], right[rows]
        if len(rows) == 1:
            sums += (blocks * flags).sum()
            continue
        for number in range(draws):
            sums[number] += (blocks[draw.permutation(len(rows))] * flags).sum()
    far = abs((ranks * right).sum())
    return float((1 + (np.abs(sums) >= far - 1e-9).sum()) / (1 + draws))


def exchanged(
    first: Values,
    other: Values,
    right: Values,
    units: Int[np.ndarray, " n"],
    draws: int,
    seed: int,
    words: Sequence[object],
) -> float:
    """How often two scores that lend whole units their ranks differ as much; NaN for no AUROC."""
    good = right.sum()
    if not 0 < good < len(right):
        return float("nan")
    gaps = (_ranks(first) - _ranks(other)) * (right / good - (1 - right) / (len(right) - good))
    sums = np.bincount(np.unique(units, return_inverse=True)[1], weights=gaps)
    draw = rng(seed, "ranks of scores exchanged", *map(str, words))
    signs = draw.integers(0, 2, (draws, len(sums)), np.int8) * 2 - 1
    far = abs(sums.sum())
    return float((1 + (np.abs(signs @ sums) >= far - 1e-9).sum()) / (1 + draws))


def _ranks(values: Values) -> Values:
    """Mid-ranks from 1."""
    code, many = np.unique(values, return_inverse=True, return_counts=True)[1:]
    found: np.ndarray = (np.cumsum(many) - many + (many + 1) / 2)[code]
    return found


def _summed(weights: np.ndarray, code: np.ndarray) -> Float[np.ndarray, "draws levels"]:
    """Columns of one code, added."""
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    found: np.ndarray = np.add.reduceat(weights[:, order], starts, axis=1).astype(np.float64)
    return found


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Above / below, NaN where below is 0."""
    found: np.ndarray = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=found, where=np.asarray(below) != 0)
    return found
