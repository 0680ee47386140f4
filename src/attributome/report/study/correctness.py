"""Figures of whether a classifier is right where its mask says so."""

import numpy as np

from attributome.report.study.drawing import INK, MUTED, Drawn, canvas, hue, shape
from attributome.report.study.facts import Told

SCORES = {"efficacy": "efficacy", "probability": "its own probability"}


def correctness(told: Told) -> list[Drawn]:
    """The AUROC of each score in every group, and what images were right and wrong score."""
    return [_areas(told), _spread(told)]


def _areas(told: Told) -> Drawn:
    table = told.table("scores", "predictor", "scope", "score", "auroc", "auroc_low", "auroc_high")
    grouped = "data" in table
    keep = table[table["scope"].isin(["all", "group"])]
    labels = []
    for row in keep.to_dict("records"):
        of = str(row["data"]) if grouped and row["scope"] == "group" else "all test images"
        labels.append(f"{row['predictor']}, {of}")
    keep = keep.assign(label=labels)
    names = [*dict.fromkeys(labels)]
    figure, axes = canvas(1.2 + 0.36 * max(2, len(names)))
    for at, (score, words) in enumerate(SCORES.items()):
        part = keep[keep["score"] == score].set_index("label").reindex(names)
        place = np.arange(len(names)) + (at - 0.5) * 0.28
        middle = part["auroc"].to_numpy(float)
        ends = [middle - part["auroc_low"], part["auroc_high"] - middle]
        axes.errorbar(
            middle, place, xerr=np.nan_to_num(np.clip(ends, 0, None)), fmt=shape(at), ms=5,
            color=hue(at), label=words, lw=1.4,
        )  # fmt: skip
    axes.axvline(0.5, color=INK, lw=1, ls=":")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("AUROC of right against wrong answers (chance 0.5)")
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper left", ncols=2)
    return Drawn(
        key="areas",
        title="Does efficacy know which answers are right?",
        figure=figure,
        shows="Area under the ROC curve of each score, with 95 % intervals; the dotted line is "
        "chance. A classifier's own top probability is what anyone has.",
        bad="Efficacy at or below the probability: it adds nothing about right and wrong.",
    )


def _spread(told: Told) -> Drawn:
    table = told.table("images", "predictor", "split", "correct", "efficacy")
    table = table[table["split"] == "test"]
    names = [*dict.fromkeys(table["predictor"])]
    figure, axes = canvas(1.3 + 0.7 * len(names))
    for at, name in enumerate(names):
        for right, words in ((1, "right"), (0, "wrong")):
            values = table.loc[
                (table["predictor"] == name) & (table["correct"] == right), "efficacy"
            ].dropna()
            if values.empty:
                continue
            low, first, middle, third, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
            place = at + (0.18 if right else -0.18)
            axes.plot([low, high], [place] * 2, color=hue(1 - right), lw=1.2)
            axes.plot([first, third], [place] * 2, color=hue(1 - right), lw=8, alpha=0.35)
            axes.plot(middle, place, shape(1 - right), color=hue(1 - right), ms=6)
            axes.annotate(
                f"{words}, n = {len(values)}", (low, place), xytext=(0, 6), fontsize=8.5,
                textcoords="offset points", color=MUTED,
            )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.3)
    axes.set_xlabel("efficacy")
    axes.grid(axis="y", visible=False)
    return Drawn(
        key="right_and_wrong",
        title="Efficacy of right and of wrong answers",
        figure=figure,
        shows="Of the test images: the mark is the median, the thick line the quartiles, the thin "
        "line 90 % of the images.",
        bad="Lines that lie on each other: the mask leaves as much of a wrong answer as of a "
        "right one.",
    )
