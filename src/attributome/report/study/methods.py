"""Figures of the learned mask beside other methods, all of which leave the same share."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from attributome.report.looks import LOOKS, look
from attributome.report.panels import scale_bar
from attributome.report.study.drawing import (
    HUES,
    INK,
    LINES,
    MUTED,
    SHAPES,
    Drawn,
    canvas,
    strip,
)
from attributome.report.study.facts import Told
from attributome.studies.found import POOLED

LEARNED = "learned_mask"
MARKERS = {
    "circle": "o", "square": "s", "diamond": "D", "up": "^", "down": "v", "plus": "P", "cross": "X",
    "ring": "h",
}  # fmt: skip
PAPER = (0.3, 0.8, 0.9)  # noised volumes at which the published panels were shown
MOST = 4  # predictors in one figure of curves
AWAY = np.array([0.98, 0.90, 0.78])


def methods(told: Told) -> list[Drawn]:
    """Curves of every predictor, where the learned mask is ahead, and what each method keeps."""
    table = told.table("curves", "predictor", "method", "volume", "mean", "low", "high")
    names = [name for name in dict.fromkeys(table["predictor"]) if name != POOLED]
    drawn = [_curves(table, names[at : at + MOST], at // MOST) for at in range(0, len(names), MOST)]
    drawn.append(_ahead(told))
    return drawn + [_kept(told, at, one) for at, one in enumerate(told.numbers["shown"])]


def _curves(table: pd.DataFrame, names: list[str], page: int) -> Drawn:
    figure, axes = canvas(2.5 * len(names) + 1.1, len(names), sharex=True, squeeze=False)
    handles: dict[str, Any] = {}
    for own, name in zip(axes[:, 0], names, strict=True):
        part = table[table["predictor"] == name]
        for at, method in enumerate(_ordered(part["method"])):
            rows = part[part["method"] == method].sort_values("volume")
            x, y, low, high = (
                rows[key].to_numpy(float) for key in ("volume", "mean", "low", "high")
            )
            seen = _look(method, at)
            if method == LEARNED:
                own.fill_between(x, low, high, color=seen["color"], alpha=0.15, lw=0)
            (handles[method],) = own.plot(x, y, ms=4.5, **seen)
        own.set_ylabel("mean efficacy")
        own.set_title(name, loc="left", fontsize=10)
    axes[-1, 0].set_xlabel("noised volume, as a share of the field")
    labels = [look(method).label for method in handles]
    figure.legend([*handles.values()], labels, loc="outside lower center", ncols=2)
    return Drawn(
        key="methods" if not page else f"methods_{page + 1}",
        title="Efficacy at equal noised volume",
        figure=figure,
        shows=(
            "Mean over fields of the correlation between the prediction from the whole field and "
            "from what each method keeps. Every map is ranked within its field and all see the "
            "same noise; the band is the 95 % interval of the learned mask."
        ),
        bad=(
            "A dashed curve above the solid one: another method finds what the predictor uses "
            "with less, and if it is a control, without asking the predictor."
        ),
    )


def _ahead(told: Told) -> Drawn:
    """By how much the learned mask is ahead of each method, unit by unit."""
    table = told.table("efficacies", "predictor", "field", "unit", "method", "volume", "efficacy")
    names = [*dict.fromkeys(table["predictor"])]
    one = POOLED if POOLED in names else names[0]
    rows = table[table["predictor"] == one]
    units = rows.groupby(["unit", "method"])["efficacy"].agg(lambda v: v.mean(skipna=False))
    wide = units.unstack("method")
    others = [name for name in _ordered(rows["method"]) if name != LEARNED]
    groups = [(look(name).label, (wide[LEARNED] - wide[name]).tolist()) for name in others]
    groups.sort(key=lambda group: np.nanmedian(group[1]) if np.isfinite(group[1]).any() else 0)
    figure, axes = canvas(1.0 + 0.5 * len(groups))
    strip(axes, groups, "learned mask minus the other, efficacy", colours=False)
    axes.axvline(0, color=INK, lw=1.2)
    return Drawn(
        key="methods_ahead",
        title="Where the learned mask is ahead",
        figure=figure,
        shows=(
            f"Mean efficacy over all noised volumes of the learned mask minus that of each other "
            f"method; one mark for each of {len(wide)} units, the mean over predictors. The bar "
            f"is the median, the shade the quartiles."
        ),
        bad="Marks to the left of the line: there the other method keeps more.",
    )


def _kept(told: Told, at: int, shown: dict[str, Any]) -> Drawn:
    """What each method keeps of the middle of one field, at three noised volumes."""
    ranks, picture = told.array(f"shown_{at}_ranks"), told.array(f"shown_{at}_input")
    grey = np.asarray(picture, float)[..., None].repeat(3, -1) / 255
    rows = len(shown["methods"])
    aspect = picture.shape[0] / picture.shape[1]
    height = (rows + 1) * (1.35 * aspect + 0.04) + 0.3
    figure, axes = canvas(height, rows + 1, len(PAPER), squeeze=False)
    for own in axes.flat:
        own.axis("off")
    _picture(axes[0, 0], grey, "input")
    _bar(axes[0, 0], shown["pixel_size"], picture.shape[1])
    if f"shown_{at}_prediction" in told.found["arrays"]:
        predicted = np.asarray(told.array(f"shown_{at}_prediction"), float) / 255
        _picture(axes[0, 1], predicted[..., None].repeat(3, -1), "prediction")
    for row, method in enumerate(shown["methods"], start=1):
        for column, volume in enumerate(PAPER):
            keep = (np.asarray(ranks[row - 1], float) + 0.5) / 256 > volume
            title = f"{volume:g} noised" if row == 1 else ""
            _picture(axes[row, column], np.where(keep[..., None], grey, AWAY), title)
        axes[row, 0].text(
            -0.06, 0.5, look(method).label.replace(" ", "\n"), transform=axes[row, 0].transAxes,
            ha="right", va="center", fontsize=8.5,
        )  # fmt: skip
    return Drawn(
        key=f"methods_kept_{at + 1}",
        title=f"What each method keeps ({shown['predictor']})",
        figure=figure,
        shows=(
            f"Field {shown['field']}, the first that is judged (the middle of it, of a stack the "
            f"middle plane). Grey is kept, the plain colour is noised; the same share of the whole "
            f"field in a column, which may be more or less in this part of it."
        ),
        bad=(
            "A method that keeps dust all over the field, or a control that keeps what the "
            "learned mask keeps."
        ),
    )


def _picture(axes: Axes, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
    if title:
        axes.set_title(title, fontsize=9, pad=3)


def _bar(axes: Axes, size: list[float] | None, width: int) -> None:
    """A scale bar where the pixel size is known; it is never guessed."""
    bar = scale_bar(float(size[-1]), width) if size else None
    if bar is None:
        return
    left, length = 0.05 * width, bar[0] * width
    low, high = axes.get_ylim()
    axes.plot([left, left + length], [0.92 * max(low, high)] * 2, color="white", lw=3)
    axes.text(left, 0.86 * max(low, high), bar[1], color="white", fontsize=7.5, va="bottom")


def _ordered(methods: pd.Series) -> list[str]:
    """The learned mask first, then as on every page."""
    known = [*LOOKS]
    place = {name: known.index(name) if name in LOOKS else len(known) for name in set(methods)}
    return sorted(place, key=lambda name: (name != LEARNED, place[name], name))


def _look(method: str, at: int) -> dict[str, Any]:
    """Colour and marker as on every page; the learned mask is the one solid line."""
    seen = look(method)
    known = method in LOOKS
    return {
        "color": HUES.get(seen.hue, MUTED),
        "marker": MARKERS[seen.marker] if known else SHAPES[at % len(SHAPES)],
        "linestyle": "-" if method == LEARNED else LINES[1 + at % (len(LINES) - 1)],
        "lw": 2.6 if method == LEARNED else 1.4,
    }
