"""Cells under drugs, of the Allen Institute: stacks of a local folder, with the structure found.

Its drug perturbation set (allencell.org) is got by hand: a table with a row for each field
(`Structure, drug_label, PlateId, SourceFilename`, channels numbered from 1) and the files. Each
field becomes a stack of the same seven channels as those of the archive (`allen_stacks.CHANNELS`);
nuclei and membranes were not segmented, and theirs are 0. The structure's segmentation is made
here, by the recipe of the structure (`data/recipes.py`).
"""

import importlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt16

from attributome.core.errors import DataError, UsageError
from attributome.core.files import write_text
from attributome.data.axes import Found, check_size
from attributome.data.images import MAX_BYTES
from attributome.data.recipes import Recipe, recipe_of, segment
from attributome.data.sources.allen_stacks import (
    CHANNELS,
    FIELD_CHANNELS,
    STAINS,
    Cells,
    Size,
    number_in,
    read_source,
    stacked,
)
from attributome.data.sources.stack_files import Format, note_settings, suffix_of, write_stack
from attributome.data.tables import bare_name, read_table

TERMS = "Allen Institute for Cell Science, https://www.allencell.org/terms-of-use.html"
LICENCE = """\
These stacks were made from images of the drug perturbation data of the Allen Institute for Cell
Science, https://www.allencell.org, which states its terms of use at
https://www.allencell.org/terms-of-use.html. The segmentations of structures were made by this
program. This note was written by a program and is not the licence: check the present terms before
you use, change or pass on what is in this folder.
"""
COLUMNS = ("Structure", "drug_label", "PlateId", "SourceFilename")
VEHICLE = "Vehicle"
"""The drug label of what is compared with: the solvent alone."""

TAKEN = (
    *("id", "image", "structure", "drug", "plate"),
    *("file", "path_tiff", "target", "regions", "split"),
)
"""Columns that mean something in our tables; the source's would be other things."""

FACTS, LISTED, FAILED = "images.csv", "listed.csv", "failed.csv"
_ENDS = (".ome.tiff", ".ome.tif", ".tiff", ".tif", ".ome.zarr", ".zarr", ".czi")


def build_drugs(
    folder: Path,
    *,
    table: Path,
    images: Path,
    structures: Sequence[str] | None = None,
    drugs: Sequence[str] | None = None,
    images_per_drug: int | None = None,
    every_plate: bool = False,
    only_metadata: bool = False,
    override: bool = False,
    format: Format = "tiff",
    pixel_size: Size | None = None,
    max_bytes: int = 4 * MAX_BYTES,
    progress: Callable[[int, int], object] | None = None,
) -> pd.DataFrame:
    """Make the stacks of fields under drugs in `folder`: a row for each, with `status`, `reason`.

    Of each structure and drug, `Vehicle` among them, the fields of the first plate that the table
    names are taken (`every_plate`: of all), at most `images_per_drug`. Files are found in `images`
    by their name, in any folder in it: as OME-TIFF or OME-Zarr, or as the `.czi` of the set if
    `bioio` and its reader of CZI are installed. Written are
    `<structure>/<structure>_<drug>_<i>.ome.tif` (or `.ome.zarr`), `images.csv` for `open_images`
    with `structure`, `drug` and `plate`, and `failed.csv`. What is there is kept, unless
    `override` makes it again; with `only_metadata` nothing is read but the table, and `listed.csv`
    says what would be made.

    Raises `UsageError` for names that the table does not have, and for structures without a
    recipe; `DataError` where no field could be made.
    """
    if images_per_drug is not None and images_per_drug < 1:
        raise UsageError(f"images_per_drug is {images_per_drug}; give 1 or more")
    suffix = suffix_of(format)
    rows = choose(table, structures, drugs, images_per_drug, every_plate=every_plate)
    recipes = {name: recipe_of(name) for name in rows["structure"].unique()}
    rows["image"] = rows["image"] + suffix
    write_text(folder / "LICENCE.txt", LICENCE)
    settings = {"format": format, "pixel_size": [*pixel_size] if pixel_size else None}
    note_settings(folder / "source.json", settings, override=override)
    if only_metadata:
        write_text(folder / LISTED, rows.to_csv(index=False))
        return _report(rows, dict.fromkeys(rows["image"], ("listed", "")))
    status: dict[str, tuple[str, str]] = {}
    places = index_files(images)
    for cells in rows.to_dict("records"):
        image = str(cells["image"])
        if (folder / image).exists() and not override:
            status[image] = ("kept", "")
        else:
            try:
                source = source_of(str(cells["SourceFilename"]), places, images)
                stack, size = drug_stack(
                    {str(k): v for k, v in cells.items()},
                    source,
                    recipes[str(cells["structure"])],
                    pixel_size=pixel_size,
                    max_bytes=max_bytes,
                )
                write_stack(folder / image, stack, CHANNELS, size)
                status[image] = ("made", "")
            except DataError as error:
                status[image] = ("failed", str(error))
        if progress is not None:
            progress(len(status), len(rows))
    report = _report(rows, status)
    _write(folder, rows, report)
    if (report["status"] == "failed").all():
        raise DataError(
            f"no field of {len(report)} could be made; the first, {report['image'].iloc[0]}: "
            f"{report['reason'].iloc[0]}"
        )
    return report


