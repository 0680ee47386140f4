"""What differs between positives and negatives of the same miRNA.

A miRNA has its own level of everything, and its share of positives is its own too, so positives
and negatives are compared within each miRNA, and the test permutes labels within each miRNA. The
null hypothesis is exactly: within a miRNA, every arrangement of its labels over its pairs is
equally likely, given all features. Nothing is assumed of the features.
"""

from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Int8, Shaped
from scipy.stats import rankdata

from attributome.core.bootstrap import group_sums
from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import benjamini_hochberg
from attributome.core.seeds import rng

Outcome = Literal["TP", "FP", "TN", "FN"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
BLOCK = 2**22
"""Numbers of permuted labels, or of ranks, that are held at once as floats."""


def contrast(
    features: Float[np.ndarray, "n f"],
    names: list[str],
    labels: Int[np.ndarray, " m"],
    groups: Shaped[np.ndarray, " l"],
    *,
    draws: int = 1000,
    seed: int = 0,
    least: int = 10,
) -> pd.DataFrame:
    """Compare each feature between label 1 and label 0, one row for each that can be compared.

    Those are the features with at least `least` carriers: pairs where it is neither NaN (it does
    not exist there) nor 0, in miRNAs that hold both labels. Only such miRNAs can speak. Columns:

    `name`; `n1`, `n0`, `mirnas`: pairs of each label, and miRNAs, that were compared;
    `difference`: of the means, and `cliffs_delta`: P(1 above 0) − P(1 below 0) (Cliff 1993), each
    the mean over miRNAs with weights n1 n0 / (n1 + n0 + 1) (van Elteren 1960); with one miRNA
    they are the usual ones. `cohens_d`: `difference` over the standard deviation that is left
    within label and miRNA (NaN without spread). `p`: of |cliffs_delta|, two-sided, over `draws`
    permutations of labels within miRNA, (1 + as extreme) / (1 + draws), so never below
    1 / (1 + draws). `q`: Benjamini–Hochberg over the rows. `p_family`: the chance that any row
    is that extreme in its own standard errors (max-T; Westfall & Young 1993): with thousands of
    features it finds a single strong one where `q` cannot for want of draws.
    """
    _check(features, names, labels, groups, draws)
    index = np.unique(groups, return_inverse=True)[1]
    speaks = _both(labels, index)[index]
    chosen = np.flatnonzero(_carriers(features, speaks) >= least)
    values, label = features[speaks].astype(np.float64), labels[speaks]
    index = np.unique(index[speaks], return_inverse=True)[1]
    if not len(chosen) or not speaks.any():
        return pd.DataFrame(columns=["name", *COLUMNS]).astype(TYPES)
    shuffled = _permutations(label, index, draws=draws, seed=seed)
    step = max(1, BLOCK // len(label))
    parts = [chosen[start : start + step] for start in range(0, len(chosen), step)]
    tables, highest = [], np.zeros(draws)
    for part in parts:
        table, extreme = _compare(values[:, part], label, index, shuffled)
        tables.append(table)
        highest = np.maximum(highest, extreme)
    found = pd.concat(tables, ignore_index=True)
    found["q"] = benjamini_hochberg(found["p"].to_numpy())
    above = (highest >= found.pop("z").to_numpy()[:, None] - 1e-9).sum(1)
    found["p_family"] = np.where(found["p"].isna(), np.nan, (1 + above) / (1 + draws))
    found.insert(0, "name", [names[place] for place in chosen])
    return found.astype(TYPES)


COLUMNS = (*("n1", "n0", "mirnas", "difference", "cliffs_delta", "cohens_d", "p", "q", "p_family"),)
TYPES: dict[str, type] = {name: int if name in COLUMNS[:3] else float for name in COLUMNS}


def outcome_groups(
    labels: Int[np.ndarray, " n"], logits: Float[np.ndarray, " n"], *, threshold: float = 0.0
) -> Shaped[np.ndarray, " n"]:
    """One of `OUTCOMES` for each pair; positive is a logit difference above `threshold`."""
    if np.isnan(logits).any():
        raise DataError(f"pair {int(np.isnan(logits).argmax())} has no logit: outcomes need one")
    right, positive = (logits > threshold) == (labels == 1), logits > threshold
    found: np.ndarray = np.char.add(np.where(right, "T", "F"), np.where(positive, "P", "N"))
    return found


def versus(
    outcomes: Shaped[np.ndarray, " n"], ones: Outcome, zeros: Outcome
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Rows of two outcomes, and their labels (1 for `ones`), as `contrast` takes them."""
    if ones == zeros:
        raise UsageError(f"outcome {ones} cannot be compared with itself; name two of {OUTCOMES}")
    rows = np.flatnonzero((outcomes == ones) | (outcomes == zeros))
    return rows, (outcomes[rows] == ones).astype(np.int64)


def _compare(
    values: Float[np.ndarray, "n f"],
    labels: Int[np.ndarray, " n"],
    index: Int[np.ndarray, " n"],
    shuffled: Int8[np.ndarray, "draws n"],
) -> tuple[pd.DataFrame, Float[np.ndarray, " draws"]]:
    """Effects and p of each feature, and the largest |z| of each permutation."""
    one = (labels == 1)[:, None]
    sum1, n1 = group_sums(np.where(one, values, np.nan), index)
    sum0, n0 = group_sums(np.where(one, np.nan, values), index)
    weight = n1 * n0 / (n1 + n0 + 1)
    total = weight.sum(0)
    gap = _over(sum1, n1) - _over(sum0, n0)
    ranks = centred_ranks(values, index) / (n1 + n0 + 1)[index]
    spread = _spread(values, one, index, _over(sum1, n1), _over(sum0, n0))
    # sum over positives of centred ranks / (n + 1) is half of the weighted sum of Cliff's deltas
    observed = one[:, 0].astype(np.float64) @ ranks
    error = np.sqrt(_null_variance(ranks, labels, index))
    error[error == 0] = 1.0  # constant in every miRNA: the statistic is 0 however labels fall
    z = np.abs(observed / error)
    as_extreme, highest = np.zeros(values.shape[1]), []
    step = max(1, BLOCK // len(labels))
    for start in range(0, len(shuffled), step):
        again = np.abs(shuffled[start : start + step].astype(np.float64) @ ranks / error)
        as_extreme += (again >= z - 1e-9).sum(0)
        highest.append(again.max(1, initial=0.0))
    p = (1 + as_extreme) / (1 + len(shuffled))
    there = (n1 > 0) & (n0 > 0)
    known = there.any(0)
    difference = _over(np.where(there, weight * gap, 0.0).sum(0), total)
    table = pd.DataFrame(
        {
            "n1": np.where(there, n1, 0).sum(0),
            "n0": np.where(there, n0, 0).sum(0),
            "mirnas": there.sum(0),
            "difference": np.where(known, difference, np.nan),
            "cliffs_delta": np.where(known, _over(2 * observed, total), np.nan),
            "cohens_d": np.where(known & (spread > 0), _over(difference, spread), np.nan),
            "p": np.where(known, p, np.nan),
            "z": np.where(known, z, 0.0),
        }
    )
    return table, np.concatenate(highest)


def centred_ranks(
    values: Float[np.ndarray, "n f"], index: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n f"]:
    """Rank of each value within its group (ties share the mean rank) minus the mean; NaN gets 0."""
    found = np.zeros(values.shape)
    there = ~np.isnan(values)
    for group in range(int(index.max(initial=-1)) + 1):
        rows = np.flatnonzero(index == group)
        inside = there[rows]
        ranks = rankdata(np.where(inside, values[rows], np.inf), axis=0)
        found[rows] = np.where(inside, ranks - (inside.sum(0) + 1) / 2, 0.0)
    return found


def _null_variance(
    ranks: Float[np.ndarray, "n f"], labels: Int[np.ndarray, " n"], index: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " f"]:
    """Exact variance of the sum of ranks over positives when labels are permuted in groups."""
    size, ones = np.bincount(index), np.bincount(index, weights=labels)
    share = _over(ones * (size - ones), size * (size - 1.0))
    squares, _ = group_sums(ranks**2, index)
    # ranks sum to 0 in each group, so the sum of squares is that of deviations
    found: np.ndarray = (share[:, None] * squares).sum(0)
    return found


def _permutations(
    labels: Int[np.ndarray, " n"], index: Int[np.ndarray, " n"], *, draws: int, seed: int
) -> Int8[np.ndarray, "draws n"]:
    """Labels permuted within groups."""
    generator = rng(seed, "labels within miRNA")
    place = np.argsort(index, kind="stable")
    found = np.empty((draws, len(labels)), np.int8)
    for draw in range(draws):
        order = np.lexsort((generator.random(len(labels)), index))
        found[draw, place] = labels[order]
    return found


def _spread(
    values: Float[np.ndarray, "n f"],
    one: Bool[np.ndarray, "n 1"],
    index: Int[np.ndarray, " n"],
    mean1: Float[np.ndarray, "g f"],
    mean0: Float[np.ndarray, "g f"],
) -> Float[np.ndarray, " f"]:
    """Pooled standard deviation around the mean of each label in each group."""
    residual = values - np.where(one, mean1[index], mean0[index])
    there = ~np.isnan(values)
    cells = (~np.isnan(mean1)).sum(0) + (~np.isnan(mean0)).sum(0)
    squares = np.where(there, residual**2, 0.0).sum(0)
    scale = np.where(there, values**2, 0.0).sum(0)
    squares[squares <= 1e-24 * scale] = 0.0  # constants leave rounding behind
    found: np.ndarray = np.sqrt(_over(squares, (there.sum(0) - cells).astype(float)))
    return found


def _both(labels: Int[np.ndarray, " n"], index: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " g"]:
    ones = np.bincount(index, weights=labels)
    found: np.ndarray = (ones > 0) & (ones < np.bincount(index))
    return found


def _carriers(
    features: Float[np.ndarray, "n f"], speaks: Bool[np.ndarray, " n"]
) -> Int[np.ndarray, " f"]:
    found: np.ndarray = ((features != 0) & ~np.isnan(features) & speaks[:, None]).sum(0)
    return found


def _over(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Above / below, NaN where below is 0."""
    shape = np.broadcast_shapes(np.shape(above), np.shape(below))
    out: np.ndarray = np.full(shape, np.nan)
    np.divide(above, below, out=out, where=below != 0)
    return out


def _check(
    features: Float[np.ndarray, "n f"],
    names: list[str],
    labels: Int[np.ndarray, " m"],
    groups: Shaped[np.ndarray, " l"],
    draws: int,
) -> None:
    if not len(features) == len(labels) == len(groups):
        raise DataError(
            f"{len(features)} pairs came with {len(labels)} labels and {len(groups)} groups: each "
            f"needs one of both"
        )
    if len(names) != features.shape[1]:
        raise UsageError(f"{len(names)} names were given for {features.shape[1]} features")
    if not np.isin(labels, (0, 1)).all():
        raise DataError(f"label {labels[~np.isin(labels, (0, 1))][0]} is not 0 or 1")
    if np.isinf(features).any():
        row, column = np.argwhere(np.isinf(features))[0]
        raise DataError(f"{names[column]!r} of pair {row} is infinite; give a number or NaN")
    if draws < 1:
        raise UsageError(f"{draws} permutations make no test: ask for at least 1")
