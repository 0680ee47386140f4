"""Whole fields of view with a label image become crops: a fixed box around each cell."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int, Integer

from attributome.core.cropping import Border, cut_boxes
from attributome.core.errors import DataError, UsageError
from attributome.inpainting.cells import Block, Cells, Refused, gather


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
    boxes = cut_boxes(image, labels, size=(height, width), border=border)
    table = pd.DataFrame(
        {
            "label": boxes.own.astype(np.int64),
            "y": boxes.centres[:, 0],
            "x": boxes.centres[:, 1],
            "area": boxes.volumes,
            "inside": boxes.inside,
            "at_edge": boxes.at_edge,
            "neighbours": pd.Series(
                [" ".join(map(str, others)) for others in boxes.neighbours()], dtype=object
            ),
        }
    )
    masks = boxes.labels == boxes.own[:, None, None]
    return Cut(table=table, crops=boxes.crops, masks=masks, dropped=boxes.dropped)


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
