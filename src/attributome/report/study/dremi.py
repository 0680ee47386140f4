"""Figures of how much efficacy knows of accuracy."""

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from attributome.report.study.drawing import INK, Drawn, canvas, hue, shape
from attributome.report.study.facts import Told
from attributome.report.study.spatial import label_of

MOST = 1500
"""Marks of a scatter; of more, every so many is drawn."""


def dremi(told: Told) -> list[Drawn]:
    """DREMI of each predictor beside chance, and the density behind each."""
    means = told.table("means", "predictor", "channel", "dremi", "low", "high", "chance")
    pairs = told.table("pairs", "predictor", "channel", "efficacy", "accuracy")
    density = told.table("drevi", "predictor", "channel", "x", "y", "density")
    drawn = [_bits(told, means)]
    for at in range(len(means)):
        row = means.iloc[at]
        drawn.append(_density(told, row, at, _of(pairs, row), _of(density, row)))
    return drawn


def _of(table: pd.DataFrame, row: pd.Series) -> pd.DataFrame:
    same = (table["predictor"] == row["predictor"]) & (table["channel"] == row["channel"])
    part: pd.DataFrame = table[same]
    return part


def _bits(told: Told, means: pd.DataFrame) -> Drawn:
    figure, axes = canvas(1.3 + 0.5 * len(means))
    for at in range(len(means)):
        row = means.iloc[at]
        axes.plot([row["low"], row["high"]], [at, at], color=hue(at), lw=3, alpha=0.5)
        axes.plot(row["dremi"], at, shape(at), color=hue(at), ms=8)
        axes.plot(row["chance"], at, "|", color=INK, ms=16, mew=2)
    axes.set_yticks(range(len(means)), [label_of(means.iloc[at]) for at in range(len(means))])
    axes.set_ylim(len(means) - 0.45, -0.55)
    axes.set_xlim(left=0)
    axes.set_xlabel("DREMI of accuracy given efficacy, bits")
    marks = [
        Line2D([], [], color=hue(0), marker=shape(0), ms=8, lw=3, label="estimate and interval"),
        Line2D([], [], color=INK, marker="|", ms=14, mew=2, lw=0, label="by chance"),
    ]
    figure.legend(handles=marks, loc="outside upper center", ncols=2)
    return Drawn(
        key=told.name,
        title=told.entry.title,
        figure=figure,
        shows="Mutual information of efficacy and accuracy, with every efficacy counted alike "
        "(DREMI); bars are 95 % intervals from leaving out units in turn, upright lines the mean "
        "where whole units have the accuracy of others.",
        bad="A mark at its upright line: efficacy says nothing of accuracy.",
    )


def _density(told: Told, row: pd.Series, at: int, pairs: pd.DataFrame, grid: pd.DataFrame) -> Drawn:
    wide = grid.pivot(index="y", columns="x", values="density").sort_index()
    columns = wide.to_numpy(float)
    top = np.where(np.isnan(columns), -np.inf, columns).max(axis=0, initial=0)
    share = np.full(columns.shape, np.nan)
    np.divide(columns, top, out=share, where=top > 0)
    figure, axes = canvas(3.8)
    mesh = axes.pcolormesh(
        wide.columns.to_numpy(float), wide.index.to_numpy(float), share, cmap="Greys", vmin=0,
        vmax=1.4, rasterized=True,
    )  # fmt: skip
    some = pairs.iloc[:: max(1, -(-len(pairs) // MOST))]
    axes.plot(
        some["efficacy"], some["accuracy"], shape(at), color=hue(at), ms=4, mec="white", mew=0.4
    )
    axes.set_xlabel("efficacy")
    axes.set_ylabel("accuracy")
    axes.grid(visible=False)
    bar = figure.colorbar(mesh, ax=axes, boundaries=np.linspace(0, 1, 51), ticks=[0, 0.5, 1])
    bar.set_label("density, of its column's highest")
    name = label_of(row)
    return Drawn(
        key=f"{told.name}_{at + 1}",
        title=f"Efficacy and accuracy: {name}",
        figure=figure,
        shows=f"{name}: accuracy (correlation with the truth) against efficacy (correlation with "
        f"the prediction from the signature). One mark for each of {len(some)} of {len(pairs)} "
        "pairs; the shade is the density of accuracy at each efficacy (DREVI), dark where most "
        "lies.",
        bad="A shade of the same height from left to right.",
    )
