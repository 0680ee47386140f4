"""What studies left in a folder, read for the page. Missing studies are simply not there."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError
from attributome.report.reading import json_of, parquet_of
from attributome.store import Run
from attributome.studies.catalogue import CATALOGUE, Entry

FOLDER = "studies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One study as it stands on disk; tables and arrays are read when they are asked for."""

    name: str
    folder: Path
    found: dict[str, Any]

    @property
    def entry(self) -> Entry:
        """How the study is called, and its question."""
        return CATALOGUE[self.name]

    @property
    def numbers(self) -> dict[str, Any]:
        """What stands in the summary."""
        return dict(self.found["numbers"])

    @property
    def options(self) -> dict[str, Any]:
        """What the study was asked for."""
        return dict(self.found["options"])

    def table(self, key: str, *needed: str) -> pd.DataFrame:
        """One of its tables, with at least these columns; without any where it has none."""
        return parquet_of(self.folder / f"{key}.parquet", needed)

    def array(self, key: str) -> np.ndarray:
        """One of its arrays."""
        path = self.folder / f"{key}.npy"
        try:
            array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {path}: {error}") from error
        return array


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """Everything that the page says, in the order of the catalogue."""

    root: Path
    asked: dict[str, Any]
    options: dict[str, Any]
    told: tuple[Told, ...]
    left_out: dict[str, str]


def read(run: Run) -> StudyFacts:
    """Read the studies of a run; raises `DataError` where it has none."""
    home = run.root / FOLDER
    told = [
        Told(name=name, folder=home / name, found=found)
        for name in CATALOGUE
        if (found := json_of(home / name / "found.json"))
    ]
    left = json_of(home / "left_out.json")
    if not told and not left:
        raise DataError(f"{run.root} has no studies: run `attributome study all RUN --out` first")
    return StudyFacts(
        root=run.root,
        asked=run.asked,
        options=json_of(run.root / "options.json"),
        told=tuple(told),
        left_out={name: str(why) for name, why in left.items()},
    )
