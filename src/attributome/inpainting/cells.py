"""Crops of single cells with a table beside them, in memory or in a folder.

A folder holds `crops.npy` (float32, read as a memory map), `cells.parquet`, `rejected.parquet`,
`masks.npy` where the cells have masks, and `cells.json`, which is written last: a folder that has
it is whole.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Integer

from attributome.core.errors import DataError, UsageError
from attributome.core.files import make_folder, read_json, write_json

CARD, CROPS, MASKS, TABLE, REJECTED = (
    "cells.json",
    "crops.npy",
    "masks.npy",
    "cells.parquet",
    "rejected.parquet",
)
FORMAT = 1
COLUMNS = ("id", "group", "field")
BLOCK = 2**26
"""Bytes of crops that are written at a time."""

Crops = Float32[np.ndarray, "n c h w"]
Masks = Bool[np.ndarray, "m i j"]
NAMES = ("channels", "targets", "markers")
Refused = tuple[str, str, str]
"""Where, what came, and why it cannot be used."""

Block = tuple[pd.DataFrame, Crops, Masks | None]
"""Rows of a cell table, with their crops and perhaps their masks."""


def nothing_rejected() -> pd.DataFrame:
    """A table of refused rows, empty."""
    return pd.DataFrame({name: pd.Series(dtype=object) for name in ("where", "value", "reason")})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """Crops `(n, c, h, w)` of cells, and one row of `table` for each.

    `table` has `id` (each once), `group` (pairs are drawn within it), `field` (of view; the unit of
    statistics) and any other column. `channels` names the second axis of `crops`; `targets` are
    the proteins to predict, `markers` the structure that is known of both cells. `masks` are
    the pixels of the own cell. `rejected` lists what could not be used: `where`, `value`, `reason`.
    `about` holds plain values for `cells.json`: where the cells come from, how they were prepared.
    """

    table: pd.DataFrame
    crops: Crops
    channels: tuple[str, ...]
    targets: tuple[str, ...]
    markers: tuple[str, ...]
    masks: Masks | None = None
    rejected: pd.DataFrame = field(default_factory=nothing_rejected)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_channels(self.channels, self.targets, self.markers)
        check_table(self.table)
        if len(self.table) != len(self.crops):
            raise DataError(f"{len(self.table)} rows of a table and {len(self.crops)} crops")
        if self.crops.shape[1] != len(self.channels):
            raise DataError(
                f"crops of shape {self.crops.shape} have {self.crops.shape[1]} channels and "
                f"{len(self.channels)} names: {', '.join(self.channels)}"
            )
        masked = None if self.masks is None else self.masks.shape
        if masked not in (None, (len(self.crops), *self.size)):
            raise DataError(f"masks of shape {masked} do not fit crops of {self.crops.shape}")

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a crop."""
        return self.crops.shape[2], self.crops.shape[3]

    def source(self, rows: Integer[np.ndarray, " n"]) -> Crops:
        """What a network sees of the source cells: their proteins first, then their markers."""
        return self.planes(rows, (*self.targets, *self.markers))

    def marker(self, rows: Integer[np.ndarray, " n"]) -> Crops:
        """What a network sees of the target cells."""
        return self.planes(rows, self.markers)

    def target(self, rows: Integer[np.ndarray, " n"]) -> Crops:
        """What a network has to predict."""
        return self.planes(rows, self.targets)

    def planes(self, rows: Integer[np.ndarray, " n"], channels: Sequence[str]) -> Crops:
        """A copy of some channels of some cells; only those rows are read."""
        lost = [name for name in channels if name not in self.channels]
        if lost:
            raise UsageError(f"no channel {lost[0]!r}; there are {', '.join(self.channels)}")
        places = np.array([self.channels.index(name) for name in channels])
        return np.asarray(self.crops[rows[:, None], places])


def check_channels(channels: Sequence[str], targets: Sequence[str], markers: Sequence[str]) -> None:
    """Refuse names that cannot be meant."""
    for name in (*targets, *markers):
        if name not in channels:
            raise UsageError(f"no channel {name!r}; there are {', '.join(channels)}")
    used = (*targets, *markers)
    for names, what in ((channels, "channels"), (used, "targets and markers")):
        if len(set(names)) < len(names):
            raise UsageError(f"the {what} {', '.join(names)} name one channel twice")
    if not targets or not markers:
        raise UsageError(
            f"{len(targets)} targets and {len(markers)} markers; at least one of each is needed"
        )


