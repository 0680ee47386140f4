"""What the mask interpreter's own scripts left (Ben Nedava et al. 2026), read as it is.

Their stacks are TIFFs `(7, z, y, x)` in float16, channels as in `allen_stacks.CHANNELS`; lists name
them, with the number of each channel; tables have a column for each model or each threshold.
Neither a name of a channel nor a pixel size stands in the stacks.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt16

from attributome.core.errors import DataError, UsageError
from attributome.core.files import write_text
from attributome.data.axes import check_size
from attributome.data.images import MAX_BYTES, find
from attributome.data.manifest import Manifest
from attributome.data.sources.allen_stacks import CHANNELS
from attributome.data.sources.stack_files import note_settings
from attributome.data.tables import Row, bare_name, read_table
from attributome.data.tiff import write_tiff

PLACEHOLDER = "***"
"""What stands in the published lists for the folder of the reader."""

CHANNEL_COLUMNS = (
    *("channel_signal", "channel_target", "channel_dna", "channel_membrane"),
    *("membrane_seg", "structure_seg"),
)
TERMS = "Ben Nedava et al. 2026 and the Allen Institute for Cell Science; see the Zenodo record"
LICENCE = """\
These stacks were made from images of the Allen Institute for Cell Science, which states its terms
at https://www.allencell.org/terms-of-use.html, by the authors of the mask interpreter (Ben Nedava
et al. 2026, https://zenodo.org/records/18590674). This note was written by a program and is not the
licence: check what the record states before you use, change or pass on what is in this folder.
"""
AXES = "CZYX"
NOTHING = -1.0
"""What the scripts wrote for a score that they could not have."""

_MODELS = {"efficacy": re.compile(r"mg_model_[^/\\]+"), "pcc": re.compile(r"unet_model_[^/\\]+")}


def read_list(path: Path, *, folder: Path, was: str = PLACEHOLDER) -> pd.DataFrame:
    """An `image_list_*.csv`: `path_tiff` inside `folder`, channels (and label) as numbers.

    `was` is what the list has for `folder`, such as the scripts' storage root. Raises `DataError`
    where a path leaves the folder, a column is missing, or a cell is no whole number.
    """
    table = read_table(path)
    if missing := [name for name in ("path_tiff", *CHANNEL_COLUMNS) if name not in table]:
        raise DataError(f"{path} has no column {', '.join(missing)}: it is no list of stacks")
    for name in (*CHANNEL_COLUMNS, *(["label"] if "label" in table else [])):
        whole = table[name].astype(str).str.fullmatch(r"[0-9]{1,3}(\.0)?")
        if not whole.all():
            row = int((~whole).to_numpy().argmax())
            raise DataError(f"{name} in row {row + 1} of {path} is {table[name][row]}, no number")
        table[name] = table[name].astype(float).astype(int)
    home = folder.resolve()
    places = []
    for row, name in enumerate(table["path_tiff"], start=1):
        rest = re.sub("^" + re.escape(was.rstrip("/")), "", str(name)).lstrip("/")
        place = (home / rest).resolve()
        if not str(name).startswith(was) or not rest or not place.is_relative_to(home):
            raise DataError(
                f"row {row} of {path} names {name}, which does not begin with {was} or leaves "
                f"{folder}; give what stands for the folder as was"
            )
        places.append(str(place))
    table["path_tiff"] = places
    return table


def open_list(
    path: Path,
    *,
    folder: Path,
    was: str = PLACEHOLDER,
    inputs: Sequence[str] = ("channel_signal",),
    target: Sequence[str] = ("channel_target",),
    max_bytes: int = MAX_BYTES,
) -> Manifest:
    """The samples of a list; `inputs` and `target` are columns of it.

    A stack in which float16 overflowed is refused when it is asked for: `convert_list` says what
    can be said of such pixels.
    """
    table = read_list(path, folder=folder, was=was)
    if unknown := sorted({*inputs, *target} - {*CHANNEL_COLUMNS}):
        raise UsageError(f"there is no {', '.join(unknown)}; use {', '.join(CHANNEL_COLUMNS)}")
    for name in (*inputs, *target):
        if table[name].nunique() > 1:
            raise DataError(f"{name} of {path} differs between rows: split the list by it")
    rows = tuple(_row(cells, folder) for cells in table.to_dict("records"))
    if twice := len(rows) - len({row.id for row in rows}):
        raise DataError(f"{path} names {twice} stacks more than once")
    return Manifest(
        rows=rows,
        inputs=tuple(int(table[name][0]) for name in inputs),
        target=tuple(int(table[name][0]) for name in target),
        axes=AXES,
        max_bytes=max_bytes,
    )


def read_stack(
    path: Path, *, max_bytes: int = MAX_BYTES
) -> tuple[UInt16[np.ndarray, "7 z y x"], int]:
    """A stack in the whole numbers that it was made from, and how many pixels had overflowed.

    float16 turns 65520 and more into infinity; such pixels are 65535 here, at most 15 too bright.
    Above 2048 it keeps 11 binary digits: what it lost there cannot be had again.
    """
    found = find(path)
    check_size(path, found, max_bytes)
    if len(found.shape) != 4 or found.shape[0] != len(CHANNELS):
        raise DataError(f"{path} has shape {found.shape}: a stack is (7, z, y, x)")
    array = found.load()
    over = array == np.inf
    whole = np.where(over, np.float32(65535), array)
    fits = (whole >= 0) & (whole <= 65535) & (whole == np.floor(whole))
    if not fits.all():
        raise DataError(
            f"{path} has {int((~fits).sum())} pixels that are no whole numbers from 0 to 65535: "
            f"it was not made from a camera's counts"
        )
    return whole.astype(np.uint16), int(over.sum())


def convert_list(
    path: Path,
    out: Path,
    *,
    folder: Path,
    was: str = PLACEHOLDER,
    pixel_size: tuple[float, float, float] | None = None,
    override: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> pd.DataFrame:
    """Write the stacks of a list to `out` as OME-TIFF in uint16, with names, and `images.csv`.

    What is there is kept, and refused if it has another pixel size, unless `override` makes it
    again; `progress(stacks, all)`. The table (also returned) has `id`, `image`, `label` where the
    list has it, and `overflowed`, the pixels that float16 lost. `pixel_size` (z, y, x; micrometres)
    is written where it is known: the scripts' own 0.086 is an assumption.
    """
    table = read_list(path, folder=folder, was=was)
    rows: list[dict[str, object]] = []
    write_text(out / "LICENCE.txt", LICENCE)
    settings = {"pixel_size": [*pixel_size] if pixel_size else None}
    note_settings(out / "source.json", settings, override=override)
    for number, cells in enumerate(table.to_dict("records"), start=1):
        row = _row(cells, folder)
        image = f"{row.id}.ome.tif"
        stack, lost = read_stack(Path(str(cells["path_tiff"])))
        if override or not (out / image).exists():
            write_tiff(out / image, stack, CHANNELS, pixel_size)
        if progress is not None:
            progress(number, len(table))
        label = {"label": cells["label"]} if "label" in cells else {}
        rows.append({"id": row.id, "image": image, **label, "overflowed": lost})
    made = pd.DataFrame(rows)
    write_text(out / "images.csv", made.to_csv(index=False))
    return made


def read_scores(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table of fields with a column for each model: the fields, and their scores one by one.

    The scores have `path_tiff, kind, model, score`: `kind` is `efficacy` for the interpreters
    (`…/mg_model_*`) and `pcc` for the predictors (`…/unet_model_*`). A score of -1, which the
    scripts wrote for none, is NaN: undefined, to be counted and not averaged.
    """
    table = read_table(path)
    place = "path_tiff" if "path_tiff" in table else "combined_image_storage_path"
    kinds = {
        column: (kind, found.group())
        for column in table
        for kind, pattern in _MODELS.items()
        if (found := pattern.search(str(column)))
    }
    if place not in table or not kinds:
        raise DataError(f"{path} has no path_tiff, or no column of a model: it is no such table")
    scores = [
        pd.DataFrame(
            {"path_tiff": table[place], "kind": kind, "model": model}
            | {"score": _numbers(table[column], f"{column} of {path}")}
        )
        for column, (kind, model) in kinds.items()
    ]
    return table.drop(columns=[*kinds]), pd.concat(scores, ignore_index=True)


