"""How much two channels show the same: a matrix for all pixels, and one for those in cells."""

from math import isfinite
from typing import Any

from attributome.report.forms import Row
from attributome.report.numbers import num, number, span
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.words import sentence

MOST = 12
"""Channels whose matrix is written out."""


def channels(facts: ProfileFacts) -> dict[str, Any] | None:
    """Matrices and the pairs as a table; None where nothing was evaluated."""
    if not facts.evaluation:
        return None
    rows = facts.channels
    places = list(dict.fromkeys(str(row["where"]) for row in rows))
    names = list(dict.fromkeys(str(row[end]) for end in ("a", "b") for row in rows))
    reason = str(facts.evaluation.get("channels_reason") or "")
    return {
        "reason": sentence(reason) if reason else "",
        "names": names[:MOST],
        "left": max(len(names) - MOST, 0),
        "matrices": [(place, _matrix(rows, place, names[:MOST])) for place in places],
        "fields": max((int(row.get("fields") or 0) for row in rows), default=0),
        "rows": [
            [
                f"{row['a']} – {row['b']}",
                str(row["where"]),
                num(number(row["r"])),
                span(number(row["low"]), number(row["high"])) or "–",
                str(int(row.get("n") or 0)),
                str(int(row.get("undefined") or 0)),
            ]
            for row in rows
        ],
    }


def _matrix(
    rows: Any, place: str, names: list[str]
) -> list[tuple[str, list[tuple[str, int, str, str]]]]:
    """Rows of cells: text, shade in per cent, kind (rank, opposed, self, none), interval."""
    held: dict[frozenset[str], Row] = {
        frozenset((str(row["a"]), str(row["b"]))): row for row in rows if row["where"] == place
    }
    return [(a, [_cell(held.get(frozenset((a, b))), a == b) for b in names]) for a in names]


def _cell(row: Row | None, same: bool) -> tuple[str, int, str, str]:
    if same:
        return "1", 0, "self", ""
    value = number(row["r"]) if row else float("nan")
    if row is None or not isfinite(value):
        return "–", 0, "none", ""
    ends = span(number(row["low"]), number(row["high"]))
    kind = "rank" if value >= 0 else "opposed"
    return num(value), round(75 * min(abs(value), 1.0)), kind, ends
