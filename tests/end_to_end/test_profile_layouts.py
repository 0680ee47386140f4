"""Plates as JUMP, DeepProfiler and OME-Zarr keep them give the cells that a table gives."""

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from attributome.profiles.single_cells import open_single_cells
from attributome.store import folder_name
from end_to_end.jobs import call, sets
from end_to_end.profile_data import NAMES, TINY, fields, plates

SMALL = sets(TINY | {"data.held_out_plates": "0"})


def jump(table, home):
    """`<plate>/Images/r01c01f01p01-ch1sk1fk1fl1.tiff`, with masks beside the first channel."""
    for row in pd.read_csv(table).to_dict("records"):
        folder = home / f"{row['plate']}__2021" / "Images"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"r{'AB'.index(row['well'][0]) + 1:02d}c{row['well'][1:]}f01p01"
        image = tifffile.imread(table.parent / row["image"])
        for number, plane in enumerate(image, 1):
            tifffile.imwrite(folder / f"{stem}-ch{number}sk1fk1fl1.tiff", plane)
        labels = tifffile.imread(table.parent / row["cells"])
        tifffile.imwrite(folder / f"{stem}-ch1sk1fk1fl1_cp_masks.tif", labels)
    about = pd.read_csv(table)[["plate", "well", "treatment"]]
    about.to_csv(home / "about.csv", index=False)
    channels = ("--channel", "nucleus=1", "--channel", "body=2", "--about", home / "about.csv")
    return (*channels, "--set", "data.labels.channel=nucleus")


def deepprofiler(table, home):
    """`metadata/index.csv` beside `images`, with masks beside the first channel."""
    (home / "images").mkdir(parents=True)
    (home / "metadata").mkdir()
    rows = []
    for row in pd.read_csv(table).to_dict("records"):
        image = tifffile.imread(table.parent / row["image"])
        stem = f"{row['plate']}_{row['well']}"
        for name, plane in zip(("DNA", "AGP"), image, strict=True):
            tifffile.imwrite(home / "images" / f"{stem}_{name}.tif", plane)
        labels = tifffile.imread(table.parent / row["cells"])
        tifffile.imwrite(home / "images" / f"{stem}_DNA_cp_masks.tif", labels)
        known = {"plate": row["plate"], "well": row["well"], "site": 1}
        known = {f"Metadata_{k.capitalize()}": v for k, v in known.items()}
        files = {name: f"{stem}_{name}.tif" for name in ("DNA", "AGP")}
        rows.append({**known, "Metadata_treatment": row["treatment"], **files})
    pd.DataFrame(rows).to_csv(home / "metadata" / "index.csv", index=False)
    return ("--channel", "nucleus=DNA", "--channel", "body=AGP")


def group(path, attributes):
    made = zarr.open_group(str(path), mode="a", zarr_format=2)
    made.attrs.update(attributes)
    return made


def picture(path, array):
    axes = [{"name": n, "type": "channel" if n == "c" else "space"} for n in "cyx"[-array.ndim :]]
    said = {"multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    group(path, said).create_array("0", data=array)


def ngff(table, home):
    """A plate in OME-Zarr for each, with labels inside."""
    fields = pd.read_csv(table)
    for plate, rows in fields.groupby("plate"):
        root = home / f"{plate}.ome.zarr"
        wells = [{"path": f"{well[0]}/{well[1:]}"} for well in rows["well"]]
        group(root, {"plate": {"wells": wells, "rows": [], "columns": []}})
        for place, row in zip(wells, rows.to_dict("records"), strict=True):
            at = root / place["path"]
            group(at, {"well": {"images": [{"path": "1"}]}})
            picture(at / "1", tifffile.imread(table.parent / row["image"]))
            group(at / "1" / "labels", {"labels": ["cells"]})
            labels = tifffile.imread(table.parent / row["cells"])
            picture(at / "1" / "labels" / "cells", labels.astype(np.int32))
    fields[["plate", "well", "treatment"]].to_csv(home / "about.csv", index=False)
    return (*NAMES, "--about", home / "about.csv")


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A table of fields, and the run that cut its cells."""
    home = tmp_path_factory.mktemp("layouts")
    table = fields(home / "data", plates(plates=2, wells=3))
    assert call("profile", "crop", "--out", home / "run", "--data", table, *NAMES, *SMALL) == 0
    return table, cells_of(home / "run")


def cells_of(run):
    table = pd.read_parquet(run / "fields.parquet")
    return open_single_cells([run / "parts" / "crops" / folder_name(f) for f in table["field"]])


@pytest.mark.parametrize("layout", [jump, deepprofiler, ngff], ids=lambda one: one.__name__)
def test_cells_of_known_layouts_are_those_of_a_table(known, tmp_path, layout):
    table, theirs = known
    words = ("--data", tmp_path / "data", *layout(table, tmp_path / "data"), *SMALL)
    run = tmp_path / "run"
    assert call("profile", "crop", "--out", run, *words) == 0
    ours = cells_of(run)
    assert ours.channels == theirs.channels
    assert ours.table["id"].tolist() == theirs.table["id"].tolist()
    rows = np.arange(len(ours))
    np.testing.assert_array_equal(ours.images(rows), theirs.images(rows))
    np.testing.assert_array_equal(ours.labels(rows), theirs.labels(rows))
    assert ours.table["treatment"].tolist() == theirs.table["treatment"].tolist()
