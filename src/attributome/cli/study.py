"""Studies of finished runs: one question each, or all that the runs allow, and their page."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attributome.cli.options import (
    Device,
    Prec,
    Precision,
    Seed,
    Set,
    Trust,
    given_values,
    run_named,
)
from attributome.cli.speaking import end, out, say
from attributome.cli.study_flags import (
    ALL,
    KEYS,
    By,
    Control,
    JobFile,
    Name,
    Out,
    Region,
    Runs,
    Split,
    Table,
    Unit,
    Within,
    command_of,
    job_of,
    known,
)
from attributome.config import write_example
from attributome.core.errors import DataError, Refusal, UsageError
from attributome.studies.catalogue import CATALOGUE
from attributome.terminal import Terminal

if TYPE_CHECKING:  # torch takes seconds to import, and --help must not
    from attributome.store import Run

SENTENCES = 2
"""How much of a study is said on the screen; the page says all."""


def study(
    name: Name,
    runs: Runs = None,
    out: Out = None,
    job: JobFile = None,
    split: Split = None,
    table: Table = None,
    unit: Unit = None,
    by: By = None,
    control: Control = None,
    within: Within = None,
    region: Region = None,
    set: Set = None,
    seed: Seed = None,
    device: Device = "auto",
    precision: Prec = Precision.auto,
    trust: Trust = False,
) -> None:
    """Ask finished runs a question, or all: `study list` names them, `study all` asks all.

    Where --out holds studies already, they go on with the same runs.
    """
    given = runs or []
    flags = {"split": split, "table": table, "unit": unit, "by": by, "control": control}
    flags |= {"within": within, "region": region}
    changes = {KEYS[flag]: value for flag, value in flags.items() if value is not None}
    changes |= given_values(set, seed)
    if name == "list":
        _list()
    elif name == "report":
        _report(given, out)
    elif name == "init":
        _init(given, changes)
    else:
        asked = None if name == ALL else known(name)
        changes |= {"runs": given} if given else {}
        _study(asked, job, out, changes, device, precision, trust)


def _study(
    asked: str | None,
    path: Path | None,
    root: Path | None,
    changes: Mapping[str, Any],
    device: str,
    precision: Precision,
    trust: bool,
) -> None:
    """One study, or every one, and the page."""
    from attributome.core.compute import choose
    from attributome.pipeline.study.everything import STUDIES, study
    from attributome.pipeline.study.opening import open_studies
    from attributome.report.study import build_study

    job = job_of(path, root, changes)
    folder = root or Path("runs") / job.name
    names = [*STUDIES] if asked is None else [asked]
    command = command_of(asked or ALL, job, folder, device, precision, trust)
    compute = choose(device, precision.value, False)
    with Terminal() as terminal:
        studies = open_studies(
            job, folder, compute=compute, trust=trust, bars=terminal.bars, tell=terminal.tell
        )
        left = study(studies, names, command=command)
        page = build_study(studies.run, anew=False)
    _tell(studies.run, [name for name in names if name not in left], left)
    say(f"summary: {folder / 'summary.json'}")
    say(f"report: {page}")
    unusable = {name: str(why) for name, why in left.items() if isinstance(why, DataError)}
    end(unusable, done=len(names) - len(left))


def _tell(run: "Run", done: list[str], left: Mapping[str, Refusal]) -> None:
    """The first sentences of what was found, and what was not asked because it cannot be."""
    from attributome.report.study.facts import read

    for told in read(run).told:
        if told.name in done:
            say(f"{told.entry.title}: {' '.join(told.found['words'][:SENTENCES])}")
    for name, why in left.items():
        if not isinstance(why, DataError):
            say(f"left out, {CATALOGUE[name].title}: {why}")


def _report(given: list[str], folder: Path | None) -> None:
    from attributome.report.study import build_study

    if len(given) > 1:
        raise UsageError(f"a page is of one folder of studies, not of {len(given)}")
    named = Path(given[0]) if given else None
    say(f"report: {build_study(run_named(named, folder, 'runs/studies'))}")


def _init(given: list[str], changes: Mapping[str, Any]) -> None:
    from attributome.pipeline.study.job import read_job

    if len(given) > 1:
        raise UsageError(f"a job is one file, not {len(given)}")
    path = Path(given[0] if given else "studies.toml")
    write_example(path, read_job(None, {"name": path.stem, **changes}))
    say(f"wrote {path}; name finished runs in it, then: attributome study all --job {path}")


def _list() -> None:
    from rich.table import Table

    table = Table("study", "the question", "what it needs", show_lines=True)
    for name, entry in CATALOGUE.items():
        table.add_row(name, entry.question, entry.needs)
    out.print(table)
