"""How crops are scaled before a network sees them, as Lu et al. (2019) did it, and recorded.

Resampling is written out as block means: what the libraries call bilinear, without the smoothing
that later versions of them added, so that the numbers do not depend on a version.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.cells import Block, Cells, blocks_of, gather

Scale = Literal["min_max", "clip_floor", "none"]

FLOOR = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Shrink by `shrink` first, then scale proteins and markers (and other channels like these)."""

    shrink: Literal[1, 2, 4] = 1
    targets: Scale = "min_max"
    markers: Scale = "min_max"
    floor: float = FLOOR


RECIPES: Mapping[str, Recipe] = {
    "yeast": Recipe(),
    "human": Recipe(shrink=2, markers="clip_floor"),
    "none": Recipe(targets="none", markers="none"),
}
"""`yeast` and `human` as published; `human` takes 128 x 128 pixels and gives 64 x 64."""


def min_max(crops: Float[np.ndarray, "*n h w"]) -> Float32[np.ndarray, "*n h w"]:
    """Each plane from its least to its greatest value as 0 to 1; a constant plane becomes 0.

    Absolute intensity is lost on purpose, and the brightest pixel, the cell's own or a
    neighbour's, sets the scale. Raises `DataError` where a pixel is not finite.
    """
    low, high = _ends(crops)
    spread = np.where(high > low, high - low, 1)
    return np.asarray((crops - low) / spread, np.float32)


def constant(crops: Float[np.ndarray, "*n h w"]) -> Bool[np.ndarray, "*n"]:
    """Which planes have one value everywhere: there `min_max` would divide 0 by 0."""
    low, high = _ends(crops)
    found: np.ndarray = np.asarray(low == high)[..., 0, 0]
    return found


def clip_floor(
    crops: Float[np.ndarray, "*n h w"], floor: float = FLOOR
) -> Float32[np.ndarray, "*n h w"]:
    """From `floor` to 1 as 0 to 1, what is below or above at the ends: (clip(x) - f) / (1 - f)."""
    if not 0 <= floor < 1:
        raise UsageError(f"a floor of {floor} cannot be meant; it is at least 0 and below 1")
    kept = np.clip(crops.astype(np.float64), floor, 1)
    return np.asarray((kept - floor) / (1 - floor), np.float32)


def half(crops: Float[np.ndarray, "*n h w"]) -> Float32[np.ndarray, "*n i j"]:
    """Half the size: the mean of each 2 x 2 block, which is bilinear resampling by 2."""
    return _middles(crops, 2)


def central(crops: Float[np.ndarray, "*n h w"]) -> Float32[np.ndarray, "*n i j"]:
    """A quarter of the size: the mean of the central 2 x 2 of each 4 x 4, bilinear by 4.

    Bilinear resampling without smoothing looks at no other pixels; noise falls by 2 and not by 4.
    """
    return _middles(crops, 4)


def prepare(cells: Cells, recipe: str | Recipe, *, folder: Path | None = None) -> Cells:
    """Cells scaled by a recipe, block by block, in memory or in a `folder`.

    `about["prepared"]` of the result says how, and how many planes of each channel were constant.
    A mask that is shrunk keeps a pixel of which it had half. Cells are prepared once.
    """
    how = _named(recipe)
    name = recipe if isinstance(recipe, str) else "own"
    if "prepared" in cells.about:
        raise UsageError(
            f"these cells were prepared already, by {cells.about['prepared']['recipe']!r}; "
            f"prepare the cells as they were read"
        )
    scales = [how.targets if name in cells.targets else how.markers for name in cells.channels]
    flat = dict.fromkeys(cells.channels, 0)
    said: dict[str, Any] = {"recipe": name, **asdict(how), "constant": flat}
    return gather(
        _prepared(cells, how, scales, flat),
        channels=cells.channels,
        targets=cells.targets,
        markers=cells.markers,
        rejected=[(str(a), str(b), str(c)) for a, b, c in cells.rejected.to_numpy()],
        about={**cells.about, "prepared": said},
        folder=folder,
    )


def _prepared(
    cells: Cells, how: Recipe, scales: Sequence[Scale], flat: dict[str, int]
) -> Iterator[Block]:
    for table, crops, masks in blocks_of(cells):
        for i, channel in enumerate(cells.channels):
            flat[channel] += int(constant(crops[:, i]).sum())
        shrunk = _middles(crops, how.shrink) if how.shrink > 1 else crops
        made = np.empty(shrunk.shape, np.float32)
        for i, scale in enumerate(scales):
            if scale == "clip_floor" and shrunk[:, i].max() > 1 + 1e-6:
                raise DataError(
                    f"the channel {cells.channels[i]!r} reaches {shrunk[:, i].max():g} and is to "
                    f"be clipped at {how.floor:g} and 1; bring it to 0 to 1 first"
                )
            made[:, i] = _scaled(shrunk[:, i], scale, how.floor)
        if masks is not None and how.shrink > 1:
            masks = _blocks(masks, how.shrink).mean((-3, -1)) >= 0.5
        yield table, made, masks


def _scaled(planes: np.ndarray, scale: Scale, floor: float) -> np.ndarray:
    if scale == "min_max":
        return min_max(planes)
    return clip_floor(planes, floor) if scale == "clip_floor" else planes


def _ends(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest value of each plane, in float64."""
    low, high = (
        np.asarray(end(crops, axis=(-2, -1), keepdims=True), np.float64) for end in (np.min, np.max)
    )
    if wrong := int((~np.isfinite(low) | ~np.isfinite(high)).sum()):
        raise DataError(f"{wrong} planes hold NaN or infinite pixels; every pixel is a number")
    return low, high


def _middles(crops: np.ndarray, factor: int) -> np.ndarray:
    """The mean of the central 2 x 2 pixels of each block."""
    start = factor // 2 - 1
    some = slice(start, start + 2)
    middle = _blocks(crops, factor)[..., some, :, some]
    return np.asarray(middle.mean((-3, -1), dtype=np.float64), np.float32)


def _blocks(crops: np.ndarray, factor: int) -> np.ndarray:
    """`(*n, h / f, f, w / f, f)`."""
    *lead, height, width = crops.shape
    if height % factor or width % factor:
        raise DataError(
            f"crops of {height} x {width} pixels cannot be shrunk by {factor}: both must be "
            f"multiples of it"
        )
    return crops.reshape(*lead, height // factor, factor, width // factor, factor)


def _named(recipe: str | Recipe) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        near = difflib.get_close_matches(recipe, RECIPES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"no recipe {recipe!r}; there are {', '.join(RECIPES)}{hint}")
    return RECIPES[recipe]
