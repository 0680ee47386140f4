"""What the page holds of single pairs: sequences, tracks, maps, mutants, as small numbers.

Values are whole numbers from -`STEPS` to `STEPS` of a scale that is stored beside them: three
digits of the largest, which is what the page shows.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from attributome.report.fcgr.facts import BRANCHES, FcgrFacts
from attributome.report.fcgr.words import OUTCOMES, method
from attributome.sequence.findings.complementarity import duplex

MOST, STEPS, BYTE = 200, 999, 127
BUDGET = 3_000_000
"""Bytes for whole maps; dense maps of methods beyond it keep only their largest pixels."""


def chosen(facts: FcgrFacts, most: int = MOST) -> pd.DataFrame:
    """At most `most` explained pairs, evenly over the outcomes and spread over the table.

    Pairs with a map of interactions come first, since only they show everything.
    """
    table = facts.explained
    if table.empty:
        return table
    table = table.assign(outcome=outcomes(table))
    whole = {name for unit in facts.units for name in with_epistasis(facts, unit)}
    left, room, picked = sorted(table["outcome"].unique()), most, list[int]()
    sizes = table["outcome"].value_counts()
    for n, outcome in enumerate(sorted(left, key=lambda name: (sizes[name], name))):
        rows = table.index[table["outcome"] == outcome].to_numpy()
        share = room // (len(left) - n)
        first = rows[table.loc[rows, "id"].isin(whole).to_numpy()][:share]
        rest = np.setdiff1d(rows, first)
        count = min(share - len(first), len(rest))
        spread = (
            rest[np.linspace(0, len(rest) - 1, count).round().astype(int)] if count else rest[:0]
        )
        picked += [*first.tolist(), *spread.tolist()]
        room -= len(first) + count
    return table.loc[sorted(picked)]


def outcomes(table: pd.DataFrame) -> list[str]:
    """TP, FP, TN or FN; without labels what the network says."""
    says = table["logit"].to_numpy(np.float64) > 0
    if "label" not in table or table["label"].isna().any():
        return ["says yes" if yes else "says no" for yes in says]
    true = table["label"].to_numpy(np.int64) == 1
    return [
        ("T" if yes == real else "F") + ("P" if yes else "N")
        for yes, real in zip(says, true, strict=True)
    ]


def with_epistasis(facts: FcgrFacts, unit: str) -> list[str]:
    """Ids of the pairs of a block that have a map of interactions, in its order."""
    return [str(name) for name in facts.run.note("explain", unit).get("epistasis_ids") or []]


def payload(facts: FcgrFacts, table: pd.DataFrame) -> dict[str, Any]:
    """Everything that the explorer shows, as plain values."""
    dense = _dense_methods(facts, len(table))
    return {
        "k": facts.k,
        "steps": STEPS,
        "default": facts.default,
        "methods": [
            {"key": key, "label": method(key)[0], "about": method(key)[1], "dense": key in dense}
            for key in facts.methods
        ],
        "outcomes": OUTCOMES,
        "pairs": [
            pair
            for unit in (table["unit"].unique() if len(table) else [])
            for pair in _block(facts, str(unit), table[table["unit"] == unit], dense)
        ],
    }


def _dense_methods(facts: FcgrFacts, pairs: int) -> set[str]:
    """Methods whose maps are kept whole: the first ones, as many as the budget lets."""
    each = 2 * pairs * 4**facts.k * 4 // 3
    return set(facts.methods[: max(BUDGET // each, 0)] if each else facts.methods)


def _block(
    facts: FcgrFacts, unit: str, rows: pd.DataFrame, dense: set[str]
) -> list[dict[str, Any]]:
    names = facts.run.arrays("explain", unit)
    arrays = {name: facts.run.array("explain", unit, name) for name in names}
    doubles = with_epistasis(facts, unit)
    return [_pair(row, arrays, facts, dense, doubles) for row in rows.to_dict("records")]


def _pair(
    row: Mapping[Any, Any],
    arrays: Mapping[str, np.ndarray],
    facts: FcgrFacts,
    dense: set[str],
    doubles: Sequence[str],
) -> dict[str, Any]:
    at, lengths = int(row["row"]), {branch: len(row[branch]) for branch in BRANCHES}
    pair = {
        "id": row["id"],
        "mirna": row["mirna"],
        "site": row["site"],
        "label": _whole(row.get("label")),
        "logit": round(float(row["logit"]), 3),
        "outcome": row["outcome"],
        "kind": row.get("seed_kind") or "",
        "start": _whole(row.get("seed_start")) or 0,
        "stop": _whole(row.get("seed_stop")) or 0,
        "duplex": [[int(i), int(j)] for i, j in duplex(row["mirna"], row["site"])],
        "tracks": {},
        "maps": {},
    }
    for key in facts.methods:
        for kind, pack in (("track", _track), ("map", _map)):
            found = {
                branch: pack(arrays[name][at], lengths[branch], key in dense)
                for branch in BRANCHES
                if (name := f"{kind}_{key}_{branch}") in arrays
            }
            if found:
                pair[f"{kind}s"][key] = found
    for kind in ("mutants", "hypothetical"):
        found = {
            branch: packed(arrays[name][at][: lengths[branch]])
            for branch in BRANCHES
            if (name := f"{kind}_{branch}") in arrays
        }
        if found:
            pair[kind] = found
    if row["id"] in doubles:
        place = doubles.index(row["id"])
        for kind in ("epistasis", "mixed"):
            if kind in arrays:
                pair[kind] = packed(arrays[kind][place][: lengths["mirna"], : lengths["site"]])
    return pair


def _track(values: np.ndarray, length: int, dense: bool) -> dict[str, Any]:
    return packed(values[:length])


def packed(values: Shaped[np.ndarray, "..."]) -> dict[str, Any]:
    """Numbers as whole steps of a scale, row by row; NaN becomes null."""
    flat = np.asarray(values, np.float64).ravel()
    scale = _scale(flat)
    steps = np.nan_to_num(flat / (scale or 1.0) * STEPS).round().astype(int)
    there = np.isfinite(flat)
    return {
        "s": scale,
        "q": [step if known else None for step, known in zip(steps.tolist(), there, strict=True)],
    }


def _map(values: np.ndarray, length: int, dense: bool) -> dict[str, Any]:
    """A map by its cells that are not 0 where they are few, else whole in one byte per pixel."""
    flat = np.nan_to_num(np.asarray(values, np.float64).ravel())
    scale = _scale(flat)
    steps = (flat / (scale or 1.0) * BYTE).round().astype(np.int8)
    cells = np.flatnonzero(flat)
    if len(cells) * 4 > len(flat) and dense:
        return {"s": scale, "d": base64.b64encode(steps.tobytes()).decode()}
    if dense or len(cells) * 4 <= len(flat):
        return {"s": scale, "i": cells.tolist(), "q": steps[cells].tolist()}
    return {
        "s": scale,
        "cut": True,
        "i": (kept := _largest(flat, length)),
        "q": steps[kept].tolist(),
    }


def _largest(flat: np.ndarray, count: int) -> list[int]:
    """The pixels that hold most, as many as the sequence has letters; the page says so."""
    order = np.argsort(-np.abs(flat), kind="stable")[:count]
    return sorted(int(cell) for cell in order)


def _scale(flat: np.ndarray) -> float:
    """The largest size of a number, three digits of it, rounded up so that nothing exceeds it."""
    largest = float(np.abs(flat[np.isfinite(flat)]).max(initial=0.0))
    rounded = float(f"{largest:.3g}")
    return rounded if rounded >= largest else float(f"{largest * 1.001:.4g}")


def _whole(value: Any) -> int | None:
    return None if value is None or value != value else int(value)
