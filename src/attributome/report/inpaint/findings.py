"""Proteins by their features: which are alike, what they share, how much their cells differ."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from attributome.core.errors import DataError
from attributome.report.forest import Line, Mark, forest
from attributome.report.inpaint.facts import InpaintFacts
from attributome.report.inpaint.words import layer_of
from attributome.report.numbers import number, plural, short
from attributome.report.pictures import coloured
from attributome.report.svg import Axis, path, tag

NAMED = 40
"""Proteins whose names fit beside the tree; of more there is a table."""
ENRICHED, VARIABLE, ROWS = 60, 30, 300
LEVEL = 0.05
TREE, WORDS, TALL = 190, 150, 640


def findings(facts: InpaintFacts) -> dict[str, Any] | None:
    """Tree, enrichment and variability; None where nobody looked for them."""
    if not facts.findings:
        return None
    found = facts.findings
    return {
        "of": layer_of(str(found.get("layer", "")), str(found.get("pool", ""))),
        "reason": str(found.get("reason") or "").rstrip("."),
        "n": f"{int(found['n']):,}" if isinstance(found.get("n"), int) else "",
        "proteins": proteins(found.get("proteins") or {}, str(facts.root / "findings.json")),
        "enrichment": enrichment(found.get("enrichment")),
        "variability": variability(found.get("variability") or []),
    }


def proteins(found: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    """The tree in leaf order, the matrix of distances beside it, and who is in which cluster."""
    if not found:
        return None
    labels, order, merges = _tree(found, where)
    cluster = {str(row["label"]): str(row["cluster"]) for row in found.get("clusters") or []}
    held: dict[str, list[str]] = {}
    for at in order:
        held.setdefault(cluster.get(labels[at], "–"), []).append(labels[at])
    distances = _distances(found, len(labels), where)
    return {
        "drawing": _drawn(labels, order, merges, cluster, distances),
        "named": len(labels) <= NAMED,
        "matrix": distances is not None,
        "top": short(float(distances.max())) if distances is not None else "",
        "count": plural(len(labels), "protein"),
        "clusters": [(name, ", ".join(each), len(each)) for name, each in held.items()],
    }


def _tree(
    found: Mapping[str, Any], where: str
) -> tuple[list[str], list[int], Float[np.ndarray, "m 4"]]:
    """Names, leaf order and merges, of which each joins what is there already."""
    try:
        labels = [str(label) for label in found["labels"]]
        order = [int(at) for at in found["order"]]
        merges = np.asarray(found["merges"], np.float64).reshape(-1, 4)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: 'proteins' is no clustering: {error!r}") from error
    count = len(labels)
    whole = sorted(order) == list(range(count)) and len(merges) == max(count - 1, 0)
    joined = merges[:, :2].astype(int).ravel().tolist()
    sound = all(0 <= a < count + n // 2 for n, a in enumerate(joined))
    if not (whole and sound and len(set(joined)) == len(joined) and np.isfinite(merges).all()):
        raise DataError(
            f"{where}: 'proteins' has {count} labels, {len(order)} leaves and {len(merges)} merges "
            f"that make no tree"
        )
    return labels, order, merges


def _distances(found: Mapping[str, Any], count: int, where: str) -> Float[np.ndarray, "p p"] | None:
    if found.get("distances") is None:
        return None
    try:
        square = np.asarray(found["distances"], np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: the distances of proteins are no numbers: {error}") from error
    if square.shape != (count, count) or not np.isfinite(square).all():
        raise DataError(
            f"{where}: distances of shape {square.shape} for {count} proteins; they are square "
            f"and finite"
        )
    return square


def _drawn(
    labels: Sequence[str],
    order: Sequence[int],
    merges: Float[np.ndarray, "m 4"],
    cluster: Mapping[str, str],
    distances: Float[np.ndarray, "p p"] | None,
) -> Markup:
    count = len(labels)
    tall = 20.0 if count <= NAMED else max(TALL / count, 1.0)
    words = WORDS if count <= NAMED else 8
    height = tall * count
    top = float(merges[:, 2].max()) if len(merges) else 1.0
    place = {at: (float(TREE), tall * (row + 0.5)) for row, at in enumerate(order)}
    parts = []
    for n, (a, b, distance, _) in enumerate(merges.tolist()):
        (xa, ya), (xb, yb) = place[int(a)], place[int(b)]
        x = 4 + (TREE - 4) * (1 - distance / top if top > 0 else 0.0)
        parts.append(tag("path", d=path([(xa, ya), (x, ya), (x, yb), (xb, yb)]), class_="branch"))
        place[count + n] = (x, (ya + yb) / 2)
    for at in order if count <= NAMED else ():
        name, y = labels[at], place[at][1]
        shown = name if len(name) <= 14 else f"{name[:13]}…"
        told = f"{shown} · {cluster[name]}" if name in cluster else shown
        words_at = tag("text", tag("title", name), told, x=TREE + 8, y=y + 4, class_="name")
        parts.append(words_at)
    width = TREE + words
    if distances is not None:
        sorted_ = distances[np.ix_(order, order)]
        most = float(sorted_.max()) or 1.0
        image = coloured(sorted_ / most)
        parts.append(
            tag("image", x=width, y=0, width=height, height=height, href=image,
                preserveAspectRatio="none", class_="squares")
        )  # fmt: skip
        width += round(height)
    box = f"0 -2 {width} {height + 4:.0f}"
    alt = f"Tree of {count} proteins by the distance of their features."
    return tag("svg", *parts, viewBox=box, width=width, class_="chart tree", role="img",
               aria_label=alt)  # fmt: skip


def enrichment(rows: Sequence[Mapping[str, Any]] | None) -> dict[str, Any] | None:
    """Sets that are frequent in a cluster, the surest first; None where no sets were given."""
    if rows is None:
        return None
    ordered = sorted(rows, key=lambda row: (_last(row["q"]), _last(row["p"]), str(row["set"])))
    return {
        "tested": f"{len(rows):,}",
        "sure": sum(number(row["q"]) < LEVEL for row in rows),
        "more": max(len(rows) - ENRICHED, 0),
        "rows": [
            {
                "set": str(row["set"]),
                "cluster": str(row["cluster"]),
                "hits": f"{int(row['hits'] or 0)} of {int(row['size'] or 0)}",
                "background": str(row.get("background") if row.get("background") else "–"),
                "odds": "∞" if row["odds"] is None else short(number(row["odds"])),  # JSON has none
                "p": _small(number(row["p"])),
                "q": _small(number(row["q"])),
                "sure": number(row["q"]) < LEVEL,
            }
            for row in ordered[:ENRICHED]
        ],
    }


def variability(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How far cells lie from the middle of their label, beside how far from those of others."""
    known = [row for row in rows if isfinite(number(row["within"]))]
    if not known:
        return None
    ordered = sorted(known, key=lambda row: (-number(row["within"]), str(row["label"])))
    lines = [
        Line(
            name=str(row["label"]),
            marks=[
                Mark(
                    value=number(row["within"]),
                    low=number(row["within_low"]),
                    high=number(row["within_high"]),
                    told=f"from its own middle {short(number(row['within']))}",
                ),
                Mark(
                    value=number(row["between"]),
                    hue="ink",
                    shape="ring",
                    told=f"from the middles of others {short(number(row['between']))}",
                ),
            ],
            value=f"n {int(row['cells'] or 0):,}",
        )
        for row in ordered[:VARIABLE]
    ]
    ends = [v for line in lines for m in line.marks for v in (m.value, m.high) if isfinite(v)]
    x = Axis(label="mean distance of a cell (z-scored features)", low=0.0, high=1.05 * max(ends))
    alt = f"Distances of cells from the middle of their own label, {len(lines)} labels."
    return {
        "drawing": forest(lines, x, alt=alt, joined=True),
        "shown": len(lines),
        "count": len(known),
        "rows": [
            [
                str(row["label"]),
                f"{int(row['cells'] or 0):,}",
                str(int(row["fields"] or 0)),
                short(number(row["within"])),
                _span(row["within_low"], row["within_high"]),
                short(number(row["between"])),
            ]
            for row in ordered[:ROWS]
        ],
    }


def _span(low: Any, high: Any) -> str:
    a, b = number(low), number(high)
    return f"{short(a)}–{short(b)}" if isfinite(a) and isfinite(b) else "–"


def _last(value: Any) -> float:
    found = number(value)
    return found if isfinite(found) else 2.0


def _small(value: float) -> str:
    if not isfinite(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.2g}"
