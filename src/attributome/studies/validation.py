"""Does a region matter: noise into it, and into as large a region elsewhere in the same field.

A drop of efficacy says nothing by itself, for noise hurts anywhere. So each region, and what each
erosion leaves of it, is set beside copies of its own objects in other places. Cells are rows and
their fields or wells are the units: a field of many cells weighs no more than one of few.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from scipy import ndimage
from scipy.signal import fftconvolve

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng, seed_of
from attributome.studies.paired import by_field, corrected, paired, unit_mean
from attributome.studies.regions import erosion_steps

Mask = Bool[np.ndarray, "..."]

SAME = 0.01
"""Two regions are as large as each other if their sizes differ by less than this share."""


def region_rows(
    ask: Callable[[np.ndarray], float],
    region: Mask,
    *,
    field: str,
    cell: str = "",
    avoid: Mask | None = None,
    size: int = 11,
    steps: int = 3,
    placements: int = 5,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Noise a region, what each erosion leaves of it, and copies of both elsewhere.

    `ask` is given a binary mask (what it does not keep is noised) and returns the efficacy. `size`
    and `steps` are those of `regions.erosion_steps`; `avoid` and the region as it was before the
    erosions are where no copy may lie. Columns for `region_effects`: `field`, `cell` (empty for the
    field as a whole), `step` of erosion, `place` ("inside" or "elsewhere"), `placement`, `share` of
    the voxels that was noised, and `efficacy`. Both are NaN where a copy found no room.
    """
    if placements < 1:
        raise UsageError(f"{placements} placements elsewhere are no comparison; give 1 or more")
    if not region.any():
        raise DataError(f"the region in {field!r} is empty: there is nothing to noise")
    if avoid is not None and avoid.shape != region.shape:
        raise DataError(f"what to avoid is {avoid.shape}, and the region {region.shape}")
    taken = region if avoid is None else region | avoid
    rows: list[dict[str, Any]] = []

    def add(step: int, place: str, placement: int, noised: Mask | None) -> None:
        told = {"field": field, "cell": cell, "step": step, "place": place, "placement": placement}
        found = {"share": np.nan, "efficacy": np.nan}
        if noised is not None:
            found = {"share": float(noised.mean()), "efficacy": float(ask(~noised))}
        rows.append(told | found)

    for step, inside in enumerate(erosion_steps(region, size=size, steps=steps)):
        add(step, "inside", 0, inside)
        for placement in range(placements):
            own = seed_of(seed, field, cell, step, placement)
            add(step, "elsewhere", placement, elsewhere(inside, avoid=taken, seed=own))
    return rows


def elsewhere(region: Mask, *, avoid: Mask, seed: int = 0) -> Mask | None:
    """Each object of a region, moved in y and x to a random place: same shapes, same area.

    The largest object (touching by a side) chooses first. No object reaches out of the field, into
    `avoid` or into another one; a stack is moved as a whole. None where an object has no room.
    """
    if avoid.shape != region.shape or region.ndim not in (2, 3):
        raise DataError(
            f"a region of {region.shape} and what it avoids, {avoid.shape}, are no planes or "
            f"stacks of one field"
        )
    labels, _ = ndimage.label(region)
    boxes = ndimage.find_objects(labels)
    sizes = np.bincount(labels.ravel())[1:]
    draw = rng(seed, "a place elsewhere")
    taken, found = avoid.copy(), np.zeros_like(region)
    for index in np.argsort(-sizes, kind="stable"):
        through = (*boxes[index][:-2], slice(None), slice(None))
        shape = labels[boxes[index]] == index + 1
        # what each place of the object would share with what is taken, all at once
        overlap = fftconvolve(
            taken[through].astype(np.float64),
            shape[..., ::-1, ::-1].astype(np.float64),
            mode="valid",
            axes=(-2, -1),
        )
        free = np.argwhere(overlap.reshape(-1, *overlap.shape[-2:]).sum(0) < 0.5)
        if not len(free):
            return None
        y, x = draw.choice(free)
        where = slice(y, y + shape.shape[-2]), slice(x, x + shape.shape[-1])
        there = (*boxes[index][:-2], *where)
        found[there] |= shape
        taken[there] |= shape
    return found


