"""TIFF, OME-TIFF and ImageJ TIFF: what they say, and their pixels."""

import logging
import math
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile
from jaxtyping import Shaped

from attributome.core.errors import DataError
from attributome.core.files import write_whole
from attributome.data.axes import Found, micrometres

_DAMAGE = re.compile("invalid (page|value) offset|corrupt")
# a broken header can lead the reader anywhere
_BROKEN = (
    tifffile.TiffFileError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def find_tiff(path: Path) -> Found:
    """What a TIFF declares."""
    try:
        with _open(path) as file:
            return _describe(path, file)
    except DataError:
        raise
    except (*_BROKEN, ElementTree.ParseError) as error:
        raise DataError(f"{path} is not a TIFF that can be read: {error}") from error


@contextmanager
def _open(path: Path) -> Iterator[tifffile.TiffFile]:
    """A TIFF whose own reports of damage are errors: the reader logs them and reads on."""
    said: list[str] = []
    log = logging.getLogger("tifffile")

    def listen(record: logging.LogRecord) -> bool:
        said.append(record.getMessage())
        return False

    log.addFilter(listen)
    try:
        # other files that an OME-TIFF names are not followed: they may lie outside the data's root
        with tifffile.TiffFile(path, _multifile=False) as file:
            kinds = [series.kind for series in file.series]
            if damage := [text for text in said if _DAMAGE.search(text)]:
                raise DataError(f"{path} is cut short or damaged: {damage[0]}")
            for kind in ("ome", "imagej"):
                if getattr(file, f"is_{kind}") and set(kinds) != {kind}:
                    raise DataError(f"{path} is damaged: its {kind} metadata do not fit its pages")
            yield file
    finally:
        log.removeFilter(listen)


def _describe(path: Path, file: tifffile.TiffFile) -> Found:
    if len(file.series) != 1:
        raise DataError(
            f"{path} holds {len(file.series)} images: save the one you mean as a file of its own"
        )
    series = file.series[0]
    if series.dtype is None:
        raise DataError(f"{path} does not say what its pixels are")
    ome = _ome(file.ome_metadata) if file.is_ome and file.ome_metadata else None
    sizes = _ome_sizes(ome) if ome is not None else _imagej_sizes(file)
    names = _ome_channels(ome) if ome is not None else _imagej_channels(file)
    if "S" in series.axes:
        names = ("R", "G", "B") if series.shape[series.axes.index("S")] == 3 else ()
        if series.shape[series.axes.index("S")] == 4:
            raise DataError(f"{path} has an alpha channel: save it as RGB or as separate channels")
    first = series.keyframe
    return Found(
        shape=tuple(series.shape),
        axes=series.axes,
        dtype=np.dtype(series.dtype),
        load=lambda: load_tiff(path),
        channels=names,
        sizes=sizes,
        chunk_bytes=math.prod(first.chunks) * first.dtype.itemsize,
    )


def load_tiff(path: Path) -> Shaped[np.ndarray, "..."]:
    """The pixels, after a look at whether the file holds all that it declares."""
    try:
        with _open(path) as file:
            series = file.series[0]
            end = path.stat().st_size
            # a contiguous stack may list its first page only
            whole = series.dataoffset is not None
            if whole and series.dataoffset + series.nbytes > end:
                raise DataError(
                    f"{path} is cut short: it declares {series.nbytes} bytes of pixels from byte "
                    f"{series.dataoffset} and ends at byte {end}"
                )
            for number, page in enumerate([] if whole else series.pages):
                _check_page(path, number, page, end)
            pixels: np.ndarray = series.asarray()
    except DataError:
        raise
    except (*_BROKEN, ImportError) as error:
        if "imagecodecs" in str(error):
            raise DataError(
                f"{path} is compressed with {_codec(path)}: install attributome[codecs] to read it"
            ) from error
        raise DataError(f"{path} has pixels that cannot be read: {error}") from error
    return pixels


def _check_page(
    path: Path, number: int, page: tifffile.TiffPage | tifffile.TiffFrame | None, end: int
) -> None:
    if page is None:
        raise DataError(
            f"{path} lacks plane {number} of those that it declares: the file is cut short, or "
            f"its planes are spread over several files, which have to be joined"
        )
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if count == 0 or offset + count > end:
            raise DataError(
                f"{path} is cut short: plane {number} needs bytes {offset} to {offset + count} "
                f"and the file ends at byte {end}"
            )


def _codec(path: Path) -> str:
    with _open(path) as file:
        return str(file.series[0].keyframe.compression.name)


def _ome(text: str) -> ElementTree.Element | None:
    root = ElementTree.fromstring(text)
    return next((e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"), None)


def _ome_sizes(pixels: ElementTree.Element) -> Mapping[str, float]:
    lengths = {
        axis: micrometres(
            pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")
        )
        for axis in "ZYX"
    }
    return {axis: length for axis, length in lengths.items() if length is not None}


def _ome_channels(pixels: ElementTree.Element) -> tuple[str, ...]:
    channels = [e for e in pixels if e.tag.rpartition("}")[2] == "Channel"]
    return tuple(e.get("Name") or f"c{i}" for i, e in enumerate(channels))


def _imagej_sizes(file: tifffile.TiffFile) -> Mapping[str, float]:
    """Only ImageJ says which unit its resolution has; a plain TIFF's 72 dpi are no pixel size."""
    said = file.imagej_metadata
    if not said:
        return {}
    tags = file.pages[0].tags
    unit = str(said.get("unit", ""))
    lengths = {"Z": micrometres(said.get("spacing"), str(said.get("zunit", unit)))}
    for axis in "YX":
        pixels, units = tags[f"{axis}Resolution"].value if f"{axis}Resolution" in tags else (0, 0)
        length = units / pixels if pixels else None
        lengths[axis] = micrometres(length, str(said.get(f"{axis.lower()}unit", unit)))
    return {axis: length for axis, length in lengths.items() if length is not None}


def _imagej_channels(file: tifffile.TiffFile) -> tuple[str, ...]:
    labels = (file.imagej_metadata or {}).get("Labels") or ()
    return tuple(map(str, labels))


def write_tiff(
    path: Path,
    array: Shaped[np.ndarray, "c *s"],
    channels: Sequence[str],
    pixel_size: Sequence[float] | None = None,
) -> None:
    """Write an OME-TIFF `(c, *s)`, whole, with channel names and micrometres per pixel."""
    if len(channels) != len(array):
        raise DataError(f"{len(channels)} channel names were given for {len(array)} channels")
    space = "ZYX"[4 - array.ndim :]
    said: dict[str, object] = {"axes": f"C{space}", "Channel": {"Name": list(channels)}}
    for axis, length in zip(space, pixel_size or (), strict=bool(pixel_size)):
        said |= {f"PhysicalSize{axis}": float(length), f"PhysicalSize{axis}Unit": "µm"}
    write_whole(
        path,
        lambda part: tifffile.imwrite(
            part,
            array,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            metadata=said,
        ),
    )
