"""How well features tell labels apart: by protocol and layer, and class by class."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np
from markupsafe import Markup

from attributome.report.drawing import swatch
from attributome.report.forest import Line, Mark, Upright, forest
from attributome.report.inpaint.facts import InpaintFacts, Score
from attributome.report.inpaint.words import KINDS, kind_of, layer_of, protocol
from attributome.report.numbers import listing, num, number, plural, share, span
from attributome.report.pictures import coloured
from attributome.report.svg import Axis

ROWS = 16
"""Layers with their pools that a panel can hold."""
CELLS = 16
"""Classes of a confusion matrix that is written out; a larger one is a picture."""
PAIRED = ("ours", "untrained")


def accuracy(facts: InpaintFacts) -> dict[str, Any] | None:
    """Panels, tables and reasons; None where nothing was judged."""
    if not facts.scores:
        return None
    protocols = list(dict.fromkeys(s.protocol for s in facts.scores))
    shown = [name for name in protocols if any(s.known for s in facts.scores if s.protocol == name)]
    layers = _layers(facts)
    return {
        "panels": [
            {
                "title": name,
                "about": protocol(name, int(facts.judging.get("k") or 0)),
                "drawing": panel(facts, name, layers[:ROWS]),
                "main": name == facts.across,
            }
            for name in shown
        ],
        "left": [layer_of(*layer) for layer in layers[ROWS:]],
        "legend": legend(list(dict.fromkeys(s.features for s in facts.scores))),
        "protocols": shown,
        "table": _table(facts, shown),
        "rows": [_row(s) for s in facts.scores if s.known],
        "differences": _differences(facts),
        "impossible": _impossible(facts),
        "across": facts.across,
        "lead": layer_of(*facts.lead),
    }


def legend(kinds: Sequence[str]) -> list[tuple[Markup, str]]:
    """The mark and the name of each kind of features."""
    known = [name for name in KINDS if name in kinds]
    found = [*known, *(name for name in kinds if name not in known)]
    return [(swatch(kind_of(name).hue, kind_of(name).shape), kind_of(name).name) for name in found]


def panel(facts: InpaintFacts, name: str, layers: Sequence[tuple[str, str]]) -> Markup:
    """One protocol: a row per layer, ours beside untrained, then features without such layers."""
    rows = [s for s in facts.scores if s.protocol == name and s.known]
    lines = []
    for layer in layers:
        pair = [s for s in rows if s.features in PAIRED and (s.layer, s.pool) == layer]
        if pair:
            ordered = sorted(pair, key=lambda s: PAIRED.index(s.features))
            lines.append(_line(layer_of(*layer), ordered, strong=layer == facts.lead))
    for other in [s for s in rows if s.features not in PAIRED]:
        lines.append(_line(_other(other), [other]))
    guess = next((s.chance for s in rows if isfinite(s.chance)), float("nan"))
    raw = [s.balanced for s in rows if s.features == "raw_intensity"]
    rules = [Upright(value=guess, name=f"guessing {num(guess)}")]
    if raw:
        told = f"raw intensities {num(max(raw))}"
        rules.append(Upright(value=max(raw), name=told, hue=KINDS["raw_intensity"].hue))
    ends = [f"{s.features} {s.name} {num(s.balanced)}" for s in rows[:12]]
    alt = f"Balanced accuracy, {name}: {', '.join(ends)}."
    return forest(lines, _axis(facts), alt=alt, rules=rules)


def by_class(facts: InpaintFacts) -> dict[str, Any] | None:
    """Recalls of each class, and which class is taken for which; None where there is neither."""
    if not facts.recalls and not facts.confusion:
        return None
    return {
        "of": _of(facts),
        "recalls": [
            {
                "label": str(row["label"]),
                "value": num(number(row["recall"])),
                "share": 100 * number(row["recall"]) if row["recall"] is not None else None,
                "n": f"{int(row['n'] or 0):,}",
            }
            for row in sorted(facts.recalls, key=lambda row: -(number(row["recall"] or 0)))
        ],
        "confusion": _confusion(facts),
    }


def _layers(facts: InpaintFacts) -> list[tuple[str, str]]:
    """Layers with pools of ours and of the untrained network, pool by pool, the lead's first."""
    found = dict.fromkeys((s.layer, s.pool) for s in facts.scores if s.features in PAIRED)
    pools = list(dict.fromkeys(pool for _, pool in found))
    first = facts.lead[1]
    return sorted(found, key=lambda each: (each[1] != first, pools.index(each[1])))


def _axis(facts: InpaintFacts) -> Axis:
    known = [s for s in facts.scores if s.known]
    values = [v for s in known for v in (s.balanced, s.low, s.high, s.chance) if isfinite(v)]
    low, high = max(min(values) - 0.04, 0.0), min(max(values) + 0.04, 1.0)
    return Axis(label="balanced accuracy", low=low, high=high)


