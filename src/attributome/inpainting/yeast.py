"""Yeast in bright-field light as a label image, for fields that come without a segmentation.

A classical way, without weights: cells are where the light is not that of the field. It is meant
for single, roundish cells in focus, some of which touch. In dense clumps, far from focus, or with
dirt as large as cells, use a network that was trained for yeast and bring its labels.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int32
from scipy import ndimage

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.nuclei import otsu_threshold, segment_nuclei

FLOOR = 10
"""The percentile of the contrast that is taken for that of an empty field: its noise."""


def yeast_labels(
    bright_field: Float[np.ndarray, "y x"],
    *,
    rim: float = 2.0,
    background: float = 40.0,
    contrast: float = 3.0,
    holes: int = 400,
    smallest: int = 150,
    largest: int | None = 2500,
    border: Literal["drop", "keep"] = "drop",
    split: bool = True,
    neck: float = 1.5,
) -> Int32[np.ndarray, "y x"]:
    """Labels 1, 2, … of cells in reading order, 0 elsewhere; none at all is an answer too.

    Lengths are in pixels and areas in pixels of the field; the defaults are for cells of about 25
    pixels across. The plane is divided by its own blur by `background` (several cells wide), which
    takes uneven light away. Cells are then darker or brighter than 1, above all in their rims, of
    about the width `rim`: where they are by more than Otsu's threshold, and by more than `contrast`
    times the deviation of the field's flattest tenth, is cell, and so are enclosed parts of fewer
    than `holes` pixels. Cells lose `rim` pixels on the side of the background, as the blur reaches
    that far; then those that touch are cut at their waist, and those outside the limits of size
    dropped, as `segment_nuclei` says.

    Values are light, above 0. Raises `DataError` where the plane is constant, not finite, or dark.
    """
    if min(rim, background, contrast) <= 0 or background <= rim:
        raise UsageError(
            f"rim={rim}, background={background}, contrast={contrast} cannot be meant: all are "
            f"above 0, and background is larger than rim"
        )
    if not bright_field.size or not np.isfinite(bright_field).all():
        raise DataError(
            f"a plane of shape {bright_field.shape} has no pixels, or some that are no number"
        )
    plane = bright_field.astype(np.float64)
    if plane.min() == plane.max():
        raise DataError(f"a plane of the one value {plane.min():g} shows no cells")
    light = ndimage.gaussian_filter(plane, background, mode="nearest")
    if light.min() <= 0:
        raise DataError("a bright field is light, above 0; this plane is 0 or less over wide parts")
    local = _contrast(plane / light, rim / 2)
    threshold = max(otsu_threshold(local), contrast * float(np.percentile(local, FLOOR)))
    wide = segment_nuclei(
        local, sigma=0.0, threshold=threshold, holes=holes, smallest=0, border="keep", split=False
    )
    inside = np.pad(wide > 0, 1, mode="edge")  # the edge of the field is not background
    kept = ndimage.distance_transform_edt(inside)[1:-1, 1:-1] > rim if wide.any() else wide
    if not np.any(kept):
        return np.zeros(plane.shape, np.int32)
    return segment_nuclei(
        kept.astype(np.float64),
        sigma=0.0,
        threshold=0.5,
        holes=0,
        smallest=smallest,
        largest=largest,
        border=border,
        split=split,
        neck=neck,
    )


def _contrast(flat: Float[np.ndarray, "y x"], width: float) -> Float[np.ndarray, "y x"]:
    """How far the light is from that around, which is 1: darker and brighter alike."""
    smooth = ndimage.gaussian_filter(flat, width, mode="nearest")
    square = ndimage.gaussian_filter((smooth - 1) ** 2, width, mode="nearest")
    found: np.ndarray = np.sqrt(np.maximum(square, 0))
    return found
