"""What every verb works with: the job, the run's folder, its fields and cells, the device.

A section of the job binds once something has been made of it: another network may be asked for
after the cells are cut, but not after a training. What binds and is asked differently is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64

from attributome import __version__
from attributome.core.compute import Compute
from attributome.core.errors import DataError
from attributome.core.files import read_json, write_whole
from attributome.core.types import Progress
from attributome.pipeline.profile.checking import check
from attributome.pipeline.profile.elsewhere import mark_of
from attributome.pipeline.profile.fields import list_fields, source_mark
from attributome.pipeline.profile.job import EvaluateJob, ProfileJob
from attributome.pipeline.profile.splitting import HELD_OUT, split_wells
from attributome.pipeline.settling import asked_before, settle
from attributome.pipeline.work import Bars, quiet, timed, unheard
from attributome.profiles.single_cells import SingleCells, open_single_cells
from attributome.store import Run, folder_name

NETWORK, CELLS, FIELDS = "network", "cells.parquet", "fields.parquet"
FEATURES, CAMO, CAMO_FEATURES = "features.parquet", "camo.parquet", "camo_features.parquet"
PROFILES = "profiles/profiles.json"
REMEDIES, ALTERNATIVES = "remedies", "alternatives"
_WELLS = (PROFILES, "evaluation.json", "alternatives.json")
_TRAINED = (NETWORK, REMEDIES, ALTERNATIVES)
_READ = (*_TRAINED, "parts/features", FEATURES, "parts/camo", CAMO, *_WELLS)
MADE: dict[str, tuple[str, ...]] = {
    "name": (),
    "seed": _READ,
    "data": ("parts/crops",),
    "data.shares": _READ,
    "data.held_out_plates": _READ,
    "data.control": _WELLS,
    "data.mechanism": _WELLS,
    "crops": ("parts/crops",),
    "network": _READ,
    "train": _TRAINED,
    "features": ("parts/features", FEATURES),
    "features.batch": (),
    "features.forms": (),
    "camo": ("parts/camo", CAMO),
    "camo.batch": (),
    "camo.worst": ("parts/worst",),
    "causes": ("causes.json",),
    "profiles": (PROFILES, "alternatives.json"),
    **{
        f"evaluate.{key}": ("evaluation.json", "alternatives.json")
        for key in EvaluateJob.model_fields
    },
    "evaluate.draws": (
        "camo.json",
        "causes.json",
        "evaluation.json",
        "remedies.json",
        "alternatives.json",
    ),
    "remedies": ("remedies.json",),
    "alternatives": (ALTERNATIVES, "alternatives.json"),
    "alternatives.which": ("alternatives.json",),
}
"""What shows that a key of the job has been used, so that it binds."""

Rows = Int64[np.ndarray, "_"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProfileWork:
    """A job under way. Verbs take it and add to its run."""

    job: ProfileJob
    run: Run
    compute: Compute
    trust: bool = False
    bars: Bars = quiet
    tell: Callable[[str], None] = unheard

    @property
    def fields(self) -> pd.DataFrame:
        """A row per field."""
        return pd.read_parquet(self.run.root / FIELDS)

    @property
    def splits(self) -> dict[str, list[str]]:
        """The wells of each part, and the plates that are held out."""
        return self.run.load("splits") or {}

    def rows(self, cells: SingleCells, part: str) -> Rows:
        """Where the labelled cells of a part stand; `held_out_plates` is a part too."""
        table, splits = cells.table, self.splits
        plates = table["plate"].astype(str)
        if part == HELD_OUT:
            inside = plates.isin(splits[HELD_OUT])
        else:
            inside = (plates + "/" + table["well"].astype(str)).isin(splits[part])
        label = self.job.data.label
        known = table[label].notna() if label in table else False
        return np.flatnonzero((inside & known).to_numpy()).astype(np.int64)

    @contextmanager
    def timed(self, stage: str) -> Iterator[Progress]:
        """The progress of a stage, whose seconds the run keeps."""
        with timed(self.run, self.bars, stage) as progress:
            yield progress


def begin(
    job: ProfileJob,
    out: Path,
    *,
    compute: Compute,
    trust: bool = False,
    bars: Bars = quiet,
    tell: Callable[[str], None] = unheard,
) -> ProfileWork:
    """Open the run, list its fields and deal its wells; one asked for other things is refused.

    A run whose cells are all cut goes on without their source, even where that has gone. `trust`
    runs a network from elsewhere that is a program.
    """
    check(job)
    before = asked_before(out)
    gone = (out / CELLS).is_file() and not Path(job.data.source).exists()
    fields = pd.read_parquet(out / FIELDS) if gone else _marked(list_fields(job.data), job)
    known: Mapping[str, Any] = before.get("data", {})
    data = {
        "fields": len(fields),
        "plates": int(fields["plate"].nunique()),
        "wells": len(fields[["plate", "well"]].drop_duplicates()),
        "sha256": known["sha256"] if gone else source_mark(fields.drop(columns="control")),
    }
    asked = {
        "attributome": __version__,
        "job": job.model_dump(mode="json"),
        "data": data,
        "network": {"sha256": mark_of(Path(job.network.source)) if job.network.source else None},
    }
    wells = _wells(fields, job.data.label)
    splits = split_wells(wells, _shares(job), job.data.held_out_plates, seed=job.seed)
    settle(out, asked, MADE)
    run = Run.begin(out, asked)
    if gone:
        fields = _marked(fields.drop(columns="control"), job)
    _keep(out / FIELDS, fields)
    if run.load("splits") != splits:
        run.save("splits", splits)
    return ProfileWork(job=job, run=run, compute=compute, trust=trust, bars=bars, tell=tell)


def folders_of(work: ProfileWork, fields: pd.DataFrame) -> list[Path]:
    """The parts with the crops of the fields, in their order; those that could not be cut lack."""
    home = work.run.root / "parts" / "crops"
    found = [home / folder_name(str(field)) for field in fields["field"]]
    return [folder for folder in found if (folder / "note.json").is_file()]


def open_cells(work: ProfileWork) -> SingleCells:
    """The cells of the run, once all fields are cut."""
    if not (work.run.root / CELLS).is_file():
        raise DataError(
            f"{work.run.root} has not all of its cells yet: run `attributome profile crop` first"
        )
    return open_single_cells(folders_of(work, work.fields))


def _marked(fields: pd.DataFrame, job: ProfileJob) -> pd.DataFrame:
    """The fields, and whether each is of a negative control."""
    control = fields[job.data.label].isin(job.data.control)
    at = fields.columns.get_loc("images")
    fields = fields.copy()
    fields.insert(int(str(at)), "control", control.to_numpy(bool))
    return fields


def _wells(fields: pd.DataFrame, label: str) -> pd.DataFrame:
    wells = fields[["plate", "well"]].drop_duplicates().reset_index(drop=True)
    first = fields.dropna(subset=[label]).drop_duplicates(["plate", "well"])
    named = first[["plate", "well"]].assign(label=first[label].astype(str))
    return wells.merge(named, on=["plate", "well"], how="left", validate="one_to_one")


def _shares(job: ProfileJob) -> dict[str, float]:
    return {str(part): share for part, share in job.data.shares.items()}


def _keep(path: Path, table: pd.DataFrame) -> None:
    """Write a table, unless the same is there."""
    if not path.is_file() or not pd.read_parquet(path).equals(table):
        write_whole(path, lambda part: table.to_parquet(part, index=False))


def unit_names(count: int, block: int) -> dict[str, Rows]:
    """Blocks of cells by the names of their parts."""
    ends = [(first, min(first + block, count)) for first in range(0, count, block)]
    return {f"{a:08d}-{b - 1:08d}": np.arange(a, b, dtype=np.int64) for a, b in ends}


def need_note(path: Path, verb: str) -> dict[str, Any]:
    """What an earlier verb concluded, or a sentence that names the verb."""
    if not path.is_file():
        raise DataError(f"{path.parent} has no {path.name} yet: run `attributome profile {verb}`")
    return read_json(path)
