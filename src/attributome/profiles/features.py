"""Features of cells from an inpainter, every layer in one pass; and where in a cell they look.

A feature is one channel of a source layer, after its ReLU and before its norm, pooled over space:
`max` as published (Lu et al. 2019), `mean`, and both within the own cell. A pool over the whole
crop reads the neighbours too, whose protein is the brightest of the crop for many cells.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Integer
from torch import Tensor

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.probe import at_once, in_chunks, still
from attributome.core.seeds import rng
from attributome.core.types import Progress, silent
from attributome.inpainting.cells import Cells
from attributome.inpainting.network import Inpainter
from attributome.inpainting.pretext import need_fit
from attributome.profiles.formats import MASK_SHARE, metadata

T = TypeVar("T")
Grid = Float[Tensor, "b f i j"]
Share = Float[Tensor, "b 1 i j"]
Pool = Callable[[Grid, Share | None], Float[Tensor, "b f"]]
Rows = Integer[np.ndarray, " n"]


def highest(maps: Grid, _share: Share | None = None) -> Float[Tensor, "b f"]:
    """The largest value anywhere in the crop."""
    # as `amax((2, 3))`, which is ten times slower where channels come last
    return F.max_pool2d(maps, maps.shape[2:]).flatten(1)


def average(maps: Grid, _share: Share | None = None) -> Float[Tensor, "b f"]:
    """The mean over the crop."""
    return maps.mean((2, 3))


def own_highest(maps: Grid, share: Share | None) -> Float[Tensor, "b f"]:
    """The largest value times the share of its place that the own cell covers (values are ≥ 0)."""
    return _own(lambda held: highest(maps * held), share)


def own_average(maps: Grid, share: Share | None) -> Float[Tensor, "b f"]:
    """The mean over the own cell; each place weighs what the cell covers of it."""
    return _own(lambda held: (maps * held).sum((2, 3)) / held.sum((2, 3)), share)


POOLS: Mapping[str, Pool] = {
    "max": highest,
    "mean": average,
    "masked_max": own_highest,
    "masked_mean": own_average,
}


def extract(
    net: Inpainter,
    cells: Cells,
    *,
    rows: Rows | None = None,
    layers: Sequence[str] | None = None,
    pools: Sequence[str] = ("max", "mean"),
    batch: int = 256,
    compute: Compute | None = None,
    progress: Progress = silent,
) -> Iterator[pd.DataFrame]:
    """Features of cells, as one table for each `batch` of them; only that much is in memory.

    `rows` says which cells (all of them), `layers` which of `net.layers`, `pools` which of `POOLS`.
    Columns are `Metadata_<name>` for each of the cell table, `Metadata_mask_share` (the own cell's
    share of the crop) where cells have masks, and float32 `<layer>_<pool>_<channel>`, such as
    `conv3_1_max_017`. A mask is averaged over each place of a layer's grid, which then counts by
    its covered share; a masked feature of a cell without a single own pixel is undefined, NaN, and
    the last words to `progress` count such cells. Without `compute` the network stays where it is.
    """
    chosen, taken = _layers(net, layers), _taken(cells, rows)
    unknown = [pool for pool in pools if pool not in POOLS]
    if unknown or not pools or len(set(pools)) < len(pools):
        raise UsageError(f"pools {[*pools]}; give some of {', '.join(POOLS)}, each once")
    masked = [pool for pool in pools if pool.startswith("masked")]
    if masked and cells.masks is None:
        raise UsageError(f"the pool {masked[0]!r} needs masks of the own cells, and there are none")
    _fits(net, cells, batch)
    return _features(net, cells, taken, chosen, pools, batch, compute, progress)


def _features(
    net: Inpainter,
    cells: Cells,
    rows: Rows,
    layers: Sequence[str],
    pools: Sequence[str],
    batch: int,
    compute: Compute | None,
    progress: Progress,
) -> Iterator[pd.DataFrame]:
    widths: list[int] = []
    masked = any(pool.startswith("masked") for pool in pools)

    def work(maps: Mapping[str, Tensor], mask: Tensor | None) -> Tensor:
        widths[:] = [maps[layer].shape[1] for layer in layers]
        found = []
        for layer in layers:
            held = maps[layer].float()
            share = _share(mask, held) if masked and mask is not None else None
            found += [POOLS[pool](held, share) for pool in pools]
        return torch.cat(found, 1)

    done = empty = 0
    for some, parts in _passes(net, cells, rows, batch, compute, work):
        values = torch.cat(parts).cpu().numpy()
        table = described(cells, some)
        names = [
            name
            for layer, width in zip(layers, widths, strict=True)
            for pool in pools
            for name in named(f"{layer}_{pool}", width)
        ]
        maskless = (
            np.zeros(len(some), bool)
            if MASK_SHARE not in table
            else table[MASK_SHARE].to_numpy() == 0
        )
        own = np.array(["_masked_" in name for name in names])
        _finite(values, maskless[:, None] & own, table, names)
        done, empty = done + len(some), empty + int(maskless.sum())
        words = f"{done} of {len(rows)} cells"
        if own.any():
            words += f", {empty} without a pixel of their own mask"
        progress(done / len(rows), words)
        yield pd.concat([table, pd.DataFrame(values, columns=names)], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looking:
    """Whether features look at their own cell: the share of maxima that lie in the own mask.

    `features` has a row for each feature: `layer`, `feature`, `inside` (mean over cells), `chance`
    (the mask's share of the grid, over the same cells: what a maximum that is anywhere alike
    would score), `excess` = inside − chance with the interval `low`, `high` from drawing whole
    fields again (undefined below three fields), `cells`, `fields`, and `undefined` (cells without
    a mask, or whose map is constant and so has no maximum). `layers` has the same of all
    features of a layer together, where `cells` counts pairs of a cell and a feature. `cells` has
    the metadata, and for each layer `<layer>_inside` (the mean over features) and
    `<layer>_undefined` (how many features had no maximum).
    """

    features: pd.DataFrame
    layers: pd.DataFrame
    cells: pd.DataFrame


def argmax_in_mask(
    net: Inpainter,
    cells: Cells,
    *,
    rows: Rows | None = None,
    layers: Sequence[str] | None = None,
    batch: int = 256,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    compute: Compute | None = None,
    progress: Progress = silent,
) -> Looking:
    """For each feature, how often the place of its maximum belongs to the cell it describes.

    A max-pooled feature is the value at one place of the grid and at no other, so no gradient is
    needed to say where it looks. A place at the edge of the mask counts by its covered share, and a
    maximum that several places reach counts by their mean.
    """
    chosen, taken = _layers(net, layers), _taken(cells, rows)
    if cells.masks is None:
        raise UsageError("whether features look at their own cell needs masks, and there are none")
    if not 0 < confidence < 1 or draws < 1:
        raise UsageError(f"confidence {confidence} and {draws} draws; such as 0.95 and 1000")
    _fits(net, cells, batch)

    def work(maps: Mapping[str, Tensor], mask: Tensor | None) -> Tensor:
        assert mask is not None
        held = [maps[layer].float() for layer in chosen]
        widths[:] = [each.shape[1] for each in held]
        return torch.cat([_looks(each, _share(mask, each)) for each in held], 1)

    widths: list[int] = []
    codes, fields = pd.factorize(cells.table["field"].to_numpy()[taken])
    sums: Float[np.ndarray, "3 u f"] | None = None
    tables: list[pd.DataFrame] = []
    done = 0
    for some, parts in _passes(net, cells, taken, batch, compute, work):
        inside = torch.cat(parts).cpu().numpy().astype(np.float64)
        table = described(cells, some)
        defined = np.isfinite(inside)
        chance = table[MASK_SHARE].to_numpy()[:, None] * defined
        if sums is None:
            sums = np.zeros((3, len(fields), inside.shape[1]))
        of = codes[done : done + len(some)]
        for total, what in zip(sums, (np.where(defined, inside, 0), chance, defined), strict=True):
            np.add.at(total, of, what)
        tables.append(_each_layer(table, inside, chosen, widths))
        done += len(some)
        progress(done / len(taken), f"{done} of {len(taken)} cells")
    assert sums is not None
    ends = np.cumsum([0, *widths])
    pooled = np.stack([sums[..., a:b].sum(2) for a, b in pairwise(ends)], 2)
    weights = rng(seed, "argmax in mask").multinomial(
        len(fields), np.full(len(fields), 1 / len(fields)), size=draws
    )
    features = pd.DataFrame(
        {
            "layer": np.repeat(chosen, widths),
            "feature": [n for a, w in zip(chosen, widths, strict=True) for n in named(a, w)],
            **_summed(sums, weights, confidence, np.full(sum(widths), len(taken))),
        }
    )
    together = _summed(pooled, weights, confidence, len(taken) * np.array(widths))
    return Looking(
        features=features,
        layers=pd.DataFrame({"layer": chosen, **together}),
        cells=pd.concat(tables, ignore_index=True),
    )


def named(stem: str, width: int) -> list[str]:
    """Names of the channels of a layer, from `<stem>_000` on."""
    digits = max(3, len(str(width - 1)))
    return [f"{stem}_{i:0{digits}d}" for i in range(width)]


def described(cells: Cells, rows: Rows) -> pd.DataFrame:
    """The metadata of some cells, and their masks' shares of the crop where they have masks."""
    table = metadata(cells.table.iloc[rows])
    if cells.masks is None:
        return table
    if MASK_SHARE in table:
        raise UsageError(f"the cell table has a column for {MASK_SHARE}, which is computed here")
    return table.assign(**{MASK_SHARE: np.asarray(cells.masks[rows]).mean((1, 2))})


