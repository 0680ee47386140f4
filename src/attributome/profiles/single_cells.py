"""Crops of single cells on disk: one part per field of view, read back as one long array.

A part is what a run writes for one field (or `write_part`, where there is no run):

    images.npy      (n, c, *s) in the image's own dtype
    labels.npy      (n, *s) int32: the labels of all cells in the crop, 0 where no cell is
    cells.parquet   a row per crop: id, field, label (of the cell in the middle), where it was, …
    note.json       written last: channels, spacing, box, what was dropped

A field without cells has a part as well, so that it is known to be done.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int32, Int64, Integer, Shaped

from attributome.core.cropping import Border, Boxes, corrected, cut_boxes
from attributome.core.errors import DataError, UsageError
from attributome.core.files import read_json, write_json, write_whole

FORMAT = 1
OPEN = 16
"""Files of arrays that are mapped at a time, however many parts there are."""

Source = Callable[[str, int], np.ndarray]
"""The array "images" or "labels" of a part, by its number."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """The crops of one field, as `Run.write(stage, field, arrays=, tables=, note=)` takes them."""

    arrays: Mapping[str, np.ndarray]
    tables: Mapping[str, pd.DataFrame]
    note: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SingleCells:
    """Crops `(n, c, *s)` of single cells, in memory or in parts on disk, with a row for each.

    `table` has `id` (each once), `field` and any other column; `spacing` is in micrometres along
    each axis of space. Row i of the table is crop i. Make one with `from_arrays` or
    `open_single_cells`; `places` (part, row in it) and `source` are theirs.
    """

    table: pd.DataFrame
    channels: tuple[str, ...]
    spacing: tuple[float, ...] | None
    size: tuple[int, ...]
    owns: Int32[np.ndarray, " n"]
    places: Int64[np.ndarray, "n 2"]
    source: Source

    def __post_init__(self) -> None:
        _check_table(self.table, len(self.owns))
        if len(set(self.channels)) < len(self.channels):
            raise UsageError(f"the channels {', '.join(self.channels)} name one twice")
        if self.spacing is not None and (
            len(self.spacing) != len(self.size) or not all(step > 0 for step in self.spacing)
        ):
            raise DataError(f"a spacing of {self.spacing} does not fit crops of {self.size}")
        if len(self.owns) and self.owns.min() < 1:
            raise DataError(
                f"crop {int(self.owns.argmin())} has the own label {self.owns.min()}; 0 is where "
                f"no cell is"
            )

    def __len__(self) -> int:
        return len(self.owns)

    def images(self, rows: Integer[np.ndarray, " b"]) -> Float32[np.ndarray, "b c *s"]:
        """The crops of some rows, in their order, as float32; only those are read."""
        out = np.empty((len(rows), len(self.channels), *self.size), np.float32)
        self._read("images", rows, out)
        return out

    def labels(self, rows: Integer[np.ndarray, " b"]) -> Int32[np.ndarray, "b *s"]:
        """The labels of all cells in the crops of some rows; 0 where no cell is."""
        out = np.empty((len(rows), *self.size), np.int32)
        self._read("labels", rows, out)
        return out

    def own(self, rows: Integer[np.ndarray, " b"]) -> Int32[np.ndarray, " b"]:
        """Which label is the cell that the crop is centred on."""
        return np.asarray(self.owns[self._checked(rows)])

    def _read(self, name: str, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill `out`, part by part, so that each file is opened once."""
        places = self.places[self._checked(rows)]
        order = np.lexsort((places[:, 1], places[:, 0]))
        breaks = np.flatnonzero(np.diff(places[order, 0])) + 1
        for some in np.split(order, breaks) if len(rows) else []:
            out[some] = self.source(name, int(places[some[0], 0]))[places[some, 1]]

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        wrong = rows[(rows < 0) | (rows >= len(self))]
        if len(wrong):
            raise UsageError(f"there is no row {wrong[0]} among {len(self)} crops, from 0 on")
        return rows


