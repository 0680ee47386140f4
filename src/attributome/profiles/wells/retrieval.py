"""Do profiles find their replicates: average precision, its null, and what a group of them proves.

A pair of profiles is positive or negative by what is known of both; a profile ranks all others that
it is paired with by similarity, and its average precision is the mean, over its positives, of the
share of positives down to there. Pairs and precision are those of copairs (Kalinin et al. 2025).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Integer

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import benjamini_hochberg
from attributome.core.seeds import rng
from attributome.profiles.wells.ranking import BLOCK, Features, precisions, rule

Sizes = tuple[tuple[int, int], ...]
"""The positives and negatives of each row of a group."""

SAME = 1e-12
"""Average precisions that differ by less are the same, added up in another order."""
KNOWN = ("average_precision", "chance", "normalised", "positives", "negatives")


def average_precision(
    table: pd.DataFrame,
    features: Features,
    *,
    pos_sameby: Sequence[str],
    pos_diffby: Sequence[str] = (),
    neg_sameby: Sequence[str] = (),
    neg_diffby: Sequence[str] = (),
    similarity: str = "cosine",
    ties: str = "positives first",
) -> pd.DataFrame:
    """The table with the average precision of every row, and what chance would give it.

    Two rows are a positive pair if they are alike in all columns `pos_sameby` and differ in each of
    `pos_diffby`, and a negative pair by the other two. `chance` is the mean over all orders of so
    many `positives` and `negatives`, and `normalised` 0 there and 1 where no negative is before a
    positive. All three are NaN (undefined, to be counted and not averaged) for a row without
    positives or without negatives; copairs calls the latter 1.

    Similarities are computed in double precision, and compared as 1 − similarity in single
    precision, so that what is equal stays equal. Of a positive and a negative that are equal the
    positive counts as nearer, which flatters profiles that are all the same; with
    `"negatives first"` the other, and the truth lies between. Distances d have similarity
    1 / (1 + d).
    """
    _checked(table, features)
    found, (positives, negatives) = precisions(
        features,
        rule(table, pos_sameby, pos_diffby, "positive"),
        rule(table, neg_sameby, neg_diffby, "negative"),
        similarity=similarity,
        ties=ties,
    )
    chance = chance_precision(positives, negatives)
    told = (found, chance, (found - chance) / (1 - chance), positives, negatives)
    return table.reset_index(drop=True).assign(**dict(zip(KNOWN, told, strict=True)))


def chance_precision(
    positives: Integer[np.ndarray, " n"], negatives: Integer[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """The mean average precision over all orders; NaN where there is no positive or no negative."""
    total = positives + negatives
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, total.max(initial=1) + 1))])[total]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: np.ndarray = ((positives - 1) / (total - 1) * (total - harmonic) + harmonic) / total
    return np.where((positives > 0) & (negatives > 0), mean, np.nan)


def control_index(control: Bool[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
    """A column by which treatments are told from controls only, and not from each other.

    It is −1 for all but controls, and another number for each control. In `pos_sameby` and
    `neg_diffby` beside the treatment, it makes the controls everybody's negatives and nobody's
    positives.
    """
    index: np.ndarray = np.where(control, np.arange(len(control)), -1)
    return index


def precision_p(
    found: pd.DataFrame, *, draws: int = 10_000, seed: int = 0
) -> Float64[np.ndarray, " n"]:
    """For each row of `average_precision`, how often a random order does as well.

    (1 + as good) / (1 + draws) over random orders of as many positives and negatives; NaN where
    the precision is undefined. The rows of one group share their pairs: judge groups by
    `mean_precision`.
    """
    _check_draws(draws)
    null = _nulls(draws, seed)
    scores = found["average_precision"].to_numpy(np.float64)
    sizes, which = np.unique(
        found[["positives", "negatives"]].to_numpy(np.int64), axis=0, return_inverse=True
    )
    p = np.full(len(found), np.nan)
    for i, (positives, negatives) in enumerate(sizes.tolist()):
        rows = np.flatnonzero((which == i) & ~np.isnan(scores))
        if len(rows):
            lower = np.searchsorted(null(positives, negatives), scores[rows] - SAME)
            p[rows] = (1 + draws - lower) / (1 + draws)
    return p


def mean_precision(
    found: pd.DataFrame,
    by: Sequence[str],
    *,
    null: str = "shared",
    draws: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean average precision of each group of rows, its interval, and whether chance explains it.

    A row for each group: the columns `by`, `n` rows that count and `undefined` that do not,
    `mean_average_precision` with `low` and `high` (rows are drawn again; below three they are
    NaN), `chance`, `normalised`, `p` = (1 + as good) / (1 + draws) over random orders, and `q`
    (Benjamini and Hochberg 1995, over all groups). Groups of undefined rows only have NaN and do
    not enter q.

    The rows of a group see the same pairs from both ends, so that their precisions rise and fall
    together, but not as one, and neither null is exact. `"shared"` gives rows of equal counts the
    same random order, as copairs does, and `"independent"` draws for every row. For noise in groups
    of 2, 4 and 8, p is below 0.05 in 4, 5 and 2 % of groups by the first and in 4, 6 and 12 % by
    the second, and below 0.01 in 0.8, 0 and 0 % and in 1, 4 and 4 %: trust the first.
    """
    _check_draws(draws)
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence of {confidence} is not between 0 and 1, such as 0.95")
    if null not in ("shared", "independent"):
        raise UsageError(f"no null {null!r}; there are shared and independent")
    names = [*by]
    lost = [name for name in [*names, *KNOWN] if name not in found]
    if lost or not names:
        raise UsageError(
            f"no column {lost[0] if lost else ''!r} among {[*map(str, found.columns)]}; give a "
            f"table of `average_precision` and one or more of its columns"
        )
    drawn = _group_nulls(null, draws, seed)
    rows = []
    for key, group in found.groupby(names, observed=True, sort=True):
        kept = group[group["average_precision"].notna()]
        scores = kept["average_precision"].to_numpy(np.float64)
        told = dict(zip(names, key if isinstance(key, tuple) else (key,), strict=True))
        told |= {"n": len(kept), "undefined": len(group) - len(kept)}
        if len(kept):
            sizes = kept[["positives", "negatives"]].to_numpy(np.int64).tolist()
            as_good = draws - np.searchsorted(
                drawn(tuple(sorted(map(tuple, sizes)))), scores.mean() - SAME
            )
            low, high = _interval(scores, confidence, draws, seed)
            told |= {
                "mean_average_precision": scores.mean(),
                "low": low,
                "high": high,
                "chance": kept["chance"].mean(),
                "normalised": kept["normalised"].mean(),
                "p": (1 + int(as_good)) / (1 + draws),
            }
        rows.append(told)
    numbers = ("mean_average_precision", "low", "high", "chance", "normalised", "p")
    table = pd.DataFrame(rows, columns=[*names, "n", "undefined", *numbers])
    table = table.astype(dict.fromkeys(numbers, float))
    return table.assign(q=benjamini_hochberg(table["p"].to_numpy()))


