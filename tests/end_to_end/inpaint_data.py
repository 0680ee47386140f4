"""Planted cells as people keep them: folders of crops, a table of crops, fields with labels."""

from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from attributome.inpainting.cells import Cells
from attributome.inpainting.planted import planted

SIZE = 32
PLANES = {"photometric": "minisblack", "metadata": None}
TINY = {
    "network.widths": "[4, 4, 6, 6, 4]",
    "network.marker_width": "4",
    "train.epochs": "2",
    "train.batch": "8",
    "train.workers": "0",
    "features.block": "20",
    "evaluate.k": "3",
    "evaluate.draws": "50",
    "evaluate.umap": "false",
    "predict.pairs": "5",
}


def cells(**words) -> Cells:
    """Two classes of one protein each, in four fields of four cells."""
    given = {"classes": ("nuclear", "membrane"), "groups": 1, "fields": 4, "cells": 4} | words
    return planted(size=SIZE, **given)


def layout(root: Path, some: Cells) -> Path:
    """`<root>/<group>/<protein>_<field>_rfp_<cell>_<channel>.tif`, as the yeast data are."""
    for row, crop in zip(some.table.to_dict("records"), some.crops, strict=True):
        home = root / row["group"]
        home.mkdir(parents=True, exist_ok=True)
        field, number = row["field"].rpartition("_f")[2], row["id"].rpartition("_")[2]
        for end, plane in (("gfp", crop[0]), ("rfp", crop[2])):
            tifffile.imwrite(home / f"{row['group']}_{field}_rfp_{number}_{end}.tif", plane)
    return root


def manifest(root: Path, some: Cells) -> Path:
    """A table of crops: one file of three planes for each cell, and a mask."""
    assert some.masks is not None
    root.mkdir(parents=True)
    rows = []
    for i, row in enumerate(some.table.to_dict("records")):
        np.save(root / f"{i}.npy", some.crops[i])
        np.save(root / f"{i}_own.npy", some.masks[i].astype(np.uint8))
        rows.append({**row, "image": f"{i}.npy", "own": f"{i}_own.npy", "plate": f"P{i % 2}"})
    pd.DataFrame(rows).to_csv(root / "cells.csv", index=False)
    return root / "cells.csv"


def fields(root: Path, some: Cells, *, labels: bool = True) -> Path:
    """A table of fields: the cells of each side by side, and an image of labels."""
    assert some.masks is not None
    root.mkdir(parents=True)
    rows = []
    for field, at in some.table.groupby("field").indices.items():
        image = np.concatenate([some.crops[i] for i in at], 2)
        own = np.concatenate([some.masks[i] * (n + 1) for n, i in enumerate(at)], 1)
        dark = [(0, 0), (SIZE, SIZE), (SIZE, SIZE)]
        tifffile.imwrite(root / f"{field}.tif", np.pad(image, dark, mode="edge"), **PLANES)
        row = {"image": f"{field}.tif", "group": some.table["group"].iloc[at[0]], "plate": "P1"}
        if labels:
            tifffile.imwrite(root / f"{field}_own.tif", np.pad(own, SIZE).astype(np.uint16))
            row["regions"] = f"{field}_own.tif"
        rows.append(row)
    pd.DataFrame(rows).to_csv(root / "fields.csv", index=False)
    return root / "fields.csv"


def bright_fields(root: Path, *, count: int = 3) -> Path:
    """A table of yeast fields without labels: bright-field light, and a protein in the cells."""
    root.mkdir(parents=True)
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:160, :160]
    rows = []
    for i in range(count):
        light, protein = np.zeros((2, *y.shape))
        for at in 20 + 40 * np.stack(np.mgrid[:4, :4], -1).reshape(-1, 2) + draw.uniform(-3, 3, 2):
            far = np.hypot(y - at[0], x - at[1])
            light -= 0.25 * np.exp(-(((far - 12) / 1.5) ** 2))
            protein += np.exp(-((far / draw.uniform(3, 6)) ** 2))
        light = 1000 * (1 + 0.3 * x / 160 + light + 0.02 * draw.standard_normal(y.shape))
        name = f"field{i}.tif"
        planes = np.stack([light, 100 * protein + 10]).astype(np.float32)
        tifffile.imwrite(root / name, planes, **PLANES)
        rows.append({"image": name, "group": "AAC1"})
    pd.DataFrame(rows).to_csv(root / "fields.csv", index=False)
    return root / "fields.csv"
