"""Intervals over groups: whole groups of rows are drawn again (cluster bootstrap).

Pairs of one miRNA share half of their input, cells of one field its light: they are not
independent, and the group is the unit. A draw is a row of multinomial weights, one per group; all
draws of all features are then one matrix product of the weights and the groups' sums (Davison &
Hinkley 1997, chapter 3).
"""

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from scipy.special import ndtr, ndtri

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng

Features = Float[np.ndarray, "n f"]
Groups = Shaped[np.ndarray, " m"]

BLOCK = 2**22
"""Numbers of resampled means that are held at once."""


def cluster_bootstrap(
    features: Features,
    groups: Groups,
    *,
    draws: int = 1000,
    seed: int = 0,
    kind: Literal["percentile", "bca"] = "percentile",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Mean over rows of each feature, with its interval over groups; one row per feature.

    Columns: `mean`, `low`, `high`, `n` (rows with a value) and `groups` (groups with a value).
    NaN is a value that does not exist: it does not enter the mean. The ends are NaN where fewer
    than two groups have a value, and a draw that holds none of them does not count. "bca" is
    bias-corrected and accelerated (Efron 1987), with the jackknife over groups; its ends are NaN
    where all resampled means lie on one side of the mean, and the correction is undefined.

    The percentile interval of few groups is too narrow: with 8 groups of normal values it covers
    about 88 % instead of 95 %, with 40 about 94 %.
    """
    _check(features, groups, draws, confidence)
    index, weights = group_weights(groups, draws=draws, seed=seed)
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    rows = [
        _intervals(*group_sums(features[:, start : start + step], index), weights, kind, tails)
        for step in [max(1, BLOCK // draws)]
        for start in range(0, features.shape[1], step)
    ]
    table = np.concatenate(rows, 1) if rows else np.empty((5, 0))
    named = pd.DataFrame(dict(zip(("mean", "low", "high", "n", "groups"), table, strict=True)))
    return named.astype({"n": int, "groups": int})


def group_weights(
    groups: Groups, *, draws: int, seed: int
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, "draws g"]]:
    """Which group each row is in, and how often each draw holds each group."""
    names, index = np.unique(groups, return_inverse=True)
    count = len(names)
    again = rng(seed, "cluster bootstrap").multinomial(count, np.full(count, 1 / count), draws)
    return index, again


def group_sums(
    features: Features, index: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "g f"], Float[np.ndarray, "g f"]]:
    """Sum of each feature in each group over the values that exist, and how many those are."""
    order = np.argsort(index, kind="stable")
    starts = np.flatnonzero(np.diff(index[order], prepend=-1))
    inside = features[order].astype(np.float64)
    there = ~np.isnan(inside)
    sums = np.add.reduceat(np.where(there, inside, 0.0), starts, axis=0)
    counts = np.add.reduceat(there.astype(np.float64), starts, axis=0)
    return sums, counts


def _intervals(
    sums: Float[np.ndarray, "g f"],
    counts: Float[np.ndarray, "g f"],
    weights: Int[np.ndarray, "draws g"],
    kind: str,
    tails: Float[np.ndarray, " 2"],
) -> Float[np.ndarray, "5 f"]:
    """Mean, both ends, rows and groups of each feature."""
    mean, again = _ratio(sums.sum(0), counts.sum(0)), np.asarray(weights, np.float64)
    drawn = np.sort(_ratio(again @ sums, again @ counts), axis=0)  # NaN goes to the end
    levels = np.repeat(tails[:, None], len(mean), 1)
    if kind == "bca":
        levels = _corrected(levels, drawn, mean, sums, counts)
    present = (counts > 0).sum(0)
    ends = np.where(present >= 2, _quantiles(drawn, levels), np.nan)
    return np.stack([mean, ends[0], ends[1], counts.sum(0), present.astype(float)])


def _corrected(
    levels: Float[np.ndarray, "2 f"],
    drawn: Float[np.ndarray, "draws f"],
    mean: Float[np.ndarray, " f"],
    sums: Float[np.ndarray, "g f"],
    counts: Float[np.ndarray, "g f"],
) -> Float[np.ndarray, "2 f"]:
    """The levels at which BCa reads the quantiles."""
    slack = 1e-12 * np.abs(mean)  # a draw of every group once is the mean, but for rounding
    below = (drawn < mean - slack).sum(0) + (drawn <= mean + slack).sum(0)
    total = np.maximum((~np.isnan(drawn)).sum(0), 1)
    bias = ndtri(below / (2 * total))
    without = _ratio(sums.sum(0) - sums, counts.sum(0) - counts)
    without[counts == 0] = np.nan  # a group without a value is no unit of this feature
    gap = np.where(np.isnan(without), 0.0, _column_mean(without) - without)
    acceleration = _ratio((gap**3).sum(0), 6 * (gap**2).sum(0) ** 1.5)
    acceleration[(gap == 0).all(0)] = 0.0
    shifted = np.where(np.isfinite(bias), bias, np.nan) + ndtri(levels)
    found: np.ndarray = ndtr(bias + shifted / (1 - acceleration * shifted))
    return found


def _quantiles(
    drawn: Float[np.ndarray, "draws f"], levels: Float[np.ndarray, "2 f"]
) -> Float[np.ndarray, "2 f"]:
    """Quantile of each sorted column at its own level, interpolated; NaN draws do not count."""
    last = np.maximum((~np.isnan(drawn)).sum(0) - 1, 0)
    place = np.where(np.isnan(levels), 0.0, levels) * last
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, last)
    column = np.arange(drawn.shape[1])
    ends = drawn[low, column] * (1 - (place - low)) + drawn[high, column] * (place - low)
    found: np.ndarray = np.where(np.isnan(levels), np.nan, ends)
    return found


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Above / below, NaN where below is 0."""
    out: np.ndarray = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=out, where=below != 0)
    return out


def _column_mean(values: Float[np.ndarray, "g f"]) -> Float[np.ndarray, " f"]:
    there = ~np.isnan(values)
    return _ratio(np.where(there, values, 0.0).sum(0), there.sum(0).astype(float))


def _check(features: Features, groups: Groups, draws: int, confidence: float) -> None:
    if len(features) != len(groups):
        raise DataError(f"{len(features)} rows came with {len(groups)} groups: each needs one")
    if not len(features):
        raise DataError("there are no rows: a mean needs at least one")
    if np.isinf(features).any():
        row, column = np.argwhere(np.isinf(features))[0]
        raise DataError(f"feature {column} of row {row} is infinite; values must be finite or NaN")
    if draws < 1:
        raise UsageError(f"{draws} bootstrap draws cannot make an interval: ask for at least 1")
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence of {confidence} is not between 0 and 1, such as 0.95")
