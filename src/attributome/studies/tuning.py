"""Which noise hides a field and which threshold is enough: the curves behind the two choices.

The words are those of `masks.choose`, which searches between the points; here every point was
measured before, on the same fields, and the choice is one of them. Noise: the smallest scale at
which the median efficacy of the empty mask is below a floor. Threshold: the largest, which is the
smallest mask, at which the median efficacy keeps a floor.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError
from attributome.masks.choose import Choice, Point, choose_threshold
from attributome.metrics.intervals import median_interval
from attributome.studies.paired import Units, by_field, per_unit, unit_mean


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuning:
    """A row of `points` for each value of the knob, and the one that is chosen among them.

    Columns: `value`; of the efficacy `mean` with `low` and `high` (Student), and `median` with
    `median_low` and `median_high` (units drawn again; NaN below three units); for thresholds the
    same of the mask size, as `size_mean` and so on, and `noised`, which is 1 − `size_mean`;
    `units` and `fields`, the same at each value; `undefined` fields at this value.
    `left_out`: fields without an efficacy or size at some value, which are at none.
    The choice was made by looking at these fields: see `masks.guarantee` for a promise about others
    """

    points: pd.DataFrame
    choice: Choice
    left_out: tuple[str, ...]


def noise_study(
    table: pd.DataFrame,
    *,
    floor: float = 0.2,
    unit: str = "field",
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Tuning:
    """Efficacy of the empty mask at each noise scale: `field`, `scale`, `efficacy`.

    Chosen is the first scale whose median over units is below `floor`; if none is, the largest,
    with `met` false. `unit` may name a further column, such as the well.
    """
    efficacy, units = by_field(table, "scale", "efficacy", unit=unit)
    kept, left_out = _complete(efficacy)
    points = _points(efficacy, kept, units, None, confidence, draws, seed)
    hiding = points.loc[points["median"] < floor, "value"]
    value = points["value"].iloc[-1] if hiding.empty else hiding.iloc[0]
    curve = tuple(
        Point(value=float(row["value"]), median=row["median"], low=row["low"], high=row["high"])
        for row in _told(efficacy[kept], units[kept], draws, seed)
    )
    choice = Choice(
        value=float(value),
        met=not hiding.empty,
        floor=floor,
        fields=len(np.unique(units[kept])),
        curve=curve,
    )
    return Tuning(points=points, choice=choice, left_out=left_out)


def threshold_study(
    table: pd.DataFrame,
    *,
    floor: float = 0.9,
    unit: str = "field",
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Tuning:
    """Efficacy and size of the mask at each threshold: `field`, `threshold`, `efficacy`, `size`.

    `size` is the share of the field that is kept. Chosen is the largest threshold whose median
    efficacy over units is `floor` or more; if none is, the lowest, with `met` false.
    """
    efficacy, units = by_field(table, "threshold", "efficacy", unit=unit)
    size, _ = by_field(table, "threshold", "size", unit=unit)
    if not table["size"].dropna().between(0, 1).all():
        raise DataError("some mask sizes are no share of a field: each must be 0 to 1")
    kept, left_out = _complete(efficacy, size)
    chosen = choose_threshold(
        lambda at: per_unit(efficacy[kept][at].to_numpy(np.float64), units[kept]),
        lambda at: per_unit(size[kept][at].to_numpy(np.float64), units[kept]),
        floor=floor,
        thresholds=[float(at) for at in efficacy.columns],
        # only what was measured can be chosen
        tolerance=math.inf,
        seed=seed,
    )
    points = _points(efficacy, kept, units, size, confidence, draws, seed)
    return Tuning(points=points, choice=chosen, left_out=left_out)


def _complete(*tables: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which fields have all values, so that every point is of the same fields; and the others."""
    kept = np.logical_and.reduce([table.notna().all(axis=1).to_numpy() for table in tables])
    if not kept.any():
        raise DataError(f"none of {len(kept)} fields has all values of the knob")
    return kept, tuple(map(str, tables[0].index[~kept]))


def _points(
    efficacy: pd.DataFrame,
    kept: np.ndarray,
    units: Units,
    size: pd.DataFrame | None,
    confidence: float,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    rows = []
    for at in efficacy.columns:
        row: dict[str, Any] = {"value": float(at)}
        row |= _described(efficacy[kept][at], units[kept], "", confidence, draws, seed)
        if size is not None:
            row |= _described(size[kept][at], units[kept], "size_", confidence, draws, seed)
            row["noised"] = 1 - row["size_mean"]
        row |= {"units": len(np.unique(units[kept])), "fields": int(kept.sum())}
        row["undefined"] = int(efficacy[at].isna().sum())
        rows.append(row)
    return pd.DataFrame(rows)


def _described(
    values: pd.Series, units: Units, name: str, confidence: float, draws: int, seed: int
) -> dict[str, float]:
    told = unit_mean(values.to_numpy(np.float64), units, confidence=confidence)
    row = {f"{name}{key}": float(told[key]) for key in ("mean", "low", "high")}
    means = per_unit(values.to_numpy(np.float64), units)
    median, low, high = median_interval(means, confidence=confidence, draws=draws, seed=seed)
    if len(means) < 3:
        low = high = math.nan
    return row | {
        f"{name}median": median,
        f"{name}median_low": low,
        f"{name}median_high": high,
    }


def _told(efficacy: pd.DataFrame, units: Units, draws: int, seed: int) -> list[dict[str, float]]:
    rows = []
    for at in efficacy.columns:
        means = per_unit(efficacy[at].to_numpy(np.float64), units)
        median, low, high = median_interval(means, draws=draws, seed=seed)
        rows.append({"value": float(at), "median": median, "low": low, "high": high})
    return rows
