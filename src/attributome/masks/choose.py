"""Choosing the two knobs by measurement: how much noise hides a field, and which mask is enough."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng

Values = Float[np.ndarray, " fields"]
Measure = Callable[[float], np.ndarray]
"""A knob's value in, one number per field out, always for the same fields in the same order."""

DRAWS = 2000
FINEST = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What was measured at one value of a knob: the median over fields and its 95 % interval."""

    value: float
    median: float
    low: float
    high: float
    mask_size: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The value chosen, whether it meets what was asked, and every point that was measured.

    The choice was made by looking at these fields, so its own point is a little optimistic about
    new ones; for a promise about new fields see `guarantee`.
    """

    value: float
    met: bool
    floor: float
    fields: int
    curve: tuple[Point, ...]

    def to_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return {**asdict(self), "curve": [asdict(point) for point in self.curve]}


def choose_noise(
    efficacy_at: Measure,
    *,
    floor: float = 0.2,
    low: float = 0.0,
    high: float = 4.0,
    tolerance: float = 0.05,
    seed: int = 0,
) -> Choice:
    """The smallest noise scale, within `tolerance`, that hides a field of which nothing is kept.

    `efficacy_at(scale)` is the efficacy of the empty mask per field. Its median is taken to fall
    as the noise grows; bisection then closes in on where it passes below `floor`. The value
    returned was itself measured to be below.
    """
    if not 0 <= low < high:
        raise UsageError(f"noise scales from {low} to {high} are no range: low must be below high")
    seen: dict[float, Values] = {}

    def hides(scale: float) -> bool:
        return _median(efficacy_at, scale, seen) < floor

    if hides(low):
        return _choice(low, True, floor, seen, None, seed)
    if not hides(high):
        raise DataError(
            f"noise of scale {high:g} in the whole field still leaves a median efficacy of "
            f"{np.median(seen[high]):.2f} over {len(seen[high])} fields, which is not below "
            f"{floor:g}: search up to a larger scale or take another kind of noise"
        )
    value = _bisect(high, low, hides, tolerance)
    return _choice(value, True, floor, seen, None, seed)


def choose_threshold(
    efficacy_at: Measure,
    size_at: Measure,
    *,
    floor: float = 0.9,
    thresholds: Sequence[float],
    tolerance: float = 0.005,
    seed: int = 0,
) -> Choice:
    """The largest threshold (smallest mask) whose median efficacy over fields keeps `floor`.

    Every threshold of the grid is measured; between the largest that keeps the floor and the next
    one, bisection goes on to `tolerance`. If none keeps it, the lowest is returned with `met`
    false. `size_at(threshold)` is the mask size per field.
    """
    grid = sorted(set(thresholds))
    if not grid:
        raise UsageError("no thresholds were given to choose from: give at least one")
    seen: dict[float, Values] = {}

    def keeps(threshold: float) -> bool:
        return _median(efficacy_at, threshold, seen) >= floor

    kept = [threshold for threshold in grid if keeps(threshold)]
    if not kept:
        return _choice(grid[0], False, floor, seen, size_at, seed)
    value, beyond = kept[-1], grid[grid.index(kept[-1]) + 1 :]
    if beyond:
        value = _bisect(value, beyond[0], keeps, tolerance)
    return _choice(value, True, floor, seen, size_at, seed)


def _bisect(good: float, bad: float, is_good: Callable[[float], bool], tolerance: float) -> float:
    """Move `good` towards `bad`, only ever to values that were measured to be good."""
    if tolerance < FINEST:
        raise UsageError(f"a tolerance of {tolerance} is finer than {FINEST}, the finest there is")
    while abs(bad - good) > tolerance:
        middle = (good + bad) / 2
        if is_good(middle):
            good = middle
        else:
            bad = middle
    return good


def _median(measure: Measure, value: float, seen: dict[float, Values]) -> float:
    """Median over fields at `value`; `seen` remembers what was measured."""
    if value not in seen:
        fields = len(next(iter(seen.values()))) if seen else None
        seen[value] = _checked(measure(value), value, "efficacy", fields)
    return float(np.median(seen[value]))


def _choice(
    value: float,
    met: bool,
    floor: float,
    seen: dict[float, Values],
    size_at: Measure | None,
    seed: int,
) -> Choice:
    fields = len(seen[value])
    points = []
    for at, values in sorted(seen.items()):
        size = None
        if size_at is not None:
            size = float(np.median(_checked(size_at(at), at, "mask size", fields)))
        median, low, high = _interval(values, seed)
        points.append(Point(value=at, median=median, low=low, high=high, mask_size=size))
    return Choice(value=value, met=met, floor=floor, fields=fields, curve=tuple(points))


def _interval(values: Values, seed: int) -> tuple[float, float, float]:
    """As `metrics.intervals.median_interval`, which masks may not import; a test compares them."""
    if len(values) < 3:
        return float(np.median(values)), float(values.min()), float(values.max())
    again = rng(seed, "bootstrap of a median").integers(len(values), size=(DRAWS, len(values)))
    low, high = np.quantile(np.median(values[again], axis=1), [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)


def _checked(values: np.ndarray, at: float, name: str, fields: int | None) -> Values:
    if values.ndim != 1 or not len(values) or (fields is not None and len(values) != fields):
        wanted = "one number per field" if fields is None else f"one for each of {fields} fields"
        raise DataError(
            f"the {name} at {at:g} came as an array of shape {values.shape}: it must be {wanted}"
        )
    undefined = np.flatnonzero(~np.isfinite(values))
    if len(undefined):
        raise DataError(
            f"the {name} at {at:g} is undefined for {len(undefined)} of {len(values)} fields "
            f"(the first is number {undefined[0]}, counted from 0): leave such fields out"
        )
    return values.astype(np.float64)
