"""Fields of plates as a table, from OME-Zarr HCS, from the names of JUMP, from DeepProfiler.

One row per field of view: `field` (each once), `plate`, `well` such as `D08`, `site` (a text), then
`image` where one file holds all channels or `image_<channel>` where each has its own, and `labels`
(the label image, or None). A cell of an image column is a tuple of files, one per plane from the
lowest, nearly always one. `read_field` reads a row; every file lies inside the root that was named.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.data.images import FORMATS, Picture, read_image
from attributome.data.segmentation import attributes, labels_beside
from attributome.data.tables import read_table

_JUMP = re.compile(
    r"(?:.*_)?r(?P<row>\d+)c(?P<column>\d+)f(?P<site>\d+)p(?P<plane>\d+)"
    r"(?:-ch(?P<channel>\d+)sk\d+fk\d+fl\d+)?(?:\.ome)?\.tiff?"
)
_KEYS = ("file", "plate", "well", "site")
_OWN = ("field", "plate", "well", "site", "labels")
_METADATA = "Metadata_"


def ngff_fields(plate: Path, *, labels: str | None = None) -> pd.DataFrame:
    """Fields of a plate in OME-Zarr (NGFF 0.4 or 0.5), in the order of its metadata.

    Each field is an image group `<plate>/<row>/<column>/<field>`; `acquisition` is a column where
    the wells say it. `labels` names one of the label groups of each field, which is needed where
    there are several.
    """
    said = attributes(plate).get("plate")
    if not isinstance(said, dict) or not isinstance(said.get("wells"), list):
        raise DataError(f"{plate} is not a plate in OME-Zarr: its metadata list no wells")
    name = str(said.get("name") or plate.name.removesuffix(".zarr").removesuffix(".ome"))
    rows = []
    for place in _paths(said["wells"], plate):
        well = _inside(plate / place, plate, f"a well of {plate}")
        parts = Path(place).parts
        inner = attributes(well).get("well")
        if len(parts) != 2 or not isinstance(inner, dict):
            raise DataError(f"{well} is not a well <row>/<column> with metadata of its own")
        images = inner.get("images", [])
        for site, image in zip(_paths(images, well), images, strict=True):
            path = _inside(well / site, plate, f"a field of {well}")
            row: dict[str, Any] = {
                "plate": name,
                "well": parts[0] + (f"{int(parts[1]):02d}" if parts[1].isdigit() else parts[1]),
                "site": site,
                "image": (str(path),),
                "labels": _text(labels_beside(path, name=labels)),
            }
            if "acquisition" in image:
                row["acquisition"] = image["acquisition"]
            rows.append(row)
    return _fields(rows, plate)


def jump_fields(
    root: Path,
    *,
    channels: Mapping[int, str] | None = None,
    labels: str | None = None,
    incomplete: Literal["refuse", "drop"] = "refuse",
) -> pd.DataFrame:
    """Fields of files such as `<plate>/Images/r04c08f05p01-ch1sk1fk1fl1.tiff`, at any depth.

    The name says row, column, field, plane and channel; what stands before it and a `_` is passed
    over, and without `-ch…` one file holds all channels (then its name is in `file`). The plate is
    the folder that holds the files (above one called `Images`), up to a double underscore. Only
    `channels`, a name by number, are taken, or all as `ch1`, `ch2`, …. `labels` is the channel
    beside whose files label images lie, such as `r04c08f05p01-ch5sk1fk1fl1_cp_masks.tiff`. A field
    that lacks a channel or plane that others of its plate have is refused, or dropped.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder with images of plates")
    found: dict[tuple[str, str, int], dict[str, dict[int, Path]]] = {}
    for path in sorted(root.rglob("*.tif*")):
        told = _JUMP.fullmatch(path.name)
        if told is None or not path.is_file():
            continue
        channel = _channel(told["channel"], channels)
        if channel is None:
            continue
        _inside(path, root, "an image")
        folder = path.parent.parent if path.parent.name == "Images" else path.parent
        well = f"{_letters(int(told['row']))}{int(told['column']):02d}"
        key = (folder.resolve().name.split("__")[0], well, int(told["site"]))
        planes = found.setdefault(key, {}).setdefault(channel, {})
        if int(told["plane"]) in planes:
            raise DataError(
                f"{planes[int(told['plane'])]} and {path} are the same plane of the same field"
            )
        planes[int(told["plane"])] = path
    rows = []
    for key, images in _complete(found, incomplete).items():
        row = dict(zip(("plate", "well", "site"), map(str, key), strict=True))
        files = {name: tuple(str(p) for _, p in sorted(ps.items())) for name, ps in images.items()}
        beside = None
        if labels is not None:
            if f"image_{labels}" not in files:
                raise UsageError(f"no channel {labels!r} beside which labels could lie")
            beside = labels_beside(Path(files[f"image_{labels}"][0]))
        known = {"file": Path(files["image"][0]).name} if "image" in files else {}
        rows.append({**row, **known, **files, "labels": _text(beside)})
    return _fields(rows, root)


