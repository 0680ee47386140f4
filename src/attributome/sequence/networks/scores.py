"""How good a predictor of pairs is, and how sure that is: whole groups (miRNAs) are drawn again.

The bootstrap over groups (Field & Welsh 2007) is a matrix of weights, one column per draw: how
often each group was drawn. Every metric is computed for all draws together, with ties.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Num, Shaped

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng

Curve = Float[np.ndarray, " draws"]

LEAST_DEFINED = 0.9
"""The share of the draws in which a metric must be defined for its interval to be given."""

_AT_ONCE = 2**20  # numbers of one block of weights: it stays in the processor's cache


def _ratio(above: Curve, below: Curve) -> Curve:
    """A share, NaN where there is nothing to take it of."""
    share: Curve = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
    return share


_CUT: dict[str, Callable[[Curve, Curve, Curve, Curve], Curve]] = {
    "accuracy": lambda tp, fp, tn, fn: _ratio(tp + tn, tp + fp + tn + fn),
    "precision": lambda tp, fp, tn, fn: _ratio(tp, tp + fp),
    "recall": lambda tp, fp, tn, fn: _ratio(tp, tp + fn),
    "f1": lambda tp, fp, tn, fn: _ratio(2 * tp, 2 * tp + fp + fn),
    "mcc": lambda tp, fp, tn, fn: _ratio(
        tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    ),
    "specificity": lambda tp, fp, tn, fn: _ratio(tn, tn + fp),
}
METRICS = ("auc", "ap", *_CUT, "brier")
"""Areas under the ROC and precision-recall curves, what holds at the threshold, and the mean
squared error of the probability (Brier 1950). Higher is better, for the last lower."""


def score(
    labels: Shaped[np.ndarray, " n"],
    logits: Num[np.ndarray, " m"],
    groups: Shaped[np.ndarray, " g"],
    *,
    draws: int = 1000,
    seed: int = 0,
    threshold: float = 0.0,
    confidence: float = 0.95,
    metrics: Sequence[str] = METRICS,
) -> pd.DataFrame:
    """Each metric with its bootstrap percentile interval, groups being what is drawn again.

    Columns `metric, value, low, high, n, groups, undefined, reason`. A pair counts as predicted
    where its logit is above `threshold`; `brier` takes the logit's sigmoid for the probability.
    What cannot be said is NaN and `reason` says why: a metric of labels that are all alike, an
    interval of one group. Draws in which a metric is undefined are counted in `undefined` and left
    out of the interval, which is NaN where they are more than a tenth.
    """
    known, truth, member, names = _checked(labels, groups, metrics)
    values = _finite(logits, len(truth), "the scores")
    weights = _weights(names, draws, seed)
    point = _measure(truth, values, member, np.ones((names, 1)), threshold, known)
    drawn = _measure(truth, values, member, weights, threshold, known)
    rows = []
    for metric in known:
        value = float(point[metric][0])
        low, high, lost, reason = _interval(drawn[metric], names, confidence)
        if np.isnan(value):
            low, high, reason = np.nan, np.nan, _why(metric, truth)
        rows.append(
            {
                "metric": metric,
                "value": value,
                "low": low,
                "high": high,
                "n": len(truth),
                "groups": names,
                "undefined": lost,
                "reason": reason,
            }
        )
    return pd.DataFrame(rows)


def compare(
    labels: Shaped[np.ndarray, " n"],
    logits: Mapping[str, Num[np.ndarray, "..."]],
    groups: Shaped[np.ndarray, " g"],
    *,
    draws: int = 1000,
    seed: int = 0,
    threshold: float | Mapping[str, float] = 0.0,
    confidence: float = 0.95,
    metrics: Sequence[str] = ("auc", "ap"),
) -> pd.DataFrame:
    """Every two predictors of the same pairs, by the metric of `a` minus that of `b`.

    Columns `a, b, metric, difference, low, high, p, n, groups, undefined, reason`. Both are scored
    on the same draws of groups, so what the draws do to both cancels. `p` is two-sided: twice the
    share of draws with a difference on the rarer side of 0, ties on both sides, with one draw
    added to each count (Davison & Hinkley 1997); it is never below 2 / (draws + 1).
    """
    if len(logits) < 2:
        raise UsageError(f"a comparison was given the predictors {sorted(logits)}: it needs two")
    known, truth, member, names = _checked(labels, groups, metrics)
    weights = np.hstack([np.ones((names, 1)), _weights(names, draws, seed)])  # first as they are
    found = {}
    for name, each in logits.items():
        values = _finite(each, len(truth), f"the scores of {name!r}")
        cut = threshold[name] if isinstance(threshold, Mapping) else threshold
        found[name] = _measure(truth, values, member, weights, cut, known)
    rows = []
    for a, b in combinations(logits, 2):
        for metric in known:
            difference = found[a][metric] - found[b][metric]
            low, high, lost, reason = _interval(difference[1:], names, confidence)
            if np.isnan(difference[0]):
                low, high, reason = np.nan, np.nan, _why(metric, truth)
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "metric": metric,
                    "difference": float(difference[0]),
                    "low": low,
                    "high": high,
                    "p": np.nan if reason else _two_sided(difference[1:]),
                    "n": len(truth),
                    "groups": names,
                    "undefined": lost,
                    "reason": reason,
                }
            )
    return pd.DataFrame(rows)


def ranking(
    truth: Shaped[np.ndarray, " n"],
    values: Num[np.ndarray, " n"],
    weights: Num[np.ndarray, "n draws"],
) -> tuple[Curve, Curve]:
    """AUC (ties count half) and average precision for each column of weights of the pairs.

    Both are NaN where the weights leave pairs of one label only. Equal to scikit-learn's
    `roc_auc_score` and `average_precision_score` with `sample_weight`.
    """
    order, positive, ends = _ordered(truth, values.astype(np.float64))
    return _ranking(positive, ends, weights[order].astype(np.float64))


def _ordered(
    truth: Shaped[np.ndarray, " n"], values: Float[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 1"], Int[np.ndarray, " distinct"]]:
    """Pairs from the highest score down, their labels, and where each run of ties ends."""
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    return order, truth[order].astype(np.float64)[:, None], ends


def _ranking(
    positive: Float[np.ndarray, "n 1"],
    ends: Int[np.ndarray, " distinct"],
    weights: Float[np.ndarray, "n draws"],
) -> tuple[Curve, Curve]:
    hits = np.cumsum(weights * positive, axis=0)[ends]  # true positives at each threshold
    alarms = np.cumsum(weights * (1 - positive), axis=0)[ends]
    gained, met = np.diff(hits, axis=0, prepend=0.0), np.diff(alarms, axis=0, prepend=0.0)
    auc = _ratio((met * (hits - gained / 2)).sum(0), hits[-1] * alarms[-1])
    taken = hits + alarms
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
    ap = _ratio((gained * precision).sum(0), hits[-1])
    return auc, np.where(np.isnan(auc), np.nan, ap)


def _measure(
    truth: Int[np.ndarray, " n"],
    values: Float[np.ndarray, " n"],
    member: Int[np.ndarray, " n"],
    weights: Float[np.ndarray, "names draws"],
    threshold: float,
    metrics: Sequence[str],
) -> dict[str, Curve]:
    """Each metric for each column of weights of the groups."""
    names, draws = weights.shape
    found: dict[str, Curve] = {}
    if {"auc", "ap"} & set(metrics):
        order, positive, ends = _ordered(truth, values)
        width = max(1, _AT_ONCE // len(truth))
        parts = [
            _ranking(positive, ends, weights[:, at : at + width][member[order]])
            for at in range(0, draws, width)
        ]
        for metric, pieces in zip(("auc", "ap"), zip(*parts, strict=True), strict=True):
            found[metric] = np.concatenate(pieces)
    taken = values > threshold
    cells = [truth * taken, (1 - truth) * taken, (1 - truth) * ~taken, truth * ~taken]
    # exp of what is not positive cannot overflow
    small = np.exp(-np.abs(values))
    probability = np.where(values >= 0, 1.0, small) / (1.0 + small)
    cells += [(probability - truth) ** 2, np.ones(len(truth))]
    sums = np.stack([np.bincount(member, cell, names) for cell in cells]) @ weights
    for metric, formula in _CUT.items():
        found[metric] = formula(*sums[:4])
    found["brier"] = _ratio(sums[4], sums[5])
    return {metric: found[metric] for metric in metrics}


def _weights(names: int, draws: int, seed: int) -> Float[np.ndarray, "names draws"]:
    """How often each group is drawn, in each draw of as many groups as there are."""
    if draws < 1:
        raise UsageError(f"{draws} bootstrap draws cannot make an interval: ask for at least 1")
    counts = rng(seed, "bootstrap of groups").multinomial(names, [1 / names] * names, draws)
    return np.ascontiguousarray(counts.T, dtype=np.float64)


def _interval(drawn: Curve, names: int, confidence: float) -> tuple[float, float, int, str]:
    """The ends of the percentile interval, the undefined draws, and why there is no interval."""
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence of {confidence} is not between 0 and 1, such as 0.95")
    defined = drawn[~np.isnan(drawn)]
    lost = len(drawn) - len(defined)
    if names < 2:
        return np.nan, np.nan, lost, "one group says nothing about the spread between groups"
    if len(defined) < LEAST_DEFINED * len(drawn):
        return np.nan, np.nan, lost, f"undefined in {lost} of {len(drawn)} draws"
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high), lost, ""


def _two_sided(difference: Curve) -> float:
    defined = difference[~np.isnan(difference)]
    rarer = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(defined) + 1))


def _why(metric: str, truth: Int[np.ndarray, " n"]) -> str:
    if metric == "precision":
        return "no pair is predicted to interact"
    if truth.min() == truth.max():
        return f"all labels are {truth[0]}"
    return "all pairs are predicted alike"


def _checked(
    labels: Shaped[np.ndarray, " n"], groups: Shaped[np.ndarray, " m"], metrics: Sequence[str]
) -> tuple[list[str], Int[np.ndarray, " n"], Int[np.ndarray, " n"], int]:
    """The metrics, the labels as 0 and 1, the number of each pair's group, and of all groups."""
    if wrong := [metric for metric in metrics if metric not in METRICS]:
        raise UsageError(f"there is no metric {wrong[0]!r}; there are {', '.join(METRICS)}")
    if not len(labels):
        raise DataError("there are no pairs to score")
    if len(groups) != len(labels):
        raise DataError(f"{len(labels)} labels came with {len(groups)} groups: each needs one")
    known = np.isin(labels, [0, 1])
    if not known.all():
        at = int((~known).argmax())
        raise DataError(f"label {labels[at]} of pair {at} (counted from 0) is not 0 or 1")
    member, names = pd.factorize(groups)
    if (member < 0).any():
        at = int((member < 0).argmax())
        raise DataError(f"pair {at} (counted from 0) has no group; each pair needs its miRNA")
    return list(metrics), labels.astype(np.int64), member.astype(np.int64), len(names)


def _finite(values: Num[np.ndarray, " m"], n: int, name: str) -> Float[np.ndarray, " m"]:
    if len(values) != n:
        raise DataError(f"{n} labels came with {len(values)} numbers in {name}: each needs one")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(
            f"{name} hold {len(bad)} numbers that are not finite, the first for pair {bad[0]} "
            f"(counted from 0); a score must say something of every pair"
        )
    return values.astype(np.float64)