def check_table(table: pd.DataFrame) -> None:
    """Refuse a cell table that lacks a column, or says nothing where it must say something."""
    if lost := [name for name in COLUMNS if name not in table]:
        raise DataError(
            f"a cell table needs a column {lost[0]!r}; it has {', '.join(map(str, table.columns))}"
        )
    if not len(table):
        raise DataError("a cell table has no rows")
    for name in COLUMNS:
        wrong = table[name].isna() | (table[name] == "")
        if wrong.any():
            raise DataError(f"row {int(wrong.argmax()) + 1} of a cell table has no {name}")
    if not all(isinstance(value, str) for value in table["id"]):
        raise DataError("the ids of a cell table must be texts")
    if table["id"].duplicated().any():
        twice = table["id"][table["id"].duplicated()].iloc[0]
        raise DataError(f"the id {twice!r} stands twice in a cell table; each cell has its own")


def select(cells: Cells, rows: Integer[np.ndarray, " n"]) -> Cells:
    """A copy of some cells in memory, in the order of `rows`."""
    return Cells(
        table=cells.table.iloc[rows].reset_index(drop=True),
        crops=np.array(cells.crops[rows]),
        channels=cells.channels,
        targets=cells.targets,
        markers=cells.markers,
        masks=None if cells.masks is None else np.array(cells.masks[rows]),
        rejected=cells.rejected,
        about=cells.about,
    )


def per_block(*shape: int) -> int:
    """How many cells of this shape `(c, h, w)` are read and written at a time; at least one."""
    return max(1, BLOCK // (4 * max(1, math.prod(shape))))


def blocks_of(cells: Cells) -> Iterable[Block]:
    """The cells in blocks of `BLOCK` bytes or one cell."""
    step = per_block(*cells.crops.shape[1:])
    for start in range(0, len(cells), step):
        some = slice(start, start + step)
        masks = None if cells.masks is None else np.asarray(cells.masks[some])
        yield cells.table.iloc[some], np.asarray(cells.crops[some]), masks


def gather(
    blocks: Iterable[Block],
    *,
    channels: Sequence[str],
    targets: Sequence[str],
    markers: Sequence[str],
    rejected: list[Refused],
    about: dict[str, Any],
    folder: Path | None = None,
) -> Cells:
    """Cells out of blocks, in memory or, with a `folder`, written there and memory-mapped.

    `rejected` and `about` may grow while the blocks are made; they are looked at afterwards.
    """
    check_channels(channels, targets, markers)
    if folder is not None:
        names = {"channels": [*channels], "targets": [*targets], "markers": [*markers]}
        _write(folder, blocks, names, rejected=rejected, about=about)
        return read_cells(folder)
    tables, crops, masks = [], [], []
    for table, some, theirs in blocks:
        tables.append(table)
        crops.append(some)
        masks.append(theirs)
    if not tables:
        raise DataError(_none(rejected))
    return Cells(
        table=pd.concat(tables, ignore_index=True),
        crops=np.concatenate(crops),
        channels=tuple(channels),
        targets=tuple(targets),
        markers=tuple(markers),
        masks=_joined(masks),
        rejected=_listed(rejected),
        about=about,
    )


def write_cells(folder: Path, cells: Cells) -> None:
    """Write cells block by block; the folder's earlier cells stay until all of it is written."""
    rejected = [(str(a), str(b), str(c)) for a, b, c in cells.rejected.to_numpy()]
    names = {key: [*getattr(cells, key)] for key in NAMES}
    _write(folder, blocks_of(cells), names, rejected=rejected, about=cells.about)


def read_cells(folder: Path) -> Cells:
    """The cells of a folder; crops and masks are memory maps, read when they are asked for."""
    card = read_json(folder / CARD)
    if card.get("format") != FORMAT:
        raise DataError(f"{folder / CARD} has the format {card.get('format')!r}, not {FORMAT}")
    try:
        shape = tuple(map(int, card["shape"]))
        names = [tuple(map(str, card[key])) for key in NAMES]
        about, masked = dict(card["about"]), bool(card["masks"])
        table, rejected = (pd.read_parquet(folder / name) for name in (TABLE, REJECTED))
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / CARD} is not what a folder of cells has: {error!r}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the tables of {folder}: {error}") from error
    if len(shape) != 4:
        raise DataError(f"{folder / CARD} has crops of shape {shape}; they are (n, c, h, w)")
    n, _, height, width = shape
    return Cells(
        table=table,
        crops=_mapped(folder / CROPS, shape, np.float32),
        channels=names[0],
        targets=names[1],
        markers=names[2],
        masks=_mapped(folder / MASKS, (n, height, width), np.bool_) if masked else None,
        rejected=rejected,
        about=about,
    )


