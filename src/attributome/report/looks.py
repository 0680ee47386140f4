"""How each method is named and drawn: the same name, colour, dash and marker on the whole page.

Hues are names of CSS variables (Okabe-Ito colours, lighter ones in the dark); no method is told
from another by its colour alone.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The name and the drawing style of a method or a curve."""

    label: str
    hue: str
    marker: str = "circle"
    dash: str = ""
    about: str = ""


LOOKS = {
    "learned_mask": Look(
        label="learned mask", hue="blue", about="the binary signature that this page is about"
    ),
    "intensity": Look(
        label="brightest contrast",
        hue="vermillion",
        marker="up",
        dash="9 3",
        about="the pixels that differ most from the field's mean; needs no learning",
    ),
    "edges": Look(
        label="edges",
        hue="green",
        marker="plus",
        dash="9 3 2 3",
        about="the pixels with the steepest contrast; needs no learning",
    ),
    "translated": Look(
        label="same mask, moved",
        hue="orange",
        marker="square",
        dash="6 4",
        about="the signature shifted to another place: same shapes, wrong position",
    ),
    "flipped": Look(
        label="same mask, flipped",
        hue="sky",
        marker="diamond",
        dash="6 3 2 3",
        about="the signature mirrored: same shapes, wrong position",
    ),
    "blurred_noise": Look(
        label="random blobs",
        hue="purple",
        marker="down",
        dash="3 3",
        about="smooth random blobs: no relation to the image",
    ),
    "random": Look(
        label="random pixels",
        hue="ink",
        marker="cross",
        dash="1.5 3",
        about="pixels drawn at random: no relation to the image",
    ),
    "learned_mask_soft": Look(
        label="learned mask, soft",
        hue="sky",
        marker="square",
        dash="6 4",
        about="the map before it is cut into kept and replaced",
    ),
    "uniform_soft": Look(
        label="uniform grey mask, soft",
        hue="amber",
        marker="diamond",
        dash="3 3",
        about="the signature's size as a value everywhere: it selects nothing at all",
    ),
    "uniform_as_soft": Look(
        label="uniform grey mask, as soft",
        hue="purple",
        marker="down",
        dash="6 3 2 3",
        about="the mean of the soft map everywhere: it selects nothing at all",
    ),
    "loss": Look(label="training loss", hue="blue"),
    "val_loss": Look(label="validation loss", hue="vermillion", marker="square", dash="6 4"),
    "val_pcc": Look(label="validation PCC", hue="green", marker="up"),
    "val_size": Look(label="validation mask size", hue="purple", marker="diamond", dash="6 3 2 3"),
    "precision": Look(label="precision", hue="sky", marker="diamond"),
    "recall": Look(label="recall", hue="blue"),
    "region_importance": Look(label="true region", hue="green", marker="up"),
    "decoy_importance": Look(label="decoy", hue="vermillion", marker="square"),
}


def look(key: str) -> Look:
    """The look of a method; one that this page has not met is drawn in ink under its own name."""
    return LOOKS.get(key) or Look(label=key.replace("_", " "), hue="ink", marker="ring", dash="4 2")


def in_order(keys: list[str]) -> list[str]:
    """Methods in the order of the table above, others after them by name."""
    known = list(LOOKS)
    return sorted(set(keys), key=lambda key: (known.index(key) if key in LOOKS else 99, key))
