"""OME-Zarr 0.4 (Zarr v2) and 0.5 (Zarr v3): the full-resolution image of `multiscales`."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attributome.core.errors import DataError
from attributome.data.axes import Found, micrometres

_MARKS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group or array."""
    return path.is_dir() and (
        path.suffix == ".zarr" or any((path / mark).is_file() for mark in _MARKS)
    )


def find_zarr(path: Path) -> Found:
    """What an OME-Zarr image declares."""
    import zarr  # half a second, which a folder of TIFFs need not wait for

    try:
        group = zarr.open_group(str(path), mode="r")
        said = dict(group.attrs)
        ome = said.get("ome", said)
        image = _multiscales(path, ome)
        level = image["datasets"][0]
        array = group[level["path"]]
        axes = "".join(axis["name"].upper() for axis in image["axes"])
        sizes = _sizes(image, level)
        channels = _labels(ome)
        shape, dtype = tuple(array.shape), np.dtype(array.dtype)
        piece = math.prod(array.shards or array.chunks) * dtype.itemsize
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"{path} is not an OME-Zarr image that can be read: {error!r}") from error
    if len(axes) != len(shape):
        raise DataError(f"{path} names {len(axes)} axes ({axes}) for an array of shape {shape}")

    def load() -> np.ndarray:
        try:
            return np.asarray(array[...])
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise DataError(f"{path} has chunks that cannot be read: {error}") from error

    return Found(
        shape=shape,
        axes=axes,
        dtype=dtype,
        load=load,
        channels=channels,
        sizes=sizes,
        chunk_bytes=piece,
    )


def _multiscales(path: Path, ome: Mapping[str, Any]) -> Mapping[str, Any]:
    if "multiscales" in ome:
        image: Mapping[str, Any] = ome["multiscales"][0]
        return image
    if "plate" in ome:
        wells = [well["path"] for well in ome["plate"]["wells"]]
        raise DataError(f"{path} is a plate: name one field of it, such as {path / wells[0] / '0'}")
    if "bioformats2raw.layout" in ome:
        raise DataError(f"{path} is a collection of images: name one of them, such as {path / '0'}")
    raise DataError(
        f"{path} is a Zarr without `multiscales`, so its axes are not known: write it as OME-Zarr "
        f"0.4 or 0.5"
    )


def _sizes(image: Mapping[str, Any], level: Mapping[str, Any]) -> dict[str, float]:
    """Scale of the level times the scale of the whole image, in micrometres, by axis."""
    steps = [
        *level.get("coordinateTransformations", ()),
        *image.get("coordinateTransformations", ()),
    ]
    scales = [step["scale"] for step in steps if step["type"] == "scale"]
    sizes = {}
    for place, axis in enumerate(image["axes"]):
        length = math.prod(scale[place] for scale in scales) if scales else None
        size = micrometres(length, axis.get("unit"))
        if size is not None and axis.get("type", "space") == "space":
            sizes[axis["name"].upper()] = size
    return sizes


def _labels(ome: Mapping[str, Any]) -> tuple[str, ...]:
    channels = ome.get("omero", {}).get("channels", ())
    return tuple(str(c.get("label") or f"c{i}") for i, c in enumerate(channels))
