"""The fields of a job, listed from any of the layouts that are read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest
from attributome.data.omezarr import is_zarr
from attributome.data.plates import (
    deepprofiler_fields,
    described,
    jump_fields,
    ngff_fields,
)
from attributome.data.segmentation import attributes, labels_beside
from attributome.data.tables import read_table
from attributome.pipeline.profile.checking import need_known
from attributome.pipeline.profile.job import ProfileData

OWN = ("field", "plate", "well", "site")
FILES = ("images", "labels")


def kind_of(data: ProfileData) -> str:
    """What the source is, where the job does not say."""
    if data.kind != "auto":
        return data.kind
    path = Path(data.source)
    if path.suffix.lower() in (".csv", ".parquet"):
        return "table"
    if not path.exists():
        raise DataError(f"there is no {path}: name a table of fields, or a folder of plates")
    if not path.is_dir():
        raise UsageError(
            f"data.source is the file {path}: give a table (.csv, .parquet) of fields, or a folder"
        )
    if _plates(path):
        return "ngff"
    index = Path("metadata", "index.csv")
    if any((path / more / index).is_file() for more in ("", "inputs")):
        return "deepprofiler"
    return "jump"


def list_fields(data: ProfileData) -> pd.DataFrame:
    """A row per field: field, plate, well, site, what is known of it, `images` and `labels`.

    `images` is a JSON object of columns and their files, as `read_one` takes it; `labels` a path,
    or missing where labels are made. A column holds texts, or numbers throughout.
    """
    kind, path = kind_of(data), Path(data.source)
    name = data.labels.name or None
    if kind == "table":
        table = _of_table(data)
    elif kind == "ngff":
        plates = _plates(path) or [path]  # which says then what is wrong with it
        found = [ngff_fields(plate, labels=name) for plate in plates]
        table = pd.concat(found, ignore_index=True)
    elif kind == "jump":
        numbered = all(key.isdecimal() for key in data.channels)
        numbers = {int(key): ours for key, ours in data.channels.items()} if numbered else {}
        beside = data.labels.channel if data.labels.kind in ("auto", "beside") else ""
        table = jump_fields(
            path,
            channels=numbers or None,
            labels=beside or None,
            incomplete=data.incomplete,
        )
    else:
        table = deepprofiler_fields(path, channels=[*data.channels] or None)
    if data.about:
        table = described(table, read_table(Path(data.about)))
    if data.limit:
        table = table.head(data.limit)
    need_known("data.label", data.label, [c for c in map(str, table) if not _is_file(c)])
    if data.mechanism:
        need_known("data.mechanism", data.mechanism, map(str, table))
    missing = table[data.label].isna()
    if missing.all():
        raise DataError(f"none of {len(table)} fields has a {data.label}")
    _one_label(table, data.label)
    _known_controls(table, data)
    return _plain(_with_labels(table, data, kind), (*OWN, data.label, data.mechanism))


def source_mark(table: pd.DataFrame) -> str:
    """SHA-256 of what is listed, with the sizes of the files."""
    sizes: list[int] = []
    for images, labels in table[["images", "labels"]].to_numpy():
        files = [file for some in json.loads(images).values() for file in some]
        files += [labels] if isinstance(labels, str) else []
        sizes += [Path(file).stat().st_size if Path(file).is_file() else 0 for file in files]
    return digest(table.to_csv(index=False), " ".join(map(str, sizes)))


def _plates(path: Path) -> list[Path]:
    """The plates in OME-Zarr that a path is, or that lie in a folder."""
    some = [path] if is_zarr(path) else sorted(path.iterdir()) if path.is_dir() else []
    return [one for one in some if is_zarr(one) and "plate" in attributes(one)]


def _of_table(data: ProfileData) -> pd.DataFrame:
    """The fields of a table: files relative to its folder, and what else is known of each."""
    path, root = Path(data.source), Path(data.root) if data.root else None
    table = read_table(path)
    if not len(table):
        raise DataError(f"{path} has no rows: a row for each field is needed")
    images = [name for name in map(str, table) if _is_image(name)]
    if not images:
        raise DataError(
            f"{path} needs a column `image`, or columns `image_<channel>`, with files; it has "
            f"{', '.join(map(str, table))}"
        )
    named = {data.plate: "plate", data.well: "well"}
    for name in named:
        if name not in table:
            has = ", ".join(map(str, table))
            raise DataError(f"{path} has no column {name!r} of plates or wells; it has {has}")
    column = data.labels.column
    for name in (*named, *images, *([column] if column in table else [])):
        if (lost := table[name].isna()).any():
            raise DataError(f"row {int(lost.argmax()) + 1} of {path} has nothing in {name!r}")
    files: dict[str, Any] = {
        name: [(_beneath(path, root, str(v), i, name),) for i, v in enumerate(table[name], 1)]
        for name in images
    }
    labels: list[str] | None = None
    if column in table:
        given = enumerate(table[column], 1)
        labels = [_beneath(path, root, str(v), i, column) for i, v in given]
    told = table.drop(columns=[*images, *([column] if column in table else [])])
    told = told.rename(columns={data.site: "site"} | named).assign(**files, labels=labels)
    if "site" not in told:
        told["site"] = (told.groupby(["plate", "well"]).cumcount() + 1).astype(str)
    told = told.astype({"plate": str, "well": str, "site": str})
    if "field" not in told:
        told["field"] = told["plate"] + "/" + told["well"] + "/" + told["site"]
    twice = told["field"].isna() | told["field"].duplicated()
    if twice.any():
        where = int(twice.argmax())
        raise DataError(
            f"row {where + 1} of {path} has the field {told['field'][where]!r}, which is missing "
            f"or stands there twice: plate, well and site name a field together"
        )
    rest = [name for name in told if name not in (*OWN, "labels")]
    return told[[*OWN, *rest, "labels"]]


def _beneath(table: Path, root: Path | None, value: str, number: int, column: str) -> str:
    path, home = table.parent / value, root or table.parent
    if not path.resolve().is_relative_to(home.resolve()):
        raise DataError(
            f"row {number} of {table} names {value} in {column!r}, which is outside {home}: paths "
            f"are relative to the table's folder and stay inside it, unless data.root allows more"
        )
    if not path.exists():
        raise DataError(f"row {number} of {table} names {value} in {column!r}, which is not there")
    return str(path)


def _with_labels(table: pd.DataFrame, data: ProfileData, kind: str) -> pd.DataFrame:
    """Find the label images, and say so where there are none to find and none are made."""
    asked = data.labels
    table = table.copy()
    if asked.kind in ("segment", "cellpose"):
        table["labels"] = None
        return table
    if asked.kind == "beside" or (asked.kind == "auto" and table["labels"].isna().all()):
        first = next(c for c in map(str, table) if _is_image(c))
        if kind in ("table", "deepprofiler"):
            found = [labels_beside(Path(f[0]), name=asked.name or None) for f in table[first]]
            table["labels"] = [None if one is None else str(one) for one in found]
    lost = table["labels"].isna()
    made = asked.kind == "auto" and asked.channel and asked.diameter is not None
    if lost.any() and not made:
        raise DataError(
            f"{int(lost.sum())} of {len(table)} fields have no label image, the first is "
            f"{table['field'][lost].iloc[0]!r}: name a column of the table in data.labels.column, "
            f"save label images beside the images, or give data.labels.channel and .diameter to "
            f"segment nuclei here"
        )
    return table


def _one_label(table: pd.DataFrame, label: str) -> None:
    several = table.groupby(["plate", "well"])[label].nunique()
    if (several > 1).any():
        plate, well = several.index[int((several > 1).to_numpy().argmax())]
        raise DataError(f"the well {plate}/{well} has two values of {label!r}")


def _known_controls(table: pd.DataFrame, data: ProfileData) -> None:
    for name in data.control:
        need_known("data.control", name, sorted({*table[data.label].dropna().astype(str)}))


def _plain(table: pd.DataFrame, texts: Sequence[str]) -> pd.DataFrame:
    images = [c for c in map(str, table) if _is_image(c)]
    """Texts, or numbers throughout; and the files of each field as JSON."""
    made = table[[c for c in map(str, table) if not _is_file(c)]].copy()
    for name in made:
        column = made[name]
        numbers = pd.api.types.is_numeric_dtype(column)
        if name in texts or not numbers or column.isna().any():
            made[name] = [None if pd.isna(v) else str(v) for v in column]
    made["images"] = [
        json.dumps({c: [*row[c]] for c in images}) for row in table[images].to_dict("records")
    ]
    made["labels"] = [None if pd.isna(one) else str(one) for one in table["labels"]]
    return made.reset_index(drop=True)


def _is_image(name: str) -> bool:
    return name == "image" or name.startswith("image_")


def _is_file(name: str) -> bool:
    return _is_image(name) or name in FILES
