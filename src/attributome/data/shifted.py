"""A planted shift experiment: simulated fields as they should be, and as they should not.

Wells were blurred, noisy, brighter with less contrast, or hold a cell type with larger nuclei. A
predictor trained on fields as they should be is wrong on them by an amount that is known, so that
what claims to know when a prediction is wrong can be asked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args, overload

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32

from attributome.core.errors import UsageError
from attributome.core.records import Sample
from attributome.core.seeds import rng, seed_of
from attributome.data.planted import simulate

Shift = Literal["none", "blur", "noise", "intensity", "new cell type"]
SHIFTS: tuple[Shift, ...] = get_args(Shift)
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
PARTS = {"train": 60, "validate": 20, "test": 40}
"""Wells of each part."""

LEVEL, SPREAD = 19584.0, 480.0
"""Mean and standard deviation of the camera counts in fields that nothing has shifted."""

Image = Float[np.ndarray, "c *s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Well:
    """What the fields of a well have in common."""

    name: str
    part: str
    shift: Shift
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftedFields(Sequence):
    """Simulated samples, made when asked for; `shifted_fields` names them.

    `meta` of a sample says `well`, `split`, `shift` and `strength`, and so does `table()`.
    """

    wells: tuple[Well, ...]
    per_well: int
    indices: range
    size: tuple[int, ...]
    seed: int

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "ShiftedFields": ...
    def __getitem__(self, index: int | slice) -> "Sample | ShiftedFields":
        if isinstance(index, slice):
            return replace(self, indices=self.indices[index])
        return self._made(self.indices[index])

    def __iter__(self) -> Iterator[Sample]:
        return map(self._made, self.indices)

    def table(self) -> pd.DataFrame:
        """A row per field, without simulating any: `id`, `well`, `split`, `shift`, `strength`."""
        return pd.DataFrame([{"id": f"field{i:04d}", **self._meta(i)} for i in self.indices])

    def _meta(self, i: int) -> dict[str, str | float]:
        well = self.wells[i // self.per_well]
        return {
            "well": well.name, "split": well.part, "shift": well.shift, "strength": well.strength,
        }  # fmt: skip

    def _made(self, i: int) -> Sample:
        well = self.wells[i // self.per_well]
        # of a seed of its own: a predictor trained on planted() has seen none of these fields
        sample = simulate("image", self.size, seed=seed_of(self.seed, "shifted"), i=i)
        draw = rng(self.seed, "shifted noise", i)
        return replace(
            shift_sample(sample, well.shift, well.strength, draw),
            meta={**sample.meta, **self._meta(i)},
        )


def shifted_fields(
    *,
    wells: Mapping[str, int] = PARTS,
    per_well: int = 2,
    size: tuple[int, ...] = (64, 64),
    shifts: Mapping[str, Sequence[Shift]] | Sequence[Shift] = SHIFTS,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> ShiftedFields:
    """Fields `(1, *size)` of camera counts with their nuclear stain, in wells that belong to parts.

    `wells` says how many each part has; a well is in one part only, and all its fields share one
    shift and one strength in (0, 1]. The pairs of `shifts` (of all parts, or those of each part)
    and `strengths` are dealt out to the wells of a part in an order drawn by `seed`: every shift
    comes equally often but for one well, and so does every strength of a shift. "none" has the
    strength 0. Field i is a function of the seed, i and its well's shift; `size` is that of
    `planted`.
    """
    if not wells or min(wells.values()) < 1 or per_well < 1:
        raise UsageError(f"wells {dict(wells)} of {per_well} fields: each part needs one of one")
    if not strengths or not all(0 < strength <= 1 for strength in strengths):
        raise UsageError(f"strengths {tuple(strengths)}: each is above 0 and at most 1")
    if len(size) not in (2, 3) or min(size[-2:]) < 48 or (len(size) == 3 and size[0] < 8):
        raise UsageError(
            f"a shifted field cannot have the size {size}: (y, x) of at least 48, or (z, y, x) "
            f"with at least 8 planes"
        )
    made: list[Well] = []
    for part, count in wells.items():
        kinds = list(shifts.get(part, ())) if isinstance(shifts, Mapping) else list(shifts)
        if not kinds or (wrong := [kind for kind in kinds if kind not in SHIFTS]):
            raise UsageError(
                f"shifts {kinds if not kinds else wrong} of the part {part!r}: there are "
                f"{', '.join(SHIFTS)}"
            )
        for shift, strength in _dealt(kinds, strengths, count, rng(seed, "shifted wells", part)):
            made.append(Well(name=f"w{len(made):03d}", part=part, shift=shift, strength=strength))
    return ShiftedFields(
        wells=tuple(made),
        per_well=per_well,
        indices=range(len(made) * per_well),
        size=tuple(size),
        seed=seed,
    )


def shift_sample(
    sample: Sample, shift: Shift, strength: float, draw: np.random.Generator
) -> Sample:
    """A planted sample as a microscope or a culture that has changed would give it.

    At `strength` 1: blur has a sigma of 2 pixels in y and x; noise has twice the standard
    deviation of a field; intensity has a fifth of the contrast and is brighter by two standard
    deviations; nuclei of the new cell type are twice as wide. Only the last changes the truth.
    """
    if shift not in SHIFTS or not 0 <= strength <= 1:
        raise UsageError(
            f"shift {shift!r} of strength {strength}: one of {', '.join(SHIFTS)}, from 0 to 1"
        )
    image = sample.image.astype(np.float64)
    target, regions = sample.target, sample.regions
    if shift == "new cell type":
        image = _grown(image, strength)
        target = _grown(target, strength) if isinstance(target, np.ndarray) else target
        regions = None if regions is None else _grown(regions[None], strength, order=0)[0]
    elif shift != "none":
        image = CHANGES[shift](image, strength, draw)
    return replace(sample, image=image.astype(np.float32), target=target, regions=regions)


def in_spreads(sample: Sample) -> Float32[np.ndarray, "c *s"]:
    """The image in standard deviations of fields as they should be: a shift stays to be seen."""
    return np.asarray((sample.image - LEVEL) / SPREAD, np.float32)


def _blurred(image: Image, strength: float, _draw: np.random.Generator) -> Image:
    from scipy.ndimage import gaussian_filter

    sigma = [0.0] * (image.ndim - 2) + [2 * strength] * 2
    return np.asarray(gaussian_filter(image, sigma))


def _noisy(image: Image, strength: float, draw: np.random.Generator) -> Image:
    return image + 2 * SPREAD * strength * draw.standard_normal(image.shape)


def _brighter(image: Image, strength: float, _draw: np.random.Generator) -> Image:
    return LEVEL + (image - LEVEL) * (1 - 0.8 * strength) + 2 * SPREAD * strength


CHANGES: dict[str, Callable[[Image, float, np.random.Generator], Image]] = {
    "blur": _blurred,
    "noise": _noisy,
    "intensity": _brighter,
}


def _grown(image: np.ndarray, strength: float, order: int = 1) -> np.ndarray:
    """A corner of each plane, stretched to the plane."""
    from scipy.ndimage import zoom

    wide = [round(length * (1 - 0.5 * strength)) for length in image.shape[-2:]]
    corner = image[..., : wide[0], : wide[1]]
    grow = [1.0] * (image.ndim - 2) + [
        length / n for length, n in zip(image.shape[-2:], wide, strict=True)
    ]
    found: np.ndarray = zoom(corner, grow, order=order)
    return found.astype(image.dtype)


def _dealt(
    shifts: Sequence[Shift], strengths: Sequence[float], count: int, draw: np.random.Generator
) -> list[tuple[Shift, float]]:
    """Shifts in turn, each through its strengths in an order of its own."""
    ladders = {shift: draw.permutation(np.asarray(strengths, float)) for shift in shifts}
    order = draw.permutation(len(shifts))
    found: list[tuple[Shift, float]] = []
    for number in range(count):
        turn, place = divmod(number, len(shifts))
        shift = shifts[int(order[place])]
        level = 0.0 if shift == "none" else float(ladders[shift][turn % len(strengths)])
        found.append((shift, level))
    return found
