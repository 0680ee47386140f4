"""Remedies against looking beside the cell, compared on Grad-CAMO and on held-out plates."""

from typing import Any

from attributome.report.forest import Line, Mark, Upright, forest
from attributome.report.numbers import num, number, share, span
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.words import REMEDIES, sentence
from attributome.report.svg import Axis

_FLAG = {True: "flagged", False: "nothing found"}


def remedies(facts: ProfileFacts) -> dict[str, Any] | None:
    """Two charts and a table; None where no remedy was tried."""
    if not facts.remedies:
        return None
    looking, telling, rows = [], [], []
    for row in facts.remedies:
        name = REMEDIES.get(str(row["remedy"]), str(row["remedy"]))
        camo, accuracy = number(row["camo_median"]), number(row["accuracy_held_out"])
        camo_ends = number(row["camo_low"]), number(row["camo_high"])
        ends = number(row["low"]), number(row["high"])
        looking.append(_line(name, camo, camo_ends, "blue", "circle"))
        telling.append(_line(name, accuracy, ends, "orange", "diamond"))
        rows.append(
            [
                name,
                num(camo),
                span(*camo_ends) or "–",
                num(number(row["chance"])),
                num(accuracy),
                span(*ends) or "–",
                num(number(row.get("accuracy_test"))),
                share(number(row.get("undefined"))),
                _FLAG.get(bool(row["flagged"]), "–") if "flagged" in row else "–",
            ]
        )
    guess = number(facts.remedies[0]["chance"])
    return {
        "panels": [
            ("Grad-CAMO, median over cells", _drawn(looking, "Grad-CAMO", guess)),
            ("Balanced accuracy on held-out plates", _drawn(telling, "balanced accuracy")),
        ],
        "rows": rows,
        "words": [sentence(words) for words in facts.compared],
    }


def _line(name: str, value: float, ends: tuple[float, float], hue: str, shape: str) -> Line:
    told = f"{name}: {num(value)} ({span(*ends) or 'no interval'})"
    mark = Mark(value=value, low=ends[0], high=ends[1], hue=hue, shape=shape, told=told)
    return Line(name=name, marks=[mark], value=num(value))


def _drawn(lines: list[Line], label: str, guess: float = float("nan")) -> Any:
    said = ", ".join(f"{line.name} {line.value}" for line in lines)
    x = Axis(label=label, low=0.0, high=1.0)
    rules = [Upright(value=guess, name=f"chance {num(guess)}")]
    return forest(lines, x, alt=f"{label} by remedy: {said}.", rules=rules)
