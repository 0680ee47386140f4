"""Simulated plates with a known answer: a treatment changes the cell, a plate its light.

The evidence for the treatment is in the cell that a crop is centred on. With a cue, the medium
outside all cells tells the treatment as well, but on the training plates only: a classifier may
then look beside the cell, and held-out plates show it. Fringes, debris and precipitates do this
to real plates.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int32

from attributome.core.errors import UsageError
from attributome.core.seeds import rng
from attributome.data.shapes import Shape, Space, Volume, blur, depth, noise, soft, waves

Cue = Literal["none", "background"]
CHANNELS = ("nucleus", "body")
ROWS = "ABCDEFGHIJKLMNOP"
BODY, PATTERN, MEDIUM = 0.55, 0.12, 1.2
"""The light of a cell body, of a treatment's pattern on average, and of the brightest speckle."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlantedPlates:
    """Crops `(n, c, *s)` of single cells, the labels of all cells in them, and which is the own.

    `table` has id, field, well, plate, row, column, treatment, cue (number of the pattern in the
    medium, -1 for none) and split: `train` and `validate` are wells of the training plates, and
    `held out` are other plates. `spacing` is in micrometres per spatial axis.
    """

    table: pd.DataFrame
    images: Float32[np.ndarray, "n c *s"]
    labels: Int32[np.ndarray, "n *s"]
    own: Int32[np.ndarray, " n"]
    channels: tuple[str, ...]
    spacing: tuple[float, ...]

    def ids(self, split: str) -> list[str]:
        """The ids of the cells of one split."""
        return [str(name) for name in self.table["id"][self.table["split"] == split]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """How a well looks: its treatment's pattern, its medium, its light, how large its cells are."""

    kind: str
    grain: int | None
    cue_strength: float
    effect: float
    neighbours: str
    cell_size: float
    gains: Float[np.ndarray, " c"]
    dark: Float[np.ndarray, " c"]
    noise: float


def rim(inside: Volume, _nucleus: Volume, _draw: np.random.Generator) -> Volume:
    """Light just under the edge of the cell, from depths in pixels inside it and its nucleus."""
    return np.asarray(np.exp(-0.5 * ((inside - 2.6) / 0.9) ** 2))


def granules(inside: Volume, nucleus: Volume, draw: np.random.Generator) -> Volume:
    """Small spots in the cytoplasm."""
    room = np.argwhere((inside > 1.5) & (nucleus < -0.5))
    room = room if len(room) else np.argwhere(inside > 0)
    count = max(5, round(0.05 * int((inside > 0).sum())))
    spots = np.zeros(inside.shape)
    spots[tuple(room[draw.choice(len(room), min(count, len(room)), replace=False)].T)] = 1
    return blur(spots, 0.7)


def core(_inside: Volume, nucleus: Volume, _draw: np.random.Generator) -> Volume:
    """Light in the nucleus."""
    return soft(nucleus)


def shell(_inside: Volume, nucleus: Volume, _draw: np.random.Generator) -> Volume:
    """A ring around the nucleus."""
    return np.asarray(np.exp(-0.5 * ((nucleus + 1.5) / 0.8) ** 2))


PATTERNS: Mapping[str, Callable[[Volume, Volume, np.random.Generator], Volume]] = {
    function.__name__: function for function in (core, granules, shell, rim)
}
"""What each treatment does to a cell; the mean light of a cell is the same under all."""


def planted_plates(
    *,
    dims: int = 2,
    treatments: int = 3,
    plates: int = 4,
    held_out: int = 1,
    wells: int = 4,
    fields: int = 2,
    cells: int = 4,
    size: Sequence[int] | None = None,
    cue: Cue = "none",
    cue_strength: float = 1.0,
    effect: float = 1.0,
    plate_effect: float = 1.0,
    noise: float = 1.0,
    neighbours: Literal["untreated", "treated"] = "untreated",
    cell_size: float = 1.0,
    seed: int = 0,
) -> PlantedPlates:
    """Crops of `cells` cells in each of `fields` fields of `wells` wells per treatment and plate.

    The last `held_out` plates are held out, and on the others the last quarter of each treatment's
    wells, at least one. `cue="background"` fills the medium with speckle, whose grain tells the
    treatment on the training plates; on a held-out plate well j of treatment t has the grain of
    t + j, so that it tells nothing where `wells` is a multiple of `treatments`. `size` is (y, x),
    by default (40, 40), or (z, y, x), by default (16, 40, 40), with planes twice as far apart as
    pixels. `effect`, `cue_strength`, `plate_effect` (gain and background of each channel) and
    `noise` (the camera's) scale what they name. Neighbours do not respond to the treatment, so that
    nothing but the own cell tells it; with `"treated"` they do, and may rightly be looked at.
    `cell_size` is the length of a cell, 1 for about half of the crop's; a cell then is a quarter of
    its crop in 2-D, and 0.15 of it in 3-D.

    A cell is a function of its names and `seed`: more plates, wells, fields or cells leave those
    before as they were. Raises `UsageError` where a number cannot be planted.
    """
    space = _space(dims, size)
    _check(treatments, plates, held_out, wells, fields, cells)
    if cue not in get_args(Cue) or neighbours not in ("untreated", "treated"):
        raise UsageError(
            f"cue {cue!r} and neighbours {neighbours!r}; a cue is none or background, and "
            f"neighbours are untreated or treated"
        )
    if min(cue_strength, effect, plate_effect, noise) < 0:
        raise UsageError("an effect below 0 cannot be planted; give 0 or more")
    if not 0.5 <= cell_size <= 1:
        raise UsageError(f"cell_size {cell_size} cannot be planted; give 0.5 to 1")
    rows, images, labels = [], [], []
    kinds = list(PATTERNS)
    for number, (plate, well, treatment, split) in enumerate(
        _wells(treatments, plates, held_out, wells)
    ):
        gains, dark = _light(plate, plate_effect, seed)
        turn = (number % wells if split == "held out" else 0) + treatment
        grain = turn % treatments if cue == "background" else None
        look = _Look(
            kind=kinds[treatment],
            grain=grain,
            cue_strength=cue_strength,
            effect=effect,
            neighbours=neighbours,
            cell_size=cell_size,
            gains=gains,
            dark=dark,
            noise=noise,
        )
        for field in (f"{plate}_{well}_f{i}" for i in range(fields)):
            for name in (f"{field}_c{i}" for i in range(cells)):
                image, label = _crop(space, look, rng(seed, "planted plates", "cell", name))
                images.append(image if dims == 3 else image[:, 0])
                labels.append(label if dims == 3 else label[0])
                column = int(well[1:])
                shown = -1 if grain is None else grain
                rows.append(
                    (name, field, well, plate, well[0], column, kinds[treatment], shown, split)
                )
    names = ["id", "field", "well", "plate", "row", "column", "treatment", "cue", "split"]
    return PlantedPlates(
        table=pd.DataFrame(rows, columns=names),
        images=np.stack(images),
        labels=np.stack(labels),
        own=np.ones(len(rows), np.int32),
        channels=CHANNELS,
        spacing=(0.6, 0.3, 0.3) if dims == 3 else (0.3, 0.3),
    )


def _space(dims: int, size: Sequence[int] | None) -> Space:
    if dims not in (2, 3):
        raise UsageError(f"dims {dims}: plates are planted in 2-D or 3-D")
    given = tuple(size) if size is not None else {2: (40, 40), 3: (16, 40, 40)}[dims]
    if len(given) != dims or min(given[-2:]) < 24 or (dims == 3 and given[0] < 8):
        raise UsageError(
            f"size {given} cannot be planted in {dims}-D: (y, x) of at least 24, or (z, y, x) with "
            f"at least 8 planes"
        )
    return (1, *given) if dims == 2 else given  # type: ignore[return-value]


def _check(
    treatments: int, plates: int, held_out: int, wells: int, fields: int, cells: int
) -> None:
    if not 2 <= treatments <= len(PATTERNS):
        raise UsageError(f"{treatments} treatments; from 2 to {len(PATTERNS)} can be planted")
    if min(wells, fields, cells) < 1 or not 0 <= held_out < plates or wells > 24:
        raise UsageError(
            f"plates={plates}, held_out={held_out}, wells={wells}, fields={fields}, cells={cells} "
            f"cannot be planted: at least one of each, at most 24 wells of a treatment, and a "
            f"plate to train on"
        )


def _wells(
    treatments: int, plates: int, held_out: int, wells: int
) -> Iterator[tuple[str, str, int, str]]:
    """Plate, well, treatment and split; treatments take turns, so that no column is of one."""
    kept = max(1, wells // 4) if wells > 1 else 0
    for p in range(plates):
        for t in range(treatments):
            for j in range(wells):
                row = ROWS[(t + j) % treatments]
                split = "validate" if j >= wells - kept else "train"
                split = "held out" if p >= plates - held_out else split
                yield f"P{p}", f"{row}{j + 1:02d}", t, split


def _light(plate: str, effect: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gain and background of each channel on a plate."""
    draw = rng(seed, "planted plates", "plate", plate)
    gains = np.exp(0.15 * effect * draw.standard_normal(len(CHANNELS)))
    return gains, 0.05 + 0.08 * effect * draw.random(len(CHANNELS))


def _crop(
    space: Space, look: _Look, draw: np.random.Generator
) -> tuple[Float32[np.ndarray, "c z y x"], Int32[np.ndarray, "z y x"]]:
    """A crop with its own cell, label 1, in the middle, and none to two neighbours at its edge."""
    middle, side = (np.array(space) - 1) / 2, min(space[1:])
    large = look.cell_size
    shapes = [_shape(middle + draw.uniform(-0.5, 0.5, 3), side, space, large, draw)]
    for turn in range(int(draw.integers(0, 3))):
        angle = draw.uniform(0, np.pi) + turn * np.pi
        far = side * draw.uniform(0.56, 0.64)
        away = far * np.array([0, np.sin(angle), np.cos(angle)])
        shapes.append(_shape(middle + away, side, space, large, draw))
    return _picture(space, shapes, look, draw)


def _picture(
    space: Space, shapes: Sequence[Shape], look: _Look, draw: np.random.Generator
) -> tuple[Float32[np.ndarray, "c z y x"], Int32[np.ndarray, "z y x"]]:
    light, free = np.zeros((len(CHANNELS), *space)), np.ones(space)
    labels = np.zeros(space, np.int32)
    for number, shape in enumerate(shapes, start=1):
        inside = _inside(shape, space)
        nucleus = inside - shape.radius * draw.uniform(0.52, 0.6)  # of the cell's own outline
        filled = soft(inside)
        kind = look.kind if number == 1 or look.neighbours == "treated" else None
        body = BODY * filled * _mottled(space, 0.12, draw)
        made = PATTERNS[kind](inside, nucleus, draw) * filled if kind else filled
        body += PATTERN * look.effect * filled.sum() * made / made.sum()
        stain = 0.8 * soft(nucleus) * _mottled(space, 0.12, draw)
        light += np.stack([stain, body]) * free
        labels[(inside > 0) & (labels == 0)] = number
        free *= 1 - filled
    if look.grain is not None:
        light[1] += MEDIUM * look.cue_strength * free * (1 + _speckle(space, look.grain, draw)) / 2
    seen = look.dark[:, None, None, None] + look.gains[:, None, None, None] * light
    spread = look.noise * np.sqrt(0.0004 * seen + 0.02**2)  # photons, and the camera's own
    seen = seen + spread * draw.standard_normal(seen.shape)
    return seen.astype(np.float32), labels


def _shape(
    center: Float[np.ndarray, "3"],
    side: int,
    space: Space,
    large: float,
    draw: np.random.Generator,
) -> Shape:
    return Shape(
        center=(float(center[0]) if space[0] > 1 else 0.0, float(center[1]), float(center[2])),
        radius=large * side * draw.uniform(0.25, 0.3),
        aspect=draw.uniform(1.0, 1.3),
        angle=draw.uniform(0, np.pi),
        waves=waves((2, 3), 0.1, draw),
        half_height=max(1.0, large * 0.4 * space[0]),
    )


def _inside(shape: Shape, space: Space) -> Volume:
    """How deep each voxel is inside the outline, in pixels; negative outside."""
    box, far = depth(shape, space)
    inside = np.full(space, -shape.radius)
    inside[box] = (1 - far) * shape.radius
    return inside


def _mottled(space: Space, strength: float, draw: np.random.Generator) -> Volume:
    return np.maximum(1 + strength * noise(space, 1.5, draw), 0.2)


def _speckle(space: Space, grain: int, draw: np.random.Generator) -> Volume:
    """Speckle between about -1 and 1, twice as coarse for each number."""
    return np.asarray(np.tanh(1.5 * noise(space, 0.5 * 2.0**grain, draw)))
