"""How much a claimed error says of the true one, where nobody knows the truth but on held-out data.

A score of prediction quality is judged in three ways: does it rank (Spearman), does it say the
right number (calibration), and what is gained by trusting the best first (the risk-coverage curve,
El-Yaniv and Wiener 2010; its area, Geifman, Uziel and El-Yaniv 2019). Wells, or whatever `unit`
names, are drawn again for every interval, and never fields or cells of one. A threshold with a
promise about new fields is another question, and `masks/guarantee.py` answers it.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer

from attributome.core.bootstrap import group_weights
from attributome.core.errors import DataError, UsageError

Values = Float[np.ndarray, " _"]
Weights = Integer[np.ndarray, "draws _"]

NAMES = ("spearman", "area", "random", "oracle", "gain", "bias", "ece", "ece_noise")
LEAST = 3
"""Units below which there is no interval."""
BLOCK = 2**21
"""Weights of resampled rows that are held at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Confidence:
    """What a score of quality is worth: three tables.

    `scores` has a row for all pairs, and with `by` one for each group and one of `scope` "within
    groups": the mean of the groups' numbers by their pairs. A score that knows the groups and
    nothing else is good in the first and worth nothing in the last. Columns: `scope`, `group`, `n`
    pairs, `undefined` ones that were left out, `units`; and each with `_low` and `_high`:
    `spearman` of claimed and true error (1 is best); `area` under the risk-coverage curve beside
    `random` (the mean error) and `oracle` (true errors in order), and `gain`, the share of the way
    from random to oracle; `bias`, the mean of true less claimed error (above 0: it flatters); and
    `ece`, the expected calibration error, which is above 0 for a calibrated score too: `ece_noise`
    is what it would be for one, by chance.

    `calibration`: `bin`, `from`, `to`, `n`, `units`, `claimed` and `error` (means) with `low` and
    `high` of `error`; no row is empty. `coverage`: `coverage`, the share of pairs that is trusted;
    `risk`, their mean error, with `low` and `high`; `random` and `oracle`. Both are of all pairs.
    A number that does not exist is NaN, and so are the ends below three units.
    """

    scores: pd.DataFrame
    calibration: pd.DataFrame
    coverage: pd.DataFrame


