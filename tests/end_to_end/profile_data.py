"""Planted plates as people keep them: images, label images, and a table of fields."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from attributome.data.planted_plates import CHANNELS, PlantedPlates, planted_plates
from attributome.profiles.single_cells import open_single_cells
from attributome.store import folder_name
from end_to_end.jobs import sets

TINY = {
    "data.labels.column": "cells",
    "data.control": '["core"]',
    "data.held_out_plates": '["P2"]',
    "crops.size": "[24, 24]",
    "crops.border": "pad",
    "network.kind": "small",
    "network.width": "4",
    "train.epochs": "2",
    "train.batch": "16",
    "features.block": "40",
    "camo.block": "40",
    "camo.controls": "20",
    "camo.worst": "3",
    "causes.cells": "60",
    "profiles.align": "true",
    "evaluate.draws": "50",
    "evaluate.null": "100",
    "evaluate.k": "3",
    "evaluate.umap": "false",
}
PLANES = {"photometric": "minisblack"}


def plates(**words) -> PlantedPlates:
    """Two treatments on three plates, four wells of each, a field of two cells in each."""
    given = {"treatments": 2, "plates": 3, "wells": 4, "fields": 1, "cells": 2} | words
    given = {"neighbours": "treated"} | given
    return planted_plates(**given)


def fields(root: Path, some: PlantedPlates) -> Path:
    """A table of fields: crops of each side by side, all cells numbered anew."""
    root.mkdir(parents=True)
    rows = []
    axes = "CZYX" if some.images.ndim == 5 else "CYX"
    for field, at in some.table.groupby("field").indices.items():
        image = np.concatenate([some.images[i] for i in at], -1)
        tiles = [np.where(some.labels[i] > 0, some.labels[i] + 5 * n, 0) for n, i in enumerate(at)]
        tifffile.imwrite(
            root / f"{field}.ome.tif", image, metadata={"axes": axes}, ome=True, **PLANES
        )
        labels = np.concatenate(tiles, -1).astype(np.uint16)
        tifffile.imwrite(
            root / f"{field}_own.ome.tif", labels, metadata={"axes": axes[1:]}, ome=True, **PLANES
        )
        first = some.table.iloc[at[0]]
        rows.append(
            {
                "image": f"{field}.ome.tif",
                "cells": f"{field}_own.ome.tif",
                "plate": first["plate"],
                "well": first["well"],
                "treatment": first["treatment"],
            }
        )
    pd.DataFrame(rows).to_csv(root / "fields.csv", index=False)
    return root / "fields.csv"


SMALL = sets(TINY)
VERBS = ("crop", "train", "features", "camo", "normalise", "evaluate")
NAMES = [word for i, name in enumerate(CHANNELS) for word in ("--channel", f"{name}=c{i}")]


def cells_of(run):
    table = pd.read_parquet(run / "fields.parquet")
    return open_single_cells([run / "parts" / "crops" / folder_name(f) for f in table["field"]])


def read(run, name):
    return json.loads((run / name).read_text())
