"""The verb that cuts cells: field by field, each once, in any number of processes."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.cropping import box
from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest, write_whole
from attributome.pipeline.profile.fields import FILES
from attributome.pipeline.profile.reading import illumination, read_one
from attributome.pipeline.profile.work import CELLS, ProfileWork, folders_of
from attributome.profiles.single_cells import crop_field, open_single_cells
from attributome.store import shard

STAGE, SEGMENTED = "crops", "segmentation"
LATER = {"shares", "held_out_plates", "control", "mechanism"}
"""What of the data does not matter when fields are cut."""


def crop(work: ProfileWork, *, part: tuple[int, int] = (1, 1)) -> int:
    """Cut the fields that are not cut yet; how many are still missing.

    `part` is (i, N) for shard i of N: the cells are those of one process. A field that cannot be
    used is noted as failed, with the reason, and the rest goes on. Who finishes the last field
    writes `cells.parquet`.
    """
    root = work.run.root
    if (root / CELLS).is_file():
        return 0
    fields = work.fields
    names = [str(name) for name in fields["field"]]
    todo = [name for name in shard(names, *part) if not _done(work, name)]
    if todo:
        with work.timed("crop") as progress:
            rows = {str(row["field"]): row for row in fields.to_dict("records")}
            cells = 0
            for done, name in enumerate(todo):
                progress(done / len(todo), f"{name} ({done + 1} of {len(todo)}), {cells} cells")
                cells += _field(work, {str(k): v for k, v in rows[name].items()})
            progress(1.0, f"{len(todo)} fields cut, {cells} cells")
    missing = sum(not _done(work, name) for name in names)
    if not missing:
        _join(work, fields)
    return missing


def failures(work: ProfileWork) -> dict[str, str]:
    """Fields that could not be used, and why."""
    stage = _failed(work)
    return {name: str(work.run.note(stage, name)["reason"]) for name in work.run.units(stage)}


def _failed(work: ProfileWork) -> str:
    """Where failures are noted: those of another job, or of other files, do not count."""
    job = work.job
    told = {
        "data": job.data.model_dump(mode="json", exclude=LATER),
        "crops": job.crops.model_dump(mode="json"),
        "files": work.run.asked["data"]["sha256"],
    }
    return f"failed-{digest(told)[:12]}"


def _done(work: ProfileWork, name: str) -> bool:
    return work.run.has(STAGE, name) or work.run.has(_failed(work), name)


def _field(work: ProfileWork, row: Mapping[str, Any]) -> int:
    """Cut one field; how many cells it has."""
    started, asked, name = time.monotonic(), work.job.crops, str(row["field"])
    try:
        one = read_one(row, work.job.data)
        size = asked.size * one.labels.ndim if len(asked.size) == 1 else asked.size
        if asked.size_um:
            if one.spacing is None:
                raise UsageError(
                    f"crops.size_um needs to know how large a voxel is, and the field {name!r} "
                    f"does not say: give data.spacing, or crops.size in voxels"
                )
            lengths = asked.size_um if len(asked.size_um) > 1 else asked.size_um[0]
            size = box(lengths, one.spacing)
        if len(size) != one.labels.ndim:
            raise UsageError(
                f"crops of {' x '.join(map(str, size))} voxels cannot be cut from the field "
                f"{name!r} of shape {one.labels.shape}: give one size for each axis"
            )
        made = crop_field(
            one.image,
            one.labels,
            field=name,
            channels=one.channels,
            size=size,
            border=asked.border,
            spacing=one.spacing,
            illumination=illumination(asked.illumination, str(row["plate"]), one.channels),
            meta=_meta(row),
        )
    except DataError as error:
        work.run.write(_failed(work), name, note={"reason": str(error)})
        return 0
    note = {**made.note, "segmented": one.made is not None, "segmentation": one.made}
    note["seconds"] = round(time.monotonic() - started, 3)
    arrays = {**made.arrays} | ({} if one.made is None else {SEGMENTED: one.labels})
    work.run.write(STAGE, name, arrays=arrays, tables=made.tables, note=note)
    return int(made.note["cells"])


def _meta(row: Mapping[str, Any]) -> dict[str, str | float | int]:
    """What is known of a field, without what is missing; whether it is a control may change yet."""
    told: dict[str, str | float | int] = {}
    for key, value in row.items():
        if key in (*FILES, "field", "control", "locations") or value is None:
            continue
        plain = value.item() if isinstance(value, np.generic) else value
        if not (isinstance(plain, float) and np.isnan(plain)):
            told[key] = plain
    return told


def _join(work: ProfileWork, fields: pd.DataFrame) -> None:
    """Write the table of all cells, and the list of fields that could not be used."""
    root, failed = work.run.root, failures(work)
    folders = folders_of(work, fields)
    if not folders:
        name, reason = next(iter(failed.items()))
        raise DataError(f"none of {len(fields)} fields can be used; the first, {name!r}: {reason}")
    if failed:
        lost = pd.DataFrame([*failed.items()], columns=["where", "reason"])
        write_whole(root / "rejected.csv", lambda part: lost.to_csv(part, index=False))
        work.tell(
            f"{len(failed)} of {len(fields)} fields cannot be used and are left out; "
            f"{root / 'rejected.csv'} lists them"
        )
    table = open_single_cells(folders).table
    table = table.rename(columns={"label": "own", "row": "plate_row"})
    table["row"] = np.arange(len(table))
    if work.job.data.label not in table:
        raise DataError(f"none of {len(table)} cells has a {work.job.data.label}")
    write_whole(root / CELLS, lambda part: table.to_parquet(part, index=False))
