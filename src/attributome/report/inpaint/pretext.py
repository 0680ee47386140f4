"""How well proteins are painted, and where features look: numbers beside what learns nothing."""

from math import isfinite
from typing import Any

from attributome.report.forest import Line, Mark, forest
from attributome.report.inpaint.facts import ERRORS, InpaintFacts
from attributome.report.inpaint.words import PARTS, TRIVIAL
from attributome.report.numbers import number, plural, share, short, span
from attributome.report.svg import Axis

GROUPS = 24
"""Groups that a chart can hold; the table has all of them, up to `ROWS`."""
ROWS = 500


def pretext(facts: InpaintFacts) -> dict[str, Any] | None:
    """Chart and table of the painting; None where nobody measured it."""
    if not facts.pretext:
        return None
    found = facts.pretext
    values = {name: number(found.get(name)) for name in ERRORS}
    ends = (number(found.get("mse_low")), number(found.get("mse_high")))
    top = max([v for v in (*values.values(), ends[1]) if isfinite(v)], default=1.0)
    mark = Mark(
        value=values["mse"], low=ends[0], high=ends[1], told=f"the network {short(values['mse'])}"
    )
    lines = [Line(name="the network", marks=[mark], value=short(values["mse"]), strong=True)]
    for name, told in TRIVIAL.items():
        shape = {"copy_marker": "diamond"}.get(name, "ring")
        point = Mark(
            value=values[name], hue="ink", shape=shape, told=f"{told} {short(values[name])}"
        )
        lines.append(Line(name=told, marks=[point], value=short(values[name])))
    x = Axis(label="mean squared error (lower is better)", low=0.0, high=1.05 * top)
    alt = ", ".join(f"{line.name} {line.value}" for line in lines)
    return {
        "drawing": forest(lines, x, alt=f"Mean squared errors: {alt}."),
        "part": PARTS.get(str(found.get("part")), str(found.get("part") or "test")),
        "pairs": plural(int(found.get("pairs") or 0), "pair"),
        "fields": plural(int(found.get("fields") or 0), "field"),
        "interval": all(isfinite(end) for end in ends),
        "less": _less(values["mse"], values["copy_marker"]),
        "groups": _groups(facts),
    }


def _less(mse: float, copied: float) -> str:
    if not (isfinite(mse) and isfinite(copied)) or copied <= 0:
        return ""
    part = 1 - mse / copied
    told = share(abs(part))
    return f"{told} less than showing the marker" if part > 0 else f"{told} more than the marker"


def _groups(facts: InpaintFacts) -> dict[str, Any] | None:
    rows = [
        (str(r["group"]), int(r["pairs"] or 0), number(r["mse"]), number(r["copy_marker"]))
        for r in facts.by_group
    ]
    known = [row for row in rows if isfinite(row[2]) and isfinite(row[3])]
    if not known:
        return None
    known.sort(key=lambda row: (-(row[2] / row[3] if row[3] > 0 else 0.0), row[0]))
    lines = [
        Line(
            name=name,
            marks=[
                Mark(value=copied, hue="ink", shape="diamond", told=f"marker {short(copied)}"),
                Mark(value=mse, told=f"network {short(mse)}, {plural(pairs, 'pair')}"),
            ],
            value=f"n {pairs}",
        )
        for name, pairs, mse, copied in known[:GROUPS]
    ]
    top = max(max(row[2], row[3]) for row in known[:GROUPS])
    x = Axis(label="mean squared error (lower is better)", low=0.0, high=1.05 * top)
    worse = sum(row[2] >= row[3] for row in known)
    alt = f"Mean squared error of {len(lines)} groups, the worst beside the marker first."
    return {
        "drawing": forest(lines, x, alt=alt, joined=True),
        "shown": len(lines),
        "count": len(rows),
        "worse": worse,
        "rows": [
            [name, str(pairs), short(mse), short(copied), share(mse / copied) if copied else "–"]
            for name, pairs, mse, copied in known[:ROWS]
        ],
        "more": max(len(known) - ROWS, 0),
    }


def looking(facts: InpaintFacts) -> dict[str, Any] | None:
    """Share of maxima inside the own cell, layer by layer; None where there were no masks."""
    if not facts.looking:
        return None
    lines = []
    for row in facts.looking:
        inside, chance, low, high = (number(row[k]) for k in ("inside", "chance", "low", "high"))
        told = f"{row['layer']}: {share(inside)} inside, chance {share(chance)}"
        # the interval is of the excess, and is drawn from where chance is
        mark = Mark(value=inside, low=chance + low, high=chance + high, told=told)
        guess = Mark(value=chance, hue="ink", shape="ring", told=f"chance {share(chance)}")
        strong = str(row["layer"]) == facts.lead[0]
        lines.append(
            Line(name=str(row["layer"]), marks=[mark, guess], value=share(inside), strong=strong)
        )
    x = Axis(label="share of maxima inside the own cell", low=0.0, high=1.0, percent=True)
    alt = ", ".join(f"{line.name} {line.value}" for line in lines)
    return {
        "drawing": forest(lines, x, alt=f"Maxima inside the own cell: {alt}.", joined=True),
        "rows": [
            [
                str(row["layer"]),
                share(number(row["inside"])),
                share(number(row["chance"])),
                _points(number(row["excess"])),
                span(number(row["low"]), number(row["high"])) or "–",
                f"{int(row.get('cells') or 0):,}",
                str(int(row.get("fields") or 0)),
                f"{int(row.get('undefined') or 0):,}",
            ]
            for row in facts.looking
        ],
        "fields": plural(max(int(row.get("fields") or 0) for row in facts.looking), "field"),
    }


def _points(value: float) -> str:
    text = f"{value:+.2f}" if isfinite(value) else "–"
    return text.replace("-", "−")
