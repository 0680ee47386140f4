"""What the network says when the cell, or all else, is changed; and what else tells the label."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from markupsafe import Markup

from attributome.report.drawing import swatch
from attributome.report.forest import Line, Mark, Upright, forest
from attributome.report.forms import Row
from attributome.report.numbers import num, number, share, span
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.words import (
    AS_IT_IS,
    ERASED,
    PARTS,
    PREDICTORS,
    TESTS,
    Estimate,
    counted,
    estimate,
    sentence,
    signed,
)
from attributome.report.svg import Axis

PROTOCOLS = {"well folds": ("circle", "blue"), "leave plate out": ("diamond", "orange")}
"""How what else tells the label is judged, and how each is drawn."""
JUDGED = {"well folds": "by other wells", "leave plate out": "by other plates"}


def causes(facts: ProfileFacts) -> dict[str, Any] | None:
    """Bars of the tests, the gap to held-out plates, and other ways to the label."""
    if not facts.causes:
        return None
    part = str(facts.causes.get("part") or "")
    return {
        "tests": _tests(facts),
        "reason": sentence(str(facts.causes["reason"])) if facts.causes.get("reason") else "",
        "part": PARTS.get(part, part),
        "cells": f"{int(facts.causes.get('cells') or 0):,}",
        "gap": _gap(facts.causes),
        "predictors": _predictors(facts),
        "said": [sentence(str(each)) for each in facts.causes["words"]],
    }


def _tests(facts: ProfileFacts) -> dict[str, Any] | None:
    rows = [row for row in facts.tests if row["balanced"] is not None]
    if not rows:
        return None
    lines = []
    for row in rows:
        name, found = str(row["test"]), estimate(row, "balanced")
        hue, shape = _looks(name)
        mark = Mark(value=found.value, low=found.low, high=found.high, hue=hue, shape=shape,
                    told=f"{name}: {found.words}")  # fmt: skip
        strong = name == AS_IT_IS
        lines.append(Line(name=_short(name), marks=[mark], value=num(found.value), strong=strong))
    guess = estimate(rows[0], "balanced").chance
    whole = next((r for r in rows if r["test"] == AS_IT_IS), None)
    rules = [Upright(value=guess, name=f"guessing {num(guess)}")]
    if whole is not None:
        known = number(whole["balanced"])
        rules.append(Upright(value=known, name=f"as it is {num(known)}", hue="blue"))
    said = ", ".join(f"{line.name} {line.value}" for line in lines)
    x = Axis(label="balanced accuracy", low=0.0, high=1.0)
    return {
        "drawing": forest(lines, x, alt=f"Accuracy after each change: {said}.", rules=rules),
        "wells": counted(rows[0]["wells"], "well"),
        "n": f"{int(rows[0]['n'] or 0):,}",
        "interval": any(isfinite(m.low) for line in lines for m in line.marks),
        "rows": [
            [
                str(row["test"]),
                TESTS.get(str(row["test"]), ""),
                num(number(row["balanced"])),
                _ends(estimate(row, "balanced")),
                _retained(row),
                num(number(row["chance"])),
            ]
            for row in rows
        ],
    }


def _looks(name: str) -> tuple[str, str]:
    if name == AS_IT_IS:
        return "blue", "circle"
    return ("vermillion", "square") if name.startswith(ERASED) else ("ink", "diamond")


def _short(name: str) -> str:
    if name.startswith("cell swapped:"):
        return "swapped: the new one’s label"
    return name.replace("cell erased, another's", "erased, another’s")


def _retained(row: Row) -> str:
    """What is left of the accuracy above chance; nothing where it was not above it."""
    value = number(row.get("retained"))
    return share(max(value, 0.0)) if isfinite(value) else "–"


def _ends(found: Estimate) -> str:
    return span(found.low, found.high) or "–"


def _gap(found: Row) -> str:
    gap = found.get("gap")
    if not gap:
        reason = found.get("gap_reason")
        return f"Held-out plates were not compared: {sentence(str(reason))}" if reason else ""
    low, high = number(gap["gap_low"]), number(gap["gap_high"])
    return (
        f"On other wells of the training plates balanced accuracy is {num(number(gap['inside']))}, "
        f"on plates that it has not seen {num(number(gap['outside']))}: "
        f"{signed(number(gap['gap']))} ({span(low, high) or 'no interval'})."
    )


def _predictors(facts: ProfileFacts) -> dict[str, Any] | None:
    known = [row for row in facts.predictors if not row.get("reason")]
    lost = [row for row in facts.predictors if row.get("reason")]
    names = list(dict.fromkeys(str(row["what"]) for row in known))
    lines = []
    for name in names:
        of = [row for row in known if row["what"] == name]
        marks = [_mark(row) for row in of]
        values = " / ".join(num(mark.value) for mark in marks)
        lines.append(Line(name=PREDICTORS.get(name, name), marks=marks, value=values))
    chances = [number(row["chance"]) for row in known if row["chance"] is not None]
    return {
        "drawing": _drawn(lines, chances),
        "legend": [
            (swatch(*reversed(PROTOCOLS.get(name, ("ring", "ink")))), JUDGED.get(name, name))
            for name in dict.fromkeys(str(row.get("protocol") or "") for row in known)
            if name
        ],
        "rows": [
            [
                PREDICTORS.get(str(row["what"]), str(row["what"])),
                JUDGED.get(str(row.get("protocol")), str(row.get("protocol") or "–")),
                num(number(row["balanced"])),
                _ends(estimate(row, "balanced")),
                num(number(row["chance"])),
                f"{int(row['n'] or 0):,}",
                str(int(row.get("wells") or 0)),
            ]
            for row in known
        ],
        "impossible": [_why(row) for row in lost],
    }


def _why(row: Row) -> str:
    name = PREDICTORS.get(str(row["what"]), str(row["what"]))
    how = JUDGED.get(str(row.get("protocol")), "")
    return sentence(f"{', '.join(t for t in (name, how) if t)}: {row['reason']}")


def _mark(row: Row) -> Mark:
    found = estimate(row, "balanced")
    protocol = str(row.get("protocol") or "")
    shape, hue = PROTOCOLS.get(protocol, ("ring", "ink"))
    told = f"{row['what']}, {JUDGED.get(protocol, protocol)}: {found.words}"
    return Mark(value=found.value, low=found.low, high=found.high, hue=hue, shape=shape, told=told)


def _drawn(lines: Sequence[Line], chances: Sequence[float]) -> Markup | str:
    if not lines:
        return ""
    x = Axis(label="balanced accuracy", low=0.0, high=1.0)
    guess = chances[0] if chances else float("nan")
    said = ", ".join(f"{line.name} {line.value}" for line in lines)
    rules = [Upright(value=guess, name=f"guessing {num(guess)}")]
    return forest(lines, x, alt=f"What else tells the label: {said}.", rules=rules)
