"""All chunks of a file become cells, in the order of their numbers, classes merged and dropped."""

import sys

import h5py
import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.cells import read_cells
from attributome.inpainting.chong import read_chong

CLASSES = ("ACTIN", "DEAD", "ER", "GHOST", "SPINDLE", "SPINDLEPOLE")


def write(path, sizes=None, info=(), seed=0):
    """A file of chunks by number; the classes of its rows, chunk by chunk."""
    draw = np.random.default_rng(seed)
    truth = {}
    with h5py.File(path, "w") as file:
        for number, n in (sizes or {1: 4, 10: 3, 2: 5}).items():
            of = np.arange(n) % len(CLASSES)
            truth[number] = (draw.random((n, 8192)).astype(np.float32), of)
            file[f"data{number}"] = truth[number][0]
            file[f"Index{number}"] = np.eye(len(CLASSES))[of]
            if info:
                values = np.arange(n * len(info)).reshape(n, len(info)) // (2 * len(info))
                file[f"Info{number}"] = values + 100.0 * number
        file["Index1_columns"] = np.array([name.encode() for name in CLASSES])
        if info:
            file["Info1_columns"] = np.array([name.encode() for name in info])
    return truth


def test_every_chunk_is_read_by_rising_number(tmp_path):
    truth = write(tmp_path / "train.hdf5")
    cells = read_chong([tmp_path / "train.hdf5"])
    rows = [(number, row) for number in (1, 2, 10) for row in range(len(truth[number][1]))]
    assert list(cells.table["id"]) == [f"train_{number}_{row}" for number, row in rows]
    assert list(cells.table.columns) == ["id", "group", "field", "label", "set"]
    assert cells.channels == ("protein", "marker")
    assert (cells.targets, cells.markers) == (("protein",), ("marker",))
    for i, (number, row) in enumerate(rows):
        flat, of = truth[number]
        np.testing.assert_array_equal(cells.crops[i, 0], flat[row, :4096].reshape(64, 64))
        np.testing.assert_array_equal(cells.crops[i, 1].ravel(), flat[row, 4096:])
        name = CLASSES[of[row]]
        assert cells.table["label"][i] == ("SPINDLE" if name == "SPINDLEPOLE" else name)
        assert cells.table["field"][i] == f"train_{number}"
    assert (cells.table["group"] == cells.table["label"]).all()
    assert (cells.table["set"] == "train").all()
    assert not len(cells.rejected)


def test_several_files_stream_to_a_folder_and_classes_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr("attributome.inpainting.cells.BLOCK", 2 * 2 * 64 * 64 * 4)  # two cells
    for name in ("train", "test"):
        write(tmp_path / f"{name}.hdf5", {1: 7, 2: 6})
    paths = [tmp_path / "train.hdf5", tmp_path / "test.hdf5"]
    memory = read_chong(paths, drop=["DEAD", "GHOST"])
    disk = read_chong(paths, drop=["DEAD", "GHOST"], folder=tmp_path / "cells")
    assert set(memory.table["label"]) == {"ACTIN", "ER", "SPINDLE"}
    assert (memory.table["label"] == "SPINDLE").sum() == 8
    assert list(memory.table["set"].unique()) == ["train", "test"]
    again = read_cells(tmp_path / "cells")
    assert disk.table.equals(memory.table)
    np.testing.assert_array_equal(again.crops, memory.crops)
    assert again.about["merge"] == {"SPINDLEPOLE": "SPINDLE"}
    assert len(read_chong(paths, merge={}).table["label"].unique()) == 6


@pytest.mark.parametrize(
    ("info", "fields"),
    [
        (("area",), {"train_1", "train_2"}),
        (("area", "ImageNumber"), {"train_100", "train_101", "train_200", "train_201"}),
        (("cscreen", "ImageNumber"), {f"train_{n} {n}" for n in (100, 101, 200, 201)}),
    ],
)
def test_the_field_is_the_image_that_is_named_or_else_the_chunk(tmp_path, info, fields):
    write(tmp_path / "train.hdf5", {1: 4, 2: 4}, info)
    assert set(read_chong([tmp_path / "train.hdf5"]).table["field"]) == fields


def test_rows_without_one_class_or_with_lost_pixels_are_listed(tmp_path):
    path = tmp_path / "train.hdf5"
    write(path, {1: 6})
    with h5py.File(path, "a") as file:
        file["Index1"][0] = 0
        file["Index1"][1, :2] = 1
        file["Index1"][2, 2] = 0.5
        file["data1"][3, 17] = np.nan
    cells = read_chong([path])
    assert list(cells.table["id"]) == ["train_1_4", "train_1_5"]
    assert list(cells.rejected["where"]) == [f"train_1_{i}" for i in range(4)]
    assert list(cells.rejected["value"]) == ["", "", "", "GHOST"]
    assert cells.rejected["reason"].str.contains("one 1 and zeros|not finite").all()


def lost(name):
    return lambda file: file.__delitem__(name)


def put(name, value):
    def change(file):
        if name in file:
            del file[name]
        file[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        (lost("Index2"), {}, DataError, "has data2 and no Index2"),
        (lost("data10"), {}, DataError, "has Index10 and no data10"),
        (lost("Index1_columns"), {}, DataError, "no Index1_columns"),
        (put("data2", np.zeros((5, 4096))), {}, DataError, r"data2 .* \(5, 4096\).* 8192"),
        (put("data2", np.zeros((4, 8192))), {}, DataError, r"Index2 .* need \(4, 6\)"),
        (put("data2", np.array([[b"x"] * 8192] * 5)), {}, DataError, "data2 .* not numbers"),
        (put("Index1_columns", np.arange(6)), {}, DataError, "and not texts"),
        (put("data2", h5py.SoftLink("/data1")), {}, DataError, "links are not followed"),
        (put("data2", h5py.ExternalLink("o.h5", "/x")), {}, DataError, "links are not followed"),
        (lambda file: None, {"merge": {"BUD": "ER"}}, UsageError, "no class 'BUD' to merge"),
        (lambda file: None, {"drop": ["SPINDLEPOLE"]}, UsageError, "'SPINDLEPOLE' to drop; after"),
        (lambda file: None, {"targets": ["gfp"]}, UsageError, "no channel 'gfp'"),
        (
            lambda file: [
                lost(f"{what}{n}")(file) for what in ("data", "Index") for n in (1, 2, 10)
            ],
            {},
            DataError,
            "no chunks data1, data2, .* Index1_columns",
        ),
    ],
)
def test_files_that_are_not_whole_and_classes_that_are_not_there_are_refused(
    tmp_path, change, options, error, words
):
    path = tmp_path / "train.hdf5"
    write(path)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(error, match=words):
        read_chong([path], **options)


def test_files_that_are_none_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no files"):
        read_chong([])
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match="called 'train'"):
        read_chong([tmp_path / "train.hdf5", tmp_path / "a" / "train.hdf5"])
    (tmp_path / "train.hdf5").write_text("no HDF5")
    with pytest.raises(DataError, match="as HDF5"):
        read_chong([tmp_path / "train.hdf5"])
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"attributome\[keras\]"):
        read_chong([tmp_path / "train.hdf5"])
