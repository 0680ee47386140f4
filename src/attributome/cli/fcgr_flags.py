"""The flags that verbs on pairs share, and the job that they and a file make together."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attributome.cli.options import (
    Compile,
    Device,
    Minutes,
    Out,
    Prec,
    Precision,
    Seed,
    Set,
    given_values,
)
from attributome.core.errors import UsageError
from attributome.terminal import Terminal

if TYPE_CHECKING:  # torch takes seconds to import, and --help must not
    from attributome.pipeline.fcgr.job import FcgrJob
    from attributome.pipeline.fcgr.work import PairWork


class Kind(StrEnum):
    """Which network to train."""

    ours = "ours"
    upstream = "upstream"


class Split(StrEnum):
    """What never stands in two parts."""

    given = "given"
    random = "random"
    stratified = "stratified"
    mirna = "mirna"
    family = "family"
    site = "site"
    none = "none"


def _column(flag: str, what: str) -> Any:
    return typer.Option(flag, help=f"Column of {what}.", rich_help_panel="Columns of the table")


JobFile = Annotated[Path | None, typer.Argument(metavar="[JOB]", help="A job as TOML.")]
Data = Annotated[
    str | None, typer.Option("--data", help="CSV, TSV, Parquet or FASTA; may be gzipped.")
]
Sites = Annotated[
    str | None, typer.Option("--sites", help="FASTA of the sites, where --data is FASTA.")
]
K = Annotated[int | None, typer.Option("--k", help="Letters of a word.")]
SplitBy = Annotated[
    Split | None, typer.Option("--split", help="What is never in two parts; mirna unless said.")
]
Network = Annotated[Kind | None, typer.Option("--network", help="Which network to train.")]
Dropout = Annotated[float | None, typer.Option("--dropout", help="Dropout of the network.")]
Checkpoint = Annotated[
    str | None, typer.Option("--checkpoint", help="A network from elsewhere, or the upstream's.")
]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Longest training.")]
Pairs = Annotated[
    int | None, typer.Option("--pairs", help="Pairs to explain, evenly over labels; 0: all.")
]
Methods = Annotated[list[str] | None, typer.Option("--method", help="Repeat for more.")]
Interactions = Annotated[
    int | None, typer.Option("--interactions", help="Pairs with a map of position by position.")
]

DATA = {
    "data": (Data, "data.source"),
    "sites": (Sites, "data.sites"),
    "mirna_column": (Annotated[str | None, _column("--mirna-column", "miRNAs")], ""),
    "site_column": (Annotated[str | None, _column("--site-column", "sites")], ""),
    "label_column": (Annotated[str | None, _column("--label-column", "labels")], ""),
    "id_column": (Annotated[str | None, _column("--id-column", "ids")], ""),
    "family_column": (Annotated[str | None, _column("--family-column", "families")], ""),
    "split_column": (Annotated[str | None, _column("--split-column", "parts")], ""),
    "k": (K, "data.k"),
    "split": (SplitBy, "data.split"),
}
"""Flags, each with its type and its key of the job; without one it is that in `data`."""
NETWORK = {
    "network": (Network, "network.kind"),
    "checkpoint": (Checkpoint, "network.source"),
    "dropout": (Dropout, "network.dropout"),
}
TRAIN = {"epochs": (Epochs, "train.epochs"), "minutes": (Minutes, "train.minutes")}
EXPLAIN = {
    "pairs": (Pairs, "explain.pairs"),
    "method": (Methods, "explain.methods"),
    "interactions": (Interactions, "explain.interactions"),
}
Flags = Mapping[str, tuple[Any, str]]
UPSTREAM = partial(
    typer.Option,
    help="As the upstream's script has it; writes its tree of files too.",
    rich_help_panel="Flags of the upstream",
)
"""A flag under the name that the upstream's interpretability script has for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a command line asks for, before anything is read."""

    path: Path | None
    out: Path | None
    changes: Mapping[str, Any]
    device: str
    precision: Precision
    compile: bool

    def job(self, more: Mapping[str, Any] | None = None) -> "FcgrJob":
        """The job of a file, of the run that is in `--out` already, or of flags alone."""
        from attributome.pipeline.fcgr.job import changed, job_from, read_job
        from attributome.store import Run

        changes = {**(more or {}), **self.changes}
        if self.path is None and self.out is not None and (self.out / "run.json").is_file():
            asked = Run.open(self.out).asked
            if "data" not in asked.get("job", {}) or "explain" not in asked["job"]:
                raise UsageError(f"{self.out} holds something else: choose another --out")
            return changed(job_from(asked["job"], str(self.out)), changes)
        return read_job(self.path, changes)


Verb = Callable[..., None]
"""A function whose first parameter is what is asked; the others are flags of its own."""


def with_flags(*groups: Flags) -> Callable[[Verb], Verb]:
    """Give a verb the flags that verbs share; it is called with what they ask for."""
    flags = {name: one for group in groups for name, one in group.items()}

    def widened(does: Verb) -> Verb:
        own = list(inspect.signature(does).parameters.values())[1:]

        @wraps(does)
        def typed(**given: Any) -> None:
            words = {parameter.name: given[parameter.name] for parameter in own}
            does(_asked(given, flags), **words)

        parameters = [
            _parameter("job", JobFile, None),
            _parameter("out", Out, None),
            *(_parameter(name, kind, None) for name, (kind, _) in flags.items()),
            *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own),
            _parameter("set", Set, None),
            _parameter("seed", Seed, None),
            _parameter("device", Device, "auto"),
            _parameter("precision", Prec, Precision.auto),
            _parameter("compile", Compile, False),
        ]
        # typer reads a verb's flags from its signature
        typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        typed.__annotations__ = {one.name: one.annotation for one in parameters}
        return typed

    return widened


@contextmanager
def open_pairs(asked: Asked, more: Mapping[str, Any] | None = None) -> Iterator["PairWork"]:
    """The job under way, with bars in the terminal."""
    from attributome.core.compute import choose
    from attributome.pipeline.fcgr.work import begin

    job = asked.job(more)
    compute = choose(asked.device, asked.precision.value, asked.compile)
    with Terminal() as terminal:
        folder = asked.out or Path("runs") / job.name
        yield begin(job, folder, compute=compute, bars=terminal.bars, tell=terminal.tell)


def _asked(given: Mapping[str, Any], flags: Flags) -> Asked:
    values = {
        key or f"data.{name}": _plain(given[name])
        for name, (_, key) in flags.items()
        if given[name] is not None
    }
    return Asked(
        path=given["job"],
        out=given["out"],
        changes={**values, **given_values(given["set"], given["seed"])},
        device=given["device"],
        precision=given["precision"],
        compile=given["compile"],
    )


def _plain(value: object) -> object:
    """A flag's value as a job has it: methods that are named get no parameters."""
    if isinstance(value, list):
        return {name: {} for name in value}
    return value.value if isinstance(value, StrEnum) else value


def _parameter(name: str, annotation: Any, default: object) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)
