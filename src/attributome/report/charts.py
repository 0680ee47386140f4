"""Two kinds of chart, each drawn for a wide and for a narrow page: curves, and rows of dots.

Colours come from CSS variables, so one drawing serves light, dark and print.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from markupsafe import Markup

from attributome.report.looks import look
from attributome.report.numbers import median_of, num, share
from attributome.report.svg import Axis, marker, path, place, tag, ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A curve: the middle, and a band where `low` and `high` are there; `main` is drawn bolder."""

    key: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    main: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value per sample; NaN is counted apart, under the heading `missing` of the chart."""

    key: str
    samples: Sequence[str]
    values: Sequence[float]
    main: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A reference line at a value of the x or y axis."""

    value: float
    label: str
    along: str = "y"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The canvas in pixels, and how many ticks fit on it."""

    name: str
    width: int
    height: int
    left: int
    ticks: int


WIDE = Size(name="wide", width=560, height=340, left=46, ticks=6)
NARROW = Size(name="narrow", width=350, height=290, left=42, ticks=4)
Draw = Callable[[Size], tuple[Markup, float]]


def curves(series: Sequence[Series], x: Axis, y: Axis, rules: Sequence[Rule], alt: str) -> Markup:
    """Curves over two axes; the y label stands on top, so that nobody turns their head."""

    def draw(size: Size) -> tuple[Markup, float]:
        top = 40 if y.label or any(rule.along == "x" for rule in rules) else 10
        left, right, bottom = size.left, size.width - 14, size.height - 44
        parts = [_grid(size, x, y, left, right, top, bottom)]
        for each in series:
            points = [
                (place(x, a, left, right), place(y, b, bottom, top))
                for a, b in zip(each.x, each.y, strict=True)
                if isfinite(b)
            ]
            band = _band(each, x, y, (left, right, top, bottom))
            style = look(each.key)
            line = tag("path", d=path(points), class_="line", stroke_dasharray=style.dash)
            marks = points if len(points) <= 24 else []
            drawn = [marker(style.marker, a, b, 3.6) for a, b in marks]
            main = " main" if each.main else ""
            parts.append(tag("g", band, line, *drawn, class_=f"{style.hue}{main}"))
        parts += [_rule(rule, x, y, (left, right, top, bottom)) for rule in rules]
        return Markup("").join(parts), size.height

    return _both(draw, alt)


def rows(
    data: Sequence[Row], x: Axis, rules: Sequence[Rule], alt: str, missing: tuple[str, float]
) -> Markup:
    """A row of dots per method, one dot per sample, thin lines through the dots of one sample.

    `missing` heads the count of NaN, and is the value that they have in a median.
    """

    def draw(size: Size) -> tuple[Markup, float]:
        wide = size is WIDE
        lost = any(not isfinite(value) for row in data for value in row.values)
        left, tall, top = (172, 42, 30) if wide else (10, 56, 30)
        right = size.width - (50 if wide else 46) - (86 if lost else 0)
        bottom = top + tall * len(data)
        middles = [top + tall * n + (tall / 2 if wide else tall - 18) for n in range(len(data))]
        parts = [_grid(size, x, None, left, right, top, bottom)]
        parts.append(tag("text", "median", x=size.width, y=top - 9, class_="small end"))
        if lost:
            parts.append(tag("text", missing[0], x=right + 36, y=top - 9, class_="small middle"))
            parts.append(tag("path", d=f"M{right + 4} {top}V{bottom}", class_="grid"))
        dots = [
            _swarm(row, x, (left, right), middle, right + 24)
            for row, middle in zip(data, middles, strict=True)
        ]
        parts += _pairs(data, dots)
        for row, middle, places in zip(data, middles, dots, strict=True):
            half = median_of(row.values, missing[1])
            parts.append(_row(row, x, places, (left, right, middle), size, half))
        parts += [_rule(rule, x, x, (left, right, top, bottom)) for rule in rules]
        return Markup("").join(parts), bottom + 44

    return _both(draw, alt)


def swatch(key: str) -> Markup:
    """The line and marker of a method for a legend."""
    style = look(key)
    line = tag("path", d="M1 7H33", class_="line", stroke_dasharray=style.dash)
    mark = marker(style.marker, 17, 7, 3.6)
    return tag(
        "svg",
        tag("g", line, mark, class_=style.hue),
        viewBox="0 0 34 14",
        width="34",
        height="14",
        aria_hidden="true",
        class_="swatch",
    )


def _both(draw: Draw, alt: str) -> Markup:
    """The same chart for a wide and a narrow page; style.css shows one of them."""
    drawn = [(size, *draw(size)) for size in (WIDE, NARROW)]
    return Markup("").join(
        tag(
            "svg",
            inside,
            viewBox=f"0 0 {size.width} {height:.0f}",
            class_=f"chart {size.name}",
            role="img",
            aria_label=alt,
        )
        for size, inside, height in drawn
    )


def _grid(
    size: Size, x: Axis, y: Axis | None, left: float, right: float, top: float, bottom: float
) -> Markup:
    parts = []
    for value, text in ticks(x, size.ticks):
        at = place(x, value, left, right)
        parts.append(tag("path", d=f"M{at:.1f} {top}V{bottom}", class_="grid"))
        parts.append(tag("text", text, x=at, y=bottom + 17, class_="middle"))
    for value, text in ticks(y, 5) if y else []:
        at = place(y, value, bottom, top) if y else bottom
        parts.append(tag("path", d=f"M{left} {at:.1f}H{right}", class_="grid"))
        parts.append(tag("text", text, x=left - 7, y=at + 4, class_="end"))
    parts.append(tag("path", d=f"M{left} {bottom}H{right}", class_="axis"))
    words = f"{x.label} (log scale)" if x.log else x.label
    parts.append(tag("text", words, x=(left + right) / 2, y=bottom + 36, class_="name middle"))
    parts.append(tag("text", y.label if y else "", x=0, y=14, class_="name"))
    return tag("g", *parts)


def _band(each: Series, x: Axis, y: Axis, box: tuple[float, float, float, float]) -> Markup:
    left, right, top, bottom = box
    across = [place(x, value, left, right) for value in each.x]
    upper = zip(across, (place(y, value, bottom, top) for value in each.high), strict=False)
    lower = zip(across, (place(y, value, bottom, top) for value in each.low), strict=False)
    points = [*upper, *reversed(list(lower))]
    return tag("path", d=f"{path(points)}z", class_="band") if points else Markup("")


def _rule(rule: Rule, x: Axis, y: Axis, box: tuple[float, float, float, float]) -> Markup:
    left, right, top, bottom = box
    if rule.along == "y":
        at = place(y, rule.value, bottom, top)
        line = tag("path", d=f"M{left} {at:.1f}H{right}", class_="rule")
        return line + tag("text", rule.label, x=right - 2, y=at - 5, class_="small end rule-name")
    at = place(x, rule.value, left, right)
    line = tag("path", d=f"M{at:.1f} {top}V{bottom}", class_="rule")
    late = at > (left + right) / 2
    side = "small end rule-name" if late else "small rule-name"
    return line + tag("text", rule.label, x=at + (-4 if late else 4), y=top - 5, class_=side)


def _row(
    row: Row,
    x: Axis,
    places: list[tuple[float, float]],
    box: tuple[float, float, float],
    size: Size,
    half: float,
) -> Markup:
    left, right, middle = box
    style = look(row.key)
    known = [value for value in row.values if isfinite(value)]
    parts = [tag("path", d=f"M{left} {middle:.1f}H{right}", class_="grid")]
    lost = len(row.values) - len(known)
    if known and not lost:
        low, high = (place(x, float(q), left, right) for q in np.quantile(known, [0.25, 0.75]))
        parts.append(tag("path", d=f"M{low:.1f} {middle:.1f}H{high:.1f}", class_="spread"))
    if isfinite(half):
        at = place(x, half, left, right)
        bar = f"M{at:.1f} {middle - 16:.1f}V{middle + 16:.1f}"
        parts.append(tag("path", d=bar, class_="median"))
    for (a, b), sample, value in zip(places, row.samples, row.values, strict=True):
        if isfinite(value):
            parts.append(marker(style.marker, a, b, 4, title=f"{sample}: {value:.3f}"))
    if lost:
        at = places[[isfinite(value) for value in row.values].index(False)][0]
        parts.append(marker("ring", at, middle, 4, title=f"without a value: {lost}"))
        parts.append(tag("text", f"× {lost}", x=at + 9, y=middle + 4))
    text = share(half) if x.percent else num(half)
    parts.append(tag("text", text, x=size.width, y=middle + 4, class_="end value"))
    where = {"x": 0, "y": middle + 4} if size is WIDE else {"x": left, "y": middle - 20}
    main = "name strong" if row.main else "name"
    return tag("g", *parts, tag("text", style.label, class_=main, **where), class_=style.hue)


def _swarm(
    row: Row, x: Axis, span: tuple[float, float], middle: float, lost: float
) -> list[tuple[float, float]]:
    """Dots moved up or down just enough not to hide each other, in the order of the samples."""
    done: list[tuple[float, float]] = []
    for value in row.values:
        at = place(x, value, *span) if isfinite(value) else lost
        offsets = (0, -5, 5, -10, 10) if isfinite(value) else (0,)
        near = [b for a, b in done if abs(a - at) < 7]
        free = (middle + o for o in offsets if all(abs(middle + o - b) > 4 for b in near))
        done.append((at, next(free, middle + offsets[len(done) % len(offsets)])))
    return done


def _pairs(data: Sequence[Row], dots: list[list[tuple[float, float]]]) -> list[Markup]:
    samples = [row.samples for row in data]
    if not samples or len(samples[0]) > 20 or any(list(s) != list(samples[0]) for s in samples):
        return []
    return [tag("path", d=path(list(points)), class_="same") for points in zip(*dots, strict=True)]
