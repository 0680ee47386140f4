"""Which cells are told apart, and the features that they are told apart by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng
from attributome.inpainting.cells import Cells, per_block
from attributome.pipeline.inpaint.checking import check_columns
from attributome.pipeline.inpaint.features import chosen_layers
from attributome.pipeline.inpaint.network import network
from attributome.pipeline.inpaint.work import FEATURES, CellWork
from attributome.profiles.features import extract
from attributome.profiles.formats import feature_names, read_about, read_blocks
from attributome.profiles.intensities import baselines

Rows = Integer[np.ndarray, " n"]
UNTRAINED = "untrained"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Set:
    """One set of features `(n, f)` of the cells that are told apart, and whose they are."""

    features: str
    layer: str
    pool: str
    values: Float[np.ndarray, "n f"]


def evaluated(work: CellWork, cells: Cells) -> Rows:
    """Labelled cells of the job's part; if they are too many, those of some whole fields, drawn."""
    asked, table = work.job.evaluate, cells.table
    check_columns(work.job, cells)
    rows = work.rows(cells, asked.part)
    label = table[asked.label].iloc[rows]
    rows = rows[(label.notna() & (label.astype(str) != "")).to_numpy()]
    if not len(rows):
        raise DataError(f"no cell of the part {asked.part!r} has a {asked.label!r}")
    if len(rows) <= asked.cells:
        return rows
    fields = table["field"].astype(str).to_numpy()[rows]
    names, counts = np.unique(fields, return_counts=True)
    order = rng(work.job.seed, "evaluated fields").permutation(len(names))
    taken = order[np.cumsum(counts[order]) <= asked.cells]
    if not len(taken):
        raise UsageError(
            f"evaluate.cells is {asked.cells}, and the first field that is drawn has "
            f"{counts[order[0]]}: give more, for fields are taken whole"
        )
    return rows[np.isin(fields, names[taken])]


def labels_of(work: CellWork, cells: Cells, rows: Rows) -> np.ndarray:
    """The label of each of some cells, as text."""
    found: np.ndarray = cells.table[work.job.evaluate.label].astype(str).to_numpy(str)[rows]
    return found


def lead(work: CellWork) -> tuple[str, str]:
    """The layer and pool that findings are of: fixed beforehand, and not the best of all."""
    asked, layers, pools = work.job.evaluate, chosen_layers(work), work.job.features.pools
    return (
        asked.layer if asked.layer in layers else layers[0],
        asked.pool if asked.pool in pools else pools[0],
    )


def sets(work: CellWork, cells: Cells, rows: Rows) -> Iterator[Set]:
    """Ours of every layer and pool, those of an untrained network, and what takes no network."""
    layers, pools = chosen_layers(work), work.job.features.pools
    random = _untrained(work, cells, rows)
    for layer in layers:
        for pool in pools:
            start = f"{layer}_{pool}_"
            yield Set(features="ours", layer=layer, pool=pool, values=ours(work, rows, layer, pool))
            names = feature_names(random, start)
            values = random[names].to_numpy(np.float32)
            yield Set(features=UNTRAINED, layer=layer, pool=pool, values=values)
    raw = work.raw()
    if raw is not None:
        _same(raw, cells)
        yield Set(features="raw_intensity", layer="raw", pool="", values=_intensity(raw, rows))
    values = _intensity(cells, rows)
    yield Set(features="prepared_intensity", layer="prepared", pool="", values=values)
    if work.job.evaluate.imagenet:
        yield from _imagenet(work, cells, raw, rows)


def ours(work: CellWork, rows: Rows, layer: str, pool: str) -> Float[np.ndarray, "n f"]:
    """The features of one layer and pool of some cells, by rising row."""
    found = [
        block.to_numpy(np.float32) for block in blocks_of(work, layer, pool, rows=rows, metadata=())
    ]
    return np.concatenate(found)


def blocks_of(
    work: CellWork,
    layer: str,
    pool: str,
    *,
    rows: Rows | None = None,
    metadata: Sequence[str] = ("id", "group", "field"),
) -> Iterator[pd.DataFrame]:
    """One layer and pool of the table of features, block by block, with some of the metadata."""
    path = work.run.root / FEATURES
    names = [name for name in _columns(path) if name.startswith(f"{layer}_{pool}_")]
    if not names:
        raise UsageError(f"{path} has no features of {layer} by {pool}")
    wanted = [*dict.fromkeys(f"Metadata_{name}" for name in metadata), *names]
    start = 0
    for block in read_blocks(path, wanted):
        end = start + len(block)
        if rows is None:
            yield block
        else:
            here = rows[(rows >= start) & (rows < end)] - start
            if len(here):
                yield block.iloc[here]
        start = end


def weights_of(work: CellWork) -> str:
    """SHA-256 of the weights that the features were made with."""
    return str(read_about(work.run.root / FEATURES)["weights_sha256"])


def _columns(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    names: list[str] = pq.read_schema(path).names
    return names


def _untrained(work: CellWork, cells: Cells, rows: Rows) -> pd.DataFrame:
    """Features of a network of the same kind that has learnt nothing."""
    trained, _ = network(work, cells)
    net = type(trained)(**trained.kwargs, seed=work.job.seed)
    found = extract(
        work.compute.place(net, 2).eval(),
        cells,
        rows=rows,
        layers=chosen_layers(work),
        pools=work.job.features.pools,
        batch=work.job.features.batch,
        compute=work.compute,
    )
    return pd.concat(list(found), ignore_index=True)


def _intensity(cells: Cells, rows: Rows) -> Float[np.ndarray, "n f"]:
    blocks = baselines(cells, rows=rows)
    return np.concatenate([each[feature_names(each)].to_numpy(np.float32) for each in blocks])


def _imagenet(work: CellWork, cells: Cells, raw: Cells | None, rows: Rows) -> Iterator[Set]:
    """Features of a VGG16 that saw photographs, of the first target as it was read.

    It takes values from 0 to 1: where those of the raw cells go beyond, prepared ones stand in.
    """
    from attributome.profiles.imagenet import imagenet_features

    channel = cells.targets[0]
    blocks = imagenet_features(
        raw if raw is not None and _shares(raw, channel, rows) else cells,
        Path(work.job.evaluate.imagenet),
        channel=channel,
        rows=rows,
        compute=work.compute,
    )
    table = pd.concat(list(blocks), ignore_index=True)
    for stem in dict.fromkeys(name.rpartition("_")[0] for name in feature_names(table)):
        names = feature_names(table, f"{stem}_")
        layer, _, pool = stem.rpartition("_")
        values = table[names].to_numpy(np.float32)
        yield Set(features="imagenet", layer=layer.removeprefix("vgg16_"), pool=pool, values=values)


def _shares(cells: Cells, channel: str, rows: Rows) -> bool:
    step = per_block(1, *cells.size)
    for start in range(0, len(rows), step):
        plane = cells.planes(rows[start : start + step], [channel])
        if plane.min() < 0 or plane.max() > 1:
            return False
    return True


def _same(raw: Cells, cells: Cells) -> None:
    if not raw.table["id"].equals(cells.table["id"]):
        raise DataError("the cells as they were read are others than those that were prepared")
