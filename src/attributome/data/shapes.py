"""Outlines and textures that simulated cells are made of; volumes `(z, y, x)`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

Volume = Float[np.ndarray, "z y x"]
Space = tuple[int, int, int]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A wavy ellipse; in three dimensions a cushion of that outline."""

    center: tuple[float, float, float]
    radius: float
    aspect: float
    angle: float
    waves: tuple[tuple[int, float, float], ...]
    half_height: float


def round_shape(
    center: Sequence[float], radius: float, half_height: float, draw: np.random.Generator
) -> Shape:
    """A nearly round shape."""
    z, y, x = center
    return Shape(
        center=(z, y, x),
        radius=radius,
        aspect=draw.uniform(1, 1.3),
        angle=draw.uniform(0, np.pi),
        waves=waves((2, 3), 0.12, draw),
        half_height=max(1.0, half_height),
    )


def waves(
    orders: Sequence[int], size: float, draw: np.random.Generator
) -> tuple[tuple[int, float, float], ...]:
    """Waves of an outline, (order, height, phase): the finer, the flatter."""
    return tuple((k, size / k * draw.uniform(0.3, 1), draw.uniform(0, 2 * np.pi)) for k in orders)


def depth(
    shape: Shape, space: Space, bend: Sequence[Volume] = ()
) -> tuple[Box, Float[np.ndarray, "z v u"]]:
    """0 in the middle of a shape, 1 on its outline, rising in proportion to the distance.

    Only in the box around the shape where it is below about 1.6. `bend` shifts (y, x).
    """
    high = shape.radius * np.sqrt(shape.aspect) * (1 + sum(size for _, size, _ in shape.waves))
    reach = 1.6 * high + 3 + max((float(np.abs(shift).max()) for shift in bend), default=0.0)
    low = [max(0, int(c - reach)) for c in shape.center[1:]]
    top = [min(s, int(c + reach) + 2) for c, s in zip(shape.center[1:], space[1:], strict=True)]
    box = (slice(0, space[0]), slice(low[0], top[0]), slice(low[1], top[1]))
    z, y, x = np.ogrid[box]
    y, x = y - shape.center[1], x - shape.center[2]
    if bend:
        y, x = y + bend[0][box], x + bend[1][box]
    u = (x * np.cos(shape.angle) + y * np.sin(shape.angle)) / np.sqrt(shape.aspect)
    v = (y * np.cos(shape.angle) - x * np.sin(shape.angle)) * np.sqrt(shape.aspect)
    around = np.arctan2(v, u)
    wavy = 1 + sum(size * np.cos(order * around + phase) for order, size, phase in shape.waves)
    flat = np.hypot(u, v) / (shape.radius * wavy)
    height = np.abs(z - shape.center[0]) / shape.half_height
    return box, np.sqrt(flat**2 + height**4)


def soft(distance: np.ndarray) -> np.ndarray:
    """0 outside to 1 inside, over about two pixels; `distance` in pixels, positive inside."""
    return np.asarray(1 / (1 + np.exp((-distance / 0.6).clip(-40, 40))))


def noise(space: Space, grain: float, draw: np.random.Generator) -> Volume:
    """Smooth Gaussian noise of variance 1."""
    smooth = blur(draw.standard_normal(space), grain, mode="wrap")
    return np.asarray(smooth / smooth.std())


def rings(seeds: Volume, small: float, large: float, around: float = 1.0) -> Volume:
    """Each seed as a spot with a ring of the other sign."""
    return blur(seeds, small) - around * blur(seeds, large)


def blur(volume: Volume, pixels: float, *, mode: str = "nearest") -> Volume:
    """A Gaussian blur in pixels; planes are twice as far apart as pixels."""
    across = pixels / 2 if len(volume) > 1 else 0
    return np.asarray(ndimage.gaussian_filter(volume, (across, pixels, pixels), mode=mode))


def curvature(volume: Volume, pixels: float) -> Volume:
    """Laplacian of a blur, plane by plane."""
    return np.stack([ndimage.laplace(plane) for plane in blur(volume, pixels)])
