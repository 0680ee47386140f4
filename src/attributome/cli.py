"""The command line: parse, call the pipeline, say what happened. Nothing here computes.

Exit codes: 0 done, 2 a request that cannot be meant, 3 data that cannot be used, 4 done for some
fields only, 130 stopped by Ctrl-C. Whatever was stopped goes on with the same command.
"""

import errno
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from attributome.config import Job, job_from, put, read_job, write_example
from attributome.core.errors import Refusal, UsageError
from attributome.terminal import Terminal

if TYPE_CHECKING:  # torch takes seconds to import, and --help must not
    from attributome.pipeline import Work

app = typer.Typer(
    help="What does a deep network on cells use, how sure can we be, and is it biology?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train = typer.Typer(help="Train a predictor, or masks for one.", no_args_is_help=True)
app.add_typer(train, name="train")
out = Console()
PARTIAL, STOPPED = 4, 130
GOES_ON = "stopped; the same command goes on from here"


class Precision(StrEnum):
    """What to compute in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


JobFile = Annotated[
    Path | None, typer.Argument(metavar="[JOB]", help="A job as TOML (see `attributome init`).")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the run [runs/<name>].")]
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


@app.command()
def demo(
    out: Out = None,
    seed: Seed = None,
    set: Set = None,
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
) -> None:
    """Simulate cells with a known answer, train, explain, score and report: all in minutes."""
    from attributome.data.planted import write_planted
    from attributome.pipeline import DEMO, DEMO_FIELDS

    root = out or Path("runs/demo")
    table = root / "data" / "fields.csv"
    changes = {"data.source": str(table), **_changes(set, seed)}
    job = _changed(DEMO, changes)
    if not table.exists():
        write_planted(table.parent, fields=DEMO_FIELDS, seed=job.seed)
    with _work(job, root, device, precision, compile, trust=False) as work:
        _all(work)


@app.command()
def run(
    job: JobFile = None,
    out: Out = None,
    images: Images = "",
    input: Inputs = None,
    target: Targets = None,
    predictor: Predictor = "",
    factory: Factory = "",
    set: Set = None,
    seed: Seed = None,
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
    trust: Trust = False,
) -> None:
    """Everything a job asks for: train what is missing, explain, score, report."""
    asked = _job(job, out, images, input, target, predictor, factory, set, seed)
    with _work(asked, out, device, precision, compile, trust) as work:
        _all(work)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("job.toml"),
    images: Images = "",
    input: Inputs = None,
    target: Targets = None,
) -> None:
    """Write a commented job to edit."""
    job = _job(None, None, images, input, target, "", "", ["name=" + path.stem], None)
    write_example(path, job)
    _say(f"wrote {path}; edit it, then: attributome run {path}")


@app.command()
def inspect(
    source: Annotated[Path, typer.Argument(help="Predictor folder, safetensors, .pt or .pt2.")],
    factory: Factory = "",
    trust: Trust = False,
    channels: Annotated[int | None, typer.Option(help="Channels, where it cannot be seen.")] = None,
    dims: Annotated[int | None, typer.Option(help="2 or 3, where it cannot be seen.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a predictor takes, what its layers are, and which methods can explain it."""
    from attributome.predictors.inspect import inspect_predictor
    from attributome.predictors.load import load_predictor

    net, card = load_predictor(source, factory=factory or None, trust=trust)
    found = inspect_predictor(net, card, channels=channels, dims=dims)
    if json:
        out.print_json(data=asdict(found))
        return
    _print_inspection(asdict(found))


@train.command("predictor")
def train_predictor(
    job: JobFile = None,
    out: Out = None,
    images: Images = "",
    input: Inputs = None,
    target: Targets = None,
    set: Set = None,
    seed: Seed = None,
    minutes: Minutes = None,
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
) -> None:
    """Train an in silico labelling network, a regressor or a classifier on images and targets."""
    from attributome import pipeline

    more = {"predictor.minutes": minutes}
    asked = _job(job, out, images, input, target, "", "", set, seed, more)
    with _work(asked, out, device, precision, compile, trust=False) as work:
        _say(f"predictor: {pipeline.train_predictor(work)}")


@train.command("masks")
def train_masks(
    job: JobFile = None,
    out: Out = None,
    images: Images = "",
    input: Inputs = None,
    target: Targets = None,
    predictor: Predictor = "",
    factory: Factory = "",
    set: Set = None,
    seed: Seed = None,
    minutes: Minutes = None,
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
    trust: Trust = False,
) -> None:
    """Search the noise, train the mask generator, choose the threshold, calibrate the guarantee."""
    from attributome import pipeline

    more = {"masks.minutes": minutes}
    asked = _job(job, out, images, input, target, predictor, factory, set, seed, more)
    with _work(asked, out, device, precision, compile, trust) as work:
        _say(f"masks: {pipeline.train_masks(work)}")


@app.command()
def explain(
    job: JobFile = None,
    out: Out = None,
    set: Set = None,
    shard: Shard = "1/1",
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
    trust: Trust = False,
) -> None:
    """Make the maps of every field that has none yet."""
    from attributome import pipeline

    part = _shard(shard)
    with _work(_asked_before(job, out, set), out, device, precision, compile, trust) as work:
        failed = pipeline.explain(work, part=part)
        _say(f"maps: {work.run.root / 'parts' / 'explain'}")
    _end(failed, done=len(work.run.units("explain")))


@app.command()
def score(
    job: JobFile = None,
    out: Out = None,
    set: Set = None,
    shard: Shard = "1/1",
    device: Device = "auto",
    precision: Prec = Precision.auto,
    compile: Compile = False,
    trust: Trust = False,
) -> None:
    """Measure the maps against controls of the same size, and sum up."""
    from attributome import pipeline

    part = _shard(shard)
    with _work(_asked_before(job, out, set), out, device, precision, compile, trust) as work:
        failed = pipeline.score(work, part=part)
        if work.run.units("score"):
            pipeline.sum_up(work, command=_command())
            _say(f"summary: {work.run.root / 'summary.json'}")
    _end(failed, done=len(work.run.units("score")))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
) -> None:
    """Write the page that a biologist reads."""
    from attributome.report import build
    from attributome.store import Run

    _say(f"report: {build(Run.open(folder))}")