def from_arrays(
    table: pd.DataFrame,
    images: Shaped[np.ndarray, "n c *s"],
    labels: Integer[np.ndarray, "m *t"],
    own: Integer[np.ndarray, " k"],
    channels: Sequence[str],
    spacing: Sequence[float] | None = None,
) -> SingleCells:
    """Crops that are in memory (or in maps of the caller's)."""
    if not len(table) == len(images) == len(labels) == len(own):
        raise DataError(
            f"{len(table)} rows of a table, {len(images)} crops, {len(labels)} label images and "
            f"{len(own)} own labels do not belong together"
        )
    if labels.shape[1:] != images.shape[2:] or images.shape[1] != len(channels):
        raise DataError(
            f"crops of shape {images.shape}, labels of {labels.shape} and {len(channels)} "
            f"channels do not belong together"
        )
    for whole in (labels, own):
        if not np.can_cast(whole.dtype, np.int32) and whole.max(initial=0) > np.iinfo(np.int32).max:
            raise DataError(f"the label {whole.max()} does not fit 32 bits; number the cells anew")
    arrays = {"images": images, "labels": labels}
    places = np.stack([np.zeros(len(own), np.int64), np.arange(len(own))], 1)
    return SingleCells(
        table=table.reset_index(drop=True),
        channels=tuple(channels),
        spacing=None if spacing is None else tuple(map(float, spacing)),
        size=tuple(images.shape[2:]),
        owns=own.astype(np.int32),
        places=places,
        source=lambda name, _part: arrays[name],
    )


def select(cells: SingleCells, rows: Integer[np.ndarray, " b"]) -> SingleCells:
    """Some cells, each once, in the order of `rows`; nothing is read or copied but the table."""
    own = cells.own(rows)
    return SingleCells(
        table=cells.table.iloc[rows].reset_index(drop=True),
        channels=cells.channels,
        spacing=cells.spacing,
        size=cells.size,
        owns=own,
        places=cells.places[rows],
        source=cells.source,
    )


def crop_field(
    image: Shaped[np.ndarray, "c *s"],
    labels: Integer[np.ndarray, "*t"],
    *,
    field: str,
    channels: Sequence[str],
    size: tuple[int, ...],
    border: Border = "drop",
    spacing: Sequence[float] | None = None,
    illumination: Shaped[np.ndarray, "k *u"] | None = None,
    meta: Mapping[str, str | float | int] | None = None,
) -> Part:
    """The crops of one field: `illumination` divided out where it is given, then `cut_boxes`.

    The table has `id` (`<field>_<label>`), `field`, the columns of `meta` (well, plate,
    treatment …), `label`, the centroid (`z`,) `y` and `x` in voxels, `area` in pixels or `volume`
    in voxels, `inside`, `at_edge` and `neighbours` (as `3 17`; see `Boxes`). `size` is in voxels,
    which `core.cropping.box` gives from micrometres.
    """
    if not field:
        raise UsageError("a field has no name; its cells are called after it")
    if len(channels) != len(image):
        raise DataError(
            f"the field {field!r} has {len(image)} channels and not {len(channels)}: "
            f"{', '.join(channels)}"
        )
    try:
        even = image if illumination is None else corrected(image, illumination)
        boxes = cut_boxes(even, labels, size=size, border=border)
    except DataError as error:
        raise DataError(f"the field {field!r} cannot be cut: {error}") from error
    return Part(
        arrays={"images": boxes.crops, "labels": boxes.labels},
        tables={"cells": _rows(boxes, field, meta or {})},
        note={
            "format": FORMAT,
            "field": field,
            "cells": len(boxes),
            "shape": [len(boxes), len(image), *size],
            "channels": [*channels],
            "spacing": None if spacing is None else [*map(float, spacing)],
            "border": border,
            "corrected": illumination is not None,
            "dropped": boxes.dropped.tolist(),
        },
    )


def write_part(folder: Path, part: Part) -> None:
    """Write one part where there is no run; its note is written last, and a part counts by it."""
    (folder / "note.json").unlink(missing_ok=True)
    for name, array in part.arrays.items():
        write_whole(folder / f"{name}.npy", partial(np.save, arr=array, allow_pickle=False))
    for name, table in part.tables.items():
        write_whole(folder / f"{name}.parquet", partial(table.to_parquet, index=False))
    write_json(folder / "note.json", {"unit": part.note["field"], **part.note})


