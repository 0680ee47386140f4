"""Crops of single cells as cells for paired inpainting, so that both learn from the same crops."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.cells import Block, Cells, gather, per_block
from attributome.inpainting.preprocess import RECIPES, Recipe, prepare
from attributome.profiles.single_cells import SingleCells

Projection = Literal["max", "mean"]
MULTIPLE = 4
"""What the sides of a crop must be divisible by, for an inpainter halves it twice."""

Window = tuple[slice, slice]


def as_cells(
    crops: SingleCells,
    *,
    targets: Sequence[str],
    markers: Sequence[str],
    group: Sequence[str],
    recipe: str | Recipe = "yeast",
    projection: Projection | None = None,
    folder: Path | None = None,
) -> Cells:
    """The crops as prepared `Cells`, in memory or written to a `folder`, block by block.

    `targets` are the channels to predict and `markers` those that are known of both cells of a
    pair; other channels are kept beside them. `group` names the columns within whose joined values
    pairs are drawn, such as `("plate", "treatment")`. The mask of a cell is where its crop's label
    is its own. `recipe` is what `inpainting.preprocess.prepare` takes.

    Sides that are not divisible by 4 (by 4 times what the recipe shrinks by) are cut to the next
    smaller ones that are, with the cell still in the middle. Crops of 3-D need a `projection` along
    z; a mask is then where the cell is in any plane, and cells above or below it are seen through
    it. `about["single_cells"]` of the result says all of this.

    Raises `UsageError` where crops are 3-D without a projection, or too small, where the table has
    a column `group` of another meaning, and `DataError` where a cell has no group.
    """
    _check(crops, projection)
    how = recipe if isinstance(recipe, Recipe) else RECIPES.get(recipe)  # prepare refuses unknown
    side = MULTIPLE * (how.shrink if how else 1)
    window = _window(crops.size[-2:], side)
    about: dict[str, Any] = {
        "single_cells": {
            "from": [*crops.size],
            "cut_to": [part.stop - part.start for part in window],
            "projection": projection,
            "group": [*group],
            "spacing": None if crops.spacing is None else [*crops.spacing],
        }
    }
    table = _grouped(crops.table, group)
    return gather(
        _blocks(crops, table, tuple(targets), tuple(markers), window, recipe, projection, about),
        channels=crops.channels,
        targets=targets,
        markers=markers,
        rejected=[],
        about=about,
        folder=folder,
    )


def _blocks(
    crops: SingleCells,
    table: pd.DataFrame,
    targets: tuple[str, ...],
    markers: tuple[str, ...],
    window: Window,
    recipe: str | Recipe,
    projection: Projection | None,
    about: dict[str, Any],
) -> Iterator[Block]:
    """Prepared blocks; how they were prepared is written into `about`, with sums over them all."""
    step = per_block(len(crops.channels), *crops.size)
    for start in range(0, len(crops), step):
        rows = np.arange(start, min(start + step, len(crops)))
        images = crops.images(rows)[..., *window]
        labels = crops.labels(rows)[..., *window]
        masks = labels == crops.own(rows).reshape(-1, *[1] * (labels.ndim - 1))
        if projection is not None:
            images = images.max(2) if projection == "max" else images.mean(2, dtype=np.float64)
            masks = masks.any(1)
        some = prepare(
            Cells(
                table=table.iloc[rows],
                crops=np.ascontiguousarray(images, np.float32),
                channels=crops.channels,
                targets=targets,
                markers=markers,
                masks=np.ascontiguousarray(masks),
            ),
            recipe,
        )
        said = some.about["prepared"]
        if before := about.get("prepared"):
            flat = before["constant"]
            said = {**said, "constant": {k: flat[k] + n for k, n in said["constant"].items()}}
        about["prepared"] = said
        yield some.table, some.crops, some.masks


def _window(plane: Sequence[int], side: int) -> Window:
    """The part in the middle: what is at n // 2 of n pixels, the cell, is at m // 2 of m."""
    if min(plane) < side:
        raise UsageError(
            f"crops of {plane[0]} x {plane[1]} pixels are too small for an inpainter: each side "
            f"needs {side} at least; cut larger crops"
        )
    kept = [n // side * side for n in plane]
    starts = [n // 2 - m // 2 for n, m in zip(plane, kept, strict=True)]
    one, other = (slice(start, start + m) for start, m in zip(starts, kept, strict=True))
    return one, other


def _grouped(table: pd.DataFrame, group: Sequence[str]) -> pd.DataFrame:
    """The table with its column `group`."""
    names = [*group]
    if isinstance(group, str) or not names:
        raise UsageError(f"group={group!r}; give the names of one or more columns")
    if lost := [name for name in names if name not in table]:
        raise UsageError(
            f"no column {lost[0]!r} to group cells by; there are "
            f"{', '.join(map(str, table.columns))}"
        )
    if "group" in table and names != ["group"]:
        raise UsageError(
            f"the table has a column 'group', and cells are to be grouped by {', '.join(names)}; "
            f"rename it, or group by it"
        )
    empty = (table[names].isna() | (table[names] == "")).any(axis=1)
    if empty.any():
        raise DataError(
            f"{int(empty.sum())} cells have no {' or '.join(names)}, the first "
            f"{table['id'].iloc[int(empty.argmax())]!r}: no pair can be drawn for them"
        )
    texts = [table[name].astype(str) for name in names]
    return table.assign(group=["/".join(parts) for parts in zip(*texts, strict=True)])


def _check(crops: SingleCells, projection: str | None) -> None:
    if projection is not None and projection not in get_args(Projection):
        raise UsageError(
            f"projection {projection!r}; there are {' and '.join(get_args(Projection))}"
        )
    if len(crops.size) == 3 and projection is None:
        raise UsageError(
            f"crops of {crops.size} are 3-D, and an inpainter reads planes: name a projection "
            f"along z, max or mean"
        )
    if len(crops.size) == 2 and projection is not None:
        raise UsageError(f"crops of {crops.size} are planes; there is nothing to project")
