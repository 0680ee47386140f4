"""Profiles before and after: what stays of the treatment, what of the plate, stage by stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from markupsafe import Markup

from attributome.report.forest import Line, Mark, Upright, forest
from attributome.report.forms import Row
from attributome.report.numbers import num, number, share, span
from attributome.report.profile.doubts import LINEAR
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.words import (
    PARTS,
    STAGES,
    counted,
    estimate,
    quoted,
    sentence,
    stage,
)
from attributome.report.svg import Axis


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A chart with a row per set of profiles, its title, what it says, and which way is good."""

    title: str
    about: str
    drawing: Markup


def profiles(facts: ProfileFacts) -> dict[str, Any] | None:
    """Panels, tables and reasons; None where nothing was evaluated."""
    if not facts.evaluation:
        return None
    return {
        "panels": [panel for panel in _panels(facts) if panel],
        "rows": [_row(facts, row) for row in facts.before_after],
        "matching": [_matching(row) for row in facts.of(facts.matching)],
        "impossible": _impossible(facts),
        "accuracy": _accuracy(facts),
    }


def made(facts: ProfileFacts) -> list[list[str]]:
    """How each set of profiles was made, or why it was not."""
    found = []
    for name in STAGES:
        row = facts.profiles.get(name)
        if row is None:
            continue
        if row["reason"]:
            found.append([stage(name), "not made", sentence(str(row["reason"]))])
        else:
            counts = f"{row.get('wells', '–')} × {row.get('features', '–')}"
            found.append([stage(name), counts, _how(row)])
    return found


def _how(row: Row) -> str:
    told = []
    if row.get("method"):
        told.append(f"{row['method']}, regularisation {row.get('regularisation')}")
    if row.get("controls"):
        told.append(f"fitted on {row['controls']} negative controls that train")
    if row.get("references"):
        each = [f"{plate} {n}" for plate, n in row["references"].items()]
        told.append(f"reference wells: {', '.join(each[:8])}{' …' if len(each) > 8 else ''}")
    if row.get("dropped"):
        told.append(f"{counted(row['dropped'], 'feature')} dropped")
    if row.get("left_out") is not None:
        told.append(f"{int(row['left_out']):,} cells left out by their Grad-CAMO")
    return sentence("; ".join(told)) if told else ""


def _panels(facts: ProfileFacts) -> list[Panel | None]:
    batches = facts.of(facts.batches, LINEAR)
    of = f" of {batches[0]['of']}" if batches else ""
    return [
        _panel(
            "Replicates are found",
            "Mean average precision: how far ahead of other wells the replicates of a label come. "
            "Further right is better.",
            facts.of(facts.retrieval),
            "map",
            "mean average precision",
        ),
        _panel(
            "The plate is told",
            f"Balanced accuracy of a linear classifier of the plate{of}, judged by other wells. "
            "Further left is better.",
            batches,
            "balanced",
            "balanced accuracy for the plate",
        ),
        *(
            _panel(
                f"Mechanism is matched ({kind})",
                _MATCHING.get(kind, ""),
                [row for row in facts.of(facts.matching) if row["kind"] == kind],
                "accuracy",
                "share matched",
            )
            for kind in dict.fromkeys(str(row["kind"]) for row in facts.matching)
        ),
        _silhouettes(facts),
    ]


_MATCHING = {
    "NSC": "The nearest profile of another compound has the same mechanism. Further right is "
    "better.",
    "NSCB": "The same, where profiles of the same plate may not match either. Further right is "
    "better.",
}


def _panel(title: str, about: str, rows: Sequence[Row], value: str, label: str) -> Panel | None:
    lines, chances = [], []
    for row in rows:
        found = estimate(row, value)
        if not found.known:
            continue
        mark = Mark(value=found.value, low=found.low, high=found.high,
                    told=f"{stage(row['profiles'])}: {found.words}, n = {row['n']}")  # fmt: skip
        guess = Mark(value=found.chance, hue="ink", shape="ring",
                     told=f"chance {num(found.chance)}")  # fmt: skip
        chances.append(found.chance)
        lines.append(Line(name=stage(row["profiles"]), marks=[mark, guess], value=num(found.value)))
    if not lines:
        return None
    said = ", ".join(f"{line.name} {line.value}" for line in lines)
    x = Axis(label=label, low=0.0, high=1.0)
    drawing = forest(lines, x, alt=f"{title}: {said}.", joined=True)
    return Panel(title=title, about=about, drawing=drawing)


