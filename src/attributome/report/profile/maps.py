"""The UMAP of wells: by treatment, by plate, by Grad-CAMO, before and after."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from markupsafe import Markup
from matplotlib import colormaps

from attributome.report.pictures import SCALE
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.words import STAGES, stage
from attributome.report.scatter import HUES, SIDE, dots, placed, ranked
from attributome.report.svg import tag

POINTS, FEW = 4000, 600
"""Points of a panel that are drawn, and up to which they are drawn larger."""
LEVELS = 10


def umap(facts: ProfileFacts) -> dict[str, Any] | None:
    """Panels of the first and of the last profiles; None where there is no map."""
    table = facts.umap
    if table.empty:
        return None
    known = table[np.isfinite(table[["x", "y"]].to_numpy(np.float64)).all(axis=1)]
    names = [name for name in STAGES if (known["profiles"] == name).any()]
    if not names:
        return None
    return {
        "stages": [
            _stage(name, known[known["profiles"] == name])
            for name in dict.fromkeys((names[0], names[-1]))
        ],
        "left": [stage(name) for name in names[1:-1]],
        "lost": len(table) - len(known),
        "scored": bool(np.isfinite(known["camo"]).any()),
    }


def _stage(name: str, table: pd.DataFrame) -> dict[str, Any]:
    ordered = table.assign(id=table["id"].astype(str)).sort_values(["plate", "id"], kind="stable")
    if len(ordered) > POINTS:
        ordered = ordered.iloc[(np.arange(POINTS) * len(ordered)) // POINTS]
    places = placed(ordered[["x", "y"]].to_numpy(np.float64))
    panels = [
        _named("treatment", ordered["treatment"].astype(str).tolist(), places),
        _named("plate", ordered["plate"].astype(str).tolist(), places),
        _scored(ordered["camo"].to_numpy(np.float64), places),
    ]
    return {
        "name": f"Profiles, {stage(name)}",
        "panels": [{**panel, "of": name} for panel in panels if panel],
        "drawn": f"{len(ordered):,}",
        "count": f"{len(table):,}",
    }


def _named(key: str, names: Sequence[str], places: Float[np.ndarray, "n 2"]) -> dict[str, Any]:
    """A panel in the colours of the most frequent names; the others are grey."""
    counts = ranked(names)
    coloured = dict(zip(counts, HUES, strict=False))
    given = np.asarray(names)
    paths = [
        dots(places, np.flatnonzero(given == name), coloured.get(name, "rest"), str(n))
        for n, name in sorted(enumerate(counts), key=lambda each: each[1] in coloured)
    ]
    return {
        "key": key,
        "title": f"by {key}",
        "drawing": _drawn(paths, f"UMAP by {key}: {len(names)} wells, {len(counts)} names."),
        "legend": [(coloured[n], n, f"{c:,}") for n, c in counts.items() if n in coloured],
        "others": max(len(counts) - len(HUES), 0),
        "names": list(counts),
    }


def _scored(camo: Float[np.ndarray, " n"], places: Float[np.ndarray, "n 2"]) -> dict[str, Any]:
    """A panel in the colours of Grad-CAMO from 0 to 1; wells without a score are rings."""
    if not np.isfinite(camo).any():
        return {}
    levels = np.clip(np.nan_to_num(camo) * LEVELS, 0, LEVELS - 1).astype(int)
    lost = ~np.isfinite(camo)
    paths = [dots(places, np.flatnonzero(lost), "rest", "none")] if lost.any() else []
    for level in range(LEVELS):
        rows = np.flatnonzero((levels == level) & ~lost)
        if len(rows):
            share = (level + 0.5) / LEVELS
            red, green, blue, _ = colormaps[SCALE](share, bytes=True)
            colour = f"#{red:02x}{green:02x}{blue:02x}"
            paths.append(dots(places, rows, "scored", str(level), colour))
    drawing = _drawn(paths, f"UMAP by Grad-CAMO: {len(camo)} wells.", on="dark")
    return {"key": "camo", "title": "by Grad-CAMO", "drawing": drawing, "legend": [],
            "others": 0, "names": []}  # fmt: skip


def _drawn(paths: Sequence[Markup], alt: str, *, on: str = "") -> Markup:
    size = "dots few" if sum(path.count("h0") for path in paths) <= FEW else "dots"
    return tag("svg", *paths, viewBox=f"0 0 {SIDE} {SIDE}", class_=f"{size} {on}".strip(),
               role="img", aria_label=alt)  # fmt: skip
