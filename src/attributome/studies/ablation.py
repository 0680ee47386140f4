"""What each weight of a loss is for: runs that differ in one weight, compared over the same fields.

Totals of runs with different weights are not comparable, for they add up different things; what is
compared is each component, and what came of it: efficacy, mask size, agreement.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import seed_of
from attributome.studies.paired import by_field, corrected, paired, unit_mean


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ablation:
    """Tables: what each run reached, and how runs differ.

    `runs`: `run`, its weights, `component`, and the columns of `paired.unit_mean`.
    `pairs`: `component`, `weight` (the one that differs; empty beside a control from which several
    do), `first`, `second`, `from` (its value in the second) and `to` (in the first), the columns of
    `paired.paired` (first minus second), and `holm` and `q` over all rows.
    """

    runs: pd.DataFrame
    pairs: pd.DataFrame


def settings(
    base: Mapping[str, float], grid: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, float]]:
    """Every combination of the values of a grid, on top of `base`, by a name that tells it.

    Names hold what the grid varies, in its order: `mask=0 similarity=1`.
    """
    if lost := [key for key in grid if key not in base]:
        raise UsageError(f"no weight {lost[0]!r} to vary; there are {sorted(base)}")
    found: dict[str, dict[str, float]] = {}
    if not grid:
        raise UsageError("a grid of no weights has no settings: name one or more")
    for values in product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        found[" ".join(f"{key}={value:g}" for key, value in chosen.items())] = {**base, **chosen}
    asked = math.prod(len(values) for values in grid.values())
    if len(found) != asked or not asked:
        raise UsageError(
            f"{asked} settings have {len(found)} names: give each weight one or more values that "
            f"differ in their first six digits"
        )
    return found


def best_epochs(history: pd.DataFrame, *, by: str, run: str = "run") -> pd.DataFrame:
    """The row of each run in which its own column `by` is lowest, the first of equals.

    Such as the total loss of validation: within a run it is comparable, between runs it is not.
    """
    if lost := [name for name in (by, run) if name not in history]:
        raise UsageError(f"no column {lost[0]!r} among {[*map(str, history.columns)]}")
    if not np.isfinite(history[by].to_numpy(np.float64)).all():
        raise DataError(f"some values of {by!r} are not finite: such a run has no best epoch")
    if history[run].isna().any():
        raise DataError(f"{int(history[run].isna().sum())} rows have no {run!r}; each needs one")
    rows = history.reset_index(drop=True)
    best = rows.groupby(run, sort=False, observed=True)[by].idxmin()
    return rows.loc[best].reset_index(drop=True)


def ablation(
    table: pd.DataFrame,
    components: Sequence[str],
    weights: Sequence[str],
    *,
    control: str | None = None,
    unit: str = "field",
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Ablation:
    """Compare each component between runs, field by field.

    `table` has a row for each `run` and `field`, with the columns `weights` (one value per run) and
    `components`. Every two runs that differ in exactly one weight are compared, the larger weight
    first; with `control` every other run with that one. `unit` may name a further column, such as
    the well.
    """
    if not components or not weights or {*components} & {*weights}:
        raise UsageError("an ablation needs components and weights, no column being both")
    known = _weights(table, weights)
    if control is not None and control not in known.index:
        raise UsageError(f"no run {control!r}; there are {sorted(map(str, known.index))}")
    asked = _asked(known, control)
    runs, pairs = [], []
    for component in components:
        wide, units = by_field(table, "run", component, unit=unit)
        for run in known.index:
            told = unit_mean(wide[run].to_numpy(np.float64), units, confidence=confidence)
            runs.append({"run": run, **known.loc[run].to_dict(), "component": component} | told)
        for key in asked:
            one, two = (wide[key[name]].to_numpy(np.float64) for name in ("first", "second"))
            own = seed_of(seed, component, str(key["first"]), str(key["second"]))
            row = paired(one, two, units, confidence=confidence, draws=draws, seed=own)
            pairs.append({"component": component} | key | row)
    return Ablation(runs=pd.DataFrame(runs), pairs=corrected(pd.DataFrame(pairs)))


def _weights(table: pd.DataFrame, weights: Sequence[str]) -> pd.DataFrame:
    """A row of weights for each run, in the order of the table."""
    if lost := [name for name in ("run", *weights) if name not in table]:
        raise UsageError(f"no column {lost[0]!r} among {[*map(str, table.columns)]}")
    known = table[["run", *weights]].drop_duplicates()
    if known.isna().any(axis=None):
        raise DataError("some rows have no run or lack a weight; each needs all")
    if (twice := known["run"].duplicated()).any():
        raise DataError(
            f"run {known.loc[twice, 'run'].iloc[0]!r} has several weights: it must have one of each"
        )
    return known.set_index("run")


def _asked(known: pd.DataFrame, control: str | None) -> list[dict[str, Any]]:
    if control is not None:
        couples = [(run, control) for run in known.index if run != control]
    else:
        couples = [*combinations(known.index, 2)]
    told: dict[Any, dict[Any, Any]] = known.to_dict("index")
    found = []
    for first, second in couples:
        apart = [name for name in known.columns if told[first][name] != told[second][name]]
        if control is None:
            if len(apart) != 1:
                continue
            if told[first][apart[0]] < told[second][apart[0]]:
                first, second = second, first
        key: dict[str, Any] = {"weight": "", "first": first, "second": second}
        key |= {"from": math.nan, "to": math.nan}
        if len(apart) == 1:
            one = apart[0]
            key |= {"weight": one, "from": float(told[second][one]), "to": float(told[first][one])}
        found.append(key)
    if not found:
        raise DataError("no two runs differ in exactly one weight: name a control, or run a grid")
    return found
