"""Recipes that find a tagged structure in its fluorescence, one row of `RECIPES` each.

The steps and their numbers are those of the Allen Institute's classic workflows (Chen et al. 2018)
as the mask interpreter used them on its drug perturbations; the filters are our own.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Shaped
from scipy import ndimage
from skimage.filters import threshold_otsu, threshold_triangle
from skimage.morphology import skeletonize

from attributome.core.errors import DataError, UsageError
from attributome.data.filaments import (
    dots_2d,
    dots_3d,
    filled,
    keep_edges,
    tubes_2d,
    tubes_3d,
    without_small,
)

Mask = Bool[np.ndarray, "z y x"]
Cutoffs = tuple[tuple[float, float], ...]
"""Widths in pixels, and the answer of the filter from which a voxel counts."""

ADJUST = 0.98
"""Share of Otsu's threshold of an object that its voxels must exceed."""

FAINT = 1 / 3
"""Share of Otsu's threshold of the volume that an object's own must exceed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """From intensities to a mask; a voxel counts if any of the filters finds it.

    `scale` are standard deviations below and above the mean that become 0 and 1. `objects` are the
    voxels of the smallest object above the triangle threshold, in which Otsu's is taken anew;
    `thin` are the pixels around the skeleton that are kept, and those that are taken off the rim.
    """

    scale: tuple[float, float]
    smooth: Literal["edges", "gaussian", "planes"]
    tubes_3d: Cutoffs = ()
    tubes_2d: Cutoffs = ()
    dots_3d: Cutoffs = ()
    dots_2d: Cutoffs = ()
    objects: int | None = None
    thin: tuple[float, int] | None = None
    holes: int = 0
    smallest: int


RECIPES: Mapping[str, Recipe] = {
    "Microtubules": Recipe(
        scale=(1.5, 8), smooth="edges", tubes_3d=((1, 0.01),), smallest=4
    ),
    "Actomyosin": Recipe(
        scale=(2.5, 17), smooth="edges", tubes_3d=((2, 0.2), (1, 0.015)), smallest=4
    ),
    "Actin filaments": Recipe(
        scale=(3, 15), smooth="edges", tubes_3d=((2, 0.1), (1, 0.04)), smallest=4
    ),
    "Tight junctions": Recipe(
        scale=(3, 17), smooth="gaussian", tubes_3d=((1.5, 0.2),), smallest=4
    ),
    "Golgi": Recipe(
        scale=(9, 19), smooth="gaussian", objects=1200, thin=(1.6, 1),
        dots_3d=((1.6, 0.02),), smallest=10,
    ),
    "ER": Recipe(
        scale=(2.5, 7.5), smooth="edges", tubes_2d=((1, 0.15),), smallest=20
    ),
    "Lysosome": Recipe(
        scale=(3, 19), smooth="planes", dots_2d=((5, 0.09), (2.5, 0.07), (1, 0.01)),
        tubes_2d=((1, 0.15),), holes=1600, smallest=215,
    ),
}  # fmt: skip

ALSO: Mapping[str, str] = {
    "Actomyosin-bundles": "Actomyosin",
    "Endoplasmic-reticulum": "ER",
    "Lysosomes": "Lysosome",
    "Microtubule": "Microtubules",
    "Actin": "Actin filaments",
}
"""Other names of the same structures; blanks and dashes are alike."""


def recipe_of(structure: str) -> Recipe:
    """The recipe of a structure, or a `UsageError` with those that there are."""
    names = {_plain(name): name for name in RECIPES}
    names |= {_plain(name): known for name, known in ALSO.items()}
    if _plain(structure) in names:
        return RECIPES[names[_plain(structure)]]
    near = difflib.get_close_matches(_plain(structure), names, n=1, cutoff=0.5)
    hint = f"; did you mean {names[near[0]]!r}" if near else ""
    raise UsageError(f"no recipe for {structure!r}; there are {', '.join(RECIPES)}{hint}")


def segment(volume: Shaped[np.ndarray, "z y x"], recipe: Recipe) -> Mask:
    """Where the structure is. Raises `DataError` where all voxels are alike or some are no number.

    The measures of tubes are relative to the strongest bend of the volume: a crop may be found
    otherwise than the field that it is of.
    """
    bright = _smooth(scaled(volume, recipe.scale), recipe.smooth)
    found = np.zeros(volume.shape, bool)
    filters = (
        (tubes_3d, recipe.tubes_3d),
        (tubes_2d, recipe.tubes_2d),
        (dots_3d, recipe.dots_3d),
        (dots_2d, recipe.dots_2d),
    )
    for answer, cutoffs in filters:
        for sigma, cutoff in cutoffs:
            found |= answer(bright, sigma) > cutoff
    if recipe.objects is not None:
        objects = in_objects(bright, recipe.objects)
        found |= thinned(objects, *recipe.thin) if recipe.thin else objects
    if recipe.holes:
        found = filled(found, recipe.holes)
    return without_small(found, recipe.smallest)


def scaled(
    volume: Shaped[np.ndarray, "z y x"], scale: tuple[float, float]
) -> Float32[np.ndarray, "z y x"]:
    """Intensities from 0 to 1 between so many standard deviations below and above the mean."""
    mean, std = float(volume.mean(dtype=np.float64)), float(volume.std(dtype=np.float64))
    if not np.isfinite(mean) or std == 0:
        raise DataError(
            f"the structure's channel has the mean {mean} and the standard deviation {std}: "
            f"nothing can be found in it"
        )
    low = max(mean - scale[0] * std, float(volume.min()))
    high = min(mean + scale[1] * std, float(volume.max()))
    made: np.ndarray = (np.clip(volume, low, high) - low) / (high - low)
    return made.astype(np.float32)


def in_objects(bright: Float32[np.ndarray, "z y x"], smallest: int) -> Mask:
    """Large objects above the triangle threshold, and in each what exceeds its own threshold."""
    made = np.zeros(bright.shape, bool)
    labels, _ = ndimage.label(without_small(bright > threshold_triangle(bright), smallest))
    faint = FAINT * float(threshold_otsu(bright))
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        inside, part = labels[box] == number, bright[box]
        own = part[inside]
        # an object of one brightness has no threshold of its own: all of it counts
        local = float(threshold_otsu(own)) if own.min() < own.max() else float(own.min())
        if local > faint:
            made[box] |= inside & (part > local * ADJUST)
    return made


def thinned(mask: Mask, keep: float, rim: int) -> Mask:
    """Each plane without a rim of `rim` pixels, but for what is within `keep` of its skeleton."""
    made = mask.copy()
    y, x = np.mgrid[-rim : rim + 1, -rim : rim + 1]
    disk = y**2 + x**2 <= rim**2
    for plane in made:
        if plane.any():
            near = ndimage.distance_transform_edt(~skeletonize(plane)) <= keep
            plane &= ndimage.binary_erosion(plane, disk) | near
    return made


def _smooth(volume: Float32[np.ndarray, "z y x"], how: str) -> Float32[np.ndarray, "z y x"]:
    if how == "edges":
        return keep_edges(volume)
    smooth: np.ndarray = ndimage.gaussian_filter(volume, 1 if how == "gaussian" else (0, 1, 1))
    return smooth


def _plain(name: str) -> str:
    return name.strip().casefold().replace("-", " ")
