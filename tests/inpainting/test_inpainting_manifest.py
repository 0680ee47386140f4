"""Rows of a table of crops are used as they are meant, or listed with their reasons."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from attributome.core.errors import DataError, UsageError
from attributome.inpainting import cells as cells_module
from attributome.inpainting.manifest import read_manifest

COLUMNS = {"gfp": "protein", "dna": "nucleus"}


@pytest.fixture
def data(tmp_path, random):
    """Five cells with two files each, a mask, and one file with both planes."""
    planes = random.random((5, 2, 6, 4)).astype(np.float32)
    masks = random.random((5, 6, 4)) < 0.5
    (tmp_path / "crops").mkdir()
    rows = []
    for i, (pair, mask) in enumerate(zip(planes, masks, strict=True)):
        names = {"gfp": f"crops/{i}_g.tif", "dna": f"crops/{i}_d.npy", "own": f"crops/{i}_m.tif"}
        tifffile.imwrite(tmp_path / names["gfp"], pair[0])
        np.save(tmp_path / names["dna"], pair[1])
        tifffile.imwrite(tmp_path / names["own"], mask.astype(np.uint8) * 9)
        np.save(tmp_path / f"crops/{i}.npy", pair)
        both = {"image": f"crops/{i}.npy"}
        meta = {"plate": f"{i // 3:02d}", "well": "A1", "dose": 0.5 * i}
        rows.append({"id": f"c{i}", **names, **both, **meta})
    return tmp_path, pd.DataFrame(rows), planes, masks


def write(folder, table, name="cells.csv"):
    path = folder / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
    return path


OPTIONS = {
    "channels": COLUMNS,
    "targets": ["protein"],
    "group": ["plate", "well"],
    "field": "plate",
}


@pytest.mark.parametrize("name", ["cells.csv", "cells.tsv", "cells.parquet"])
@pytest.mark.parametrize("block", [1, 2**26])
def test_a_table_with_a_file_per_channel(data, monkeypatch, name, block):
    monkeypatch.setattr(cells_module, "BLOCK", block)
    folder, table, planes, masks = data
    cells = read_manifest(write(folder, table, name), mask="own", **OPTIONS)
    np.testing.assert_array_equal(cells.crops, planes)
    np.testing.assert_array_equal(cells.masks, masks)
    assert (cells.targets, cells.markers) == (("protein",), ("nucleus",))
    assert cells.table["id"].tolist() == ["c0", "c1", "c2", "c3", "c4"]
    assert cells.table["group"].tolist() == ["00/A1"] * 3 + ["01/A1"] * 2
    assert cells.table["field"].tolist() == ["00"] * 3 + ["01"] * 2
    names = [*cells.table.columns]
    assert names == ["id", "group", "field", "image", "plate", "well", "dose"]
    wanted = [0.0, 0.5, 1.0, 1.5, 2.0]
    assert cells.table["dose"].tolist() == (wanted if "parquet" in name else [*map(str, wanted)])
    assert not len(cells.rejected)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_table_with_one_file_of_all_channels(data, on_disk):
    folder, table, planes, _ = data
    path = write(folder, table.drop(columns="id"))
    options = OPTIONS | {"channels": ["nucleus", "protein"], "image": "image"}
    cells = read_manifest(path, **options, folder=folder / "made" if on_disk else None)
    np.testing.assert_array_equal(cells.crops, planes)
    assert cells.channels == ("nucleus", "protein")
    assert cells.table["id"].tolist() == ["1", "2", "3", "4", "5"]
    assert cells.masks is None


def test_rows_that_cannot_be_used_are_listed(data):
    folder, table, planes, _ = data
    (folder / "secret.tif").write_bytes((folder / "crops/0_g.tif").read_bytes())
    tifffile.imwrite(folder / "crops/small.tif", np.zeros((6, 3), np.float32))
    (folder / "crops/broken.tif").write_bytes(b"II*\0 and no more")
    good = table.iloc[[0]]
    changed = [
        {"gfp": ""},
        {"gfp": "crops/none.tif"},
        {"gfp": "../secret.tif"},
        {"gfp": "crops"},
        {"gfp": "crops/small.tif"},
        {"gfp": "crops/broken.tif"},
        {"id": ""},
        {"id": "c0"},
        {"plate": ""},
        {"well": " "},
    ]
    bad = [good.assign(**({"id": f"bad{i}"} | row)) for i, row in enumerate(changed)]
    path = write(folder, pd.concat([table, *bad]))
    cells = read_manifest(path, root=folder, **OPTIONS)
    np.testing.assert_array_equal(cells.crops, planes)
    listed = {where: (value, reason) for where, value, reason in cells.rejected.to_numpy()}
    assert listed == {
        "row 6": ("", "it names no file as gfp"),
        "row 7": ("crops/none.tif", "there is no such file"),
        "row 8": ("../secret.tif", "the file is outside the root of the data"),
        "row 9": ("crops", "there is no such file"),
        "row 10": ("small.tif", "it is 1 x 6 x 3 and not 1 x 6 x 4"),
        "row 11": ("broken.tif", "it holds 0 images and not one"),
        "row 12": ("", "its id is empty"),
        "row 13": ("c0", "row 1 has this id"),
        "row 14": ("", "it has no plate"),
        "row 15": ("", "it has no well"),
    }


def test_the_root_may_be_wider_than_the_folder(data):
    folder, table, planes, _ = data
    (folder / "tables").mkdir()
    for column in COLUMNS:
        table[column] = "../" + table[column]
    path = write(folder / "tables", table)
    with pytest.raises(DataError, match="5 were refused, the first, row 1 .* outside the root"):
        read_manifest(path, **OPTIONS)
    np.testing.assert_array_equal(read_manifest(path, root=folder, **OPTIONS).crops, planes)


def test_another_reader_reads_other_formats(data):
    folder, table, *_ = data
    path = write(folder, table)
    cells = read_manifest(path, read=lambda _: np.ones((1, 2, 2), np.float32), **OPTIONS)
    assert cells.crops.shape == (5, 2, 2, 2)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"channels": {"gpf": "a", "dna": "b"}}, DataError, "no column 'gpf'; did you mean 'gfp'"),
        ({"field": "site"}, DataError, "no column 'site'"),
        ({"group": ["plat"]}, DataError, "did you mean 'plate'"),
        ({"group": []}, UsageError, "grouped by nothing"),
        ({"targets": ["gfp"]}, UsageError, "no channel 'gfp'"),
        ({"targets": []}, UsageError, "0 targets"),
        ({"mask": "cell"}, DataError, "no column 'cell'"),
    ],
)
def test_a_request_that_cannot_be_meant(data, changes, kind, words):
    folder, table, *_ = data
    with pytest.raises(kind, match=words):
        read_manifest(write(folder, table), **OPTIONS | changes)


def test_tables_that_cannot_be_read(data):
    folder, table, *_ = data
    with pytest.raises(UsageError, match=r"give a \.csv, \.tsv or \.parquet"):
        read_manifest(folder / "cells.xlsx", **OPTIONS)
    with pytest.raises(DataError, match="cannot read the table"):
        read_manifest(folder / "none.csv", **OPTIONS)
    (folder / "bad.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot read the table"):
        read_manifest(folder / "bad.parquet", **OPTIONS)
    with pytest.raises(DataError, match="has no rows"):
        read_manifest(write(folder, table.iloc[:0]), **OPTIONS)
