"""Who is near whom: pairs of profiles by what is known of both, and the ranks of positives in them.

Similarities are held for a block of rows at a time and nobody sorts what need only be counted.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Float64, Integer
from scipy.spatial.distance import cdist

from attributome.core.errors import DataError, UsageError

Features = Float[np.ndarray, "n f"]
Codes = Integer[np.ndarray, " n"]
Rule = tuple[Codes, list[Codes]]
"""Rows of a pair share the first number, and differ in each of the others."""

ANGLES = ("cosine", "abs_cosine", "correlation")
METRICS = {"euclidean": "euclidean", "manhattan": "cityblock", "chebyshev": "chebyshev"}
TIES = ("positives first", "negatives first")
BLOCK = 2**22
"""Similarities that are held at a time."""
MANY = 24
"""Positives from which on it is quicker to sort the negatives than to count them for each."""


def precisions(
    features: Features, positive: Rule, negative: Rule, *, similarity: str, ties: str
) -> tuple[Float64[np.ndarray, " n"], Integer[np.ndarray, "2 n"]]:
    """Average precision of every row, NaN where undefined; its positives and negatives."""
    for given, what, names in (
        (similarity, "similarity", (*ANGLES, *METRICS)),
        (ties, "ties", TIES),
    ):
        if given not in names:
            raise UsageError(f"no {what} {given!r}; there are {', '.join(names)}")
    order = np.lexsort((positive[0], negative[0]))  # who share their candidates stand together
    alike, around = positive[0][order], negative[0][order]
    apart, away = ([codes[order] for codes in rule[1]] for rule in (positive, negative))
    points = directions(features[order], similarity)
    members = np.split(np.argsort(alike, kind="stable"), np.cumsum(np.bincount(alike))[:-1])
    found = np.full(len(order), np.nan)
    counts = np.zeros((2, len(order)), np.int64)
    for rows, candidates in _blocks(around, np.bincount(alike)[alike]):
        near = []
        for a, b in _runs(alike[rows]):
            some = members[alike[rows[a]]]
            may = _pairs(rows[a:b], some, apart)
            far = distances(points, rows[a:b], some, similarity)
            near += [np.sort(one[of]) for one, of in zip(far, may, strict=True)]
        counts[0, rows] = [len(one) for one in near]
        may = _pairs(rows, candidates, away)
        counts[1, rows] = may.sum(1)
        judged = np.flatnonzero(counts[:, rows].all(0))
        if not len(judged):
            continue
        may = may[judged]
        used = may.any(0)  # controls are few: nobody needs the distance to all treated wells
        far = distances(points, rows[judged], candidates[used], similarity)
        far[~may[:, used]] = np.inf
        found[rows[judged]] = [
            _precision(near[i], one, ties) for i, one in zip(judged, far, strict=True)
        ]
    back = np.argsort(order)
    return found[back], counts[:, back]


def _blocks(
    around: Codes, positives: Integer[np.ndarray, " n"]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows in blocks, and those among whom their negatives are."""
    for start, stop in _runs(around):
        step = max(1, BLOCK // max(stop - start, int(positives[start:stop].max())))
        for first in range(start, stop, step):
            yield np.arange(first, min(first + step, stop)), np.arange(start, stop)


def rule(table: pd.DataFrame, alike: Sequence[str], apart: Sequence[str], kind: str) -> Rule:
    """A number for what rows must share, and one for each column in which they must differ."""
    if isinstance(alike, str) or isinstance(apart, str):
        raise UsageError(f"the columns of {kind} pairs came as a text; give a list of names")
    if not alike and not apart:
        raise UsageError(f"nothing says which pairs are {kind}; name columns")
    for name in [*alike, *apart]:
        if name not in table:
            raise UsageError(f"no column {name!r}; there is {[*map(str, table.columns)]}")
        if table[name].isna().any():
            raise DataError(f"{table[name].isna().sum()} of {len(table)} rows have no {name!r}")
    if both := {*alike} & {*apart}:
        raise UsageError(f"{kind} pairs cannot be alike in {sorted(both)[0]!r} and differ in it")
    shared = np.zeros(len(table), np.int64)
    for name in alike:
        codes = pd.factorize(table[name])[0]
        shared = np.unique(shared * (codes.max() + 1) + codes, return_inverse=True)[1]
    return shared, [pd.factorize(table[name])[0].astype(np.int32) for name in apart]


def _precision(near: np.ndarray, far: np.ndarray, ties: str) -> float:
    """The average precision of positives at these rising distances."""
    if len(near) > MANY:
        side: Literal["left", "right"] = "left" if ties == "positives first" else "right"
        before = np.searchsorted(np.sort(far), near, side)
    elif ties == "positives first":
        before = np.array([np.count_nonzero(far < one) for one in near])
    else:
        before = np.array([np.count_nonzero(far <= one) for one in near])
    rank = np.arange(1, len(near) + 1)
    return float((rank / (rank + before)).mean())


def _pairs(
    rows: np.ndarray, others: np.ndarray, apart: Sequence[np.ndarray]
) -> Bool[np.ndarray, "b m"]:
    """Which of the others each row is paired with: not itself, and not who shares a code."""
    may: np.ndarray = rows[:, None] != others
    for codes in apart:
        may &= codes[rows, None] != codes[others]
    return may


def directions(features: Features, similarity: str) -> Float64[np.ndarray, "n f"]:
    """Features in double precision; where only directions count, of length 1."""
    points = features.astype(np.float64)
    if similarity not in ANGLES:
        return points
    if similarity == "correlation":
        points -= points.mean(1, keepdims=True)
    lengths = np.linalg.norm(points, axis=1)
    least = 1e-12 * np.abs(features).max(1) if similarity == "correlation" else 0
    if (lengths <= least).any():
        raise DataError(
            f"{(lengths <= least).sum()} of {len(points)} profiles have no direction, so that they "
            f"have no {similarity} with others: leave them out, and report how many"
        )
    points /= lengths[:, None]
    return points


def distances(
    points: np.ndarray, rows: np.ndarray, others: np.ndarray, similarity: str
) -> Float32[np.ndarray, "b m"]:
    """1 − similarity, in single precision."""
    a, b = points[rows], points[others]
    if similarity in METRICS:
        alike = 1 / (1 + cdist(a, b, METRICS[similarity]))
    else:
        alike = a @ b.T
        if similarity == "abs_cosine":
            alike = np.abs(alike)
    far: np.ndarray = 1 - alike.astype(np.float32)
    return far


def _runs(codes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where equal neighbours begin and end."""
    ends = [*(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    return pairwise([0, *ends])