def deepprofiler_fields(project: Path, *, channels: Sequence[str] | None = None) -> pd.DataFrame:
    """Fields of `metadata/index.csv` of a DeepProfiler project (or of its folder `inputs`).

    `channels` are the columns with files relative to `images`; without them, those in which every
    cell is the name of an image. `locations` is the file of nuclear centres of a field, or None
    (`read_locations` reads it); the other columns follow without `Metadata_`.
    """
    home = project / "inputs" if (project / "inputs").is_dir() else project
    path = home / "metadata" / "index.csv"
    index = read_table(path)
    lost = [n for n in ("Plate", "Well", "Site") if f"{_METADATA}{n}" not in index]
    if lost:
        raise DataError(f"{path} has no column {_METADATA}{lost[0]}")
    taken = [*channels] if channels is not None else _image_columns(index)
    if missing := [name for name in taken if name not in index]:
        raise UsageError(f"{path} has no column {missing[0]!r} with images")
    if not taken:
        raise DataError(f"{path} has no column in which every cell is the name of an image")
    bare = {name: _bare(name) for name in map(str, index) if name not in taken}
    clash = [name for name, to in bare.items() if _is_image(to) or [*bare.values()].count(to) > 1]
    if clash:
        raise DataError(
            f"{path} has a column {clash[0]!r} beside another of that meaning: rename it"
        )
    rows = []
    for number, cells in enumerate(index.to_dict("records"), 1):
        where = f"row {number} of {path}"
        known = {to: cells[name] for name, to in bare.items() if not pd.isna(cells[name])}
        for name in ("plate", "well", "site"):
            if name not in known:
                raise DataError(f"{where} has no {name}")
        images = {}
        for name in taken:
            if pd.isna(cells[name]):
                raise DataError(f"{where} names no image of the channel {name!r}")
            file = _inside(home / "images" / cells[name], home / "images", where)
            images[f"image_{name}"] = (str(file),)
        place = Path(known["plate"], f"{known['well']}-{known['site']}-Nuclei.csv")
        centres = home / "locations" / place
        there = _inside(centres, home / "locations", where) if centres.exists() else None
        rows.append({**known, **images, "labels": None, "locations": _text(there)})
    return _fields(rows, path)


def read_locations(path: Path) -> pd.DataFrame:
    """Nuclear centres `y`, `x` in pixels, of a locations file of DeepProfiler."""
    table = read_table(path)
    names = {"Nuclei_Location_Center_Y": "y", "Nuclei_Location_Center_X": "x"}
    if lost := [name for name in names if name not in table]:
        raise DataError(f"{path} has no column {lost[0]}")
    try:
        centres = table[[*names]].astype(np.float64).set_axis([*names.values()], axis=1)
    except ValueError as error:
        raise DataError(f"{path} holds a centre that is no number: {error}") from error
    if not np.isfinite(centres.to_numpy()).all():
        raise DataError(f"{path} holds a centre that is missing or infinite")
    return centres


def described(fields: pd.DataFrame, about: pd.DataFrame) -> pd.DataFrame:
    """Fields with what another table says of them, such as treatments by plate and well.

    It is joined by those of `file`, `plate`, `well` and `site` that both have (`Metadata_` may
    stand before a name), which may occur in it once; a field of which it says nothing has missing
    values. A column that both have beside these is refused.
    """
    table = about.rename(columns=lambda name: _bare(str(name)))
    keys = [name for name in _KEYS if name in fields and name in table]
    keys = ["file"] if "file" in keys else keys
    if not keys:
        raise DataError(f"a table with {', '.join(map(str, table))} has none of {', '.join(_KEYS)}")
    table = table.drop(columns=[name for name in _KEYS if name in table and name not in keys])
    both = [n for n in map(str, table) if n not in keys and (n in fields or _is_image(n))]
    if both:
        raise UsageError(f"fields have a column {both[0]!r} already, or it would be an image's")
    table = table.astype(dict.fromkeys(keys, str))
    twice = table.duplicated(keys)
    if twice.any():
        one = table.loc[twice, keys].iloc[0]
        raise DataError(f"{', '.join(f'{k} {one[k]}' for k in keys)} stands twice in the table")
    return fields.merge(table, on=keys, how="left", validate="many_to_one")


