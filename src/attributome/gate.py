"""A gate for continuous integration: it shuts when a model's explanations fell.

Both sides are measured on the same fields, so each measure is compared field by field. A measure
has fallen when the whole bootstrap interval of its median difference lies below `-margin`; the
strict gate also stays shut where the interval does not rule such a fall out. No torch: a gate
reads what was scored.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.files import read_json, write_json
from attributome.metrics.intervals import median_interval
from attributome.store import Run

FEWEST = 5
KIND = "gate baseline"

Measures = Mapping[str, Mapping[str, float]]
"""Values by measure, then by field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One measure of a run against the baseline; `change` counts better as positive.

    `state` is "fell" where the interval lies below the margin, "held" where it lies above, and
    "unsure" where it covers it.
    """

    measure: str
    before: float
    after: float
    change: float
    low: float
    high: float
    fields: int
    undefined: int
    state: Literal["held", "unsure", "fell"]


def measures(run: Run) -> dict[str, dict[str, float]]:
    """Everything of a scored run that a gate can hold, field by field."""
    scores = run.table("score", "scores")
    if scores.empty:
        raise DataError(f"{run.root} has no scores yet: run `attributome score` first")
    lead = scores[scores["kind"] == "signature"]
    found = {
        "efficacy": _by_field(lead, "efficacy"),
        "mask size (lower is better)": _by_field(lead, "mask_size"),
    }
    areas = run.table("score", "areas")
    if not areas.empty:
        for name, rows in areas.groupby("method", sort=True):
            found[f"area under the efficacy curve of {name}"] = _by_field(rows, "curve_area")
    checks = run.table("score", "checks")
    if not checks.empty:
        for name, rows in checks.groupby("method", sort=True):
            key = f"completeness error of {name} (lower is better)"
            found[key] = _by_field(rows, "completeness_error")
    planted = run.table("score", "planted")
    for name in ("recall", "precision"):
        if name in planted:
            found[f"{name} of the planted region"] = _by_field(planted, name)
    controls = set(scores.loc[scores["kind"] == "control", "method"])
    return {key: value for key, value in found.items() if key.rpartition(" of ")[2] not in controls}


def save_baseline(run: Run, path: Path) -> None:
    """Write the measures of a run as a small JSON that a repository can keep."""
    found = {
        name: {field: value if math.isfinite(value) else None for field, value in values.items()}
        for name, values in measures(run).items()
    }
    write_json(path, {"kind": KIND, "measures": found})


def read_baseline(path: Path) -> dict[str, dict[str, float]]:
    """The measures of a run's folder, or of a file that `save_baseline` wrote."""
    if path.is_dir():
        return measures(Run.open(path))
    try:
        content = read_json(path)
    except OSError as error:
        raise DataError(f"cannot read the baseline {path}: {error.strerror}") from error
    if content.get("kind") != KIND:
        raise DataError(
            f"{path} is no baseline: name the folder of a scored run, or a file that "
            f"`attributome gate RUN --save FILE` wrote"
        )
    return {
        name: {field: math.nan if v is None else float(v) for field, v in values.items()}
        for name, values in content["measures"].items()
    }


def compare(
    new: Measures, old: Measures, *, margin: float = 0.02, confidence: float = 0.95, seed: int = 0
) -> list[Verdict]:
    """Every measure that both sides have, on the fields that both sides have."""
    if margin < 0:
        raise UsageError(f"a margin of {margin} is negative; give how much a measure may fall")
    common = [name for name in new if name in old]
    if not common:
        raise DataError(f"the baseline has no measure of this run: it has {sorted(old)}")
    return [_verdict(name, new[name], old[name], margin, confidence, seed) for name in common]


def shut(verdicts: list[Verdict], *, strict: bool = False) -> list[Verdict]:
    """The verdicts that keep the gate shut."""
    return [v for v in verdicts if v.state == "fell" or (strict and v.state == "unsure")]


def as_records(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Verdicts as plain values."""
    return [asdict(verdict) for verdict in verdicts]


def _verdict(
    name: str,
    new: Mapping[str, float],
    old: Mapping[str, float],
    margin: float,
    confidence: float,
    seed: int,
) -> Verdict:
    fields = sorted(new.keys() & old.keys())
    pairs = np.array([(new[f], old[f]) for f in fields], np.float64).reshape(-1, 2)
    defined = np.isfinite(pairs).all(1)
    after, before = pairs[defined].T
    if len(after) < FEWEST:
        raise DataError(
            f"{name}: the run and its baseline share {len(after)} fields with a value; a gate "
            f"needs at least {FEWEST} of the same fields on both sides"
        )
    sign = -1.0 if "lower is better" in name else 1.0
    change, low, high = median_interval(sign * (after - before), confidence=confidence, seed=seed)
    state: Literal["held", "unsure", "fell"] = (
        "fell" if high < -margin else "held" if low >= -margin else "unsure"
    )
    return Verdict(
        measure=name,
        before=float(np.median(before)),
        after=float(np.median(after)),
        change=change,
        low=low,
        high=high,
        fields=len(after),
        undefined=int((~defined).sum()),
        state=state,
    )


def _by_field(table: pd.DataFrame, column: str) -> dict[str, float]:
    return {str(s): float(v) for s, v in zip(table["sample"], table[column], strict=True)}
