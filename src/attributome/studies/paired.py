"""What studies share: values of fields averaged to units, and two of them compared unit by unit.

Fields of a well, and cells of a field, are not independent. Means are of units, intervals are
Student's of unit means, and p comes from flipping the sign of whole units' differences.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from scipy.stats import permutation_test
from scipy.stats import t as student

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import benjamini_hochberg, holm
from attributome.core.seeds import rng

Values = Float[np.ndarray, " n"]
Units = Shaped[np.ndarray, " n"]


def by_field(
    table: pd.DataFrame, columns: str, value: str, *, row: str = "field", unit: str = "field"
) -> tuple[pd.DataFrame, Units]:
    """A row for each field, a column for each level of `columns`; and the unit of each row.

    NaN where a field has no value of a level: it counts as undefined. Two values are refused.
    """
    need_columns(table, row, columns, value, unit)
    need_numbers(table, value)
    if (twice := table.duplicated([row, columns])).any():
        found = table.loc[twice, [row, columns]].iloc[0].tolist()
        raise DataError(f"{row} {found[0]!r} has several values for {columns} {found[1]!r}")
    wide = table.pivot(index=row, columns=columns, values=value)
    return wide, wide.index.map(unit_of(table, row, unit)).to_numpy()


def per_unit(values: Values, units: Units) -> Float[np.ndarray, " m"]:
    """The mean of the rows of each unit, by the order of the units' names."""
    codes = np.unique(units, return_inverse=True)[1]
    means: np.ndarray = np.bincount(codes, weights=values) / np.bincount(codes)
    return means


def unit_mean(values: Values, units: Units, *, confidence: float = 0.95) -> dict[str, float | int]:
    """`mean` over units, each the mean of its rows, with Student's interval `low` to `high`.

    `units` that have a value, `rows` averaged and `undefined` rows (NaN), which do not enter. The
    ends are NaN below three units.
    """
    _check_interval(confidence, 1)
    there = ~np.isnan(values)
    means = per_unit(values[there], units[there])
    n = len(means)
    told: dict[str, float | int] = dict.fromkeys(("mean", "low", "high"), math.nan)
    told |= {"units": n, "rows": int(there.sum()), "undefined": int((~there).sum())}
    if n:
        told["mean"] = float(means.mean())
    if n > 2:
        reach = _reach(means, confidence)
        told |= {"low": told["mean"] - reach, "high": told["mean"] + reach}
    return told


def paired(
    first: Values,
    second: Values,
    units: Units,
    *,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, float | int]:
    """The first minus the second, row by row, averaged to units: how far apart and how surely.

    `units`, `rows` that have both values and `undefined` ones that do not, which are left out;
    `difference` (mean over units) with Student's interval `difference_low` to `difference_high`;
    `d_z`, it over the standard deviation of the differences, times Hedges' (1981) correction for
    few units; `wins` and `ties` in units; `p` of the two-sided test that flips the sign of whole
    units' differences: of all flips if there are at most `draws`, else (1 + as far) / (1 + draws),
    so that it never falls below 2 / 2ⁿ. Ends and `d_z` are NaN below three units, p below two.
    """
    _check_interval(confidence, draws)
    both = ~np.isnan(first) & ~np.isnan(second)
    gaps = per_unit(first[both] - second[both], units[both])
    n = len(gaps)
    told: dict[str, float | int] = {
        "units": n,
        "rows": int(both.sum()),
        "undefined": int((~both).sum()),
    }
    names = ("difference", "difference_low", "difference_high", "d_z")
    told |= dict.fromkeys(names, math.nan)
    told |= {"wins": int((gaps > 0).sum()), "ties": int((gaps == 0).sum()), "p": math.nan}
    if n:
        told["difference"] = float(gaps.mean())
    if n > 2:
        reach, spread = _reach(gaps, confidence), float(gaps.std(ddof=1))
        told["difference_low"] = told["difference"] - reach
        told["difference_high"] = told["difference"] + reach
        # what rounding leaves of equal differences is no spread
        if spread > 1e-12 * float(np.abs(gaps).max()):
            told["d_z"] = told["difference"] / spread * (1 - 3 / (4 * (n - 1) - 1))
    if n > 1:
        told["p"] = _flipped(gaps, draws, seed)
    return told


def corrected(found: pd.DataFrame) -> pd.DataFrame:
    """With `holm` and `q` (Benjamini and Hochberg 1995) over all rows that have a p."""
    p = found["p"].to_numpy(np.float64)
    tested = ~np.isnan(p)
    adjusted = np.full(len(p), np.nan)
    adjusted[tested] = holm(p[tested].tolist())
    return found.assign(holm=adjusted, q=benjamini_hochberg(p))


def _reach(values: Values, confidence: float) -> float:
    n = len(values)
    return float(student.ppf((1 + confidence) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))


def _flipped(gaps: Values, draws: int, seed: int) -> float:
    if not gaps.any():
        return 1.0
    told = permutation_test(
        (gaps,),
        lambda values, axis: values.mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=draws,
        rng=rng(seed, "signs flipped"),
    )
    return float(told.pvalue)


def unit_of(table: pd.DataFrame, row: str, unit: str) -> dict[Any, Any]:
    """The unit that each row name (a field, a cell) belongs to; several are refused."""
    known = table[[row, unit]] if row != unit else table[[row]].assign(same=table[row])
    known = known.drop_duplicates()
    if known.isna().any(axis=None):
        raise DataError(f"some rows have no {row!r} or no {unit!r}; each needs both")
    names, owners = known.iloc[:, 0], known.iloc[:, 1]
    if (twice := names.duplicated()).any():
        raise DataError(f"{row} {names[twice].iloc[0]!r} is of several units: it must be of one")
    return dict(zip(names, owners, strict=True))


def need_columns(table: pd.DataFrame, *names: str) -> None:
    """Refuse a table without these columns."""
    if lost := [name for name in names if name not in table]:
        raise UsageError(f"no column {lost[0]!r} among {[*map(str, table.columns)]}")


def need_numbers(table: pd.DataFrame, value: str) -> None:
    """Refuse values that are no numbers, or infinite."""
    if not pd.api.types.is_numeric_dtype(table[value]):
        raise DataError(f"the values of {value!r} are not numbers")
    if np.isinf(table[value].to_numpy(np.float64)).any():
        raise DataError(f"some values of {value!r} are infinite: leave them out, and report it")


def _check_interval(confidence: float, draws: int) -> None:
    if not 0 < confidence < 1 or draws < 1:
        raise UsageError(f"confidence {confidence} and {draws} draws; such as 0.95 and 2000")
