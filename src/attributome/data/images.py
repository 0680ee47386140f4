"""Image files into arrays `(c, *s)`, with channel names and pixel size from their metadata."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from attributome.core.errors import DataError
from attributome.data.axes import (
    Found,
    arrange,
    arranged_shape,
    check_size,
    kept_axes,
    place_of,
    settle,
)
from attributome.data.omezarr import find_zarr, is_zarr
from attributome.data.plain import find_npy, find_png
from attributome.data.tiff import find_tiff, write_tiff

__all__ = ["FORMATS", "Picture", "probe_image", "read_image", "read_labels", "write_tiff"]

FORMATS: Mapping[str, Callable[[Path], Found]] = {
    ".tif": find_tiff,
    ".tiff": find_tiff,
    ".png": find_png,
    ".npy": find_npy,
    ".zarr": find_zarr,
}
MAX_BYTES = 2**32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """One image file in memory; `pixel_size` is in micrometres along each spatial axis."""

    array: Float32[np.ndarray, "c *s"]
    channels: tuple[str, ...]
    pixel_size: tuple[float, ...] | None
    axes: str


def read_image(path: Path, *, axes: str | None = None, max_bytes: int = MAX_BYTES) -> Picture:
    """Read an image, after a look at what it declares. `axes` overrules the file's own."""
    found = find(path)
    said = settle(path, found, axes)
    check_size(path, found, max_bytes)
    array = arrange(found.load(), said)
    with np.errstate(over="ignore"):  # what float32 cannot hold is found just below
        array = np.ascontiguousarray(array, np.float32)
    wrong = ~np.isfinite(array)
    if wrong.any():
        raise DataError(
            f"{path} holds {int(wrong.sum())} pixels that are NaN or infinite, the first at "
            f"{place_of(array, wrong)}: every pixel must be a number that float32 can hold"
        )
    return Picture(
        array=array,
        channels=_channels(found, len(array)),
        pixel_size=_pixel_size(found, kept_axes(said, found.shape)),
        axes=kept_axes(said, found.shape),
    )


def probe_image(
    path: Path, *, axes: str | None = None
) -> tuple[tuple[int, ...], str, tuple[str, ...], tuple[float, ...] | None, np.dtype]:
    """Shape `(c, *s)`, axes, channels, pixel size and the file's dtype, from metadata alone."""
    found = find(path)
    said = settle(path, found, axes)
    shape, kept = arranged_shape(said, found.shape), kept_axes(said, found.shape)
    return shape, kept, _channels(found, shape[0]), _pixel_size(found, kept), found.dtype


def read_labels(
    path: Path, *, axes: str | None = None, max_bytes: int = MAX_BYTES
) -> Int32[np.ndarray, "*s"]:
    """Read a label image `(*s)`: 0 is background, every other number a region."""
    found = find(path)
    said = settle(path, found, axes)
    check_size(path, found, max_bytes)
    if found.dtype.kind not in "bui":
        raise DataError(
            f"{path} holds {found.dtype} values: labels are whole numbers, save integers"
        )
    array = arrange(found.load(), said)
    if len(array) != 1:
        raise DataError(f"{path} has {len(array)} channels: a label image has one")
    if array.min() < 0 or array.max() > np.iinfo(np.int32).max:
        raise DataError(
            f"{path} has labels from {array.min()} to {array.max()}: they must be 0 to 2^31"
        )
    return np.ascontiguousarray(array[0], np.int32)


def find(path: Path) -> Found:
    """What a file declares, by its format."""
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if is_zarr(path):
        return find_zarr(path)
    if path.suffix.lower() not in FORMATS or path.is_dir():
        raise DataError(f"{path} is not an image: the formats are {', '.join(FORMATS)}")
    try:
        return FORMATS[path.suffix.lower()](path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _channels(found: Found, count: int) -> tuple[str, ...]:
    """The file's names, or c0, c1 … where it does not name every channel."""
    named = found.channels if len(found.channels) == count else ()
    return named or tuple(f"c{i}" for i in range(count))


def _pixel_size(found: Found, kept: str) -> tuple[float, ...] | None:
    """Micrometres per pixel where the file says so for every spatial axis."""
    sizes = found.sizes or {}
    space = kept[1:]
    return tuple(sizes[axis] for axis in space) if set(space) <= set(sizes) else None
