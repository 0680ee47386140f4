"""What to make of an audit: each flag says how bad it is, what was found and what follows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

Level = Literal["red", "amber", "green"]

EASY = 0.6
"""An AUC that a predictor which sees one half of a pair must not reach.

It cannot know of pairing, so what it reaches a network reaches as well without having learned any.
On a test of unseen miRNAs it is 0.5 by construction; 0.6 lies as far from that as the bare seed
rule on data without such a bias."""

BESIDE = 0.05
"""Nearer than this to the best trivial predictor, knowing half of a pair is as good as any rule."""

FEW = 10
"""Groups of which a bootstrap interval should at least be made."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A judgement: its level, what was found, and what follows from it."""

    level: Level
    title: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """What flags are made of; see `audit.Audit`."""

    counts: Mapping[str, int]
    leakage: pd.DataFrame
    trivial: pd.DataFrame

    def share(self, what: str) -> float:
        """The share of test rows that training has; NaN without a test."""
        table = self.leakage
        found = table.loc[(table["what"] == what) & (table["part"] == "test"), "share"]
        return float(found.iloc[0]) if len(found) else np.nan

    def auc(self, predictor: str) -> tuple[float, float, float]:
        """An AUC and its interval; NaN where it was not computed."""
        table = self.trivial
        found = table[(table["predictor"] == predictor) & (table["metric"] == "auc")]
        row = found[["value", "low", "high"]].to_numpy(float)
        return (row[0, 0], row[0, 1], row[0, 2]) if len(row) else (np.nan, np.nan, np.nan)


def judge(facts: Facts) -> list[Flag]:
    """All flags, the worst first."""
    order = ("red", "amber", "green")
    found = [flag for rule in RULES for flag in rule(facts)]
    return sorted(found, key=lambda flag: order.index(flag.level))


def labels(facts: Facts) -> Iterator[Flag]:
    """Whether there is something to learn and to test."""
    counts = facts.counts
    if "positives" not in counts:
        yield Flag(
            "amber", "No labels", "These pairs can be explained, but nothing learned or tested."
        )
        return
    for part in ("train", "test"):
        rows, positives = counts[part], counts[f"{part}_positives"]
        if not rows:
            yield Flag("red", f"No {part} part", "Choose a split that has one.")
        elif positives in (0, rows):
            words = "Nothing can be learned." if part == "train" else "No AUC can be computed."
            kind = "0" if not positives else "1"
            yield Flag("red", f"All {rows} pairs of the {part} part have label {kind}", words)
        elif part == "test" and not 0.1 <= positives / rows <= 0.9:
            yield Flag(
                "amber",
                f"{positives / rows:.0%} of the test pairs are positive",
                "Accuracy is high for who always says the commoner label: read AUC and average "
                "precision, the latter beside this share.",
            )


def groups(facts: Facts) -> Iterator[Flag]:
    """Whether the test has miRNAs enough to say anything about miRNAs."""
    rows, mirnas = facts.counts["test"], facts.counts["test_mirnas"]
    if rows and mirnas < FEW:
        yield Flag(
            "red" if mirnas < 2 else "amber",
            f"The test part has {mirnas} miRNA{'s' * (mirnas != 1)}",
            "Intervals are made by drawing miRNAs; of so few they are too narrow or undefined.",
        )


def identity(facts: Facts) -> Iterator[Flag]:
    """Whether half of a pair tells the label."""
    best = np.nanmax(aucs) if (aucs := _aucs(facts)) else np.nan
    for predictor, half in (("mirna_identity", "miRNA"), ("site_identity", "site")):
        value, low, high = facts.auc(predictor)
        if np.isnan(value):
            continue
        what = f"{half} identity alone reaches AUC {value:.2f}"
        if value > 0.5 and (value >= EASY or value >= best - BESIDE):
            sure = low > 0.5
            yield Flag(
                "red" if sure else "amber",
                what,
                f"The labels follow the {half}: a network can reach this without learning anything "
                f"of pairing, and its figures must be read beside this one. Split by "
                f"{'miRNA' if half == 'miRNA' else 'site'}, or balance the labels of each {half}."
                + ("" if sure else " The interval reaches down to chance, so this may be chance."),
            )
        elif value <= 1 - EASY and high < 0.5:
            yield Flag(
                "amber",
                f"{half} identity alone reaches AUC {value:.2f}, below chance",
                f"A {half} with many positives in training has few in the test: a network that "
                f"learns {half}s will be worse than chance here.",
            )
        else:
            yield Flag("green", what, f"The {half} alone does not tell the label.")


def additive(facts: Facts) -> Iterator[Flag]:
    """How far one comes without any word meeting its partner."""
    value, low, _ = facts.auc("logistic")
    if value >= EASY and low > 0.5:
        yield Flag(
            "amber",
            f"A linear model without interaction reaches AUC {value:.2f}",
            "It adds up what it sees of the miRNA and of the site; only what a network has beyond "
            "that speaks of pairing.",
        )


def leaks(facts: Facts) -> Iterator[Flag]:
    """What of the test stands in training."""
    if np.isnan(facts.share("pair")):
        return
    if pair := facts.share("pair"):
        words = "Their answer can be looked up: split so that repeated pairs stay together."
        yield Flag("red", f"{pair:.1%} of the test pairs stand in training", words)
    site, near = facts.share("site"), facts.share("near site")
    if near > 0.01:
        words = f"{site:.1%} are the very same; the others share 20 letters with one."
        yield Flag("amber", f"{near:.1%} of the test sites are in training, or nearly", words)
    mirna, family = facts.share("mirna"), facts.share("family")
    if mirna:
        yield Flag(
            "amber",
            f"{mirna:.1%} of the test pairs have a miRNA of training",
            "The test does not say how the network does on other miRNAs; a split by miRNA does.",
        )
    elif family:
        words = "They may have the same seed; a split by family asks more."
        yield Flag(
            "amber", f"{family:.1%} of the test pairs have a miRNA family of training", words
        )
    if not (pair or mirna or family or near > 0.01):
        yield Flag("green", "Test and training share no pair, miRNA, family or site", "")


def rows(facts: Facts) -> Iterator[Flag]:
    """Rows that were left out, that repeat or that contradict each other."""
    counts = facts.counts
    total = counts["rows"] + counts["rejected"]
    if rejected := counts["rejected"]:
        level: Level = "red" if rejected > total / 10 else "amber"
        words = "Each is listed with its reason; nothing was put in its place."
        yield Flag(level, f"{rejected} of {total} rows were left out", words)
    if repeats := counts["duplicates"]:
        words = "They count more than once, in training and in every figure."
        yield Flag("amber", f"{repeats} rows repeat another one", words)
    if conflicts := counts["conflicts"]:
        words = "No predictor can be right about both: this bounds every accuracy."
        yield Flag("amber", f"{conflicts} pairs have both labels", words)
    if not rejected + repeats + conflicts:
        yield Flag("green", "Every row is used, none repeats or contradicts another", "")


RULES: tuple[Callable[[Facts], Iterator[Flag]], ...] = (
    labels,
    identity,
    leaks,
    groups,
    additive,
    rows,
)


def _aucs(facts: Facts) -> list[float]:
    table = facts.trivial[facts.trivial["metric"] == "auc"]
    return [float(value) for value in table["value"] if value == value]