def choose(
    table: Path,
    structures: Sequence[str] | None,
    drugs: Sequence[str] | None,
    most: int | None,
    *,
    every_plate: bool = False,
) -> pd.DataFrame:
    """The rows to be made, behind `id, image, structure, drug, plate`; an image has no end yet.

    Rows of one structure and drug follow each other, in the order of the table.
    """
    rows = read_table(table)
    if missing := [name for name in (*COLUMNS, *FIELD_CHANNELS) if name not in rows]:
        raise DataError(f"{table} has no column {', '.join(missing)}: it is no table of drugs")
    empty = rows[[*COLUMNS]].isna()
    if empty.to_numpy().any():
        where = int(empty.any(axis=1).to_numpy().argmax())
        lacks = [name for name in COLUMNS if empty[name].iloc[where]]
        raise DataError(f"row {where + 1} of {table} has no {', '.join(lacks)}")
    rows = rows.astype(dict.fromkeys(COLUMNS, str))
    for column, wanted in (("Structure", structures), ("drug_label", drugs)):
        if wanted is not None:
            has = sorted({*rows[column]})
            if unknown := sorted({*wanted} - {*has}):
                raise UsageError(
                    f"{table} has no {column} {', '.join(unknown)}; it has {', '.join(has)}"
                )
            rows = rows[rows[column].isin([*wanted])]
    pairs = rows.groupby(["Structure", "drug_label"], sort=False)
    if not every_plate:
        rows = rows[rows["PlateId"] == pairs["PlateId"].transform("first")]
    rows = rows.rename(columns={str(name): f"source_{name}" for name in rows if _taken(str(name))})
    parts, ids = [], []
    for (structure, drug), part in rows.groupby(["Structure", "drug_label"], sort=False):
        some = part.head(most) if most is not None else part
        parts.append(some)
        ids += [f"{_bare(structure)}_{_bare(drug)}_{number}" for number in range(len(some))]
    made = pd.concat(parts).reset_index(drop=True) if parts else rows
    if made.empty:
        raise DataError(f"{table} has no row of these structures and drugs")
    made.insert(0, "id", ids)
    if (twice := made["id"].duplicated()).any():
        raise DataError(
            f"{table} has labels that make one name of file: {made['id'][twice].iloc[0]}"
        )
    made.insert(1, "image", [f"{_bare(name)}/" for name in made["Structure"]] + made["id"])
    for place, (name, column) in enumerate(
        (("structure", "Structure"), ("drug", "drug_label"), ("plate", "PlateId")), start=2
    ):
        made.insert(place, name, made[column])
    return made


def drug_stack(
    row: Cells,
    path: Path,
    recipe: Recipe,
    *,
    pixel_size: Size | None = None,
    max_bytes: int = 4 * MAX_BYTES,
) -> tuple[UInt16[np.ndarray, "7 z y x"], Size]:
    """The stack of a field and its micrometres per pixel; channels are numbered from 1 in `row`."""
    read = read_czi if path.suffix.lower() == ".czi" else read_source
    array, known = read(path, max_bytes)
    size = known or pixel_size
    if size is None:
        raise DataError(f"{path.name} says no pixel size; give one as pixel_size")
    planes = []
    for column in FIELD_CHANNELS:
        number = number_in(row.get(column))
        if number is None or number != int(number) or not 1 <= number <= len(array):
            raise DataError(
                f"{path.name} has {len(array)} channels, numbered from 1, and {column} says "
                f"{row.get(column)}"
            )
        planes.append(array[int(number) - 1])
    nothing = np.zeros(array.shape[1:], np.uint8)
    found = segment(planes[STAINS - 1], recipe).astype(np.uint8) * np.uint8(255)
    return stacked([*planes, nothing, nothing, found], path), size


