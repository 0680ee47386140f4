"""Rows of numbers with their intervals over one axis: the chart of most comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite

from markupsafe import Markup

from attributome.report.charts import WIDE, Size
from attributome.report.drawing import below, both, whisker
from attributome.report.svg import Axis, marker, place, tag

SHORT = 15
"""A name of at most so many letters stands beside its row on a narrow page too."""
LETTER = 7.3  # pixels of a letter at the size of a chart
NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A number; `low` and `high` are NaN where it has no interval. `told` is what a pointer asks.

    A number that is NaN is not drawn.
    """

    value: float
    low: float = NAN
    high: float = NAN
    hue: str = "blue"
    shape: str = "circle"
    told: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row: its name, its marks, and what is written at its right end."""

    name: str
    marks: Sequence[Mark]
    value: str = ""
    strong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Upright:
    """A reference value of the x axis, drawn through all rows; `hue` only where it has one."""

    value: float
    name: str
    hue: str = field(default="")


def forest(
    lines: Sequence[Line],
    x: Axis,
    *,
    alt: str,
    rules: Sequence[Upright] = (),
    joined: bool = False,
) -> Markup:
    """One row per line; the marks of a row lie below each other, or, `joined`, on one thread."""
    longest = max((len(line.name) for line in lines), default=0)
    most = max((len(line.marks) for line in lines), default=1)
    spread = 0.0 if joined else 11.0
    ends = max((len(line.value) for line in lines), default=0)
    rules = [rule for rule in rules if isfinite(rule.value)]

    def draw(size: Size) -> tuple[Markup, float]:
        beside = size is WIDE or longest <= SHORT
        room = min(max(longest, 6), 30 if size is WIDE else SHORT) * LETTER + 16
        left = room if beside else 8
        right = size.width - (12 + 8 * ends if ends else 14)
        tall = (24 if beside else 40) + spread * (most - 1)
        top = 8 + 16 * len(rules)
        bottom = top + tall * len(lines)
        parts = [below(x, (left, right, top, bottom), size.ticks if longest < 20 else 4)]
        for n, rule in enumerate(rules):
            parts.append(_upright(rule, x, (left, right, top, bottom), 12 + 16 * n))
        for n, line in enumerate(lines):
            middle = top + tall * n + (tall / 2 if beside else 28 + (tall - 40) / 2)
            where = {"x": 0, "y": middle + 4} if beside else {"x": left, "y": top + tall * n + 14}
            name = _cut(line.name, 30 if size is WIDE else 44)
            kind = "name rule-name strong" if line.strong else "name rule-name"
            parts.append(tag("path", d=f"M{left} {middle:.1f}H{right}", class_="grid"))
            parts.append(tag("text", tag("title", line.name), name, class_=kind, **where))
            parts += _marks(line, x, (left, right), middle, spread, joined)
            parts.append(tag("text", line.value, x=size.width, y=middle + 4, class_="end value"))
        return Markup("").join(parts), bottom + 44

    return both(draw, alt)


def _marks(
    line: Line, x: Axis, ends: tuple[float, float], middle: float, spread: float, joined: bool
) -> list[Markup]:
    parts = []
    known = [place(x, mark.value, *ends) for mark in line.marks if isfinite(mark.value)]
    if joined and len(known) > 1:
        thread = f"M{min(known):.1f} {middle:.1f}H{max(known):.1f}"
        parts.append(tag("path", d=thread, class_="thread"))
    first = middle - spread * (len(line.marks) - 1) / 2
    for n, mark in enumerate(line.marks):
        if not isfinite(mark.value):
            continue
        at = first + spread * n
        there = isfinite(mark.low) and isfinite(mark.high)
        drawn = [whisker(x, (mark.low, mark.high), at, ends)] if there else []
        point = marker(mark.shape, place(x, mark.value, *ends), at, 4, title=mark.told)
        parts.append(tag("g", *drawn, point, class_=mark.hue))
    return parts


def _upright(
    rule: Upright, x: Axis, box: tuple[float, float, float, float], height: float
) -> Markup:
    left, right, _, bottom = box
    at = place(x, rule.value, left, right)
    line = tag("path", d=f"M{at:.1f} {height - 8}V{bottom}", class_="rule")
    late = at > (left + right) / 2
    side = "small end rule-name" if late else "small rule-name"
    text = tag("text", rule.name, x=at + (-5 if late else 5), y=height, class_=side)
    return tag("g", line, text, class_=f"{rule.hue} hued" if rule.hue else "")


def _cut(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"
