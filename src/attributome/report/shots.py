"""The pictures of a planted benchmark: the truth on a field, and on the map of every method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from attributome.report.gallery import Card, Tile
from attributome.report.looks import look
from attributome.report.numbers import grey_value, num, share
from attributome.report.panels import scale_bar
from attributome.report.pictures import (
    ORANGE,
    grey_range,
    outlined,
    plane,
    signed_outlined,
    slice_of,
)
from attributome.store import Run

FIELDS = "fields"
_NOTHING = Tile(title="", source="", alt="", caption="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One field of a network: the truth on its image, and every map."""

    id: str
    anchor: str
    bar: tuple[float, str] | None
    cards: list[Card]


def shot(
    run: Run,
    unit: str,
    keys: Sequence[str],
    n: int,
    found: Mapping[str, Any],
    metric: str,
    name: str,
) -> Shot:
    """The maps of one field, each with the truth outlined and its `metric`, called `name`."""
    arrays = {name: run.array(FIELDS, unit, name) for name in run.arrays(FIELDS, unit)}
    truth, image = np.asarray(arrays["truth"]) > 0, arrays["image"]
    z = slice_of(truth, None)
    mask, shown = plane(truth, z), grey_range(image[0])
    channel = next(iter(found.get("channels") or ["channel 1"]))
    where = f"; z-slice {z + 1} of {len(truth)}" if z is not None else ""
    input_ = Card(
        key="",
        label="the field",
        value=f"{channel}{where}",
        map=Tile(
            title="the field",
            source=outlined(plane(image[0], z), shown, [(mask, ORANGE)]),
            alt=f"Truth outlined on the field {unit}",
            caption=f"orange: the truth, {share(float(truth.mean()))} of the field; {shown.words}",
        ),
        top=_NOTHING,
    )
    table = run.table(FIELDS, "scores")
    index = int(unit.rpartition("-")[2])
    mine = table[(table["setup"] == unit.rpartition("-")[0]) & (table["field"] == index)]
    scores = {str(m): float(v) for m, v in zip(mine["method"], mine[metric], strict=True)}
    cards = [
        _card(key, np.asarray(arrays[f"map_{key}"]), mask, z, unit, name, scores)
        for key in keys
        if f"map_{key}" in arrays
    ]
    pixel = (found.get("pixel_size") or {}).get(str(truth.ndim))
    bar = scale_bar(float(pixel[-1]), truth.shape[-1]) if pixel else None
    return Shot(id=unit, anchor=f"shot-{n}", bar=bar, cards=[input_, *cards])


def _card(
    key: str,
    evidence: np.ndarray,
    mask: np.ndarray,
    z: int | None,
    unit: str,
    name: str,
    scores: Mapping[str, float],
) -> Card:
    label, sizes = look(key).label, np.abs(evidence.astype(np.float64))
    reach = float(np.percentile(sizes, 99.5)) or float(sizes.max())
    nothing = "no evidence for this target: the map is 0 everywhere"
    return Card(
        key=key,
        label=label,
        value=f"{name} {num(scores.get(key))}",
        map=Tile(
            title=label,
            source=signed_outlined(plane(evidence, z), reach, mask) if reach else "",
            alt=f"Map of {label} with the truth outlined, {unit}",
            caption=f"scale ± {grey_value(reach)}" if reach else nothing,
        ),
        top=_NOTHING,
    )
