"""Example fields as rows of captioned pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np

from attributome.report.facts import MASK, Example, Facts
from attributome.report.gallery import Card, Tile, cards, ground, scales
from attributome.report.looks import look
from attributome.report.numbers import grey_value, listing, num, share
from attributome.report.pictures import (
    BLUE,
    ORANGE,
    Range,
    borders,
    coloured,
    grey,
    grey_range,
    in_colour,
    outlined,
    plane,
    slice_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One example field; `bar` is the scale bar's share of the width and its label."""

    id: str
    anchor: str
    facts: list[tuple[str, str]]
    tiles: list[Tile]
    cards: list[Card]
    target: str
    bar: tuple[float, str] | None
    remarks: list[str]


def panels(facts: Facts) -> list[Panel]:
    """Every example field of a run."""
    reach = scales(facts)
    return [_panel(example, n, facts, reach) for n, example in enumerate(facts.examples, 1)]


def shown_slice(example: Example) -> int | None:
    """The z-slice that every picture of a field shows; None in 2-D."""
    signature = np.asarray(example.arrays["signature"])[0] > 0
    return slice_of(signature, np.asarray(example.arrays["map"])[0])


def _panel(example: Example, number: int, facts: Facts, reach: Mapping[str, float]) -> Panel:
    note, arrays = example.note, example.arrays
    signature = np.asarray(arrays["signature"])[0] > 0
    importance = np.asarray(arrays["map"])[0]
    z = shown_slice(example)
    several = cards(example, facts, z, reach)
    pixel = note.get("pixel_size")
    bar = scale_bar(float(pixel[-1]), signature.shape[-1]) if pixel else None
    remarks = []
    if not signature.any():
        remarks.append("The signature is empty: no part of this field passed the threshold.")
    if float(importance.max()) == float(importance.min()):
        value = num(float(importance.max()))
        remarks.append(f"The importance map is {value} everywhere: it prefers no place.")
    if z is not None:
        why = "the one with the most signature" if signature.any() else "chosen without signature"
        remarks.append(f"Pictures show z-slice {z + 1} of {signature.shape[0]}, {why}.")
    if not pixel:
        remarks.append("Pixel size not given, so there is no scale bar.")
    remarks += _scalars(example)
    wanted = (
        ("efficacy", num(note.get("efficacy"))),
        ("mask size", share(note.get("mask_size"))),
        ("noise", str(note.get("noise") or "–")),
        ("size", " × ".join(map(str, signature.shape)) + " px"),
    )
    extra = [(str(key), str(value)) for key, value in (note.get("meta") or {}).items()]
    return Panel(
        id=example.id,
        anchor=f"field-{number}",
        facts=[*wanted, *extra],
        tiles=_tiles(example, z, facts.lead, alone=not several),
        cards=several,
        target=example.target,
        bar=bar,
        remarks=remarks,
    )


def _tiles(example: Example, z: int | None, lead: str, *, alone: bool) -> list[Tile]:
    """The pictures of a field; map and signature are left to the cards, where it has any."""
    note, arrays = example.note, example.arrays
    out = _first(note.get("target_channels"))
    signature = plane(arrays["signature"][0], z)
    drawn = ground(example, z)
    base, shown = drawn.image, drawn.shown
    empty = not (signature > 0).any()
    kept = "no outline: the signature is empty here" if empty else "orange: what the mask keeps"
    tiles = [("Input", grey(base, shown), _about(drawn.about, shown))]
    if "target" in arrays:
        range_ = grey_range(arrays["target"][0])
        picture = grey(plane(arrays["target"][0], z), range_)
        tiles.append(("Measured", picture, _about(f"real {out}", range_)))
    predicted = grey_range(arrays["prediction"][0]) if "prediction" in arrays else None
    if predicted:
        picture = grey(plane(arrays["prediction"][0], z), predicted)
        tiles.append(("Prediction", picture, _about("from the whole field", predicted)))
    if alone:
        tiles.append(_importance(arrays["map"], z, lead))
        picture = outlined(base, shown, [(signature, ORANGE)])
        tiles.append(("Signature", picture, f"{kept}, over the input"))
    if "regions" in arrays:
        labels = borders(plane(arrays["regions"], z))
        picture = outlined(base, shown, [(labels, BLUE), (signature, ORANGE)])
        words = "blue: regions that came with the data; orange: the signature"
        tiles.append(("Known regions", picture, words))
    if "noisy_input" in arrays:
        noisy = arrays["noisy_input"]
        covered = plane(noisy[0], z) if base.ndim == 2 else in_colour(noisy, z)
        picture = grey(covered, shown)
        tiles.append(("Input, rest replaced", picture, "the same grey range as the input"))
    if "noisy_prediction" in arrays and predicted:
        picture = grey(plane(arrays["noisy_prediction"][0], z), predicted)
        words = "from that input, the same grey range as the prediction"
        tiles.append(("Prediction from it", picture, words))
    return [
        Tile(title=title, source=source, alt=f"{title} of {example.id}", caption=caption)
        for title, source, caption in tiles
    ]


def _importance(maps: np.ndarray, z: int | None, lead: str) -> tuple[str, str, str]:
    """The map that was ranked: a mask from 0 to 1, or the sizes of what a method gave."""
    if lead == MASK:
        picture = coloured(plane(maps[0], z))
        return "Importance map", picture, "fixed scale 0 to 1, the same for all fields"
    most = float(np.max(maps))
    if most <= 0:
        return look(lead).label, "", "no evidence for this target: the map is 0 everywhere"
    picture = coloured(plane(np.asarray(maps[0]) / most, z))
    return look(lead).label, picture, f"sizes without sign; black 0, brightest {grey_value(most)}"


def _about(what: str, shown: Range) -> str:
    return f"{what}; {shown.words}" if what else shown.words


def _first(names: object) -> str:
    """The channel that is shown, and of how many."""
    if not isinstance(names, list | tuple) or not names:
        return ""
    return str(names[0]) if len(names) == 1 else f"{names[0]} (channel 1 of {len(names)})"


def _scalars(example: Example) -> list[str]:
    """What the network says where it gives numbers."""
    whole, noisy = (example.note.get(name) for name in ("prediction", "noisy_prediction"))
    if whole is None or noisy is None:
        return []
    both = f"{_values(whole)}; from what the mask keeps: {_values(noisy)}"
    return [f"Prediction from the whole field: {both}."]


def _values(value: object) -> str:
    values = value if isinstance(value, list | tuple) else [value]
    return listing([f"{v:.3g}" if isinstance(v, int | float) else str(v) for v in values])


def scale_bar(pixel: float, width: int) -> tuple[float, str] | None:
    """A round length near a quarter of the width."""
    whole = pixel * width
    if not isfinite(whole) or whole <= 0:
        return None
    power = 10.0 ** np.floor(np.log10(whole / 4))
    length = max(m * power for m in (1, 2, 5) if m * power <= whole / 4 * 1.001)
    return round(float(length / whole), 4), f"{length:.3g} µm"
