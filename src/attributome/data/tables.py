"""Where the images of a data set are: folders, patterns and tables, into rows."""

import glob
import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from attributome.core.errors import DataError
from attributome.data.images import FORMATS
from attributome.data.omezarr import is_zarr

IMAGE_COLUMNS = ("image", "file", "path_tiff")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)|-?\d*\.\d+([eE][+-]?\d+)?|-?\d+\.?[eE]-\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Where one sample is. `images` are (channel name or None, file); `meta` has its `file` too."""

    id: str
    images: tuple[tuple[str | None, Path], ...]
    target: Path | float | None = None
    regions: Path | None = None
    meta: Mapping[str, str | float | int]

    @property
    def source(self) -> str:
        """The file to name in a message."""
        return ", ".join(str(path) for _, path in self.images)

    def cells(self) -> dict[str, object]:
        """The row as a table shows it."""
        files = {f"image_{n}" if n else "image": str(path) for n, path in self.images}
        target = str(self.target) if isinstance(self.target, Path) else self.target
        known = {"target": target, "regions": self.regions and str(self.regions)}
        shown = {name: value for name, value in known.items() if value is not None}
        return {"id": self.id, **files, **shown, **self.meta}


def find_rows(source: str | Path, *, root: Path | None = None) -> list[Row]:
    """Rows of a folder, a pattern, one image, or a table; at least one, and every id once."""
    path = Path(source)
    if path.suffix.lower() in (".csv", ".parquet"):
        rows = _table_rows(path, root)
    elif path.is_dir() and not is_zarr(path):
        rows = _file_rows([p for p in sorted(path.iterdir()) if is_image(p)], path)
    elif path.exists():
        rows = _file_rows([path], path.parent)
    elif glob.has_magic(str(source)):
        home = Path(*path.parts[: next(i for i, p in enumerate(path.parts) if glob.has_magic(p))])
        found = sorted(map(Path, glob.glob(str(source), recursive=True)))
        rows = _file_rows([p for p in found if is_image(p)], home)
    else:
        raise DataError(f"{source} does not exist: name a folder, a pattern, a table or an image")
    if not rows:
        raise DataError(f"no images found in {source}: the formats are {', '.join(FORMATS)}")
    _check_ids(rows, source)
    return rows


def is_image(path: Path) -> bool:
    """Whether a name is that of an image that can be read here."""
    if path.name.startswith("."):
        return False
    return is_zarr(path) or (path.is_file() and path.suffix.lower() in FORMATS)


def bare_name(path: Path) -> str:
    """A path without its image suffix: `a/b.ome.tif` is `a/b`."""
    return re.sub(r"(\.ome)?\.(tiff?|png|npy|zarr)$", "", path.as_posix(), flags=re.IGNORECASE)


def _file_rows(paths: list[Path], home: Path) -> list[Row]:
    return [
        Row(
            id=bare_name(path.relative_to(home)),
            images=((None, path),),
            meta={"file": path.relative_to(home).as_posix()},
        )
        for path in paths
    ]


def _check_ids(rows: list[Row], source: str | Path) -> None:
    name, count = Counter(row.id for row in rows).most_common(1)[0]
    if count > 1:
        places = [i + 1 for i, row in enumerate(rows) if row.id == name]
        raise DataError(
            f"{source} has the id {name!r} {count} times (rows {', '.join(map(str, places[:5]))}): "
            f"give each sample its own, in a column `id`"
        )


def read_table(path: Path) -> pd.DataFrame:
    """A CSV or Parquet table. In a CSV only an empty cell is missing, and `007` stays a text."""
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
            # pandas names an index that was written without a name
            table = table.drop(columns=[c for c in table if str(c).startswith("Unnamed: ")])
    except (OSError, ValueError) as error:  # pandas and pyarrow derive theirs from ValueError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(f"cannot read the table {path}: {reason}") from error
    return table.rename(columns=str)


def _table_rows(path: Path, root: Path | None) -> list[Row]:
    table = read_table(path)
    names = [str(name) for name in table.columns]
    single = [name for name in IMAGE_COLUMNS if name in names]
    parts = [name for name in names if name.startswith("image_")]
    if len(single) + bool(parts) != 1:
        raise DataError(
            f"{path} needs one column `image` (or `{'`, `'.join(IMAGE_COLUMNS[1:])}`), or columns "
            f"`image_<channel>`; it has {', '.join(names) or 'no columns'}"
        )
    columns = dict.fromkeys(single) or {name: name.removeprefix("image_") for name in parts}
    records = table.astype(object).where(table.notna(), None).to_dict("records")
    rows = [
        _row({str(k): v for k, v in cells.items() if v is not None}, columns, path, number, root)
        for number, cells in enumerate(records, start=1)
    ]
    if len({type(row.target) for row in rows}) > 1:
        raise DataError(
            f"the column 'target' of {path} mixes files, numbers and empty cells: every row needs "
            f"the same kind"
        )
    return rows


def _row(
    cells: Mapping[str, object],
    columns: Mapping[str, str | None],
    table: Path,
    number: int,
    root: Path | None,
) -> Row:
    """One row from its filled cells; `columns` are the image columns and their channels."""
    where = f"row {number} of {table}"
    empty = [column for column in columns if column not in cells]
    if empty:
        raise DataError(f"{where} has nothing in column {empty[0]!r}: name an image file")

    def file(column: str) -> Path:
        return _inside(str(cells[column]), table.parent, root, f"{column} in {where}")

    first = str(cells[next(iter(columns))])
    known = {*columns, "target", "regions", "id"}
    target = _number(cells.get("target"), where)
    return Row(
        id=str(cells.get("id", bare_name(Path(first)))),
        images=tuple((channel, file(column)) for column, channel in columns.items()),
        target=file("target") if isinstance(target, str) else target,
        regions=file("regions") if "regions" in cells else None,
        meta={k: _plain(v) for k, v in cells.items() if k not in known} | {"file": first},
    )


def _number(value: object, where: str) -> float | str | None:
    """A target as the number that it is; another text is a path."""
    if value is None:
        return None
    try:
        number = float(str(value))
    except ValueError:
        return str(value)
    if not math.isfinite(number):
        raise DataError(f"target in {where} is {value}: it must be a finite number or a file")
    return number


def _inside(value: str, folder: Path, root: Path | None, where: str) -> Path:
    """A path that a table names, if it stays inside the root and exists."""
    path = folder / value
    home = (root or folder).resolve()
    if not path.resolve().is_relative_to(home):
        raise DataError(
            f"{where} is {value}, which is outside {home}: paths are relative to the table's "
            f"folder and stay inside it, unless root= allows more"
        )
    if not path.exists():
        raise DataError(f"{where} is {value}, and {path} does not exist")
    return Path(os.path.normpath(path))


def _plain(value: object) -> str | float | int:
    """A metadata value; in a CSV only what is written like a number is one (`1E05` is a well)."""
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            return value
        return int(value) if value.lstrip("-").isdigit() else float(value)
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