def _mapped(path: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if array.shape != shape or array.dtype != dtype:
        raise DataError(
            f"{path} holds {array.dtype} of shape {array.shape}; {CARD} beside it says "
            f"{np.dtype(dtype)} of shape {shape}"
        )
    return array


def _write(
    folder: Path,
    blocks: Iterable[Block],
    names: Mapping[str, list[str]],
    *,
    rejected: Sequence[Refused],
    about: Mapping[str, Any],
) -> None:
    """Fill a hidden folder inside `folder`, then move its files into place, the card last."""
    make_folder(folder)
    try:
        home = Path(tempfile.mkdtemp(dir=folder, prefix=".cells-"))
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        table, shape, masked = _write_arrays(home, blocks, rejected)
        try:
            table.to_parquet(home / TABLE, index=False)
            _listed(rejected).to_parquet(home / REJECTED, index=False)
            said = {"shape": shape, **names, "masks": masked, "about": {**about}}
            write_json(home / CARD, {"format": FORMAT, **said})
        except (TypeError, ValueError) as error:  # pyarrow derives its errors from these
            raise DataError(f"cannot write the table or the card of cells: {error}") from error
        (folder / CARD).unlink(missing_ok=True)
        if not masked:
            (folder / MASKS).unlink(missing_ok=True)
        for name in (CROPS, *([MASKS] if masked else []), TABLE, REJECTED, CARD):
            (home / name).replace(folder / name)
    except OSError as error:
        raise DataError(f"cannot write the cells {folder}: {error}") from error
    finally:
        shutil.rmtree(home)


def _write_arrays(
    home: Path, blocks: Iterable[Block], rejected: Sequence[Refused]
) -> tuple[pd.DataFrame, list[int], bool]:
    """Write crops and masks as they come; the whole table, the shape of the crops, and if masked.

    The header of an array has room for the number of rows, which is known only at the end.
    """
    tables: list[pd.DataFrame] = []
    kind: tuple[tuple[int, ...], bool] | None = None
    with (home / CROPS).open("wb") as crops, (home / MASKS).open("wb") as masks:
        for table, some, theirs in blocks:
            new = (some.shape[1:], theirs is not None)
            if kind is None:
                _headers(crops, masks, 0, some.shape[1:])
            elif kind != new:
                raise DataError(f"blocks of cells differ: {kind} and then {new} (shape, masks)")
            kind = new
            tables.append(table)
            np.ascontiguousarray(some, np.float32).tofile(crops)
            if theirs is not None:
                np.ascontiguousarray(theirs, np.bool_).tofile(masks)
        if kind is None:
            raise DataError(_none(rejected))
        joined = pd.concat(tables, ignore_index=True)
        check_table(joined)
        _headers(crops, masks, len(joined), kind[0])
        for file in (crops, masks):
            file.flush()
            os.fsync(file.fileno())
    return joined, [len(joined), *kind[0]], kind[1]


def _headers(crops: BinaryIO, masks: BinaryIO, count: int, shape: tuple[int, ...]) -> None:
    _header(crops, (count, *shape), np.float32)
    _header(masks, (count, *shape[1:]), np.bool_)


def _header(file: BinaryIO, shape: tuple[int, ...], dtype: type) -> None:
    file.seek(0)
    said = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, said)


def _joined(masks: Sequence[np.ndarray | None]) -> np.ndarray | None:
    kept = [some for some in masks if some is not None]
    if len(kept) not in (0, len(masks)):
        raise DataError("some blocks of cells have masks and others have none")
    return np.concatenate(kept) if kept else None


def _listed(rejected: Sequence[Refused]) -> pd.DataFrame:
    if not rejected:
        return nothing_rejected()
    return pd.DataFrame(rejected, columns=["where", "value", "reason"], dtype=object)


def _none(rejected: Sequence[Refused]) -> str:
    if not rejected:
        return "there are no cells to keep"
    where, value, reason = rejected[0]
    return (
        f"no cell can be used: {len(rejected)} were refused, the first, {where} "
        f"{value!r}, because {reason}"
    )
