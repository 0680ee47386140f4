"""Features that are learnt without labels, beside those of the classifier, on the same crops."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attributome.report.forest import Line, Mark, Upright, forest
from attributome.report.forms import Row
from attributome.report.numbers import minutes, num, number
from attributome.report.profile.doubts import LINEAR
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.profiles import Panel
from attributome.report.profile.words import (
    ALTERNATIVES,
    Estimate,
    counted,
    estimate,
    sentence,
)
from attributome.report.svg import Axis

ALL, UNSEEN = "all wells", "unseen wells"
MARKS = {ALL: ("blue", "circle"), UNSEEN: ("orange", "diamond")}
ACROSS = "leave plate out"
EMBEDDED = 1_000_000
"""Bytes of an animation above which it is named and not put into the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """An animation: its address (none: it is too large for the page), alternative text, caption."""

    source: str
    alt: str
    about: str


def alternatives(facts: ProfileFacts) -> dict[str, Any] | None:
    """Panels, a table, what was not possible, and the animation; None where nothing is learnt."""
    found = facts.alternatives
    if not found:
        return None
    retrieval, across = found["retrieval"], _of(found["neighbours"], ACROSS)
    batches = [{**row, "of": ALL} for row in _of(found["batches"], LINEAR)]
    panels = [
        _panel(
            "Replicates are found",
            "Mean average precision. Further right is better.",
            retrieval,
            "map",
            "mean average precision",
        ),
        _panel(
            f"The {facts.label} is told on other plates",
            "Balanced accuracy of nearest neighbours of other plates. Further right is better.",
            across,
            "balanced",
            "balanced accuracy",
        ),
        _panel(
            "The plate is told",
            "Balanced accuracy of a linear classifier of the plate. Further left is better.",
            batches,
            "balanced",
            "balanced accuracy for the plate",
        ),
    ]
    return {
        "panels": [panel for panel in panels if panel],
        "rows": [_row(row, retrieval, across, batches) for row in found["features"]],
        "impossible": _impossible(found),
        "words": [sentence(str(words)) for words in found.get("words") or ()],
        "film": _film(facts),
    }


def _of(rows: Sequence[Row], protocol: str) -> list[Row]:
    return [row for row in rows if row.get("protocol") == protocol and not row.get("reason")]


def _name(row: Row) -> str:
    return ALTERNATIVES.get(str(row["profiles"]), str(row["profiles"]))


def _panel(title: str, about: str, rows: Sequence[Row], value: str, label: str) -> Panel | None:
    """A row per kind of features: of all wells, and of those that nobody trained on."""
    held: dict[str, list[tuple[str, Estimate, Any]]] = {}
    for row in rows:
        found = estimate(row, value)
        if not row.get("reason") and found.known:
            held.setdefault(_name(row), []).append((str(row["of"]), found, row.get("n")))
    if not held:
        return None
    lines = []
    for name, some in held.items():
        marks = []
        for of, found, count in some:
            hue, shape = MARKS.get(of, MARKS[ALL])
            marks.append(
                Mark(
                    value=found.value,
                    low=found.low,
                    high=found.high,
                    hue=hue,
                    shape=shape,
                    told=f"{name}, {of}: {found.words}, chance {num(found.chance)}, n = {count}",
                )
            )
        told = " / ".join(num(found.value) for _, found, _ in some)
        lines.append(Line(name=name, marks=marks, value=told))
    said = ", ".join(f"{line.name} {line.value}" for line in lines)
    x = Axis(label=label, low=0.0, high=1.0)
    guesses = {num(one.chance): one.chance for some in held.values() for _, one, _ in some}
    rules = [Upright(value=guesses[text], name=f"chance {text}") for text in sorted(guesses)]
    drawing = forest(lines, x, alt=f"{title}: {said}.", rules=rules)
    return Panel(title=title, about=about, drawing=drawing)


def _row(
    about: Row, retrieval: Sequence[Row], across: Sequence[Row], batches: Sequence[Row]
) -> list[str]:
    """What a kind of features is and what it is worth, as text."""
    seconds = number(about.get("seconds"))
    return [
        _name(about),
        str(int(about["wells"] or 0)),
        str(int(about["features"] or 0)),
        *(
            _told(rows, about, of, value)
            for rows, value in ((retrieval, "map"), (across, "balanced"))
            for of in (ALL, UNSEEN)
        ),
        _told(batches, about, ALL, "balanced"),
        "–" if seconds != seconds else minutes(seconds),
    ]


def _told(rows: Sequence[Row], about: Row, of: str, value: str) -> str:
    for row in rows:
        if row["profiles"] == about["profiles"] and row["of"] == of and not row.get("reason"):
            found = estimate(row, value)
            ends = f"{num(found.low)}–{num(found.high)}" if found.low == found.low else ""
            beside = f"{ends}; " if ends else ""
            return f"{num(found.value)} ({beside}chance {num(found.chance)})"
    return "–"


def _impossible(found: Mapping[str, Any]) -> list[str]:
    """Kinds of features that there are none of, and what these wells do not allow."""
    held = [f"{ALTERNATIVES.get(k, k)}: {why}" for k, why in (found.get("reasons") or {}).items()]
    told: dict[str, list[str]] = {}
    for row in found["retrieval"]:
        if row.get("reason"):
            told.setdefault(str(row["reason"]), []).append(f"{_name(row)} in {row['of']}")
    held += [f"replicates of {', '.join(who)}: {why}" for why, who in told.items()]
    return [sentence(words) for words in held]


def _film(facts: ProfileFacts) -> Film | None:
    """The animation, inside the page where it is small."""
    told = facts.alternatives.get("trajectory") or {}
    name = str(told.get("file") or "")
    path = facts.root / name
    if not name or path.parent != facts.root or not path.is_file():
        return None
    cells, epochs = counted(told.get("cells"), "cell"), counted(told.get("epochs"), "epoch")
    how = {"umap": "UMAP", "pca": "the first two principal components"}.get(
        str(told.get("how")), str(told.get("how"))
    )
    source = ""
    if path.stat().st_size < EMBEDDED:
        source = f"data:image/gif;base64,{base64.b64encode(path.read_bytes()).decode()}"
    return Film(
        source=source,
        alt=f"{cells} over {epochs} of the contrastive training, coloured by {facts.label}",
        about=sentence(
            f"{how} of contrastive features after each of {epochs}; {cells} that did not train"
        ),
    )
