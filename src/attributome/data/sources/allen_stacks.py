"""From the files of the Allen archive to one stack of seven channels, `(c, z, y, x)` in uint16.

Fields bring bright field, three stains and three segmentations on one grid. Cells bring their
stains and segmentations as crops whose planes are as near to each other as their pixels, and their
bright field only in the field, whose planes are further apart: the stack has the planes of the
field, and of the crops those that are nearest to them.
"""

import ast
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt16
from scipy import ndimage

from attributome.core.errors import DataError
from attributome.data.axes import arrange, check_size, kept_axes, settle
from attributome.data.images import MAX_BYTES, find

CHANNELS = (
    *("bright_field", "dna", "membrane", "structure"),
    *("dna_segmentation", "membrane_segmentation", "structure_segmentation"),
)
STAINS = 4
"""Channels that are intensities; the others are labels."""

MEMBRANE_SEGMENTATION = 5

FIELD_FILES = (
    *("SourceReadPath", "NucleusSegmentationReadPath"),
    *("MembraneSegmentationReadPath", "StructureSegmentationReadPath"),
)
FIELD_CHANNELS = (
    *("ChannelNumberBrightfield", "ChannelNumber405", "ChannelNumber638", "ChannelNumberStruct"),
)
CELL_FILES = ("fov_path", "crop_raw", "crop_seg", "struct_seg_path")

Cells = Mapping[str, object]
Size = tuple[float, float, float]
Read = Callable[[Path], tuple[np.ndarray, Size | None]]


def read_source(path: Path, max_bytes: int = 4 * MAX_BYTES) -> tuple[np.ndarray, Size | None]:
    """The pixels `(c, z, y, x)` in the file's own numbers, and micrometres per pixel if it says."""
    found = find(path)
    said = settle(path, found, None)
    check_size(path, found, max_bytes)
    array = arrange(found.load(), said)
    if kept_axes(said, found.shape) == "CYX":
        array = array[:, None]
    sizes = found.sizes or {}
    known = (sizes["Z"], sizes["Y"], sizes["X"]) if set("ZYX") <= set(sizes) else None
    return array, known


def field_stack(
    row: Cells,
    files: Mapping[str, Path],
    *,
    z_step: float | None = None,
    pixel_size: Size | None = None,
    read: Read = read_source,
) -> tuple[UInt16[np.ndarray, "7 z y x"], Size]:
    """The stack of a field and its micrometres per pixel, from `row` and its `FIELD_FILES`.

    With `z_step`, planes are made anew that many micrometres apart: intensities between two planes
    in proportion, labels from the nearer one. `pixel_size` is used where neither the file nor the
    row says one.
    """
    source, known = read(files["SourceReadPath"])
    size = known or _row_size(row) or pixel_size
    if size is None:
        raise DataError(
            f"{files['SourceReadPath'].name} and its row say no pixel size; give one as pixel_size"
        )
    planes = [_channel(source, row, column, files["SourceReadPath"]) for column in FIELD_CHANNELS]
    for column in FIELD_FILES[1:]:
        labels, _ = read(files[column])
        place = column.replace("ReadPath", "ChannelIndex")
        planes.append(_channel(labels, row, place, files[column]))
    stack = stacked(planes, files["SourceReadPath"])
    if z_step is None:
        return stack, size
    return respaced(stack, z_step / size[0]), (z_step, *size[1:])


