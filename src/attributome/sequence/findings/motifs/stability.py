"""Would other miRNAs give the same motif? Halves of the data, compared with turned tracks.

Pairs are cut in two halves that share no miRNA, the motifs of each half are found, and the best
correlation of a motif of one with a motif of the other is noted, as the mean over several cuts.
The null does the same with each track turned by a random number of places: as many peaks of the
same shape, beside letters that they have nothing to do with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from attributome.core.seeds import rng
from attributome.sequence.findings.motifs.seqlets import rolled

Halves = Literal["miRNAs", "pairs"]
Tracks = Float[np.ndarray, "n length"]
Found = Callable[[Tracks, Int[np.ndarray, " half"]], list[np.ndarray]]
"""Patterns that these rows of these tracks give, the strongest first."""

FLOOR = 0.6
"""A pattern that halves share with less correlation is called unstable, whatever its p."""


@dataclass(frozen=True, slots=True)
class Stability:
    """Whether halves of the data agree on a motif: `observed` against turned tracks."""

    of: str
    halves: Halves
    cuts: int
    observed: float
    null_mean: float
    null_high: float
    p: float
    stable: bool

    def words(self) -> str:
        """As a sentence for a report."""
        verdict = "stable" if self.stable else "not stable"
        return (
            f"{self.of}: {verdict}; between halves of the {self.halves} the best correlation is "
            f"{self.observed:.2f}, with turned tracks {self.null_mean:.2f} (95 % below "
            f"{self.null_high:.2f}), p = {self.p:.3f}"
        )


def stability(
    of: str,
    tracks: Tracks,
    groups: Shaped[np.ndarray, " n"],
    find: Found,
    likeness: Callable[[np.ndarray, np.ndarray], float],
    *,
    cuts: int = 4,
    nulls: int = 39,
    seed: int = 0,
) -> Stability:
    """Split-half agreement of what `find` finds.

    Halves share no group where there are at least 4 groups; with fewer, pairs are cut within each
    group, and the statement says so. A half without a pattern counts as correlation 0. `stable`
    is p ≤ 0.05 and a correlation of at least `FLOOR`; p cannot fall below 1 / (1 + nulls).
    """
    by: Halves = "miRNAs" if len(np.unique(groups)) >= 4 else "pairs"
    sides = [_half(groups, by, rng(seed, "halves", cut)) for cut in range(cuts)]

    def agreement(some: Tracks, cut: Bool[np.ndarray, " n"]) -> float:
        first, second = (find(some, np.flatnonzero(side)) for side in (cut, ~cut))
        return max((likeness(a, b) for a in first for b in second), default=0.0)

    observed = float(np.mean([agreement(tracks, side) for side in sides]))
    null = np.array(
        [
            np.mean([agreement(turned, side) for side in sides])
            for turned in (rolled(tracks, rng(seed, "turned tracks", i)) for i in range(nulls))
        ]
    )
    p = (1 + int((null >= observed - 1e-12).sum())) / (1 + nulls)
    return Stability(
        of,
        by,
        cuts,
        observed,
        float(null.mean()),
        float(np.quantile(null, 0.95)),
        p,
        p <= 0.05 and observed >= FLOOR,
    )


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, over what both have; 0 where one is flat or they share fewer than 3 values."""
    there = ~np.isnan(a) & ~np.isnan(b)
    if there.sum() < 3:
        return 0.0
    first, second = a[there] - a[there].mean(), b[there] - b[there].mean()
    size = float(np.sqrt((first @ first) * (second @ second)))
    return float(first @ second) / size if size > 0 else 0.0


def _half(
    groups: Shaped[np.ndarray, " n"], by: Halves, generator: np.random.Generator
) -> Bool[np.ndarray, " n"]:
    """Which pairs are in the first half."""
    names, index = np.unique(groups, return_inverse=True)
    found = np.zeros(len(groups), bool)
    if by == "miRNAs":
        chosen = generator.permutation(len(names))[: len(names) // 2]
        return np.isin(index, chosen)
    for group in range(len(names)):
        rows = np.flatnonzero(index == group)
        found[generator.permutation(rows)[: len(rows) // 2]] = True
    return found