def _silhouettes(facts: ProfileFacts) -> Panel | None:
    lines: list[Line] = []
    for row in facts.before_after:
        marks = []
        for key, hue, shape in (("treatment", "blue", "circle"), ("plate", "orange", "diamond")):
            value = number(row.get(f"silhouette_{key}"))
            low, high = (number(row.get(f"silhouette_{key}_{end}")) for end in ("low", "high"))
            told = f"{key}: {num(value)} ({span(low, high) or 'no interval'})"
            marks.append(Mark(value=value, low=low, high=high, hue=hue, shape=shape, told=told))
        if all(isfinite(mark.value) for mark in marks):
            both = " / ".join(num(mark.value) for mark in marks)
            lines.append(Line(name=stage(row["profiles"]), marks=marks, value=both))
    if not lines:
        return None
    ends = [v for line in lines for m in line.marks for v in (m.value, m.low, m.high)]
    known = [v for v in ends if isfinite(v)]
    x = Axis(label="silhouette", low=max(min(known) - 0.1, -1.0), high=min(max(known) + 0.1, 1.0))
    alt = ", ".join(f"{line.name} {line.value}" for line in lines)
    return Panel(
        title="Wells lie together",
        about="Silhouette by treatment (circle; further right is better) and by plate (diamond; "
        "at 0 or left of it is better).",
        drawing=forest(lines, x, alt=f"Silhouettes: {alt}.", rules=[Upright(value=0.0, name="")]),
    )


def _row(facts: ProfileFacts, row: Row) -> list[str]:
    found: Mapping[str, Any] = next(
        (r for r in facts.of(facts.retrieval) if r["profiles"] == row["profiles"]), {}
    )
    sure = number(found.get("p_share"))
    return [
        stage(str(row["profiles"])),
        str(int(row["wells"] or 0)),
        str(int(row["features"] or 0)),
        _with(row, "map"),
        f"{share(sure)} of {found['n']}" if isfinite(sure) else "–",
        _with(row, "batch"),
        _with(row, "silhouette_treatment"),
        _with(row, "silhouette_plate"),
    ]


def _with(row: Row, name: str) -> str:
    ends = span(number(row.get(f"{name}_low")), number(row.get(f"{name}_high")))
    value = num(number(row.get(name)))
    return f"{value} ({ends})" if ends else value


def _matching(row: Row) -> list[str]:
    found = estimate(row, "accuracy")
    return [
        str(row["kind"]),
        stage(str(row["profiles"])),
        num(found.value),
        span(found.low, found.high) or "–",
        num(found.chance),
        str(int(row["n"] or 0)),
        str(row.get("compounds", "–")),
    ]


def _impossible(facts: ProfileFacts) -> list[str]:
    """What these wells do not allow, and why; the same reason is said once."""
    held: dict[str, list[str]] = {}
    for what, rows in (
        ("replicates", facts.retrieval),
        ("the plate", facts.batches),
        ("mechanisms", facts.matching),
        ("silhouettes", facts.before_after),
    ):
        for row in rows:
            if row.get("reason"):
                told = f"{what} of {quoted(str(row['profiles']))}"
                held.setdefault(str(row["reason"]), []).append(told)
    return [sentence(f"{', '.join(dict.fromkeys(who))}: {why}") for why, who in held.items()]


def _accuracy(facts: ProfileFacts) -> list[list[str]]:
    rows = []
    for part, row in facts.accuracy.items():
        name = PARTS.get(part, part)
        if row.get("reason"):
            rows.append([name, "–", sentence(str(row["reason"])), "–", "–", "–"])
            continue
        found = estimate(row, "balanced")
        ends = span(found.low, found.high) or "no interval"
        counts = [f"{int(row['n'] or 0):,}", str(int(row["wells"] or 0))]
        rows.append([name, num(found.value), ends, num(found.chance), *counts])
    return rows
