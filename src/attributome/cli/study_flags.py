"""The flags of studies, the job that they make with a file, and the command that a job is."""

import difflib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attributome.cli.options import Precision
from attributome.config import as_toml
from attributome.core.errors import UsageError
from attributome.studies.catalogue import CATALOGUE

if TYPE_CHECKING:  # torch takes seconds to import, and --help must not
    from attributome.pipeline.study.job import StudyJob

ALL = "all"
VERBS = (ALL, "report", "list", "init")
"""What may stand in the place of a study: every one, their page, their names, a job to edit."""

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help=f"A study: {', '.join(CATALOGUE)}; or {', '.join(VERBS)}."),
]
Runs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN]...",
        help="Finished runs, each FOLDER or NAME=FOLDER; runs of one name are one predictor.",
    ),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of studies, else runs/<name>.")]
JobFile = Annotated[Path | None, typer.Option("--job", help="A job of studies as TOML.")]
Split = Annotated[
    str | None, typer.Option("--split", help="Which fields are judged: test, or all for every one.")
]
Table = Annotated[
    str | None,
    typer.Option("--table", help="Another table of fields, all of which every run judges."),
]
Unit = Annotated[
    str | None, typer.Option("--unit", help="Column of what is independent, such as well.")
]
By = Annotated[
    list[str] | None, typer.Option("--by", help="Column whose values are groups; repeat.")
]
Control = Annotated[
    str | None, typer.Option("--control", help="The group that others are compared with.")
]
Within = Annotated[
    list[str] | None, typer.Option("--within", help="Column to compare groups within; repeat.")
]
Region = Annotated[
    str | None,
    typer.Option("--region", help="beyond, full, rectangle:y0,x0,y1,x1, polygon:…, labels:3,7."),
]
KEYS = {
    "split": "split",
    "table": "table",
    "unit": "unit",
    "by": "groups.by",
    "control": "groups.control",
    "within": "groups.within",
    "region": "regions.region",
}
"""Flags, and the keys of the job that they set."""


def known(name: str) -> str:
    """The name of a study; one that is none is refused with the nearest that is."""
    if name in CATALOGUE:
        return name
    near = difflib.get_close_matches(name, [*CATALOGUE, *VERBS], 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(CATALOGUE)}"
    raise UsageError(f"no study {name!r}; {hint}")


def job_of(path: Path | None, out: Path | None, changes: Mapping[str, Any]) -> "StudyJob":
    """The job of a file, of the studies that are in `out` already, or of flags alone."""
    from attributome.pipeline.study.job import changed, job_from, read_job
    from attributome.store import Run

    if path is not None or out is None or not (out / "run.json").is_file():
        return read_job(path, changes)
    run = Run.open(out)
    if "runs" not in run.asked:
        raise UsageError(f"{out} holds something else than studies: choose another --out")
    before = run.load("options")
    if before is None:  # it was stopped before it had any
        return read_job(None, changes)
    return changed(job_from(before, str(out)), changes)


def command_of(
    name: str, job: "StudyJob", out: Path, device: str, precision: Precision, trust: bool
) -> str:
    """The command that makes a study of a job from nothing, whatever was typed."""
    from attributome.pipeline.study.job import StudyJob

    words = ["attributome", "study", name, *job.runs, "--out", str(out)]
    given, usual = _flat(job.model_dump(mode="json")), _flat(StudyJob().model_dump(mode="json"))
    flag_of = {key: f"--{flag}" for flag, key in KEYS.items()} | {"seed": "--seed"}
    for key, value in given.items():
        if value == usual.get(key) or value is None or key in ("runs", "name"):
            continue
        if flag := flag_of.get(key):
            some = value if isinstance(value, list) else [value]
            words += [word for each in some for word in (flag, str(each))]
        else:
            words += ["--set", f"{key}={as_toml(value)}"]
    words += ["--device", device] if device != "auto" else []
    words += ["--precision", precision.value] if precision is not Precision.auto else []
    return shlex.join([*words, "--trust"] if trust else words)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a job by `section.key`."""
    flat = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    for section, inner in values.items():
        if isinstance(inner, Mapping):
            flat |= {f"{section}.{key}": value for key, value in inner.items()}
    return flat
