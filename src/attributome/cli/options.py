"""The flags that verbs share, and the job that they and a file make together."""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attributome.config import Job, job_from, put, read_job
from attributome.core.errors import UsageError
from attributome.terminal import Terminal

if TYPE_CHECKING:  # torch takes seconds to import, and --help must not
    from attributome.pipeline import Work
    from attributome.store import Run


class Precision(StrEnum):
    """What to compute in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


JobFile = Annotated[
    Path | None, typer.Argument(metavar="[JOB]", help="A job as TOML (see `attributome init`).")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run, else runs/<name>.")]
Images = Annotated[str, typer.Option("--images", help="A folder, a glob, or a CSV/Parquet table.")]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", help="Input channel; repeat for more.")
]
Targets = Annotated[list[str] | None, typer.Option("--target", help="Target channel; repeatable.")]
Predictor = Annotated[str, typer.Option("--predictor", help="A predictor from elsewhere.")]
Factory = Annotated[str, typer.Option("--factory", help="module:function that builds it.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any key of the job, e.g. masks.epochs=5."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of every draw.")]
Minutes = Annotated[float | None, typer.Option("--minutes", help="Budget of this training.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Prec = Annotated[Precision, typer.Option("--precision", help="auto picks what is fastest.")]
Compile = Annotated[bool, typer.Option("--compile", help="Compile networks with torch.compile.")]
Trust = Annotated[bool, typer.Option("--trust", help="Run predictors that are programs.")]
Shard = Annotated[str, typer.Option("--shard", metavar="I/N", help="Do part I of N of the fields.")]


@contextmanager
def open_work(
    job: Job, root: Path | None, device: str, precision: Precision, compile: bool, trust: bool
) -> Iterator["Work"]:
    """The job under way, with bars in the terminal."""
    from attributome.core.compute import choose
    from attributome.pipeline import begin

    compute = choose(device, precision.value, compile)
    with Terminal() as terminal:
        folder = root or Path("runs") / job.name
        yield begin(
            job, folder, compute=compute, trust=trust, bars=terminal.bars, tell=terminal.tell
        )


def job_of(
    path: Path | None,
    root: Path | None,
    images: str,
    inputs: list[str] | None,
    targets: list[str] | None,
    predictor: str,
    factory: str,
    sets: list[str] | None,
    seed: int | None,
    more: Mapping[str, Any] | None = None,
) -> Job:
    """The job of a file, of the run that is in `root` already, or of flags alone."""
    given = {
        "data.source": images or None,
        "data.inputs": inputs,
        "data.targets": targets,
        "predictor.source": predictor or None,
        "predictor.factory": factory or None,
        **(more or {}),
    }
    flags = {key: value for key, value in given.items() if value is not None}
    changes = {**flags, **given_values(sets, seed)}
    if path is None and root is not None and (root / "run.json").is_file():
        from attributome.pipeline.work import under_way

        if under_way(root):  # else it was a slip, which does not bind the corrected command
            return _of_run(root, changes)
    return read_job(path, changes)


def asked_before(path: Path | None, root: Path | None, sets: list[str] | None) -> Job:
    """The job of a file, or the one that the run in `--out` was made with."""
    if path is not None or root is None:
        return read_job(path, given_values(sets, None))
    return _of_run(root, given_values(sets, None))


def _of_run(root: Path, changes: Mapping[str, Any]) -> Job:
    from attributome.store import Run

    return changed(job_from(Run.open(root).asked["job"], str(root)), changes)


def changed(job: Job, changes: Mapping[str, Any]) -> Job:
    """The job with other values for some of its keys."""
    values = job.model_dump(mode="json")
    put(values, changes)
    return job_from(values, "--set")


def given_values(sets: list[str] | None, seed: int | None) -> dict[str, Any]:
    """What `--set` and `--seed` say, by key of the job."""
    changes: dict[str, Any] = {} if seed is None else {"seed": seed}
    for item in sets or []:
        key, equals, text = item.partition("=")
        if not equals:
            raise UsageError(f"--set {item!r} must read KEY=VALUE, such as masks.epochs=5")
        try:
            changes[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            changes[key.strip()] = text  # a bare word is a string
    return changes


def part_of(text: str) -> tuple[int, int]:
    """(i, N) from `--shard i/N`."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"--shard {text!r} must read I/N with 1 <= I <= N, such as 2/8")
    return int(part), int(parts)


def run_named(folder: Path | None, out: Path | None, example: str) -> "Run":
    """The run that a report is of: named by itself, or as `--out` as other verbs name it."""
    from attributome.store import Run

    root = folder or out
    if root is None:
        raise UsageError(f"no run is named: give its folder, such as {example}")
    return Run.open(root)