def open_single_cells(
    folders: Sequence[Path], *, columns: Sequence[str] | None = None
) -> SingleCells:
    """The cells of many parts, one after the other in the order of `folders`.

    The table is read whole (or some `columns` of it beside id, field and label); of the crops only
    what is asked for, through at most `OPEN` memory maps. Parts must agree in channels, spacing
    and box; parts without cells are passed over.
    """
    if not folders:
        raise UsageError("no parts with crops were named")
    notes = [_note(folder) for folder in folders]
    first = notes[0]
    for folder, note in zip(folders, notes, strict=True):
        for key in ("channels", "spacing"):
            if note[key] != first[key]:
                raise DataError(f"{folder} has the {key} {note[key]}, and not {first[key]}")
        if note["shape"][1:] != first["shape"][1:]:
            raise DataError(
                f"{folder} has crops of {note['shape'][1:]}, and not of {first['shape'][1:]}"
            )
    full = [(f, n["shape"]) for f, n in zip(folders, notes, strict=True) if n["shape"][0]]
    if not full:
        raise DataError(f"none of {len(folders)} parts has a cell; the first is {folders[0]}")
    wanted = None if columns is None else [*dict.fromkeys(["id", "field", "label", *columns])]
    tables = [_table(folder, shape[0], wanted) for folder, shape in full]
    table = pd.concat(tables, ignore_index=True)
    counts = np.array([shape[0] for _, shape in full])
    places = np.stack(
        [np.repeat(np.arange(len(full)), counts), np.concatenate([*map(np.arange, counts)])], 1
    ).astype(np.int64)
    return SingleCells(
        table=table,
        channels=tuple(map(str, first["channels"])),
        spacing=None if first["spacing"] is None else tuple(map(float, first["spacing"])),
        size=tuple(map(int, first["shape"][2:])),
        owns=table["label"].to_numpy(np.int32),
        places=places,
        source=_maps([folder for folder, _ in full], [shape for _, shape in full]),
    )


def _rows(boxes: Boxes, field: str, meta: Mapping[str, str | float | int]) -> pd.DataFrame:
    axes = "zyx"[-boxes.centres.shape[1] :]
    found: dict[str, Any] = {
        "label": boxes.own,
        **{axis: boxes.centres[:, i] for i, axis in enumerate(axes)},
        "area" if axes == "yx" else "volume": boxes.volumes,
        "inside": boxes.inside,
        "at_edge": boxes.at_edge,
        "neighbours": pd.Series(
            [" ".join(map(str, others)) for others in boxes.neighbours()], dtype=object
        ),
    }
    taken = {"id", "field", *found}.intersection(meta)
    if taken:
        raise UsageError(f"the field {field!r} has a meta {min(taken)!r}, which is a column")
    ids = pd.Series([f"{field}_{label}" for label in boxes.own], dtype=object)
    return pd.DataFrame({"id": ids}).assign(field=field, **dict(meta), **found)


def _note(folder: Path) -> dict[str, Any]:
    note = read_json(folder / "note.json")
    shape = note.get("shape")
    known = {"format", "field", "shape", "channels", "spacing"} <= set(note)
    if not known or note["format"] != FORMAT or not isinstance(shape, list) or len(shape) < 4:
        raise DataError(f"{folder} is not a part with crops of cells of the format {FORMAT}")
    return note


def _table(folder: Path, count: int, columns: list[str] | None) -> pd.DataFrame:
    path = folder / "cells.parquet"
    try:
        table = pd.read_parquet(path, columns=columns)
    except (OSError, ValueError) as error:  # pyarrow derives its errors from these
        raise DataError(f"cannot read {path}: {error}") from error
    if len(table) != count or "label" not in table:
        raise DataError(f"{path} has {len(table)} rows for {count} crops, or no column 'label'")
    return table


def _maps(folders: Sequence[Path], shapes: Sequence[Sequence[int]]) -> Source:
    """Arrays of parts as memory maps, of which the last few that were used stay open."""

    @lru_cache(maxsize=OPEN)
    def mapped(name: str, part: int) -> np.ndarray:
        path, shape = folders[part] / f"{name}.npy", shapes[part]
        try:
            array = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"cannot read {path}: {error}") from error
        wanted = tuple(shape) if name == "images" else (shape[0], *shape[2:])
        if array.shape != wanted or (name == "labels" and array.dtype != np.int32):
            raise DataError(f"{path} holds {array.dtype} of {array.shape}, not of {wanted}")
        return array

    return mapped


def _check_table(table: pd.DataFrame, count: int) -> None:
    if len(table) != count:
        raise DataError(f"{len(table)} rows of a table and {count} crops")
    for name in ("id", "field"):
        if name not in table:
            has = ", ".join(map(str, table.columns))
            raise DataError(f"a table of single cells needs a column {name!r}; it has {has}")
        if table[name].isna().any():
            raise DataError(f"row {int(table[name].isna().argmax())} of the table has no {name}")
    if table["id"].duplicated().any():
        twice = table["id"][table["id"].duplicated()].iloc[0]
        raise DataError(f"the cell {twice!r} stands twice in the table; each has its own id")
