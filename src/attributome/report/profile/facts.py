"""What a run of single-cell profiles holds so far; every part may be missing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError
from attributome.report.forms import Row, checked, object_of, rows_of
from attributome.report.numbers import number
from attributome.report.profile.words import HELD_OUT, STAGES
from attributome.report.reading import csv_of, json_of, parquet_of
from attributome.store import Run

HEADLINE = (
    "median", "low", "high", "chance", "excess", "excess_low", "excess_high", "share_above_half",
    "share_low", "share_high", "chance_above_half", "cells", "undefined", "wells",
)  # fmt: skip
"""Numbers of `camo.json` that the page cannot do without."""
SHARES = ("score_cell", "score_neighbour", "score_background")
ENDS = ("low", "high", "chance")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFacts:
    """A run as plain values; an empty table, dict or list says that it has not come so far."""

    run: Run
    asked: Mapping[str, Any]
    splits: Mapping[str, list[str]]
    fields: pd.DataFrame
    rejected: pd.DataFrame
    cells: int
    """Cells that were cut; 0 while nobody knows."""
    network: Mapping[str, Any]
    camo: Row
    by_well: Sequence[Row]
    controls: Sequence[Row]
    scores: pd.DataFrame
    """A row per cell: its shares of the map, the share of its mask, plate, well, treatment."""
    features: pd.DataFrame
    causes: Row
    tests: Sequence[Row]
    predictors: Sequence[Row]
    profiles: Mapping[str, Row]
    """What is said of each stage of profiles."""
    evaluation: Row
    accuracy: Mapping[str, Row]
    retrieval: Sequence[Row]
    matching: Sequence[Row]
    batches: Sequence[Row]
    before_after: Sequence[Row]
    channels: Sequence[Row]
    umap: pd.DataFrame
    remedies: Sequence[Row]
    compared: Sequence[str]
    """What is said of remedies."""
    alternatives: Row
    """Features without labels; empty where none were learnt."""
    summary: Mapping[str, Any]
    times: Mapping[str, float]

    @property
    def root(self) -> Path:
        """The folder of the run."""
        return self.run.root

    @property
    def job(self) -> Mapping[str, Any]:
        """What was asked for."""
        return self.asked.get("job") or {}

    @property
    def data(self) -> Mapping[str, Any]:
        """Counts of the data."""
        return self.asked.get("data") or {}

    @property
    def label(self) -> str:
        """The column that is told apart."""
        return str((self.job.get("data") or {}).get("label") or "treatment")

    @property
    def dims(self) -> int:
        """Axes of a crop; 0 while nobody knows."""
        grid = self.camo.get("grid") or self.network.get("size") or []
        return len(grid)

    @property
    def flag(self) -> Row:
        """Reasons for which the classifier is flagged: of all tests, or of Grad-CAMO alone."""
        if self.causes:
            return {"flagged": bool(self.causes["flagged"]), "reasons": self.causes["reasons"]}
        if self.camo:
            found = self.camo["flag"]
            return {"flagged": found["level"] != "nothing found", "reasons": found["reasons"]}
        return {}

    @property
    def held_out(self) -> tuple[str, Row]:
        """The strictest part whose cells were classified, and what was found: plates first."""
        for part in (HELD_OUT, "test", "validate"):
            row = self.accuracy.get(part) or {}
            if row.get("balanced") is not None:
                return part, row
        return "", {}

    def of(self, rows: Sequence[Row], protocol: str = "") -> list[Row]:
        """The rows with numbers, in the order of the stages of profiles."""
        kept = [r for r in rows if not r.get("reason")]
        if protocol:
            kept = [r for r in kept if r.get("protocol") == protocol]
        names = list(STAGES)
        return sorted(kept, key=lambda r: names.index(r["profiles"]))


def read(run: Run) -> ProfileFacts:
    """Read a run; a part that has another form than this page expects is an error."""
    root = run.root
    asked = run.asked
    label = str(((asked.get("job") or {}).get("data") or {}).get("label") or "treatment")
    camo, causes = _camo(run), _causes(run)
    remedies, compared = _remedies(root / "remedies.json")
    evaluation = run.load("evaluation") or {}
    path = root / "evaluation.json"
    return ProfileFacts(
        run=run,
        asked=asked,
        splits=_splits(run),
        fields=parquet_of(root / "fields.parquet", ("field", "plate", "well")),
        rejected=csv_of(root / "rejected.csv", ("where", "reason")),
        cells=len(parquet_of(root / "cells.parquet", ("id",), more=())),
        network=json_of(root / "network" / "network.json"),
        camo=camo,
        by_well=rows_of(
            camo, "by", ("plate", "well"), ("cells", "median", "chance"), root / "camo.json"
        ),
        controls=rows_of(
            camo, "controls", ("control",), ("median", *ENDS, "cells"), root / "camo.json"
        ),
        scores=_scores(root / "camo.parquet", label),
        features=_numbers(
            root / "camo_features.parquet",
            ("feature",),
            ("median", "low", "high", "chance"),
            ("undefined", "wells"),
        ),
        causes=causes,
        tests=rows_of(
            causes, "tests", ("test",), ("balanced", *ENDS, "n", "wells"), root / "causes.json"
        ),
        predictors=_reasoned(causes, "predictors", ("what",), ("balanced", *ENDS, "n"),
                             root / "causes.json"),
        profiles=_profiles(root / "profiles" / "profiles.json"),
        evaluation=evaluation,
        accuracy=_accuracy(evaluation, path),
        retrieval=_staged(evaluation, "retrieval", (), ("map", *ENDS, "n"), path),
        matching=_staged(evaluation, "matching", ("kind",), ("accuracy", *ENDS, "n"), path),
        batches=_staged(evaluation, "batches", ("of",), ("balanced", *ENDS, "n"), path),
        before_after=_staged(evaluation, "before_after", (), ("wells", "features"), path),
        channels=rows_of(evaluation, "channels", ("a", "b", "where"), ("r", "low", "high"), path),
        umap=_numbers(root / "umap.parquet", ("id", "treatment", "plate", "profiles"),
                      ("x", "y", "camo")),
        remedies=remedies,
        compared=compared,
        alternatives=_alternatives(run),
        summary=run.load("summary") or {},
        times=_times(run),
    )  # fmt: skip


def _camo(run: Run) -> Row:
    found = run.load("camo") or {}
    if not found:
        return {}
    path = run.root / "camo.json"
    checked(found, ("layer", "method", "target", "formula"), HEADLINE, str(path))
    _need_flag(object_of(found, "flag", ("level",), (), path), f"{path}: 'flag'")
    if not isinstance(found.get("grid"), list):
        raise DataError(f"{path} has grid = {found.get('grid')!r}, not a list of places per axis")
    object_of(found, "features", (), ("n", "median", "above_chance"), path)
    return found


def _causes(run: Run) -> Row:
    found = run.load("causes") or {}
    if found:
        path = run.root / "causes.json"
        if "flagged" not in found:
            raise DataError(f"{path} has no 'flagged', only {', '.join(found)}")
        _need_flag(found, str(path))
        object_of(found, "gap", (), ("inside", "outside", "gap", "gap_low", "gap_high"), path)
    return found


def _need_flag(found: Row, where: str) -> None:
    for key in ("reasons", "words"):
        if not isinstance(found.get(key), list):
            raise DataError(f"{where} has {key} = {found.get(key)!r}, not a list of sentences")


def _scores(path: Path, label: str) -> pd.DataFrame:
    """Scores of cells, whose label's column is called `treatment` here."""
    table = _numbers(path, ("plate", "well"), (*SHARES, "mask_fraction"), more=(label,))
    if table.empty:
        return table
    names = table[label].astype(str) if label in table else "unlabelled"
    table = table.assign(treatment=names)
    values = table[[*SHARES, "mask_fraction"]].to_numpy(np.float64)
    if np.nanmin(values, initial=0.0) < -1e-4 or np.nanmax(values, initial=0.0) > 1 + 1e-4:
        raise DataError(f"{path} has shares outside 0 to 1; they are shares of a map or of a crop")
    return table


