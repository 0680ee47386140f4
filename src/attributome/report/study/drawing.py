"""What figures of studies are made of: one style, colours that mean one thing, two files each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from attributome.core.files import make_folder, write_whole
from attributome.report.looks import look

WIDTH = 5.4
"""Inches. A phone shows this a third smaller, and 10 points can still be read."""
DPI = 220
INK, MUTED, HAIR = "#1b2126", "#57626b", "#dde2e6"
HUES = {
    "blue": "#0072b2", "sky": "#43a5de", "green": "#009e73", "orange": "#e08e00",
    "vermillion": "#d55e00", "purple": "#c0689a", "amber": "#9c8600", "ink": INK,
}  # fmt: skip
IN_TURN = ("blue", "vermillion", "green", "purple", "orange", "sky", "amber", "ink")
SHAPES = ("o", "s", "D", "^", "v", "P", "X", "h")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 1)), (0, (1, 1)))
STYLE: Any = {
    "font.size": 10, "axes.labelsize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9,
    "legend.fontsize": 9, "legend.frameon": False, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": MUTED, "axes.labelcolor": INK,
    "text.color": INK, "xtick.color": MUTED, "ytick.color": MUTED, "axes.grid": True,
    "grid.color": HAIR, "grid.linewidth": 0.8, "axes.axisbelow": True, "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True, "svg.fonttype": "none", "svg.hashsalt": "attributome",
    "font.family": "sans-serif",
}  # fmt: skip


KINDS = ("svg", "png")
"""Files of a figure."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """One figure: `key` names its files; `shows` and `bad` (what would be bad news) its caption."""

    key: str
    title: str
    figure: Figure
    shows: str
    bad: str


@contextmanager
def styled() -> Iterator[None]:
    """The style of every figure, for the time of drawing and of writing."""
    with rc_context(STYLE):
        yield


def canvas(
    height: float = 3.2, rows: int = 1, columns: int = 1, *, width: float = WIDTH, **given: Any
) -> tuple[Figure, Any]:
    """A figure that no window and no global state knows of; call it inside `styled`."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **given)


def hue(at: int) -> str:
    """The colour of the `at`-th predictor or group."""
    return HUES[IN_TURN[at % len(IN_TURN)]]


def shape(at: int) -> str:
    """Its marker, so that nothing is told by colour alone."""
    return SHAPES[at % len(SHAPES)]


def line(at: int) -> Any:
    """Its dashes."""
    return LINES[at % len(LINES)]


def hue_of(method: str) -> str:
    """The colour that a method has on every page."""
    return HUES[look(method).hue]


def strip(
    axes: Axes,
    groups: Sequence[tuple[str, Sequence[float]]],
    label: str,
    *,
    colours: bool = True,
    order: Sequence[int] | None = None,
) -> None:
    """One row of dots for each group, with the quartiles behind them and the median as a bar.

    `order` says which colour and shape a group has, where its row does not.
    """
    for at, (_, values) in enumerate(groups):
        kept = np.asarray(values, float)[np.isfinite(values)]
        own = at if order is None else order[at]
        colour = hue(own) if colours else hue(0)
        if not len(kept):
            continue
        low, middle, high = np.quantile(kept, [0.25, 0.5, 0.75])
        axes.plot([low, high], [at, at], color=colour, lw=9, alpha=0.25, solid_capstyle="round")
        spread = np.linspace(-0.16, 0.16, len(kept)) if len(kept) > 1 else np.zeros(1)
        ranks = np.argsort(np.argsort(kept))
        axes.plot(
            kept, at + spread[(ranks * 7) % len(kept)], shape(own), color=colour, ms=5, mec="white",
            mew=0.6,
        )  # fmt: skip
        axes.plot([middle, middle], [at - 0.28, at + 0.28], color=INK, lw=2.2)
    axes.set_yticks(range(len(groups)), [name for name, _ in groups])
    axes.set_ylim(len(groups) - 0.45, -0.55)
    axes.set_xlabel(label)
    axes.grid(axis="y", visible=False)


def band(
    axes: Axes, table: pd.DataFrame, at: int, *, x: str, y: str, low: str, high: str, label: str
) -> None:
    """A curve with its interval as a band; intervals that are undefined are left out."""
    part = table.sort_values(x)
    values = [part[name].to_numpy(float) for name in (x, y, low, high)]
    axes.fill_between(values[0], values[2], values[3], color=hue(at), alpha=0.15, lw=0)
    axes.plot(
        values[0], values[1], linestyle=line(at), marker=shape(at), ms=4.5, color=hue(at),
        label=label,
    )  # fmt: skip


def save(drawn: Drawn, folder: Path) -> dict[str, Path]:
    """Write `<key>.svg` and `<key>.png`; the same figure gives the same bytes."""
    make_folder(folder)
    paths = {}
    for kind in KINDS:
        path = folder / f"{drawn.key}.{kind}"
        facts: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
        write = partial(drawn.figure.savefig, format=kind, dpi=DPI, metadata=facts)
        write_whole(path, write)
        paths[kind] = path
    return paths
