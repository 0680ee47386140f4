"""The flags that verbs on pairs share, and the job that they and a file make together."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attributome.cli.flags import Asked
from attributome.cli.options import Minutes
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


def _without_parameters(names: list[str]) -> dict[str, dict[str, Any]]:
    return {name: {} for name in names}


def _column(flag: str, what: str) -> Any:
    return typer.Option(flag, help=f"Column of {what}.", rich_help_panel="Columns of the table")


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
NETWORK = {
    "network": (Network, "network.kind"),
    "checkpoint": (Checkpoint, "network.source"),
    "dropout": (Dropout, "network.dropout"),
}
TRAIN = {"epochs": (Epochs, "train.epochs"), "minutes": (Minutes, "train.minutes")}
EXPLAIN = {
    "pairs": (Pairs, "explain.pairs"),
    "method": (Methods, "explain.methods", _without_parameters),
    "interactions": (Interactions, "explain.interactions"),
}
UPSTREAM = partial(
    typer.Option,
    help="As the upstream's script has it; writes its tree of files too.",
    rich_help_panel="Flags of the upstream",
)
"""A flag under the name that the upstream's interpretability script has for it."""


def job_of(asked: Asked, more: Mapping[str, Any] | None = None) -> "FcgrJob":
    """The job of a file, of the run that is in `--out` already, or of flags alone."""
    from attributome.pipeline.fcgr.job import changed, job_from, read_job

    changes = {**(more or {}), **asked.changes}
    if (before := asked.before()) is None:
        return read_job(asked.path, changes)
    if "data" not in before.get("job", {}) or "explain" not in before["job"]:
        raise UsageError(f"{asked.out} holds something else: choose another --out")
    return changed(job_from(before["job"], str(asked.out)), changes)


@contextmanager
def open_pairs(asked: Asked, more: Mapping[str, Any] | None = None) -> Iterator["PairWork"]:
    """The job under way, with bars in the terminal."""
    from attributome.core.compute import choose
    from attributome.pipeline.fcgr.work import begin

    job = job_of(asked, more)
    compute = choose(asked.device, asked.precision.value, asked.compile)
    with Terminal() as terminal:
        folder = asked.out or Path("runs") / job.name
        yield begin(job, folder, compute=compute, bars=terminal.bars, tell=terminal.tell)
