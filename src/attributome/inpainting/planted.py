"""Simulated cells with a known answer: where the protein of a cell is, its class alone says.

The markers (nucleus, cell body) show where the places are and not which of them the protein fills:
that can be learned from the other cell of a pair only. Fields differ in brightness and background,
as real ones do, so that features which know the field show it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from attributome.core.errors import UsageError
from attributome.core.seeds import rng
from attributome.inpainting.cells import Cells

CHANNELS = ("protein", "nucleus", "body")

Plane = Float[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A cell on a grid: how far each pixel is inside its edges, in pixels (negative outside)."""

    cell: Plane
    nucleus: Plane


def nuclear(outline: Outline, draw: np.random.Generator) -> Plane:
    """Everywhere in the nucleus."""
    made: Plane = _soft(outline.nucleus) * _texture(outline.cell.shape, 2.0, 0.25, draw)
    return made


def membrane(outline: Outline, _draw: np.random.Generator) -> Plane:
    """A ring along the edge of the cell."""
    return np.asarray(np.exp(-0.5 * ((outline.cell - 1.8) / 1.0) ** 2))


def spots(outline: Outline, draw: np.random.Generator) -> Plane:
    """Some round spots in the cytoplasm."""
    room = (outline.cell > 2.0) & (outline.nucleus < -1.5)
    y, x = np.nonzero(room if room.any() else outline.cell > 0)
    chosen = draw.choice(len(y), min(len(y), int(draw.integers(6, 13))), replace=False)
    made = np.zeros(room.shape)
    made[y[chosen], x[chosen]] = draw.uniform(0.6, 1.4, len(chosen))
    return np.asarray(ndimage.gaussian_filter(made, 1.1))


def cytoplasm(outline: Outline, draw: np.random.Generator) -> Plane:
    """Everywhere in the cell but in the nucleus."""
    inside = _soft(outline.cell) * (1 - 0.9 * _soft(outline.nucleus))
    made: Plane = inside * _texture(outline.cell.shape, 2.0, 0.25, draw)
    return made


CLASSES: Mapping[str, Callable[[Outline, np.random.Generator], Plane]] = {
    function.__name__: function for function in (nuclear, membrane, spots, cytoplasm)
}


def planted(
    *,
    groups: int = 3,
    fields: int = 4,
    cells: int = 12,
    size: int = 64,
    classes: Sequence[str] = tuple(CLASSES),
    field_effect: float = 1.0,
    noise: float = 1.0,
    seed: int = 0,
) -> Cells:
    """Cells of `groups` proteins per class, in `fields` of view of each, `cells` to a field.

    `crops` are `(n, 3, size, size)`: `protein` to predict, `nucleus` and `body` as markers; with
    parts of neighbours, which `masks` leave out. A group is one protein, so both cells of a pair
    are of one class (`table["class"]`). Classes differ in where the protein is: its mean over
    a cell has the same distribution in all. `field_effect` and `noise` scale the
    differences between fields and the camera's noise. A cell is a function of its names and
    `seed`: more groups, fields or cells leave those before as they were.
    """
    lost = [name for name in classes if name not in CLASSES]
    if lost or not classes or len(set(classes)) < len(classes):
        raise UsageError(f"classes {[*classes]} cannot be planted; give some of {[*CLASSES]}, once")
    if min(groups, fields, cells) < 1 or size < 24 or min(field_effect, noise) < 0:
        raise UsageError(
            f"groups={groups}, fields={fields}, cells={cells}, size={size}, "
            f"field_effect={field_effect}, noise={noise} cannot be planted: at least one of each, "
            f"24 pixels, and effects of 0 or more are needed"
        )
    rows, crops, masks = [], [], []
    for name in classes:
        for group in (f"{name}-{i}" for i in range(groups)):
            for field in (f"{group}_f{i}" for i in range(fields)):
                gains, dark = _field(field, field_effect, seed)
                for i in range(cells):
                    word = f"{field}_{i}"
                    crop, mask = _cell(name, size, gains, dark, noise, rng(seed, "cell", word))
                    rows.append((f"{group}/{word}", group, field, name))
                    crops.append(crop)
                    masks.append(mask)
    return Cells(
        table=pd.DataFrame(rows, columns=["id", "group", "field", "class"]),
        crops=np.stack(crops),
        channels=CHANNELS,
        targets=CHANNELS[:1],
        markers=CHANNELS[1:],
        masks=np.stack(masks),
        about={"source": "simulated", "seed": seed, "licence": "none is needed"},
    )


