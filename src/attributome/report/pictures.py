"""Arrays as PNG pictures, each with its grey range in numbers: nothing is stretched in silence."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from matplotlib import colormaps
from PIL import Image
from scipy import ndimage

from attributome.report.numbers import grey_value

SMALLEST, LARGEST = 320, 640
SCALE = "magma"  # even steps, safe for the colour-blind, and 0 is black
SIGNED = "RdBu_r"  # safe for the colour-blind: red is above 0, blue below, and 0 is nearly white
ORANGE, BLUE = (255, 176, 0), (86, 180, 233)

Plane = Shaped[np.ndarray, "y x"]
Shown = Shaped[np.ndarray, "y x *c"]
"""A plane, or three of them as red, green and blue along the last axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values that are drawn black and white."""

    low: float
    high: float

    @property
    def words(self) -> str:
        """The range for a caption."""
        if self.low == self.high:
            return f"every pixel is {grey_value(self.low)}"
        return f"black {grey_value(self.low)}, white {grey_value(self.high)}"


def grey_range(image: Shaped[np.ndarray, "*s"]) -> Range:
    """From the 0.5th to the 99.5th percentile, so that one hot pixel does not darken the rest."""
    low, high = np.percentile(np.asarray(image, np.float64), [0.5, 99.5])
    if low == high:  # a few bright pixels on a flat ground are still a picture
        low, high = float(image.min()), float(image.max())
    return Range(low=float(low), high=float(high))


def slice_of(
    signature: Shaped[np.ndarray, "*s"], importance: Shaped[np.ndarray, "*s"] | None
) -> int | None:
    """The z-slice with the most signature, else with the most importance; None in 2-D."""
    if signature.ndim != 3:
        return None
    kept = np.asarray(signature > 0).sum(axis=(1, 2))
    if kept.any() or importance is None:
        return int(kept.argmax()) if kept.any() else signature.shape[0] // 2
    return int(np.asarray(importance, np.float64).sum(axis=(1, 2)).argmax())


def plane(image: Shaped[np.ndarray, "*s"], z: int | None) -> Plane:
    """The part of an image that is shown."""
    return np.asarray(image if z is None else image[z])


def in_colour(channels: Shaped[np.ndarray, "c *s"], z: int | None) -> Shown:
    """Three channels as the red, green and blue of one plane."""
    return np.stack([plane(channel, z) for channel in channels], axis=-1)


def top(ranking: Shaped[np.ndarray, "*s"], share: float) -> Bool[np.ndarray, "*s"]:
    """The pixels that rank highest, chosen as scoring chooses them; ties go by position."""
    flat = np.asarray(ranking).ravel()
    count = min(max(round(share * flat.size), 1 if share > 0 else 0), flat.size)
    kept = np.zeros(flat.size, bool)
    kept[np.argsort(-flat, kind="stable")[:count]] = True
    return kept.reshape(ranking.shape)


def grey(image: Shown, shown: Range) -> str:
    """A grey picture, or one in colour with one range for all; a constant image is mid-grey."""
    return _png(_resize(_greys(image, shown)))


def grey_pixels(image: Plane, shown: Range) -> str:
    """A small grey picture as it is, which the page enlarges: a page may hold many of them."""
    return _png(_reduced(_greys(image, shown)))


def signed_pixels(evidence: Plane, scale: float) -> str:
    """A small signed map as it is, from -`scale` to `scale`."""
    return _png(_reduced(_painted(np.asarray(evidence, np.float32), scale)))


def coloured(importance: Plane) -> str:
    """An importance map on the fixed scale from 0 to 1."""
    # averaged before it is coloured: a mean of two colours would show a value that no pixel has
    colours = colormaps[SCALE](np.clip(_averaged(importance), 0, 1), bytes=True)
    return _png(_resize(np.ascontiguousarray(colours[..., :3])))


def coloured_pixels(importance: Plane) -> str:
    """A small importance map as it is, on the fixed scale from 0 to 1."""
    colours = colormaps[SCALE](np.clip(_averaged(importance), 0, 1), bytes=True)
    return _png(np.ascontiguousarray(colours[..., :3]))


def signed(evidence: Plane, scale: float) -> str:
    """A signed map from -`scale` to `scale`; 0 has the same colour in every picture."""
    return _png(_resize(_painted(_averaged(evidence), scale)))


def signed_outlined(evidence: Plane, scale: float, mask: Plane) -> str:
    """A signed map with the outline of a mask on it."""
    painted = _painted(np.asarray(evidence, np.float32), scale)
    return outlined(painted, Range(low=0, high=255), [(mask, ORANGE)])


def colour_bar(scale: str = SCALE) -> str:
    """The colours of a scale, left to right."""
    colours = colormaps[scale](np.linspace(0, 1, 256)[None].repeat(12, axis=0), bytes=True)
    return _png(np.ascontiguousarray(colours[..., :3]))


def outlined(
    image: Shown, shown: Range, masks: Sequence[tuple[Plane, tuple[int, int, int]]]
) -> str:
    """The outlines of masks, with a dark rim to stand out on any ground, over the image."""
    span = (shown.high - shown.low) or 1.0
    share = np.clip((np.asarray(image, np.float64) - shown.low) / span, 0, 1)
    base = _resize(np.round(255 * share).astype(np.uint8))
    picture = np.repeat(base[..., None], 3, axis=2) if base.ndim == 2 else base.copy()
    thick = max(1, round(max(base.shape) / 200))
    for mask, colour in masks:
        line = _outline(_like(mask, base.shape[:2]), thick)
        picture[ndimage.binary_dilation(line, iterations=max(1, thick // 2))] = (0, 0, 0)
        picture[line] = colour
    return _png(picture)


def borders(labels: Plane) -> Plane:
    """Labelled regions as one mask whose neighbours do not touch."""
    edge = ndimage.grey_dilation(labels, 3) != ndimage.grey_erosion(labels, 3)
    return np.asarray((labels > 0) & ~(edge & (ndimage.grey_erosion(labels, 3) > 0)))


def _greys(image: Shown, shown: Range) -> UInt8[np.ndarray, "y x *c"]:
    span = shown.high - shown.low
    values = np.asarray(image, np.float64)
    share = (values - shown.low) / span if span > 0 else np.full(values.shape, 0.5)
    return np.asarray(np.round(255 * np.clip(share, 0, 1)).astype(np.uint8))


def _painted(evidence: Plane, scale: float) -> UInt8[np.ndarray, "y x 3"]:
    shares = np.clip((evidence / scale + 1) / 2, 0, 1)
    return np.ascontiguousarray(colormaps[SIGNED](shares, bytes=True)[..., :3])


def _outline(mask: Shaped[np.ndarray, "y x"], thick: int) -> Shaped[np.ndarray, "y x"]:
    inside = ndimage.binary_erosion(mask, iterations=thick, border_value=0)
    return np.asarray(mask & ~inside)


def _like(mask: Plane, shape: tuple[int, ...]) -> Shaped[np.ndarray, "v w"]:
    """A mask on the grid of the picture, by the nearest pixel."""
    rows, columns = (
        (np.arange(n) * size // n) for n, size in zip(shape[:2], mask.shape, strict=True)
    )
    return np.asarray(np.asarray(mask)[np.ix_(rows, columns)] > 0)


def _resize(picture: UInt8[np.ndarray, "y x *c"]) -> UInt8[np.ndarray, "v w *c"]:
    """Small pictures keep their pixels as squares; large ones are averaged down."""
    longest = max(picture.shape[:2])
    if longest < SMALLEST:
        times = -(-SMALLEST // longest)
        return picture.repeat(times, axis=0).repeat(times, axis=1)
    return _reduced(picture)


def _reduced(picture: UInt8[np.ndarray, "y x *c"]) -> UInt8[np.ndarray, "v w *c"]:
    if max(picture.shape[:2]) <= LARGEST:
        return picture
    return np.asarray(Image.fromarray(picture).resize(_fitted(picture), Image.Resampling.BOX))


def _averaged(values: Plane) -> Float[np.ndarray, "v w"]:
    floats = np.asarray(values, np.float32)
    if max(floats.shape) <= LARGEST:
        return floats
    return np.asarray(Image.fromarray(floats).resize(_fitted(floats), Image.Resampling.BOX))


def _fitted(picture: Shaped[np.ndarray, "y x *c"]) -> tuple[int, int]:
    """Width and height of a large picture on the page."""
    rows, columns = picture.shape[:2]
    share = LARGEST / max(rows, columns)
    return max(1, round(columns * share)), max(1, round(rows * share))


def _png(picture: UInt8[np.ndarray, "y x *c"]) -> str:
    """A PNG as a data address: the page stays one file that can be sent by mail."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
