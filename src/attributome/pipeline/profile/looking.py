"""What Grad-CAMO comes to: of all cells, by well, of the controls, and of every feature."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from attributome.core.files import plain, write_whole
from attributome.core.seeds import rng
from attributome.pipeline.profile.work import CAMO, CAMO_FEATURES, ProfileWork, Rows
from attributome.profiles.camo.classes import FORMULA
from attributome.profiles.camo.scores import INTERPOLATION
from attributome.profiles.camo.summary import summarise
from attributome.profiles.causes import MARGIN, found

UNIT = ("plate", "well")
NO_TESTS = pd.DataFrame(columns=["test", "balanced", "low", "high", "chance", "n", "wells"])


def summarise_camo(
    work: ProfileWork, units: Mapping[str, Rows], about: pd.DataFrame
) -> dict[str, Any]:
    """Write `camo.json` and, where features were looked at, `camo_features.parquet`."""
    table, label = pd.read_parquet(work.run.root / CAMO), work.job.data.label
    draws, seed = work.job.evaluate.draws, work.job.seed
    whole = summarise(table, unit=UNIT, draws=draws, seed=seed).iloc[0]
    first = table.iloc[0]
    told: dict[str, Any] = {
        "layer": first["layer"],
        "grid": [int(n) for n in str(first["grid"]).split("x")],
        "method": first["method"],
        "target": first["target"],
        "interpolation": INTERPOLATION,
        "formula": FORMULA,
        "how": first["formula"],
        "cells": whole["cells"],
        "undefined": whole["undefined"],
        "unknown": sum(int(work.run.note("camo", unit)["unknown"]) for unit in units),
        "wells": whole["units"],
        "median": whole["median"],
        "low": whole["median_low"],
        "high": whole["median_high"],
        "chance": whole["chance"],
        "excess": whole["excess"],
        "excess_low": whole["excess_low"],
        "excess_high": whole["excess_high"],
        "neighbours": whole["neighbour"],
        "background": whole["background"],
        "share_above_half": whole["above_half"],
        "share_low": whole["above_half_low"],
        "share_high": whole["above_half_high"],
        "chance_above_half": whole["chance_above_half"],
        "by": _by_well(table, label),
        "controls": _controls(work, about),
        "features": _features(work, units, about) if work.job.camo.features else None,
        "flag": flagged(table, seed=work.job.seed),
    }
    told = plain(told)
    work.run.save("camo", told)
    return told


def flagged(table: pd.DataFrame, *, seed: int) -> dict[str, Any]:
    """Whether Grad-CAMO alone flags the classifier; the causal tests say more (`causes.json`)."""
    said = found(
        NO_TESTS,
        camo=table["score_cell"].to_numpy(np.float64),
        chance=table["mask_fraction"].to_numpy(np.float64),
        wells=(table["plate"].astype(str) + "/" + table["well"].astype(str)).to_numpy(str),
        margin=MARGIN,
        seed=seed,
    )
    level = "flagged" if said.flagged else "nothing found"
    if table["score_cell"].isna().all():
        level = "undefined"
    return {"level": level, "reasons": [*said.reasons], "words": [*said.words]}


def _by_well(table: pd.DataFrame, label: str) -> list[dict[str, Any]]:
    """The median of each well, beside chance."""
    keys = [*dict.fromkeys((*UNIT, label))]
    rows = []
    for key, some in table.groupby(keys, sort=True, dropna=False):
        scores = some["score_cell"].dropna()
        told: dict[str, Any] = dict(zip(keys, map(str, key), strict=True))
        if label not in ("plate", "well"):
            told["treatment"] = told.pop(label)
        rows.append(
            {
                **told,
                "cells": len(scores),
                "undefined": len(some) - len(scores),
                "median": float(scores.median()) if len(scores) else None,
                "chance": float(some["mask_fraction"].median()),
            }
        )
    return rows


def _controls(work: ProfileWork, about: pd.DataFrame) -> list[dict[str, Any]]:
    """The drawn cells as they are, with other masks, and under random weights."""
    table = work.run.table("camo", "controls")
    if not len(table):
        return []
    known = about.loc[table["cell_id"]].reset_index(drop=True)
    whole = pd.concat([table, known], axis=1)
    rows = summarise(whole, unit=UNIT, draws=work.job.evaluate.draws, seed=work.job.seed)
    return [
        {
            "control": row["control"],
            "cells": row["cells"],
            "undefined": row["undefined"],
            "median": row["median"],
            "low": row["median_low"],
            "high": row["median_high"],
            "chance": row["chance"],
        }
        for row in rows.to_dict("records")
    ]


def _features(work: ProfileWork, units: Mapping[str, Rows], about: pd.DataFrame) -> dict[str, Any]:
    """Each feature over the wells: the median well, whose score is the median of its cells."""
    wells = (about["plate"].astype(str) + "/" + about["well"].astype(str)).to_numpy(str)
    names = list(work.run.note("camo", next(iter(units)))["features"])
    medians, undefined, counts = _of_wells(work, units, wells)
    shares = pd.read_parquet(work.run.root / CAMO, columns=["mask_fraction"])["mask_fraction"]
    low, high = _ends(medians, work.job.evaluate.draws, work.job.seed)
    table = pd.DataFrame(
        {
            "feature": names,
            "median": _median(medians),
            "low": low,
            "high": high,
            "chance": float(shares.median()),
            "undefined": undefined,
            "cells": len(wells) - undefined,
            "wells": counts,
        }
    )
    path = work.run.root / CAMO_FEATURES
    write_whole(path, lambda part: table.to_parquet(part, index=False))
    middle = table["median"].dropna()
    return {
        "n": len(table),
        "undefined": int(table["median"].isna().sum()),
        "median": float(middle.median()) if len(middle) else None,
        "above_chance": int((table["low"] > table["chance"]).sum()),
        "q05": float(middle.quantile(0.05)) if len(middle) else None,
        "chance": float(shares.median()),
    }


def _of_wells(
    work: ProfileWork, units: Mapping[str, Rows], wells: np.ndarray
) -> tuple[Float[np.ndarray, "w f"], np.ndarray, np.ndarray]:
    """Medians of wells (NaN: none of its cells is defined), cells undefined, wells defined.

    One well is in memory at a time.
    """
    arrays = {unit: work.run.array("camo", unit, "features") for unit in units}
    medians, undefined = [], np.zeros(next(iter(arrays.values())).shape[1], np.int64)
    order = np.argsort(wells, kind="stable")
    ends = np.flatnonzero(wells[order][1:] != wells[order][:-1]) + 1
    for rows in np.split(order, ends):
        scores = np.concatenate([*_rows(arrays, units, np.sort(rows))])
        undefined += np.isnan(scores).sum(0)
        medians.append(_median(scores))
    found = np.stack(medians)
    return found, undefined, np.isfinite(found).sum(0)


def _rows(
    arrays: Mapping[str, np.ndarray], units: Mapping[str, Rows], rows: np.ndarray
) -> Iterator[Float32[np.ndarray, "n f"]]:
    for unit, own in units.items():
        here = rows[(rows >= own[0]) & (rows <= own[-1])]
        if len(here):
            yield arrays[unit][here - own[0]]


def _median(values: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " f"]:
    """Medians of the defined values of each column; NaN where there are none."""
    out = np.full(values.shape[1], np.nan)
    some = np.isfinite(values).any(0)
    if some.any():
        out[some] = np.nanmedian(values[:, some], axis=0)
    return out


def _ends(
    medians: Float[np.ndarray, "w f"], draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The interval from drawing wells again; undefined below three wells that are defined."""
    low, high = np.full((2, medians.shape[1]), np.nan)
    enough = np.isfinite(medians).sum(0) >= 3
    if not enough.any():
        return low, high
    draw = rng(seed, "wells of features").integers(len(medians), size=(draws, len(medians)))
    again = np.stack([_median(medians[one][:, enough]) for one in draw])
    low[enough], high[enough] = np.nanquantile(again, [0.025, 0.975], axis=0)
    return low, high
