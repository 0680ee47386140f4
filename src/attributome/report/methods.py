"""Several methods on the same fields: the leaderboard as a table, and two charts of the best."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from attributome.report.charts import Rule
from attributome.report.facts import Facts
from attributome.report.figures import (
    CURVES,
    DOTS,
    Figure,
    controls_of,
    curves_of,
    dots,
    legible,
    unit_axis,
)
from attributome.report.looks import look
from attributome.report.numbers import chance, num, plural, span
from attributome.report.svg import Axis, marker, place, tag
from attributome.report.words import measure

CONTROL = "control"
SLIGHT, GROSS = 0.01, 0.1
"""Completeness errors: above the first a method is marked, above the second it is a doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A few words with a state: "good", "bad" or "plain"."""

    words: str
    state: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One method or control of the leaderboard, every number with its interval."""

    key: str
    label: str
    control: bool
    median: str
    interval: str
    bar: Markup
    curve: str
    curve_interval: str
    against: Mark
    n: str
    sums: Mark | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """How nearly the values of a method add up to what they promise, over fields."""

    median: float
    above: int
    known: int
    undefined: int

    @property
    def mark(self) -> Mark:
        """The badge of a method."""
        unknown = f", {self.undefined} undefined" if self.undefined else ""
        if not self.known:
            return Mark(words=f"undefined in {plural(self.undefined, 'field')}", state="bad")
        if not self.above:
            return Mark(words=f"within 1 % in {plural(self.known, 'field')}{unknown}", state="good")
        of = f"above 1 % in {self.above} of {plural(self.known, 'field')}{unknown}"
        return Mark(words=f"{percent(self.median)} off (median), {of}", state="bad")


def percent(value: float) -> str:
    """A relative error, which may be above 100 %."""
    return f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:,.0f} %"


def sums(facts: Facts) -> dict[str, Sums]:
    """Completeness of each method that promises it."""
    table, found = facts.tables["checks"], {}
    for key in facts.methods if not table.empty else []:
        errors = table.loc[table["method"] == key, "completeness_error"].to_numpy(float)
        if errors.size:
            known = np.abs(errors[~np.isnan(errors)])
            found[key] = Sums(
                median=float(np.median(known)) if known.size else float("nan"),
                above=int((known > SLIGHT).sum()),
                known=known.size,
                undefined=errors.size - known.size,
            )
    return found


def leaderboard(facts: Facts) -> dict[str, Any] | None:
    """The lines of the leaderboard, the best first; None while it is not there."""
    rows = facts.leaderboard.get("rows") or []
    if not rows:
        return None
    added = sums(facts)
    ends = [row.get(key) for row in rows for key in ("low", "median")]
    axis = Axis(label="", low=min([0.0, *(e for e in ends if e is not None)]), high=1.0)
    fields = max(int(row.get("n") or 0) for row in rows)
    lines = [_line(row, axis, added.get(str(row["method"])), fields) for row in rows]
    return {
        "lines": lines,
        "area": str(facts.leaderboard.get("area") or "the area of each field's signature"),
        "level": num(facts.leaderboard.get("level", 0.05)),
        "n": plural(fields, "field"),
        "sums": bool(added),
        "curves": any(line.curve != "–" for line in lines),
        "low": num(axis.low) if axis.low else "0",
        "verdict": _verdict(rows),
        "flags": [
            (look(str(row["method"])).label, [flag["reason"] for flag in row["flags"]])
            for row in rows
            if row.get("flags")
        ],
    }


def methods_curve(facts: Facts) -> Figure | None:
    """Efficacy against mask size of every method of the job, and of the best control."""
    controls = controls_of(facts, "curve")
    best = [key for key in facts.ranked if key in controls][:1] or controls[:1]
    chosen, left = legible(facts, facts.methods, CURVES - len(best))
    return curves_of(
        facts,
        [*chosen, *best],
        title="The methods over all areas",
        bad="Methods whose curves run below the control: they rank pixels no better than it does.",
        left=left,
    )


