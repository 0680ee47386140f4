"""Simulated fluorescence fields of which every pixel's part in the answer is known.

Three channels. `marker A` and `marker B` show granules that look alike in either; the granules of
one kind are the evidence, those of the other are not. Around them lie

- a **decoy**: the stained nuclei of the third channel, large and bright; their brightness goes
  with the amount of evidence (r about 0.6) and does not enter the answer;
- **suppressors**: autofluorescent granules, brighter than the evidence and equally so in both
  markers. They say nothing about the answer by themselves, but a network must look at one marker to
  take them out of the other (Haufe et al. 2014), and without them the answer stays.

Cells are those of `data.scenes`; light passes a PSF, then photons (Poisson) and the camera (read
noise) add theirs. The same field with one thing `changed` has all other draws alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from attributome.core.seeds import rng, seed_of
from attributome.data.scenes import scene
from attributome.data.shapes import Space, Volume, blur

Task = Literal["image", "classification", "regression"]
Edit = Literal["evidence", "other", "decoy", "suppressor"]
KINDS: tuple[Edit, ...] = ("evidence", "other", "decoy", "suppressor")
CHANNELS = ("marker A", "marker B", "nuclei")
PIXEL = 0.29  # micrometres; planes of a stack are twice as far apart
PSF = 0.9  # pixels
OFFSET, UNIT = 100.0, 120.0  # counts of an empty camera; counts that make 1 in what networks see
DARK, BODY = 12.0, 14.0  # photons of the medium, and of a cell's own light where it is thickest
BRIGHT = (100.0, 260.0)  # photons of the faintest and the brightest nucleus
READ = 3.0  # counts of read noise
APART = 10.0  # pixels between the centres of granules
SIGHT = 0.35  # of its peak, above which a pixel belongs to a thing
HALO = (5.0, 7.0)  # pixels: inner and outer radius of the stain around a granule


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """A field `(3, *s)` in units of a granule's brightness, and where everything is.

    `target` is the stain `(1, *s)`, the class (which marker has more granules) or the amount of
    marker A; `where` holds the pixels of each kind of thing.
    """

    image: Float32[np.ndarray, "3 *s"]
    target: Float32[np.ndarray, "1 *s"] | int | float
    where: dict[str, Bool[np.ndarray, "*s"]]


@dataclass(frozen=True, slots=True)
class Spot:
    """A granule: where it is, how bright at its peak (photons), and its width (pixels)."""

    place: tuple[float, float, float]
    peak: float
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a field is made of; `nuclei` is the brightness of the decoy."""

    a: tuple[Spot, ...]
    b: tuple[Spot, ...]
    suppressors: tuple[Spot, ...]
    nuclei: float
    chosen: int

    @property
    def answer(self) -> tuple[Spot, ...]:
        """The granules that the answer is about."""
        return self.a if self.chosen == 0 else self.b


def field(
    task: Task, size: Sequence[int], *, seed: int, index: int, changed: Edit | None = None
) -> Field:
    """Field `index` of `(y, x)` or `(z, y, x)`; with `changed`, the counterfactual of it.

    The evidence, the other marker's granules or the suppressors are taken away; the decoy changes
    its brightness to the other end of its range.
    """
    flat = len(size) == 2
    space = (1, *size) if flat else tuple(size)
    assert len(space) == 3  # begin() has looked
    whole = _layout(task, space, seed, index)
    here = whole if changed is None else _without(whole, changed)
    cells = scene("image", space, seed=seed_of(seed, "benchmark", task), index=index, decoy=False)
    glow = DARK + BODY * cells.bodies
    both = _render(here.suppressors, space)
    light = [
        glow + both + _render(here.a, space),
        glow + both + _render(here.b, space),
        DARK + here.nuclei * cells.nuclei,
    ]
    noise = rng(seed, "benchmark", task, "camera", index)
    image = np.stack([_camera(blur(volume, PSF), noise) for volume in light])
    nuclei = blur(cells.nuclei, PSF) > SIGHT
    if whole.chosen == 0:
        evidence, other = whole.a, whole.b
    else:
        evidence, other = whole.b, whole.a
    where = {
        "evidence": _seen(evidence, space),
        "other": _seen(other, space),
        "decoy": nuclei,
        "suppressor": _seen(whole.suppressors, space),
    }
    target: np.ndarray | int | float
    if task == "image":
        target = halo(here.a, space)[0 if flat else slice(None)][None]
    elif task == "classification":
        target = whole.chosen
    else:
        target = amount(here.a)
    return Field(
        image=image[:, 0] if flat else image,
        target=target,
        where={name: region[0] if flat else region for name, region in where.items()},
    )


