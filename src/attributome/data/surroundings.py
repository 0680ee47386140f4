"""What lies around simulated nuclei, and what they are seen in; none of it enters a target."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int32
from scipy import ndimage

from attributome.data.shapes import (
    Shape,
    Space,
    Volume,
    blur,
    depth,
    noise,
    rings,
    round_shape,
    soft,
    waves,
)


def draw_vesicles(
    shapes: Sequence[Shape],
    near: Bool[np.ndarray, "z y x"],
    contrast: Sequence[float],
    draw: np.random.Generator,
) -> tuple[Int32[np.ndarray, "z y x"], Volume]:
    """The decoys: a cluster of bright vesicles beside each nucleus, where there is room."""
    clusters, seeds = np.zeros(near.shape, np.int32), np.zeros(near.shape)
    for number, (shape, strength) in enumerate(zip(shapes, contrast, strict=False), start=1):
        spot = _beside(shape, shapes, near.shape, draw)
        box, far = depth(spot, near.shape)
        mine = np.zeros(near.shape, bool)
        mine[box] = (far < 1) & ~near[box] & (clusters[box] == 0)
        clusters[mine] = number
        places = np.argwhere(ndimage.binary_erosion(mine, np.ones((1, 3, 3))))
        for place in places[draw.permutation(len(places))[: round(mine.sum() / 16)]]:
            seeds[tuple(place)] += strength * draw.uniform(0.7, 1.3)
    return clusters, 19 * rings(seeds, 1.2, 2.2, 0.75)


def _beside(
    shape: Shape, shapes: Sequence[Shape], space: tuple[int, ...], draw: np.random.Generator
) -> Shape:
    """A place next to a nucleus, far from the others and from the border."""
    z, y, x = shape.center
    turns = draw.uniform(0, 2 * np.pi) + np.arange(16) * np.pi / 8
    tries = np.stack(
        [y + 1.5 * shape.radius * np.sin(turns), x + 1.5 * shape.radius * np.cos(turns)]
    )
    size = np.reshape(space[1:], (2, 1))
    room = np.minimum(tries, size - tries).min(0)
    for other in shapes:
        if other is not shape:
            room = np.minimum(room, np.hypot(*(tries.T - other.center[1:]).T) - other.radius)
    best = tries[:, int(room.argmax())]
    return round_shape((z, *best), 0.72 * shape.radius, 0.8 * shape.half_height, draw)


def draw_bodies(
    shapes: Sequence[Shape], space: Space, draw: np.random.Generator
) -> tuple[Volume, Volume]:
    """Thickness of the cells, and what lies in their cytoplasm: grain, mitochondria, granules."""
    bend = [5 * noise(space, 7, draw) + 1.2 * noise(space, 2.5, draw) for _ in range(2)]
    thick, member = np.zeros(space), np.zeros(space)
    for shape in shapes:
        body = Shape(
            center=shape.center,
            radius=shape.radius * draw.uniform(2.0, 2.4),
            aspect=draw.uniform(1.1, 1.7),
            angle=shape.angle + draw.uniform(-0.4, 0.4),
            waves=waves((2, 3, 4, 5, 7), 0.45, draw),
            half_height=0.6 * space[0] + 0.5,
        )
        box, far = depth(body, space, bend)
        thick[box] = np.maximum(thick[box], np.sqrt((1 - far**2).clip(0)))
        member[box] = np.maximum(member[box], soft((1 - far) * body.radius))
    threads = np.exp(-((noise(space, 2.6, draw) / 0.22) ** 2)) * (noise(space, 6, draw) > -0.2)
    seeds = (draw.random(space) < 0.008 * (thick > 0.4)) * draw.uniform(0.4, 1.4, space)
    content = 0.5 * noise(space, 1.3, draw) + 0.9 * (threads - 0.3) - 12 * rings(seeds, 0.9, 1.9)
    return thick + 1.1 * member, member * content


def draw_debris(near: Bool[np.ndarray, "z y x"], draw: np.random.Generator) -> Volume:
    """Dark specks in focus, and out-of-focus rings; neither on a nucleus."""
    total = np.zeros(near.shape)
    free = np.argwhere(~near)
    z, y, x = np.ogrid[tuple(map(slice, near.shape))]
    for _ in range(1 + draw.poisson(near[0].size / 8000)):
        place = free[draw.integers(len(free))]
        away = np.sqrt((y - place[1]) ** 2 + (x - place[2]) ** 2 + 4.0 * (z - place[0]) ** 2)
        if draw.random() < 0.5:
            away /= draw.uniform(1.2, 2.2)
            total += 2 * np.exp(-(((away - 2) / 0.7) ** 2)) - 5 * np.exp(-(away**2))
        else:
            away /= draw.uniform(3, 5)
            total += 1.2 * np.cos(3 * away) * np.exp(-((away / 1.6) ** 2))
    return np.asarray(total * (1 - blur(near.astype(float), 1)))


def draw_light(space: Space, draw: np.random.Generator) -> Volume:
    """Uneven illumination around 1, the same in every plane."""
    y, x = (np.linspace(-1, 1, size) for size in space[1:])
    tilt, fall = draw.uniform(-0.02, 0.02, 2), draw.uniform(0.01, 0.03)
    top = draw.uniform(-0.4, 0.4, 2)
    plane = 1 + tilt[0] * y[:, None] + tilt[1] * x
    plane = plane - fall * ((y[:, None] - top[0]) ** 2 + (x - top[1]) ** 2)
    return np.broadcast_to(plane, space).copy()
