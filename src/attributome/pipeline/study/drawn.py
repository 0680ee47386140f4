"""The region of a field that a study noises, the cells in it, and the history of such regions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer

from attributome.core.errors import DataError, UsageError
from attributome.core.files import plain, write_json
from attributome.data.images import read_labels
from attributome.data.segmentation import segment
from attributome.pipeline.checking import LEARNED
from attributome.pipeline.study.job import Regions
from attributome.pipeline.study.looked import look
from attributome.pipeline.study.opening import Opened, Studies, marked
from attributome.store import Run
from attributome.studies.methods import field_ranks
from attributome.studies.regions import Region, beyond, history_entry, region_from, region_mask

STAGE, HISTORY = "regions_drawn", "history.json"
BEYOND = "beyond"
OF_THE_DATA = "regions"  # the column of label images that every table may have


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """Where a region lies in a field, and the cells by number, or None where none are known."""

    where: Bool[np.ndarray, "*s"]
    labels: Integer[np.ndarray, "*s"] | None


def options_of(asked: Regions) -> dict[str, Any]:
    """What of the job decides where a region lies."""
    return asked.model_dump(
        include={"region", "labels", "diameter", "smallest", "close", "first"}, mode="json"
    )


def drawn(studies: Studies, one: Opened, name: str) -> Drawn:
    """The region of a field, from disk, or drawn now and written there with its history."""
    stage, unit = marked(STAGE, options_of(studies.job.regions)), f"{one.name}/{name}"
    if not studies.run.has(stage, unit):
        _draw(studies, one, name, stage, unit)
    held = studies.run.arrays(stage, unit)
    labels = studies.run.array(stage, unit, "labels") if "labels" in held else None
    return Drawn(where=studies.run.array(stage, unit, "where"), labels=labels)


def remember(run: Run, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Add what is not there yet to the history of a folder; the file is the old or the new one.

    One process writes at a time: what another has added meanwhile is added again by its next call.
    """
    path = run.root / HISTORY
    known = _history(path)
    fresh = [entry for entry in map(plain, entries) if entry not in known]
    if fresh:
        write_json(path, known + fresh)
    return known + fresh


def history(studies: Studies) -> list[dict[str, Any]]:
    """An entry for each mask and its region: those of this job are added to those before."""
    stage = marked(STAGE, options_of(studies.job.regions))
    units = [f"{one.name}/{field}" for one, field in studies.fields()]
    there = [studies.run.note(stage, unit)["entry"] for unit in units]
    return remember(studies.run, there)


def labels_of(one: Opened, name: str, asked: Regions) -> np.ndarray | None:
    """The cells of a field: of its label image, or of the target, segmented; None without both."""
    field = one.judged.load(name)
    sample = field.sample
    if asked.labels == OF_THE_DATA:
        if sample.regions is None:
            raise DataError(f"field {name!r} of {one.root} has no image in the column 'regions'")
        return sample.regions
    if asked.labels:
        labels = read_labels(_path(one, name, asked.labels))
        if labels.shape not in (sample.space, sample.space[-2:]):
            raise DataError(
                f"the labels of field {name!r} are {labels.shape}, and its image {sample.space}"
            )
        return np.broadcast_to(labels, sample.space)
    if field.y is None or not isinstance(sample.target, np.ndarray):
        return None
    # in pixels of a row, so that a stack with thick planes is not cut like a cube
    size = sample.pixel_size
    spacing = [each / size[-1] for each in size] if size else None
    found: np.ndarray = segment(field.y[0, 0].numpy(), diameter=asked.diameter, spacing=spacing)
    return found


def _draw(studies: Studies, one: Opened, name: str, stage: str, unit: str) -> None:
    asked, seen = studies.job.regions, look(studies, one, name)
    labels = labels_of(one, name, asked)
    told: dict[str, Any]
    if asked.region == BEYOND:
        if labels is None:
            raise UsageError(
                f"the region beyond an organelle needs to know it: field {name!r} of {one.root} "
                f"has no target image to segment; name a column of label images in regions.labels"
            )
        sizes = {"smallest": asked.smallest, "close": asked.close, "erode": asked.first}
        where = beyond(np.asarray(seen.mask[0]), labels > 0, **sizes)
        region, told = Region(kind="full"), {"kind": BEYOND, **sizes}
    else:
        region = region_from(asked.region)
        where = region_mask(region, seen.mask.shape[1:], labels=labels)
        told = region.record()
    soft = np.asarray(seen.maps[0])
    entry = history_entry(
        region,
        where,
        field_ranks(soft) if one.per == "field" else soft,
        threshold=one.threshold,
        predictor=one.name,
        field=name,
        method=LEARNED,
    )
    arrays = {"where": where}
    if labels is not None:
        arrays["labels"] = np.ascontiguousarray(labels, np.int32)
    note = {"entry": plain(entry | {"region": told})}
    studies.run.write(stage, unit, arrays=arrays, note=note)


def _path(one: Opened, name: str, column: str) -> Path:
    """The file that a column names for a field, inside the folder that its table may name."""
    fields = one.judged
    table = fields.manifest.table
    if column not in table:
        raise UsageError(f"the table of {one.root} has no column {column!r}: {[*table]}")
    value = table[column].iloc[fields.places[name]]
    if not isinstance(value, str) or not value:
        raise DataError(f"field {name!r} of {one.root} has no file in its column {column!r}")
    folder = Path(fields.data.source).parent
    home = Path(fields.data.root or folder).resolve()
    path = (folder / value).resolve()
    if not path.is_relative_to(home):
        raise DataError(f"{value!r} in column {column!r} lies outside of {home}")
    return path


def _history(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not isinstance(told, list):
        raise DataError(f"{path} holds a {type(told).__name__}, and not a list of masks")
    return told
