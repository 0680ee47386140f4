"""Grad-CAMO of any number of cells, batch by batch: only one batch is in memory.

`camo_over` gives the long table, for one target or a few; `feature_blocks` gives a matrix of cells
and features, which lies beside the profile itself.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from attributome.core.compute import Compute
from attributome.core.errors import UsageError
from attributome.core.types import Images, Progress, silent
from attributome.profiles.camo.classes import Camo
from attributome.profiles.formats import METADATA
from attributome.profiles.single_cells import SingleCells


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crops:
    """A batch of single cells: names, images, label images, and the label that each is about.

    `rows` says where they stand among all cells, such as to look up their classes.
    """

    ids: Sequence[object]
    images: Images
    labels: Int[Tensor, "b *s"]
    own: Int[Tensor, " b"]
    rows: Integer[np.ndarray, " b"]


def crops_of(
    cells: SingleCells,
    *,
    rows: Integer[np.ndarray, " n"] | None = None,
    batch: int = 32,
    compute: Compute | None = None,
) -> Iterator[Crops]:
    """The cells, or some `rows` of them, in batches on the device of `compute` (the CPU)."""
    if batch < 1:
        raise UsageError(f"a batch of {batch} cells; it must hold at least one")
    compute = compute or Compute()
    taken = np.arange(len(cells)) if rows is None else rows
    for start in range(0, len(taken), batch):
        some = taken[start : start + batch]
        yield Crops(
            ids=cells.table["id"].iloc[some].tolist(),
            images=compute.move(torch.from_numpy(cells.images(some))),
            labels=torch.from_numpy(cells.labels(some)).to(compute.device),
            own=torch.from_numpy(cells.own(some)).to(compute.device),
            rows=some,
        )


def camo_over(
    batches: Iterable[Crops],
    score: Callable[[Crops], Camo],
    *,
    total: int | None = None,
    progress: Progress = silent,
) -> Iterator[pd.DataFrame]:
    """The table of every batch, one after the other; only one batch is in memory.

    `score` is `class_camo` or `feature_camo` with what it needs. `total` is the number of cells,
    where it is known, for the share that `progress` hears; its words count undefined maps.
    """
    for crops, found in _scored(batches, score, total, progress):
        yield found.table(crops.ids)


def feature_blocks(
    batches: Iterable[Crops],
    score: Callable[[Crops], Camo],
    *,
    total: int | None = None,
    progress: Progress = silent,
) -> Iterator[pd.DataFrame]:
    """As `camo_over`, with a row per cell: `Metadata_id` and a float32 column for each feature.

    A column has the feature's name and holds its `cell` score, NaN where that is undefined, so that
    the blocks lie beside those of the profile itself, in the same order of columns.
    `Metadata_mask_share` is chance.
    """
    for crops, found in _scored(batches, score, total, progress):
        scores = found.scores.cell.float().cpu().numpy()
        about = {
            f"{METADATA}id": [*crops.ids],
            f"{METADATA}mask_share": found.scores.chance[:, 0].float().cpu().numpy(),
        }
        columns = pd.DataFrame(np.ascontiguousarray(scores), columns=[*found.targets])
        yield pd.concat([pd.DataFrame(about), columns], axis=1)


def _scored(
    batches: Iterable[Crops],
    score: Callable[[Crops], Camo],
    total: int | None,
    progress: Progress,
) -> Iterator[tuple[Crops, Camo]]:
    done = maps = undefined = 0
    for crops in batches:
        found = score(crops)
        if len(found.scores.cell) != len(crops.ids):
            raise UsageError(
                f"a batch of {len(crops.ids)} ids has scores of {len(found.scores.cell)} cells"
            )
        done += len(crops.ids)
        maps += found.scores.undefined.numel()
        undefined += int(found.scores.undefined.sum())
        share = min(1.0, done / total) if total else 0.0
        progress(share, f"{done} cells, {undefined} of {maps} maps undefined")
        yield crops, found
