"""Names of what is compared, of protocols and of commands, the same on the whole page."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of features: its name, within a sentence too, and how it is drawn everywhere."""

    name: str
    the: str
    hue: str
    shape: str


KINDS = {
    "ours": Kind(name="inpainting features", the="these features", hue="blue", shape="circle"),
    "untrained": Kind(
        name="same network, untrained",
        the="the same network untrained",
        hue="orange",
        shape="diamond",
    ),
    "raw_intensity": Kind(
        name="raw intensities", the="raw intensities", hue="vermillion", shape="square"
    ),
    "prepared_intensity": Kind(
        name="intensities, prepared",
        the="intensities of the prepared crops",
        hue="purple",
        shape="up",
    ),
    "imagenet": Kind(
        name="ImageNet network", the="a network of ImageNet", hue="green", shape="down"
    ),
}
TRIVIAL = {
    "copy_marker": "showing the marker instead",
    "constant": "the best constant",
    "zeros": "an empty picture",
}
PARTS = {"train": "training", "validate": "validation", "test": "test"}
MADE_BY = {
    "cells": "prepare",
    "network": "train",
    "features": "features",
    "evaluation": "evaluate",
    "findings": "evaluate",
    "umap": "evaluate",
    "predictions": "predict",
}
ORDER = ("prepare", "train", "features", "evaluate", "predict", "report")


def kind_of(features: str) -> Kind:
    """How a kind of features is named and drawn; one that is new is drawn in ink."""
    name = features.replace("_", " ")
    return KINDS.get(features) or Kind(name=name, the=name, hue="ink", shape="ring")


def layer_of(layer: str, pool: str) -> str:
    """A layer with its pool, as a person writes them."""
    return " ".join(part for part in (layer, pool) if part)


def command(root: Path, part: str) -> str:
    """The command that makes a part of this run."""
    return f"attributome inpaint {MADE_BY[part]} --out {shlex.quote(str(root))}"


def chain(root: Path, verbs: Sequence[str]) -> str:
    """Several commands, each of which needs what the one before makes."""
    where = shlex.quote(str(root))
    return " && ".join(f"attributome inpaint {verb} --out {where}" for verb in verbs)


def protocol(name: str, k: int) -> str:
    """What judges a cell in a protocol of `k` neighbours (0: nobody says how many)."""
    nearest = f"the {k} nearest" if k else "the nearest"
    if name == "leave one cell out":
        return f"{nearest} other cells, also those of its own field"
    if name.startswith("linear, "):
        unit = name.removeprefix("linear, ").removesuffix(" folds")
        return f"a linear classifier that was trained on other {unit}s"
    if name.startswith("whitened, "):
        unit = name.removeprefix("whitened, ").removesuffix(" folds")
        return (
            f"{nearest} cells of other folds, after features were turned, without labels, to what "
            f"tells other {unit}s apart"
        )
    if name.endswith(" folds"):
        unit = name.removesuffix(" folds")
        return f"{nearest} cells of other folds, each of whole {unit}s"
    if name.startswith("leave ") and name.endswith(" out"):
        unit = name.removeprefix("leave ").removesuffix(" out")
        return f"{nearest} cells of all other {unit}s; too strict where a {unit} has one class"
    return ""


def sentence(words: str) -> str:
    """Words with a capital at their start and a full stop at their end."""
    text = words.strip()
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")


def within(name: str) -> str:
    """A protocol inside a sentence."""
    if name == "leave one cell out":
        return "with neighbours from anywhere"
    unit = next((u for u in ("field", "well", "plate") if u in name), "")
    return f"across {unit}s" if unit else name
