"""Numbers and names as a person writes them."""

from collections.abc import Iterable, Mapping, Sequence
from math import floor, isfinite
from typing import Any

import numpy as np


def share(value: float | None) -> str:
    """0.084 as 8.4 %."""
    if value is None or not isfinite(value):
        return "–"
    return f"{100 * value:.2g} %" if value < 0.0995 else f"{100 * value:.0f} %"


def share_below(value: float) -> str:
    """A lower bound as a percentage, rounded down: more is not promised than is known."""
    return f"{floor(100 * value + 1e-9)} %"


def num(value: float | None) -> str:
    """Two decimals; what is not there is a dash."""
    if value is None or not isfinite(value):
        return "–"
    text = f"{round(value, 2) + 0.0:.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return text.replace("-", "−")


def grey_value(value: float) -> str:
    """A grey level in any unit, three digits of it."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", "−")


def short(value: float | None) -> str:
    """Three digits of a number of any size; what is not there is a dash."""
    if value is None or not isfinite(value):
        return "–"
    return f"{value:.3g}".replace("-", "−")


def minutes(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def plural(count: int, noun: str) -> str:
    """1 field, 2 fields."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listing(value: Any) -> str:
    """Names as a person lists them: a, b and c."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Iterable):
        return str(value)
    names = [str(each) for each in value]
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


def median_of(values: Sequence[float], lost: float) -> float:
    """The median, where NaN counts as `lost`, the worst there is: it never flatters.

    Where no value is worse than another, `lost` is NaN, and the median is that of the others.
    """
    known = np.asarray(values, float)
    known = np.where(np.isnan(known), lost, known)
    known = known[~np.isnan(known)]
    return float(np.median(known)) if known.size else float("nan")


def span(low: float | None, high: float | None) -> str:
    """The ends of an interval, or nothing where they are not there."""
    if low is None or high is None or not (isfinite(low) and isfinite(high)):
        return ""
    return f"{num(low)}–{num(high)}" if low >= 0 else f"{num(low)} to {num(high)}"


def times(value: float) -> str:
    """A ratio with two digits, as 1.9 or 0.45."""
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def chance(p: float) -> str:
    """A p value; what is very small is not told more exactly than it is known."""
    words = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    return words.replace(" ", "\u00a0")


def number(value: Any) -> float:
    """A stored number; what is not there is NaN."""
    return float("nan") if value is None else float(value)


def plain(value: Any) -> str:
    """A stored value as a person reads it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    if value is None:
        return "not measured"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(plain(each) for each in value)
    return str(value)


def defined(value: Any) -> bool:
    """Whether a stored number is one."""
    return isinstance(value, int | float) and isfinite(value)