def _numbers(
    path: Path, texts: Sequence[str], numbers: Sequence[str], more: Sequence[str] = ()
) -> pd.DataFrame:
    """Texts, numbers and those of `more` columns that are there; no column without a file."""
    table = parquet_of(path, (*texts, *numbers), more=more)
    for name in numbers if len(table.columns) else ():
        if table[name].dtype.kind not in "fiu":
            raise DataError(f"{path} has {table[name].dtype} in {name!r}, which are no numbers")
    return table


def _reasoned(
    found: Row, key: str, texts: Sequence[str], numbers: Sequence[str], path: Path
) -> list[Row]:
    """Rows that have either these numbers or a reason why not."""
    rows = rows_of(found, key, texts, (), path)
    for at, row in enumerate(rows):
        if not row.get("reason"):
            checked(row, texts, numbers, f"{path}: {key}[{at}]")
    return rows


def _staged(
    found: Row, key: str, texts: Sequence[str], numbers: Sequence[str], path: Path
) -> list[Row]:
    """Rows about sets of profiles."""
    rows = _reasoned(found, key, ("profiles", *texts), numbers, path)
    for at, row in enumerate(rows):
        if row["profiles"] not in STAGES:
            raise DataError(
                f"{path}: {key}[{at}] is about profiles {row['profiles']!r}; there are "
                f"{', '.join(STAGES)}"
            )
    return rows