def _field(name: str, effect: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and background of each channel in a field of view."""
    draw = rng(seed, "field", name)
    gains = np.exp(0.35 * effect * draw.standard_normal(len(CHANNELS)))
    return gains, 0.03 + 0.04 * effect * draw.random(len(CHANNELS))


def _cell(
    kind: str,
    size: int,
    gains: np.ndarray,
    dark: np.ndarray,
    noise: float,
    draw: np.random.Generator,
) -> tuple[Float32[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
    """One crop `(c, h, w)` with its cell near the middle, and the mask of that cell."""
    middle = size / 2 + draw.uniform(-0.04, 0.04, 2) * size
    radius = size * draw.uniform(0.2, 0.27)
    own = _outline(size, middle, radius, draw)
    free = _soft(own.cell)
    light = _stains(kind, own, draw)
    # classes that fill little of a cell are brighter there; neighbours, cut by the edge, alike
    share = light[0][own.cell > 0].mean()
    light[0] = _level(draw) * (light[0] / share + 0.08 * free)
    for turn in range(int(draw.integers(0, 3))):
        angle = draw.uniform(0, np.pi) + turn * np.pi
        other = size * draw.uniform(0.2, 0.27)
        reach = (radius + other) * 1.2 + 1.0
        near = _outline(
            size, middle + reach * np.array([np.sin(angle), np.cos(angle)]), other, draw
        )
        more, inside = _stains(kind, near, draw), _soft(near.cell)
        more[0] = _level(draw) * (more[0] / share + 0.08 * inside)
        light += more * (1 - free)
        free = np.maximum(free, inside)
    blurred = ndimage.gaussian_filter(light, (0, 0.7, 0.7))
    seen = dark[:, None, None] + 0.35 * gains[:, None, None] * blurred
    # photons, whose noise grows with the light, and the camera's own
    spread = noise * np.sqrt(0.0004 * seen + 0.006**2)
    seen = np.maximum(seen + spread * draw.standard_normal(seen.shape), 0)
    return seen.astype(np.float32), own.cell > 0


def _stains(kind: str, outline: Outline, draw: np.random.Generator) -> Float[np.ndarray, "c h w"]:
    """The light of protein, nucleus and cell body, without any camera."""
    shape = outline.cell.shape
    inside, core = _soft(outline.cell), _soft(outline.nucleus)
    body = inside * (0.75 + 0.25 * np.tanh(outline.cell / 6)) * _texture(shape, 2.5, 0.15, draw)
    nucleus = core * _texture(shape, 1.5, 0.2, draw)
    bright = np.exp(0.15 * draw.standard_normal(2))
    stained = (bright[0] * nucleus, bright[1] * body * (1 - 0.25 * core))
    return np.stack([CLASSES[kind](outline, draw), *stained])


def _level(draw: np.random.Generator) -> float:
    """How much of its protein a cell has."""
    return float(0.45 * np.exp(0.3 * draw.standard_normal()))


def _outline(size: int, middle: np.ndarray, radius: float, draw: np.random.Generator) -> Outline:
    """A wavy ellipse, turned, with a round nucleus somewhere in it."""
    aspect, angle = draw.uniform(1.0, 1.35), draw.uniform(0, np.pi)
    waves = [(k, draw.uniform(0, 0.12 / k), draw.uniform(0, 2 * np.pi)) for k in (2, 3, 4)]
    core = radius * draw.uniform(0.36, 0.46)
    far, way = radius * draw.uniform(0, 0.25), draw.uniform(0, 2 * np.pi)
    y, x = np.ogrid[:size, :size]
    y, x = y - middle[0], x - middle[1]
    u = (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(aspect)
    v = (y * np.cos(angle) - x * np.sin(angle)) * np.sqrt(aspect)
    around = np.arctan2(v, u)
    edge = radius * (1 + sum(height * np.cos(k * around + phase) for k, height, phase in waves))
    nucleus = core - np.hypot(y - far * np.sin(way), x - far * np.cos(way))
    return Outline(cell=edge - np.hypot(u, v), nucleus=nucleus)


def _soft(inside: Plane) -> Plane:
    """1 inside to 0 outside, over about two pixels."""
    return np.asarray(1 / (1 + np.exp(-(inside / 0.5).clip(-40, 40))))


def _texture(
    shape: tuple[int, ...], grain: float, strength: float, draw: np.random.Generator
) -> Plane:
    """Smooth mottling around 1, never below 0.2."""
    rough = ndimage.gaussian_filter(draw.standard_normal(shape), grain, mode="wrap")
    return np.asarray(np.maximum(1 + strength * rough / rough.std(), 0.2))
