"""Crops and maps as pictures, with the outline of the cell and, dashed, those of its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer, Shaped
from markupsafe import Markup
from PIL import Image

from attributome.report.pictures import Range, coloured_pixels, grey_pixels
from attributome.report.svg import path, tag

LONGEST = 128
"""Pixels of a picture along its longer side; more are averaged down."""

Plane = Float[np.ndarray, "y x"]
Labels = Integer[np.ndarray, "y x"]
Space = Shaped[np.ndarray, "*s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One picture with its outlines, and what it shows."""

    name: str
    drawing: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A way to make a plane of a crop: its name, and how large its pixels are (down, across)."""

    name: str
    axis: int
    at: int | None
    steps: tuple[float, float]

    def of(self, values: Space) -> Shaped[np.ndarray, "y x"]:
        """The plane: the slice at `at`, or the largest value along the axis; 2-D stays as it is."""
        if values.ndim == 2:
            return np.asarray(values)
        if self.at is None:
            return np.asarray(values.max(axis=self.axis))
        return np.asarray(values.take(self.at, axis=self.axis))


def cuts(own: Bool[np.ndarray, "*s"], spacing: Sequence[float]) -> list[Cut]:
    """The plane of a 2-D crop; of a 3-D one its projection and three slices through the cell."""
    if own.ndim == 2:
        return [Cut(name="", axis=0, at=None, steps=(spacing[0], spacing[1]))]
    z, y, x = (int(np.median(each)) for each in np.nonzero(own))
    dz, dy, dx = spacing
    return [
        Cut(name="z-projection", axis=0, at=None, steps=(dy, dx)),
        Cut(name=f"slice z = {z}", axis=0, at=z, steps=(dy, dx)),
        Cut(name=f"slice y = {y} (z down)", axis=1, at=y, steps=(dz, dx)),
        Cut(name=f"slice x = {x} (z down)", axis=2, at=x, steps=(dz, dy)),
    ]


def grey_view(name: str, plane: Plane, shown: Range, own: Labels, cut: Cut) -> View:
    """A channel in grey, with the outlines."""
    return _view(name, grey_pixels(_small(plane), shown), own, cut)


def map_view(name: str, plane: Plane, top: float, own: Labels, cut: Cut) -> View:
    """A map from 0 to `top` in the colours of the page, with the outlines."""
    return _view(name, coloured_pixels(_small(plane) / top), own, cut)


def kinds(labels: Space, own: int, cut: Cut) -> Labels:
    """1 where the cell is, 2 where only others are, 0 elsewhere, of the plane of a cut."""
    mine = cut.of(labels == own)
    others = cut.of((labels > 0) & (labels != own)) & ~mine
    return np.asarray(np.where(mine, 1, np.where(others, 2, 0)))


def _view(name: str, source: str, own: Labels, cut: Cut) -> View:
    rows, columns = own.shape
    least = min(cut.steps)
    down, across = cut.steps[0] / least, cut.steps[1] / least
    width, height = columns * across, rows * down
    parts = [
        tag("image", href=source, x=0, y=0, width=width, height=height,
            preserveAspectRatio="none")
    ]  # fmt: skip
    for kind, style in ((2, "other"), (1, "own")):
        drawn = outline(own == kind, down, across)
        if drawn:
            parts.append(tag("path", d=drawn, class_="rim"))
            parts.append(tag("path", d=drawn, class_=style))
    box = f"0 0 {width:.4g} {height:.4g}"
    drawing = tag("svg", *parts, viewBox=box, class_="crop", role="img", aria_label=name)
    return View(name=name, drawing=drawing)


def outline(mask: Bool[np.ndarray, "y x"], down: float = 1.0, across: float = 1.0) -> str:
    """The outlines of a mask in units of the picture, halfway between inside and outside."""
    from skimage.measure import find_contours

    found = find_contours(np.pad(mask.astype(np.float64), 1), 0.5)
    # one pixel of padding, and a pixel's middle is half a pixel from its edge
    return "".join(
        f"{path([((c - 0.5) * across, (r - 0.5) * down) for r, c in line[:-1]])}z" for line in found
    )


def _small(plane: Plane) -> Float[np.ndarray, "v w"]:
    rows, columns = plane.shape
    times = LONGEST / max(rows, columns)
    values = np.asarray(plane, np.float32)
    if times >= 1:
        return values
    fitted = max(1, round(columns * times)), max(1, round(rows * times))
    return np.asarray(Image.fromarray(values).resize(fitted, Image.Resampling.BOX))