def _accuracy(evaluation: Row, path: Path) -> dict[str, Row]:
    found = evaluation.get("accuracy") or {}
    if not isinstance(found, dict):
        raise DataError(f"{path}: 'accuracy' is a {type(found).__name__}, not an object of parts")
    for part, row in found.items():
        if not isinstance(row, dict) or not row.get("reason"):
            checked(row, (), ("balanced", *ENDS, "n", "wells"), f"{path}: accuracy of {part!r}")
    return found


def _profiles(path: Path) -> dict[str, Row]:
    found = json_of(path).get("stages") or {}
    for name, row in found.items():
        checked(row, ("reason",), (), f"{path}: stage {name!r}")
    return found


def _remedies(path: Path) -> tuple[list[Row], list[str]]:
    """Remedies that were compared, and words on them: a list, or an object with that list."""
    if not path.is_file():
        return [], []
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    rows = found.get("remedies", found) if isinstance(found, dict) else found
    numbers = ("camo_median", "camo_low", "camo_high", "chance", "accuracy_held_out", *ENDS[:2])
    words = found.get("words") or [] if isinstance(found, dict) else []
    return rows_of({"remedies": rows}, "remedies", ("remedy",), numbers, path), [*map(str, words)]


def _alternatives(run: Run) -> Row:
    found = run.load("alternatives") or {}
    if not found:
        return {}
    path, known = run.root / "alternatives.json", ("profiles",)
    told = {
        "features": rows_of(found, "features", known, ("wells", "features"), path),
        "retrieval": _reasoned(found, "retrieval", (*known, "of"), ("map", *ENDS, "n"), path),
        "neighbours": _reasoned(
            found, "neighbours", (*known, "of"), ("balanced", *ENDS, "n"), path
        ),
        "batches": _reasoned(found, "batches", (*known, "of"), ("balanced", *ENDS, "n"), path),
    }
    for key in ("reasons", "trajectory"):
        object_of(found, key, (), (), path)
    return {**found, **told}


def _splits(run: Run) -> dict[str, list[str]]:
    found = run.load("splits") or {}
    for part, wells in found.items():
        if not isinstance(wells, list):
            raise DataError(
                f"{run.root / 'splits.json'}: {part!r} is a {type(wells).__name__}, not a list of "
                f"wells"
            )
    return found


def _times(run: Run) -> dict[str, float]:
    found = {}
    for path in sorted((run.root / "times").glob("*.json")):
        told = json_of(path)
        checked(told, (), ("seconds",), str(path))
        found[path.stem] = number(told["seconds"])
    return found
