"""Names of what is compared, of what is done to crops and of commands, alike on the whole page."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from attributome.report.numbers import num, number, span

HELD_OUT = "held_out_plates"
PARTS = {
    "train": "training wells",
    "validate": "validation wells",
    "test": "test wells",
    HELD_OUT: "held-out plates",
}
ERASED = "cell erased"
AS_IT_IS = "as it is"
TESTS = {
    AS_IT_IS: "nothing is changed",
    "cell erased, mean": "the cell is filled with the mean of its background",
    "cell erased, around": "the cell is filled with background from beside it",
    "cell erased, another's background": "the cell is filled with the background of another crop, "
    "of another class",
    "all cells erased": "the background alone, in the places of all cells too",
    "neighbours erased": "all other cells are filled with background",
    "background replaced": "the background is that of a crop of another class; the cells stay",
    "surroundings replaced": "background and neighbours are those of a crop of another class",
    "cell swapped": "a cell of another class stands in its place",
    "cell swapped: the label of the new cell": "the same crops; counted is how often the answer is "
    "the class of the cell that was put in",
}
"""What is done to a crop before it is classified again."""
CONTROLS = {
    "none": "as it is",
    "rolled mask": "masks moved by half a crop",
    "neighbour's mask": "masks of a neighbour",
    "random weights": "network that learnt nothing",
}
STAGES = {
    "raw": "raw",
    "normalised": "normalised",
    "sphered": "sphered",
    "aligned": "aligned (TVN)",
    "selected": "selected",
    "camo": "by Grad-CAMO",
}
"""Profiles in the order in which they are made."""
PREDICTORS = {
    "plate": "which plate",
    "position": "place on the plate",
    "background": "background only",
    "cell": "the cell only",
}
REMEDIES = {"none": "no remedy", "penalty": "overlap penalty", "mask": "masked crops",
            "background": "other backgrounds"}  # fmt: skip
ALTERNATIVES = {
    "classifier": "the classifier",
    "untrained": "before training",
    "contrastive": "contrastive",
    "inpainting": "inpainting",
}
"""Kinds of features, and how they were learnt."""
ORDER = ("crop", "train", "features", "camo", "normalise", "evaluate", "report")
MADE_BY = {
    "cells": "crop",
    "network": "train",
    "features": "features",
    "camo": "camo",
    "causes": "camo",
    "profiles": "normalise",
    "evaluation": "evaluate",
    "umap": "evaluate",
    "remedies": "remedies",
    "alternatives": "alternatives",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its interval and with what chance would give; NaN where it is not there."""

    value: float
    low: float
    high: float
    chance: float

    @property
    def known(self) -> bool:
        """Whether there is a number."""
        return isfinite(self.value)

    @property
    def words(self) -> str:
        """The number with its interval."""
        ends = span(self.low, self.high)
        return f"{num(self.value)} ({f'95 % interval {ends}' if ends else 'no interval'})"


def estimate(row: Any, value: str, low: str = "low", high: str = "high") -> Estimate:
    """The estimate of a row; what the row does not have is NaN."""
    names = (value, low, high, "chance")
    found = dict(zip(("value", "low", "high", "chance"), map(row.get, names), strict=True))
    return Estimate(**{name: number(given) for name, given in found.items()})


def stage(name: str) -> str:
    """What a set of profiles is called."""
    return STAGES.get(name, name)


def counted(count: Any, noun: str) -> str:
    """A count with its noun, thousands apart; what is not there counts as none."""
    number_of = int(count or 0)
    return f"{number_of:,} {noun}" + ("" if number_of == 1 else "s")


def quoted(name: str) -> str:
    """A set of profiles inside a sentence."""
    return f"the profiles “{stage(name)}”"


def command(root: Path, part: str) -> str:
    """The command that makes a part of this run."""
    return chain(root, [MADE_BY[part]])


def chain(root: Path, verbs: Sequence[str]) -> str:
    """Several commands, each of which needs what the one before makes."""
    where = shlex.quote(str(root))
    return " && ".join(f"attributome profile {verb} --out {where}" for verb in verbs)


def sentence(words: str) -> str:
    """Words with a capital at their start and a full stop at their end."""
    text = negative(words.strip())
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")


def negative(words: str) -> str:
    """Words in which numbers below 0 have a true minus sign."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", words)


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"+{num(value)}" if value > 0 else num(value)
