"""The map of every method for one example field, and the pixels that it ranks highest."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from attributome.report.agreement import lowest
from attributome.report.facts import Example, Facts
from attributome.report.looks import look
from attributome.report.numbers import grey_value, num, share
from attributome.report.pictures import (
    BLUE,
    ORANGE,
    Range,
    Shown,
    coloured,
    grey_range,
    in_colour,
    outlined,
    plane,
    signed,
    top,
)

SOFT = ("learned_mask", "extremal_perturbation")
"""Methods whose map is a mask: from 0 to 1, and without a sign."""
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A picture with its title, alternative text and grey range; no source is a state in words."""

    title: str
    source: str
    alt: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One method in one field: its map above, its top pixels on the input below."""

    key: str
    label: str
    value: str
    map: Tile
    top: Tile


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The input as it is drawn: its plane, the values that are black and white, and its name."""

    image: Shown
    shown: Range
    about: str


def ground(example: Example, z: int | None) -> Ground:
    """The input: in colour where its channels are red, green and blue, else its first channel."""
    channels, image = example.note.get("channels") or [], example.arrays["input"]
    if tuple(str(name).casefold() for name in channels) == COLOURS:
        shown = grey_range(image)
        about = "red, green and blue on one scale, as the network sees them"
        return Ground(image=in_colour(image, z), shown=shown, about=about)
    shown = grey_range(image[0])
    about = "" if not channels else str(channels[0])
    if len(channels) > 1:
        about += f" (channel 1 of {len(channels)})"
    return Ground(image=plane(image[0], z), shown=shown, about=about)


def maps_of(example: Example, facts: Facts) -> dict[str, Shaped[np.ndarray, "c *s"]]:
    """The map of each method of the job, the leading one first."""
    arrays = example.arrays
    found = {key: arrays[f"map_{key}"] for key in facts.methods if f"map_{key}" in arrays}
    return {facts.lead: arrays.get(f"map_{facts.lead}", arrays["map"]), **found}


def scales(facts: Facts) -> dict[str, float]:
    """How far the colours of each method reach: one scale for all example fields of a page.

    The 99.5th percentile of the absolute values, so that one hot pixel does not pale the rest; or
    the largest value, where fewer pixels than that are not 0.
    """
    found: dict[str, float] = {}
    for example in facts.examples:
        for key, maps in maps_of(example, facts).items():
            sizes = np.abs(np.asarray(maps, np.float64).sum(0))
            reach = float(np.percentile(sizes, 99.5)) or float(sizes.max())
            found[key] = max(found.get(key, 0.0), reach)
    return found


def cards(example: Example, facts: Facts, z: int | None, reach: Mapping[str, float]) -> list[Card]:
    """One card per method, the leading one first and then the best."""
    maps = maps_of(example, facts)
    if len(maps) < 2:
        return []
    order = [key for key in [facts.lead, *facts.ranked, *maps] if key in maps]
    scores = facts.efficacies("signature", "method")
    return [
        _card(example, facts, key, maps[key], z, reach[key], _value(scores, example.id, key))
        for key in dict.fromkeys(order)
    ]


def disputes(facts: Facts, slices: Mapping[str, int | None]) -> list[tuple[Example, list[Tile]]]:
    """Where the methods disagree in each example field, and the pair that agrees least."""
    pair, found = lowest(facts), []
    for example in facts.examples:
        if "disagreement" not in example.arrays:
            continue
        z, maps, tiles = slices[example.id], maps_of(example, facts), []
        if pair and pair.a in maps and pair.b in maps:
            base = ground(example, z)
            both = [
                (plane(kept(example, facts, key, maps[key]), z), colour)
                for key, colour in ((pair.a, ORANGE), (pair.b, BLUE))
            ]
            tiles.append(
                Tile(
                    title="The two that agree least",
                    source=outlined(base.image, base.shown, both),
                    alt=f"Top pixels of {look(pair.a).label} and {look(pair.b).label} on the input "
                    f"of {example.id}",
                    caption=f"top pixels: orange {look(pair.a).label}, blue {look(pair.b).label}",
                )
            )
        spread = example.arrays["disagreement"][0]
        tiles.append(
            Tile(
                title="Disagreement",
                source=coloured(plane(spread, z)),
                alt=f"Disagreement of the methods in {example.id}",
                caption="fixed scale 0 to 1: the spread of each pixel's rank over the methods; "
                f"its mean here is {num(float(np.mean(spread)))}",
            )
        )
        found.append((example, tiles))
    return found


def kept(
    example: Example, facts: Facts, key: str, maps: Shaped[np.ndarray, "c *s"]
) -> Shaped[np.ndarray, "*s"]:
    """The pixels that a method ranks highest, as many as the signature has; sizes, not signs."""
    signature = np.asarray(example.arrays["signature"])[0] > 0
    if key == facts.lead:
        return np.asarray(signature)
    values = np.asarray(maps)
    whole = len(values) == 1 and bool((values >= 0).all())
    return top(values[0] if whole else np.abs(values).sum(0), float(signature.mean()))


def _card(
    example: Example,
    facts: Facts,
    key: str,
    maps: Shaped[np.ndarray, "c *s"],
    z: int | None,
    reach: float,
    value: str,
) -> Card:
    summed, label = np.asarray(maps, np.float64).sum(0), look(key).label
    nothing = not np.asarray(maps).any()
    if nothing:
        source, words = "", "no evidence for this target: the map is 0 everywhere"
    elif key in SOFT and summed.min() >= 0 and summed.max() <= 1:
        source, words = coloured(plane(summed, z)), "fixed scale 0 to 1"
    else:
        channels = f"; {len(maps)} channels, summed with their sign" if len(maps) > 1 else ""
        unsigned = "; nothing negative" if summed.min() >= 0 else ""
        if key == facts.lead and f"map_{key}" not in example.arrays:
            unsigned = "; sizes, without their sign"
        source = signed(plane(summed, z), reach)
        words = f"scale ± {grey_value(reach)}{unsigned}{channels}"
    base, area = ground(example, z), float((np.asarray(example.arrays["signature"]) > 0).mean())
    empty = nothing or area == 0
    chosen = [] if empty else [(plane(kept(example, facts, key, maps), z), ORANGE)]
    return Card(
        key=key,
        label=label,
        value=value,
        map=Tile(title=label, source=source, alt=f"Map of {label}, {example.id}", caption=words),
        top=Tile(
            title="",
            source="" if nothing else outlined(base.image, base.shown, chosen),
            alt=f"Top pixels of {label} on the input, {example.id}",
            caption="no top pixels"
            if nothing
            else "no outline: the signature is empty here"
            if empty
            else f"orange: the {share(area)} of the pixels that it ranks highest",
        ),
    )


def _value(scores: pd.DataFrame, sample: str, key: str) -> str:
    """The efficacy of this method in this field."""
    if key not in scores or sample not in scores.index:
        return ""
    return f"efficacy {num(float(scores[key].loc[sample]))}"
