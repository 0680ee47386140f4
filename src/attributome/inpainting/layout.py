"""Crops in the layout of Lu et al. (2019): `<root>/<group>/<cell>_<channel>.tif`, one plane each.

A file belongs to a channel by the end of its name alone: in the yeast data `rfp` also stands in
the middle, as in `AAC1_1_rfp_10_gfp.tif`.
"""

import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from jaxtyping import Float32

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.cells import Block, Cells, Refused, gather, per_block

Image = Float32[np.ndarray, "c h w"]
Reader = Callable[[Path], Image]

YEAST: Mapping[str, str] = {"gfp": "protein", "rfp": "cytosol"}
HUMAN: Mapping[str, str] = {"green": "protein", "blue": "nucleus", "red": "microtubules"}
"""The ends of file names, and what we call these channels; the protein first."""

NAMES: Mapping[str, str] = {
    "yeast": r"(?P<protein>.+)_(?P<field>\d+)_rfp_(?P<cell>\d+)",
    "human": r"(?P<plate>\d+)_(?P<well>[A-Z]\d+)_(?P<field>\d+)(?:_cr\w+?)?_(?P<cell>\d+)",
}
"""What the cells of the published data sets are called, and what their names say."""

RESERVED = ("id", "group", "folder")
MAX_BYTES = 2**30
"""More than this in one file of crops is a damaged header."""

LOOKED_AT = 25
"""Cells that vote on the size of a crop."""

