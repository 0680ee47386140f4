"""What a run on pairs of cells holds so far; every part may be missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from attributome.core.errors import DataError
from attributome.profiles.formats import read_about
from attributome.report.forms import Row, checked, object_of, rows_of
from attributome.report.inpaint.words import layer_of
from attributome.report.numbers import number
from attributome.report.reading import csv_of, json_of, parquet_of
from attributome.store import Run

ACROSS = ("field folds", "leave field out", "linear, field folds")
"""Protocols that judge a cell by cells of other fields, the first that there is."""
ANYWHERE = "leave one cell out"
USUAL = ("conv3_1", "max")
ERRORS = ("mse", "copy_marker", "constant", "zeros")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A balanced accuracy; NaN where it is undefined, with the reason."""

    features: str
    layer: str
    pool: str
    protocol: str
    balanced: float
    low: float
    high: float
    chance: float
    n: int
    undefined: int
    units: int
    classes: int
    reason: str

    @property
    def name(self) -> str:
        """The layer and its pool."""
        return layer_of(self.layer, self.pool)

    @property
    def known(self) -> bool:
        """Whether there is a number."""
        return isfinite(self.balanced)


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintFacts:
    """A run as plain values; an empty table, dict or list says that it has not come so far."""

    run: Run
    asked: Mapping[str, Any]
    splits: Mapping[str, list[str]]
    rejected: pd.DataFrame
    card: Mapping[str, Any]
    """Names of channels, targets and markers."""
    network: Mapping[str, Any]
    log: pd.DataFrame
    about: Mapping[str, Any]
    """Where the features come from."""
    evaluation: Mapping[str, Any]
    pretext: Row
    by_group: Sequence[Row]
    scores: Sequence[Score]
    recalls: Sequence[Row]
    confusion: Row
    looking: Sequence[Row]
    differences: Sequence[Row]
    pairs: pd.DataFrame
    findings: Mapping[str, Any]
    umap: pd.DataFrame
    summary: Mapping[str, Any]
    times: Mapping[str, float]
    """Seconds of each stage."""

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
    def elsewhere(self) -> str:
        """Where the network comes from that was not trained in this run; empty: it was."""
        return str((self.job.get("network") or {}).get("source") or "")

    @property
    def judging(self) -> Mapping[str, Any]:
        """How the features were to be judged."""
        return self.job.get("evaluate") or {}

    @property
    def labels(self) -> list[str]:
        """The classes that cells were told apart by."""
        return [str(name) for name in self.evaluation.get("classes") or []]

    @property
    def lead(self) -> tuple[str, str]:
        """The layer and pool that the page is about: fixed beforehand, not the best of all."""
        ours = [(s.layer, s.pool) for s in self.scores if s.features == "ours"]
        named = self.confusion or next(iter(self.recalls), {})
        told = (str(named.get("layer", "")), str(named.get("pool", "")))
        asked = (str(self.judging.get("layer", "")), str(self.judging.get("pool", "")))
        for choice in (told, asked, USUAL, *ours):
            if choice in ours:
                return choice
        return USUAL

    @property
    def across(self) -> str:
        """The protocol that judges by other fields; empty where nothing was judged so."""
        for name in ACROSS:
            if (found := self.score("ours", name)) and found.known:
                return name
        return ""

    @property
    def units(self) -> int:
        """Fields that the lead's number is of."""
        found = self.score("ours", self.across)
        return found.units if found else int(self.evaluation.get("fields") or 0)

    def score(self, features: str, protocol: str) -> Score | None:
        """The lead's number by a protocol, or that of other features: of the same layer, if any."""
        found = [s for s in self.scores if (s.features, s.protocol) == (features, protocol)]
        same = [s for s in found if (s.layer, s.pool) == self.lead]
        if same or features in ("ours", "untrained"):
            return next(iter(same), None)
        return max(found, key=lambda s: s.balanced if s.known else -1.0, default=None)

    def difference(self, against: str, protocol: str) -> Row:
        """By how much the lead is better than other features; empty where nobody compared.

        Without enough fields to draw there is the plain difference, without an interval.
        """
        for row in self.differences:
            same = (str(row["layer"]), str(row["pool"])) == self.lead
            if same and (row["protocol"], row["against"]) == (protocol, against):
                return row
        own, other = self.score("ours", protocol), self.score(against, protocol)
        if own and other and own.known and other.known:
            return {"difference": own.balanced - other.balanced, "low": None, "high": None}
        return {}


