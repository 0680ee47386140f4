"""The verb that extracts features: block by block, each once, in any number of processes."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.errors import DataError
from attributome.core.files import write_whole
from attributome.core.probe import layer_output
from attributome.core.types import Layer
from attributome.pipeline.profile.network import Asked, need_layers, network
from attributome.pipeline.profile.work import (
    FEATURES,
    ProfileWork,
    Rows,
    open_cells,
    unit_names,
)
from attributome.profiles.camo.scores import covered_shares, unless
from attributome.profiles.features import named
from attributome.profiles.formats import (
    METADATA,
    metadata,
    read_about,
    read_blocks,
    write_anndata,
    write_parquet,
)
from attributome.profiles.learning.classifier import Crops, read_crops, shown
from attributome.profiles.learning.remedies import own_cell
from attributome.profiles.single_cells import SingleCells
from attributome.store import folder_name, shard

STAGE = "features"


def features(work: ProfileWork, *, part: tuple[int, int] = (1, 1)) -> int:
    """Extract the blocks of cells that are not there yet; how many are still missing.

    `part` is (i, N) for shard i of N: the numbers are those of one process. Who finishes the last
    block joins all of them into `features.parquet`.
    """
    cells = open_cells(work)
    units = unit_names(len(cells), work.job.features.block)
    path = work.run.root / FEATURES
    todo = [unit for unit in shard([*units], *part) if not work.run.has(STAGE, unit)]
    if todo and not path.is_file():
        asked = network(work, cells)
        need_layers(asked, work.job.features.layers, "features.layers")
        with work.timed(STAGE) as progress:
            for done, unit in enumerate(todo):
                progress(done / len(todo), f"cells {unit} ({done + 1} of {len(todo)})")
                _block(work, asked, cells, unit, units[unit])
            progress(1.0, f"{len(todo)} blocks of cells extracted")
    missing = 0 if path.is_file() else sum(not work.run.has(STAGE, unit) for unit in units)
    if not missing:
        _join(work, [*units], path)
    return missing


def need_features(work: ProfileWork) -> Path:
    """The table of all features."""
    path = work.run.root / FEATURES
    if not path.is_file():
        raise DataError(
            f"{work.run.root} has not all of its features yet: run `attributome profile features` "
            f"first"
        )
    return path


def mean(maps: Layer, _crops: Crops) -> Float[Tensor, "b f"]:
    """The mean over the crop."""
    return maps.flatten(2).mean(2)


def highest(maps: Layer, _crops: Crops) -> Float[Tensor, "b f"]:
    """The largest value anywhere in the crop."""
    return maps.flatten(2).amax(2)


def own_mean(maps: Layer, crops: Crops) -> Float[Tensor, "b f"]:
    """The mean over the own cell; each place weighs what the cell covers of it."""
    mask = own_cell(crops.labels, crops.own).to(maps)
    share = covered_shares(mask, tuple(maps.shape[2:])).flatten(2)
    total = share.sum(2)
    return unless(total == 0, (maps.flatten(2) * share).sum(2) / total)


POOLS: dict[str, Callable[[Layer, Crops], Float[Tensor, "b f"]]] = {
    "mean": mean,
    "max": highest,
    "masked_mean": own_mean,
}


def _block(work: ProfileWork, asked: Asked, cells: SingleCells, unit: str, rows: Rows) -> None:
    started, job = time.monotonic(), work.job.features
    blocks = [
        features_of(work, asked, cells, rows[start : start + job.batch])
        for start in range(0, len(rows), job.batch)
    ]
    table = pd.concat(blocks, ignore_index=True)
    about = metadata(cells.table.iloc[rows])
    work.run.write(
        STAGE,
        unit,
        tables={"features": pd.concat([about, table], axis=1)},
        note={
            "layers": [*job.layers],
            "pools": [*job.pools],
            "rows": [int(rows[0]), int(rows[-1])],
            "weights_sha256": asked.sha256,
            "seconds": round(time.monotonic() - started, 3),
        },
    )


def features_of(work: ProfileWork, asked: Asked, cells: SingleCells, rows: Rows) -> pd.DataFrame:
    """Every layer and pool of some cells, float32."""
    some = read_crops(cells, rows).to(work.compute)
    images, found = shown(some, asked.erase), []
    for layer in work.job.features.layers:
        with work.compute.autocast():
            maps = layer_output(asked.net, layer, images).float()
        if maps.ndim == 2:
            found.append(_named(f"Cells_{layer}", maps))
            continue
        if maps.ndim != images.ndim:
            raise DataError(f"the layer {layer!r} gives shape {tuple(maps.shape)}, no maps to pool")
        for pool in work.job.features.pools:
            found.append(_named(f"Cells_{layer}_{pool}", POOLS[pool](maps, some)))
    table = pd.concat(found, axis=1)
    wrong = ~np.isfinite(table.to_numpy())
    wrong[:, ["_masked_mean_" in str(name) for name in table]] = False
    if wrong.any():
        row = int(wrong.any(1).argmax())
        raise DataError(
            f"the features of cell {cells.table['id'].iloc[rows[row]]!r} are not finite: the "
            f"weights hold what is not, or the precision is too low"
        )
    return table


def _named(stem: str, values: Float[Tensor, "b f"]) -> pd.DataFrame:
    array = values.to(torch.float32).cpu().numpy()
    return pd.DataFrame(array, columns=named(stem, array.shape[1]))


def _join(work: ProfileWork, units: list[str], path: Path) -> None:
    """One file of all blocks, and the other forms that are asked for; what is there stays."""
    root = work.run.root
    if not path.is_file():
        parts = root / "parts" / STAGE

        def blocks() -> Iterator[pd.DataFrame]:
            for unit in units:
                yield from read_blocks(parts / unit / "features.parquet")

        note = work.run.note(STAGE, units[0])
        about: dict[str, Any] = {name: note[name] for name in ("weights_sha256", "layers", "pools")}
        write_parquet(path, blocks(), about)
    if "anndata" in work.job.features.forms and not (root / "features.h5ad").is_file():
        write_anndata(root / "features.h5ad", read_blocks(path), read_about(path))
    if "workspace_dl" in work.job.features.forms:
        _by_site(root / "workspace_dl" / "embeddings", work.job.name, path)


def _by_site(home: Path, name: str, path: Path) -> None:
    """The tree of JUMP: `<weights>/<batch>/<plate>/<well>/<site>/embedding.parquet`.

    A row per cell, as in the table of all features; the batch is called as the job is. Sites that
    are there already stay.
    """
    batch = home / str(read_about(path)["weights_sha256"])[:12] / folder_name(name)
    keys = [f"{METADATA}{key}" for key in ("plate", "well", "site")]
    held = pd.DataFrame()
    for block in read_blocks(path):
        held = pd.concat([held, block], ignore_index=True)
        last = held[keys].iloc[-1]  # its other cells may be in the next block
        whole = (held[keys] != last).any(axis=1)
        _sites(batch, held[whole], keys)
        held = held[~whole]
    _sites(batch, held, keys)


def _sites(batch: Path, table: pd.DataFrame, keys: list[str]) -> None:
    for key, some in table.groupby(keys, sort=False):
        place = batch.joinpath(*(folder_name(str(one)) for one in key)) / "embedding.parquet"
        if not place.is_file():
            write_whole(place, partial(some.to_parquet, index=False))
