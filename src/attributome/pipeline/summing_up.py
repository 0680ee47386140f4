"""The verb that concludes: numbers over fields with their intervals, and where they came from."""

import math
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome import __version__
from attributome.core.errors import DataError
from attributome.core.multiplicity import holm
from attributome.metrics.intervals import (
    clopper_pearson,
    median_interval,
    paired_difference,
)
from attributome.pipeline.explaining import STAGE as EXPLAINED
from attributome.pipeline.ranking import leaderboard
from attributome.pipeline.scoring import STAGE
from attributome.pipeline.work import Work, threads

PACKAGES = ("torch", "monai", "numpy", "scipy", "pandas", "scikit-image", "tifffile", "zarr")


def sum_up(work: Work, *, command: str) -> dict[str, Any]:
    """Write `summary.json`, `comparisons.json` and `provenance.json`; returns the summary."""
    scores = work.run.table(STAGE, "scores")
    if scores.empty:
        raise DataError(f"{work.run.root} has no scores yet: run `attributome score` first")
    seconds = _seconds(work)
    summary = _efficacies(scores)
    summary |= _smallest(work.run.table(STAGE, "smallest"))
    summary |= _certified(scores, work.job.masks.floor)
    summary |= _predictor(work.run.table(STAGE, "predictor"))
    summary |= _planted(work.run.table(STAGE, "planted"))
    chosen = work.run.load("choices") or {}
    if "guarantee" in chosen:
        summary["guarantee"] = chosen["guarantee"]["sentence"]
        summary["guarantee_given"] = chosen["guarantee"]["given"]
    summary["seconds"] = round(sum(seconds.values()), 1)
    summary = {name: _finite(value) for name, value in summary.items()}
    work.run.save("summary", summary)
    work.run.save("comparisons", _comparisons(scores))
    areas, checks = (work.run.table(STAGE, name) for name in ("areas", "checks"))
    work.run.save("leaderboard", leaderboard(scores, areas, checks))
    work.run.save("provenance", _provenance(work, command, seconds))
    return summary


def _finite(value: Any) -> Any:
    """None for what is undefined, such as a ratio to a region of which the mask keeps nothing."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _efficacies(scores: pd.DataFrame) -> dict[str, Any]:
    signature = scores[scores["kind"] == "signature"]
    values = signature["efficacy"].to_numpy(np.float64)
    median, low, high = median_interval(values)
    summary: dict[str, Any] = {
        "efficacy_median": median,
        "efficacy_low": low,
        "efficacy_high": high,
        "mask_size_median": float(signature["mask_size"].median()),
        "fields_test": len(signature),
    }
    for (method, kind), rows in scores.groupby(["method", "kind"], sort=True):
        if kind in ("control", "method"):
            summary[f"{method}_mask_efficacy_median"] = float(rows["efficacy"].median())
        elif kind == "soft":
            summary[f"{method}_efficacy_median"] = float(rows["efficacy"].median())
            summary[f"{method}_mask_size_median"] = float(rows["mask_size"].median())
    return summary


def _smallest(table: pd.DataFrame) -> dict[str, Any]:
    """Smallest sizes that keep the floor; a method that never does counts as never, not as 1."""
    summary: dict[str, Any] = {}
    for method, rows in table.groupby("method", sort=True):
        reached = rows["area"].dropna()
        summary[f"{method}_smallest_area_median"] = (
            float(reached.median()) if len(reached) else None
        )
        if len(reached) < len(rows):
            summary[f"{method}_floor_not_reached"] = int(len(rows) - len(reached))
    if {"learned_mask", "intensity"} <= set(table["method"]):
        wide = table.pivot(index="sample", columns="method", values="area")
        ratio = (wide["learned_mask"] / wide["intensity"]).dropna()
        summary["area_ratio_to_intensity"] = float(ratio.median()) if len(ratio) else None
        summary["area_ratio_to_intensity_worst"] = float(ratio.max()) if len(ratio) else None
    return summary


def _certified(scores: pd.DataFrame, floor: float) -> dict[str, Any]:
    """How many held-out fields keep the floor, and the share of fields like these that must.

    The bound is exact (Clopper and Pearson 1934) and one-sided at 95 %.
    """
    values = scores.loc[scores["kind"] == "signature", "efficacy"]
    passed = int((values >= floor).sum())
    return {
        "certified_floor": floor,
        "certified_passed": passed,
        "certified_fields": len(values),
        "certified_share": clopper_pearson(passed, len(values), 0.95),
    }


def _predictor(table: pd.DataFrame) -> dict[str, Any]:
    found = {f"predictor_{n}": float(table[n].median()) for n in table.columns if n != "sample"}
    if "correct" in table:  # a median of rights and wrongs says nothing
        right, n = int(table["correct"].sum()), len(table)
        del found["predictor_correct"]
        found |= {
            "predictor_accuracy": right / n,
            "predictor_accuracy_low": clopper_pearson(right, n, 0.975),
            "predictor_accuracy_high": 1 - clopper_pearson(n - right, n, 0.975),
            "predictor_fields": n,
        }
    return found


def _planted(table: pd.DataFrame) -> dict[str, Any]:
    if table.empty:
        return {}
    summary: dict[str, Any] = {
        f"planted_{n}": float(table[n].dropna().median()) for n in ("recall", "precision")
    }
    if "decoy_importance" in table:
        ratio = (table["decoy_importance"] / table["region_importance"]).dropna()
        summary["decoy_ratio"] = float(ratio.median())
    return summary


def _comparisons(scores: pd.DataFrame) -> dict[str, Any]:
    """The signature against each control, field by field, corrected for how many there are."""
    wide = scores.pivot(index="sample", columns="method", values="efficacy")
    lead = scores.loc[scores["kind"] == "signature", "method"].iloc[0]
    others = scores.loc[scores["kind"].isin(["control", "method"]), "method"].unique()
    found = {
        str(m): paired_difference(wide[lead].to_numpy(np.float64), wide[m].to_numpy(np.float64))
        for m in others
    }
    adjusted = holm([entry["p"] for entry in found.values()])
    return {
        m: {**entry, "p_holm": p} for (m, entry), p in zip(found.items(), adjusted, strict=True)
    }


def _seconds(work: Work) -> dict[str, float]:
    stages = sorted((work.run.root / "times").glob("*.json"))
    return {p.stem: float((work.run.load(f"times/{p.stem}") or {})["seconds"]) for p in stages}


def _provenance(work: Work, command: str, seconds: dict[str, float]) -> dict[str, Any]:
    notes = [work.run.note(EXPLAINED, unit)["padding"] for unit in work.run.units(EXPLAINED)]
    splits = {part: len(ids) for part, ids in work.fields.splits.items()}
    asked = work.job.predictor.source
    return {
        "command": command,
        "versions": {
            "attributome": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "device": work.compute.device,
        "precision": work.compute.precision,
        "threads": threads(),
        "platform": f"{platform.system()} {platform.machine()}, Python {sys.version_info[0]}",
        "seconds": seconds,
        "data": {**work.run.asked["data"], "splits": splits, "group": work.job.data.group or None},
        "predictor": {"source": Path(asked).name if asked else "trained in this run"},
        "notes": sorted({note for note in notes if note}),
    }
