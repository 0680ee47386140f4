"""The hidden truth of a simulated field: cells, nuclei, chromatin, decoys, dirt.

Nuclei and chromatin are drawn from a generator of their own, so that the same nuclei can be seen
again among other cells, other decoys and another light (`surroundings`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int32

from attributome.core.seeds import rng
from attributome.data.shapes import (
    Shape,
    Space,
    Volume,
    blur,
    depth,
    noise,
    round_shape,
    soft,
    waves,
)
from attributome.data.surroundings import draw_bodies, draw_debris, draw_light, draw_vesicles

Task = Literal["image", "regression", "classification"]
NUCLEUS, DECOY = 1, 2
ROOM = 74.0  # pixels along the side of the square that a cell has for itself
SHARED = 0.67  # gives chromatin and decoy r = 0.65 once both are clipped


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What is in a field. `level` (chromatin) and `contrast` (decoy) hold one number per cell.

    `labels` are 1 nucleus and 2 decoy, `cells` the number of the cell that either belongs to.
    """

    nuclei: Volume
    chromatin: Volume
    nucleoli: Volume
    bodies: Volume
    organelles: Volume
    vesicles: Volume
    debris: Volume
    light: Volume
    labels: Int32[np.ndarray, "z y x"]
    cells: Int32[np.ndarray, "z y x"]
    level: tuple[float, ...]
    contrast: tuple[float, ...]


def scene(
    task: Task,
    space: Space,
    *,
    seed: int,
    index: int,
    decoy: bool,
    surroundings: int | None = None,
) -> Scene:
    """The truth of field `index`; another number for `surroundings` changes all but the nuclei."""
    draw = rng(seed, "planted", task, "nuclei", index)
    around = rng(seed, "planted", task, "around", index if surroundings is None else surroundings)
    shapes, far, nearest = _nuclei(space, draw)
    inside = far < 1
    radius = float(np.mean([shape.radius for shape in shapes]))
    nuclei = soft((1 - far.clip(max=9)) * radius)
    level, contrast = _levels(task, len(shapes), draw, around)
    nucleoli = _nucleoli(shapes, space, draw) * inside
    punctate = task == "classification" and bool(class_of(seed, index))
    chromatin = _chromatin(task, punctate, inside, nearest, level, draw) * (1 - 0.7 * nucleoli)
    near = far < 1 + 2 / radius
    clusters, vesicles = draw_vesicles(shapes, near, contrast if decoy else (), around)
    bodies, organelles = draw_bodies(shapes, space, around)
    free = (1 - nuclei) * (1 - 0.8 * blur((clusters > 0).astype(float), 1))
    return Scene(
        nuclei=nuclei,
        chromatin=chromatin,
        nucleoli=nucleoli,
        bodies=bodies,
        organelles=organelles * free,
        vesicles=vesicles * (1 - nuclei),
        debris=draw_debris(near, around),
        light=draw_light(space, around),
        labels=np.where(inside, NUCLEUS, np.where(clusters > 0, DECOY, 0)).astype(np.int32),
        cells=np.where(inside, nearest + 1, clusters).astype(np.int32),
        level=level,
        contrast=contrast,
    )


def class_of(seed: int, index: int) -> int:
    """Smooth (0) or punctate (1) chromatin: one of each in every pair of samples."""
    return (index + int(rng(seed, "planted", "class", index // 2).integers(2))) % 2


def _nuclei(
    space: Space, draw: np.random.Generator
) -> tuple[list[Shape], Volume, Int32[np.ndarray, "z y x"]]:
    """Shapes, the depth in the nearest of them, and which that is."""
    shapes = [
        Shape(
            center=((space[0] - 1) * draw.uniform(0.45, 0.55), float(y), float(x)),
            radius=draw.uniform(16, 19),
            aspect=draw.uniform(1.1, 1.6),
            angle=draw.uniform(0, np.pi),
            waves=waves((2, 3, 4), 0.1, draw),
            half_height=max(1.0, 0.42 * space[0]),
        )
        for y, x in _places(space, draw)
    ]
    far, nearest = np.full(space, np.inf), np.zeros(space, np.int32)
    for number, shape in enumerate(shapes):
        box, own = depth(shape, space)
        nearest[box][own < far[box]] = number
        far[box] = np.minimum(far[box], own)
    # the size at which the nuclei cover a given share of the field is a quantile of their depth
    scale = float(np.quantile(far, draw.uniform(0.15, 0.195)))
    return [_scaled(shape, scale) for shape in shapes], far / scale, nearest


def _scaled(shape: Shape, scale: float) -> Shape:
    return Shape(
        center=shape.center,
        radius=shape.radius * scale,
        aspect=shape.aspect,
        angle=shape.angle,
        waves=shape.waves,
        half_height=shape.half_height,
    )


def _places(space: Space, draw: np.random.Generator) -> list[np.ndarray]:
    """Centres that keep their distance from each other and, less, from the border."""
    count = max(1, round(space[1] * space[2] / ROOM**2))
    size = np.array(space[1:])
    found: list[np.ndarray] = []
    for _ in range(count):
        tries = draw.uniform(8, size - 8, (40, 2))
        room = np.minimum(tries, size - tries).min(1) + (24 if count > 1 else 0)
        for other in found:
            room = np.minimum(room, np.hypot(*(tries - other).T))
        found.append(tries[room.argmax()])
    return found


def _levels(
    task: Task, count: int, draw: np.random.Generator, around: np.random.Generator
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Chromatin level and decoy contrast of each cell: correlated, and neither causes the other.

    Where the target is one number, all nuclei of a field share their level.
    """
    own = draw.standard_normal(count if task == "image" else 1).clip(-2, 2)
    own = np.broadcast_to(own, count)
    other = SHARED * own + np.sqrt(1 - SHARED**2) * around.standard_normal(count)
    level, contrast = 0.65 + 0.16 * own, 0.65 + 0.18 * other.clip(-2.5, 2.5)
    return tuple(level.tolist()), tuple(contrast.tolist())


def _chromatin(
    task: Task,
    punctate: bool,
    inside: Bool[np.ndarray, "z y x"],
    nearest: Int32[np.ndarray, "z y x"],
    level: Sequence[float],
    draw: np.random.Generator,
) -> Volume:
    """Density in each nucleus, of its level on average, with a grain of 2 to 3 pixels."""
    space = inside.shape
    fine, coarse = noise(space, 1.5, draw), noise(space, 4.0, draw)
    grain, spread = (fine, 0.7) if task != "classification" else (coarse, 0.2)
    if punctate:
        grain, spread = (fine - 0.9).clip(0), 0.8
    total = np.zeros(space)
    for number, own in enumerate(level):
        mine = inside & (nearest == number)
        if mine.any():
            values = grain[mine] - grain[mine].mean()
            dense = (1 + spread * values / values.std()).clip(0.08, 4)
            total[mine] = own * dense / dense.mean()
    return total


def _nucleoli(shapes: Sequence[Shape], space: Space, draw: np.random.Generator) -> Volume:
    total = np.zeros(space)
    for shape in shapes:
        for _ in range(draw.integers(2, 4)):
            away, turn = draw.uniform(0.1, 0.55) * shape.radius, draw.uniform(0, 2 * np.pi)
            z, y, x = shape.center
            center = (z, y + away * np.sin(turn), x + away * np.cos(turn))
            spot = round_shape(center, draw.uniform(1.8, 3.0), 0.4 * shape.half_height, draw)
            box, far = depth(spot, space)
            total[box] = np.maximum(total[box], soft((1 - far) * spot.radius))
    return total
