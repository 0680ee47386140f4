"""Variants of crops to train on, as DeepProfiler draws them (Moshkov et al. 2024)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from attributome.core.arrays import space
from attributome.core.seeds import rng
from attributome.core.types import Images

BRIGHTNESS, CONTRAST, SMALLEST = 0.1, 0.2, 0.8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """What is done to each of n crops with c channels and d axes.

    `flips` per axis; `turns` by 90° in the plane; `zoom`, the share of each axis that is kept (1
    for half of them); `place`, where that part lies (0 to 1 per axis); `brightness`, in ranges of
    the channel, and `contrast`.
    """

    flips: Bool[np.ndarray, "n d"]
    turns: Int64[np.ndarray, " n"]
    zoom: Float[np.ndarray, " n"]
    place: Float[np.ndarray, "n d"]
    brightness: Float[np.ndarray, "n c"]
    contrast: Float[np.ndarray, "n c"]

    def of(self, rows: Int64[np.ndarray, " b"]) -> "Draws":
        """Those of some crops."""
        return Draws(**{name: getattr(self, name)[rows] for name in self.__slots__})


def draw_variants(
    count: int, size: tuple[int, ...], channels: int, *, seed: int, epoch: int
) -> Draws:
    """The variants of one epoch. Planes that are not square are turned by 180° only."""
    draw, dims = rng(seed, "variants", epoch), len(size)
    flips = draw.random((count, dims)) < 0.5
    turns = draw.integers(4, size=count) * (1 if size[-1] == size[-2] else 2) % 4
    zoom = np.where(draw.random(count) < 0.5, draw.uniform(SMALLEST, 1, count), 1.0)
    place = draw.random((count, dims))
    brightness = draw.uniform(-BRIGHTNESS, BRIGHTNESS, (count, channels))
    contrast = draw.uniform(1 - CONTRAST, 1 + CONTRAST, (count, channels))
    return Draws(
        flips=flips, turns=turns, zoom=zoom, place=place, brightness=brightness, contrast=contrast
    )


def varied(
    x: Images, labels: Int[Tensor, "b *s"], draws: Draws
) -> tuple[Images, Int[Tensor, "b *s"]]:
    """Crops flipped, turned, cut and enlarged again, brighter and of other contrast; labels alike.

    Images are interpolated linearly, labels take the nearest. Brightness adds a share of the
    channel's own range, contrast stretches about its mean, so that units do not matter.
    """
    images, cells = [], []
    for i in range(len(x)):
        image, cell = x[i : i + 1], labels[i : i + 1, None]
        axes = space(image)
        over = [axis for axis, flip in zip(axes, draws.flips[i], strict=True) if flip]
        turn = int(draws.turns[i])
        image, cell = (torch.rot90(each.flip(over), turn, axes[-2:]) for each in (image, cell))
        if draws.zoom[i] < 1:
            where = [slice(None)] * 2
            for n, at in zip(image.shape[2:], draws.place[i], strict=True):
                kept = max(1, round(n * float(draws.zoom[i])))
                start = round((n - kept) * float(at))
                where.append(slice(start, start + kept))
            size = tuple(image.shape[2:])
            mode = {2: "bilinear", 3: "trilinear"}[len(size)]
            image = F.interpolate(image[tuple(where)], size=size, mode=mode, align_corners=False)
            near = F.interpolate(cell[tuple(where)].double(), size=size, mode="nearest-exact")
            cell = near.to(labels.dtype)
        images.append(image)
        cells.append(cell[:, 0])
    made = torch.cat(images)
    axes = space(made)
    shape = (len(x), -1, *[1] * len(axes))
    more, stretch = (
        torch.from_numpy(each).to(made).view(shape) for each in (draws.brightness, draws.contrast)
    )
    mean = made.mean(axes, keepdim=True)
    reach = made.amax(axes, keepdim=True) - made.amin(axes, keepdim=True)
    return (made - mean) * stretch + mean + more * reach, torch.cat(cells)
