"""Pictures of fields and of their signatures, plane by plane where a field is deep."""

from typing import Any

import numpy as np
import pandas as pd

from attributome.pipeline.study.looked import look
from attributome.pipeline.study.opening import Opened, Studies, each_field
from attributome.pipeline.study.pictures import (
    Plane,
    drawn,
    middle_plane,
    planes,
    ready,
    sections,
)
from attributome.pipeline.study.saving import shared
from attributome.studies.found import Found

NO_TEST = "nothing is tested: these are pictures"


def gallery(studies: Studies) -> Found:
    """Some fields of each predictor, taken at even distances from the list of those judged.

    Deep fields show their middle plane; the first of each predictor also shows planes from top to
    bottom (part "planes") and its three middle sections (part "sections").
    """
    asked = studies.job.gallery
    chosen = [pair for name in studies.names for pair in evenly(studies.fields(name), asked.fields)]
    rows: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    deep: set[str] = set()
    for one, field in each_field(studies, "gallery", chosen):
        seen = look(studies, one, field)
        space = seen.x.shape[1:]
        parts: list[tuple[str, Plane]] = [("field", middle_plane(space))]
        if len(space) == 3 and one.name not in deep:
            deep.add(one.name)
            parts += [("planes", plane) for plane in planes(space, asked.slices)]
            parts += [("sections", plane) for plane in sections(space)]
        field_ready = ready(one, field, seen)
        for part, plane in parts:
            key = f"tiles_{len(rows):03d}"
            arrays[key], about = drawn(field_ready, plane)
            rows.append({"key": key, "part": part, **studies.about(one, field), **about})
    table = pd.DataFrame(rows)
    fields = table[table["part"] == "field"]
    return Found(
        numbers={
            str(name): {
                "fields": part["field"].tolist(),
                "of": len(studies.fields(str(name))),
                "efficacy": part["efficacy"].tolist(),
                "size": part["size"].tolist(),
            }
            for name, part in fields.groupby("predictor", sort=False)
        },
        n=shared(table),
        test=NO_TEST,
        words=tuple(
            _words(str(name), part, len(studies.fields(str(name))))
            for name, part in fields.groupby("predictor", sort=False)
        ),
        tables={"tiles": table},
        arrays=arrays,
    )


def evenly(pairs: list[tuple[Opened, str]], count: int) -> list[tuple[Opened, str]]:
    """At most `count` of a list, at even distances: no score has a say in it."""
    places = (np.arange(min(count, len(pairs))) + 0.5) * len(pairs) / min(count, len(pairs))
    return [pairs[int(place)] for place in places]


def _words(name: str, part: pd.DataFrame, of: int) -> str:
    low, high = part["efficacy"].min(), part["efficacy"].max()
    return (
        f"{name}: {len(part)} of {of} judged fields, taken at even distances and not by their "
        f"score; efficacy {low:.3f} to {high:.3f}, at a median size of "
        f"{part['size'].median():.0%} of the field."
    )
