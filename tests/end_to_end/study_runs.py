"""Runs so small that three of them take seconds: what studies of finished runs begin with."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from attributome.data.images import write_tiff
from attributome.data.planted import PIXEL, planted, write_planted
from end_to_end.jobs import NARROW, call, sets

FIELDS, SIZE = 8, (48, 48)
HALVES = ("train", "train", "validate", "calibrate", "test", "test", "test", "test")
PREDICTORS = {"nuclei-1": "target", "nuclei-2": "target", "other": "vesicles"}
SHORT = {
    "seed": "7",
    "predictor.features": NARROW,
    "predictor.epochs": "2",
    "predictor.steps": "8",
    "predictor.batch": "4",
    "predictor.patch": "[48, 48]",
    "masks.features": NARROW,
    "masks.starts": "1",
    "masks.epochs": "1",
    "masks.steps": "4",
    "masks.batch": "4",
    "masks.patch": "[48, 48]",
    "masks.noise_scale": "1.5",
}


def make_runs(home: Path) -> dict[str, Path]:
    """Runs with finished masks by name, each in `home/<name>`, of the tables in `home/data`."""
    tables = make_tables(home / "data")
    for name, table in tables.items():
        given = sets(SHORT | {"data.source": f'"{table}"', "name": f'"{name}"'})
        for what in ("predictor", "masks"):
            assert call("train", what, "--out", home / name, *given) == 0
    return {name: home / name for name in tables}


def make_tables(folder: Path) -> dict[str, Path]:
    """Eight fields, and a table for each run: `nuclei-1` tests on those that `nuclei-2` saw.

    The target of `other` is the decoy. Two fields stand in each well, a drug and its control on
    each of two plates.
    """
    fields = pd.read_csv(write_planted(folder, fields=FIELDS, size=SIZE, seed=3), dtype=str)
    fields["vesicles"] = [f"vesicles/{name}.ome.tif" for name in fields["id"]]
    for sample, path in zip(
        planted(fields=FIELDS, size=SIZE, seed=3), fields["vesicles"], strict=True
    ):
        stain = gaussian_filter((sample.regions == 2).astype(float), 1.5)
        write_tiff(
            folder / path, (1000 * stain + 100).astype(np.uint16)[None], ("vesicles",), (PIXEL,) * 2
        )
    fields["well"] = [f"A{1 + at // 2:02d}" for at in range(FIELDS)]
    fields["drug"] = [("control", "taxol")[at // 2 % 2] for at in range(FIELDS)]
    fields["plate"] = [f"P{1 + at // 4}" for at in range(FIELDS)]
    tables = {}
    for name, target in PREDICTORS.items():
        table = fields.drop(columns="vesicles").assign(target=fields[target])
        table["split"] = HALVES if name == "nuclei-2" else HALVES[::-1]
        tables[name] = folder / f"{name}.csv"
        table.to_csv(tables[name], index=False)
    return tables
