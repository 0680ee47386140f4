"""The parts of a chart as SVG: escaped tags, axes with sensible ticks, markers."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup, escape


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A labelled range of values; `percent` writes 0.1 as 10 %."""

    label: str
    low: float
    high: float
    log: bool = False
    percent: bool = False


def tag(name: str, *children: str, **attributes: str | float) -> Markup:
    """One SVG element; text is escaped, numbers are rounded, `stroke_width` is `stroke-width`."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value != ""
    )
    return Markup(f"<{name}{words}>{''.join(escape(child) for child in children)}</{name}>")


def place(axis: Axis, value: float, start: float, end: float) -> float:
    """Where a value lies between two pixel positions."""
    low, high, at = axis.low, axis.high, value
    if axis.log:
        low, high, at = log10(low), log10(high), log10(value)
    share = (at - low) / (high - low) if high > low else 0.5
    return start + min(max(share, 0.0), 1.0) * (end - start)


def ticks(axis: Axis, about: int) -> list[tuple[float, str]]:
    """Round values inside an axis, and how they are written."""
    values = _log_ticks(axis) if axis.log else _ticks(axis.low, axis.high, about)
    while len(values) > about + 1:
        values = values[::2]
    return [(value, f"{100 * value:.3g} %" if axis.percent else f"{value:.6g}") for value in values]


def around(values: list[float], label: str, *, log: bool = False, percent: bool = False) -> Axis:
    """An axis that holds all values with a little air."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log:
        return Axis(label=label, low=low / 1.15, high=high * 1.15, log=True, percent=percent)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    floor_at = 0.0 if 0 <= low <= 0.4 * high else low - air
    return Axis(label=label, low=floor_at, high=high + air, percent=percent)


def marker(shape: str, x: float, y: float, r: float, *, title: str = "") -> Markup:
    """A small mark; each method has its own shape, so that colour is never needed to tell."""
    words = (tag("title", title),) if title else ()
    if shape in ("circle", "ring"):
        return tag("circle", *words, cx=x, cy=y, r=r, class_="ring" if shape == "ring" else "mark")
    a, b = 0.87 * r, 1.25 * r
    paths = {
        "square": f"M{x - a:.1f} {y - a:.1f}h{2 * a:.1f}v{2 * a:.1f}h{-2 * a:.1f}z",
        "diamond": f"M{x:.1f} {y - b:.1f}l{b:.1f} {b:.1f}l{-b:.1f} {b:.1f}l{-b:.1f} {-b:.1f}z",
        "up": f"M{x:.1f} {y - b:.1f}l{b:.1f} {1.8 * b:.1f}h{-2 * b:.1f}z",
        "down": f"M{x:.1f} {y + b:.1f}l{b:.1f} {-1.8 * b:.1f}h{-2 * b:.1f}z",
        "plus": f"M{x:.1f} {y - b:.1f}v{2 * b:.1f}M{x - b:.1f} {y:.1f}h{2 * b:.1f}",
        "cross": f"M{x - a:.1f} {y - a:.1f}l{2 * a:.1f} {2 * a:.1f}m0 {-2 * a:.1f}"
        f"l{-2 * a:.1f} {2 * a:.1f}",
    }
    return tag(
        "path", *words, d=paths[shape], class_="stroke" if shape in ("plus", "cross") else "mark"
    )


def path(points: Sequence[tuple[float, float]]) -> str:
    """Points joined by straight lines."""
    return "".join(f"{'L' if n else 'M'}{a:.1f} {b:.1f}" for n, (a, b) in enumerate(points))


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def _ticks(low: float, high: float, about: int) -> list[float]:
    if high <= low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** floor(log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(n * step, 10) + 0.0 for n in range(first, last + 1)]


def _log_ticks(axis: Axis) -> list[float]:
    powers = range(floor(log10(axis.low)), ceil(log10(axis.high)) + 1)
    values = [m * 10.0**p for p in powers for m in (1, 2, 5)]
    return [v for v in values if axis.low * 0.999 <= v <= axis.high * 1.001]