def cell_stack(
    row: Cells,
    files: Mapping[str, Path],
    *,
    z_ratio: float | None = None,
    pixel_size: Size | None = None,
    masked: bool = False,
    dilate: int = 0,
    read: Read = read_source,
) -> tuple[UInt16[np.ndarray, "7 z y x"], Size]:
    """The stack of a cell and its micrometres per pixel, from `row` and its `CELL_FILES`.

    `z_ratio` is how many planes of the crops one plane of the field spans: if None, as their pixel
    sizes say (the originals took 3 for all). With `masked`, all that is outside of the membrane,
    dilated by a square of `dilate` pixels in its plane, is 0.
    """
    box = _box(row)
    field, known = read(files["fov_path"])
    size = known or pixel_size
    if size is None:
        raise DataError(f"{files['fov_path'].name} says no pixel size; give one as pixel_size")
    raw, raw_size = read(files["crop_raw"])
    labels, _ = read(files["crop_seg"])
    structure, _ = read(files["struct_seg_path"])
    if z_ratio is None:
        crop_size = raw_size or _scale(row)
        if crop_size is None:
            raise DataError(f"{files['crop_raw'].name} says no pixel size; give z_ratio")
        z_ratio = size[0] / crop_size[0]
    long = tuple(stop - start for start, stop in box)
    for name, crop in (("crop_raw", raw), ("crop_seg", labels)):
        if crop.shape[1:] != long:
            raise DataError(
                f"{files[name].name} has shape {crop.shape[1:]}, and its roi {row['roi']} is {long}"
            )
    wide = _channel(field, row, "ChannelNumberBrightfield", files["fov_path"])
    if any(stop > n for (_, stop), n in zip(box[1:], wide.shape[1:], strict=True)):
        raise DataError(f"the roi {row['roi']} is larger than {files['fov_path'].name}")
    planes, slices = _matching(box[0], z_ratio, len(wide))
    window = (planes, slice(*box[1]), slice(*box[2]))
    names = _names(row)
    parts = [wide[window]]
    parts += [_named(raw, names, "crop_raw", name)[slices] for name in CHANNELS[1:STAINS]]
    parts += [_named(labels, names, "crop_seg", name)[slices] for name in CHANNELS[STAINS:6]]
    parts.append(_channel(structure, row, "", files["struct_seg_path"])[window])
    stack = stacked(parts, files["fov_path"])
    if masked:
        inside = stack[MEMBRANE_SEGMENTATION] > 0
        if dilate > 1:
            inside = ndimage.binary_dilation(inside, np.ones((1, dilate, dilate), bool))
        stack = stack * inside
    return stack, size


def respaced(stack: UInt16[np.ndarray, "c z y x"], factor: float) -> UInt16[np.ndarray, "c n y x"]:
    """Planes `factor` times as far from each other; the first `STAINS` channels are intensities.

    The volume stays: its planes are slabs, and the centres of the new ones lie in the old.
    """
    depth = stack.shape[1]
    count = max(1, round(depth / factor))
    centres = np.clip((np.arange(count) + 0.5) * factor - 0.5, 0, depth - 1)
    below = np.floor(centres).astype(int)
    above = np.minimum(below + 1, depth - 1)
    weight = (centres - below)[:, None, None]
    made = np.empty((len(stack), count, *stack.shape[2:]), np.uint16)
    for channel, old in enumerate(stack):
        if channel < STAINS:
            made[channel] = np.rint(old[below] * (1 - weight) + old[above] * weight)
        else:
            made[channel] = old[np.floor(centres + 0.5).astype(int)]
    return made


