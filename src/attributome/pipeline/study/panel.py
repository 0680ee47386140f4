"""One field as every predictor sees it."""

from collections import defaultdict
from itertools import combinations

import numpy as np
import pandas as pd

from attributome.core.errors import UsageError
from attributome.pipeline.study.gallery import NO_TEST
from attributome.pipeline.study.looked import Looked, look
from attributome.pipeline.study.opening import Opened, Studies
from attributome.pipeline.study.pictures import drawn, middle_plane, ready
from attributome.pipeline.study.saving import shared
from attributome.studies.found import Found

Group = list[tuple[Opened, Looked]]


def panel(studies: Studies) -> Found:
    """The field that most predictors judge: what each says of it, and by what.

    It is the same field where its name and its image are the same. `overlap` tells how much two
    signatures share (intersection over union) beside what two of their sizes share by chance.
    Raises `UsageError` where no two predictors judge one field.
    """
    field, group = _shared_field(studies)
    rows, arrays = [], {}
    progress = studies.bars("panel")
    for done, (one, seen) in enumerate(group):
        progress(done / len(group), f"{one.name} ({done + 1} of {len(group)})")
        key = f"tiles_{done:03d}"
        arrays[key], about = drawn(ready(one, field, seen), middle_plane(seen.x.shape[1:]))
        rows.append({"key": key, "part": "panel", **studies.about(one, field), **about})
    progress(1.0, f"{len(group)} predictors")
    table = pd.DataFrame(rows)
    overlap = pd.DataFrame([_overlap(*pair) for pair in combinations(group, 2)])
    said = [f"Field {field}, as {len(group)} predictors judge it."]
    said += [
        f"{row['first']} and {row['second']}: their signatures share {row['shared']:.0%} of what "
        f"either keeps; two of these sizes share {row['by_chance']:.0%} by chance."
        for row in overlap.to_dict("records")
    ]
    return Found(
        numbers={
            "field": field,
            "predictors": table["predictor"].tolist(),
            "overlap": overlap.to_dict("records"),
        },
        n=f"{shared(table)}: one field tells nothing of others",
        test=NO_TEST,
        words=tuple(said),
        tables={"tiles": table, "overlap": overlap},
        arrays=arrays,
    )


def _shared_field(studies: Studies) -> tuple[str, Group]:
    """The first field that most predictors judge on the same image."""
    judges: dict[str, list[Opened]] = defaultdict(list)
    for one, field in studies.fields():
        judges[field].append(one)
    best: tuple[str, Group] = ("", [])
    for field in sorted(judges, key=lambda name: -len(judges[name])):
        if len(judges[field]) <= max(1, len(best[1])):
            break
        for group in _same([(one, look(studies, one, field)) for one in judges[field]]):
            if len(group) > len(best[1]):
                best = (field, group)
    if len(best[1]) < 2:
        raise UsageError(
            "no field is judged by two predictors, with the same name and the same image: name "
            "runs of two predictors whose judged fields meet"
        )
    return best


def _same(seen: Group) -> list[Group]:
    """Those that see the same image, together."""
    groups: list[Group] = []
    for pair in seen:
        for group in groups:
            if np.array_equal(group[0][1].x, pair[1].x):
                group.append(pair)
                break
        else:
            groups.append([pair])
    return groups


def _overlap(first: tuple[Opened, Looked], second: tuple[Opened, Looked]) -> dict[str, object]:
    a, b = (np.asarray(seen.mask) for _, seen in (first, second))
    sizes = [float(mask.mean()) for mask in (a, b)]
    by_chance = sizes[0] * sizes[1]
    either = int((a | b).sum())
    return {
        "first": first[0].name,
        "second": second[0].name,
        "shared": float((a & b).sum() / either) if either else float("nan"),
        "by_chance": by_chance / (sum(sizes) - by_chance) if either else float("nan"),
    }
