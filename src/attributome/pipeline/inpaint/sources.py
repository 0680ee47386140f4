"""What a source of cells is, which files it consists of, and how its kind is read by default."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest
from attributome.data.tables import read_table
from attributome.inpainting.cells import CARD, CROPS, MASKS, TABLE
from attributome.inpainting.layout import HUMAN, NAMES, YEAST
from attributome.pipeline.inpaint.job import CellData

HDF5 = (".h5", ".hdf5")
TABLES = (".csv", ".tsv", ".parquet")
LABELS = ("regions", "labels")
"""Columns that make a table one of fields: each names an image of labels."""

WHOLE = 2**26
"""Bytes up to which a file is read whole to be recognised; of larger ones both ends are."""

ENDS = 2**20
RECIPE = {"hpa": "human"}
"""Recipes of kinds that do not take the yeast's, whose min-max suits crops of any origin."""


def kind_of(data: CellData) -> str:
    """What the source is: what the job says, or what the files look like."""
    path = Path(data.source)
    if data.kind != "auto":
        return data.kind
    if path.is_dir():
        if (path / CARD).is_file():
            return "cells"
        return "chong" if hdf5_of(path) else "layout"
    if not path.is_file():
        raise DataError(f"there is no {path}: name a folder of crops or cells, or a table")
    end = path.suffix.lower()
    if end in HDF5:
        return "chong"
    if end in (".txt", ".tsv") and "Gene name" in _first_line(path):
        return "hpa"
    if end not in TABLES:
        raise UsageError(
            f"{path} is no source of cells: give a folder, a table ({', '.join(TABLES)}), or HDF5; "
            f"or say --kind"
        )
    sought = data.nuclei.channel or data.yeast.channel
    fields = end != ".tsv" and (sought or {*LABELS} & {*read_table(path).columns})
    return "fields" if fields else "manifest"


def recipe_of(data: CellData) -> str:
    """The recipe that scales the crops."""
    if data.recipe != "auto":
        return data.recipe
    kind = kind_of(data)
    if kind == "layout" and {*channels_of(data)} == {*HUMAN}:
        return "human"
    return RECIPE.get(kind, "yeast")


def channels_of(data: CellData) -> Mapping[str, str]:
    """The channels of the job; of a layout without any, those of the published set it looks like.

    Raises `UsageError` where they cannot be guessed.
    """
    if data.channels or kind_of(data) != "layout":
        return data.channels
    ends: set[str] = set()
    for home in sorted(path for path in Path(data.source).iterdir() if path.is_dir()):
        ends |= {path.stem.rpartition("_")[2] for path in home.iterdir() if "_" in path.stem}
        for known in (YEAST, HUMAN):
            if {*known} <= ends:
                return known
    seen = ", ".join(f"_{end}" for end in sorted(ends)[:5]) or "nothing"
    raise UsageError(
        f"the files of {data.source} end in {seen}, and which channel is which is not said: give "
        f"--channel NAME=END for each, the protein first"
    )


def names_of(root: Path, channels: Mapping[str, str]) -> str | None:
    """The published way of naming cells that the first folder follows; None: neither."""
    home = next((path for path in sorted(root.iterdir()) if path.is_dir()), root)
    cells = [
        file.stem.removesuffix(f"_{end}")
        for file in home.iterdir()
        for end in channels
        if file.stem.endswith(f"_{end}")
    ]
    for known, pattern in NAMES.items():
        if cells and all(re.fullmatch(pattern, cell) for cell in cells):
            return known
    return None


def targets_of(data: CellData, names: Iterable[str]) -> tuple[str, ...]:
    """The channels to predict: those that the job names, or the first."""
    return data.targets or tuple(names)[:1]


def hdf5_of(path: Path) -> list[Path]:
    """The HDF5 files of a folder, or the one that is named."""
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix.lower() in HDF5)
    return [path]


def source_mark(data: CellData) -> str:
    """SHA-256 that tells one source from another: names, sizes, and what the files hold.

    Of a layout names and sizes are looked at alone, and of a file of more than 64 MiB both ends.
    """
    path = Path(data.source)
    kind = kind_of(data)
    total = hashlib.sha256(kind.encode())
    for file in sorted(_files(path, kind)):
        name = file.relative_to(path) if path.is_dir() else file.name
        total.update(f"{name}\0{file.stat().st_size}\0".encode())
        if kind != "layout":
            total.update(digest(file).encode() if file.stat().st_size <= WHOLE else _ends(file))
    return total.hexdigest()


def array_mark(path: Path) -> str:
    """SHA-256 of a folder of cells, every byte of it."""
    names = [name for name in (TABLE, CROPS, MASKS) if (path / name).is_file()]
    return digest(*(path / name for name in names))


def _files(path: Path, kind: str) -> Iterator[Path]:
    if kind == "cells":
        if not (path / CARD).is_file():
            raise DataError(f"{path} has no {CARD}: it is no folder of cells")
        yield from (path / name for name in (CARD, TABLE, CROPS) if (path / name).is_file())
    elif kind == "layout":
        if not path.is_dir():
            raise DataError(f"{path} is no folder: name the one whose folders hold the crops")
        for home in path.iterdir():
            if home.is_dir():
                yield from (file for file in home.iterdir() if file.is_file())
    elif kind == "chong":
        if not (found := [file for file in hdf5_of(path) if file.is_file()]):
            raise DataError(f"{path} is no HDF5 file, and no folder of some")
        yield from found
    elif not path.is_file():
        raise DataError(f"there is no file {path}")
    else:
        yield path


def _ends(path: Path) -> bytes:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(ENDS)
        file.seek(max(0, size - ENDS))
        return head + file.read(ENDS)


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(2**16)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