def _line(name: str, scores: Sequence[Score], *, strong: bool = False) -> Line:
    marks = [
        Mark(
            value=s.balanced,
            low=s.low,
            high=s.high,
            hue=kind_of(s.features).hue,
            shape=kind_of(s.features).shape,
            told=f"{kind_of(s.features).name}, {s.name}: {_told(s)}",
        )
        for s in scores
    ]
    return Line(name=name, marks=marks, value=num(scores[0].balanced), strong=strong)


def _other(score: Score) -> str:
    short = {"raw_intensity": "raw", "prepared_intensity": "prepared"}.get(score.features)
    return short or f"{'VGG16' if score.features == 'imagenet' else ''} {score.name}".strip()


def _told(score: Score) -> str:
    ends = span(score.low, score.high)
    return f"{num(score.balanced)} ({ends or 'no interval'}), n = {score.n:,}"


def _table(facts: InpaintFacts, protocols: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each features and layer, a cell for each protocol."""
    keys = dict.fromkeys((s.features, s.layer, s.pool) for s in facts.scores)
    order = list(KINDS)
    held = {(s.features, s.layer, s.pool, s.protocol): s for s in facts.scores}
    return [
        {
            "mark": swatch(kind_of(key[0]).hue, kind_of(key[0]).shape),
            "name": kind_of(key[0]).name,
            "layer": layer_of(*key[1:]),
            "lead": key[0] == "ours" and key[1:] == facts.lead,
            "cells": [_cell(held.get((*key, name))) for name in protocols],
        }
        for key in sorted(keys, key=lambda k: order.index(k[0]) if k[0] in order else 99)
    ]


def _cell(score: Score | None) -> tuple[str, str]:
    if score is None or not score.known:
        return "–", ""
    return num(score.balanced), span(score.low, score.high) or "no interval"


def _row(score: Score) -> list[str]:
    return [
        kind_of(score.features).name,
        score.name or "–",
        score.protocol,
        num(score.balanced),
        span(score.low, score.high) or "–",
        num(score.chance),
        f"{score.n:,}",
        f"{score.undefined:,}",
        str(score.units),
        str(score.classes),
    ]


def _differences(facts: InpaintFacts) -> list[list[str]]:
    """The lead and the protocol to believe first."""
    rows = sorted(
        facts.differences,
        key=lambda row: (
            (str(row["layer"]), str(row["pool"])) != facts.lead,
            row["protocol"] != facts.across,
        ),
    )
    return [_difference(row) for row in rows]


def _difference(row: Any) -> list[str]:
    gain = number(row["difference"])
    ends = span(number(row["low"]), number(row["high"]))
    return [
        layer_of(str(row["layer"]), str(row["pool"])),
        str(row["protocol"]),
        kind_of(str(row["against"])).name,
        f"+{num(gain)}" if gain > 0 else num(gain),
        ends or "–",
        ("yes" if number(row["low"]) > 0 else "no") if ends else "unknown",
    ]


def _impossible(facts: InpaintFacts) -> list[tuple[str, str, str]]:
    """Protocols without a number, for whom, and why."""
    found: dict[tuple[str, str], list[str]] = {}
    for s in facts.scores:
        if not s.known:
            told = f"{kind_of(s.features).name} {s.name}".strip()
            found.setdefault((s.protocol, s.reason), []).append(told)
    whole = {
        name: sum(s.protocol == name for s in facts.scores)
        for name in dict.fromkeys(s.protocol for s in facts.scores)
    }
    return [
        (name, "" if len(who) == whole[name] else listing(who), reason.rstrip("."))
        for (name, reason), who in found.items()
    ]


def _of(facts: InpaintFacts) -> str:
    row = facts.confusion or facts.recalls[0]
    return f"{layer_of(str(row['layer']), str(row['pool']))}, {row['protocol']}"


def _confusion(facts: InpaintFacts) -> dict[str, Any] | None:
    if not facts.confusion:
        return None
    labels = [str(label) for label in facts.confusion["labels"]]
    counts = np.asarray(facts.confusion["counts"], np.float64).reshape(len(labels), len(labels))
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    small = len(labels) <= CELLS
    return {
        "labels": labels,
        "rows": [
            (
                label,
                [
                    (f"{int(counts[i, j])}", round(70 * float(shares[i, j])), i == j)
                    for j in range(len(labels))
                ],
                f"{int(totals[i, 0]):,}",
            )
            for i, label in enumerate(labels)
        ]
        if small
        else [],
        "picture": "" if small else coloured(shares),
        "count": len(labels),
        "often": _often(labels, counts, shares),
    }


def _often(labels: list[str], counts: np.ndarray, shares: np.ndarray) -> str:
    """The mistakes that take the largest share of a class."""
    wrong = shares * (1 - np.eye(len(labels)))
    flat = np.argsort(-wrong.ravel(), kind="stable")[:3]
    told = []
    for at in flat:
        i, j = divmod(int(at), len(labels))
        if wrong[i, j] > 0:
            total = plural(int(counts[i].sum()), "cell")
            told.append(f"{labels[i]} for {labels[j]} ({share(float(wrong[i, j]))} of {total})")
    return f"Most often taken for another: {listing(told)}." if told else "No cell was mistaken."