def methods_spread(facts: Facts) -> Figure | None:
    """Efficacy of every field for every method of the job, and for the best control."""
    table = facts.efficacies("signature", "method", "control")
    if table.empty:
        return None
    controls = [key for key in facts.ranked if key in table and key not in facts.methods][:1]
    chosen, left = legible(facts, [m for m in facts.methods if m in table], DOTS)
    table = table[[*chosen, *controls]]
    last = f"; the last row is the best control, {look(controls[0]).label}" if controls else ""
    return dots(
        facts,
        table,
        title="Every field, every method",
        x=unit_axis(f"efficacy ({measure(facts)}) at the same kept area", table),
        rules=[]
        if facts.floor is None
        else [Rule(value=facts.floor, label="asked for", along="x")],
        shows="One mark per field; the bar is the median, the shade the quartiles. Every method "
        f"keeps as many pixels of a field as its signature does{last}.",
        bad="A method whose dots lie no further right than those of the control.",
        left=left,
    )


def _line(row: Mapping[str, Any], axis: Axis, added: Sums | None, fields: int) -> Line:
    key, undefined = str(row["method"]), int(row.get("undefined") or 0)
    n = int(row.get("n") or 0)
    return Line(
        key=key,
        label=look(key).label,
        control=row.get("kind") == CONTROL,
        median=num(row.get("median")),
        interval=span(row.get("low"), row.get("high")),
        bar=_bar(key, row, axis),
        curve=num(row.get("curve_median")),
        curve_interval=span(row.get("curve_low"), row.get("curve_high")),
        against=_against(row),
        n=f"{n}, {undefined} undefined" if undefined else str(n),
        sums=added.mark if added else None,
    )


def _against(row: Mapping[str, Any]) -> Mark:
    """Whether a method does better than every control, in words."""
    beats, nearest, p = row.get("beats_controls"), row.get("nearest_control"), row.get("p_holm")
    if row.get("kind") == CONTROL:
        return Mark(words="control")
    if beats is None:
        return Mark(words="no control was scored")
    sure = f" ({chance(p)})" if p is not None else ""
    if beats:
        return Mark(words=f"beats every control{sure}", state="good")
    return Mark(words=f"does not beat {look(str(nearest)).label}{sure}", state="bad")


def _verdict(rows: list[Mapping[str, Any]]) -> str:
    """How many of the methods say more than their controls."""
    told = [row for row in rows if row.get("beats_controls") is not None]
    beat = [row for row in told if row["beats_controls"]]
    if not told:
        return ""
    if len(beat) == len(told):
        return f"All {len(told)} methods beat every control."
    if not beat:
        return "No method beats every control: none of these maps shows more than they do."
    weak = len(told) - len(beat)
    verb = "does" if weak == 1 else "do"
    return (
        f"{len(beat)} of {len(told)} methods beat every control; what the other {weak} {verb} "
        f"not show is that {'it knows' if weak == 1 else 'they know'} this network."
    )


def _bar(key: str, row: Mapping[str, Any], axis: Axis) -> Markup:
    """Median and interval on one line, the same axis for the whole table."""
    median, low, high = row.get("median"), row.get("low"), row.get("high")
    if median is None:
        return Markup("")
    left, right, y = 6, 154, 10
    parts = [tag("path", d=f"M{left} {y}H{right}", class_="grid")]
    if axis.low < 0:
        zero = place(axis, 0.0, left, right)
        parts.append(tag("path", d=f"M{zero:.1f} 4V16", class_="grid"))
    if low is not None and high is not None:
        a, b = place(axis, low, left, right), place(axis, high, left, right)
        parts.append(tag("path", d=f"M{a:.1f} {y}H{b:.1f}", class_="spread"))
    parts.append(marker(look(key).marker, place(axis, median, left, right), y, 4.4))
    return tag(
        "svg",
        tag("g", *parts, class_=look(key).hue),
        viewBox="0 0 160 20",
        width="160",
        height="20",
        aria_hidden="true",
        class_="bar-of",
    )
