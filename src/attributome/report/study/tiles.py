"""Pictures of fields in rows: grey images, signatures on them, and a scale bar."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attributome.report.panels import scale_bar
from attributome.report.study.drawing import WIDTH, canvas
from attributome.report.study.facts import Told

MOST = 4
"""Tiles of a row: more cannot be read on a phone."""
LEAST = 3
"""Places of a row, filled or not: one tile alone would be a page wide."""
SHARP = 640
"""Pixels of a row of tiles: what a phone can show, and files stay small."""
TINT = (64, 224, 208)
FOUND = "signature on the input"
TITLES = {
    "input": "input", "truth": "truth", "prediction": "prediction", "signature": FOUND,
    "left": "what is left", "noised": "prediction from it",
}  # fmt: skip
CONTRAST = (
    "Black and white are the 0.1 and 99.9 percentiles of the whole field: one range for truth and "
    "both predictions, one for the input and what is left of it."
)
OUTLINE = "The outlined and tinted part is the signature; elsewhere the field is noise."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """The pictures of one plane of a field, and what its row says."""

    pictures: UInt8[np.ndarray, "kinds h w"]
    row: dict[str, Any]

    @property
    def kinds(self) -> list[str]:
        """What can be drawn."""
        return str(self.row["kinds"]).split()

    @property
    def aspect(self) -> float:
        """How much taller than wide a pixel is."""
        pixel = float(self.row["pixel_y"]) / float(self.row["pixel_x"])
        return pixel if np.isfinite(pixel) else self.row["step_y"] / self.row["step_x"]

    @property
    def ratio(self) -> float:
        """Height over width."""
        return float(self.pictures.shape[1] / self.pictures.shape[2] * self.aspect)

    def picture(self, kind: str, most: int) -> UInt8[np.ndarray, "h w 3"]:
        """One kind in colour, of at most `most` pixels a side; the signature lies on the input."""
        if kind == "signature":
            return outlined(self.of("input", most), self.of(kind, most) / 255)
        return np.repeat(self.of(kind, most)[..., None], 3, axis=2)

    def of(self, kind: str, most: int) -> UInt8[np.ndarray, "h w"]:
        """One kind as it was stored, by means of blocks where it is larger."""
        whole = np.asarray(self.pictures[self.kinds.index(kind)])
        down, right = (-(-side // most) for side in whole.shape)
        high, wide = whole.shape[0] // down, whole.shape[1] // right
        blocks = whole[: high * down, : wide * right].reshape(high, down, wide, right)
        found: np.ndarray = blocks.mean((1, 3)).round().astype(np.uint8)
        return found

    def value(self, kind: str) -> str:
        """The number that stands beneath a kind."""
        if kind == "prediction" and np.isfinite(self.row["pcc"]):
            return f"PCC {self.row['pcc']:.3f}"
        if kind == "signature":
            return f"{self.row['size']:.0%} kept"
        return f"efficacy {self.row['efficacy']:.3f}" if kind == "noised" else ""


def shown(told: Told) -> list[Shown]:
    """Every plane that a study has pictures of."""
    table = told.table("tiles", "key", "part", "predictor", "field", "kinds")
    rows: list[dict[str, Any]] = [
        {str(key): value for key, value in row.items()} for row in table.to_dict("records")
    ]
    return [Shown(pictures=told.array(str(row["key"])), row=row) for row in rows]


def outlined(
    image: UInt8[np.ndarray, "h w"], kept: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """A signature on an image: its inside is tinted and its border drawn, one pixel wide."""
    inside = kept >= 0.5
    near = np.pad(inside, 1, mode="edge")
    whole = near[:-2, 1:-1] & near[2:, 1:-1] & near[1:-1, :-2] & near[1:-1, 2:]
    strength = np.where(inside & ~whole, 0.9, 0.3 * kept)[..., None]
    mixed = image[..., None] * (1 - strength) + np.array(TINT) * strength
    found: np.ndarray = mixed.round().astype(np.uint8)
    return found


def grid(rows: list[list[tuple[Shown, str, str] | None]]) -> Figure:
    """Rows of (plane, kind, title); None leaves a place empty. A scale bar is in the first tile."""
    columns = max(LEAST, *(len(row) for row in rows))
    room = WIDTH / columns
    heights = [max(each[0].ratio for each in row if each) * room + 0.42 for row in rows]
    figure, every = canvas(
        sum(heights), len(rows), columns, squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    for axes, each in zip(every.ravel(), _flat(rows, columns), strict=True):
        if each is None:
            axes.set_axis_off()
        else:
            _tile(axes, *each, SHARP // columns)
    first = next(each for row in rows for each in row if each)
    _bar(every[0, 0], first[0])
    return figure


def _flat(
    rows: list[list[tuple[Shown, str, str] | None]], columns: int
) -> list[tuple[Shown, str, str] | None]:
    return [each for row in rows for each in [*row, *[None] * (columns - len(row))]]


def _tile(axes: Axes, one: Shown, kind: str, title: str, most: int) -> None:
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    if kind not in one.kinds:
        axes.set_axis_off()
        return
    picture = one.picture(kind, most)
    # what blocks have taken from one axis and not from the other is given back
    given = one.ratio * picture.shape[1] / picture.shape[0]
    axes.imshow(picture, aspect=given, interpolation="none")
    axes.set_title(title, fontsize=8.5, pad=3)
    axes.set_xlabel(one.value(kind), fontsize=8.5, labelpad=2)


def _bar(axes: Axes, one: Shown) -> None:
    """A white bar on black, its length beneath the tile; nothing where no pixel size is known."""
    bar = scale_bar(float(one.row["pixel_x"]), one.pictures.shape[2])
    if bar is None:
        return
    share, label = bar
    for colour, width in (("black", 5.0), ("white", 2.6)):
        axes.plot(
            [0.05, 0.05 + share], [0.06, 0.06], transform=axes.transAxes, color=colour, lw=width,
            solid_capstyle="butt",
        )  # fmt: skip
    said = axes.get_xlabel()
    axes.set_xlabel(f"{said}; bar {label}" if said else f"bar {label}", fontsize=8.5, labelpad=2)
