"""What every verb works with: the job, its fields, the run's folder, the device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from attributome import __version__
from attributome.config import Job
from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.files import read_json
from attributome.core.targets import Output, OutputSum, TopProbability
from attributome.core.types import Progress, Target, silent
from attributome.data.intensity import Scaling
from attributome.pipeline.checking import check
from attributome.pipeline.fields import Fields, fingerprint, open_fields
from attributome.predictors.card import Card, read_card
from attributome.predictors.inspect import Inspection, inspect_predictor
from attributome.predictors.load import fingerprint as predictor_fingerprint
from attributome.predictors.load import load_predictor
from attributome.predictors.sizes import Fitted, fitted
from attributome.store import Run

MADE = ("predictor", "masks", "parts", "choices.json")
"""What a run holds as soon as something has been made in it."""

Bars = Callable[[str], Progress]
"""The title of a piece of work in, its progress out."""


def quiet(_title: str) -> Progress:
    """Bars that say nothing."""
    return silent


def unheard(_line: str) -> None:
    """Told to nobody."""


@contextmanager
def timed(run: Run, bars: Bars, stage: str) -> Iterator[Progress]:
    """Add the seconds that a stage takes to what it took before it was interrupted."""
    started, before = monotonic(), run.load(f"times/{stage}") or {"seconds": 0.0}
    try:
        yield bars(stage.replace("_", " "))
    finally:
        seconds = before["seconds"] + monotonic() - started
        run.save(f"times/{stage}", {"seconds": round(seconds, 2)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job under way. Verbs take it and add to its run."""

    job: Job
    run: Run
    fields: Fields
    compute: Compute
    trust: bool
    bars: Bars
    tell: Callable[[str], None]

    @contextmanager
    def timed(self, stage: str) -> Iterator[Progress]:
        """The progress of a stage, whose seconds the run keeps."""
        with timed(self.run, self.bars, stage) as progress:
            yield progress


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """The predictor under study, ready for fields of any size."""

    model: Fitted
    card: Card
    inspection: Inspection
    mark: str

    @property
    def target(self) -> Target:
        """What of its outputs is explained by default."""
        return TARGETS[self.card.task or "image"]


TARGETS: dict[str, Target] = {
    "image": OutputSum(),
    "regression": Output(),
    "classification": TopProbability(),
}


def begin(
    job: Job,
    out: Path,
    *,
    compute: Compute,
    trust: bool = False,
    bars: Bars = quiet,
    tell: Callable[[str], None] = unheard,
) -> Work:
    """Open the data and the run; a run that was asked for other things is refused."""
    if not job.data.source:
        raise UsageError("no images are named: give data.source in the job, or --images")
    fields = open_fields(job.data, job.seed, scaling=trained_with(job.predictor.source))
    check(job, fields)
    source = job.predictor.source
    asked = {
        "attributome": __version__,
        "job": job.model_dump(mode="json"),
        "data": {"fields": len(fields.places), "sha256": fingerprint(fields.manifest)},
        "predictor": {"sha256": predictor_fingerprint(Path(source)) if source else None},
    }
    _forget_a_slip(out, asked)
    run = Run.begin(out, asked)
    run.save("splits", fields.splits)
    return Work(job=job, run=run, fields=fields, compute=compute, trust=trust, bars=bars, tell=tell)


def _forget_a_slip(out: Path, asked: dict[str, Any]) -> None:
    """Where nothing has been made yet, what was asked before does not bind the corrected job."""
    asked_before = out / "run.json"
    if asked_before.is_file() and not under_way(out) and read_json(asked_before) != asked:
        asked_before.unlink()


def trained_with(source: str) -> Scaling | None:
    """What a predictor from elsewhere had its images normalised by, where its card says so."""
    card = Path(source) / "predictor.json"
    told = read_card(card).input_scaling if source and card.is_file() else None
    return Scaling.from_dict(told) if told else None


def under_way(out: Path) -> bool:
    """Whether something has been made in the folder of a run."""
    return any((out / name).exists() for name in MADE)


def subject(work: Work) -> Subject:
    """The predictor of the job: the one it names, or the one trained in this run."""
    asked = work.job.predictor
    source = Path(asked.source) if asked.source else work.run.root / "predictor"
    if not asked.source and not (source / "predictor.json").is_file():
        raise DataError(
            f"{work.run.root} has no trained predictor yet: run `attributome train predictor`, or "
            f"name one in predictor.source"
        )
    first = work.fields.load(work.fields.part("all")[0])
    dims = first.x.ndim - 2
    card = None if source.is_dir() else Card(task=asked.task, dims=2 if dims == 2 else 3)
    net, card = load_predictor(
        source,
        factory=asked.factory or None,
        kwargs=asked.kwargs or None,
        trust=work.trust,
        card=card,
    )
    inspection = inspect_predictor(
        net, card, channels=first.x.shape[1], dims=dims, size=first.x.shape[2:]
    )
    model = fitted(net, inspection.sizes)
    return Subject(
        model=work.compute.place(model, dims),
        card=card,
        inspection=inspection,
        mark=predictor_fingerprint(source),
    )


def threads() -> int:
    """How many threads torch computes with."""
    return torch.get_num_threads()