def index_files(images: Path) -> Mapping[str, Sequence[Path]]:
    """The stacks in a folder and those in it, by their names without ends."""
    if not images.is_dir():
        raise UsageError(f"{images} is no folder; name the one that has the stacks")
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(images.rglob("*")):
        inner = any(part.endswith(".zarr") for part in path.relative_to(images).parts[:-1])
        if path.name.lower().endswith(_ENDS) and not path.name.startswith(".") and not inner:
            found[_stem(path.name)].append(path)
    return found


def source_of(name: str, places: Mapping[str, Sequence[Path]], images: Path) -> Path:
    """The file that a table names; others of its name are preferred to a CZI."""
    plain = re.split(r"[/\\]", name)[-1]
    found = places.get(_stem(plain), [])
    open_ones = [path for path in found if path.suffix.lower() != ".czi"]
    chosen = open_ones or [*found]
    if len(chosen) != 1:
        has = ", ".join(str(path.relative_to(images)) for path in chosen) or "none"
        raise DataError(f"{images} must have one stack named {plain}, and has {has}")
    return chosen[0]


def read_czi(path: Path, max_bytes: int) -> tuple[np.ndarray, Size | None]:
    """The pixels `(c, z, y, x)` of a CZI of one scene and time, and micrometres per pixel."""
    try:
        bioio: Any = importlib.import_module("bioio")
        importlib.import_module("bioio_czi")
    except ImportError as error:
        raise DataError(
            f"{path.name} is a CZI: install bioio and bioio-czi to read it, or save it as OME-TIFF"
        ) from error
    broken = (OSError, ValueError, RuntimeError, LookupError, AttributeError, TypeError)
    strange: Any = importlib.import_module("bioio_base.exceptions").UnsupportedFileFormatError
    try:
        image = bioio.BioImage(path)
        scenes, axes, shape = len(image.scenes), "TCZYX", tuple(map(int, image.shape))
        if scenes != 1 or len(shape) != len(axes) or shape[0] != 1:
            raise DataError(f"{path} has {scenes} scenes and shape {shape}: one of each is a field")
        kind, read = np.dtype(image.dtype), partial(image.get_image_data, "CZYX")
        check_size(path, Found(shape=shape, axes=axes, dtype=kind, load=read), max_bytes)
        array = np.asarray(read())
        sizes = image.physical_pixel_sizes
        lengths = (sizes.Z, sizes.Y, sizes.X)
    except DataError:
        raise
    except (*broken, strange) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    known = all(length is not None and length > 0 for length in lengths)
    return array, (float(lengths[0]), float(lengths[1]), float(lengths[2])) if known else None


def _report(rows: pd.DataFrame, status: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """What became of each field."""
    report = rows[["structure", "drug", "plate", "image"]].copy()
    report["status"] = [status[image][0] for image in report["image"]]
    report["reason"] = [status[image][1] for image in report["image"]]
    return report


def _write(folder: Path, rows: pd.DataFrame, report: pd.DataFrame) -> None:
    """The table of what is there, with what it had of others, and of failures."""
    there = rows[(report["status"] != "failed").to_numpy()]
    path = folder / FACTS
    if path.exists():
        before = pd.read_csv(path, dtype=str, keep_default_na=False)
        if {*before.columns} != {*rows.columns}:
            raise DataError(f"{path} has other columns; give another folder")
        stay = [(folder / image).exists() for image in before["image"]]
        before = before[pd.Series(stay, dtype=bool) & ~before["id"].isin(rows["id"])]
        there = pd.concat([before, there])
    failed = report[report["status"] == "failed"]
    for name, table in ((FACTS, there), (FAILED, failed)):
        if len(table):
            write_text(folder / name, table.to_csv(index=False))
        else:
            (folder / name).unlink(missing_ok=True)


def _taken(column: str) -> bool:
    return column in TAKEN or column.startswith("image_")


def _stem(name: str) -> str:
    """A name of a stack without its end."""
    if name.lower().endswith(".czi"):
        return name[: -len(".czi")]
    return bare_name(Path(name))


def _bare(label: object) -> str:
    """A label as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", str(label)).strip("-.") or "unnamed"