@app.command()
def methods() -> None:
    """List the attribution methods and their parameters."""
    from attributome.explain import METHODS, parameters

    for name, function in sorted(METHODS.items()):
        says = (function.__doc__ or "").strip().splitlines()[0]
        takes = ", ".join(
            f"{k}={v!r}" if v is not v.__class__ else k for k, v in _takes(name, parameters)
        )
        out.print(f"[bold]{name}[/bold]({takes})\n    {says}", highlight=False)
    out.print(
        "[bold]learned_mask[/bold]()\n    The mask generator trained in the run.", highlight=False
    )


def main() -> None:
    """Run the command line and end with the exit code that the module describes."""
    sys.exit(run_cli(sys.argv[1:]))


def run_cli(arguments: list[str]) -> int:
    """The exit code of a command line; errors become one sentence on standard error."""
    try:
        code = app(arguments, prog_name="attributome", standalone_mode=False)
        if code == STOPPED:  # what typer makes of Ctrl-C
            _complain(GOES_ON)
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        says = " ".join(error.format_message().split())
        if says:  # nothing where the help was shown instead
            _complain(says)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        _complain(GOES_ON)
        return STOPPED
    except Refusal as error:
        _complain(str(error))
        return error.exit_code
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        where = f" ({error.filename})" if error.filename else ""
        _complain(f"{'the disk is full' if full else error.strerror or error}{where}")
        return 3


