"""Axes, units and declared sizes: what every image format has in common."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attributome.core.errors import DataError, UsageError

LETTERS = "TCZYXS"
MICROMETRES: Mapping[str, float] = {
    "pm": 1e-6, "picometer": 1e-6,
    "å": 1e-4, "angstrom": 1e-4,
    "nm": 1e-3, "nanometer": 1e-3,
    "µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "mm": 1e3, "millimeter": 1e3,
    "cm": 1e4, "centimeter": 1e4,
    "inch": 25400.0, "in": 25400.0,
    "m": 1e6, "meter": 1e6,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a file says about its image before a pixel is read, and how to read the pixels.

    `shape` and `axes` are the file's own; `sizes` are micrometres per pixel by axis letter;
    `chunk_bytes` is the largest piece that has to be unpacked at once.
    """

    shape: tuple[int, ...]
    axes: str
    dtype: np.dtype
    load: Callable[[], np.ndarray]
    channels: tuple[str, ...] = ()
    sizes: Mapping[str, float] | None = None
    chunk_bytes: int = 0


def micrometres(value: float | str | None, unit: str | None) -> float | None:
    """A length in micrometres, or None where the file does not say one."""
    # the micro sign has two code points, and ImageJ writes it as an escape
    name = (unit or "").replace("\\u00b5", "µ").replace("\\u00B5", "µ").replace("μ", "µ")
    factor = MICROMETRES.get(name.strip().lower().replace("metre", "meter"))
    try:
        length = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return length * factor if factor and math.isfinite(length) and length > 0 else None


def check_axes(axes: str) -> None:
    """Refuse an `axes` argument that is not a spelling of an image."""
    wrong = [letter for letter in axes if letter not in LETTERS]
    if wrong or len(set(axes)) < len(axes) or not {"Y", "X"} <= set(axes):
        raise UsageError(
            f"axes {axes!r} are not an image: write each axis once as a capital letter, Y and X "
            f"and where they exist C (channel), Z and T, such as 'CZYX'"
        )


def settle(path: Path, found: Found, axes: str | None) -> str:
    """The axes to read a file by: what the caller says, else what the file says."""
    if axes is not None:
        check_axes(axes)
        if len(axes) != len(found.shape):
            raise DataError(
                f"{path} has {len(found.shape)} axes (shape {found.shape}), not the "
                f"{len(axes)} of axes={axes!r}"
            )
    said = axes if axes is not None else found.axes
    strange = sorted({letter for letter in said if letter not in LETTERS})
    if strange or len(set(said)) < len(said):
        plain = {2: "'YX'", 3: "'ZYX' or 'CYX'", 4: "'CZYX' or 'ZCYX'"}.get(len(said), "'TCZYX'")
        raise DataError(
            f"{path} has axes {said!r} (shape {found.shape}), and {', '.join(strange) or said} "
            f"does not say what it is: give axes={plain}"
        )
    if not {"Y", "X"} <= set(said):
        raise DataError(f"{path} has axes {said!r} (shape {found.shape}): an image needs Y and X")
    length = dict(zip(said, found.shape, strict=True))
    if length.get("T", 1) != 1:
        raise DataError(
            f"{path} holds {length['T']} time points (axes {said!r}, shape {found.shape}): a "
            f"sample is one image, so save each time point as a file of its own"
        )
    if "S" in said and "C" in said:
        raise DataError(
            f"{path} has channels (C) and colour samples (S) at once (axes {said!r}): save the "
            f"colours as channels"
        )
    if 0 in found.shape:
        raise DataError(f"{path} has shape {found.shape}: it holds no pixels")
    if found.dtype.kind not in "buif":
        raise DataError(f"{path} holds {found.dtype} values: an image holds real numbers")
    return said


def kept_axes(axes: str, shape: tuple[int, ...]) -> str:
    """The axes that a file's image has in memory, `CYX` or `CZYX`: a single plane has no Z."""
    length = dict(zip(axes, shape, strict=True))
    return "CZYX" if length.get("Z", 1) > 1 else "CYX"


def arranged_shape(axes: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape `(c, *s)` of a file's image in memory."""
    length = dict(zip(axes.replace("S", "C"), shape, strict=True))
    return tuple(length.get(letter, 1) for letter in kept_axes(axes, shape))


def arrange(array: np.ndarray, axes: str) -> np.ndarray:
    """An array of the file's axes as `(c, *s)`."""
    kept = kept_axes(axes, array.shape)
    names = axes.replace("S", "C")
    for letter in "TZ":
        if letter in names and letter not in kept:
            array = array.take(0, axis=names.index(letter))
            names = names.replace(letter, "")
    if "C" not in names:
        array, names = array[None], "C" + names
    return array.transpose([names.index(letter) for letter in kept])


def check_size(path: Path, found: Found, max_bytes: int) -> None:
    """Refuse, before a pixel is read, what would not fit."""
    pixels = math.prod(found.shape)
    needed = max(pixels * max(found.dtype.itemsize, 4), found.chunk_bytes)
    if needed >= max_bytes:
        size = " x ".join(map(str, found.shape))
        raise DataError(
            f"{path} declares {size} pixels of {found.dtype}, which need {needed} bytes in memory, "
            f"and the limit is {max_bytes} bytes: crop or bin the image, or raise max_bytes"
        )


def place_of(array: np.ndarray, wrong: np.ndarray) -> str:
    """Where the first marked pixel of an array `(c, *s)` is, in words."""
    index = np.unravel_index(int(wrong.argmax()), array.shape)
    letters = "czyx" if array.ndim == 4 else "cyx"
    return ", ".join(f"{letter}={at}" for letter, at in zip(letters, index, strict=True))
