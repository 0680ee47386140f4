"""Figures of correlation from place to place: do the two maps agree, and one field of them."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from attributome.report.study.drawing import HAIR, MUTED, Drawn, canvas, strip
from attributome.report.study.facts import Told


def spatial(told: Told) -> list[Drawn]:
    """Agreement of the two maps beside that with maps of other fields, and an example."""
    return [_agreement(told), _example(told)]


def label_of(row: pd.Series) -> str:
    """How a predictor, or a channel of one that paints several, is called."""
    return ", ".join(str(row[key]) for key in ("predictor", "channel") if row[key])


def _agreement(told: Told) -> Drawn:
    table = told.table("fields", "predictor", "channel", "agreement", "chance")
    groups: list[tuple[str, list[float]]] = []
    for _, part in table.groupby(["predictor", "channel"], sort=False):
        name = label_of(part.iloc[0])
        groups.append((f"{name}\nsame field", part["agreement"].tolist()))
        groups.append((f"{name}\nother fields", part["chance"].tolist()))
    figure, axes = canvas(1.0 + 0.6 * len(groups))
    strip(axes, groups, "correlation of the two maps", colours=False)
    axes.axvline(0, color=MUTED, lw=1)
    return Drawn(
        key=told.name,
        title=told.entry.title,
        figure=figure,
        shows="How far the map of where a prediction is right agrees with the map of where the "
        "signature suffices for it: in the same field, and with maps of other fields (chance). "
        "One mark for each field; the bar is the median, the shade the quartiles.",
        bad="Rows of the same field that lie where those of other fields do: the signature does "
        "not know where the prediction is right. Both maps are high where something bright lies, "
        "so that agreement above chance is no proof alone.",
    )


def _example(told: Told) -> Drawn:
    row = told.table("example", "predictor", "channel", "field", "pixel", "thinned").iloc[0]
    shown = {
        "truth": "truth",
        "prediction": "prediction",
        "map": "right (with the truth)",
        "noised_map": "enough (from the signature)",
        "agreement": "where the maps agree",
    }
    pictures = {key: np.asarray(told.array(key), float) for key in shown}
    tall, wide = pictures["truth"].shape
    figure, axes = canvas(3 * 2.5 * min(1.6, max(0.6, tall / wide)) + 0.5, 3, 2)
    ends = np.nanquantile(pictures["truth"], [0.005, 0.995])
    scaled: AxesImage | None = None
    for at, (key, title) in enumerate(shown.items()):
        one: Axes = axes.flat[at]
        if key in ("truth", "prediction"):
            one.imshow(pictures[key], cmap="gray", vmin=ends[0], vmax=ends[1])
        else:
            colours = colormaps["RdBu_r"].with_extremes(bad=HAIR)
            scaled = one.imshow(pictures[key], cmap=colours, vmin=-1, vmax=1)
        one.set_title(title, fontsize=10)
        one.set_xticks([])
        one.set_yticks([])
    last: Axes = axes.flat[5]
    last.axis("off")
    assert scaled is not None  # three of the pictures are maps
    bar = figure.colorbar(scaled, ax=last, location="left", fraction=0.25, aspect=12)
    bar.set_label("correlation in a window")
    across = wide * row["thinned"] * (row["pixel"] if row["pixel"] == row["pixel"] else 1)
    unit = "µm" if row["pixel"] == row["pixel"] else "pixels"
    last.text(0.05, 0.5, f"{across:.0f} {unit}\nacross", transform=last.transAxes, va="center")
    return Drawn(
        key=f"{told.name}_example",
        title=f"One field: {row['field']}",
        figure=figure,
        shows=f"Field {row['field']} of {label_of(row)}, whose agreement is the median. Truth and "
        "prediction are on one grey scale. Below, the correlation of the prediction with the truth "
        "and with the prediction from the signature, window by window, and last the correlation of "
        "these two maps. Pale grey is undefined: a window in which an image is constant.",
        bad="Blue patches in the last map: the signature suffices there for what is wrong, or what "
        "is right there needs more than the signature.",
    )