def _all(work: "Work") -> None:
    from attributome.pipeline import everything
    from attributome.report import build

    summary, failed = everything(work, command=_command())
    if not summary:
        _end(failed, done=0)
    page = build(work.run)
    _say(
        f"median efficacy {summary['efficacy_median']:.3f} at mask size "
        f"{summary['mask_size_median']:.3f} over {summary['fields_test']} fields"
    )
    _say(f"summary: {work.run.root / 'summary.json'}")
    _say(f"report: {page}")
    _end(failed, done=summary["fields_test"])


@contextmanager
def _work(
    job: Job, root: Path | None, device: str, precision: Precision, compile: bool, trust: bool
) -> Iterator["Work"]:
    from attributome.core.compute import choose
    from attributome.pipeline import begin

    compute = choose(device, precision.value, compile)
    with Terminal() as terminal:
        folder = root or Path("runs") / job.name
        yield begin(job, folder, compute=compute, trust=trust, bars=terminal.bars)


def _job(
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
    changes = {**flags, **_changes(sets, seed)}
    if path is None and root is not None and (root / "run.json").is_file():
        from attributome.pipeline.work import under_way

        if under_way(root):  # else it was a slip, which does not bind the corrected command
            return _of_run(root, changes)
    return read_job(path, changes)


def _asked_before(path: Path | None, root: Path | None, sets: list[str] | None) -> Job:
    """The job of a file, or the one that the run in `--out` was made with."""
    if path is not None or root is None:
        return read_job(path, _changes(sets, None))
    return _of_run(root, _changes(sets, None))


def _of_run(root: Path, changes: Mapping[str, Any]) -> Job:
    from attributome.store import Run

    return _changed(job_from(Run.open(root).asked["job"], str(root)), changes)


def _changed(job: Job, changes: Mapping[str, Any]) -> Job:
    values = job.model_dump(mode="json")
    put(values, changes)
    return job_from(values, "--set")


def _changes(sets: list[str] | None, seed: int | None) -> dict[str, Any]:
    import tomllib

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


def _shard(text: str) -> tuple[int, int]:
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"--shard {text!r} must read I/N with 1 <= I <= N, such as 2/8")
    return int(part), int(parts)


def _takes(name: str, parameters: Callable[[str], dict[str, object]]) -> Iterator[tuple[str, Any]]:
    import inspect as python

    for key, default in parameters(name).items():
        yield key, (type(default) if default is python.Parameter.empty else default)


def _print_inspection(found: dict[str, Any]) -> None:
    from rich.table import Table

    sizes = found["sizes"]
    out.print(
        f"{found['dims']}-D, {found['channels']} channels in, {found['output']} out "
        f"({found['outputs']})"
    )
    rule = f"from {sizes['minimum']} in steps of {sizes['multiple']}"
    out.print(f"sizes: {'only ' + str(sizes['fixed']) if sizes['fixed'] else rule}")
    table = Table(
        "layer", "type", "channels", "grid", "runs", title=f"layers at {found['example']}"
    )
    for layer in found["layers"]:
        table.add_row(*(str(layer[k]) for k in ("name", "type", "channels", "grid", "runs")))
    out.print(table)
    for name, reason in found["possible"].items():
        out.print(f"{name}: {'possible' if reason is None else 'no, ' + reason}", highlight=False)
    for note in found["norms"]:
        out.print(f"note: {note}", highlight=False)


def _end(failed: Mapping[str, str], *, done: int) -> None:
    """Name the fields that failed, and end with 4, or with 3 where none was done."""
    for name, reason in failed.items():
        _complain(f"{name}: {reason}")
    if failed:
        raise typer.Exit(PARTIAL if done else 3)


def _command() -> str:
    return shlex.join(["attributome", *sys.argv[1:]])


def _say(text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def _complain(text: str) -> None:
    Console(stderr=True).print(
        f"attributome: {text}", highlight=False, markup=False, soft_wrap=True
    )
