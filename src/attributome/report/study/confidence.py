"""What a claimed error is worth: its rank, its value, and what is gained by believing it."""

import numpy as np
import pandas as pd

from attributome.report.study.drawing import INK, MUTED, Drawn, canvas, hue, line, shape
from attributome.report.study.facts import Told

LABELS = {
    "head": "trained head",
    "unsupervised": "1 - efficacy",
    "untrained": "untrained head",
    "constant": "mean error in training",
}
TRUE = "true error, 1 - |PCC|"


def confidence(told: Told) -> list[Drawn]:
    """Rank correlations; then calibration and risk against coverage over patches."""
    scores = told.table("scores", "predictor", "level", "score", "spearman", "spearman_low")
    return [
        _ranks(scores),
        _calibration(told.table("calibration", "predictor", "level", "score", "claimed", "error")),
        _coverage(told.table("coverage", "predictor", "level", "score", "coverage", "risk")),
    ]


def _ranks(scores: pd.DataFrame) -> Drawn:
    kept = scores[scores["scope"] == "all"]
    names = list(dict.fromkeys(kept["predictor"]))
    levels = [level for level in ("fields", "patches") if level in set(kept["level"])]
    height = 0.8 + 0.22 * len(levels) * len(LABELS) * max(2, len(names)) / 2
    figure, every = canvas(height * 1.15, len(levels), 1, squeeze=False, sharex=True)
    for axes, level in zip(every[:, 0], levels, strict=True):
        for at, name in enumerate(names):
            part = kept[(kept["predictor"] == name) & (kept["level"] == level)].set_index("score")
            places = np.arange(len(LABELS)) + (at - (len(names) - 1) / 2) * 0.6 / max(len(names), 1)
            rows = part.reindex(list(LABELS))
            axes.hlines(places, rows["spearman_low"], rows["spearman_high"], color=hue(at), lw=1.6)
            axes.plot(rows["spearman"], places, shape(at), color=hue(at), ms=6, label=str(name))
        axes.axvline(0, color=INK, lw=1)
        axes.set_yticks(range(len(LABELS)), list(LABELS.values()))
        axes.set_ylim(len(LABELS) - 0.5, -0.5)
        axes.set_xlim(-1.05, 1.05)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.set_title(level, loc="left", fontsize=10)
        axes.grid(axis="y", visible=False)
    every[-1, 0].set_xlabel("rank correlation with the true error (Spearman)")
    if len(names) > 1:
        figure.legend(*every[0, 0].get_legend_handles_labels(), loc="outside lower right", ncols=3)
    return Drawn(
        key="confidence_ranks",
        title="Does a claimed error rank predictions?",
        figure=figure,
        shows="Marks are rank correlations, lines their 95 % intervals from drawing units again "
        "(none where they are undefined). The last two know nothing of the field: they are chance.",
        bad="A trained head beside the untrained one, or left of 0; and few units, whose intervals "
        "are too narrow.",
    )


def _calibration(table: pd.DataFrame) -> Drawn:
    part = table[(table["level"] == "patches") & (table["score"] == "head")]
    figure, axes = canvas(3.6)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1.2, ls=":", label="calibrated")
    for at, (name, rows) in enumerate(part.groupby("predictor", sort=False)):
        axes.vlines(rows["claimed"], rows["low"], rows["high"], color=hue(at), lw=1.2)
        axes.plot(
            rows["claimed"], rows["error"], linestyle=line(at), marker=shape(at), color=hue(at),
            ms=5, label=str(name),
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("claimed error of the trained head")
    axes.set_ylabel(TRUE)
    axes.legend()
    return Drawn(
        key="confidence_calibration",
        title="Does a claimed error say the right number?",
        figure=figure,
        shows="Patches in bins of equally many claims: the mean true error of each bin against the "
        "mean claim; lines are 95 % intervals. No head has seen the unit that it judges.",
        bad="Marks above the dotted line: the head flatters. Marks in one place: it claims the "
        "same of everything.",
    )


def _coverage(table: pd.DataFrame) -> Drawn:
    part = table[table["level"] == "patches"]
    names = list(dict.fromkeys(part["predictor"]))
    figure, every = canvas(2.4 * len(names) + 0.5, len(names), 1, squeeze=False, sharex=True)
    for axes, name in zip(every[:, 0], names, strict=True):
        mine = part[part["predictor"] == name]
        for at, score in enumerate(("head", "unsupervised")):
            rows = mine[mine["score"] == score]
            axes.fill_between(
                rows["coverage"], rows["low"], rows["high"], color=hue(at), alpha=0.15
            )
            axes.plot(
                rows["coverage"], rows["risk"], linestyle=line(at), marker=shape(at), ms=3.5,
                color=hue(at), label=LABELS[score],
            )  # fmt: skip
        rows = mine[mine["score"] == "head"]
        axes.plot(rows["coverage"], rows["random"], color=MUTED, ls=":", label="in any order")
        axes.plot(rows["coverage"], rows["oracle"], color=INK, ls="-.", lw=1.2, label="best order")
        axes.set_ylabel("mean true error")
        axes.set_title(str(name), loc="left", fontsize=10)
    every[-1, 0].set_xlabel("share of patches that is trusted, lowest claim first")
    every[0, 0].legend(ncols=2)
    return Drawn(
        key="confidence_coverage",
        title="What is gained by trusting the lowest claims?",
        figure=figure,
        shows="Mean true error of the patches whose claimed error is lowest, against their share; "
        "bands are 95 % intervals from drawing units again. Dotted: in any order; dash-dotted: in "
        "the order of the true errors, which nobody can beat.",
        bad="A curve on the dotted line, or above it: believing the claims gains nothing.",
    )