def region_effects(
    table: pd.DataFrame,
    *,
    unit: str = "field",
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The drop of efficacy (1 − efficacy) by noise inside the region beside elsewhere.

    `table` has the rows of `region_rows`; `unit` may name a further column, such as the well. Rows
    with a `cell` are the level "cell", those where it is empty or missing the level "field". A row
    of the result for each `level` and `step`: `share` noised inside (mean of rows), `inside` and
    `elsewhere` (mean drop over units, each with `_low` and `_high`), `lost` placements without an
    efficacy, and the columns of `paired.paired` (inside minus elsewhere, so that positive means
    that the region matters) with `holm` and `q` over all rows. Placements of a field or cell are
    averaged; it is undefined if what is inside is, or all elsewhere. Only fields whose region an
    erosion leaves alive are in its step.
    """
    rows = _checked(table, unit)
    found = []
    for (level, step), part in rows.groupby(["level", "step"], sort=True):
        wide, units = by_field(_averaged(part), "place", "drop", row="row", unit="unit")
        inside, outside = (_column(wide, name) for name in ("inside", "elsewhere"))
        told: dict[str, Any] = {"level": level, "step": step}
        told["share"] = float(part.loc[part["place"] == "inside", "share"].mean())
        for name, values in (("inside", inside), ("elsewhere", outside)):
            mean = unit_mean(values, units, confidence=confidence)
            told |= {name: mean["mean"], f"{name}_low": mean["low"], f"{name}_high": mean["high"]}
        told["lost"] = int(part["efficacy"].isna().sum())
        own = seed_of(seed, str(level), str(step))
        told |= paired(inside, outside, units, confidence=confidence, draws=draws, seed=own)
        found.append(told)
    return corrected(pd.DataFrame(found))


def _checked(table: pd.DataFrame, unit: str) -> pd.DataFrame:
    """The table with `level`, `row` (the field or cell), `unit` and `drop`."""
    wanted = ("field", "cell", "step", "place", "share", "efficacy", unit)
    if lost := [name for name in wanted if name not in table]:
        raise UsageError(f"no column {lost[0]!r} among {[*map(str, table.columns)]}")
    if not len(table):
        raise DataError("a table without rows has no regions")
    if wrong := sorted({*table["place"].astype(str)} - {"inside", "elsewhere"}):
        raise DataError(f"a place is 'inside' or 'elsewhere', and not {wrong[0]!r}")
    table = table.assign(cell=table["cell"].fillna(""))
    whole = (table["cell"] == "").to_numpy()
    row = (
        table["field"]
        .astype(str)
        .where(whole, table["field"].astype(str) + "\0" + table["cell"].astype(str))
    )
    rows = table.assign(
        level=np.where(whole, "field", "cell"),
        row=row,
        unit=table[unit],
        drop=1 - table["efficacy"],
    )
    keys = ["row", "step"]
    inside = rows[rows["place"] == "inside"].set_index(keys)["share"]
    if inside.index.has_duplicates:
        raise DataError(f"{inside.index[inside.index.duplicated()][0]} has several rows inside")
    there = inside.reindex(pd.MultiIndex.from_frame(rows[keys])).to_numpy()
    apart = np.abs(rows["share"].to_numpy() - there) > SAME * there
    if apart.any():
        row_of = rows[apart].iloc[0]
        raise DataError(
            f"in {row_of['field']!r} a share of {row_of['share']:.4g} is noised elsewhere and "
            f"{there[apart][0]:.4g} inside: only equal areas can be compared"
        )
    return rows


def _averaged(part: pd.DataFrame) -> pd.DataFrame:
    """One drop for each row and place: placements that found no room do not enter."""
    by = part.groupby(["row", "unit", "place"], sort=True, dropna=False)
    return by[["drop"]].mean().reset_index()


def _column(wide: pd.DataFrame, name: str) -> np.ndarray:
    if name not in wide:
        return np.full(len(wide), np.nan)
    found: np.ndarray = wide[name].to_numpy(np.float64)
    return found