def _matching(crop: tuple[int, int], ratio: float, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Planes of the field whose centres lie in the crop, and the crop's planes that are nearest."""
    centres = np.floor((np.arange(depth) + 0.5) * ratio).astype(int)
    planes = np.flatnonzero((crop[0] <= centres) & (centres < crop[1]))
    if not len(planes):
        raise DataError(f"no plane of the field lies in planes {crop[0]} to {crop[1]} of the crop")
    return planes, centres[planes] - crop[0]


def _row_size(row: Cells) -> Size | None:
    """Micrometres per pixel as a row of fields has them."""
    values = [number_in(row.get(f"PixelScale{axis}")) for axis in "ZYX"]
    if any(value is None or value <= 0 for value in values):
        return None
    return tuple(value for value in values if value is not None)  # type: ignore[return-value]


def _scale(row: Cells) -> Size | None:
    """Micrometres per pixel as a row of cells has them."""
    if row.get("scale_micron") is None:
        return None
    values = _literal(row, "scale_micron")
    numbers = isinstance(values, list) and all(isinstance(v, int | float) for v in values)
    if not numbers or len(values) != 3 or min(values) <= 0:
        raise DataError(f"scale_micron is {values!r}; it must be three lengths")
    return (float(values[0]), float(values[1]), float(values[2]))


def _box(row: Cells) -> list[tuple[int, int]]:
    """Where a crop begins and ends, along z, y and x."""
    values = _literal(row, "roi")
    whole = isinstance(values, list | tuple) and all(type(value) is int for value in values)
    if not whole or len(values) != 6:
        raise DataError(f"roi is {values!r}; it must be six whole numbers")
    box = [(values[i], values[i + 1]) for i in (0, 2, 4)]
    if any(not 0 <= start < stop for start, stop in box):
        raise DataError(f"roi is {values!r}; each end must be behind its beginning")
    return box


def _names(row: Cells) -> Mapping[str, Sequence[str]]:
    values: dict[str, Sequence[str]] = _literal(row, "name_dict")
    if not isinstance(values, dict) or not {"crop_raw", "crop_seg"} <= set(values):
        raise DataError(f"name_dict is {values!r}; it must name the channels of the two crops")
    return values


def _literal(row: Cells, column: str) -> Any:
    """The Python literal that a table's cell holds: read, and never run."""
    try:
        return ast.literal_eval(str(row[column]))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"{column} is {row[column]!r}, which is no list or dict") from error


def _named(
    crop: np.ndarray, names: Mapping[str, Sequence[str]], kind: str, wanted: str
) -> Shaped[np.ndarray, "z y x"]:
    has = [*names[kind]]
    if wanted not in has or has.index(wanted) >= len(crop):
        raise DataError(f"{kind} has {len(crop)} channels, named {has}: there is no {wanted}")
    channel: np.ndarray = crop[has.index(wanted)]
    return channel


def _channel(array: np.ndarray, row: Cells, column: str, path: Path) -> np.ndarray:
    """The channel that a column numbers from 0; without a number, the only one."""
    number = number_in(row.get(column))
    if number is None and len(array) == 1:
        number = 0.0
    if number is None or number != int(number) or not 0 <= number < len(array):
        raise DataError(
            f"{path.name} has {len(array)} channels, and {column or 'nothing'} says {number}"
        )
    channel: np.ndarray = array[int(number)]
    return channel


def number_in(value: object) -> float | None:
    """The number from 0 that a cell of a table holds, or None."""
    if value is None or not re.fullmatch(r"\s*[0-9]+(\.[0-9]*)?([eE]-?[0-9]+)?\s*", str(value)):
        return None
    number = float(str(value))
    return number if math.isfinite(number) else None


def stacked(planes: Sequence[np.ndarray], path: Path) -> UInt16[np.ndarray, "c z y x"]:
    """Channels of one shape, all whole numbers that uint16 holds."""
    shapes = {plane.shape for plane in planes}
    if len(shapes) > 1:
        raise DataError(
            f"the channels of {path.name} have the shapes "
            f"{', '.join(str(plane.shape) for plane in planes)}: they must be on one grid"
        )
    made = np.empty((len(planes), *planes[0].shape), np.uint16)
    for name, plane, place in zip(CHANNELS, planes, made, strict=True):
        if plane.dtype.kind not in "bu" or plane.dtype.itemsize > 2:
            with np.errstate(invalid="ignore"):
                fits = (plane >= 0) & (plane <= 65535) & (plane == np.floor(plane))
            if not fits.all():
                raise DataError(
                    f"{name} of {path.name} has {int((~fits).sum())} values that are no whole "
                    f"numbers from 0 to 65535"
                )
        place[...] = plane
    return made