def _passes(
    net: Inpainter,
    cells: Cells,
    rows: Rows,
    batch: int,
    compute: Compute | None,
    work: Callable[[Mapping[str, Tensor], Tensor | None], T],
) -> Iterator[tuple[Rows, list[T]]]:
    """`work` on the maps of consecutive cells; the network is as it was between two batches."""
    if compute is None:
        compute = Compute(device=str(next(net.parameters()).device))
    else:
        compute.place(net, 2)
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        crops = cells.source(some)
        wrong = ~np.isfinite(crops).all((1, 2, 3))
        if wrong.any():
            cell = cells.table["id"].iloc[some[int(wrong.argmax())]]
            raise DataError(f"the crop of cell {cell!r} holds a pixel that is not finite")
        source = compute.move(torch.from_numpy(crops))
        masks = None
        if cells.masks is not None:
            own = np.array(cells.masks[some], np.float32)[:, None]
            masks = torch.from_numpy(own).to(source.device)
        # closed before the block is handed on: whoever reads it may train, or never come back
        with still(net), torch.no_grad(), compute.autocast():
            found = _batch(net, source, masks, work)
        yield some, found


def _batch(
    net: Inpainter,
    source: Float[Tensor, "b s h w"],
    masks: Float[Tensor, "b 1 h w"] | None,
    work: Callable[[Mapping[str, Tensor], Tensor | None], T],
) -> list[T]:
    """`work` on as many cells at once as are worth it; a part that does not fit is halved."""

    def part(some: slice) -> T:
        return work(net.encode(source[some]), None if masks is None else masks[some])

    return in_chunks(part, len(source), at_once(source[:1], len(source)))