def read_by_threshold(path: Path) -> pd.DataFrame:
    """A table of efficacy, size or context: a row for each field, a column for each threshold.

    Columns are numbers in order: 0.30000000000000004 is 0.3. What the scripts could not have (-1)
    is NaN: undefined, to be counted and not averaged.
    """
    table = read_table(path)
    if "path_tiff" in table:
        table = table.set_index("path_tiff")
    try:
        thresholds = [round(float(str(column)), 6) for column in table]
    except ValueError as error:
        raise DataError(f"{path} has columns that are no thresholds: {error}") from error
    if not thresholds or len({*thresholds}) < len(thresholds):
        raise DataError(f"{path} has the thresholds {thresholds}; each must be there once")
    parts = [_numbers(table[column], f"{column} of {path}").to_numpy() for column in table]
    made = pd.DataFrame(np.stack(parts, 1), index=table.index, columns=thresholds)
    return made[sorted(thresholds)]


def _row(cells: dict[object, object], folder: Path) -> Row:
    place = Path(str(cells["path_tiff"]))
    name = place.relative_to(folder.resolve())
    keep = {str(k): v for k, v in cells.items() if k != "path_tiff"}
    meta = {k: v for k, v in keep.items() if isinstance(v, int | float | str) and v == v}
    return Row(id=bare_name(name), images=((None, place),), meta=meta | {"file": name.as_posix()})


def _numbers(column: pd.Series, where: str) -> pd.Series:
    try:
        numbers = column.astype(float)
    except ValueError as error:
        raise DataError(f"{where} has a cell that is no number: {error}") from error
    return numbers.where(np.isfinite(numbers) & (numbers != NOTHING))