def read(run: Run) -> InpaintFacts:
    """Read a run; a part that has another form than this page expects is an error."""
    root = run.root
    evaluation = run.load("evaluation") or {}
    path = root / "evaluation.json"
    features = root / "features.parquet"
    pretext = object_of(evaluation, "pretext", (), ERRORS, path)
    return InpaintFacts(
        run=run,
        asked=run.asked,
        splits=_splits(run),
        rejected=csv_of(root / "rejected.csv", ("where", "value", "reason")),
        card=json_of(root / "cells" / "prepared" / "cells.json"),
        network=json_of(root / "network" / "network.json"),
        log=csv_of(root / "network" / "log.csv", ("epoch", "loss"), text=False),
        about=read_about(features) if features.is_file() else {},
        evaluation=evaluation,
        pretext=pretext,
        by_group=rows_of(pretext, "by_group", ("group",), ("pairs", "mse", "copy_marker"), path),
        scores=_scores(evaluation, path),
        recalls=rows_of(
            evaluation, "recalls", ("label", "layer", "pool", "protocol"), ("recall", "n"), path
        ),
        confusion=_confusion(evaluation, path),
        looking=rows_of(
            evaluation, "looking", ("layer",), ("inside", "chance", "excess", "low", "high"), path
        ),
        differences=rows_of(
            evaluation,
            "differences",
            ("layer", "pool", "protocol", "against"),
            ("difference", "low", "high"),
            path,
        ),
        pairs=parquet_of(
            root / "predictions" / "pairs.parquet", ("source", "target", "group", "field", *ERRORS)
        ),
        findings=_findings(run),
        umap=parquet_of(root / "umap.parquet", ("id", "label", "field", "x", "y")),
        summary=run.load("summary") or {},
        times=_times(run),
    )


def _times(run: Run) -> dict[str, float]:
    found = {}
    for path in sorted((run.root / "times").glob("*.json")):
        told = json_of(path)
        checked(told, (), ("seconds",), str(path))
        found[path.stem] = number(told["seconds"])
    return found


def _scores(evaluation: Mapping[str, Any], path: Path) -> list[Score]:
    texts = ("features", "layer", "pool", "protocol")
    rows = rows_of(evaluation, "accuracy", texts, (), path)
    names = ("balanced", "low", "high", "chance")
    counts = ("n", "undefined", "units", "classes")
    found = []
    for at, row in enumerate(rows):
        # a protocol that these data do not allow has a reason and no numbers
        full = {**dict.fromkeys((*names, *counts)), "reason": "", **row}
        rows_of({"accuracy": [full]}, "accuracy", texts, (*names, *counts), path)
        if full["balanced"] is None and not full["reason"]:
            raise DataError(f"{path}: accuracy[{at}] has neither a number nor a reason")
        found.append(
            Score(
                features=str(full["features"]),
                layer=str(full["layer"]),
                pool=str(full["pool"]),
                protocol=str(full["protocol"]),
                balanced=number(full["balanced"]),
                low=number(full["low"]),
                high=number(full["high"]),
                chance=number(full["chance"]),
                n=int(full["n"] or 0),
                undefined=int(full["undefined"] or 0),
                units=int(full["units"] or 0),
                classes=int(full["classes"] or 0),
                reason=str(full["reason"] or ""),
            )
        )
    return found


def _confusion(evaluation: Mapping[str, Any], path: Path) -> Row:
    found = object_of(evaluation, "confusion", ("layer", "pool", "protocol"), (), path)
    if not found:
        return {}
    labels, counts = found.get("labels"), found.get("counts") or []
    square = isinstance(counts, list) and all(isinstance(row, list) for row in counts)
    sides = {len(counts), *map(len, counts)} if square else set[int]()
    if not isinstance(labels, list) or sides != {len(labels)}:
        raise DataError(f"{path}: 'confusion' needs labels and as many rows and columns of counts")
    return found


def _splits(run: Run) -> dict[str, list[str]]:
    found = run.load("splits") or {}
    for part, fields in found.items():
        if not isinstance(fields, list):
            raise DataError(
                f"{run.root / 'splits.json'}: {part!r} is a {type(fields).__name__}, not a list of "
                f"fields"
            )
    return found


def _findings(run: Run) -> dict[str, Any]:
    found = run.load("findings")
    if not found:
        return {}
    path = run.root / "findings.json"
    return {
        **found,
        "proteins": object_of(found, "proteins", (), ("n",), path),
        "enrichment": rows_of(
            found, "enrichment", ("set", "cluster"), ("hits", "size", "odds", "p", "q"), path
        )
        if found.get("enrichment") is not None
        else None,
        "variability": rows_of(
            found,
            "variability",
            ("label",),
            ("cells", "fields", "within", "within_low", "within_high", "between"),
            path,
        ),
    }
