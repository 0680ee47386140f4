"""Labelled yeast cells as DeepLoc (Kraus et al. 2017) packed those of Chong et al. (2015): HDF5.

A file has numbered chunks: `data1`, `data2`, … with a flat row of two planes of 64 x 64 pixels for
each cell (protein first), `Index1`, … with its class as one number 1 among zeros, and perhaps
`Info1`, … with what CellProfiler measured. The published unpacker of paired cell inpainting reads
the first chunk only; here a file is all of its chunks, in the order of their numbers.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.cells import Block, Cells, Refused, gather, per_block

SIDE = 64
CHANNELS = ("protein", "marker")
MERGE: Mapping[str, str] = MappingProxyType({"SPINDLEPOLE": "SPINDLE"})
"""Classes that count as another: one cell shows either, or both, by how it lies."""
FIELD = ("cscreen", "ImageNumber")
"""Columns of `Info` that say which image a cell comes from, where they are there."""


def read_chong(
    paths: Sequence[Path],
    *,
    merge: Mapping[str, str] = MERGE,
    drop: Sequence[str] = (),
    targets: Sequence[str] = ("protein",),
    folder: Path | None = None,
) -> Cells:
    """The cells of several files, with the channels `protein` and `marker`, as they are stored.

    `merge` says which class counts as which other, and `drop` which are left out (such as DEAD and
    GHOST, after merging); classes that are not there are refused by name. Columns are `id`
    (`<file>_<chunk>_<row>`, rows from 0), `group` and `label` (the class), `field` (`<file>_` and
    the image that `Info` names, or else the chunk) and `set`, the name of the file without its
    end. One block is in memory at a time, or all crops without a `folder`. A row that is
    of no class, or of several, or has a pixel that is no number, stands in `rejected`.
    """
    try:
        import h5py  # noqa: F401 (whether it is there)
    except ImportError as error:
        raise UsageError(
            "these files are HDF5, which h5py reads: install attributome[keras]"
        ) from error
    if not paths:
        raise UsageError("no files; give one or more")
    stems = [Path(path).stem for path in paths]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise UsageError(f"two files are called {twice!r}, so that their cells would share names")
    opened = [path for path in map(Path, paths) if _has(path, merge, drop)]
    rejected: list[Refused] = []
    return gather(
        _blocks(opened, merge, drop, rejected),
        channels=CHANNELS,
        targets=targets,
        markers=[name for name in CHANNELS if name not in targets],
        rejected=rejected,
        about={
            "files": [path.name for path in opened],
            "merge": dict(merge),
            "drop": [*drop],
        },
        folder=folder,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """One numbered part of a file: its crops (not read yet), and each row's class and image."""

    number: int
    crops: Any
    classes: Sequence[str]
    of: Int[np.ndarray, " n"]
    """The number of the class, or -1 where a row is of none or of several."""
    images: Sequence[str] | None


def _has(path: Path, merge: Mapping[str, str], drop: Sequence[str]) -> bool:
    """True, once it is clear that every chunk is whole and that the classes asked for are there."""
    with _open(path) as file:
        for chunk in _chunks(file, path):
            for name in merge:
                if name not in chunk.classes:
                    raise UsageError(
                        f"{path} has no class {name!r} to merge; it has {', '.join(chunk.classes)}"
                    )
            after = {merge.get(name, name) for name in chunk.classes}
            for name in drop:
                if name not in after:
                    raise UsageError(
                        f"{path} has no class {name!r} to drop; after merging it has "
                        f"{', '.join(sorted(after))}"
                    )
    return True


def _blocks(
    paths: Sequence[Path], merge: Mapping[str, str], drop: Sequence[str], rejected: list[Refused]
) -> Iterator[Block]:
    step = per_block(len(CHANNELS), SIDE, SIDE)
    for path in paths:
        with _open(path) as file:
            for chunk in _chunks(file, path):
                names = [merge.get(name, name) for name in chunk.classes]
                for start in range(0, len(chunk.of), step):
                    some = slice(start, start + step)
                    crops = np.asarray(chunk.crops[some], np.float32)
                    block = _block(chunk, start, crops, names, drop, path.stem, rejected)
                    if len(block[0]):
                        yield block