def judge_confidence(
    table: pd.DataFrame,
    *,
    unit: str,
    score: str = "score",
    error: str = "error",
    claims: str = "quality",
    by: str | None = None,
    bins: int = 10,
    points: int = 20,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Confidence:
    """Judge the column `score` by the column `error`, 1 - |PCC|, of fields that chose nothing.

    A row is a field, or a cell. `unit` is the column of what is independent, such as the well.
    `claims` says whether the score rises with the quality (the claimed error is then 1 - score) or
    is an error itself. Where the claims are not in units of the error only `spearman`, the areas
    and `gain` mean something. `bins` hold equally many claims, or fewer where claims are equal;
    `points` is the number of coverages. Percentile intervals of few units are too narrow: see
    `core/bootstrap.py`.
    """
    _check(table, [score, error], [unit] + ([by] if by is not None else []))
    if claims not in ("quality", "error"):
        raise UsageError(f"a score claims quality or error, not {claims!r}")
    if min(bins, points, draws) < 1 or not 0 < confidence < 1:
        raise UsageError(
            f"{bins} bins, {points} points, {draws} draws and confidence {confidence}; such as 10, "
            f"20, 2000 and 0.95"
        )
    raw = table[score].to_numpy(np.float64)
    given = pd.DataFrame({
        "claimed": 1 - raw if claims == "quality" else raw,
        "error": table[error].to_numpy(np.float64),
        "unit": table[unit].astype(str).to_numpy(),
        "group": table[by].astype(str).to_numpy() if by is not None else "",
    })  # fmt: skip
    there = given[["claimed", "error"]].notna().all(axis=1)
    if not there.any():
        raise DataError(f"no row has both {score!r} and {error!r}: there is nothing to judge")
    kept = given[there].reset_index(drop=True)
    index, again = group_weights(kept["unit"].to_numpy(), draws=draws, seed=seed)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    place = _bins(kept["claimed"].to_numpy(), bins)
    rows: list[dict[str, Any]] = []
    values: list[Float[np.ndarray, "numbers draws"]] = []
    for name in [None, *(sorted(set(kept["group"])) if by is not None else [])]:
        mine = np.full(len(kept), True) if name is None else (kept["group"] == name).to_numpy()
        part, bin_of, units = kept[mine], place[mine], int(kept["unit"][mine].nunique())
        lost = ~there if name is None else ~there & (given["group"] == name)
        found = np.concatenate([
            _numbers(part, bin_of, _once(len(part))),
            _drawn(partial(_numbers, part, bin_of), again, index[mine]),
        ], axis=1)  # fmt: skip
        row = {"scope": "all" if name is None else "group", "group": name or ""}
        row |= {"n": len(part), "undefined": int(lost.sum()), "units": units}
        rows.append(row | _told(found, tails, units))
        values.append(found)
    if len(rows) > 1:
        sizes = np.array([row["n"] for row in rows[1:]])[:, None, None]
        mean = _average(np.stack(values[1:]), sizes)
        rows.append({**rows[0], "scope": "within groups"} | _told(mean, tails, rows[0]["units"]))
    return Confidence(
        scores=pd.DataFrame(rows),
        calibration=_calibration(kept, place, again, index, tails),
        coverage=_coverage(kept, points, again, index, tails),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMap:
    """Efficacy to claimed error: straight between knots, constant beyond the first and the last.

    `falls` says whether errors fall as the efficacy rises; it was fitted on `n` fields of `units`
    wells, of which `undefined` fields more had no value.
    """

    efficacies: tuple[float, ...]
    errors: tuple[float, ...]
    falls: bool
    n: int
    units: int
    undefined: int

    def claims(self, efficacy: Values) -> Values:
        """The claimed error of each field; NaN where the efficacy is."""
        found: Values = np.interp(efficacy, self.efficacies, self.errors)  # NaN stays NaN
        return found

    def to_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return asdict(self)


def fit_error_map(
    table: pd.DataFrame,
    *,
    unit: str,
    efficacy: str = "efficacy",
    error: str = "error",
    part: str = "split",
    of: str = "validate",
    direction: str = "falls",
) -> ErrorMap:
    """The monotone map from efficacy to error that fits best on the fields of one part only.

    Isotonic regression (Barlow et al. 1972) by scikit-learn. With "falls" a mask that preserves
    the prediction speaks for it; "either" lets the rank correlation on the very same fields decide.
    The map joins neighbouring efficacies, so that its claims have ties: rank by the efficacy itself
    where only the order matters. A `unit` that stands in this part and in another is refused.
    """
    _check(table, [efficacy, error], [unit, part])
    if direction not in ("falls", "rises", "either"):
        raise UsageError(f"direction {direction!r}: errors fall, rise, or either as efficacy rises")
    mine = (table[part].astype(str) == of).to_numpy()
    units = table[unit].astype(str)
    if both := sorted(set(units[mine]) & set(units[~mine])):
        raise DataError(
            f"{unit} {both[0]!r} stands in the part {of!r} and in another: a {unit} must be whole"
        )
    x, y = (table[name].to_numpy(np.float64)[mine] for name in (efficacy, error))
    there = ~(np.isnan(x) | np.isnan(y))
    if len(np.unique(x[there])) < 2:
        raise DataError(
            f"{int(there.sum())} fields of the part {of!r} have an efficacy and an error, and not "
            f"two of them differ: no map can be fitted"
        )
    from sklearn.isotonic import IsotonicRegression  # takes a second to import

    rises = direction == "rises"
    if direction == "either":
        rises = bool(_spearman(x[there], y[there], _once(int(there.sum())))[0] > 0)
    fitted = IsotonicRegression(increasing=rises).fit(x[there], y[there])
    return ErrorMap(
        efficacies=tuple(fitted.X_thresholds_.tolist()),
        errors=tuple(fitted.y_thresholds_.tolist()),
        falls=not rises,
        n=int(there.sum()),
        units=int(units[mine][there].nunique()),
        undefined=int((~there).sum()),
    )


def _numbers(part: pd.DataFrame, place: np.ndarray, weights: Weights) -> np.ndarray:
    """The numbers of `NAMES` in each draw."""
    claimed, error = (part[name].to_numpy() for name in ("claimed", "error"))
    total = weights.sum(1)
    mean = _mean(error, weights)
    area, oracle = _area(claimed, error, weights), _area(error, error, weights)
    # rounding must not make an order of errors that are all the same
    room = np.where(mean - oracle > 1e-12, mean - oracle, 0.0)
    gaps, shares = _gaps(claimed, error, place, weights)
    right = gaps - _gaps(claimed, error, place, _once(len(part)))[0]
    ece, noise = (
        np.where(total > 0, (shares * np.abs(one)).sum(1), np.nan) for one in (gaps, right)
    )
    bias = _mean(error - claimed, weights)
    spearman, gain = _spearman(claimed, error, weights), _ratio(mean - area, room)
    return np.stack([spearman, area, mean, oracle, gain, bias, ece, noise])


def _drawn(
    work: Callable[[Weights], np.ndarray], again: np.ndarray, index: np.ndarray
) -> np.ndarray:
    """`work` on the weights of the rows, some draws at a time: its last axis is the draws."""
    step = max(1, BLOCK // len(index))
    starts = range(0, len(again), step)
    return np.concatenate([work(again[at : at + step, index]) for at in starts], axis=-1)


def _average(
    values: Float[np.ndarray, "groups numbers draws"], sizes: Integer[np.ndarray, "groups 1 1"]
) -> Float[np.ndarray, "numbers draws"]:
    """By size, over the groups in which a number exists."""
    counted = sizes * ~np.isnan(values)
    return _ratio((counted * np.nan_to_num(values)).sum(0), counted.sum(0))


def _spearman(a: Values, b: Values, weights: Weights) -> Values:
    """Spearman's correlation in each draw, as if every row stood there `weight` times."""
    ranks = [_ranks(values, weights) for values in (a, b)]
    total = weights.sum(1)
    x, y = (one - _ratio((weights * one).sum(1), total)[:, None] for one in ranks)
    above = (weights * x * y).sum(1)
    below = np.sqrt((weights * x * x).sum(1)) * np.sqrt((weights * y * y).sum(1))
    return _ratio(above, below).clip(-1, 1)


def _ranks(values: Values, weights: Weights) -> Float[np.ndarray, "draws _"]:
    """Mid-ranks of rows that stand there `weight` times."""
    code = np.unique(values, return_inverse=True)[1]
    tied = _summed(weights, code)
    found: np.ndarray = (np.cumsum(tied, 1) - tied + (tied + 1) / 2)[:, code]
    return found


def _ordered(
    by: Values, error: Values, weights: Weights
) -> tuple[Float[np.ndarray, "draws _"], Float[np.ndarray, "draws _"]]:
    """Rows and summed error of each distinct claim, in order: equals are taken in any order."""
    code = np.unique(by, return_inverse=True)[1]
    return _summed(weights, code), _summed(weights * error, code)


def _area(by: Values, error: Values, weights: Weights) -> Values:
    """Mean over k of the mean error of the k most trusted rows; of equal claims the expectation.

    A block of w rows of mean error e behind N rows of summed error S has the risks
    (S + m e) / (N + m) = e + (S - N e) / (N + m), m = 1 to w: harmonic numbers.
    """
    rows, errors = _ordered(by, error, weights)
    total = weights.sum(1)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, total.max() + 1))])
    before, behind = np.cumsum(rows, 1) - rows, np.cumsum(rows, 1)
    mean = np.where(rows > 0, errors / np.maximum(rows, 1), 0.0)
    lead = np.cumsum(errors, 1) - errors - before * mean
    steps = harmonic[behind.astype(np.int64)] - harmonic[before.astype(np.int64)]
    return _ratio((errors + lead * steps).sum(1), total)