# a broken header can lead the reader anywhere
_BROKEN = (
    tifffile.TiffFileError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def read_layout(
    root: Path,
    *,
    channels: Mapping[str, str] = YEAST,
    targets: Sequence[str] | None = None,
    names: str | None = None,
    group: Sequence[str] = ("folder",),
    size: tuple[int, int] | None = None,
    folder: Path | None = None,
    read: Reader | None = None,
) -> Cells:
    """Cells of the folders in `root`, sorted by folder and name.

    `channels` maps the ends of file names to channels, `targets` are those to predict (the first,
    if not given) and the others are markers. `names` is a key of `NAMES` or a pattern whose named
    groups become columns; a `field` is kept with its folder, as `AAC1_1`, and without one each
    folder counts as one field (`about["fields"]` says which). `group` are the columns whose values
    pairs share, as `("folder", "field")` for pairs within an image. With a `folder`, crops go there
    and not into memory. `read` replaces `read_planes` for other formats.

    A cell that lacks a channel, cannot be read, is named otherwise or has another size than most
    is not used, and stands in `rejected` with the reason. Files of other channels are only
    counted, as `about["other_files"]`.
    """
    wanted = tuple(channels.values())
    chosen = tuple(targets) if targets is not None else wanted[:1]
    pattern = _pattern(names)
    found, others = _files(root, channels)
    rejected: list[Refused] = []
    table = _table(found, channels, pattern, rejected)
    if not len(table):
        raise DataError(
            f"{root} has no cell with all of the channels {', '.join(channels)}: {len(rejected)} "
            f"are incomplete or named otherwise, the first {rejected[0][0]}: {rejected[0][2]}"
        )
    table["group"] = grouped(table, group)
    files = [[found[where][end] for end in channels] for where in table.pop("_at")]
    reader = read or read_planes
    size = size or usual_size(files, reader)
    return gather(
        _blocks(table, files, size, reader, rejected),
        channels=wanted,
        targets=chosen,
        markers=[name for name in wanted if name not in chosen],
        rejected=rejected,
        about={
            "layout": str(root),
            "files": dict(channels),
            "other_files": others,
            "fields": "names" if "field" in pattern.groupindex else "folders",
        },
        folder=folder,
    )


def grouped(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The values of some columns, joined: cells that agree in all of them are one group."""
    lost = [name for name in columns if name not in table]
    if lost or not columns:
        has = ", ".join(map(str, table.columns))
        raise UsageError(f"cells are grouped by {', '.join(columns) or 'nothing'}; there are {has}")
    texts = [table[name].astype(str).tolist() for name in columns]
    return ["/".join(values) for values in zip(*texts, strict=True)]


def read_planes(path: Path) -> Image:
    """The planes `(c, h, w)` of a TIFF or NPY; whole numbers as shares of their type's largest.

    So did the readers of the published code (255 of uint8 is 1); other numbers stay as they are.
    """
    try:
        plain = path.suffix.lower() == ".npy"
        array = np.load(path, allow_pickle=False) if plain else _tiff(path)
    except DataError:
        raise
    except _BROKEN as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"it cannot be read: {reason}") from error
    if array.dtype.kind not in "buif" or array.ndim not in (2, 3) or not array.size:
        raise DataError(f"it holds {array.dtype} of shape {array.shape}, and no planes of numbers")
    if array.dtype.kind in "ui":
        array = array / np.iinfo(array.dtype).max
    with np.errstate(over="ignore"):  # what float32 cannot hold is found just below
        made = np.asarray(array, np.float32).reshape(-1, *array.shape[-2:])
    if not np.isfinite(made).all():
        raise DataError(f"it has {int((~np.isfinite(made)).sum())} pixels that are NaN or infinite")
    return made


def _tiff(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path, _multifile=False) as file:
        if len(file.series) != 1:
            raise DataError(f"it holds {len(file.series)} images and not one")
        if file.series[0].nbytes > MAX_BYTES:
            raise DataError(f"it declares {file.series[0].nbytes} bytes of pixels")
        end = path.stat().st_size
        for page in file.series[0].pages:
            # where a strip lies behind the end, tifffile would go on with zeros
            spans = zip(page.dataoffsets, page.databytecounts, strict=True) if page else [(0, 0)]
            if any(not count or start + count > end for start, count in spans):
                raise DataError(f"it is cut short: it ends at byte {end}, before its last pixels")
        pixels: np.ndarray = file.series[0].asarray()
    return pixels


def _pattern(names: str | None) -> re.Pattern[str]:
    text = ".*" if names is None else NAMES.get(names, names)
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(
            f"names={names!r} is neither one of {', '.join(NAMES)} nor a pattern: {error}"
        ) from error
    if taken := [name for name in pattern.groupindex if name in RESERVED]:
        raise UsageError(f"names={names!r} finds a {taken[0]!r}, and a cell has one already")
    return pattern


def _files(
    root: Path, channels: Mapping[str, str]
) -> tuple[dict[tuple[str, str], dict[str, Path]], int]:
    """Files by (folder, cell) and end of name, in order; and how many belong to no channel."""
    if not root.is_dir():
        raise DataError(f"{root} is no folder: name the one whose folders hold the crops")
    longest = sorted(channels, key=len, reverse=True)  # of `_gfp` and `_raw_gfp`, the second
    found: dict[tuple[str, str], dict[str, Path]] = {}
    ends: Counter[str] = Counter()
    for home in sorted(path for path in root.iterdir() if path.is_dir()):
        for path in sorted(home.iterdir()):
            if path.name.startswith(".") or path.suffix.lower() not in (".tif", ".tiff", ".npy"):
                continue
            end = next((end for end in longest if path.stem.endswith(f"_{end}")), None)
            if end is None:
                ends[path.stem.rpartition("_")[2]] += 1
                continue
            cell = found.setdefault((home.name, path.stem.removesuffix(f"_{end}")), {})
            if end in cell:
                raise DataError(f"{cell[end]} and {path.name} are one channel of one cell")
            cell[end] = path
    if not found:
        seen = ", ".join(f"_{end}" for end, _ in ends.most_common(5))
        raise DataError(
            f"{root} has no `<folder>/<cell>_<channel>.tif` for the channels "
            f"{', '.join(channels)}" + (f"; its files end in {seen}" if ends else "")
        )
    return found, ends.total()


def _table(
    found: Mapping[tuple[str, str], Mapping[str, Path]],
    channels: Mapping[str, str],
    pattern: re.Pattern[str],
    rejected: list[Refused],
) -> pd.DataFrame:
    """One row per whole cell; `_at` is its key in `found`."""
    rows = []
    for (home, cell), files in found.items():
        lacking = [end for end in channels if end not in files]
        said = pattern.fullmatch(cell)
        if lacking:
            reason = f"it has no file for {', '.join(lacking)}"
            rejected.append((f"{home}/{cell}", ", ".join(files), reason))
        elif said is None:
            rejected.append((f"{home}/{cell}", cell, f"its name is not {pattern.pattern}"))
        else:
            meta = {name: value or "" for name, value in said.groupdict().items()}
            place = f"{home}_{meta['field']}" if meta.get("field") else home
            row = {"id": f"{home}/{cell}", "group": "", "field": place, "folder": home}
            rows.append(
                row | {k: v for k, v in meta.items() if k != "field"} | {"_at": (home, cell)}
            )
    return pd.DataFrame(rows)


def usual_size(files: Sequence[Sequence[Path]], read: Reader) -> tuple[int, int]:
    """The size that most of some cells have, spread over all; by their first files."""
    votes: Counter[tuple[int, int]] = Counter()
    spread = np.unique(np.linspace(0, len(files) - 1, LOOKED_AT).astype(int)).tolist()
    for turn, i in enumerate([*spread, *range(len(files))]):
        if votes and turn >= len(spread):
            break
        try:
            votes[read(files[i][0]).shape[1:]] += 1
        except DataError:
            continue  # it is listed with its reason when its turn comes
    if not votes:
        raise DataError(f"none of {len(files)} cells can be read; the first is {files[0][0]}")
    return votes.most_common(1)[0][0]


def _blocks(
    table: pd.DataFrame,
    files: Sequence[Sequence[Path]],
    size: tuple[int, int],
    read: Reader,
    rejected: list[Refused],
) -> Iterator[Block]:
    step = per_block(len(files[0]), *size)
    for start in range(0, len(table), step):
        rows, crops = [], []
        for row in range(start, min(start + step, len(table))):
            crop = _crop(table["id"].iloc[row], files[row], size, read, rejected)
            if crop is not None:
                rows.append(row)
                crops.append(crop)
        if rows:
            yield table.iloc[rows], np.stack(crops), None


def _crop(
    name: str,
    files: Sequence[Path],
    size: tuple[int, int],
    read: Reader,
    rejected: list[Refused],
) -> Image | None:
    """The planes of a cell, or None and a line in `rejected`."""
    planes = []
    for path in files:
        try:
            plane = read(path)
        except DataError as error:
            rejected.append((name, path.name, str(error)))
            return None
        if plane.shape != (1, *size):
            shape, usual = (" x ".join(map(str, s)) for s in (plane.shape, (1, *size)))
            rejected.append((name, path.name, f"it is {shape} and not {usual}"))
            return None
        planes.append(plane[0])
    return np.stack(planes)
