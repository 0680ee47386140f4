"""What a run knows so far, read once; every part may be missing while the run grows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError
from attributome.report.looks import in_order
from attributome.store import Run

TABLES = {
    "scores": ["sample", "method", "kind", "mask_size", "efficacy"],
    "curve": ["sample", "method", "area", "efficacy"],
    "smallest": ["sample", "method", "area"],
    "planted": ["sample"],
    "predictor": ["sample"],
    "agreement": ["sample", "a", "b", "rank", "overlap"],
    "regions": ["sample", "method", "region", "share", "area"],
    "checks": ["sample", "method", "completeness_error"],
}
MASK = "learned_mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example field: its arrays by name, what was noted beside them, and what is explained."""

    id: str
    arrays: Mapping[str, np.ndarray]
    note: Mapping[str, Any]
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A run as plain values; an empty table, dict or list says that it has not come so far."""

    root: Path
    job: Mapping[str, Any]
    version: str
    provenance: Mapping[str, Any]
    choices: Mapping[str, Any]
    summary: Mapping[str, Any]
    leaderboard: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    logs: Mapping[str, pd.DataFrame]
    examples: list[Example]

    @property
    def task(self) -> str:
        """What the predictor gives: an image, or `regression` or `classification`."""
        noted = [example.note.get("task") for example in self.examples]
        return next((task for task in noted if task), "image")

    @property
    def floor(self) -> float | None:
        """The efficacy that a mask must keep; the threshold is searched with a margin above it."""
        asked = (self.choices.get("guarantee") or {}).get("floor")
        return asked if asked is not None else (self.job.get("masks") or {}).get("floor")

    @property
    def lead(self) -> str:
        """The method whose signature this page is about."""
        scores = self.tables["scores"]
        if not scores.empty and (scores["kind"] == "signature").any():
            return str(scores.loc[scores["kind"] == "signature", "method"].iloc[0])
        return next(iter(self._asked), MASK)

    @property
    def methods(self) -> list[str]:
        """The methods of the job, the leading one first; no controls."""
        scores, found = self.tables["scores"], list(self._asked)
        if not scores.empty:
            kinds = scores["kind"].isin(["signature", "method"])
            found += [str(name) for name in scores.loc[kinds, "method"].unique()]
        return [self.lead, *in_order([name for name in found if name != self.lead])]

    @property
    def ranked(self) -> list[str]:
        """Methods and controls with a place in the leaderboard, the best first."""
        return [str(row["method"]) for row in self.leaderboard.get("rows") or []]

    @property
    def _asked(self) -> Mapping[str, Any]:
        return (self.job.get("explain") or {}).get("methods") or {}

    def efficacies(self, *kinds: str) -> pd.DataFrame:
        """Efficacy, one row per sample and one column per method of these kinds."""
        scores = self.tables["scores"]
        if scores.empty:
            return scores
        chosen = scores[scores["kind"].isin(kinds)]
        table = chosen.pivot_table(
            index="sample", columns="method", values="efficacy", aggfunc="mean", dropna=False
        )
        return pd.DataFrame(table.sort_index())


def read(run: Run) -> Facts:
    """Read a run; a part that has another form than this page expects is an error."""
    asked = run.asked
    return Facts(
        root=run.root,
        job=asked.get("job") or {},
        version=str(asked.get("attributome", "")),
        provenance=run.load("provenance") or {},
        choices=run.load("choices") or {},
        summary=run.load("summary") or {},
        leaderboard=run.load("leaderboard") or {},
        tables={name: _table(run, name, columns) for name, columns in TABLES.items()},
        logs={name: _log(run.root / name / "log.csv") for name in ("predictor", "masks")},
        examples=[_example(run, unit) for unit in run.units("panel")],
    )


def _table(run: Run, name: str, columns: list[str]) -> pd.DataFrame:
    table = run.table("score", name)
    if not table.empty and (lost := [c for c in columns if c not in table.columns]):
        raise DataError(
            f"the table {name!r} of {run.root} has no column {lost[0]!r}, only "
            f"{', '.join(map(str, table.columns))}: score this run again with this version"
        )
    return table


def _log(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame()
    try:
        return pd.read_csv(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _example(run: Run, unit: str) -> Example:
    arrays = {name: run.array("panel", unit, name) for name in run.arrays("panel", unit)}
    if lost := [name for name in ("input", "map", "signature") if name not in arrays]:
        raise DataError(
            f"the example {unit!r} of {run.root} has no array {lost[0]!r}: delete its folder "
            f"under parts/panel and run the same command again"
        )
    told = run.note("explain", unit) if run.has("explain", unit) else {}
    return Example(
        id=unit,
        arrays=arrays,
        note=run.note("panel", unit),
        target=str(told.get("target") or ""),
    )
