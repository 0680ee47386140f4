"""Which of several methods is better, over independent units: numbers for a leaderboard.

The Friedman test says whether the methods differ at all, paired Wilcoxon tests with Holm's
correction which of them, and Nemenyi's critical difference how far two mean ranks must be apart
(Demšar 2006). Undefined values are refused; the caller leaves such units out and reports them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2, rankdata, studentized_range

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import holm
from attributome.metrics.intervals import Values, paired_difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """`first` − `second`, unit by unit: see `intervals.paired_difference`.

    `holm` is p after Holm's correction over all pairs of the comparison.
    """

    first: str
    second: str
    median: float
    low: float
    high: float
    p: float
    holm: float
    wins: int
    ties: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Methods in the order given; rank 1 is the best, ties share the middle of their ranks.

    Two mean ranks differ at the level if they are further apart than `critical_difference`;
    `cliques` are the largest groups of methods, best first, within which they are not.
    """

    names: tuple[str, ...]
    units: int
    mean_ranks: tuple[float, ...]
    friedman: float
    friedman_p: float
    critical_difference: float
    pairs: tuple[Pair, ...]

    @property
    def cliques(self) -> tuple[tuple[str, ...], ...]:
        """What a critical-difference plot joins with a bar."""
        order = np.argsort(self.mean_ranks, kind="stable")
        found: list[tuple[int, int]] = []
        for start in range(len(order)):
            reach = self.mean_ranks[order[start]] + self.critical_difference
            end = max(i for i in range(start, len(order)) if self.mean_ranks[order[i]] <= reach)
            if end > start and (not found or end > found[-1][1]):
                found.append((start, end))
        return tuple(tuple(self.names[i] for i in order[a : b + 1]) for a, b in found)


def compare_methods(
    table: Mapping[str, Values],
    *,
    better: Literal["higher", "lower"] = "higher",
    reference: str | None = None,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare the scores of methods over the same independent units, in the same order.

    With `reference` every other method against it, else all pairs. The differences keep the sign
    of the scores; `better` says only which end has rank 1. The critical difference is for the
    level 1 − `confidence` over all pairs.
    """
    names = tuple(table)
    scores = _matrix(table)
    if reference is not None and reference not in table:
        raise UsageError(f"no method {reference!r} to compare with; there are {sorted(names)}")
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence of {confidence} is not between 0 and 1, such as 0.95")
    k, n = scores.shape
    ranks = rankdata(-scores if better == "higher" else scores, axis=0)
    statistic, p = _friedman(ranks)
    width = studentized_range.ppf(confidence, k, np.inf) / np.sqrt(2)
    return Comparison(
        names=names,
        units=n,
        mean_ranks=tuple(ranks.mean(1).tolist()),
        friedman=statistic,
        friedman_p=p,
        critical_difference=float(width * np.sqrt(k * (k + 1) / (6 * n))),
        pairs=_pairs(table, _asked(names, reference), confidence, draws, seed),
    )


def _asked(names: Sequence[str], reference: str | None) -> list[tuple[str, str]]:
    if reference is None:
        return list(combinations(names, 2))
    return [(name, reference) for name in names if name != reference]


def _pairs(
    table: Mapping[str, Values],
    asked: list[tuple[str, str]],
    confidence: float,
    draws: int,
    seed: int,
) -> tuple[Pair, ...]:
    told = [
        paired_difference(table[a], table[b], confidence=confidence, draws=draws, seed=seed)
        for a, b in asked
    ]
    adjusted = holm([one["p"] for one in told])
    return tuple(
        Pair(
            first=a,
            second=b,
            median=one["median"],
            low=one["low"],
            high=one["high"],
            p=one["p"],
            holm=all_at_once,
            wins=int(one["wins"]),
            ties=int(one["ties"]),
        )
        for (a, b), one, all_at_once in zip(asked, told, adjusted, strict=True)
    )


def _friedman(ranks: Float[np.ndarray, "k n"]) -> tuple[float, float]:
    """Friedman's statistic with its correction for ties, and p; no difference at all gives 1."""
    k, n = ranks.shape
    spread = ((ranks - (k + 1) / 2) ** 2).sum()
    if spread == 0:
        return 0.0, 1.0
    between = ((ranks.sum(1) - n * (k + 1) / 2) ** 2).sum()
    statistic = float((k - 1) * between / spread)
    return statistic, float(chi2.sf(statistic, k - 1))


def _matrix(table: Mapping[str, Values]) -> Float[np.ndarray, "k n"]:
    if len(table) < 2:
        raise UsageError(f"{len(table)} methods make no comparison: give at least two")
    lengths = {name: len(values) for name, values in table.items()}
    if len(set(lengths.values())) > 1 or not min(lengths.values()):
        raise DataError(f"the methods were scored on {lengths} units: each unit needs all scores")
    scores = np.stack([np.asarray(values, dtype=np.float64) for values in table.values()])
    undefined = np.flatnonzero(~np.isfinite(scores).all(0))
    if len(undefined):
        raise DataError(
            f"{len(undefined)} of {scores.shape[1]} units have an undefined score (the first is "
            f"number {undefined[0]}, counted from 0): leave such units out, and report how many"
        )
    return scores
