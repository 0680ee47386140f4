"""From scores of methods on fields to a leaderboard: which method beats every control."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from attributome.core.multiplicity import holm
from attributome.metrics.intervals import median_interval, paired_difference

LEVEL = 0.01
METRICS = (
    "iou_at_area",
    "average_precision",
    "relevance_mass",
    "pointing_game",
    "efficacy_area",
)


def judge(scores: pd.DataFrame, *, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The leaderboard, and the paired comparisons that it rests on.

    `scores` has one row per `setup`, `field` and `method`, with its `role` ("method" or "control")
    and a column for each of `METRICS`. The leaderboard has one row per setup, method and metric:
    median with its bootstrap interval over fields, how many fields were `undefined`, and for a
    method whether it `beats_controls`: higher than each of them in the median, with p below 0.01
    after Holm's correction over all methods and controls of the setup. `not_beaten` names those
    that it does not beat.
    """
    board, pairs = [], []
    for (setup, metric), values in _tables(scores):
        roles = scores[scores.setup == setup].groupby("method").role.first()
        told = _compare(values, roles, seed)
        pairs += [{"setup": setup, "metric": metric, **row} for row in told]
        for name in values.columns:
            words = {"setup": setup, "metric": metric, "method": name, "role": roles[name]}
            board.append({**words, **_middle(values[name], seed), **_verdict(name, roles, told)})
    return pd.DataFrame(board), pd.DataFrame(pairs)


def _tables(scores: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Fields × methods for every setup and metric."""
    found = []
    for setup, part in scores.groupby("setup", sort=False):
        for metric in METRICS:
            table = part.pivot(index="field", columns="method", values=metric)
            order = list(dict.fromkeys(part.method))
            found.append(((str(setup), metric), table[order].astype(np.float64)))
    return found


def _middle(values: pd.Series, seed: int) -> dict[str, float | int]:
    known = values.dropna().to_numpy()
    median, low, high = (np.nan,) * 3 if not len(known) else median_interval(known, seed=seed)
    return {
        "median": median,
        "low": low,
        "high": high,
        "n": len(known),
        "undefined": len(values) - len(known),
    }


def _compare(values: pd.DataFrame, roles: pd.Series, seed: int) -> list[dict[str, object]]:
    """Every method against every control, over the fields where both are defined."""
    found: list[dict[str, object]] = []
    pvalues: list[float] = []
    higher: list[bool] = []
    for name in values.columns[[roles[n] == "method" for n in values.columns]]:
        for control in values.columns[[roles[n] == "control" for n in values.columns]]:
            both = values[[name, control]].dropna().to_numpy()
            if not len(both):
                continue
            told = paired_difference(both[:, 0], both[:, 1], seed=seed)
            found.append({"method": name, "control": control, **told})
            pvalues.append(told["p"])
            higher.append(told["median"] > 0)
    for row, adjusted, above in zip(found, holm(pvalues), higher, strict=True):
        row["holm"] = adjusted
        row["beaten"] = adjusted < LEVEL and above
    return found


def _verdict(
    name: str, roles: pd.Series, told: Sequence[dict[str, object]]
) -> dict[str, bool | str | None]:
    """A control has no verdict; a method without a single defined comparison beats nothing."""
    if roles[name] != "method":
        return {"beats_controls": None, "not_beaten": None}
    mine = [row for row in told if row["method"] == name]
    lost = [str(row["control"]) for row in mine if not row["beaten"]]
    return {"beats_controls": bool(mine) and not lost, "not_beaten": ", ".join(lost)}
