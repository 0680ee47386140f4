"""Methods and controls in one table: efficacy at equal area, and who beats every control."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.multiplicity import holm
from attributome.metrics.intervals import median_interval, paired_difference
from attributome.quality import flags

LEVEL = 0.05


def leaderboard(scores: pd.DataFrame, areas: pd.DataFrame, checks: pd.DataFrame) -> dict[str, Any]:
    """One row per method and control, the best first, each method with its quality flags.

    `scores` holds the efficacy of every field at the area of its own signature, `areas` the area
    under its efficacy curve. A method beats the controls when it is better than each of them, and
    each comparison over fields holds after Holm's correction for all comparisons of the table.
    """
    ranked = scores[scores["kind"].isin(["signature", "method", "control"])]
    kinds = dict(zip(ranked["method"], ranked["kind"], strict=True))
    wide = ranked.pivot(index="sample", columns="method", values="efficacy")
    controls = [name for name, kind in kinds.items() if kind == "control"]
    duels = {
        (method, control): paired_difference(
            wide[method].to_numpy(np.float64), wide[control].to_numpy(np.float64)
        )
        for method, kind in kinds.items()
        if kind != "control"
        for control in controls
    }
    adjusted = dict(zip(duels, holm([duel["p"] for duel in duels.values()]), strict=True))
    rows = [_row(name, kind, wide, areas) for name, kind in kinds.items()]
    for row in rows:
        against = {c: duels[row["method"], c] for c in controls if (row["method"], c) in duels}
        if against:
            nearest = min(against, key=lambda c: against[c]["median"])
            ps = [adjusted[row["method"], c] for c in against]
            row["nearest_control"] = nearest
            row["p_holm"] = max(ps)
            better = all(duel["median"] > 0 for duel in against.values())
            row["beats_controls"] = better and max(ps) < LEVEL
            row["flags"] = _flags(row, better, checks)
    rows.sort(key=lambda row: -row["median"])
    return {"area": "the area of each field's signature", "level": LEVEL, "rows": rows}


def _flags(row: dict[str, Any], better: bool, checks: pd.DataFrame) -> list[dict[str, Any]]:
    """What a reader must know first about a method; the good news is left out."""
    known: dict[str, float | None] = {"control_p": row["p_holm"] if better else 1.0}
    if not checks.empty and row["method"] in set(checks["method"]):
        errors = checks.loc[checks["method"] == row["method"], "completeness_error"]
        known["completeness"] = float(errors.median()) if errors.notna().any() else None
        known["undefined_share"] = float(errors.isna().mean())
    return [asdict(flag) for flag in flags(known) if flag.level != "good"]


def _row(name: str, kind: str, wide: pd.DataFrame, areas: pd.DataFrame) -> dict[str, Any]:
    values = wide[name].to_numpy(np.float64)
    median, low, high = median_interval(values)
    row: dict[str, Any] = {
        "method": name, "kind": kind, "n": len(values), "undefined": 0,
        "median": median, "low": low, "high": high,
        "beats_controls": None, "nearest_control": None, "p_holm": None,
    }  # fmt: skip
    mine = areas[areas["method"] == name] if not areas.empty else areas
    if not mine.empty:
        under = median_interval(mine["curve_area"].to_numpy(np.float64))
        row |= dict(zip(("curve_median", "curve_low", "curve_high"), under, strict=True))
    return row
