"""What a run on pairs of a miRNA and a site holds so far; every part may be missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from attributome.core.errors import DataError
from attributome.report.fcgr.words import TRIVIAL
from attributome.report.reading import csv_of, json_of, parquet_of, whole
from attributome.store import Run

BRANCHES = ("site", "mirna")
STAGE = "explain"
NEEDED = {
    "pairs": ("id", "mirna", "site", "logit"),
    "scores": ("id", "method", "branch"),
    "kmers": ("kmer", "n", "mean", "q"),
    "contrasts": ("name", "q"),
    "rejected": ("row", "column", "value", "reason"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FcgrFacts:
    """A run as plain values; an empty table, dict or list says that it has not come so far."""

    run: Run
    asked: Mapping[str, Any]
    audit: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    motifs: Mapping[str, Any]
    trust: Mapping[str, Any]
    summary: Mapping[str, Any]
    network: Mapping[str, Any]
    splits: Mapping[str, list[str]]
    rejected: pd.DataFrame
    kmers: pd.DataFrame
    contrasts: pd.DataFrame
    explained: pd.DataFrame
    """One row per explained pair, with `unit` and `row`: where its arrays are."""
    scores: pd.DataFrame
    params: Mapping[str, Any]
    """Of each method, by its name, in the order of the run."""

    @property
    def root(self) -> Path:
        """The folder of the run."""
        return self.run.root

    @property
    def job(self) -> Mapping[str, Any]:
        """What was asked for."""
        return self.asked.get("job") or {}

    @property
    def k(self) -> int:
        """Letters of a word; 0 where nothing says it."""
        encoding = self.network.get("encoding") or {}
        return int(encoding.get("k") or (self.job.get("data") or {}).get("k") or 0)

    @property
    def methods(self) -> list[str]:
        """Methods with maps, the default first and mutagenesis second."""
        names = list(self.params)
        first = [name for name in (self.default, "mutagenesis") if name in names]
        return list(dict.fromkeys(first + names))

    @property
    def default(self) -> str:
        """The method that the page shows where it shows one."""
        named = self.summary.get("default_method") or self.summary.get("default")
        named = named or (self.job.get("motifs") or {}).get("method")
        if named in self.params:
            return str(named)
        others = [name for name in self.params if name != "mutagenesis"]
        return next(iter(others or self.params), "")

    @property
    def networks(self) -> list[str]:
        """Predictors of the evaluation that were trained here."""
        rows = self.evaluation.get("scores") or []
        names = dict.fromkeys(str(row["predictor"]) for row in rows)
        return [name for name in names if name not in TRIVIAL]

    def score(self, predictor: str, metric: str) -> Mapping[str, Any]:
        """One line of the evaluation; empty where there is none."""
        for row in self.evaluation.get("scores") or []:
            if (row["predictor"], row["metric"]) == (predictor, metric):
                return dict(row)
        return {}

    def tracks(self, method: str, branch: str) -> Float[np.ndarray, "n length"]:
        """Tracks of all explained pairs, in the order of `explained`, padded with NaN."""
        found = [self.stored(unit, f"track_{method}_{branch}") for unit in self.units]
        parts = [part for part in found if part is not None]
        if not parts or len(parts) < len(found):
            return np.zeros((0, 0), np.float32)
        width = max(part.shape[1] for part in parts)
        return np.concatenate(
            [
                np.pad(
                    np.asarray(part, np.float32),
                    ((0, 0), (0, width - part.shape[1])),
                    constant_values=np.nan,
                )
                for part in parts
            ]
        )

    @property
    def units(self) -> list[str]:
        """Blocks of explained pairs, in the order of `explained`."""
        return [] if self.explained.empty else list(dict.fromkeys(self.explained["unit"]))

    def stored(self, unit: str, name: str) -> np.ndarray | None:
        """One array of a block; None where the run has none of this name."""
        if name not in self.run.arrays(STAGE, unit):
            return None
        return self.run.array(STAGE, unit, name)


def read(run: Run) -> FcgrFacts:
    """Read a run; a part that has another form than this page expects is an error."""
    units = run.units(STAGE)
    params: dict[str, Any] = {}
    for unit in units:
        params |= run.note(STAGE, unit).get("methods") or {}
    return FcgrFacts(
        run=run,
        asked=run.asked,
        audit=run.load("audit") or {},
        evaluation=run.load("evaluation") or {},
        motifs=run.load("motifs") or {},
        trust=run.load("trust") or {},
        summary=run.load("summary") or {},
        network=json_of(run.root / "network" / "network.json"),
        splits=run.load("splits") or {},
        rejected=csv_of(run.root / "rejected.csv", NEEDED["rejected"]),
        kmers=parquet_of(run.root / "kmers.parquet", NEEDED["kmers"]),
        contrasts=parquet_of(run.root / "contrasts.parquet", NEEDED["contrasts"]),
        explained=_explained(run, units),
        scores=whole(run.table(STAGE, "scores"), NEEDED["scores"], "scores", run.root),
        params=params,
    )


def _explained(run: Run, units: list[str]) -> pd.DataFrame:
    """The pairs of all blocks, with the block and the row of its arrays that each belongs to."""
    table = whole(run.table(STAGE, "pairs"), NEEDED["pairs"], "pairs", run.root)
    if table.empty:
        return pd.DataFrame()
    noted = [(unit, str(name)) for unit in units for name in run.note(STAGE, unit)["ids"]]
    table = table.assign(id=table["id"].astype(str), unit=[unit for unit, _ in noted])
    if table["id"].tolist() != [name for _, name in noted]:
        raise DataError(
            f"the explained pairs of {run.root} are not those of its notes: delete its "
            f"parts/{STAGE} and explain again"
        )
    return table.assign(row=table.groupby("unit").cumcount())
