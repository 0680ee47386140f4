"""A field in memory: its channels by our names, its labels or a segmentation, its illumination."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from attributome.core.errors import DataError, UsageError
from attributome.data.images import read_image, read_labels
from attributome.data.plates import read_field
from attributome.data.segmentation import cellpose_labels, segment
from attributome.pipeline.profile.checking import need_known
from attributome.pipeline.profile.job import ProfileData


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """A field in memory: its image, the labels of its cells, and what made labels made here."""

    image: Float32[np.ndarray, "c *s"]
    labels: Int32[np.ndarray, "*t"]
    channels: tuple[str, ...]
    spacing: tuple[float, ...] | None
    made: Mapping[str, Any] | None


def read_one(
    row: Mapping[str, Any], data: ProfileData, known: Int32[np.ndarray, "*t"] | None = None
) -> Field:
    """Read a row of `list_fields`: the channels that the job names, and labels.

    `known` are labels that were made here before, which are then not made again.
    """
    columns = {name: tuple(files) for name, files in json.loads(row["images"]).items()}
    picture = read_field(columns, axes=data.axes or None)
    named = _channels(picture.channels, data, str(row["field"]))
    image = picture.array[[at for at, _ in named]]
    channels = tuple(name for _, name in named)
    spacing = data.spacing or picture.pixel_size
    if spacing is not None and len(spacing) != image.ndim - 1:
        raise UsageError(
            f"data.spacing is {[*spacing]}, and the field {row['field']!r} has {image.ndim - 1} "
            f"axes"
        )
    told: dict[str, Any] | None = None
    if isinstance(row["labels"], str):
        labels = read_labels(Path(row["labels"]))
    elif known is not None:
        labels = known
    else:
        labels, told = _made(image, channels, spacing, data)
    return Field(
        image=image,
        labels=labels,
        channels=channels,
        spacing=None if spacing is None else tuple(spacing),
        made=told,
    )


def illumination(
    pattern: str, plate: str, channels: tuple[str, ...]
) -> Float32[np.ndarray, "c *s"] | None:
    """The illumination of a plate, channel by channel; None where none is named."""
    if not pattern:
        return None
    found = []
    for channel in channels:
        try:
            path = Path(pattern.format(plate=plate, channel=channel))
        except (KeyError, IndexError, ValueError) as error:
            raise UsageError(
                f"crops.illumination is {pattern!r}; it may have {{plate}} and {{channel}} only"
            ) from error
        array = read_image(path).array
        if len(array) != 1:
            raise DataError(f"{path} has {len(array)} channels; an illumination of one has one")
        found.append(array[0])
    if len({each.shape for each in found}) > 1:
        raise DataError(f"the illuminations of the plate {plate!r} differ in shape")
    return np.stack(found)


def _channels(found: tuple[str, ...], data: ProfileData, field: str) -> list[tuple[int, str]]:
    """Where the wanted channels stand, and what we call them."""
    if not data.channels:
        return [*enumerate(found)]
    if _bears_ours(found, data):
        return [(found.index(ours), ours) for ours in data.channels.values()]
    lost = [name for name in data.channels if name not in found]
    if lost:
        raise UsageError(
            f"data.channels has {lost[0]!r}, and the field {field!r} has {', '.join(found)}"
        )
    return [(found.index(theirs), ours) for theirs, ours in data.channels.items()]


def _bears_ours(found: tuple[str, ...], data: ProfileData) -> bool:
    """Whether the channels bear our names already, as files of JUMP do."""
    return set(data.channels.values()) == set(found) and not set(data.channels) <= set(found)


def _made(
    image: np.ndarray,
    channels: tuple[str, ...],
    spacing: tuple[float, ...] | None,
    data: ProfileData,
) -> tuple[Int32[np.ndarray, "*s"], dict[str, Any]]:
    """Labels that are made here, and what made them."""
    asked = data.labels
    need_known("data.labels.channel", asked.channel, channels)
    plane = image[channels.index(asked.channel)]
    if asked.kind == "cellpose":
        labels, told = cellpose_labels(
            plane[None], model=asked.model, diameter=asked.diameter, spacing=spacing
        )
        return labels, told
    assert asked.diameter is not None  # check has looked
    labels = segment(
        plane,
        diameter=asked.diameter,
        spacing=spacing,
        method=asked.method,
        scale=asked.scale,
        border=asked.border,
    )
    told = {"tool": "attributome", **asked.model_dump(mode="json", exclude={"model", "column"})}
    return labels, told
