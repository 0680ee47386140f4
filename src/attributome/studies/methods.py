"""Which method finds what matters, when all may leave the same share of a field.

A method's masks are compared at the same noised volume (the share that is not kept), each field
with itself. What stands for a field is its rank order, so that a map scaled per patch or per field
is judged like any other. Fields of one well are averaged before anything is tested.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Real
from scipy.stats import rankdata

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import seed_of
from attributome.metrics.comparison import compare_methods
from attributome.studies.paired import (
    Units,
    Values,
    by_field,
    corrected,
    need_columns,
    need_numbers,
    paired,
    per_unit,
    unit_mean,
    unit_of,
)

VOLUMES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MethodComparison:
    """Tables of a comparison at equal noised volume, and of the area under each curve.

    `efficacies`: `field`, `unit`, and the columns of `efficacies_at`.
    `curves`: `method`, `volume`, and those of `unit_mean`.
    `pairs`: `volume`, `first` (the learned mask), `second`, those of `paired`, and `holm` and `q`
    over all methods and volumes.
    `areas`: `method`, those of `unit_mean`, and `mean_rank` (1 is the best).
    `area_pairs`: as `pairs`, `holm` and `q` over methods.
    `friedman_p` is of the test that any area differs, over the `complete` units that have all.
    """

    efficacies: pd.DataFrame
    curves: pd.DataFrame
    pairs: pd.DataFrame
    areas: pd.DataFrame
    area_pairs: pd.DataFrame
    friedman_p: float
    complete: int

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Method to noised volume to mean efficacy, as JSON has it; None where undefined."""
        told: dict[str, dict[str, float | None]] = {}
        for method, volume, mean in self.curves[["method", "volume", "mean"]].itertuples(
            index=False
        ):
            value = None if math.isnan(mean) else float(mean)
            told.setdefault(str(method), {})[f"{volume:g}"] = value
        return told


