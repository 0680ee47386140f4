"""Crops go to parts and come back: the same numbers in any order, few files open."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attributome.core.cropping import cut_boxes
from attributome.core.errors import DataError, UsageError
from attributome.profiles import single_cells
from attributome.profiles.single_cells import (
    crop_field,
    from_arrays,
    open_single_cells,
    select,
    write_part,
)
from attributome.store import Run

CHANNELS = ("DNA", "actin")


def field_of(number, dims, dtype=np.uint16):
    """A field with up to five cells; field 2 has none."""
    random = np.random.default_rng(number)
    image = random.integers(1, 60000, (2, *[20] * dims)).astype(dtype)
    labels = np.zeros([20] * dims, np.int32)
    for label in range(1, 1 + (0 if number == 2 else 3 + number % 3)):
        middle = random.integers(3, 17, dims)
        labels[tuple(slice(m - 1, m + 2) for m in middle)] = label * 5
    return image, labels


@pytest.fixture
def parts(tmp_path, dims):
    """Six fields as parts on disk, and the crops as they were cut."""
    folders, cut = [], []
    for number in range(6):
        image, labels = field_of(number, dims)
        part = crop_field(
            image,
            labels,
            field=f"f{number}",
            channels=CHANNELS,
            size=(6,) * dims,
            border="pad",
            spacing=(2.0, 0.5, 0.5)[-dims:],
            meta={"well": f"A0{number}", "plate": "P1"},
        )
        folders.append(tmp_path / f"part {number}")
        write_part(folders[-1], part)
        cut.append(cut_boxes(image, labels, size=(6,) * dims, border="pad"))
    return folders, cut


def test_what_is_read_is_what_was_cut(parts, dims, random):
    folders, cut = parts
    cells = open_single_cells(folders)
    images = np.concatenate([boxes.crops for boxes in cut]).astype(np.float32)
    labels = np.concatenate([boxes.labels for boxes in cut])
    own = np.concatenate([boxes.own for boxes in cut])
    assert len(cells) == len(own) == len(cells.table) > 12
    assert (cells.channels, cells.size) == (CHANNELS, (6,) * dims)
    assert cells.spacing == (2.0, 0.5, 0.5)[-dims:]
    for rows in (np.arange(len(cells)), random.integers(0, len(cells), 50), np.array([], int)):
        got = cells.images(rows)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, images[rows])
        np.testing.assert_array_equal(cells.labels(rows), labels[rows])
        np.testing.assert_array_equal(cells.own(rows), own[rows])
    some = random.permutation(len(cells))[:7]
    chosen = select(cells, some)
    np.testing.assert_array_equal(chosen.images(np.arange(7)), images[some])
    np.testing.assert_array_equal(chosen.own(np.arange(7)), own[some])
    assert chosen.table["id"].tolist() == cells.table["id"].iloc[some].tolist()
    again = from_arrays(cells.table, images, labels, own, CHANNELS, cells.spacing)
    np.testing.assert_array_equal(again.images(some), images[some])
    np.testing.assert_array_equal(again.labels(some), labels[some])


def test_the_table_says_where_cells_were(parts, dims):
    folders, cut = parts
    table = open_single_cells(folders).table
    assert set(table["field"]) == {"f0", "f1", "f3", "f4", "f5"}
    one = table[table["field"] == "f1"]
    assert one["id"].tolist() == [f"f1_{label}" for label in cut[1].own]
    assert set(one["well"]) == {"A01"}
    np.testing.assert_array_equal(one[[*"zyx"][-dims:]].to_numpy(), cut[1].centres)
    np.testing.assert_array_equal(one["area" if dims == 2 else "volume"], cut[1].volumes)
    near = [" ".join(map(str, others)) for others in cut[1].neighbours()]
    assert one["neighbours"].tolist() == near
    short = open_single_cells(folders, columns=["well"]).table
    assert [*short.columns] == ["id", "field", "label", "well"]


def test_a_run_writes_the_same_part(tmp_path, dims):
    image, labels = field_of(1, dims)
    part = crop_field(image, labels, field="a/1", channels=CHANNELS, size=(4,) * dims, border="pad")
    run = Run.begin(tmp_path / "run", {"job": "crops"})
    run.write("crops", "a/1", arrays=part.arrays, tables=part.tables, note=part.note)
    empty = crop_field(image, labels * 0, field="a/2", channels=CHANNELS, size=(4,) * dims)
    run.write("crops", "a/2", arrays=empty.arrays, tables=empty.tables, note=empty.note)
    cells = open_single_cells(sorted((tmp_path / "run/parts/crops").iterdir()))
    write_part(tmp_path / "alone", part)
    alone = open_single_cells([tmp_path / "alone"])
    rows = np.arange(len(alone))
    np.testing.assert_array_equal(cells.images(rows), alone.images(rows))
    pd.testing.assert_frame_equal(cells.table, alone.table)
    assert cells.spacing is None
    assert run.units("crops") == ["a/1", "a/2"]


def test_few_files_are_open_however_many_parts_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(single_cells, "OPEN", 4)
    table = None
    for number in range(20):
        labels = np.ones((4, 4), np.int32)
        part = crop_field(
            np.full((2, 4, 4), number, np.uint8),
            labels,
            field=f"f{number:02d}",
            channels=CHANNELS,
            size=(2, 2),
        )
        write_part(tmp_path / f"{number:02d}", part)
    cells = open_single_cells(sorted(tmp_path.iterdir()))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(3):
        rows = np.random.default_rng(0).permutation(20)
        assert cells.images(rows)[:, 0, 0, 0].tolist() == rows.tolist()
        table = cells.labels(rows)
    assert table is not None
    assert (table == 1).all()
    if before:
        assert len(os.listdir("/proc/self/fd")) - before <= 4


def test_light_is_divided_out_before_cells_are_cut(dims):
    image, labels = field_of(0, dims)
    light = np.full((2, *[20] * dims), 2.0)
    options = {"field": "f", "channels": CHANNELS, "size": (4,) * dims, "border": "pad"}
    plain = crop_field(image, labels, **options)
    even = crop_field(image, labels, illumination=light, **options)
    np.testing.assert_array_equal(even.arrays["images"], plain.arrays["images"] / 2)
    assert (plain.note["corrected"], even.note["corrected"]) == (False, True)
    assert plain.arrays["images"].dtype == np.uint16


def test_fields_that_cannot_be_cropped():
    image, labels = field_of(0, 2)
    options = {"channels": CHANNELS, "size": (4, 4)}
    with pytest.raises(UsageError, match="a field has no name"):
        crop_field(image, labels, field="", **options)
    with pytest.raises(DataError, match="the field 'f' has 1 channels and not 2: DNA, actin"):
        crop_field(image[:1], labels, field="f", **options)
    with pytest.raises(DataError, match="the field 'f' cannot be cut: labels of shape"):
        crop_field(image, labels[1:], field="f", **options)
    with pytest.raises(UsageError, match="has a meta 'area', which is a column"):
        crop_field(image, labels, field="f", meta={"area": 3}, **options)


def test_arrays_that_do_not_belong_together(random):
    table = pd.DataFrame({"id": ["a", "b"], "field": ["f", "f"]})
    images, labels = random.random((2, 2, 5, 5)), np.ones((2, 5, 5), np.int32)
    own = np.ones(2, np.int32)
    cells = from_arrays(table, images, labels, own, CHANNELS, (1.0, 1.0))
    for rows in ([2], [-1], [0, 1, 7]):
        with pytest.raises(UsageError, match=f"no row {rows[-1]} among 2 crops"):
            cells.images(np.array(rows))
    cases = [
        ((table[:1], images, labels, own, CHANNELS), DataError, "1 rows of a table, 2 crops"),
        ((table, images, labels[:, 1:], own, CHANNELS), DataError, "do not belong together"),
        ((table, images, labels, own, ("DNA",)), DataError, "do not belong together"),
        ((table, images, labels, own, ("DNA", "DNA")), UsageError, "name one twice"),
        ((table, images, labels, own * 0, CHANNELS), DataError, "crop 0 has the own label 0"),
        ((table, images, labels.astype(int) << 31, own, CHANNELS), DataError, "not fit 32 bits"),
        ((table, images, labels, own, CHANNELS, (1.0,)), DataError, "a spacing of"),
        ((table[["id"]], images, labels, own, CHANNELS), DataError, "needs a column 'field'"),
        ((table.assign(id="a"), images, labels, own, CHANNELS), DataError, "'a' stands twice"),
        ((table.assign(field=None), images, labels, own, CHANNELS), DataError, "0 of the table"),
    ]
    for given, error, words in cases:
        with pytest.raises(error, match=words):
            from_arrays(*given)


def _rewrite(folder, **changes):
    note = json.loads((folder / "note.json").read_text())
    (folder / "note.json").write_text(json.dumps({**note, **changes}))


def test_parts_that_do_not_fit(parts, dims):
    folders, _ = parts
    with pytest.raises(UsageError, match="no parts"):
        open_single_cells([])
    with pytest.raises(DataError, match="none of 1 parts has a cell"):
        open_single_cells(folders[2:3])
    with pytest.raises(DataError, match="cannot read"):
        open_single_cells(folders, columns=["nothing"])
    _rewrite(folders[3], channels=["DNA", "tubulin"])
    with pytest.raises(DataError, match=r"part 3 has the channels \['DNA', 'tubulin'\], and not"):
        open_single_cells(folders)
    _rewrite(folders[4], shape=[4, 2, *[7] * dims])
    with pytest.raises(DataError, match="part 4 has crops of"):
        open_single_cells([folders[0], folders[4]])
    _rewrite(folders[5], format=9)
    with pytest.raises(DataError, match="part 5 is not a part with crops"):
        open_single_cells(folders[5:])
    np.save(folders[0] / "images.npy", np.zeros((1, 2, *[6] * dims)))
    cells = open_single_cells(folders[:2])
    with pytest.raises(DataError, match="images.npy holds float64 of"):
        cells.images(np.array([0]))
    (folders[1] / "labels.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="cannot read .*labels.npy"):
        cells.labels(np.array([len(cells) - 1]))
    (folders[0] / "cells.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match="cannot read .*cells.parquet"):
        open_single_cells(folders[:1])
    (folders[0] / "note.json").unlink()
    with pytest.raises(DataError, match="note.json"):
        open_single_cells(folders[:1])