def retrieved(
    groups: pd.DataFrame,
    *,
    level: float = 0.05,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, float | int]:
    """Over the groups of `mean_precision`: their mean, and the share with q below the level.

    `mean`, `chance` and `share` are over the `n` groups that are defined; the ends
    (`mean_low`, …) draw groups again and are NaN below three of them.
    """
    _check_draws(draws)
    if not 0 < level < 1 or not 0 < confidence < 1:
        raise UsageError(f"level {level} and confidence {confidence}; such as 0.05 and 0.95")
    defined = groups[groups["p"].notna()]
    if defined.empty:
        raise DataError(f"none of {len(groups)} groups has a mean average precision")
    scores = defined["mean_average_precision"].to_numpy(np.float64)
    hits = (defined["q"] < level).to_numpy(np.float64)
    low, high = _interval(scores, confidence, draws, seed)
    share_low, share_high = _interval(hits, confidence, draws, seed)
    return {
        "n": len(defined),
        "undefined": len(groups) - len(defined),
        "mean": float(scores.mean()),
        "mean_low": low,
        "mean_high": high,
        "chance": float(defined["chance"].mean()),
        "share": float(hits.mean()),
        "share_low": share_low,
        "share_high": share_high,
    }


def random_precision(
    positives: int, total: int, draws: int, generator: np.random.Generator
) -> Float64[np.ndarray, " draws"]:
    """Average precisions of random orders of `total`, of which so many are positive."""
    places = np.empty((draws, positives), np.int64)
    if positives**2 <= 2 * total:  # places at random, and again where two fell together
        wrong = np.arange(draws)
        while len(wrong):
            places[wrong] = np.sort(generator.integers(total, size=(len(wrong), positives)), axis=1)
            wrong = wrong[(np.diff(places[wrong], axis=1) == 0).any(1)]
    else:
        step = max(1, BLOCK // total)
        for start in range(0, draws, step):
            keys = generator.random((min(step, draws - start), total))
            some = np.argpartition(keys, positives - 1, axis=1)[:, :positives]
            places[start : start + step] = np.sort(some, axis=1)
    precision: np.ndarray = (np.arange(1, positives + 1) / (places + 1)).mean(1)
    return precision


def _nulls(draws: int, seed: int) -> Callable[[int, int], np.ndarray]:
    """Random precisions in rising order: the same for a size wherever it is asked for."""

    @lru_cache(maxsize=256)
    def null(positives: int, negatives: int) -> np.ndarray:
        draw = rng(seed, "random order", positives, negatives)
        return np.sort(random_precision(positives, positives + negatives, draws, draw))

    return null


def _group_nulls(null: str, draws: int, seed: int) -> Callable[[Sizes], np.ndarray]:
    """Random means of a group in rising order, by the sizes of its rows."""

    @lru_cache(maxsize=256)
    def one(positives: int, negatives: int) -> np.ndarray:
        draw = rng(seed, "random order", positives, negatives)
        return random_precision(positives, positives + negatives, draws, draw)

    @lru_cache(maxsize=256)
    def mean(sizes: Sizes) -> np.ndarray:
        total = np.zeros(draws)
        if null == "shared":
            for size, times in Counter(sizes).items():
                total += times * one(*size)
        else:
            for i, (positives, negatives) in enumerate(sizes):
                draw = rng(seed, "random order of row", i, positives, negatives)
                total += random_precision(positives, positives + negatives, draws, draw)
        return np.sort(total / len(sizes))

    return mean


def _interval(values: np.ndarray, confidence: float, draws: int, seed: int) -> tuple[float, float]:
    """Ends for a mean when values are drawn again; undefined below three."""
    if len(values) < 3:
        return float("nan"), float("nan")
    draw = rng(seed, "bootstrap of a precision")
    weights = draw.multinomial(len(values), np.full(len(values), 1 / len(values)), size=draws)
    tail = (1 - confidence) / 2
    low, high = np.quantile(weights @ values / len(values), [tail, 1 - tail])
    return float(low), float(high)


def _checked(table: pd.DataFrame, features: Features) -> None:
    if len(table) != len(features) or len(table) < 2:
        raise DataError(f"{len(table)} rows came with {len(features)} profiles; two at least")
    taken = [name for name in KNOWN if name in table]
    if taken:
        raise UsageError(f"the table has a column {taken[0]!r} already; rename it")
    wrong = ~np.isfinite(features).all(1)
    if wrong.any():
        raise DataError(
            f"{wrong.sum()} of {len(features)} profiles have undefined features (the first is "
            f"number {int(wrong.argmax())}, counted from 0): leave them out, and report how many"
        )


def _check_draws(draws: int) -> None:
    if draws < 1:
        raise UsageError(f"{draws} draws make no null; give some, such as 10000")