def field_ranks(importance: Real[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Importance by its order within one field: the share of voxels below, in the middle of a tie.

    Between 0 and 1, with the same values for any two fields of a size whose voxels all differ.
    """
    if not importance.size or not np.isfinite(importance).all():
        raise DataError(
            f"an importance of shape {importance.shape} is empty or has voxels that are not finite"
        )
    middle = rankdata(importance, axis=None).reshape(importance.shape) - 0.5
    ranks: np.ndarray = middle / importance.size
    return ranks


def thresholds_for(
    importance: Real[np.ndarray, "*s"], volumes: Sequence[float]
) -> Bool[np.ndarray, "v *s"]:
    """A binary mask for each noised volume: the most important voxels of one field are kept.

    Only the order within the field counts (`field_ranks`). Voxels of equal importance stay
    together, in or out, whichever comes nearer to the volume (in the very middle: out); so the
    volume reached, which is what an efficacy belongs to, may be another: 1 − the mean of the mask.
    """
    if wrong := [volume for volume in volumes if not 0 <= volume <= 1]:
        raise UsageError(f"a noised volume of {wrong[0]} is no share of a field: it is 0 to 1")
    ranks = field_ranks(importance)
    return ranks > np.reshape(volumes, (-1,) + (1,) * ranks.ndim)


def measured_curves(
    ask: Callable[[str, str], Iterable[tuple[float, float]]],
    fields: Iterable[str],
    methods: Sequence[str],
) -> pd.DataFrame:
    """Ask for (noised volume, efficacy) at several thresholds, for each field and method.

    Columns: `field`, `method`, `volume`, `efficacy`, a row for each threshold.
    """
    rows = [
        (field, method, volume, efficacy)
        for field in fields
        for method in methods
        for volume, efficacy in ask(field, method)
    ]
    return pd.DataFrame(rows, columns=["field", "method", "volume", "efficacy"])


def efficacies_at(
    table: pd.DataFrame, volumes: Sequence[float] = VOLUMES, *, tolerance: float = 0.01
) -> pd.DataFrame:
    """Efficacy of each field and method at common noised volumes, between the measured ones.

    `table` is one of `measured_curves`. Straight between the two nearest measured volumes, whatever
    the curve does elsewhere; equal volumes are averaged. Beyond the measured range by more than
    `tolerance`, or beside a measured efficacy that is NaN, it is undefined (NaN). Columns: `field`,
    `method`, `volume`, `efficacy`, and `gap`, how far apart the two measured volumes lie.
    """
    need_columns(table, "field", "method", "volume", "efficacy")
    need_numbers(table, "efficacy")
    if not table["volume"].between(0, 1).all():
        raise DataError("some noised volumes are no share of a field: each must be 0 to 1")
    at = np.asarray(volumes, np.float64)
    parts = []
    for (field, method), part in table.groupby(["field", "method"], sort=False, observed=True):
        x, place = np.unique(part["volume"].to_numpy(np.float64), return_inverse=True)
        y = np.bincount(place, weights=part["efficacy"].to_numpy(np.float64)) / np.bincount(place)
        efficacy, gap = _between(x, y, at, tolerance)
        told = {"field": field, "method": method, "volume": at, "efficacy": efficacy, "gap": gap}
        parts.append(pd.DataFrame(told))
    if not parts:
        raise DataError("a table without rows has no curves to compare")
    return pd.concat(parts, ignore_index=True)


def method_comparison(
    table: pd.DataFrame,
    *,
    learned: str,
    unit: str = "field",
    volumes: Sequence[float] = VOLUMES,
    tolerance: float = 0.01,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> MethodComparison:
    """Compare methods at equal noised volume, the method `learned` against each other one.

    `table` is one of `measured_curves`; `unit` may name a further column, such as the well of the
    field. The area is the mean height of the curve from the first to the last volume (trapezoids);
    a curve that is undefined somewhere has none. Few fields cannot tell single volumes: with 8,
    p is never below 0.0078, and `holm` over 27 comparisons never below 0.2, whatever the effect;
    the areas, one comparison for each method, are what such a study can test.
    """
    if len(volumes) < 2 or any(low >= high for low, high in pairwise(volumes)):
        raise UsageError(f"noised volumes of {[*volumes]} make no axis: give two or more, rising")
    need_columns(table, "field", "method", "volume", "efficacy", unit)
    at = efficacies_at(table, volumes, tolerance=tolerance)
    names = [*dict.fromkeys(table["method"])]
    if learned not in names or len(names) < 2:
        raise UsageError(f"no method to compare {learned!r} with among {names}")
    at.insert(1, "unit", at["field"].map(unit_of(table, "field", unit)))
    others = [name for name in names if name != learned]
    curves, pairs = [], []
    for volume, part in at.groupby("volume", sort=True):
        wide, units = by_field(part, "method", "efficacy", unit="unit")
        curves += _means(wide, units, names, {"volume": volume}, confidence)
        own = seed_of(seed, f"{volume:g}")
        pairs += [
            {"volume": volume} | row
            for row in _against(wide, units, learned, others, confidence, draws, own)
        ]
    areas, units = by_field(_areas(at, volumes), "method", "area", unit="unit")
    table_of_areas = pd.DataFrame(_means(areas, units, names, {}, confidence))
    ranks, friedman, complete = _ranked(areas, units, names)
    return MethodComparison(
        efficacies=at,
        curves=pd.DataFrame(curves),
        pairs=corrected(pd.DataFrame(pairs)),
        areas=table_of_areas.assign(mean_rank=ranks),
        area_pairs=corrected(
            pd.DataFrame(_against(areas, units, learned, others, confidence, draws, seed))
        ),
        friedman_p=friedman,
        complete=complete,
    )


def _between(
    x: Values, y: Values, at: Float[np.ndarray, " v"], tolerance: float
) -> tuple[Float[np.ndarray, " v"], Float[np.ndarray, " v"]]:
    inside = (at >= x[0] - tolerance) & (at <= x[-1] + tolerance)
    wanted = np.clip(at, x[0], x[-1])
    right = np.searchsorted(x, wanted)
    left = np.where(x[right] == wanted, right, right - 1)
    gap = x[right] - x[left]
    share = np.divide(wanted - x[left], gap, out=np.zeros(len(at)), where=gap > 0)
    found = (1 - share) * y[left] + share * y[right]
    return np.where(inside, found, np.nan), np.where(inside, gap, np.nan)


def _areas(at: pd.DataFrame, volumes: Sequence[float]) -> pd.DataFrame:
    wide = at.pivot(index=["field", "unit", "method"], columns="volume", values="efficacy")
    x = wide.columns.to_numpy(np.float64)
    area = np.trapezoid(wide.to_numpy(), x, axis=1) / (volumes[-1] - volumes[0])
    return wide.index.to_frame(index=False).assign(area=area)


def _means(
    wide: pd.DataFrame, units: Units, names: list[str], key: dict[str, Any], confidence: float
) -> list[dict[str, Any]]:
    return [
        {"method": name} | key | unit_mean(wide[name].to_numpy(), units, confidence=confidence)
        for name in names
    ]


def _against(
    wide: pd.DataFrame,
    units: Units,
    learned: str,
    others: list[str],
    confidence: float,
    draws: int,
    seed: int,
) -> list[dict[str, Any]]:
    rows = []
    for name in others:
        one, two = wide[learned].to_numpy(), wide[name].to_numpy()
        own = seed_of(seed, name)
        told = paired(one, two, units, confidence=confidence, draws=draws, seed=own)
        rows.append({"first": learned, "second": name} | told)
    return rows


def _ranked(wide: pd.DataFrame, units: Units, names: list[str]) -> tuple[list[float], float, int]:
    whole = wide.notna().all(axis=1).to_numpy()
    if not whole.any():
        return [math.nan] * len(names), math.nan, 0
    scores = {name: per_unit(wide[name].to_numpy()[whole], units[whole]) for name in names}
    # only ranks are asked for: the intervals of its pairs are not
    told = compare_methods(scores, draws=1)
    return [*told.mean_ranks], told.friedman_p, told.units
