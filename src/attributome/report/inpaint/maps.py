"""The UMAP of cells: by label, and the same by field, so that what is the field's can be seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from attributome.report.inpaint.facts import InpaintFacts
from attributome.report.scatter import HUES, SIDE, dots, placed, ranked
from attributome.report.svg import tag

POINTS = 5000
"""Points that are drawn; of more, evenly many of each field."""
NAMES = 200
"""Names that can be looked for; the rest share one entry."""
FEW = 600
"""Points up to which they are drawn larger."""


def umap(facts: InpaintFacts) -> dict[str, Any] | None:
    """Two panels of the same points; None where there is no map."""
    table = facts.umap
    if table.empty:
        return None
    known = table[np.isfinite(table[["x", "y"]].to_numpy(np.float64)).all(axis=1)]
    kept = thinned(known.assign(field=known["field"].astype(str), label=known["label"].astype(str)))
    if kept.empty:
        return None
    places = placed(kept[["x", "y"]].to_numpy(np.float64))
    return {
        "panels": [
            _panel("label", "Coloured by label", kept["label"].tolist(), places),
            _panel("field", "The same points, coloured by field", kept["field"].tolist(), places),
        ],
        "drawn": f"{len(kept):,}",
        "count": f"{len(table):,}",
        "fields": kept["field"].nunique(),
        "lost": len(table) - len(known),
    }


def thinned(table: pd.DataFrame) -> pd.DataFrame:
    """At most `POINTS` rows, of each field as many as its share, in an order that never changes."""
    ordered = table.assign(id=table["id"].astype(str)).sort_values(["field", "id"], kind="stable")
    if len(ordered) <= POINTS:
        return ordered
    at = (np.arange(POINTS) * len(ordered)) // POINTS
    return ordered.iloc[at]


def _panel(
    key: str, title: str, names: Sequence[str], places: Float[np.ndarray, "n 2"]
) -> dict[str, Any]:
    """One scatter: a path per name, the frequent ones in colour and the others in grey beneath."""
    counts = ranked(names)
    coloured = dict(zip(counts, HUES, strict=False))
    told = [*counts][:NAMES]
    rows = {name: np.flatnonzero(np.asarray(names) == name) for name in told}
    rest = np.flatnonzero(~np.isin(names, told))
    paths = [dots(places, rest, "rest", "-1")] if len(rest) else []
    paths += [
        dots(places, rows[name], coloured.get(name, "rest"), str(n))
        # grey below, and of the coloured ones the rarest on top, where the many do not hide it
        for n, name in sorted(enumerate(told), key=lambda each: each[1] in coloured)
    ]
    alt = f"{title}: {len(names)} points, {len(counts)} names."
    box = f"0 0 {SIDE} {SIDE}"
    size = "dots few" if len(names) <= FEW else "dots"
    return {
        "key": key,
        "title": title,
        "drawing": tag("svg", *paths, viewBox=box, class_=size, role="img", aria_label=alt),
        "legend": [(coloured[name], name, f"{counts[name]:,}") for name in told[: len(HUES)]],
        "others": max(len(counts) - len(HUES), 0),
        "names": told,
    }
