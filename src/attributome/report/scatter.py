"""Many points in the plane as a few paths, in colours that can be told apart."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from markupsafe import Markup

from attributome.report.svg import tag

HUES = ("blue", "orange", "green", "vermillion", "sky", "purple", "amber")
"""What the most frequent names are drawn in; more could not be told apart."""
SIDE = 460


def ranked(names: Sequence[str]) -> dict[str, int]:
    """Names with their counts, the most frequent first, and by name where they are as frequent."""
    counts = pd.Series(names, dtype=str).value_counts()
    order = sorted(counts.index, key=lambda name: (-counts[name], name))
    return {str(name): int(counts[name]) for name in order}


def placed(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """Pixels; both axes have one scale, for only then are distances those of the map."""
    low, high = points.min(0), points.max(0)
    scale = (SIDE - 24) / max(float((high - low).max()), 1e-9)
    centred = (points - (low + high) / 2) * scale
    return np.asarray(np.stack([SIDE / 2 + centred[:, 0], SIDE / 2 - centred[:, 1]], 1))


def dots(
    places: Float[np.ndarray, "n 2"],
    rows: Integer[np.ndarray, " r"],
    hue: str,
    name: str,
    colour: str = "",
) -> Markup:
    """Round dots as strokes of no length: a few bytes each."""
    drawn = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places[rows])
    style = f"--c:{colour}" if colour else ""
    return tag("path", d=drawn, class_=hue, data_name=name, style=style)
