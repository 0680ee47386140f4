"""Which features are of the cell: the Grad-CAMO of each, from the lowest to the highest."""

from typing import Any

import numpy as np
import pandas as pd

from attributome.report.charts import Rule, Series, curves
from attributome.report.numbers import num, share, span
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.words import counted
from attributome.report.svg import Axis

POINTS, ROWS = 400, 40
"""Places of the curve, and features of the table."""


def features(facts: ProfileFacts) -> dict[str, Any] | None:
    """The curve, the counts and the lowest features; None where features were not looked at."""
    table = facts.features
    if table.empty:
        return None
    known = table[np.isfinite(table["median"])].sort_values(["median", "feature"])
    lost = len(table) - len(known)
    above = known["low"] > known["chance"]
    below = known["high"] < known["chance"]
    middle = known["median"] > known["chance"]
    return {
        "count": counted(len(table), "feature"),
        "above": int(above.sum()),
        "below": int(below.sum()),
        "under": int((~middle).sum()),
        "between": int((~above & ~below).sum()),
        "undefined": lost,
        "share": share(float(above.sum()) / len(table)),
        "wells": int(known["wells"].max()) if "wells" in known and len(known) else 0,
        "drawing": _curve(known) if len(known) else "",
        "rows": [_row(row) for row in known.head(ROWS).to_dict("records")],
        "more": max(len(known) - ROWS, 0),
    }


def _curve(known: pd.DataFrame) -> Any:
    at = np.unique(np.linspace(0, len(known) - 1, min(len(known), POINTS)).round().astype(int))
    some = known.iloc[at]
    places = (at + 1).astype(float).tolist()
    values = some["median"].to_numpy(np.float64)
    ends = some[["low", "high"]].to_numpy(np.float64)
    there = np.isfinite(ends).all(axis=1)
    ends = np.where(there[:, None], ends, values[:, None])
    series = [
        Series(
            key="feature_camo",
            x=places,
            y=values.tolist(),
            low=ends[:, 0].tolist() if there.any() else (),
            high=ends[:, 1].tolist() if there.any() else (),
            main=True,
        )
    ]
    guess = float(known["chance"].median())
    x = Axis(label="features, from the lowest to the highest", low=0.0, high=len(known) + 1.0)
    y = Axis(label="Grad-CAMO of the feature, median over wells", low=0.0, high=1.0)
    rules = [Rule(value=guess, label=f"chance {num(guess)}")]
    alt = (
        f"Grad-CAMO of {len(known)} features, from {num(float(values[0]))} to "
        f"{num(float(values[-1]))}; chance {num(guess)}."
    )
    return curves(series, x, y, rules, alt)


def _row(row: Any) -> list[str]:
    ends = span(float(row["low"]), float(row["high"]))
    low, high, chance = float(row["low"]), float(row["high"]), float(row["chance"])
    told = "above" if low > chance else "below" if high < chance else "not told apart"
    return [
        str(row["feature"]),
        num(float(row["median"])),
        ends or "–",
        num(chance),
        told if ends else "no interval",
        f"{int(row.get('undefined') or 0):,}",
        str(int(row.get("wells") or 0)),
    ]
