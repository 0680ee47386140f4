"""Which letters of a miRNA and of its site can pair, and whether a network's interactions do.

Strands pair antiparallel: along a duplex the positions of the miRNA rise while those of the site
fall. Both are written 5' to 3' and count from 0.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.stats import rankdata

from attributome.core.bootstrap import cluster_bootstrap
from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng
from attributome.sequence.alphabet import UNKNOWN, Strands, strands

PAIRS = np.zeros((5, 5))
"""Watson-Crick 1, wobble (G with U, here T) 0.5, by codes; N pairs with nothing."""
PAIRS[[0, 1, 2, 3], [3, 2, 1, 0]] = 1.0
PAIRS[[2, 3], [3, 2]] = 0.5

MATCH, WOBBLE, MISMATCH, BULGE = 2.0, 1.0, -2.0, -3.0
"""Scores of `duplex`: a rule of thumb for drawing, no free energies."""


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """How well |interaction| tells cells that can pair: `auc` is the mean over pairs.

    `low` and `high` are its interval over groups; `null` is the mean with the sites' letters
    shuffled, `p` the share of shuffles that reach `auc` (one-sided, never below 1 / (1 + draws)).
    `n` pairs have an AUC (`per_pair`, NaN where all cells can pair or none, or all are NaN).
    """

    auc: float
    low: float
    high: float
    null: float
    p: float
    n: int
    groups: int
    per_pair: Float[np.ndarray, " b"]


def pairing(mirna: str, site: str) -> Float[np.ndarray, "mirna site"]:
    """1 where two letters are a Watson-Crick pair, 0.5 for G and U, else 0."""
    found: np.ndarray = pairings(strands([mirna]), strands([site]))[0]
    return found


def pairings(mirnas: Strands, sites: Strands) -> Float[np.ndarray, "b mirna site"]:
    """`pairing` of a batch; NaN at N and behind the ends, where nothing is known."""
    known = (mirnas.codes < UNKNOWN)[:, :, None] & (sites.codes < UNKNOWN)[:, None, :]
    able = PAIRS[mirnas.codes[:, :, None], sites.codes[:, None, :]]
    found: np.ndarray = np.where(known, able, np.nan)
    return found


def duplex(mirna: str, site: str) -> list[tuple[int, int]]:
    """Paired positions (miRNA, site) of the best local duplex, from the miRNA's 5' end.

    Smith & Waterman (1981) on antiparallel strands: mismatches may stand within it, and bulges of
    one letter of either strand between two pairs. Of equals the one that ends nearest to the 5'
    end of the miRNA, and then rightmost in the site. Empty where no two letters pair.
    """
    if not mirna or not site:
        raise UsageError("a duplex needs two strands of at least one letter")
    gain = pairing(mirna, site)[:, ::-1]  # the site from its 3' end: both now rise
    paid = np.select([gain == 1, gain == 0.5], [MATCH, WOBBLE], MISMATCH)
    rows, columns = gain.shape
    best = np.zeros((rows + 2, columns + 2))  # two empty rows before: a bulge looks back that far
    back = np.zeros((rows, columns), np.int64)
    for i in range(rows):
        for j in range(columns):
            before = [best[i + 1, j + 1], 0.0, 0.0]
            if gain[i, j] > 0 and j > 0 and i > 1 and gain[i - 2, j - 1] > 0:
                before[1] = best[i, j + 1] + BULGE
            if gain[i, j] > 0 and i > 0 and j > 1 and gain[i - 1, j - 2] > 0:
                before[2] = best[i + 1, j] + BULGE
            step = int(np.argmax(before))
            best[i + 2, j + 2] = max(0.0, max(before[step], 0.0) + paid[i, j])
            back[i, j] = step if before[step] > 0 else -1
    found = []
    i, j = divmod(int(best[2:, 2:].argmax()), columns)
    while best[i + 2, j + 2] > 0:
        if gain[i, j] > 0:
            found.append((i, columns - 1 - j))
        step = int(back[i, j])
        if step < 0:
            break
        i, j = i - 1 - (step == 1), j - 1 - (step == 2)
    return found[::-1]


def agreement(
    interaction: Float[np.ndarray, "b mirna site"],
    pairs: Float[np.ndarray, "c p q"],
    groups: Shaped[np.ndarray, " n"] | None = None,
    *,
    least: float = 1.0,
    run: int = 1,
    draws: int = 1000,
    seed: int = 0,
) -> Agreement:
    """AUC of |interaction| for cells whose letters pair, pair by pair; `pairs` from `pairings`.

    A cell pairs from `least` on: 1 for Watson-Crick only, 0.5 for wobble too; and, with `run`
    above 1, only where it lies in that many pairs in a row (a network of k-mers cannot tell a
    shorter stretch: a quarter of all cells pair by chance). Equal cells share their rank. The null
    shuffles the letters of each site, which moves whole columns of `pairs`, and looks for runs
    anew. Without groups each pair is its own.
    """
    if interaction.shape != pairs.shape:
        raise DataError(
            f"interactions of shape {interaction.shape} came with pairings of {pairs.shape}"
        )
    names = np.arange(len(pairs)) if groups is None else groups
    if len(names) != len(pairs) or not len(pairs):
        raise DataError(f"{len(pairs)} pairs came with {len(names)} groups: each needs one")
    if draws < 1 or run < 1:
        raise UsageError(f"{draws} draws of runs of {run} make no test: ask for at least 1 of both")
    one = np.full(len(pairs), np.nan)
    null = np.full((draws, len(pairs)), np.nan)
    for row, (map_, can) in enumerate(zip(interaction, pairs, strict=True)):
        known = ~np.isnan(map_) & ~np.isnan(can)
        one[row], null[:, row] = _auc(
            np.abs(map_), can >= least, known, run, draws, rng(seed, "shuffled sites", row)
        )
    told = cluster_bootstrap(one[:, None], names, draws=draws, seed=seed).iloc[0]
    there = ~np.isnan(one)
    if not there.any():
        return Agreement(np.nan, np.nan, np.nan, np.nan, np.nan, 0, 0, one)
    # a shuffled site without any run says nothing, neither for nor against: 0.5
    chance = np.where(np.isnan(null[:, there]), 0.5, null[:, there]).mean(1)
    p = (1 + int((chance >= told["mean"] - 1e-12).sum())) / (1 + draws)
    return Agreement(
        float(told["mean"]),
        float(told["low"]),
        float(told["high"]),
        float(chance.mean()),
        p,
        int(told["n"]),
        int(told["groups"]),
        one,
    )


def _auc(
    size: Float[np.ndarray, "mirna site"],
    can: Bool[np.ndarray, "mirna site"],
    known: Bool[np.ndarray, "mirna site"],
    run: int,
    draws: int,
    generator: np.random.Generator,
) -> tuple[float, Float[np.ndarray, " draws"]]:
    """AUC of one pair, and with the columns of `can` in another order; NaN without both kinds."""
    rows, columns = known.any(1), known.any(0)
    size, can, known = (one[rows][:, columns] for one in (size, can, known))
    if not known.all():
        raise DataError("a map lacks single cells; it may lack whole positions only")
    if not can.size:
        return np.nan, np.full(draws, np.nan)
    ranks = rankdata(size).reshape(size.shape)
    orders = np.argsort(generator.random((draws, can.shape[1])), axis=1)
    moved = np.concatenate([can[None], can[:, orders].transpose(1, 0, 2)])
    cells = in_runs(moved, run).reshape(1 + draws, -1)
    ones = cells.sum(1).astype(np.float64)
    total = ones * (cells.shape[1] - ones)
    above = cells @ ranks.ravel() - ones * (ones + 1) / 2
    found = np.full(1 + draws, np.nan)
    np.divide(above, total, out=found, where=total > 0)
    return float(found[0]), found[1:]


def in_runs(
    can: Bool[np.ndarray, "draws mirna site"], run: int
) -> Bool[np.ndarray, "draws mirna site"]:
    """Cells that lie in a run of at least `run` along antiparallel strands."""
    rising = can[:, :, ::-1]
    rows, columns = rising.shape[1] - run + 1, rising.shape[2] - run + 1
    found = np.zeros_like(rising)
    if min(rows, columns) < 1:
        return found
    whole = np.ones((len(can), rows, columns), bool)
    for i in range(run):
        whole &= rising[:, i : i + rows, i : i + columns]
    for i in range(run):
        found[:, i : i + rows, i : i + columns] |= whole
    return found[:, :, ::-1]
