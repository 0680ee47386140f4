"""Logos as SVG: letters drawn as shapes, so that every browser gives them the same height."""

from collections.abc import Sequence
from math import log2

from markupsafe import Markup

from attributome.report.drawing import minus
from attributome.report.svg import tag

LETTERS = "ACGT"
HUES = {"A": "green", "C": "blue", "G": "orange", "T": "vermillion"}
SHAPES = {
    "A": "M0 100L38 0H62L100 100H77L69 77H31L23 100ZM37 59H63L50 21Z",
    "C": "M98 66C92 88 75 100 52 100C20 100 1 79 1 50C1 21 20 0 52 0C75 0 92 12 98 33L75 38"
    "C71 26 63 20 52 20C35 20 25 31 25 50C25 69 35 80 52 80C63 80 71 73 75 61Z",
    "G": "M98 33C92 12 75 0 52 0C20 0 1 21 1 50C1 79 20 100 52 100C72 100 88 94 99 84V46H53V64H76"
    "V74C70 78 62 80 53 80C35 80 25 69 25 50C25 31 35 20 52 20C63 20 71 26 75 38Z",
    "T": "M0 0H100V20H62V100H38V20H0Z",
}
WIDE, TALL = 26, 64


def information(pwm: Sequence[Sequence[float]]) -> list[list[float]]:
    """Heights of letters in bits: each column's information shared out by its probabilities."""
    heights = []
    for column in pwm:
        total = sum(column) or 1.0
        shares = [value / total for value in column]
        bits = 2.0 + sum(p * log2(p) for p in shares if p > 0)
        heights.append([p * bits for p in shares])
    return heights


def stacked(heights: Sequence[Sequence[float]]) -> float:
    """The tallest stack of a logo, above the line or below it."""
    sums = [sum(v for v in column if sign * v > 0) for column in heights for sign in (1, -1)]
    return max(map(abs, sums), default=0.0)


def logo(heights: Sequence[Sequence[float]], *, unit: str, top: float, alt: str) -> Markup:
    """Letters of these heights, the tallest outermost; negative ones hang below the line.

    `top` is what the height of the axis stands for, in `unit`, written above it.
    """
    signed = any(value < 0 for column in heights for value in column)
    left, width = 40, 40 + WIDE * len(heights) + 4
    zero = 24 + TALL
    bottom = zero + (TALL if signed else 0)
    parts = [
        tag("path", d=f"M{left} 24V{bottom}", class_="axis"),
        tag("path", d=f"M{left} {zero}H{width - 4}", class_="axis"),
        tag("text", f"{top:.2g}", x=left - 5, y=33, class_="end small"),
        tag("text", "0", x=left - 5, y=zero + 4, class_="end small"),
        tag("text", unit, x=0, y=12, class_="small"),
    ]
    if signed:
        parts.append(tag("text", minus(f"{-top:.2g}"), x=left - 5, y=bottom, class_="end small"))
    for place, column in enumerate(heights):
        x = left + 1 + WIDE * place
        up = down = float(zero)
        for value, letter in sorted(
            zip(column, LETTERS, strict=True), key=lambda pair: abs(pair[0])
        ):
            tall = min(abs(value) / top, 1.0) * TALL if top > 0 else 0.0
            if tall < 0.4:
                continue
            if value > 0:
                up -= tall
            parts.append(_letter(letter, x, up if value > 0 else down, tall))
            if value < 0:
                down += tall
        middle = x + WIDE / 2 - 1
        parts.append(tag("text", str(place + 1), x=middle, y=bottom + 15, class_="middle small"))
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {width} {bottom + 20}",
        width=str(width),
        height=str(bottom + 20),
        class_="logo chart",
        role="img",
        aria_label=alt,
    )


def _letter(letter: str, x: float, y: float, tall: float) -> Markup:
    across = (WIDE - 2) / 100
    return tag(
        "path",
        d=SHAPES[letter],
        transform=f"translate({x:.1f} {y:.2f}) scale({across:.3f} {tall / 100:.4f})",
        fill_rule="evenodd",
        class_=f"letter {HUES[letter]}",
    )
