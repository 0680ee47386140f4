"""Finished runs, opened to be studied. Nothing is ever written into them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attributome import __version__
from attributome.config import job_from
from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest, read_json, sha256
from attributome.core.types import Explainer
from attributome.masks.objective import Objective
from attributome.masks.signature import Per
from attributome.pipeline.explaining import learned_mask
from attributome.pipeline.fields import Fields, fingerprint, open_fields
from attributome.pipeline.study.job import StudyJob, named_runs
from attributome.pipeline.training import objective
from attributome.pipeline.work import Bars, Subject, Work, quiet, subject, trained_with, unheard
from attributome.store import Run


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A predictor and its masks, as one run left them.

    `mask` is the generator as an explainer, `goal` holds what replaces what a mask takes away, and
    `threshold`, with `per`, makes a map a signature. `judged` are the fields of the run, or those
    of another table.
    """

    name: str
    work: Work
    study: Subject
    mask: Explainer
    goal: Objective
    threshold: float
    per: Per
    judged: Fields

    @property
    def root(self) -> Path:
        """The folder of the run."""
        return self.work.run.root


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Studies:
    """Runs under study, and the folder that takes what is found.

    Several runs of one name are one predictor, cross-fitted: a field is judged by the run that
    kept it for its test.
    """

    job: StudyJob
    run: Run
    opened: tuple[Opened, ...]
    bars: Bars
    tell: Callable[[str], None]

    @property
    def names(self) -> tuple[str, ...]:
        """The predictors, in the order in which they were given."""
        return tuple(dict.fromkeys(one.name for one in self.opened))

    def fields(self, name: str = "") -> list[tuple[Opened, str]]:
        """Every field that is judged, with the run that judges it; of one predictor, or of all.

        Raises `DataError` where two runs of one predictor would judge the same field.
        """
        found: dict[tuple[str, str], Opened] = {}
        for one in self.opened:
            if name and one.name != name:
                continue
            for field in one.judged.part("all" if self.job.table else self.job.split):
                if (one.name, field) in found:
                    raise DataError(
                        f"field {field!r} is judged by two runs of {one.name!r}, {one.root} and "
                        f"{found[one.name, field].root}: give them different names, or splits "
                        f"whose {self.job.split} fields differ"
                    )
                found[one.name, field] = one
        return [(one, field) for (_, field), one in found.items()]

    def about(self, one: Opened, field: str) -> dict[str, Any]:
        """What a row is about: `predictor`, `field` and `unit`, which is what is independent."""
        return {"predictor": one.name, "field": field, "unit": self.unit(one, field)}

    def unit(self, one: Opened, field: str) -> str:
        """The value of the job's unit column for a field, or the field itself."""
        if not self.job.unit:
            return field
        return str(self.meta(one, field, self.job.unit))

    def meta(self, one: Opened, field: str, column: str) -> Any:
        """What the run's table of fields says about one of them."""
        fields = one.judged
        table = fields.manifest.table
        if column not in table:
            raise UsageError(
                f"the table of {self.job.table or one.root} has no column {column!r}: {[*table]}"
            )
        return table[column].iloc[fields.places[field]]


def open_studies(
    job: StudyJob,
    out: Path,
    *,
    compute: Compute,
    trust: bool = False,
    bars: Bars = quiet,
    tell: Callable[[str], None] = unheard,
) -> Studies:
    """Open every run of a job; a folder that holds studies of other runs is refused."""
    if not job.runs:
        raise UsageError("no run is named: give the folder of a finished run, such as runs/demo")
    opened = tuple(
        open_run(
            folder,
            name=name,
            compute=compute,
            trust=trust,
            bars=bars,
            tell=tell,
            table=job.table,
            truth=job.truth,
        )
        for name, folder in named_runs(job.runs)
    )
    asked = {
        "attributome": __version__,
        "job": job.model_dump(mode="json", include={"name", "seed", "split", "unit", "truth"}),
        "table": fingerprint(opened[0].judged.manifest) if job.table else None,
        "runs": [_mark(one) for one in opened],
    }
    # what cannot be must not bind the folder that the corrected command names again
    studies = Studies(job=job, run=Run(out), opened=opened, bars=bars, tell=tell)
    for pair in studies.fields():
        studies.unit(*pair)
    Run.begin(out, asked)
    studies.run.save("options", job.model_dump(mode="json"))
    return studies


def open_run(
    root: Path,
    *,
    name: str = "",
    compute: Compute,
    trust: bool = False,
    bars: Bars = quiet,
    tell: Callable[[str], None] = unheard,
    table: str = "",
    truth: bool = True,
) -> Opened:
    """Open a run whose predictor and masks are finished, to judge its fields or those of `table`.

    The other table has the same input channels and, with `truth`, the target channels. Raises
    `DataError` where it is no such run, or where its images are no longer those it had.
    """
    run = Run.open(root)
    if "predictor" not in run.asked or "job" not in run.asked:
        raise DataError(f"{root} is a run of something else: studies are of `attributome run`")
    job = job_from(run.asked["job"], str(root))
    chosen = run.load("choices") or {}
    if "threshold" not in chosen:
        raise DataError(
            f"{root} has no finished masks: `attributome run --out {root}` goes on with it"
        )
    fields = open_fields(job.data, job.seed, scaling=trained_with(job.predictor.source))
    if fingerprint(fields.manifest) != run.asked["data"]["sha256"]:
        raise DataError(f"the images of {root} are not those that it was made with")
    work = Work(job=job, run=run, fields=fields, compute=compute, trust=trust, bars=bars, tell=tell)
    study = subject(work)
    return Opened(
        name=name or job.name,
        work=work,
        study=study,
        mask=learned_mask(work, study),
        goal=objective(work, study),
        threshold=float(chosen["threshold"]["value"]),
        per=chosen["threshold"]["per"],
        judged=_elsewhere(work, table, truth) if table else fields,
    )


def _elsewhere(work: Work, table: str, truth: bool) -> Fields:
    """The fields of another table, normalised as those of the run; they have no parts."""
    own = work.job.data
    data = own.model_copy(
        update={"source": table, "root": "", "targets": own.targets if truth else (), "most": {}}
    )
    return open_fields(data, work.job.seed, scaling=work.fields.scaling)


def each_field(
    studies: Studies, stage: str, todo: list[tuple[Opened, str]]
) -> Iterator[tuple[Opened, str]]:
    """Fields one after the other, with progress and the time that is left."""
    progress = studies.bars(stage.replace("_", " "))
    for done, (one, field) in enumerate(todo):
        progress(done / len(todo), f"{one.name}, {field} ({done + 1} of {len(todo)})")
        yield one, field
    progress(1.0, f"{len(todo)} done")


def marked(stage: str, options: Mapping[str, Any]) -> str:
    """The name of a stage whose parts depend on options of its study."""
    return f"{stage}-{digest(dict(options))[:8]}"


def _mark(one: Opened) -> dict[str, Any]:
    """What of a run must not change under a study of it."""
    weights = one.root / "masks" / "generator.safetensors"
    return {
        "name": one.name,
        "root": str(one.root.resolve()),
        "predictor": one.study.mark,
        "masks": sha256(weights) if weights.is_file() else None,
        "choices": digest(read_json(one.root / "choices.json")),
    }
