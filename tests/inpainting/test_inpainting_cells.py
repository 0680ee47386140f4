"""Cells go into a folder and come back as they were, or not at all."""

import json

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.inpainting import cells as module
from attributome.inpainting.cells import Cells, gather, read_cells, select, write_cells

CHANNELS = ("protein", "nucleus", "tubules", "spare")


def some_cells(n=7, *, masks=True, size=(6, 5), seed=0):
    draw = np.random.default_rng(seed)
    return Cells(
        table=pd.DataFrame(
            {
                "id": [f"c{i}" for i in range(n)],
                "group": [f"g{i % 2}" for i in range(n)],
                "field": [f"f{i % 3}" for i in range(n)],
                "plate": np.arange(n),
            }
        ),
        crops=draw.random((n, 4, *size), np.float32),
        channels=CHANNELS,
        targets=("protein",),
        markers=("tubules", "nucleus"),
        masks=draw.random((n, *size)) < 0.5 if masks else None,
        about={"source": "drawn", "licence": "none"},
    )


def same(one, other):
    pd.testing.assert_frame_equal(one.table, other.table)
    np.testing.assert_array_equal(one.crops, other.crops)
    assert (one.masks is None) == (other.masks is None)
    if one.masks is not None:
        np.testing.assert_array_equal(one.masks, other.masks)
    assert one.channels == other.channels
    assert (one.targets, one.markers) == (other.targets, other.markers)
    assert one.about == other.about
    assert one.rejected.to_numpy().tolist() == other.rejected.to_numpy().tolist()


def rewrite(folder, **changes):
    card = json.loads((folder / "cells.json").read_text())
    (folder / "cells.json").write_text(json.dumps(card | changes))


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("block", [1, 1000, 2**26])  # one cell, two cells, all
def test_cells_come_back_as_they_were(tmp_path, monkeypatch, masks, block):
    monkeypatch.setattr(module, "BLOCK", block)
    cells = some_cells(masks=masks)
    write_cells(tmp_path / "a" / "b", cells)
    back = read_cells(tmp_path / "a" / "b")
    same(cells, back)
    assert isinstance(back.crops, np.memmap)
    assert not back.crops.flags.writeable
    found = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    wanted = {"cells.json", "cells.parquet", "rejected.parquet", "crops.npy"}
    assert found == wanted | ({"masks.npy"} if masks else set())
    np.testing.assert_array_equal(np.load(tmp_path / "a" / "b" / "crops.npy"), cells.crops)


def test_a_folder_can_be_written_over_with_what_is_read_from_it(tmp_path):
    cells = some_cells()
    write_cells(tmp_path, cells)
    back = read_cells(tmp_path)
    write_cells(tmp_path, back)
    same(cells, read_cells(tmp_path))
    other = some_cells(3, masks=False)
    write_cells(tmp_path, other)
    same(other, read_cells(tmp_path))
    assert not (tmp_path / "masks.npy").exists()