def _share(mask: Float[Tensor, "b 1 h w"], maps: Grid) -> Share:
    """How much of each place of a layer's grid a mask covers."""
    return F.avg_pool2d(mask, [a // b for a, b in zip(mask.shape[2:], maps.shape[2:], strict=True)])


def _own(pool: Callable[[Tensor], Tensor], share: Share | None) -> Float[Tensor, "b f"]:
    if share is None:
        raise UsageError("a masked pool needs a mask")
    return torch.where(share.sum((2, 3)) > 0, pool(share), torch.nan)


def _looks(maps: Grid, share: Share) -> Float[Tensor, "b f"]:
    """The covered share where the maximum is; NaN for a constant map and an empty mask."""
    peak = maps.amax((2, 3), keepdim=True)
    at = maps == peak
    inside = (at * share).sum((2, 3)) / at.sum((2, 3))
    defined = (peak > maps.amin((2, 3), keepdim=True)).flatten(1) & (share.sum((2, 3)) > 0)
    return torch.where(defined, inside, torch.nan)


def _each_layer(
    table: pd.DataFrame,
    inside: Float[np.ndarray, "b f"],
    layers: Sequence[str],
    widths: Sequence[int],
) -> pd.DataFrame:
    columns = {}
    parts = np.split(inside, np.cumsum(widths)[:-1], axis=1)
    for layer, part in zip(layers, parts, strict=True):
        defined = np.isfinite(part)
        columns[f"{layer}_inside"] = _ratio(np.where(defined, part, 0).sum(1), defined.sum(1))
        columns[f"{layer}_undefined"] = (~defined).sum(1)
    return table.assign(**columns)


def _summed(
    sums: Float[np.ndarray, "3 u f"],
    weights: Integer[np.ndarray, "d u"],
    confidence: float,
    asked: Integer[np.ndarray, " f"],
) -> dict[str, np.ndarray]:
    """Sums over the cells of each field (inside, chance, number) as shares with an interval."""
    inside, chance, count = sums.sum(1)
    fields = (sums[2] > 0).sum(0)
    again = _ratio(weights @ (sums[0] - sums[1]), weights @ sums[2])
    ends = np.full((2, len(count)), np.nan)
    if (enough := fields >= 3).any():
        tail = (1 - confidence) / 2
        ends[:, enough] = np.nanquantile(again[:, enough], [tail, 1 - tail], axis=0)
    return {
        "inside": _ratio(inside, count),
        "chance": _ratio(chance, count),
        "excess": _ratio(inside - chance, count),
        "low": ends[0],
        "high": ends[1],
        "cells": count.astype(np.int64),
        "fields": fields,
        "undefined": asked - count.astype(np.int64),
    }


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The quotient, and NaN where b is 0."""
    divided: np.ndarray = np.divide(a, b, out=np.full(a.shape, np.nan), where=b > 0)
    return divided


def _layers(net: Inpainter, layers: Sequence[str] | None) -> list[str]:
    chosen = [*(net.layers if layers is None else layers)]
    unknown = [layer for layer in chosen if layer not in net.layers]
    if unknown or not chosen or len(set(chosen)) < len(chosen):
        raise UsageError(f"layers {chosen}; give some of {', '.join(net.layers)}, each once")
    return chosen


def _taken(cells: Cells, rows: Rows | None) -> Rows:
    taken = np.arange(len(cells)) if rows is None else rows
    if not len(taken) or taken.min() < 0 or taken.max() >= len(cells):
        raise UsageError(f"{len(taken)} rows; give at least one, each from 0 to {len(cells) - 1}")
    return taken


def _fits(net: Inpainter, cells: Cells, batch: int) -> None:
    need_fit(net, cells)
    if batch < 1:
        raise UsageError(f"a batch of {batch} cells; it must hold at least one")


def _finite(
    values: Float32[np.ndarray, "b f"],
    allowed: np.ndarray,
    table: pd.DataFrame,
    names: Sequence[str],
) -> None:
    wrong = ~np.isfinite(values) & ~allowed
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"the feature {names[column]} of cell {table['Metadata_id'].iloc[row]!r} is "
            f"{values[row, column]}: the weights hold what is not finite, or the precision is too "
            f"low"
        )