def read_field(row: Mapping[str, Any] | pd.Series, *, axes: str | None = None) -> Picture:
    """The image `(c, *s)` of a row of a table of fields: planes stacked, channels joined.

    `axes` overrules what each file says of itself. Channels are called by their columns, or as
    the file says where one holds all.
    """
    columns = [name for name in map(str, dict(row)) if _is_image(name)]
    if not columns:
        raise DataError("a field without a column `image` or `image_<channel>` has no image")
    pictures = {name: [read_image(Path(file), axes=axes) for file in row[name]] for name in columns}
    first = pictures[columns[0]][0]
    arrays, names = [], []
    for column, planes in pictures.items():
        for plane, file in zip(planes, row[column], strict=True):
            if plane.array.shape[1:] != first.array.shape[1:]:
                raise DataError(
                    f"{file} has the shape {plane.array.shape}, and the field's first image "
                    f"{first.array.shape}"
                )
        if len(planes) > 1 and first.array.ndim != 3:
            raise DataError(f"{row[column][0]} is one of {len(planes)} planes and a stack itself")
        stack = [plane.array for plane in planes]
        arrays.append(np.stack(stack, 1) if len(planes) > 1 else stack[0])
        names += _names(column, planes[0])
    stacked = arrays[0].ndim > first.array.ndim
    return Picture(
        array=np.concatenate(arrays),
        channels=tuple(names),
        pixel_size=None if stacked else first.pixel_size,  # of planes nobody says how far apart
        axes="CZYX" if stacked else first.axes,
    )


def _names(column: str, picture: Picture) -> list[str]:
    if column == "image":
        return [*picture.channels]
    name = column.removeprefix("image_")
    count = len(picture.channels)
    return [name] if count == 1 else [f"{name}_{inner}" for inner in picture.channels]


def _fields(rows: list[dict[str, Any]], source: Path) -> pd.DataFrame:
    if not rows:
        raise DataError(f"{source} has no fields")
    table = pd.DataFrame(rows)
    if "field" in table:
        raise DataError(f"{source} has a column `field`, which the table makes itself")
    table.insert(0, "field", table["plate"] + "/" + table["well"] + "/" + table["site"])
    if table["field"].duplicated().any():
        twice = table["field"][table["field"].duplicated()].iloc[0]
        raise DataError(f"{source} has the field {twice} twice")
    images = [name for name in table if _is_image(str(name))]
    rest = [name for name in table if name not in (*_OWN, *images)]
    return table[[*_OWN[:4], *rest, *images, "labels"]]


def _complete(
    found: Mapping[tuple[str, str, int], Mapping[str, Mapping[int, Path]]], incomplete: str
) -> dict[tuple[str, str, int], dict[str, Mapping[int, Path]]]:
    """Fields with all channels and planes that any field of the same plate has."""
    if incomplete not in ("refuse", "drop"):
        raise UsageError(f"incomplete={incomplete!r} cannot be meant; it is 'refuse' or 'drop'")
    all_of: dict[str, set[tuple[str, int]]] = {}
    for (plate, _, _), images in found.items():
        has = {(name, plane) for name, planes in images.items() for plane in planes}
        all_of.setdefault(plate, set()).update(has)
    kept = {}
    for key in sorted(found):
        images = found[key]
        missing = sorted(one for one in all_of[key[0]] if one[1] not in images.get(one[0], {}))
        if missing and incomplete == "refuse":
            name, plane = missing[0]
            raise DataError(
                f"the field {'/'.join(map(str, key))} has no file {name} of plane {plane}, which "
                f"others of its plate have; incomplete='drop' leaves it out"
            )
        if not missing:
            kept[key] = {name: images[name] for name in sorted(images)}
    return kept


def _channel(number: str | None, channels: Mapping[int, str] | None) -> str | None:
    """The column of a file, or None where its channel is not wanted."""
    if number is None:
        return "image"
    if channels is None:
        return f"image_ch{int(number)}"
    return f"image_{channels[int(number)]}" if int(number) in channels else None


def _letters(row: int) -> str:
    """A row of a plate: A to Z, then AA."""
    if row < 1:
        raise DataError(f"a plate has no row {row}; they are counted from 1")
    more, last = divmod(row - 1, 26)
    return ("" if not more else _letters(more)) + chr(ord("A") + last)


def _image_columns(index: pd.DataFrame) -> list[str]:
    def named(value: object) -> bool:
        return isinstance(value, str) and Path(value).suffix.lower() in FORMATS

    return [name for name in map(str, index) if len(index) and index[name].map(named).all()]


def _is_image(name: str) -> bool:
    return name == "image" or name.startswith("image_")


def _bare(name: str) -> str:
    """`Metadata_Plate` is `plate`, `Metadata_broad_sample` is `broad_sample`."""
    bare = name.removeprefix(_METADATA)
    return bare.lower() if bare.lower() in (*_KEYS, "field") else bare


def _paths(entries: Any, where: Path) -> list[str]:
    if not isinstance(entries, list) or not all(
        isinstance(one, dict) and isinstance(one.get("path"), str) for one in entries
    ):
        raise DataError(f"{where} lists something that has no path")
    return [one["path"].strip("/") for one in entries]


def _inside(path: Path, root: Path, where: str) -> Path:
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{where} is {path}, which is outside {root}")
    if not path.exists():
        raise DataError(f"{where} is {path}, which does not exist")
    return path


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
