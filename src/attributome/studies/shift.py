"""Several scores of quality on the same held-out fields, overall and for each kind of shift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from attributome.core.errors import UsageError
from attributome.studies.confidence import judge_confidence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """The tables of `judge_confidence`, each with a column `score` in front that names the score.

    `summary` has, for each score, `spearman` with `low` and `high`, `n` fields, `undefined` ones,
    `wells`, and `gain` with its ends, and the same under `by_shift` for each kind and under
    `within_shifts` for the mean of the kinds, which is 0 for a score that only tells one from
    another. `bias` and `ece` (beside `ece_noise`) stand where the score claims an error.
    """

    scores: pd.DataFrame
    calibration: pd.DataFrame
    coverage: pd.DataFrame
    summary: dict[str, dict[str, Any]]


def judge_scores(
    table: pd.DataFrame,
    scores: Mapping[str, bool],
    *,
    unit: str = "well",
    by: str = "shift",
    error: str = "error",
    draws: int = 2000,
    seed: int = 0,
) -> Scores:
    """Judge every column of `scores`, each of which rises with the error that it expects.

    The value of a score says whether it is in units of the error: only then is it calibrated, and
    only then does it have rows in `calibration`.
    """
    if not scores:
        raise UsageError("no score was named: there is nothing to judge")
    tables: dict[str, list[pd.DataFrame]] = {"scores": [], "calibration": [], "coverage": []}
    summary: dict[str, dict[str, Any]] = {}
    for name, calibrated in scores.items():
        found = judge_confidence(
            table, unit=unit, score=name, error=error, claims="error", by=by, draws=draws, seed=seed
        )
        rows = found.scores
        if not calibrated:
            meaningless = [one for one in rows if str(one).startswith(("bias", "ece"))]
            rows = rows.drop(columns=meaningless)
        for kind, one in (("scores", rows), ("coverage", found.coverage)):
            tables[kind].append(_named(one, name))
        if calibrated:
            tables["calibration"].append(_named(found.calibration, name))
        told = rows.to_dict("records")
        summary[name] = _said(told[0], calibrated) | {
            "by_shift": {
                str(row["group"]): _said(row, calibrated) for row in told if row["scope"] == "group"
            },
            "within_shifts": _said(told[-1], calibrated),
        }
    whole = {kind: _joined(parts) for kind, parts in tables.items()}
    return Scores(summary=summary, **whole)


def _said(row: Mapping[Any, Any], calibrated: bool) -> dict[str, Any]:
    said = {
        "spearman": row["spearman"],
        "low": row["spearman_low"],
        "high": row["spearman_high"],
        "n": row["n"],
        "undefined": row["undefined"],
        "wells": row["units"],
        "gain": row["gain"],
        "gain_low": row["gain_low"],
        "gain_high": row["gain_high"],
    }
    if calibrated:
        said |= {name: row[name] for name in ("bias", "bias_low", "bias_high", "ece", "ece_noise")}
    return said


def _named(table: pd.DataFrame, score: str) -> pd.DataFrame:
    found = table.copy()
    found.insert(0, "score", score)
    return found


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
