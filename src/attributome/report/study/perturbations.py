"""Figures of what treatments change: predictions beside truths, and the overlap of signatures."""

import numpy as np
import pandas as pd

from attributome.report.study.drawing import INK, MUTED, Drawn, canvas, hue, shape, strip
from attributome.report.study.facts import Told


def perturbations(told: Told) -> list[Drawn]:
    """A scatter of changes for each predictor, and the overlap of signatures by group."""
    table = told.table("changes", "predictor", "of", "value", "first", "hedges_g")
    wide = table.pivot(
        index=["predictor", "first", "value"], columns="of", values="hedges_g"
    ).dropna()
    owners = wide.index.get_level_values("predictor")
    drawn = [
        _scatter(told, wide[owners == name], str(name), at)
        for at, name in enumerate(table["predictor"].unique())
        if name in owners
    ]
    if "overlaps" in told.found["tables"]:
        drawn.append(_overlaps(told))
    return drawn


def _scatter(told: Told, wide: pd.DataFrame, name: str, at: int) -> Drawn:
    figure, axes = canvas(4.2)
    reach = 1.1 * max(1.0, float(np.abs(wide.to_numpy(float)).max()))
    axes.plot([-reach, reach], [-reach, reach], color=MUTED, lw=1, ls="--")
    axes.axhline(0, color=INK, lw=0.8)
    axes.axvline(0, color=INK, lw=0.8)
    for turn, (feature, part) in enumerate(wide.groupby(level="value", sort=False)):
        axes.plot(
            part["truth"], part["prediction"], shape(turn), color=hue(turn), ms=7, mec="white",
            mew=0.6, ls="none", label=str(feature),
        )  # fmt: skip
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_xlabel("change of the truth, Hedges' g")
    axes.set_ylabel("change of the prediction")
    figure.legend(loc="outside upper center", ncols=4, handletextpad=0.2, columnspacing=1)
    return Drawn(
        key=f"{told.name}_{at + 1}",
        title=f"What treatments change: {name}",
        figure=figure,
        shows=f"{name}: difference between a treatment and the control, in standard deviations of "
        "units, of a feature of the predictions against that of the truths. One mark for each "
        "treatment and feature; on the dashed line predictions change as the truth does.",
        bad="Marks in the upper left or lower right: the prediction changes the other way. Marks "
        "along the level line: it does not change where the truth does.",
    )


def _overlaps(told: Told) -> Drawn:
    table = told.table("overlaps", "pair", "group", "iou", "iou_chance")
    names = [str(pair) for pair in table["pair"].unique()]
    shown = sorted(map(str, table["group"].unique()))
    height = 0.7 + len(names) * (0.5 + 0.4 * len(shown))
    figure, axes = canvas(height, len(names), 1, sharex=True, squeeze=False)
    for one, name in zip(axes.flat, names, strict=True):
        part = table[table["pair"] == name]
        values = [(group, part.loc[part["group"] == group, "iou"].tolist()) for group in shown]
        label = "intersection of signatures over their union"
        strip(one, values, label if name == names[-1] else "", colours=False)
        one.axvline(float(part["iou_chance"].median()), color=INK, lw=1.2, ls=":")
        one.set_title(name, loc="left", fontsize=10)
    return Drawn(
        key=f"{told.name}_overlap",
        title="Signatures of two predictors in one field",
        figure=figure,
        shows="Overlap of the signatures of two predictors, by group. One mark for each field; the "
        "bar is the median, the shade the quartiles, the dotted line what their sizes alone give.",
        bad="A treatment whose marks move away from the control's: predictors come to use other "
        "parts of the same cells.",
    )