def _risks(by: Values, error: Values, at: Values, weights: Weights) -> Float[np.ndarray, "_ draws"]:
    """The mean error of the share `at` of rows that is most trusted, by parts of a row."""
    rows, errors = _ordered(by, error, weights)
    found = np.empty((len(at), len(weights)))
    for draw, (n, e) in enumerate(zip(rows.cumsum(1), errors.cumsum(1), strict=True)):
        found[:, draw] = _ratio(np.interp(at * n[-1], [0, *n], [0, *e]), at * n[-1])
    return found


def _gaps(
    claimed: Values, error: Values, place: np.ndarray, weights: Weights
) -> tuple[Float[np.ndarray, "draws bins"], Float[np.ndarray, "draws bins"]]:
    """True less claimed error in each bin, 0 in an empty one, and the bins' shares of rows."""
    rows = _summed(weights, place)
    gaps = _summed(weights * (error - claimed), place) / np.maximum(rows, 1)
    return gaps, rows / np.maximum(rows.sum(1)[:, None], 1)


def _calibration(
    kept: pd.DataFrame,
    place: np.ndarray,
    again: np.ndarray,
    index: np.ndarray,
    tails: list[float],
) -> pd.DataFrame:
    rows: list[dict[str, float]] = []
    for name in np.unique(place):
        mine = place == name
        claimed, error = (kept[column].to_numpy()[mine] for column in ("claimed", "error"))
        means = _drawn(partial(_mean, error), again, index[mine])
        units = len(np.unique(index[mine]))
        low, high = _ends(means, tails, units)
        rows.append(
            {"bin": len(rows), "from": claimed.min(), "to": claimed.max(), "n": len(error)}
            | {"units": units, "claimed": claimed.mean(), "error": error.mean()}
            | {"low": low, "high": high}
        )
    return pd.DataFrame(rows)


