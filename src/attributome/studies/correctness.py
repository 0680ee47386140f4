"""Whether the efficacy of a mask says that a classifier is right, beyond its own top probability.

A score of each image is judged against 0 (wrong) and 1 (right): the point-biserial correlation, the
area under the ROC curve (AUROC), and a threshold chosen on validation images and judged on test
images. The predictor's own probability, which everybody has (Hendrycks and Gimpel 2017), is judged
beside it. Units, such as the image in all its corruptions, are drawn again and permuted whole.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from attributome.core.bootstrap import group_weights
from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import benjamini_hochberg
from attributome.studies.paired import need_columns, need_numbers
from attributome.studies.roc import (
    Values,
    Weights,
    auroc,
    exchanged,
    permuted,
    point_biserial,
    ratio,
    weighted_median,
)

Numbers = Float[np.ndarray, "numbers draws"]

NAMES = (
    *("accuracy", "r", "auroc", "median_right", "median_wrong"),
    *("balanced_accuracy", "precision", "coverage"),
)
LEAST = 3
"""Units below which there is no interval."""
BLOCK = 2**21
"""Weights of resampled rows that are held at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Images whose `score` is at least `threshold` are taken for right.

    `balanced_accuracy` is that of the `n` validation images that chose it, and flatters. `right` of
    them are.
    """

    score: str
    threshold: float
    balanced_accuracy: float
    n: int
    right: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Correctness:
    """What scores say of correctness on test images: a table, what they gain, and the cuts.

    `scores` has rows of `scope` "all", "group" and, with groups, "within groups" (the mean of the
    groups' numbers by their images: what is left to a score that knows the groups and nothing
    else), for each `score`. `n` images, `right` ones, `units`, `undefined` images (left out); then,
    each with `_low` and `_high`, the `accuracy` of the predictor (chance for `precision`), `r`,
    `auroc` (chance is 0.5), `median_right` and `median_wrong` of the score; and of the cut
    `balanced_accuracy` (chance is 0.5), `precision` (the share of right images among those it
    takes) and `coverage` (the share that it takes). `p` is two-sided, of an AUROC of 0.5, and `q`
    (Benjamini and Hochberg 1995) is over all groups and scores. A number that does not exist, as
    the AUROC where all are right, is NaN, and so are ends below three units.

    `gains`: for each scope and each baseline, `difference` in AUROC of the first score less the
    baseline, with `low`, `high`, `p` and `q` over the groups; empty without a baseline.
    """

    scores: pd.DataFrame
    gains: pd.DataFrame
    cuts: tuple[Cut, ...]


def efficacy_and_correctness(
    table: pd.DataFrame,
    *,
    unit: str,
    groups: Sequence[str] = (),
    score: str = "efficacy",
    baselines: Sequence[str] = ("probability",),
    correct: str = "correct",
    part: str = "split",
    choose: str = "validate",
    test: str = "test",
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Correctness:
    """Judge `score` and the `baselines` by the column `correct` (0 or 1), a row being an image.

    `unit` is what is independent: the image where each stands there once or corrupted in several
    ways, the well or the plate where images share one. A unit that stands in both parts is refused.
    `groups` are columns, such as corruption and severity; the cut is one for all of them. Of the
    other parts nothing is used. Rows where a score is NaN are undefined for all scores, so that
    these are compared on the same images.

    p permutes the scores of whole units among units of equally many images (of a group), and a
    gain's p exchanges the ranks of the two scores in whole units at random: (1 + as far) / (1 +
    draws).
    """
    names = [score, *baselines]
    _check(table, names, [unit, part, *groups], correct, draws, confidence)
    chosen, tested = _parts(table, unit, part, choose, test)
    there = tested[names].notna().all(axis=1)
    # by groups: the images of every unit then stand in the same order, in which p permutes them
    kept = tested[there].sort_values([*groups, part], kind="stable", ignore_index=True)
    if kept.empty:
        raise DataError(f"no image of the part {test!r} has a value of every score of {names}")
    validated = chosen[chosen[names].notna().all(axis=1)]
    index, again = group_weights(kept[unit].astype(str).to_numpy(), draws=draws, seed=seed)
    study = _Study(
        cuts=tuple(_cut(validated, name, correct, choose) for name in names),
        values=kept[names].to_numpy(np.float64),
        right=kept[correct].to_numpy(np.float64),
        index=index,
        again=again,
        tails=((1 - confidence) / 2, (1 + confidence) / 2),
        seed=seed,
    )
    blank = dict.fromkeys(groups, "")
    lost = {"undefined": int((~there).sum())}
    parts = [_judged(study, {"scope": "all", **blank}, np.arange(len(kept)), lost)]
    for told, rows in _groups(kept, tested, groups):
        lost = {"undefined": len(_rows(tested, told)) - len(rows)}
        parts.append(_judged(study, {"scope": "group", **told}, rows, lost))
    if groups:
        parts.append(_within(study, {"scope": "within groups", **blank}, parts))
    return Correctness(
        scores=_with_q([row for part in parts for row in part.scores]),
        gains=_with_q([row for part in parts for row in part.gains]),
        cuts=study.cuts,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Study:
    """Test images with all scores, the cuts of these, and the draws of units."""

    cuts: tuple[Cut, ...]
    values: Float[np.ndarray, "n scores"]
    right: Float[np.ndarray, " n"]
    index: Int[np.ndarray, " n"]
    again: Int[np.ndarray, "draws units"]
    tails: tuple[float, float]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Judged:
    """The rows of one scope, and the numbers of each score in all draws."""

    scores: list[dict[str, Any]]
    gains: list[dict[str, Any]]
    drawn: Float[np.ndarray, "scores numbers draws"]


def _judged(
    study: _Study, told: dict[str, Any], rows: Int[np.ndarray, " rows"], lost: dict[str, int]
) -> _Judged:
    units, right, draws = study.index[rows], study.right[rows], len(study.again)
    counted = {"n": len(rows), "right": int(right.sum()), "units": len(np.unique(units)), **lost}
    drawn = np.stack([
        _drawn(partial(_numbers, values, right, cut.threshold), study.again, units)
        for values, cut in zip(study.values[rows].T, study.cuts, strict=True)
    ])  # fmt: skip
    words = tuple(map(str, told.values()))
    scores, gains = [], []
    for number, cut in enumerate(study.cuts):
        values = study.values[rows, number]
        row = {**told, "score": cut.score, **counted}
        row |= _told(drawn[number], study.tails, counted["units"])
        row["p"] = permuted(values, right, units, draws, study.seed, (*words, cut.score))
        scores.append(row)
        if number:
            first = study.values[rows, 0]
            p = exchanged(first, values, right, units, draws, study.seed, (*words, cut.score))
            gains.append({**_gain(study, told | counted, drawn, number), "p": p})
    return _Judged(scores=scores, gains=gains, drawn=drawn)


def _within(study: _Study, told: dict[str, Any], parts: list[_Judged]) -> _Judged:
    """The mean of the groups by their images; it is a mean, and is not tested."""
    sizes = np.array([part.scores[0]["n"] for part in parts[1:]])[:, None, None, None]
    values = np.stack([part.drawn for part in parts[1:]])
    there = sizes * ~np.isnan(values)  # groups in which a number exists
    drawn = ratio((there * np.nan_to_num(values)).sum(0), there.sum(0))
    counted = {key: parts[0].scores[0][key] for key in ("n", "right", "units", "undefined")}
    scores = [
        {**told, "score": cut.score, **counted, **_told(one, study.tails, counted["units"])}
        for cut, one in zip(study.cuts, drawn, strict=True)
    ]
    gains = [_gain(study, told | counted, drawn, at) for at in range(1, len(study.cuts))]
    return _Judged(
        scores=[{**row, "p": np.nan} for row in scores],
        gains=[{**row, "p": np.nan} for row in gains],
        drawn=drawn,
    )


def _gain(study: _Study, told: dict[str, Any], drawn: np.ndarray, number: int) -> dict[str, Any]:
    place = NAMES.index("auroc")
    gap = drawn[0, place] - drawn[number, place]
    low, high = _ends(gap[1:], study.tails, 0 if np.isnan(gap[0]) else told["units"])
    names = {"score": study.cuts[0].score, "baseline": study.cuts[number].score}
    return {**told, **names, "difference": float(gap[0]), "low": low, "high": high}


def _groups(
    kept: pd.DataFrame, tested: pd.DataFrame, groups: Sequence[str]
) -> Iterator[tuple[dict[str, Any], Int[np.ndarray, " rows"]]]:
    """The groups of the test images in order, and which rows are theirs."""
    if not groups:
        return
    for values in tested[[*groups]].drop_duplicates().sort_values([*groups]).to_numpy(object):
        told = dict(zip(groups, values, strict=True))
        rows = _rows(kept, told)
        if not len(rows):
            raise DataError(f"no image of the group {told} has a value of every score")
        yield told, rows


def _cut(validated: pd.DataFrame, name: str, correct: str, choose: str) -> Cut:
    """The observed value with the best balanced accuracy; of equals the lowest, which keeps most.

    Balanced accuracy is (share of right images taken + share of wrong ones left) / 2.
    """
    values = validated[name].to_numpy(np.float64)
    right = validated[correct].to_numpy(np.float64)
    good, bad = int(right.sum()), int((right == 0).sum())
    if not good or not bad:
        raise DataError(
            f"of {len(validated)} images of the part {choose!r} {good} are right and {bad} wrong: "
            f"a threshold needs both"
        )
    levels, code = np.unique(values, return_inverse=True)
    taken = np.bincount(code, weights=right)[::-1].cumsum()[::-1] / good
    left = 1 - np.bincount(code, weights=1 - right)[::-1].cumsum()[::-1] / bad
    balanced = (taken + left) / 2
    # what rounding makes of equals must not choose
    best = int(np.flatnonzero(balanced >= balanced.max() - 1e-12)[0])
    return Cut(
        score=name,
        threshold=float(levels[best]),
        balanced_accuracy=float(balanced[best]),
        n=len(values),
        right=good,
    )


def _numbers(values: Values, right: Values, threshold: float, weights: Weights) -> Numbers:
    """The numbers of `NAMES` in each draw."""
    total, good = weights.sum(1), weights @ right
    takes = (values >= threshold).astype(np.float64)
    taken, hits = weights @ takes, weights @ (takes * right)
    wrong = total - good
    passed = ratio(hits, good) + 1 - ratio(taken - hits, wrong)
    return np.stack([
        ratio(good, total),
        point_biserial(values, right, weights),
        auroc(values, right, weights),
        weighted_median(values, weights * (right > 0)),
        weighted_median(values, weights * (right == 0)),
        passed / 2,
        ratio(hits, taken),
        ratio(taken, total),
    ])  # fmt: skip


def _drawn(
    work: Callable[[Weights], Numbers],
    again: Int[np.ndarray, "draws units"],
    units: Int[np.ndarray, " n"],
) -> Float[np.ndarray, "numbers _"]:
    """The numbers of the images as they are, then of each draw, some at a time."""
    step = max(1, BLOCK // len(units))
    parts = [again[at : at + step, units] for at in range(0, len(again), step)]
    return np.concatenate([work(part) for part in (np.ones((1, len(units)), int), *parts)], axis=1)


def _told(found: Numbers, tails: tuple[float, float], units: int) -> dict[str, float]:
    """The first column is the number itself, the others are its draws."""
    row: dict[str, float] = {}
    for name, values in zip(NAMES, found, strict=True):
        low, high = _ends(values[1:], tails, 0 if np.isnan(values[0]) else units)
        row |= {name: float(values[0]), f"{name}_low": low, f"{name}_high": high}
    return row


def _ends(drawn: Values, tails: tuple[float, float], units: int) -> tuple[float, float]:
    """Draws in which the number does not exist do not count."""
    there = drawn[~np.isnan(drawn)]
    if units < LEAST or not len(there):
        return float("nan"), float("nan")
    low, high = np.quantile(there, tails)
    return float(low), float(high)


def _with_q(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """With q over the groups; where there are none, over all that was tested."""
    if not rows:  # no baselines, no gains
        return pd.DataFrame()
    found = pd.DataFrame(rows)
    family = found["scope"] == ("group" if (found["scope"] == "group").any() else "all")
    q = np.full(len(found), np.nan)
    q[family] = benjamini_hochberg(found.loc[family, "p"].to_numpy(np.float64))
    return found.assign(q=q)


def _rows(table: pd.DataFrame, told: dict[str, Any]) -> Int[np.ndarray, " rows"]:
    mine = np.logical_and.reduce(
        [(table[name] == value).to_numpy() for name, value in told.items()]
    )
    return np.flatnonzero(mine)


def _parts(
    table: pd.DataFrame, unit: str, part: str, choose: str, test: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    there = table[part].astype(str)
    chosen, tested = table[there == choose], table[there == test]
    for name, one in ((choose, chosen), (test, tested)):
        if one.empty:
            raise DataError(f"no image is of the part {name!r}; there are {sorted(set(there))}")
    if both := sorted(set(chosen[unit].astype(str)) & set(tested[unit].astype(str))):
        raise DataError(
            f"{unit} {both[0]!r} stands in the part {choose!r} and in {test!r}: it must be whole"
        )
    return chosen, tested


def _check(
    table: pd.DataFrame,
    numbers: list[str],
    names: list[str],
    correct: str,
    draws: int,
    confidence: float,
) -> None:
    need_columns(table, *numbers, *names, correct)
    for name in numbers:
        need_numbers(table, name)
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"the scores {numbers} name one twice: a score is no baseline of itself")
    if draws < 1 or not 0 < confidence < 1:
        raise UsageError(f"confidence {confidence} and {draws} draws; such as 0.95 and 2000")
    if not table[correct].isin([0, 1]).all():
        raise DataError(f"some values of {correct!r} are neither 0 (wrong) nor 1 (right)")
    for name in names:
        if lost := int(table[name].isna().sum()):
            raise DataError(f"{lost} rows have no {name!r}; each needs one")
