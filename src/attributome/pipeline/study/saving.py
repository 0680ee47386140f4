"""What a study found, written for the page and for whoever goes on from it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.files import make_folder, plain, read_json, write_json, write_whole
from attributome.pipeline.study.opening import Studies
from attributome.studies.found import POOLED, Found

FOLDER = "studies"
OPTIONS = {"perturbations": "groups"}
"""Sections of the job whose options a study of another name takes."""


def save(studies: Studies, name: str, found: Found, *, command: str) -> Path:
    """Write what a study of the catalogue found."""
    options = studies.job.model_dump(mode="json").get(OPTIONS.get(name, name), {})
    return write_found(studies.run.root, name, found, command=command, options=options)


def write_found(
    root: Path,
    name: str,
    found: Found,
    *,
    command: str,
    options: Mapping[str, Any],
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write `studies/<name>/`: found.json, each table as CSV and Parquet, each array.

    Of a study of one's own, which the catalogue does not know, `about` may have its `title`, its
    `question`, and its `figures`: for each file that lies there its `title`, `shows` and `bad`.
    """
    folder = root / FOLDER / name
    make_folder(folder)
    for key, table in found.tables.items():
        write_whole(folder / f"{key}.csv", partial(table.to_csv, index=False))
        write_whole(folder / f"{key}.parquet", partial(table.to_parquet, index=False))
    for key, array in found.arrays.items():
        write_whole(folder / f"{key}.npy", partial(_array, array=array))
    told = {
        "study": name,
        "numbers": plain(found.numbers),
        "n": found.n,
        "test": found.test,
        "words": list(found.words),
        "command": command,
        "options": plain(options),
        "tables": sorted(found.tables),
        "arrays": sorted(found.arrays),
        **(about or {}),
    }
    write_json(folder / "found.json", told)
    return folder


def sum_up(root: Path) -> dict[str, Any]:
    """Write `summary.json`: the numbers of every study that was done, by its name.

    `method_comparison` stands by itself, too: method to noised volume to mean efficacy, the mean
    over predictors where there are several.
    """
    told = [read_json(path) for path in sorted((root / FOLDER).glob("*/found.json"))]
    summary: dict[str, Any] = {one["study"]: one["numbers"] for one in told}
    if curves := (summary.get("methods") or {}).get("method_comparison"):
        summary["method_comparison"] = curves.get(POOLED) or next(iter(curves.values()))
    write_json(root / "summary.json", summary)
    return summary


def _array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def shared(table: pd.DataFrame) -> str:
    """How many of what a table of fields counts: "8 fields of 4 wells, 2 predictors"."""
    fields, units = table["field"].nunique(), table["unit"].nunique()
    predictors = table["predictor"].nunique()
    told = f"{fields} field{'s' * (fields != 1)}"
    if units != fields:
        told += f" of {units} units"
    return f"{told}, {predictors} predictor{'s' * (predictors != 1)}"
