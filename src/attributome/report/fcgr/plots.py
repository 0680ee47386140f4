"""What figures are made of: a canvas that no global state knows of, signed maps, saving."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from attributome.core.errors import DataError
from attributome.core.files import make_folder
from attributome.report.pictures import SIGNED

DPI = 150
Kind = Literal["gray", "signed", "overlay"]
Map = Float[np.ndarray, "n n"]


def draw_map(axes: Axes, image: Map, evidence: Map, *, kind: Kind, bar: bool = True) -> Any:
    """One map on given axes, or "no evidence" where every pixel is 0; what a colour bar shows."""
    top = top_of(evidence)
    drawn: Any = signed_scale(top)
    if kind != "signed":
        grey = axes.imshow(image, cmap="gray", vmin=0, vmax=float(image.max()) or 1.0)
        drawn = grey if kind == "gray" else drawn
    if kind != "gray":
        opacity = np.abs(evidence) / top if kind == "overlay" else 1.0
        axes.imshow(evidence, cmap=SIGNED, vmin=-top, vmax=top, alpha=opacity)
        if not np.any(evidence):
            axes.text(0.5, 0.5, "no evidence", transform=axes.transAxes, ha="center", color="red")
    figure = axes.get_figure()
    if bar and figure is not None:
        label = "share of the k-mers" if kind == "gray" else "evidence (logit difference)"
        figure.colorbar(drawn, ax=axes, label=label, shrink=0.85, pad=0.11)
    corners(axes)
    return drawn


def saved(figure: Figure, path: Path, *, dpi: int = DPI) -> Path:
    """Write a figure as PNG."""
    make_folder(path.parent)
    try:
        figure.savefig(path, dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def canvas(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """A figure that no window and no global state knows of."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)


def signed_scale(top: float) -> Any:
    """What a colour bar of a symmetric scale is made of."""
    return ScalarMappable(Normalize(-top, top), SIGNED)


def top_of(values: Shaped[np.ndarray, "..."]) -> float:
    """The end of a symmetric scale; 1 where there is nothing, so that all of it is white."""
    return float(np.abs(values).max(initial=0.0)) or 1.0


def corners(axes: Axes) -> None:
    """The letters of a CGR image's corners, in place of ticks."""
    axes.set_xticks([])
    axes.set_yticks([])
    for letter, x, y in (("A", 0, 1), ("C", 1, 1), ("G", 1, 0), ("T", 0, 0)):
        put = (1.05 if x else -0.05, 0.97 if y else 0.03)
        axes.text(*put, letter, transform=axes.transAxes, ha="center", va="center", weight="bold")
