"""The worst and the best cells, with what the network saw and where it looked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer, Shaped

from attributome.core.errors import DataError
from attributome.report.numbers import num, short
from attributome.report.pictures import Range, grey_range
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.views import Cut, View, cuts, grey_view, kinds, map_view
from attributome.report.reading import parquet_of
from attributome.store import Run

STAGE = "worst"
EACH, CHANNELS = 6, 3
"""Cells of each kind and channels of each cell that are shown: a page is read by people."""
TITLES = {"worst": "Worst: the map lies beside the cell", "best": "Best: the map lies on the cell"}

Maps = Float[np.ndarray, "n *s"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """Crops of some cells with their labels and maps, and what is known of them."""

    table: pd.DataFrame
    images: Shaped[np.ndarray, "n c *s"]
    labels: Integer[np.ndarray, "n *s"]
    maps: Maps
    channels: tuple[str, ...]
    spacing: tuple[float, ...]


def cells(facts: ProfileFacts) -> dict[str, Any] | None:
    """Rows of pictures of the worst and the best; None where no images were kept."""
    kept = {name: found for name in TITLES if (found := read_kept(facts.run, name))}
    if not kept:
        return None
    first = next(iter(kept.values()))
    tops = [float(one.max()) for some in kept.values() for one in some.maps[:EACH]]
    bright = [top for top in tops if top > 0]
    scale = float(np.median(bright)) if bright else 1.0
    images = np.concatenate([some.images[:EACH].astype(np.float32) for some in kept.values()])
    shown = [grey_range(images[:, c]) for c in range(min(images.shape[1], CHANNELS))]
    return {
        "kinds": [
            {
                "title": TITLES[name],
                "cells": [_cell(some, row, shown, scale) for row in range(_count(some))],
            }
            for name, some in kept.items()
        ],
        "scale": short(scale),
        "channels": [
            f"{name} {range_.words}" for name, range_ in zip(first.channels, shown, strict=False)
        ],
        "left": list(first.channels[CHANNELS:]),
        "dims": first.maps.ndim - 1,
        "kept": sum(len(some.table) for some in kept.values()),
        "shown": sum(_count(some) for some in kept.values()),
    }


def read_kept(run: Run, name: str) -> Kept | None:
    """The cells that were kept as the worst or the best; None where there are none."""
    if not run.has(STAGE, name):
        return None
    folder = run.root / "parts" / STAGE / name
    images, labels, maps = (run.array(STAGE, name, key) for key in ("images", "labels", "maps"))
    table = parquet_of(folder / "cells.parquet", ("id", "own", "score_cell"))
    space = images.shape[2:]
    if not (
        len(space) in (2, 3)
        and labels.shape == maps.shape == (len(images), *space)
        and len(table) == len(images)
    ):
        raise DataError(
            f"{folder} has images of shape {images.shape}, labels of {labels.shape}, maps of "
            f"{maps.shape} and {len(table)} rows in cells.parquet, which do not belong together"
        )
    if not (np.isfinite(maps).all() and np.isfinite(images).all() and np.min(maps, initial=0) >= 0):
        raise DataError(f"{folder} has maps or images that are not finite, or maps below 0")
    note = run.note(STAGE, name)
    channels = tuple(map(str, note.get("channels") or ()))
    spacing = note.get("spacing") or [1.0] * len(space)
    if len(channels) != images.shape[1] or len(spacing) != len(space):
        raise DataError(
            f"{folder} names {len(channels)} channels and {len(spacing)} steps of a voxel for "
            f"images of shape {images.shape}"
        )
    return Kept(
        table=table,
        images=images,
        labels=labels,
        maps=maps,
        channels=channels,
        spacing=tuple(map(float, spacing)),
    )


def _count(some: Kept) -> int:
    return min(len(some.table), EACH)


def _cell(some: Kept, row: int, shown: Sequence[Range], scale: float) -> dict[str, Any]:
    """Pictures of one cell: its channels and its map; in 3-D also slices of both."""
    about = some.table.iloc[row]
    labels, own = some.labels[row], int(about["own"])
    if not (labels == own).any():
        raise DataError(f"cell {about['id']} has the label {own}, which is not in its crop")
    ways = cuts(labels == own, some.spacing)
    top = float(some.maps[row].max())
    rows = [_views(some, row, ways[0], shown, scale, channels=len(shown))]
    if len(ways) > 1:
        rows.append(
            [view for way in ways[1:] for view in _views(some, row, way, shown, scale, channels=1)]
        )
    known = [str(about[key]) for key in ("treatment", "field") if key in about]
    if "plate" in about and "well" in about:
        known.insert(1, f"well {about['plate']}/{about['well']}")
    return {
        "id": str(about["id"]),
        "score": num(float(about["score_cell"])),
        "about": ", ".join(known),
        "rows": rows,
        "evidence": top > 0,
        "top": short(top),
        "over": top > scale,
    }


def _views(
    some: Kept, row: int, way: Cut, shown: Sequence[Range], scale: float, *, channels: int
) -> list[View]:
    labels, own = some.labels[row], int(some.table["own"].iloc[row])
    where = kinds(labels, own, way)
    more = f", {way.name}" if way.name else ""
    found = [
        grey_view(
            f"{some.channels[c]}{more}", way.of(some.images[row, c]).astype(np.float32),
            shown[c], where, way,
        )
        for c in range(channels)
    ]  # fmt: skip
    if some.maps[row].max() > 0:
        plane = way.of(some.maps[row]).astype(np.float32)
        found.append(map_view(f"map{more}", plane, scale, where, way))
    return found
