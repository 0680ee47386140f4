"""Stacks as files of a folder: OME-TIFF or OME-Zarr, whole or not at all, and never mixed.

An OME-Zarr is a folder. It is filled under a hidden name beside its own, read back, and renamed;
who is killed leaves the hidden folder behind, which no table and no reader counts.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt16

from attributome.core.errors import DataError, UsageError
from attributome.core.files import make_folder, read_json, write_json
from attributome.data.omezarr import find_zarr
from attributome.data.tiff import write_tiff

Format = Literal["tiff", "zarr"]
SUFFIXES: Mapping[str, str] = {"tiff": ".ome.tif", "zarr": ".ome.zarr"}
"""How the name of a stack ends in each format."""

CHUNK = (1, 16, 256, 256)
"""Pixels (c, z, y, x) of one file of an OME-Zarr: 2 MB of uint16."""

COLOURS = ("FFFFFF", "0000FF", "FF0000", "00FF00", "00FFFF", "FF00FF", "FFFF00")
"""What viewers begin with, by the number of the channel."""

Stack = UInt16[np.ndarray, "c z y x"]


def suffix_of(format: str) -> str:
    """How the name of a stack ends; another format is a `UsageError`."""
    if format not in SUFFIXES:
        raise UsageError(f"the format is {format!r}; it is one of {', '.join(SUFFIXES)}")
    return SUFFIXES[format]


def write_stack(
    path: Path, stack: Stack, channels: Sequence[str], size: Sequence[float] | None
) -> None:
    """Write a stack whole, in the format that its name ends with."""
    write: Callable[..., None] = write_zarr if path.suffix == ".zarr" else write_tiff
    write(path, stack, channels, size)


def write_zarr(
    path: Path, stack: Stack, channels: Sequence[str], size: Sequence[float] | None
) -> None:
    """Write an OME-Zarr 0.5 of one resolution, with channel names and micrometres per pixel.

    `size` is along z, y and x; without one, the axes have no unit, as nothing is known of them.
    """
    if len(channels) != len(stack):
        raise DataError(f"{len(channels)} channel names were given for {len(stack)} channels")
    make_folder(path.parent)
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".zarr"))
    try:
        _fill(part, path.name, stack, channels, size)
        if not np.array_equal(find_zarr(part).load(), stack):
            raise DataError(f"{path} was not written as it should be: the disk gives other pixels")
        part.chmod(0o755)  # mkdtemp makes it private; a lab shares its data
        if path.exists():  # a folder cannot be replaced by another that is full
            old = part.with_name(part.name + ".old")
            path.replace(old)
            part.replace(path)
            shutil.rmtree(old)
        else:
            part.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fill(
    part: Path, name: str, stack: Stack, channels: Sequence[str], size: Sequence[float] | None
) -> None:
    import zarr  # half a second, which a folder of TIFFs need not wait for

    group = zarr.open_group(str(part), mode="w", zarr_format=3)
    pixels = group.create_array(
        "0",
        shape=stack.shape,
        dtype=stack.dtype,
        chunks=tuple(map(min, CHUNK, stack.shape)),
        dimension_names=["c", "z", "y", "x"],
    )
    pixels[...] = stack
    # what declares the image comes last, and is on the disk before the folder has its name
    group.attrs["ome"] = _said(name, stack, channels, size)
    for file in part.rglob("*"):
        if file.is_file():
            with file.open("rb") as written:
                os.fsync(written.fileno())


def _said(
    name: str, stack: Stack, channels: Sequence[str], size: Sequence[float] | None
) -> dict[str, Any]:
    """The metadata of the image, as OME-Zarr 0.5 asks for them."""
    unit = {"unit": "micrometer"} if size is not None else {}
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", **unit} for axis in "zyx"]
    lengths = (1.0, 1.0, 1.0) if size is None else tuple(map(float, size))
    scale = [{"type": "scale", "scale": [1.0, *lengths]}]
    shown = [
        {
            "label": label,
            "active": True,
            "color": COLOURS[number % len(COLOURS)],
            "window": {"min": 0, "max": 65535, "start": int(plane.min()), "end": int(plane.max())},
        }
        for number, (label, plane) in enumerate(zip(channels, stack, strict=True))
    ]
    level = {"path": "0", "coordinateTransformations": scale}
    image = {"name": name.removesuffix(".ome.zarr"), "axes": axes, "datasets": [level]}
    return {"version": "0.5", "multiscales": [image], "omero": {"channels": shown}}


def note_settings(path: Path, settings: Mapping[str, Any], *, override: bool) -> None:
    """Note in `path` how its folder is made, or refuse to mix what was made otherwise.

    With `override`, stacks that were made otherwise are taken away first.
    """
    known = read_json(path) if path.exists() else {}
    other = [name for name, value in known.items() if settings.get(name) != value]
    if other and not override:
        told = ", ".join(f"{name} {known[name]} and not {settings.get(name)}" for name in other)
        raise UsageError(f"{path.parent} was made with {told}; give another folder")
    # before the note says that they are made as the new ones
    for suffix in SUFFIXES.values() if other else ():
        for old in sorted(path.parent.rglob(f"*{suffix}")):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    write_json(path, dict(settings))
