"""Where the network looks: scores of cells beside chance, shares by treatment, and controls."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from markupsafe import Markup

from attributome.report.charts import WIDE, Size
from attributome.report.drawing import Box, below, beside, both
from attributome.report.forest import Line, Mark, Upright, forest
from attributome.report.numbers import num, number, share, span
from attributome.report.profile.facts import SHARES, ProfileFacts
from attributome.report.profile.words import CONTROLS, counted
from attributome.report.svg import Axis, place, tag

BINS = 20
TREATMENTS = 24
"""Treatments that a chart can hold; the table has up to `ROWS`."""
ROWS = 400
KINDS = ("cell", "neighbours", "background")


def where(facts: ProfileFacts) -> dict[str, Any] | None:
    """Histogram, triple and controls; None where nobody has looked."""
    table = facts.scores
    if table.empty or not facts.camo:
        return None
    held = table[np.isfinite(table["score_cell"].to_numpy(np.float64))]
    return {
        "histogram": histogram(facts, held) if len(held) else "",
        "cells": f"{len(held):,}",
        "undefined": len(table) - len(held),
        "wells": counted(facts.camo["wells"], "well"),
        "triple": triple(held, facts.label) if len(held) else None,
        "controls": controls(facts),
    }


def histogram(facts: ProfileFacts, held: pd.DataFrame) -> Markup:
    """Cells by their score, as columns, and by what chance would give, as an outline."""
    bins = np.linspace(0, 1, BINS + 1)
    scores = _spread(held["score_cell"].to_numpy(np.float64), bins)
    chance = _spread(held["mask_fraction"].to_numpy(np.float64), bins)
    x = Axis(label="share of the map on the cell (Grad-CAMO)", low=0.0, high=1.0)
    top = 1.12 * max(scores.max(), chance.max())
    y = Axis(label="share of cells", low=0.0, high=float(top), percent=True)
    middle = number(facts.camo["median"])
    guess = number(facts.camo["chance"])
    alt = (
        f"Grad-CAMO of {len(held):,} cells: median {num(middle)}; chance {num(guess)}; "
        f"{share(number(facts.camo['share_above_half']))} above one half."
    )

    def draw(size: Size) -> tuple[Markup, float]:
        box = (float(size.left), size.width - 14.0, 58.0, size.height - 44.0)
        left, right, high, low = box
        parts = [below(x, box, size.ticks), beside(y, box)]
        for n, value in enumerate(scores):
            a, b = (place(x, float(edge), left, right) for edge in bins[n : n + 2])
            at = place(y, float(value), low, high)
            told = f"{num(bins[n])} to {num(bins[n + 1])}: {share(float(value))} of cells"
            words = tag("title", told)
            parts.append(
                tag("rect", words, x=a + 0.5, y=at, width=max(b - a - 1, 0.5), height=low - at,
                    class_="column blue")
            )  # fmt: skip
        parts.append(tag("path", d=_steps(chance, bins, x, y, box), class_="outline"))
        parts += _upright(middle, f"median {num(middle)}", x, box, 34, "blue")
        parts += _upright(guess, f"chance {num(guess)}", x, box, 50, "")
        return Markup("").join(parts), size.height

    return both(draw, alt)


def triple(held: pd.DataFrame, label: str) -> dict[str, Any]:
    """Shares on cell, neighbours and background: mean over the cells of each treatment."""
    rows = []
    for name, some in held.groupby("treatment", sort=True):
        shares = some[[*SHARES]].to_numpy(np.float64).mean(0)
        wells = some[["plate", "well"]].drop_duplicates()
        chance = float(some["mask_fraction"].mean())
        rows.append((str(name), shares, chance, len(some), len(wells)))
    rows.sort(key=lambda row: (row[1][0], row[0]))
    return {
        "drawing": _stacked(rows[:TREATMENTS]),
        "label": label,
        "shown": min(len(rows), TREATMENTS),
        "count": len(rows),
        "rows": [
            [name, *(share(float(v)) for v in shares), share(chance), f"{cells:,}", str(wells)]
            for name, shares, chance, cells, wells in rows[:ROWS]
        ],
        "more": max(len(rows) - ROWS, 0),
    }


def controls(facts: ProfileFacts) -> dict[str, Any] | None:
    """The same cells with other masks and under random weights; None where there are none."""
    rows = [row for row in facts.controls if row["median"] is not None]
    if not rows:
        return None
    order = list(CONTROLS)
    rows.sort(key=lambda row: order.index(row["control"]) if row["control"] in order else 99)
    lines = []
    for row in rows:
        own = row["control"] == "none"
        middle = number(row["median"])
        ends = number(row["low"]), number(row["high"])
        told = f"{num(middle)} ({span(*ends) or 'no interval'}), n = {int(row['cells'] or 0)}"
        mark = Mark(
            value=middle, low=ends[0], high=ends[1], hue="blue" if own else "orange",
            shape="circle" if own else "diamond", told=told,
        )  # fmt: skip
        guess = Mark(
            value=number(row["chance"]), hue="ink", shape="ring",
            told=f"chance {num(number(row['chance']))}",
        )  # fmt: skip
        name = CONTROLS.get(str(row["control"]), str(row["control"]))
        lines.append(Line(name=name, marks=[mark, guess], value=num(middle), strong=own))
    x = Axis(label="Grad-CAMO, median over cells", low=0.0, high=1.0)
    said = ", ".join(f"{line.name} {line.value}" for line in lines)
    half = Upright(value=0.5, name="one half")
    return {
        "drawing": forest(lines, x, alt=f"Grad-CAMO under controls: {said}.", rules=[half]),
        "n": counted(max(int(row["cells"] or 0) for row in rows), "cell"),
        "rows": [
            [
                line.name,
                line.value,
                span(number(row["low"]), number(row["high"])) or "–",
                num(number(row["chance"])),
                f"{int(row['cells'] or 0):,}",
                f"{int(row.get('undefined') or 0):,}",
            ]
            for line, row in zip(lines, rows, strict=True)
        ],
    }


def _spread(
    values: Float[np.ndarray, " n"], bins: Float[np.ndarray, " b"]
) -> Float[np.ndarray, " m"]:
    counts, _ = np.histogram(np.clip(values, 0, 1), bins)
    return np.asarray(counts / max(len(values), 1))


def _steps(
    shares: Float[np.ndarray, " m"], bins: Float[np.ndarray, " b"], x: Axis, y: Axis, box: Box
) -> str:
    left, right, high, low = box
    edges = [place(x, float(edge), left, right) for edge in bins]
    tops = [place(y, float(value), low, high) for value in shares]
    drawn = f"M{edges[0]:.1f} {low:.1f}"
    for n, top in enumerate(tops):
        drawn += f"V{top:.1f}H{edges[n + 1]:.1f}"
    return f"{drawn}V{low:.1f}"


def _upright(value: float, name: str, x: Axis, box: Box, height: float, hue: str) -> list[Markup]:
    if not isfinite(value):
        return []
    left, right, _, bottom = box
    at = place(x, value, left, right)
    side = "small end rule-name" if at > (left + right) / 2 else "small rule-name"
    line = tag("path", d=f"M{at:.1f} {height - 8}V{bottom}", class_="rule")
    step = -5 if at > (left + right) / 2 else 5
    text = tag("text", name, x=at + step, y=height, class_=side)
    return [tag("g", line, text, class_=f"{hue} hued" if hue else "")]


def _stacked(rows: Sequence[tuple[str, np.ndarray, float, int, int]]) -> Markup:
    """Bars of three parts that add up to one; a mark shows what chance gives the cell."""
    said = "; ".join(f"{name} {share(float(shares[0]))} on the cell" for name, shares, *_ in rows)
    x = Axis(label="mean share of the map", low=0.0, high=1.0, percent=True)
    longest = max(len(name) for name, *_ in rows)

    def draw(size: Size) -> tuple[Markup, float]:
        near = size is WIDE or longest <= 15
        left = min(longest, 24 if size is WIDE else 15) * 7.3 + 14 if near else 8
        right = size.width - 60.0
        tall = 26 if near else 42
        bottom = 10 + tall * len(rows)
        parts = [below(x, (left, right, 6, bottom), size.ticks)]
        for n, (name, shares, chance, cells, _) in enumerate(rows):
            top = 8 + tall * n + (0 if near else 18)
            spot = {"x": 0, "y": top + 15} if near else {"x": left, "y": top - 3}
            room = 44 if not near else 24 if size is WIDE else 15
            parts.append(tag("text", tag("title", name), _cut(name, room), class_="name", **spot))
            start = 0.0
            for kind, part in zip(KINDS, shares.tolist(), strict=True):
                a, b = (place(x, v, left, right) for v in (start, start + part))
                told = tag("title", f"{name}: {share(part)} on {kind}")
                parts.append(
                    tag("rect", told, x=a, y=top, width=max(b - a, 0), height=20, class_=kind)
                )
                if b - a > 34:
                    # the number of the cell stands at its start, where chance rarely is
                    middle = a + 22 if kind == "cell" else (a + b) / 2
                    parts.append(
                        tag("text", share(part), x=middle, y=top + 15, class_=f"inside {kind}")
                    )
                start += part
            at = place(x, chance, left, right)
            told = tag("title", f"chance {share(chance)}")
            parts.append(tag("path", told, d=f"M{at:.1f} {top - 3}v26", class_="guess"))
            parts.append(tag("text", f"n {cells:,}", x=size.width, y=top + 15, class_="end small"))
        return Markup("").join(parts), bottom + 44

    return both(draw, f"Shares of maps by treatment: {said}.")


def _cut(name: str, letters: int) -> str:
    """A name that fits; both ends stay, for names of one series differ in their last letters."""
    half = letters // 2
    return name if len(name) <= letters else f"{name[: letters - half]}…{name[1 - half :]}"
