"""How good the network is on pairs it has not seen, beside what needs no network."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from markupsafe import Markup

from attributome.report.charts import WIDE, Size
from attributome.report.drawing import below, both, whisker
from attributome.report.fcgr.facts import FcgrFacts
from attributome.report.fcgr.words import METRICS, NETWORKS, TRIVIAL, predictor
from attributome.report.figures import Figure
from attributome.report.numbers import chance, num, number, plural, span
from attributome.report.svg import Axis, marker, place, tag

SHOWN = ("auc", "ap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A number with its interval, or why there is none."""

    value: str
    interval: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One predictor of the table."""

    label: str
    about: str
    network: bool
    n: str
    cells: list[Cell]
    against: str


def evaluation(facts: FcgrFacts) -> dict[str, Any] | None:
    """Table and chart; None where nothing was evaluated."""
    rows = facts.evaluation.get("scores") or []
    if not rows:
        return None
    found = dict.fromkeys(str(row["metric"]) for row in rows)
    others = [m for m in dict.fromkeys((*METRICS, *found)) if m in found and m not in SHOWN]
    return {
        "metrics": [METRICS[metric] for metric in SHOWN],
        "lines": [_line(facts, name, list(SHOWN)) for name in order(facts)],
        "others": [
            (METRICS.get(metric, metric), predictor(name)[0], _cell(facts.score(name, metric)))
            for metric in others
            for name in order(facts)
            if facts.score(name, metric)
        ],
        "part": str(facts.evaluation.get("part") or "test"),
        "forest": forest(facts),
        "n": counted(facts, order(facts)[0], "auc"),
    }


def order(facts: FcgrFacts) -> list[str]:
    """Networks first, then trivial predictors; each kind from the best AUC down."""
    rows = facts.evaluation.get("scores") or []
    names = list(dict.fromkeys(str(row["predictor"]) for row in rows))
    return sorted(names, key=lambda name: (name in TRIVIAL, -known(facts, name, "auc")))


def known(facts: FcgrFacts, name: str, metric: str) -> float:
    """A value, or -1 where it is not defined."""
    value = number(facts.score(name, metric).get("value"))
    return value if isfinite(value) else -1.0


def counted(facts: FcgrFacts, name: str, metric: str) -> str:
    """How many pairs and miRNAs a score is of."""
    row = facts.score(name, metric)
    if not row.get("n"):
        return ""
    groups = f" of {plural(int(row['groups']), 'miRNA')}" if row.get("groups") else ""
    return plural(int(row["n"]), "pair") + groups


def forest(facts: FcgrFacts) -> Figure:
    """AUC and average precision of every predictor with their intervals."""
    names = order(facts)
    values = [
        number(facts.score(name, metric).get(end))
        for name in names
        for metric in SHOWN
        for end in ("value", "low", "high")
    ]
    lowest = min([0.4, *(value for value in values if isfinite(value))])
    x = Axis(label="score on unseen pairs (1 = perfect)", low=max(lowest - 0.03, 0.0), high=1.0)

    def draw(size: Size) -> tuple[Markup, float]:
        wide = size is WIDE
        left, tall, top = (206, 44, 12) if wide else (8, 60, 12)
        right, bottom = size.width - 14, top + tall * len(names)
        parts = [below(x, (left, right, top, bottom), size.ticks)]
        half = place(x, 0.5, left, right)
        parts.append(tag("path", d=f"M{half:.1f} {top}V{bottom}", class_="rule"))
        for n, name in enumerate(names):
            middle = top + tall * n + (tall / 2 if wide else tall - 20)
            where = {"x": 0, "y": middle + 4} if wide else {"x": left, "y": middle - 20}
            strong = f"name rule-name{'' if name in TRIVIAL else ' strong'}"
            parts.append(tag("text", predictor(name)[0], class_=strong, **where))
            for step, metric in enumerate(SHOWN):
                parts.append(
                    _mark(facts.score(name, metric), x, (left, right), middle - 6 + 12 * step, step)
                )
        return Markup("").join(parts), bottom + 44

    told = ", ".join(
        f"{predictor(name)[0]} AUC {num(number(facts.score(name, 'auc').get('value')))}"
        for name in names
    )
    return Figure(
        title="AUC and average precision",
        drawing=both(draw, f"Scores with intervals: {told}."),
        shows="Filled circle: AUC; open square: average precision; lines: 95 % intervals from a "
        "bootstrap of miRNAs. The dotted line is the AUC of guessing.",
        n=f"{counted(facts, names[0], 'auc')}.",
        bad="a trivial predictor whose interval reaches the network's: then the network has "
        "learned little more than it.",
    )


def _mark(
    row: Mapping[str, Any], x: Axis, span_: tuple[float, float], middle: float, step: int
) -> Markup:
    value, low, high = (number(row.get(key)) for key in ("value", "low", "high"))
    if not isfinite(value):
        return Markup("")
    hue, shape = (("blue", "circle"), ("vermillion", "square"))[step]
    told = f"{METRICS[SHOWN[step]]} {num(value)} ({span(low, high)})"
    drawn = [whisker(x, (low, high), middle, span_)] if isfinite(low) and isfinite(high) else []
    at = place(x, value, *span_)
    return tag("g", *drawn, marker(shape, at, middle, 4, title=told), class_=f"{hue} open{step}")


def _line(facts: FcgrFacts, name: str, metrics: list[str]) -> Line:
    label, about = predictor(name)
    return Line(
        label=label,
        about=about,
        network=name not in TRIVIAL,
        n=counted(facts, name, "auc"),
        cells=[_cell(facts.score(name, metric)) for metric in metrics],
        against=_against(facts, name),
    )


def _cell(row: Mapping[str, Any]) -> Cell:
    if not row:
        return Cell(value="–", interval="", why="not measured")
    value = number(row.get("value"))
    if not isfinite(value):
        why = str(row.get("reason") or "").rstrip(".")
        pairs = plural(int(row.get("n") or 0), "pair")
        return Cell(value="–", interval="", why=why or f"undefined for {pairs}")
    ends = span(number(row.get("low")), number(row.get("high")))
    return Cell(value=num(value), interval=ends, why="")


def _against(facts: FcgrFacts, name: str) -> str:
    """By how much the network is better in AUC, by a paired bootstrap."""
    for row in facts.evaluation.get("comparisons") or []:
        ours = str(row["a"]) in NETWORKS or str(row["a"]) not in TRIVIAL
        if row["metric"] == "auc" and str(row["b"]) == name and ours:
            value = number(row.get("difference"))
            if not isfinite(value):
                return "undefined"
            ends = span(number(row.get("low")), number(row.get("high")))
            p = number(row.get("p"))
            told = f", {chance(p)}" if isfinite(p) else ""
            sign = "+" if value > 0 else ""
            return f"{sign}{num(value)} ({ends}{told})"
    return ""