def test_a_failure_leaves_the_earlier_cells_and_nothing_else(tmp_path):
    cells = some_cells()
    write_cells(tmp_path, cells)
    before = sorted(path.name for path in tmp_path.iterdir())

    def blocks():
        yield cells.table.iloc[:2], cells.crops[:2], None
        raise DataError("the disk is on fire")

    with pytest.raises(DataError, match="on fire"):
        gather(
            blocks(),
            channels=CHANNELS,
            targets=["protein"],
            markers=["nucleus"],
            rejected=[],
            about={},
            folder=tmp_path,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    same(cells, read_cells(tmp_path))


@pytest.mark.parametrize("kind", [UsageError, KeyError])
def test_what_goes_wrong_in_a_block_is_what_is_said(tmp_path, kind):
    def blocks():
        raise kind("this")
        yield

    with pytest.raises(kind, match="this"):
        gather(
            blocks(),
            channels=CHANNELS,
            targets=["protein"],
            markers=["nucleus"],
            rejected=[],
            about={},
            folder=tmp_path,
        )
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"about": {"size": np.float32(1)}},
        {"about": {"mean": float("nan")}},
        {"table": some_cells().table.assign(plate=[1, "a", 2, 3, 4, 5, 6])},
    ],
)
def test_what_no_file_can_hold_is_refused(tmp_path, changes):
    good = some_cells()
    cells = Cells(**{name: getattr(good, name) for name in Cells.__dataclass_fields__} | changes)
    with pytest.raises(DataError, match="cannot write the table or the card of cells"):
        write_cells(tmp_path, cells)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_a_file_cannot_be_written(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(DataError, match="cannot make the folder"):
        write_cells(tmp_path / "a", some_cells())


def test_a_folder_without_its_card_is_not_there(tmp_path):
    write_cells(tmp_path, some_cells())
    (tmp_path / "cells.json").unlink()
    with pytest.raises(DataError, match=r"cannot read .*cells\.json"):
        read_cells(tmp_path)


def test_gathered_in_memory_and_in_a_folder_are_alike(tmp_path):
    cells = some_cells()
    rejected = []

    def blocks():
        for i in range(0, 7, 3):
            rejected.append((f"file {i}", "x", "it is broken"))
            yield cells.table.iloc[i : i + 3], cells.crops[i : i + 3], cells.masks[i : i + 3]

    options = {"channels": CHANNELS, "targets": ["protein"], "markers": ["tubules", "nucleus"]}
    about = dict(cells.about)
    here = gather(blocks(), **options, rejected=rejected, about=about)
    assert here.rejected["where"].tolist() == ["file 0", "file 3", "file 6"]
    rejected.clear()
    there = gather(blocks(), **options, rejected=rejected, about=about, folder=tmp_path)
    same(here, there)
    pd.testing.assert_frame_equal(here.table, cells.table)
    with pytest.raises(DataError, match="no cell can be used: 1 were refused, the first, a 'b'"):
        gather(iter(()), **options, rejected=[("a", "b", "c")], about={})


def test_planes_are_what_the_networks_read():
    cells = some_cells()
    rows = np.array([4, 0, 4])
    np.testing.assert_array_equal(cells.source(rows), cells.crops[[4, 0, 4]][:, [0, 2, 1]])
    np.testing.assert_array_equal(cells.marker(rows), cells.crops[[4, 0, 4]][:, [2, 1]])
    np.testing.assert_array_equal(cells.target(rows), cells.crops[[4, 0, 4]][:, [0]])
    assert (len(cells), cells.size) == (7, (6, 5))
    cells.target(rows)[:] = 5  # a copy: the cells are as they were
    assert cells.crops.max() < 1
    with pytest.raises(UsageError, match="no channel 'gfp'; there are protein, nucleus"):
        cells.planes(rows, ["gfp"])


def test_a_selection_is_a_copy_in_its_order():
    cells = some_cells()
    few = select(cells, np.array([5, 2]))
    assert few.table["id"].tolist() == ["c5", "c2"]
    np.testing.assert_array_equal(few.crops, cells.crops[[5, 2]])
    np.testing.assert_array_equal(few.masks, cells.masks[[5, 2]])


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("id", ["a", "b", "a"], "the id 'a' stands twice"),
        ("id", ["a", 2, "b"], "ids of a cell table must be texts"),
        ("group", ["a", None, "b"], "row 2 of a cell table has no group"),
        ("field", ["a", "b", ""], "row 3 of a cell table has no field"),
    ],
)
def test_a_table_that_cannot_be_used(column, values, words):
    cells = some_cells(3)
    with pytest.raises(DataError, match=words):
        Cells(
            table=cells.table.assign(**{column: values}),
            crops=cells.crops,
            channels=CHANNELS,
            targets=("protein",),
            markers=("nucleus",),
        )


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"targets": ()}, UsageError, "0 targets and 2 markers"),
        ({"markers": ()}, UsageError, "1 targets and 0 markers"),
        ({"markers": ("protein",)}, UsageError, "name one channel twice"),
        ({"channels": ("protein", "nucleus", "tubules", "tubules")}, UsageError, "twice"),
        ({"targets": ("gfp",)}, UsageError, "no channel 'gfp'"),
        ({"channels": ("protein", "nucleus", "tubules")}, DataError, "4 channels and 3 names"),
        ({"table": some_cells(2).table}, DataError, "2 rows of a table and 3 crops"),
        ({"table": some_cells(3).table.drop(columns="field")}, DataError, "a column 'field'"),
        ({"masks": np.ones((3, 5, 6), bool)}, DataError, "do not fit"),
    ],
)
def test_cells_that_do_not_fit_together(changes, kind, words):
    cells = some_cells(3)
    good = {name: getattr(cells, name) for name in Cells.__dataclass_fields__}
    with pytest.raises(kind, match=words):
        Cells(**good | changes)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: rewrite(folder, format=2), "has the format 2"),
        (lambda folder: rewrite(folder, shape=[7, 4, 6, 6]), "of shape \\(7, 4, 6, 6\\)"),
        (lambda folder: rewrite(folder, shape=[7, 4]), "they are \\(n, c, h, w\\)"),
        (lambda folder: rewrite(folder, targets=None), "is not what a folder of cells has"),
        (lambda folder: (folder / "crops.npy").write_bytes(b"no"), "cannot read .*crops.npy"),
        (lambda folder: (folder / "masks.npy").unlink(), "cannot read .*masks.npy"),
        (lambda folder: (folder / "cells.parquet").write_bytes(b"no"), "cannot read the tables"),
        (
            lambda folder: np.save(folder / "crops.npy", np.array([{}]), allow_pickle=True),
            "cannot read .*crops.npy",
        ),
        (
            lambda folder: (folder / "crops.npy").write_bytes(
                (folder / "crops.npy").read_bytes()[:-9]
            ),
            "cannot read .*crops.npy",
        ),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path, harm, words):
    write_cells(tmp_path, some_cells())
    harm(tmp_path)
    with pytest.raises(DataError, match=words):
        read_cells(tmp_path)
