"""Whole fields of view with a label image become crops: a fixed box around each cell."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int, Integer

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.cells import Block, Cells, Refused, gather

Border = Literal["drop", "pad"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """One field of view: `image` `(c, y, x)`, and `labels` `(y, x)`, 0 where there is no cell.

    `group` is what its cells are paired in; `meta` goes into the columns of all its cells.
    """

    id: str
    group: str
    image: Float32[np.ndarray, "c y x"]
    labels: Integer[np.ndarray, "v u"]
    meta: Mapping[str, str | float | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """The crops of one field, by rising label, and the labels that were dropped.

    `table` has `label`, `y` and `x` (centroid in pixels), `area` in pixels, `inside` (the share of
    the cell's pixels that is in its box), `at_edge` (whether it touches the edge of the field,
    where it may go on) and `neighbours`, the labels of other cells in its box, as `3 17`.
    """

    table: pd.DataFrame
    crops: Float32[np.ndarray, "n c h w"]
    masks: Bool[np.ndarray, "n h w"]
    dropped: Int[np.ndarray, " dropped"]


def cut(
    image: Float32[np.ndarray, "c y x"],
    labels: Integer[np.ndarray, "v u"],
    *,
    size: int | tuple[int, int],
    border: Border = "drop",
) -> Cut:
    """A box of `size` around each cell, from c - size // 2 on, c being the truncated centroid.

    A box that leaves the field is dropped, as published (Lu et al. 2019), or padded with each
    channel's least value in the field, which leaves the scale of a crop as it was. What
    is seen of neighbours stays in the crop, and out of its mask.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise UsageError(f"boxes of {height} x {width} pixels are none")
    if border not in ("drop", "pad"):
        raise UsageError(f"border={border!r} cannot be meant; it is 'drop' or 'pad'")
    if labels.shape != image.shape[1:]:
        raise DataError(f"labels of shape {labels.shape} do not fit an image of {image.shape}")
    if not image.size:
        raise DataError(f"an image of shape {image.shape} has no pixels")
    if labels.min() < 0:
        raise DataError("an image of labels holds negative numbers; 0 is where no cell is")
    if not np.isfinite(image).all():
        raise DataError(f"{int((~np.isfinite(image)).sum())} pixels are NaN or infinite")
    ids, y, x, areas, edge = _measured(labels)
    tops, lefts = (at.astype(np.int64) - side // 2 for at, side in ((y, height), (x, width)))
    room_y, room_x = labels.shape
    leaves = (tops < 0) | (lefts < 0) | (tops + height > room_y) | (lefts + width > room_x)
    kept = np.flatnonzero(~leaves) if border == "drop" else np.arange(len(ids))
    if border == "pad" and leaves.any():
        image, labels, before = _padded(image, labels, height, width)
        tops, lefts = tops + before[0], lefts + before[1]
    crops = np.empty((len(kept), len(image), height, width), np.float32)
    masks = np.empty((len(kept), height, width), bool)
    inside, near = [], []
    for row, i in enumerate(kept):
        box = slice(tops[i], tops[i] + height), slice(lefts[i], lefts[i] + width)
        crops[row] = image[:, *box]
        masks[row] = labels[box] == ids[i]
        inside.append(masks[row].sum() / areas[i])
        others = np.unique(labels[box])
        near.append(" ".join(map(str, others[(others > 0) & (others != ids[i])])))
    table = pd.DataFrame(
        {
            "label": ids[kept],
            "y": y[kept],
            "x": x[kept],
            "area": areas[kept],
            "inside": np.array(inside, np.float64),
            "at_edge": edge[kept],
            "neighbours": pd.Series(near, dtype=object),
        }
    )
    dropped = np.setdiff1d(ids, ids[kept])
    return Cut(table=table, crops=crops, masks=masks, dropped=dropped)


def crop_fields(
    fields: Iterable[Field],
    *,
    channels: Sequence[str],
    targets: Sequence[str],
    size: int | tuple[int, int],
    border: Border = "drop",
    folder: Path | None = None,
) -> Cells:
    """The cells of many fields, one field in memory at a time, or all crops without a `folder`.

    An id is `<field>_<label>`; the columns of `Cut.table` and the meta of the field follow. Dropped
    labels stand in `rejected`. A field without any cell is refused there as well.
    """
    rejected: list[Refused] = []
    return gather(
        _blocks(fields, channels, size, border, rejected),
        channels=channels,
        targets=targets,
        markers=[name for name in channels if name not in targets],
        rejected=rejected,
        about={"box": [size, size] if isinstance(size, int) else [*size], "border": border},
        folder=folder,
    )


def _blocks(
    fields: Iterable[Field],
    channels: Sequence[str],
    size: int | tuple[int, int],
    border: Border,
    rejected: list[Refused],
) -> Iterator[Block]:
    for one in fields:
        if len(one.image) != len(channels):
            raise DataError(
                f"the field {one.id!r} has {len(one.image)} channels and not {len(channels)}: "
                f"{', '.join(channels)}"
            )
        try:
            made = cut(one.image, one.labels, size=size, border=border)
        except DataError as error:
            raise DataError(f"the field {one.id!r} cannot be cut: {error}") from error
        reason = "its box leaves the field"
        rejected += [(f"{one.id}_{label}", str(label), reason) for label in made.dropped]
        if not len(made.table) and not len(made.dropped):
            rejected.append((one.id, "", "the field has no cell"))
        taken = {"id", "group", "field", *made.table.columns}.intersection(one.meta)
        if taken:
            raise UsageError(f"the field {one.id!r} has a meta {min(taken)!r}, which is a column")
        if len(made.table):
            table = made.table.assign(**dict(one.meta))
            table.insert(0, "field", one.id)
            table.insert(0, "group", one.group)
            table.insert(0, "id", [f"{one.id}_{label}" for label in made.table["label"]])
            yield table, made.crops, made.masks


def _measured(labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Labels that occur, their centroids (y, x) and areas, and whether they touch the edge."""
    ids, place = np.unique(labels, return_inverse=True)
    place = place.reshape(labels.shape)
    areas = np.bincount(place.ravel(), minlength=len(ids))
    y, x = (
        np.bincount(place.ravel(), np.broadcast_to(at, labels.shape).ravel(), minlength=len(ids))
        / areas
        for at in np.ogrid[: labels.shape[0], : labels.shape[1]]
    )
    edge = np.zeros(len(ids), bool)
    for line in (place[0], place[-1], place[:, 0], place[:, -1]):
        edge[line] = True
    cells = ids > 0
    return ids[cells].astype(np.int64), y[cells], x[cells], areas[cells], edge[cells]


def _padded(
    image: np.ndarray, labels: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Room for a box around any pixel; and how much was put before the first."""
    room = ((height // 2, height), (width // 2, width))
    least = image.min((1, 2))
    padded = [np.pad(c, room, constant_values=low) for c, low in zip(image, least, strict=True)]
    return np.stack(padded), np.pad(labels, room), (height // 2, width // 2)