def halo(spots: Sequence[Spot], space: Space) -> Float32[np.ndarray, "z y x"]:
    """The stain of the image task: a ring around each granule, as bright as the granule."""
    total = np.zeros(space, np.float32)
    _, y, x = np.ogrid[tuple(map(slice, space))]
    for spot in spots:
        away = np.hypot(y - spot.place[1], x - spot.place[2])
        ring = np.exp(-(((away - sum(HALO) / 2) / 1.2) ** 2)) * (spot.peak / UNIT)
        z = np.arange(space[0]).reshape(-1, 1, 1)
        total += ring * np.exp(-(((z - spot.place[0]) / 1.5) ** 2))
    return total


def amount(spots: Sequence[Spot]) -> float:
    """The answer of the regression task: the granules' light, about −1 to 1."""
    return float((sum(spot.peak for spot in spots) / UNIT - 6) / 4)


def _layout(task: Task, space: Space, seed: int, index: int) -> Layout:
    draw = rng(seed, "benchmark", task, "layout", index)
    chosen = index % 2 if task == "classification" else 0
    many = {"image": (4, 8), "classification": (5, 8), "regression": (2, 9)}[task]
    few = (1, 3) if task == "classification" else (3, 6)
    room = min(1.0, space[1] * space[2] / 64**2)
    counts = [
        max(1, round(room * int(draw.integers(low, high + 1)))) for low, high in (many, few, (3, 6))
    ]
    places = _places(sum(counts), space, draw)
    own, other, extra = np.split(np.arange(len(places)), np.cumsum(counts)[:-1])
    kinds = [
        tuple(_spot(places[i], draw, bright) for i in part)
        for part, bright in ((own, 1.0), (other, 1.0), (extra, 1.5))
    ]
    level = (counts[0] / room - np.mean(many)) / (np.ptp(many) / 3.4)
    if task == "classification":
        level = 2 * chosen - 1
    low, high = BRIGHT
    nuclei = (low + high) / 2 + (high - low) / 4 * float(
        np.clip(0.6 * level + 0.8 * draw.standard_normal(), -2, 2)
    )
    a, b = (kinds[0], kinds[1]) if chosen == 0 else (kinds[1], kinds[0])
    return Layout(a=a, b=b, suppressors=kinds[2], nuclei=nuclei, chosen=chosen)


def _without(whole: Layout, changed: Edit) -> Layout:
    if changed == "decoy":
        return replace(whole, nuclei=BRIGHT[0] if whole.nuclei > sum(BRIGHT) / 2 else BRIGHT[1])
    if changed == "suppressor":
        return replace(whole, suppressors=())
    first = whole.chosen == 0
    return replace(whole, a=()) if first == (changed == "evidence") else replace(whole, b=())


def _places(count: int, space: Space, draw: np.random.Generator) -> np.ndarray:
    """Up to `count` places that keep apart from each other and from the border."""
    size, found = np.array(space[1:]), np.empty((0, 3))
    for _ in range(60 * count):
        y, x = draw.uniform(5, size - 5)
        z = (space[0] - 1) * draw.uniform(0.35, 0.65)
        if len(found) == 0 or np.hypot(found[:, 1] - y, found[:, 2] - x).min() >= APART:
            found = np.vstack([found, (z, y, x)])
        if len(found) == count:
            break
    return np.asarray(found[draw.permutation(len(found))])


def _spot(place: np.ndarray, draw: np.random.Generator, bright: float) -> Spot:
    z, y, x = (float(at) for at in place)
    return Spot((z, y, x), bright * UNIT * draw.uniform(0.8, 1.2), draw.uniform(1.9, 2.4))


def _render(spots: Sequence[Spot], space: Space) -> Volume:
    """Light of granules before the PSF; each is brightest, with its peak, in its middle."""
    total = np.zeros(space)
    for spot in spots:
        total += spot.peak * _profile(spot, space)
    return total


def _profile(spot: Spot, space: Space) -> Volume:
    z, y, x = np.ogrid[tuple(map(slice, space))]
    z, y, x = (2 * (z - spot.place[0]), y - spot.place[1], x - spot.place[2])
    across = np.zeros_like(z) if space[0] == 1 else z
    return np.asarray(np.exp(-(((across**2 + y**2 + x**2) / (2 * spot.width**2)) ** 2)))


def _seen(spots: Sequence[Spot], space: Space) -> Bool[np.ndarray, "z y x"]:
    seen = np.zeros(space, bool)
    for spot in spots:
        shape = blur(_profile(spot, space), PSF)
        seen |= shape > SIGHT * shape.max()
    return seen


def _camera(photons: Volume, draw: np.random.Generator) -> Float32[np.ndarray, "z y x"]:
    """Counts in the networks' units: 0 is the empty medium.

    Shot noise is normal with the variance of Poisson's, so that a counterfactual keeps the draws.
    """
    shot, read = draw.standard_normal(photons.shape), draw.standard_normal(photons.shape)
    counts = OFFSET + photons + np.sqrt(photons) * shot + READ * read
    return np.asarray((counts.round().clip(0) - OFFSET - DARK) / UNIT, np.float32)
