"""From cells to wells and from wells to treatments: means, medians, and what was left out."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.profiles.formats import METADATA, feature_names

WAYS = ("mean", "median")


def aggregate(
    blocks: Iterable[pd.DataFrame],
    by: Sequence[str] = ("Metadata_plate", "Metadata_well"),
    *,
    way: str = "mean",
    weight: str | None = None,
    filter_by: str | None = None,
    least: float | None = None,
    unit: str = "cells",
) -> pd.DataFrame:
    """One row for each value of the columns `by`, from blocks of cells as they come.

    A mean holds one block at a time, a median all cells. Undefined values are not averaged:
    a feature is that of the cells which have it, or NaN, and `Metadata_undefined` counts the values
    that were missing. With `weight`, the name of a column of numbers of 0 or more (a Grad-CAMO
    score, say), the mean is weighted; with `filter_by` and `least`, only cells with so much in that
    column count. Cells whose weight or score is undefined, or 0, or too little are counted in
    `Metadata_left_out`, the others in `Metadata_<unit>`; a well without cells has NaN.
    Metadata that are the same throughout each row are kept. Rows are sorted.
    """
    names = [*by]
    if way not in WAYS:
        raise UsageError(f"no way {way!r}; there are {' and '.join(WAYS)}")
    if not names or not all(name.startswith(METADATA) for name in names):
        raise UsageError(f"groups by {names}; name one or more columns that begin with {METADATA}")
    if (filter_by is None) != (least is None):
        raise UsageError("a filter needs both a column (filter_by) and a bound (least)")
    if way == "median" and weight is not None:
        raise UsageError("a median takes no weights; filter cells, or ask for the mean")
    features: list[str] = []
    totals: list[pd.DataFrame] = []
    cells: list[pd.DataFrame] = []
    known = pd.DataFrame()
    for block in blocks:
        lost = [n for n in [*names, weight, filter_by] if n is not None and n not in block]
        if lost:
            raise UsageError(f"no column {lost[0]!r}; there is {[*map(str, block.columns)][:6]}")
        if block[names].isna().any(axis=None):
            raise DataError(f"a row has no {block[names].isna().any().idxmax()!r}")
        own = [name for name in feature_names(block) if name not in (weight, filter_by)]
        if features and own != features:
            raise DataError(f"a block has {len(own)} other features than the first {len(features)}")
        features = own
        heavy = _weights(block, weight, filter_by, least)
        parts = _sums(block, names, features, heavy, unit)
        totals = (
            parts
            if not totals
            else [one.add(other, fill_value=0) for one, other in zip(totals, parts, strict=True)]
        )
        known = _throughout(known, block, names, [weight, filter_by, *features])
        if way == "median":
            cells.append(block.loc[heavy > 0, [*names, *features]])
    if not totals:
        raise DataError("there are no rows to aggregate")
    sums, weights, counts = totals
    found = sums / weights.where(weights > 0)
    if way == "median":
        defined = pd.concat(cells).replace([np.inf, -np.inf], np.nan)
        found = defined.groupby(names)[features].median().reindex(found.index)
    return pd.concat([known.set_index(names), counts.astype(np.int64), found], axis=1).reset_index()


def consensus(
    wells: pd.DataFrame, by: Sequence[str] = ("Metadata_treatment",), *, way: str = "mean"
) -> pd.DataFrame:
    """One row for each treatment from its wells, each of which counts alike.

    As `aggregate`; `Metadata_wells` is how many, and `Metadata_cells` their cells where known.
    """
    known = [name for name in ("Metadata_cells",) if name in wells and name not in by]
    own = wells.drop(columns=[*known, *({"Metadata_undefined", "Metadata_left_out"} & {*wells})])
    found = aggregate([own], by, way=way, unit="wells")
    for name in known:
        cells = wells.groupby([*by], sort=True)[name].sum().reset_index(drop=True)
        found.insert([*found.columns].index("Metadata_wells") + 1, name, cells)
    return found


def _sums(
    block: pd.DataFrame, by: list[str], features: list[str], heavy: np.ndarray, unit: str
) -> list[pd.DataFrame]:
    """Weighted sums, the weights they have, and counts, of each group in a block."""
    x = block[features].to_numpy(np.float64)
    defined = np.isfinite(x)
    counted = heavy > 0
    weights = np.where(defined, heavy[:, None], 0.0)
    counts = {
        f"{METADATA}{unit}": counted,
        f"{METADATA}left_out": ~counted,
        f"{METADATA}undefined": (~defined & counted[:, None]).sum(1),
    }
    keys = [block[name].to_numpy() for name in by]

    def grouped(table: pd.DataFrame) -> pd.DataFrame:
        return table.groupby(keys).sum().rename_axis(by)

    return [
        grouped(pd.DataFrame(np.where(defined, x, 0.0) * weights, columns=features)),
        grouped(pd.DataFrame(weights, columns=features)),
        grouped(pd.DataFrame(counts)),
    ]


def _throughout(
    known: pd.DataFrame, block: pd.DataFrame, by: list[str], less: Sequence[str | None]
) -> pd.DataFrame:
    """The metadata that have one value in each group so far, a row for each group."""
    columns = [c for c in block.columns if c.startswith(METADATA) and c not in {*by, *less}]
    if len(known):
        columns = [c for c in columns if c in known]
    rows = pd.concat([known, block[[*by, *columns]]])[[*by, *columns]].drop_duplicates()
    same = [c for c in columns if not rows.duplicated([*by]).any() or _single(rows, by, c)]
    return rows[[*by, *same]].drop_duplicates().sort_values(by, kind="stable")


def _single(rows: pd.DataFrame, by: list[str], column: str) -> bool:
    return not rows[[*by, column]].drop_duplicates().duplicated(by).any()


def _weights(
    block: pd.DataFrame, weight: str | None, filter_by: str | None, least: float | None
) -> np.ndarray:
    """What each row weighs; 0 is left out."""
    heavy = np.ones(len(block))
    if weight is not None:
        heavy = block[weight].to_numpy(np.float64)
        if (heavy < 0).any() or np.isinf(heavy).any():
            raise DataError(f"{weight!r} has weights below 0 or infinite; give 0 or more")
        heavy = np.where(np.isnan(heavy), 0.0, heavy)
    if filter_by is not None and least is not None:
        heavy = np.where(block[filter_by].to_numpy(np.float64) >= least, heavy, 0.0)
    return heavy
