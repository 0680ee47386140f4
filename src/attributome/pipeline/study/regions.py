"""Noise in one region of a field, and in as large a region elsewhere, at both levels.

A whole field is judged by the prediction of the whole field. A cell is judged as an image of its
own, cut out with what lies around it, or a change in one cell would be lost among all others.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from skimage.segmentation import expand_labels
from torch import Tensor

from attributome.core.arrays import mix
from attributome.core.errors import DataError
from attributome.core.seeds import seed_of
from attributome.pipeline.looking import agreement_of
from attributome.pipeline.study.drawn import BEYOND, Drawn, drawn, history, options_of
from attributome.pipeline.study.inside import check_methods, explained, slices
from attributome.pipeline.study.looked import Hand
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies, marked
from attributome.pipeline.study.saving import shared
from attributome.studies.found import Found
from attributome.studies.regions import erosion_steps
from attributome.studies.validation import elsewhere, region_effects, region_rows

STAGE, SHOWN = "regions", "regions_shown"
SIDE = 400  # pixels of a picture; larger fields are shown in steps
Box = tuple[slice, ...]
Where = Bool[np.ndarray, "*s"]


def regions(studies: Studies) -> Found:
    """The drop of efficacy by noise in a region, by erosion step, field by field and cell by cell.

    Raises `UsageError` where the region cannot be drawn, and `DataError` where no field has any.
    """
    check_methods(studies)
    asked = studies.job.regions
    options = {
        **options_of(asked),
        **asked.model_dump(include={"erode", "steps", "placements", "cells", "around"}),
    }

    def ask(one: Opened, field: str) -> Rows:
        hand, region = Hand(one=one, name=field), drawn(studies, one, field)
        return field_rows(studies, hand, region) + cell_rows(studies, hand, region)

    table = measured(studies, STAGE, ask, options=options)
    if table["efficacy"].notna().sum() == 0:
        raise DataError(f"no field has a region {asked.region!r}: there is nothing to noise")
    tables = {"fields": table, "slices": slices(studies)}
    if asked.methods:
        tables["explained"] = explained(studies)
    return _told(studies, tables, options)


def noised_in(hand: Hand, where: Where, box: Box = ()) -> Tensor:
    """The field, or a box of it, with its noise in the region and nowhere else: `(1, c, *s)`."""
    at = (slice(None), slice(None), *box)
    keep = torch.from_numpy(~where)[None, None].to(hand.x)
    return mix(hand.x[at], keep, hand.fill[at])


def field_rows(studies: Studies, hand: Hand, region: Drawn) -> Rows:
    """Rows of `region_rows` for a whole field; one that is undefined where it has no region."""
    if not region.where.any():
        return [_none()]
    asked = studies.job.regions
    # beyond an organelle is compared with other places beyond it
    organelle = region.labels if asked.region == BEYOND else None
    rows = region_rows(
        lambda keep: hand.efficacy(hand.f(noised_in(hand, ~keep))),
        np.asarray(region.where),
        field=hand.name,
        avoid=None if organelle is None else np.asarray(organelle > 0),
        size=asked.erode,
        steps=asked.steps,
        placements=asked.placements,
        seed=studies.job.seed,
    )
    return [_without_field(row) for row in rows]


def cell_rows(studies: Studies, hand: Hand, region: Drawn) -> Rows:
    """The same for cells of a field, each an image of its own; none where none are known."""
    asked = studies.job.regions
    if region.labels is None or not asked.cells or hand.one.study.inspection.output != "image":
        return []
    labels, where = np.asarray(region.labels), np.asarray(region.where)
    zones = expand_labels(labels, asked.around)
    have = [int(cell) for cell in np.unique(zones[where]) if cell > 0]
    count = min(asked.cells, len(have))
    rows: Rows = []
    for cell in (have[at * len(have) // count] for at in range(count)):
        box = box_around(labels == cell, asked.around)
        own = (where & (zones == cell))[box]
        if not own.any():
            continue
        avoid = where[box] | (labels[box] > 0) if asked.region == BEYOND else where[box]
        agree = _agreement(hand, box)
        found = region_rows(
            lambda keep, box=box, agree=agree: agree(hand.f(noised_in(hand, ~keep, box))),  # type: ignore[misc]
            own,
            field=hand.name,
            cell=str(cell),
            avoid=avoid,
            size=asked.erode,
            steps=asked.steps,
            placements=asked.placements,
            seed=studies.job.seed,
        )
        rows += [_without_field(row) for row in found]
    return rows


def box_around(cell: Where, around: int) -> Box:
    """The box of a cell and of so many pixels around it in y and x, through all planes."""
    found: list[slice] = [slice(None)] * (cell.ndim - 2)
    for axis in (-2, -1):
        others = tuple(each for each in range(cell.ndim) if each != cell.ndim + axis)
        line = np.flatnonzero(cell.any(axis=others))
        first, last = int(line[0]), int(line[-1])
        found.append(slice(max(0, first - around), min(cell.shape[axis], last + 1 + around)))
    return tuple(found)


def _agreement(hand: Hand, box: Box) -> Any:
    """Agreement with the prediction for the box alone."""
    reference = hand.f(hand.x[(slice(None), slice(None), *box)])
    agree = agreement_of(hand.one.study, 1.0)
    return lambda out: agree(out, reference).item()


def _none() -> dict[str, Any]:
    told = {"cell": "", "step": 0, "place": "inside", "placement": 0}
    return told | {"share": np.nan, "efficacy": np.nan}


def _without_field(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "field"}


def _told(studies: Studies, tables: dict[str, pd.DataFrame], options: dict[str, Any]) -> Found:
    """Inside beside elsewhere for each predictor, level and step of erosion."""
    table = tables["fields"]
    frames, words = [], []
    for name in studies.names:
        part = table[table["predictor"] == name].reset_index(drop=True)
        if part["efficacy"].isna().all():
            words.append(f"{name}: no field has such a region.")
            continue
        effects = region_effects(part, unit="unit", seed=studies.job.seed)
        frames.append(effects.assign(predictor=name))
        whole = effects[effects["step"] == 0].to_dict("records")
        words += [_sentence(name, {str(key): row[key] for key in row}) for row in whole]
        without = part["efficacy"].isna()
        if empty := int((without & (part["place"] == "inside")).sum()):
            words.append(f"{name}: {empty} fields have no such region, and count as undefined.")
        if lost := int((without & (part["place"] == "elsewhere")).sum()):
            words.append(f"{name}: {lost} placements elsewhere found no room.")
    effects = pd.concat(frames, ignore_index=True)
    words.append(_limit(effects))
    entries = history(studies)
    arrays, shown = _pictures(studies, options)
    numbers: dict[str, Any] = {"effects": {}, "shown": shown, "history": len(entries)}
    for row in effects.to_dict("records"):
        levels = numbers["effects"].setdefault(row["predictor"], {})
        kept = {key: value for key, value in row.items() if key not in ("predictor", "level")}
        levels.setdefault(row["level"], {})[str(row["step"])] = kept
    if "explained" in tables:
        by = tables["explained"].groupby(["predictor", "method", "target"], sort=False)
        means = by[["inside", "efficacy"]].mean().reset_index()
        numbers["explained"] = means.to_dict("records")
    return Found(
        numbers=numbers,
        n=f"{shared(table)}, {_cells(table)} cells",
        test=(
            "inside minus elsewhere: signs of the differences of whole units flipped, two-sided, "
            "Holm over levels and steps of a predictor"
        ),
        words=tuple(words),
        tables=tables | {"effects": effects},
        arrays=arrays,
    )


def _sentence(name: str, row: Mapping[str, Any]) -> str:
    level = "whole fields" if row["level"] == "field" else "single cells"
    told = (
        f"{name}, {level}: noise in the region ({row['share']:.1%} of the image) leaves an "
        f"efficacy of {1 - row['inside']:.3f}"
    )
    if np.isnan(row["elsewhere"]):
        return f"{told}; no place elsewhere had room for as large a region."
    told += f", in as large a region elsewhere {1 - row['elsewhere']:.3f}"
    if not row["rows"]:
        return f"{told}, but of no image are both known."
    gap = row["difference"]
    told += f"; the region costs {abs(gap):.3f} {'more' if gap > 0 else 'less'}"
    if not np.isnan(row["difference_low"]):
        told += f" ({row['difference_low']:+.3f} to {row['difference_high']:+.3f})"
    if row["undefined"]:
        told += f" in the {row['rows']} of {row['rows'] + row['undefined']} images with room for it"
    p = "" if np.isnan(row["holm"]) else f", Holm p {row['holm']:.2g}"
    return f"{told}, above in {row['wins']} of {row['units']} units{p}."


def _limit(effects: pd.DataFrame) -> str:
    units = int(effects["units"].max())
    if units < 2:
        return "With one unit nothing can be tested."
    return (
        f"With {units} units no p is below {2 / 2**units:.2g} before correction, however large "
        f"the effect."
    )


def _cells(table: pd.DataFrame) -> int:
    cells = table.loc[table["cell"] != "", ["predictor", "field", "cell"]]
    return len(cells.drop_duplicates())


def _pictures(
    studies: Studies, options: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """The first field of each predictor that has a region: where it lies, and what changes."""
    stage, arrays, told = marked(SHOWN, options), {}, []
    for at, name in enumerate(studies.names):
        if not studies.run.has(stage, name):
            pairs = studies.fields(name)
            found = [pair for pair in pairs if drawn(studies, *pair).where.any()]
            # the change of a number has no place that could be shown
            if not found or found[0][0].study.inspection.output != "image":
                continue
            _show(studies, Hand(one=found[0][0], name=found[0][1]), stage)
        note = studies.run.note(stage, name)
        for key in studies.run.arrays(stage, name):
            arrays[f"shown_{at}_{key}"] = np.array(studies.run.array(stage, name, key))
        told.append({key: note[key] for key in note if key != "unit"} | {"at": at})
    return arrays, told


def _show(studies: Studies, hand: Hand, stage: str) -> None:
    """The plane with most of the region: image, steps of erosion, and the change by noise."""
    asked, region = studies.job.regions, drawn(studies, hand.one, hand.name)
    where = np.asarray(region.where)
    taken = where | (np.asarray(region.labels) > 0) if asked.region == BEYOND else where
    seed = seed_of(studies.job.seed, hand.name, "", 0, 0)
    places = {"inside": where, "elsewhere": elsewhere(where, avoid=taken, seed=seed)}
    plane = int(where.sum((-2, -1)).argmax()) if where.ndim == 3 else None
    stride = -(-max(where.shape[-2:]) // SIDE)

    def cut(array: np.ndarray) -> np.ndarray:
        flat = array if plane is None else array[plane]
        return np.ascontiguousarray(flat[::stride, ::stride])

    steps = erosion_steps(where, size=asked.erode, steps=asked.steps)
    arrays = {"input": cut(hand.x[0, 0].numpy()).astype(np.float16)}
    arrays["steps"] = cut(np.sum(steps, axis=0).astype(np.uint8))
    scores = {}
    for place, noised in places.items():
        if noised is None:
            continue
        out = hand.f(noised_in(hand, noised))
        change = (out - hand.prediction)[0, 0].abs().numpy()
        arrays[f"{place}_region"] = cut(noised)
        arrays[f"{place}_change"] = cut(change).astype(np.float16)
        scores[place] = hand.efficacy(out)
    size = hand.given.sample.pixel_size
    note = {
        "predictor": hand.one.name,
        "field": hand.name,
        "plane": plane,
        "share": float(where.mean()),
        "efficacy": scores,
        "pixel": size[-1] * stride if size else None,
    }
    studies.run.write(stage, hand.one.name, arrays=arrays, note=note)