def _block(
    chunk: Chunk,
    start: int,
    flat: Float32[np.ndarray, "b p"],
    names: Sequence[str],
    drop: Sequence[str],
    stem: str,
    rejected: list[Refused],
) -> Block:
    finite = np.isfinite(flat).all(1)
    rows, kept = [], []
    for i, (crop, good) in enumerate(zip(flat, finite, strict=True)):
        at = start + i
        where, code = f"{stem}_{chunk.number}_{at}", int(chunk.of[at])
        if code < 0:
            rejected.append((where, "", "its row of Index does not hold one 1 and zeros"))
        elif names[code] in drop:
            continue
        elif not good:
            rejected.append((where, names[code], "some pixels are not finite"))
        else:
            image = str(chunk.number) if chunk.images is None else chunk.images[at]
            rows.append((where, names[code], f"{stem}_{image}", names[code], stem))
            kept.append(crop)
    table = pd.DataFrame(rows, columns=["id", "group", "field", "label", "set"], dtype=object)
    crops = np.array(kept, np.float32).reshape(len(kept), len(CHANNELS), SIDE, SIDE)
    return table, crops, None


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"cannot read {path} as HDF5: {error}") from error
    with file:
        try:
            yield file
        except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is damaged: {error}") from error


def _chunks(file: Any, path: Path) -> Iterator[Chunk]:
    """Chunks by rising number, every shape looked at before a row is read."""
    numbers = {
        what: sorted(int(m[1]) for m in (re.fullmatch(rf"{what}([0-9]+)", n) for n in file) if m)
        for what in ("data", "Index")
    }
    if not numbers["data"]:
        has = ", ".join(file) or "nothing"
        raise DataError(f"{path} has no chunks data1, data2, …; it has {has}")
    for a, b in (("data", "Index"), ("Index", "data")):
        alone = [number for number in numbers[a] if number not in numbers[b]]
        if alone:
            raise DataError(f"{path} has {a}{alone[0]} and no {b}{alone[0]}; it is not whole")
    first = numbers["data"][0]
    for number in numbers["data"]:
        crops, index = (_array(file, f"{what}{number}", path) for what in ("data", "Index"))
        wanted = len(CHANNELS) * SIDE**2
        if crops.ndim != 2 or crops.shape[1] != wanted:
            raise DataError(
                f"data{number} of {path} has shape {crops.shape}; its rows must hold {wanted} "
                f"numbers, which are {len(CHANNELS)} planes of {SIDE} x {SIDE}"
            )
        owner = number if f"Index{number}_columns" in file else first
        classes = _texts(file, f"Index{owner}_columns", path)
        if index.shape != (len(crops), len(classes)):
            raise DataError(
                f"Index{number} of {path} has shape {index.shape}; {len(crops)} cells of "
                f"{len(classes)} classes need {(len(crops), len(classes))}"
            )
        hot = np.asarray(index[()], np.float64)
        single = ((hot == 0) | (hot == 1)).all(1) & ((hot == 1).sum(1) == 1)
        yield Chunk(
            number=number,
            crops=crops,
            classes=classes,
            of=np.where(single, hot.argmax(1), -1),
            images=_images(file, number, first, len(crops), path),
        )


def _images(file: Any, number: int, first: int, count: int, path: Path) -> list[str] | None:
    """The image of each row where `Info` names it, as text."""
    owner = number if f"Info{number}_columns" in file else first
    if f"Info{number}" not in file or f"Info{owner}_columns" not in file:
        return None
    columns = _texts(file, f"Info{owner}_columns", path)
    info = _array(file, f"Info{number}", path, kinds="fiubSO")
    if info.shape != (count, len(columns)):
        raise DataError(
            f"Info{number} of {path} has shape {info.shape}; {count} cells with {len(columns)} "
            f"columns need {(count, len(columns))}"
        )
    if FIELD[-1] not in columns:
        return None
    parts = [_said(info[:, columns.index(name)]) for name in FIELD if name in columns]
    return [" ".join(words) for words in zip(*parts, strict=True)]


def _said(values: np.ndarray) -> list[str]:
    """Values as texts, whole numbers without a point."""
    texts = [each.decode() if isinstance(each, bytes) else each for each in values.tolist()]
    return [
        str(int(each)) if isinstance(each, float) and each.is_integer() else str(each)
        for each in texts
    ]


def _texts(file: Any, name: str, path: Path) -> list[str]:
    found = _array(file, name, path, kinds="SO")
    return [text.decode() if isinstance(text, bytes) else str(text) for text in found[()].ravel()]


def _array(file: Any, name: str, path: Path, kinds: str = "fiub") -> Any:
    """An array that lies in the file itself; links and arrays of other files are not followed."""
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        raise DataError(f"{path} has no {name}")
    if not isinstance(link, h5py.HardLink) or not isinstance(file[name], h5py.Dataset):
        raise DataError(f"{name} of {path} is no array of this file, and links are not followed")
    array = file[name]
    if array.external or array.is_virtual:
        raise DataError(f"{name} of {path} lies in another file, which is not read")
    if array.dtype.kind not in kinds:
        what = "texts" if "f" not in kinds else "numbers"
        raise DataError(f"{name} of {path} holds {array.dtype}, and not {what}")
    return array
