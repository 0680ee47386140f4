"""The verb that turns a source into prepared cells, lists what is left out, and deals fields."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.files import read_json, write_json, write_whole
from attributome.inpainting.cells import (
    CARD,
    Block,
    Cells,
    Refused,
    gather,
    per_block,
    read_cells,
    write_cells,
)
from attributome.inpainting.preprocess import RECIPES
from attributome.inpainting.preprocess import prepare as scaled
from attributome.pipeline.inpaint.checking import check_columns
from attributome.pipeline.inpaint.reading import read
from attributome.pipeline.inpaint.sources import kind_of, recipe_of
from attributome.pipeline.inpaint.splitting import split_fields
from attributome.pipeline.inpaint.work import PREPARED, RAW, CellWork

TOLD = "cells/raw.json"
"""What raw cells were made of, and what was refused on the way; written when they are whole."""


def prepare(work: CellWork) -> Cells:
    """The prepared cells of the run, made now if they are not there.

    Of several processes that train together none may: they would all write.
    """
    root = work.run.root
    if not work.ready:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError(
                f"the cells of {root} are not prepared, and several processes must not do it at "
                f"once: run `attributome inpaint prepare` first"
            )
        if not (root / PREPARED / CARD).is_file():
            with work.timed("prepare") as progress:
                progress(0.0, "reading cells")
                _make(work)
                progress(1.0, "cells are prepared")
        _deal(work)
    return read_cells(root / PREPARED)


def _make(work: CellWork) -> None:
    """Read, leave out small groups, scale, and say what came of it."""
    root, data = work.run.root, work.job.data
    raw, refused = _raw(work)
    limit = None if kind_of(data) == "hpa" else data.limit  # there it is of genes
    rows, small = _kept(raw, data.least, limit)
    refused = [*dict.fromkeys([*refused, *small])]
    if not len(rows):
        raise DataError(
            f"no group has {data.least} cells: {raw.table['group'].nunique()} groups have "
            f"{len(raw)} cells in all; group by something wider, or lower data.least"
        )
    if len(rows) < len(raw):
        if (root / TOLD).is_file():  # first, so that no killed run forgets who was left out
            write_json(root / TOLD, {**read_json(root / TOLD), "refused": refused})
        raw = gather(
            _some(raw, rows),
            channels=raw.channels,
            targets=raw.targets,
            markers=raw.markers,
            rejected=[(str(a), str(b), str(c)) for a, b, c in raw.rejected.to_numpy()],
            about=dict(raw.about),
            folder=root / RAW,
        )
    check_columns(work.job, raw)
    recipe = _recipe(work, raw)
    _check_size(raw, recipe)
    _check_pixels(raw)
    rejected = pd.concat(
        [
            raw.rejected,
            pd.DataFrame(refused, columns=["where", "value", "reason"], dtype=object),
        ],
        ignore_index=True,
    )
    write_whole(root / "rejected.csv", lambda part: rejected.to_csv(part, index=False))
    (root / "splits.json").unlink(missing_ok=True)
    if recipe is None:
        write_cells(root / PREPARED, raw)
    else:
        scaled(raw, recipe, folder=root / PREPARED)
    _count(work, rejected)
    if len(rejected):
        work.tell(
            f"{len(rejected)} cells, fields or groups cannot be used and are left out; "
            f"{root / 'rejected.csv'} lists them"
        )


def _raw(work: CellWork) -> tuple[Cells, list[Refused]]:
    """The cells of the source, and what was refused before they were cells."""
    root, data = work.run.root, work.job.data
    if kind_of(data) == "cells":
        return read_cells(Path(data.source)), []
    made_of = {"data": data.model_dump(mode="json"), "sha256": work.run.asked["data"]["sha256"]}
    if (root / TOLD).is_file() and (root / RAW / CARD).is_file():
        told = read_json(root / TOLD)
        if told["of"] == made_of:
            return read_cells(root / RAW), [tuple(row) for row in told["refused"]]
    (root / TOLD).unlink(missing_ok=True)
    refused: list[Refused] = []
    cells = read(work, root / RAW, refused)
    write_json(root / TOLD, {"of": made_of, "refused": refused})
    return cells, refused


def _kept(cells: Cells, least: int, limit: int | None) -> tuple[np.ndarray, list[Refused]]:
    """Rows of the groups that are large enough, and the groups that are left out."""
    sizes = cells.table["group"].value_counts(sort=False)
    small = sizes[sizes < least]
    reason = f"its group has fewer than {least} cells"
    refused = [(str(name), str(count), reason) for name, count in small.items()]
    large = [name for name in cells.table["group"].unique() if name not in small.index]
    past = large[limit:] if limit else []
    refused += [(str(name), str(sizes[name]), f"it is past the limit of {limit}") for name in past]
    kept = cells.table["group"].isin(large[:limit] if limit else large)
    return np.flatnonzero(kept.to_numpy()), refused


def _some(cells: Cells, rows: np.ndarray) -> Iterator[Block]:
    step = per_block(*cells.crops.shape[1:])
    for start in range(0, len(rows), step):
        at = rows[start : start + step]
        masks = None if cells.masks is None else np.asarray(cells.masks[at])
        yield cells.table.iloc[at], np.asarray(cells.crops[at]), masks


def _recipe(work: CellWork, raw: Cells) -> str | None:
    """The recipe; None where the cells come prepared."""
    asked = work.job.data.recipe
    if "prepared" not in raw.about:
        return recipe_of(work.job.data)
    if asked not in ("auto", "none"):
        raise UsageError(
            f"data.recipe is {asked!r}, and these cells were prepared already, by "
            f"{raw.about['prepared']['recipe']!r}: leave it out"
        )
    return None


def _check_size(raw: Cells, recipe: str | None) -> None:
    shrink = 1 if recipe is None else RECIPES[recipe].shrink
    if any(side % (4 * shrink) for side in raw.size):
        size = " x ".join(map(str, raw.size))
        raise DataError(
            f"crops of {size} pixels"
            + (f", which the recipe {recipe!r} shrinks by {shrink}," if shrink > 1 else "")
            + " cannot be used: the network takes sizes that are divisible by 4"
        )


def _check_pixels(raw: Cells) -> None:
    """Refuse a folder of cells with pixels that are no numbers; files are refused one by one."""
    step = per_block(*raw.crops.shape[1:])
    for start in range(0, len(raw), step):
        wrong = ~np.isfinite(raw.crops[start : start + step]).all((1, 2, 3))
        if wrong.any():
            cell = raw.table["id"].iloc[start + int(wrong.argmax())]
            raise DataError(f"the crop of cell {cell!r} holds a pixel that is not finite")


def _count(work: CellWork, rejected: pd.DataFrame) -> None:
    """Say in `run.json` what there is."""
    table = read_cells(work.run.root / PREPARED).table
    asked = work.run.asked
    counts: dict[str, Any] = {
        "cells": len(table),
        "rejected": len(rejected),
        "groups": int(table["group"].nunique()),
        "fields": int(table["field"].nunique()),
        "sha256": asked["data"]["sha256"],
    }
    write_json(work.run.root / "run.json", {**asked, "data": counts})


def _deal(work: CellWork) -> None:
    """Deal whole fields to parts, and say how many cells have no partner in theirs."""
    cells = read_cells(work.run.root / PREPARED)
    shares = {str(part): share for part, share in work.job.data.shares.items()}
    parts = split_fields(cells.table, shares, seed=work.job.seed)
    part_of = {field: part for part, fields in parts.items() for field in fields}
    homes = cells.table["field"].astype(str).map(part_of)
    alone = cells.table.groupby([cells.table["group"], homes])["id"].transform("size") == 1
    if alone.any():
        first = cells.table["group"][alone].iloc[0]
        told = (
            f"{int(alone.sum())} of {len(cells)} cells are alone in their group within a part, and "
            f"make no pair there; the first is of {first!r}"
        )
        if work.job.data.lonely == "refuse":
            raise DataError(f"{told}: leave them out with data.lonely = 'drop', or group wider")
        work.tell(told)
    work.run.save("splits", parts)
