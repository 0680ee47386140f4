"""How sure a number over fields is: bootstrap intervals, paired comparisons, many tests at once.

A value that is undefined is refused here and never averaged or dropped: which fields count is the
caller's decision, and the report must tell it.
"""

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import beta, wilcoxon

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng

Values = Float[np.ndarray, " n"]


def median_interval(
    values: Values, *, confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Median and the ends of its bootstrap percentile interval, all in the units of `values`.

    One or two values say nothing about their spread: the ends are then the smallest and the
    largest. With few values the interval covers less than it says: instead of 95 %, 75 % at
    n = 3 and 88 % at n = 7, but about 90 % or more from n = 8 on.
    """
    _check(values, "values")
    _check_interval(confidence, draws)
    if len(values) < 3:
        return float(np.median(values)), float(values.min()), float(values.max())
    again = rng(seed, "bootstrap of a median").integers(len(values), size=(draws, len(values)))
    low, high = _ends(np.median(values[again], axis=1), confidence)
    return float(np.median(values)), low, high


def grouped_interval(
    values: Values,
    groups: Shaped[np.ndarray, " m"],
    *,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """As `median_interval`, but whole groups are drawn again, with all their values.

    For values that are not independent, such as cells of one field or fields of one plate: `groups`
    names the independent unit of each. One or two groups show the range of the values.
    """
    _check(values, "values")
    _check_interval(confidence, draws)
    if len(groups) != len(values):
        raise DataError(f"{len(values)} values came with {len(groups)} groups: each needs one")
    names = np.unique(groups)
    if len(names) < 3:
        return float(np.median(values)), float(values.min()), float(values.max())
    members = [values[groups == name] for name in names]
    again = rng(seed, "bootstrap of a median").integers(len(names), size=(draws, len(names)))
    medians = np.array([np.median(np.concatenate([members[g] for g in row])) for row in again])
    low, high = _ends(medians, confidence)
    return float(np.median(values)), low, high


def paired_difference(
    a: Values,
    b: Values,
    *,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, float | int]:
    """Compare two scores of the same fields, field by field: `a` − `b`.

    Returns the median difference with its interval (`median`, `low`, `high`), the two-sided p of
    Wilcoxon's signed-rank test (`p`), the number of fields (`n`) and in how many `a` is higher
    (`wins`) or equal (`ties`). Equal pairs do not enter p. It is exact up to 50 differences of
    which no two are equally large, and up to 13 otherwise; beyond, it is the normal approximation.
    """
    _check(a, "first scores")
    _check(b, "second scores")
    if len(a) != len(b):
        raise DataError(
            f"a paired comparison was given {len(a)} and {len(b)} scores: each field needs both"
        )
    gaps = a.astype(np.float64) - b
    median, low, high = median_interval(gaps, confidence=confidence, draws=draws, seed=seed)
    unequal = gaps[gaps != 0]
    return {
        "median": median,
        "low": low,
        "high": high,
        "p": float(wilcoxon(unequal).pvalue) if len(unequal) else 1.0,
        "n": len(gaps),
        "wins": int((gaps > 0).sum()),
        "ties": len(gaps) - len(unequal),
    }


def clopper_pearson(passed: int, n: int, confidence: float = 0.95) -> float:
    """The share of new units that pass is at least this, with the confidence given.

    The exact one-sided lower bound (Clopper & Pearson 1934): 0.950 for 59 of 59, 0.924 for 97 of
    100. The units must be independent and the test fixed before.
    """
    if n < 1 or not 0 <= passed <= n:
        raise DataError(f"{passed} of {n} units passed: a bound needs between 0 and n of n ≥ 1")
    _check_interval(confidence)
    return float(beta.ppf(1 - confidence, passed, n - passed + 1)) if passed else 0.0


def _ends(medians: Values, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, [tail, 1 - tail])
    return float(low), float(high)


def _check_interval(confidence: float, draws: int = 1) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence of {confidence} is not between 0 and 1, such as 0.95")
    if draws < 1:
        raise UsageError(f"{draws} bootstrap draws cannot make an interval: ask for at least 1")


def _check(values: Values, name: str) -> None:
    if not len(values):
        raise DataError(f"the {name} are empty: at least one field is needed")
    undefined = np.flatnonzero(~np.isfinite(values))
    if len(undefined):
        raise DataError(
            f"{len(undefined)} of {len(values)} {name} are undefined (the first is number "
            f"{undefined[0]}, counted from 0): leave such fields out, and report how many"
        )
