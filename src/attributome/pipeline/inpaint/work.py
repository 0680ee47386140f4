"""What every verb works with: the job, the run's folder and its cells, the device.

A section of the job binds once something has been made of it: another network may be asked for
after the cells are prepared, but not after a training. What binds and is asked differently is
refused.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from attributome import __version__
from attributome.core.compute import Compute
from attributome.core.errors import DataError
from attributome.core.files import sha256
from attributome.core.types import Progress
from attributome.core.weights import WEIGHTS
from attributome.inpainting.cells import CARD, Cells, read_cells
from attributome.pipeline.inpaint.checking import check
from attributome.pipeline.inpaint.job import InpaintJob
from attributome.pipeline.inpaint.sources import source_mark
from attributome.pipeline.settling import asked_before, settle
from attributome.pipeline.work import Bars, quiet, timed, unheard
from attributome.store import Run

NETWORK, RAW, PREPARED, STAGE = "network", "cells/raw", "cells/prepared", "features"
FEATURES, PAIRS = "features.parquet", "predictions/pairs.parquet"
_READ = (NETWORK, f"parts/{STAGE}", FEATURES, "evaluation.json", PAIRS)
MADE: dict[str, tuple[str, ...]] = {
    "name": (),
    "seed": _READ,
    "data": (f"{PREPARED}/{CARD}",),
    "data.lonely": _READ,
    "data.shares": _READ,
    "network": _READ,
    "train": (NETWORK,),
    "features": (f"parts/{STAGE}", FEATURES),
    "features.batch": (),
    "features.average": (),
    "features.through": (),
    "features.forms": (),
    "evaluate": ("evaluation.json",),
    "predict": (PAIRS,),
}
"""What shows that a key of the job has been used, so that it binds."""

Rows = Integer[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellWork:
    """A job under way. Verbs take it and add to its run."""

    job: InpaintJob
    run: Run
    compute: Compute
    bars: Bars = quiet
    tell: Callable[[str], None] = unheard

    @property
    def ready(self) -> bool:
        """Whether the cells of the run are prepared, and dealt to parts."""
        root = self.run.root
        return (root / PREPARED / CARD).is_file() and (root / "splits.json").is_file()

    @property
    def splits(self) -> dict[str, list[str]]:
        """The fields of each part."""
        return self.run.load("splits") or {}

    def rows(self, cells: Cells, part: str) -> Rows:
        """Where the cells of a part stand; `all` is every cell."""
        if part == "all":
            return np.arange(len(cells))
        fields = cells.table["field"].astype(str)
        return np.flatnonzero(fields.isin(self.splits[part]).to_numpy())

    def raw(self) -> Cells | None:
        """The cells as they were read, in the order of those that are prepared; None: lost."""
        if (self.run.root / RAW / CARD).is_file():
            return read_cells(self.run.root / RAW)
        source = Path(self.job.data.source)
        if not (source / CARD).is_file():
            return None
        cells = read_cells(source)
        return None if "prepared" in cells.about else cells

    @contextmanager
    def timed(self, stage: str) -> Iterator[Progress]:
        """The progress of a stage, whose seconds the run keeps."""
        with timed(self.run, self.bars, stage) as progress:
            yield progress


def begin(
    job: InpaintJob,
    out: Path,
    *,
    compute: Compute,
    bars: Bars = quiet,
    tell: Callable[[str], None] = unheard,
) -> CellWork:
    """Open the run; one that was asked for other things is refused.

    A run whose cells are prepared goes on without their source, even where that has gone.
    """
    check(job)
    before = asked_before(out)
    ready = (out / PREPARED / CARD).is_file()
    known: Mapping[str, Any] = before.get("data", {}) if ready else {}
    gone = ready and not Path(job.data.source).exists()
    asked = {
        "attributome": __version__,
        "job": job.model_dump(mode="json"),
        "data": {**known, "sha256": known["sha256"] if gone else source_mark(job.data)},
        "network": {"sha256": digest_of(Path(job.network.source)) if job.network.source else None},
    }
    if settle(out, asked, MADE):
        (out / "splits.json").unlink(missing_ok=True)
    run = Run.begin(out, asked)
    return CellWork(job=job, run=run, compute=compute, bars=bars, tell=tell)


def digest_of(source: Path) -> str:
    """SHA-256 of Keras weights, or of the weights in a folder of a network."""
    path = source / WEIGHTS if source.is_dir() else source
    if not path.is_file():
        raise DataError(f"there is no network {source}: give a folder of one, or Keras weights")
    return sha256(path)
