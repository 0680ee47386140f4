"""What Grad-CAMO says of many cells: its distribution beside chance, with wells as the unit.

Cells of one well share their treatment, light and focus, so intervals draw whole wells again. A
score above one half of the mass is what was published as a criterion, and it depends on the
size of the crop, so that a uniform map's share of such cells stands beside it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng
from attributome.metrics.intervals import grouped_interval

ALWAYS = ("control", "method", "layer", "target")
"""Columns whose values are never put together."""
HALF = 0.5
QUANTILES = (0.05, 0.25, 0.75, 0.95)

Interval = tuple[float, float, float]


class Draws(NamedTuple):
    """How an interval is drawn."""

    confidence: float
    draws: int
    seed: int


def summarise(
    table: pd.DataFrame,
    *,
    unit: str | Sequence[str] = "well",
    by: Sequence[str] = (),
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """A row for each control, method, layer and target in the table, and each value of `by`.

    `table` is that of `Camo.table` with the columns `unit` and `by` joined to it, such as
    `by=["treatment"]` or `["plate"]`; several columns of `unit` name a unit together.

    `cells` have a score and `undefined` have none (they count nowhere else); `units` is the number
    of units with a score. `median` and the quantiles `q05` to `q95` are of the scores; `above_half`
    is the share of cells above 0.5. `chance` is the median of the masks' shares of the crop and
    `chance_above_half` what a uniform map would have; `excess` is the median of score − chance.
    `neighbour` and `background` are means of those shares, `enrichment` and `corrected` medians.
    `<name>_low` and `<name>_high` of `median`, `above_half` and `excess` come from drawing whole
    units again, and are undefined (NaN) below three units.
    """
    names = [unit] if isinstance(unit, str) else [*unit]
    need = [*names, *by, "score_cell", "mask_fraction", "cell_id"]
    if lost := [name for name in need if name not in table]:
        raise UsageError(f"the table has no column {lost[0]!r}; it has {', '.join(table.columns)}")
    if not names or not 0 < confidence < 1 or draws < 1:
        raise UsageError(
            f"unit {unit!r}, confidence {confidence} and {draws} draws; such as 'well', 0.95, 1000"
        )
    _told_apart(table, names)
    keys = [name for name in dict.fromkeys((*by, *ALWAYS)) if name in table]
    for name in dict.fromkeys((*keys, *names)):
        if table[name].isna().any():
            raise DataError(f"the column {name!r} of the table has rows without a value")
    rows = []
    for group, some in table.groupby(keys, sort=True):
        told = dict(zip(keys, group, strict=True))
        if some["cell_id"].duplicated().any():
            twice = some["cell_id"][some["cell_id"].duplicated()].iloc[0]
            raise DataError(f"cell {twice} has two scores for {told}; a cell counts once")
        units = some.groupby(names, sort=True).ngroup().to_numpy()
        rows.append(told | _row(some, units, confidence, draws, seed))
    return pd.DataFrame(rows)


def _row(
    some: pd.DataFrame, units: np.ndarray, confidence: float, draws: int, seed: int
) -> dict[str, Any]:
    scores = some["score_cell"].to_numpy(np.float64)
    held = np.isfinite(scores)
    kept, scores, units = some[held], scores[held], units[held]
    chance = kept["mask_fraction"].to_numpy(np.float64)
    low, lower, upper, high = (
        np.quantile(scores, QUANTILES) if len(scores) else np.full(len(QUANTILES), np.nan)
    )
    again = Draws(confidence, draws, seed)
    found = {
        "median": _median(scores, units, again),
        "above_half": _share(scores > HALF, units, again),
        "excess": _median(scores - chance, units, again),
    }
    row: dict[str, Any] = {
        "cells": len(scores),
        "undefined": int((~held).sum()),
        "units": len(np.unique(units)),
    }
    for name, (value, least, most) in found.items():
        row |= {name: value, f"{name}_low": least, f"{name}_high": most}
    return row | {
        "q05": low,
        "q25": lower,
        "q75": upper,
        "q95": high,
        "chance": _of(np.median, chance),
        "chance_above_half": _of(np.mean, chance > HALF),
        "neighbour": _of(np.mean, kept["score_neighbour"].to_numpy(np.float64)),
        "background": _of(np.mean, kept["score_background"].to_numpy(np.float64)),
        "enrichment": _of(np.median, kept["enrichment"].to_numpy(np.float64)),
        "corrected": _of(np.median, kept["corrected"].to_numpy(np.float64)),
    }


def _told_apart(table: pd.DataFrame, names: Sequence[str]) -> None:
    """Refuse wells that bear one name on several plates, which would count as one well."""
    if [*names] != ["well"] or "plate" not in table:
        return
    plates = table.groupby("well")["plate"].nunique()
    if (plates > 1).any():
        raise UsageError(
            f"the well {plates.index[plates > 1][0]!r} is on {plates.max()} plates: give "
            f"unit=('plate', 'well'), which name a well together"
        )


def _median(
    values: Float[np.ndarray, " n"], units: Integer[np.ndarray, " n"], again: Draws
) -> Interval:
    if not len(values):
        return np.nan, np.nan, np.nan
    if len(np.unique(units)) < 3:
        return float(np.median(values)), np.nan, np.nan
    return grouped_interval(values, units, **again._asdict())


def _share(
    hits: Bool[np.ndarray, " n"], units: Integer[np.ndarray, " n"], again: Draws
) -> Interval:
    if not len(hits):
        return np.nan, np.nan, np.nan
    codes = np.unique(units, return_inverse=True)[1]
    counts, sums = np.bincount(codes), np.bincount(codes, weights=hits)
    share = float(hits.mean())
    if len(counts) < 3:
        return share, np.nan, np.nan
    drawn = rng(again.seed, "bootstrap of a share").multinomial(
        len(counts), np.full(len(counts), 1 / len(counts)), size=again.draws
    )
    tail = (1 - again.confidence) / 2
    low, high = np.quantile((drawn @ sums) / (drawn @ counts), [tail, 1 - tail])
    return share, float(low), float(high)


def _of(what: Any, values: np.ndarray) -> float:
    return float(what(values)) if len(values) else np.nan
