"""What charts share: one drawing for a wide page and one for a narrow one, axes, whiskers."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from attributome.report.charts import NARROW, WIDE, Size
from attributome.report.svg import Axis, marker, place, tag, ticks

Box = tuple[float, float, float, float]
"""Left, right, top and bottom of the plotted area."""


def both(draw: Callable[[Size], tuple[Markup, float]], alt: str) -> Markup:
    """A chart for both widths; the style sheet shows one of them."""
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


def below(x: Axis, box: Box, about: int) -> Markup:
    """Vertical lines, numbers and the label of the x axis."""
    left, right, top, bottom = box
    parts = []
    for value, text in ticks(x, about):
        at = place(x, value, left, right)
        parts.append(tag("path", d=f"M{at:.1f} {top}V{bottom}", class_="grid"))
        parts.append(tag("text", minus(text), x=at, y=bottom + 17, class_="middle"))
    parts.append(tag("path", d=f"M{left} {bottom}H{right}", class_="axis"))
    parts.append(tag("text", x.label, x=(left + right) / 2, y=bottom + 36, class_="name middle"))
    return tag("g", *parts)


def beside(y: Axis, box: Box) -> Markup:
    """Horizontal lines and numbers of the y axis; its label stands above."""
    left, right, top, bottom = box
    parts = []
    for value, text in ticks(y, 5):
        at = place(y, value, bottom, top)
        parts.append(tag("path", d=f"M{left} {at:.1f}H{right}", class_="grid"))
        parts.append(tag("text", minus(text), x=left - 7, y=at + 4, class_="end"))
    return tag("g", *parts, tag("text", y.label, x=0, y=14, class_="name"))


def whisker(x: Axis, ends: Sequence[float], middle: float, span: tuple[float, float]) -> Markup:
    """The interval of a number as a line with two ends."""
    low, high = (place(x, value, *span) for value in ends)
    line = f"M{low:.1f} {middle:.1f}H{high:.1f}"
    caps = f"M{low:.1f} {middle - 5:.1f}v10M{high:.1f} {middle - 5:.1f}v10"
    return tag("path", d=line + caps, class_="whisker")


def minus(text: str) -> str:
    """A true minus sign."""
    return text.replace("-", "−")


def swatch(hue: str, shape: str) -> Markup:
    """One mark for a legend."""
    mark = tag("g", marker(shape, 8, 8, 4.4), class_=hue)
    return tag("svg", mark, viewBox="0 0 16 16", width=16, height=16, aria_hidden="true")
