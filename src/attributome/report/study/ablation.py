"""What each weight of the mask loss does: one mark for each field and setting."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from attributome.report.study.drawing import Drawn, canvas, hue, line, shape
from attributome.report.study.facts import Told

WEIGHTS = {"w_agreement": "agreement", "w_fidelity": "fidelity", "w_size": "size"}
SHOWS = (
    "Settings differ from the first in the weight that is named. One small mark for each field "
    "(mean over seeds), a bar for the mean"
)
TIMES = {"last": "after all steps", "best": "at the best epoch"}


def ablation(told: Told) -> list[Drawn]:
    """Mask size and efficacy of each setting, and how the trainings went."""
    fields = told.table("fields", "predictor", "field", "run", "at", "size", *WEIGHTS)
    runs = [str(run) for run in dict.fromkeys(fields["run"])]
    labels = _labels(fields, runs)
    found = []
    names = [str(name) for name in dict.fromkeys(fields["predictor"])]
    for at, name in enumerate(names):
        mine = fields[fields["predictor"] == name]
        key = f"_{at}" if len(names) > 1 else ""
        title = f"{name}: " if len(names) > 1 else ""
        last = mine[mine["at"] == "last"]
        found += [_sizes(mine, runs, labels, key, title), _efficacy(last, runs, labels, key, title)]
    return [*found, _history(told, runs, labels)]


def _labels(fields: pd.DataFrame, runs: list[str]) -> dict[str, str]:
    """Settings by what differs from the first."""
    told = fields.drop_duplicates("run").set_index("run")[list(WEIGHTS)]
    weights: dict[Any, dict[Any, Any]] = told.to_dict("index")
    first = weights[runs[0]]
    labels = {runs[0]: ", ".join(f"{WEIGHTS[key]} {first[key]:g}" for key in WEIGHTS)}
    for run in runs[1:]:
        apart = [key for key in WEIGHTS if weights[run][key] != first[key]]
        labels[run] = ", ".join(f"{WEIGHTS[key]} {weights[run][key]:g}" for key in apart)
    return labels


def _sizes(
    mine: pd.DataFrame, runs: list[str], labels: dict[str, str], key: str, title: str
) -> Drawn:
    figure, axes = canvas(1.4 + 0.55 * len(runs))
    for at, (when, label) in enumerate(TIMES.items()):
        _rows(axes, mine[mine["at"] == when], runs, "size", at, 0.32 * at - 0.16, label)
    _ticks(axes, runs, labels)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the field that the soft mask keeps (mean of the mask)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return Drawn(
        key=f"ablation_size{key}",
        title=f"{title}What decides the size of a mask?",
        figure=figure,
        shows=f"{SHOWS}; above after equally many steps, below at the best epoch of each setting, "
        "which may have had fewer.",
        bad="The same size with and without the term that asks for small masks: the training was "
        "too short, or the term does nothing.",
    )


def _efficacy(
    mine: pd.DataFrame, runs: list[str], labels: dict[str, str], key: str, title: str
) -> Drawn:
    figure, axes = canvas(1.4 + 0.55 * len(runs))
    _rows(axes, mine, runs, "efficacy_soft", 0, -0.16, "soft mask")
    _rows(axes, mine, runs, "efficacy_binary", 1, 0.16, "signature of the same size")
    _ticks(axes, runs, labels)
    axes.set_xlabel("efficacy")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return Drawn(
        key=f"ablation_efficacy{key}",
        title=f"{title}What decides the efficacy of a mask?",
        figure=figure,
        shows=f"{SHOWS}, after equally many steps; above the soft mask, below the binary signature "
        "of exactly its size.",
        bad="A soft mask far to the right of its signature: the predictor reads through noise of "
        "half strength, and the mask is no evidence.",
    )


def _rows(
    axes: Axes, mine: pd.DataFrame, runs: list[str], of: str, at: int, shift: float, label: str
) -> None:
    """A line of marks for each setting; the first mark carries the name."""
    for place, run in enumerate(runs):
        part = mine[mine["run"] == run]
        values = part.groupby("field")[of].mean().to_numpy(float)
        values = values[np.isfinite(values)]
        axes.plot(
            values, np.full(len(values), place + shift), shape(at), color=hue(at), ms=5, alpha=0.7,
            mec="white", mew=0.6, label="" if place else label,
        )  # fmt: skip
        if len(values):
            middle = [values.mean()] * 2
            axes.plot(middle, [place + shift - 0.13, place + shift + 0.13], color=hue(at), lw=2.4)


def _ticks(axes: Axes, runs: list[str], labels: dict[str, str]) -> None:
    axes.set_yticks(range(len(runs)), [labels[run].replace(", ", "\n") for run in runs])
    axes.set_ylim(len(runs) - 0.5, -0.6)
    axes.grid(axis="y", visible=False)


def _history(told: Told, runs: list[str], labels: dict[str, str]) -> Drawn:
    table = told.table("histories", "run", "training", "epoch", "val_loss", "best")
    figure, axes = canvas(3.6)
    for at, run in enumerate(runs):
        mine = table[table["run"] == run]
        for number, (_, rows) in enumerate(mine.groupby("training", sort=False)):
            axes.plot(
                rows["epoch"], rows["val_loss"], linestyle=line(at), color=hue(at), lw=1.6,
                label="" if number else labels[run],
            )  # fmt: skip
            best = rows[rows["best"]]
            axes.plot(best["epoch"], best["val_loss"], shape(at), color=hue(at), ms=7)
    axes.set_xlabel("epoch")
    axes.set_ylabel("1 - mean efficacy")
    axes.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=1)
    return Drawn(
        key="ablation_history",
        title="How the trainings went",
        figure=figure,
        shows="What decides which epoch is the best (the mark): 1 - mean efficacy of binary masks "
        "of 2 to 30 % of the validation fields, which means the same under every weighting. One "
        "line for each training.",
        bad="Lines that still fall at their end: the trainings were too short to tell how far a "
        "weight would go.",
    )