def _coverage(
    kept: pd.DataFrame, points: int, again: np.ndarray, index: np.ndarray, tails: list[float]
) -> pd.DataFrame:
    claimed, error = (kept[name].to_numpy() for name in ("claimed", "error"))
    at, units = np.arange(1, points + 1) / points, len(np.unique(index))
    drawn = _drawn(partial(_risks, claimed, error, at), again, index)
    ends = np.array([_ends(values, tails, units) for values in drawn])
    return pd.DataFrame({
        "coverage": at,
        "risk": _risks(claimed, error, at, _once(len(kept)))[:, 0],
        "low": ends[:, 0],
        "high": ends[:, 1],
        "random": error.mean(),
        "oracle": _risks(error, error, at, _once(len(kept)))[:, 0],
    })  # fmt: skip


def _told(
    found: Float[np.ndarray, "numbers _"], tails: list[float], units: int
) -> dict[str, float]:
    """The first column is the number itself, the others are its draws."""
    row: dict[str, float] = {}
    for name, values in zip(NAMES, found, strict=True):
        if name == "ece_noise":  # a mean over draws, which has no interval of its own
            drawn = values[1:][~np.isnan(values[1:])]
            row[name] = float(drawn.mean()) if units >= LEAST and len(drawn) else float("nan")
            continue
        ends = _ends(values[1:], tails, units if not np.isnan(values[0]) else 0)
        row |= {name: float(values[0]), f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return row


def _ends(drawn: Values, tails: list[float], units: int) -> tuple[float, float]:
    """Draws in which the number does not exist do not count."""
    there = drawn[~np.isnan(drawn)]
    if units < LEAST or not len(there):
        return float("nan"), float("nan")
    low, high = np.quantile(there, tails)
    return float(low), float(high)


def _bins(claimed: Values, bins: int) -> Integer[np.ndarray, " _"]:
    """Bins of equally many claims; equal claims share a bin."""
    edges = np.quantile(claimed, np.arange(1, bins) / bins, method="inverted_cdf")
    found: np.ndarray = np.searchsorted(np.unique(edges), claimed, side="left")
    return found


def _summed(weights: np.ndarray, code: np.ndarray) -> Float[np.ndarray, "draws _"]:
    """Columns of one code, added."""
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    found: np.ndarray = np.add.reduceat(weights[:, order], starts, axis=1).astype(np.float64)
    return found


def _mean(values: Values, weights: Weights) -> Values:
    return _ratio(weights @ values, weights.sum(1))


def _once(rows: int) -> Weights:
    return np.ones((1, rows), np.int64)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.full(np.shape(above), np.nan)
    np.divide(above, below, out=found, where=np.asarray(below) != 0)
    return found


def _check(table: pd.DataFrame, numbers: list[str], names: list[str]) -> None:
    for name in (*numbers, *names):
        if name not in table:
            raise UsageError(f"no column {name!r} among {[*map(str, table.columns)]}")
    if not len(table):
        raise DataError("a table without rows says nothing of a score")
    for name in numbers:
        numeric = pd.api.types.is_numeric_dtype(table[name])
        if not numeric or np.isinf(table[name].to_numpy(np.float64)).any():
            raise DataError(f"some values of {name!r} are infinite or no numbers: leave them out")
    for name in names:
        if lost := int(table[name].isna().sum()):
            raise DataError(f"{lost} rows have no {name!r}; each needs one")
