"""The verb that extracts features: block by block, each once, in any number of processes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError
from attributome.inpainting.cells import Cells
from attributome.inpainting.network import Inpainter
from attributome.pipeline.inpaint.checking import LAYERS, check_columns
from attributome.pipeline.inpaint.network import network
from attributome.pipeline.inpaint.prepare import prepare
from attributome.pipeline.inpaint.sources import array_mark
from attributome.pipeline.inpaint.work import FEATURES, PREPARED, STAGE, CellWork
from attributome.profiles.features import extract
from attributome.profiles.formats import (
    read_about,
    read_blocks,
    write_anndata,
    write_original,
    write_parquet,
)
from attributome.profiles.proteins.averages import average
from attributome.store import shard

AVERAGES = "averages.parquet"


def features(work: CellWork, *, part: tuple[int, int] = (1, 1)) -> int:
    """Extract the blocks of cells that are not there yet; how many are still missing.

    `part` is (i, N) for shard i of N: the numbers are those of one process. Who finishes the last
    block joins all of them into `features.parquet`, and writes the other forms that are asked for.
    """
    cells = prepare(work)
    units = _units(len(cells), work.job.features.block)
    todo = [unit for unit in shard([*units], *part) if not work.run.has(STAGE, unit)]
    if todo and not (work.run.root / FEATURES).is_file():
        net, mark = network(work, cells)
        check_columns(work.job, cells)
        with work.timed(STAGE) as progress:
            for done, unit in enumerate(todo):
                progress(done / len(todo), f"cells {unit} ({done + 1} of {len(todo)})")
                _block(work, net, mark, cells, unit, units[unit])
            progress(1.0, f"blocks of cells extracted: {len(todo)}")
    missing = sum(not work.run.has(STAGE, unit) for unit in units)
    if not missing or (work.run.root / FEATURES).is_file():
        _join(work, [*units])
        _forms(work)
        return 0
    return missing


def chosen_layers(work: CellWork) -> tuple[str, ...]:
    """The layers whose features there are."""
    return work.job.features.layers or LAYERS


def need_features(work: CellWork) -> Path:
    """The table of all features."""
    path = work.run.root / FEATURES
    if not path.is_file():
        raise DataError(
            f"{work.run.root} has not all of its features yet: run `attributome inpaint features` "
            f"first"
        )
    return path


def _units(count: int, block: int) -> dict[str, np.ndarray]:
    ends = [(first, min(first + block, count)) for first in range(0, count, block)]
    return {f"{first:08d}-{end - 1:08d}": np.arange(first, end) for first, end in ends}


def _block(
    work: CellWork, net: Inpainter, mark: str, cells: Cells, unit: str, rows: np.ndarray
) -> None:
    started, asked = time.monotonic(), work.job.features
    layers = chosen_layers(work)
    found = extract(
        net,
        cells,
        rows=rows,
        layers=layers,
        pools=asked.pools,
        batch=asked.batch,
        compute=work.compute,
    )
    work.run.write(
        STAGE,
        unit,
        tables={"features": pd.concat(list(found), ignore_index=True)},
        note={
            "layers": [*layers],
            "pools": [*asked.pools],
            "rows": [int(rows[0]), int(rows[-1])],
            "weights_sha256": mark,
            "seconds": round(time.monotonic() - started, 3),
        },
    )


def _join(work: CellWork, units: list[str]) -> None:
    path = work.run.root / FEATURES
    if path.is_file():
        return
    parts = work.run.root / "parts" / STAGE

    def blocks() -> Iterator[pd.DataFrame]:
        for unit in units:
            yield from read_blocks(parts / unit / "features.parquet")

    note = work.run.note(STAGE, units[0])
    prepared = work.run.root / PREPARED
    about: dict[str, Any] = {name: note[name] for name in ("weights_sha256", "layers", "pools")}
    about |= {"recipe": _recipe(work), "cells_sha256": array_mark(prepared)}
    write_parquet(path, blocks(), about)


def _recipe(work: CellWork) -> str:
    told = dict(prepare(work).about).get("prepared", {})
    return str(told.get("recipe", ""))


def _forms(work: CellWork) -> None:
    """The other forms that the job asks for, and the averages; what is there stays."""
    root, asked = work.run.root, work.job.features
    path = root / FEATURES
    if "anndata" in asked.forms and not (root / "features.h5ad").is_file():
        write_anndata(root / "features.h5ad", read_blocks(path), read_about(path))
    if "text" in asked.forms:
        for layer in chosen_layers(work):
            for pool in asked.pools:
                text = root / f"features-{layer}-{pool}.txt"
                if not text.is_file():
                    write_original(text, read_blocks(path), start=f"{layer}_{pool}_")
    if asked.average:
        _averages(work, path)


def _averages(work: CellWork, path: Path) -> None:
    """Means over the cells of each value of a column; those that were made so already stay."""
    asked, where = work.job.features, work.run.root / AVERAGES
    through = [name for name in asked.through if name != asked.average]
    about = {**read_about(path), "average": asked.average, "through": through}
    if not where.is_file() or read_about(where) != about:
        table = average(read_blocks(path), asked.average, through=through)
        write_parquet(where, [table], about)
