"""Figures of noise in a region beside as large a region elsewhere."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from attributome.report.panels import scale_bar
from attributome.report.study.drawing import HUES, INK, Drawn, canvas
from attributome.report.study.facts import Told

PLACES = {"inside": ("in the region", "vermillion", "o", "-"),
          "elsewhere": ("elsewhere, as much", "blue", "s", "--")}  # fmt: skip
LEVELS = {"field": "whole fields", "cell": "single cells"}
MOST = 4  # predictors in one figure


def regions(told: Told) -> list[Drawn]:
    """What noise costs by erosion step, at both levels; and where it was put in one field."""
    table = told.table("effects", "predictor", "level", "step", "share", *PLACES)
    drawn = []
    for level in LEVELS:
        part = table[table["level"] == level]
        names = [*dict.fromkeys(part["predictor"])]
        for at in range(0, len(names), MOST):
            drawn.append(_steps(part, names[at : at + MOST], level, at // MOST))
    return drawn + [_shown(told, one) for one in told.numbers["shown"]]


def _steps(table: pd.DataFrame, names: list[str], level: str, page: int) -> Drawn:
    figure, axes = canvas(2.1 * len(names) + 1.0, len(names), squeeze=False)
    handles: dict[str, Any] = {}
    for own, name in zip(axes[:, 0], names, strict=True):
        part = table[table["predictor"] == name].sort_values("step")
        x = np.arange(len(part))
        for place, (label, colour, marker, dash) in PLACES.items():
            mean, low, high = (
                part[key].to_numpy(float) for key in (place, f"{place}_low", f"{place}_high")
            )
            side = -0.07 if place == "inside" else 0.07
            known = np.isfinite(low) & np.isfinite(high)
            own.vlines((x + side)[known], low[known], high[known], color=HUES[colour], lw=1.4)
            (handles[label],) = own.plot(
                x + side, mean, marker=marker, ls=dash, color=HUES[colour], ms=6
            )
        ticks = [f"{row.step:g}\n{row.share:.1%}" for row in part[["step", "share"]].itertuples()]
        own.set_xticks(x, ticks)
        own.set_xlim(-0.5, len(part) - 0.5)
        own.axhline(0, color=INK, lw=0.8)
        own.set_ylabel("drop of efficacy")
        own.set_title(name, loc="left", fontsize=10)
    axes[-1, 0].set_xlabel("erosions of the region, and its share of the image")
    figure.legend([*handles.values()], [*handles], loc="outside lower center", ncols=2)
    return Drawn(
        key=f"regions_{level}" if not page else f"regions_{level}_{page + 1}",
        title=f"Noise in a region, {LEVELS[level]}",
        figure=figure,
        shows=(
            "By how much efficacy falls when noise replaces the region alone, and when it "
            "replaces copies of the region's objects in other places. Means over units with 95 % "
            "intervals, of the images in which another place has room; each step erodes the region "
            "further."
        ),
        bad=(
            "Marks at one height: the region matters no more than any other place of its size. "
            "Marks that are missing: no other place had room."
        ),
    )


def _shown(told: Told, shown: dict[str, Any]) -> Drawn:
    """One field: where the noise is, and how far the prediction moves."""
    at, there = shown["at"], told.found["arrays"]
    picture = np.asarray(told.array(f"shown_{at}_input"), float)
    places = [place for place in PLACES if f"shown_{at}_{place}_region" in there]
    low, high = np.percentile(picture, [1, 99])
    grey = np.clip((picture - low) / max(high - low, 1e-9), 0, 1)
    changes = {p: np.asarray(told.array(f"shown_{at}_{p}_change"), float) for p in places}
    top = max(float(np.percentile(change, 99.5)) for change in changes.values()) or 1.0
    aspect = picture.shape[0] / picture.shape[1]
    figure, axes = canvas(2.45 * aspect * len(places) + 0.8, len(places), 2, squeeze=False)
    for row, place in zip(axes, places, strict=True):
        label, colour = PLACES[place][:2]
        row[0].imshow(grey, cmap="gray", vmin=0, vmax=1)
        region = np.asarray(told.array(f"shown_{at}_{place}_region"))
        _outline(row[0], region, HUES[colour])
        row[0].set_title(f"noise {label}", fontsize=9)
        held = row[1].imshow(changes[place], cmap="magma", vmin=0, vmax=top)
        row[1].set_title(f"efficacy {shown['efficacy'][place]:.3f}", fontsize=9)
        for own in row:
            own.axis("off")
    _bar(axes[0, 0], shown["pixel"], picture.shape[1])
    figure.colorbar(
        held, ax=axes[-1, :], location="bottom", shrink=0.6, label="change of the prediction (SD)"
    )
    plane = "" if shown["plane"] is None else f", plane {shown['plane']}"
    return Drawn(
        key=f"regions_shown_{at + 1}",
        title=f"A region and what it changes ({shown['predictor']})",
        figure=figure,
        shows=(
            f"Field {shown['field']}{plane}: the hatched part is noised, {shown['share']:.1%} of "
            f"the field; beside it, how far the prediction moves, on one scale for all, up to the "
            f"99.5th percentile, in standard deviations of the normalised target."
        ),
        bad="A prediction that moves as far, or farther, when the noise lies elsewhere.",
    )


def _outline(axes: Axes, region: np.ndarray, colour: str) -> None:
    """Hatched, under an outline: seen on dark and on bright, with or without colours."""
    inside = region.astype(float)
    axes.contourf(inside, [0.5, 1.5], colors=[colour], alpha=0.3, hatches=["////"])
    for lw, edge in ((2.4, "white"), (1.2, colour)):
        axes.contour(inside, [0.5], colors=[edge], linewidths=lw)


def _bar(axes: Axes, pixel: float | None, width: int) -> None:
    """A scale bar where the pixel size is known; it is never guessed."""
    bar = scale_bar(float(pixel), width) if pixel else None
    if bar is None:
        return
    low, high = axes.get_ylim()
    left, bottom = 0.05 * width, 0.93 * max(low, high)
    axes.plot([left, left + bar[0] * width], [bottom] * 2, color="white", lw=3)
    axes.text(left, 0.9 * max(low, high), bar[1], color="white", fontsize=7.5, va="bottom")
