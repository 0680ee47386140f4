"""PNG and NPY: images without metadata."""

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL.PngImagePlugin import PngImageFile

from attributome.core.errors import DataError
from attributome.data.axes import Found

_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_NPY_AXES = {2: "YX", 3: "CYX", 4: "CZYX"}


def find_png(path: Path) -> Found:
    """What a PNG declares; its header is read here, so that a bomb is seen before it is opened."""
    with path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
        raise DataError(f"{path} is not a PNG: its first bytes are {head[:8]!r}")
    width, height, bits, colour = struct.unpack(">IIBB", head[16:26])
    if colour not in (0, 2) or bits not in (1, 8, 16):
        raise DataError(
            f"{path} is a {bits}-bit {_COLOURS.get(colour, 'unknown')} PNG: save it as grey or RGB "
            f"with 8 or 16 bits"
        )
    return Found(
        shape=(height, width) if colour == 0 else (height, width, 3),
        axes="YX" if colour == 0 else "YXS",
        dtype=np.dtype(np.uint16 if bits == 16 else np.uint8),
        load=lambda: _load_png(path, bits, colour),
        channels=("R", "G", "B") if colour == 2 else (),
    )


def _load_png(path: Path, bits: int, colour: int) -> Shaped[np.ndarray, "..."]:
    try:
        if bits == 16 and colour == 2:
            # Pillow keeps the high bytes of 16-bit colours; read as little-endian, the low ones
            high, low = (_pixels(path, f"RGB;16{end}") for end in "BL")
            return np.asarray(high.astype(np.uint16) << 8 | low)
        return _pixels(path, None)
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise DataError(f"{path} is a PNG whose pixels cannot be read: {error}") from error


def _pixels(path: Path, raw: str | None) -> np.ndarray:
    with path.open("rb") as file, PngImageFile(file) as image:
        if raw:
            image.tile = [tile._replace(args=raw) for tile in image.tile]
        image.load()
        array = np.asarray(image)
    return array.astype(np.uint8) if array.dtype == bool else array


def find_npy(path: Path) -> Found:
    """What an NPY file declares; objects are refused."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} is not an NPY array of numbers: {error}") from error
    return Found(
        shape=array.shape,
        axes=_NPY_AXES.get(array.ndim, "?" * array.ndim),
        dtype=array.dtype,
        load=lambda: array,
    )
