"""The flags that verbs on cells share, and the job that they and a file make together."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attributome.cli.flags import Asked
from attributome.cli.options import Minutes
from attributome.core.errors import UsageError
from attributome.terminal import Terminal

if TYPE_CHECKING:  # torch takes seconds to import, and --help must not
    from attributome.pipeline.inpaint.job import InpaintJob
    from attributome.pipeline.inpaint.work import CellWork


class Kind(StrEnum):
    """What the source of cells is."""

    auto = "auto"
    layout = "layout"
    manifest = "manifest"
    fields = "fields"
    cells = "cells"
    chong = "chong"
    hpa = "hpa"


class Pool(StrEnum):
    """How a feature is made of a map."""

    max = "max"
    mean = "mean"
    masked_max = "masked_max"
    masked_mean = "masked_mean"


def _channels(texts: list[str]) -> dict[str, str]:
    """`NAME=END` as the job has it: the end of the files' names, and what we call the channel."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, end = text.partition("=")
        if not equals or not name.strip() or not end.strip():
            raise UsageError(f"--channel {text!r} must read NAME=END, such as protein=gfp")
        if end.strip() in found:
            raise UsageError(f"--channel gives {end.strip()!r} two names")
        found[end.strip()] = name.strip()
    return found


def _values(some: list[str]) -> list[str]:
    return [one.value if isinstance(one, StrEnum) else one for one in some]


Data = Annotated[
    str | None, typer.Option("--data", help="A folder of crops or cells, a table, or HDF5.")
]
KindOf = Annotated[Kind | None, typer.Option("--kind", help="What --data is; auto looks.")]
Channels = Annotated[
    list[str] | None,
    typer.Option("--channel", metavar="NAME=END", help="End of files, column or plane; repeat."),
]
Targets = Annotated[
    list[str] | None, typer.Option("--target", help="Channel to predict; else the first.")
]
Groups = Annotated[
    list[str] | None, typer.Option("--group", help="Column that cells of a pair share; repeat.")
]
Recipe = Annotated[
    str | None, typer.Option("--recipe", help="How crops are scaled: yeast, human or none.")
]
Size = Annotated[int | None, typer.Option("--size", help="Pixels of a crop.")]
Limit = Annotated[int | None, typer.Option("--limit", help="The first so many groups or genes.")]
Site = Annotated[str | None, typer.Option("--site", help="Address of the Human Protein Atlas.")]
Network = Annotated[
    str | None,
    typer.Option("--network", "--checkpoint", help="Folder of a network, or Keras weights (.h5)."),
]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Longest training.")]
Layers = Annotated[
    list[str] | None, typer.Option("--layer", help="Such as conv3_1; repeat. All unless said.")
]
Pools = Annotated[
    list[Pool] | None, typer.Option("--pool", help="Repeat for more; max and mean unless said.")
]
Label = Annotated[str | None, typer.Option("--label", help="Column of what is told apart.")]
Pairs = Annotated[int | None, typer.Option("--pairs", help="Pairs whose images are kept.")]

DATA = {
    "data": (Data, "data.source"),
    "kind": (KindOf, "data.kind"),
    "channel": (Channels, "data.channels", _channels),
    "target": (Targets, "data.targets"),
    "group": (Groups, "data.group"),
    "recipe": (Recipe, "data.recipe"),
    "size": (Size, "data.size"),
    "limit": (Limit, "data.limit"),
    "site": (Site, "data.site"),
}
NETWORK = {"network": (Network, "network.source")}
TRAIN = {"epochs": (Epochs, "train.epochs"), "minutes": (Minutes, "train.minutes")}
FEATURES = {
    "layer": (Layers, "features.layers"),
    "pool": (Pools, "features.pools", _values),
}
EVALUATE = {"label": (Label, "evaluate.label")}
PREDICT = {"pairs": (Pairs, "predict.pairs")}


def job_of(asked: Asked) -> "InpaintJob":
    """The job of a file, of the run that is in `--out` already, or of flags alone."""
    from attributome.pipeline.inpaint.job import changed, job_from, read_job

    if (before := asked.before()) is None:
        return read_job(asked.path, asked.changes)
    if not {"data", "features", "predict"} <= {*before.get("job", {})}:
        raise UsageError(f"{asked.out} holds something else: choose another --out")
    return changed(job_from(before["job"], str(asked.out)), asked.changes)


@contextmanager
def open_cells(asked: Asked) -> Iterator["CellWork"]:
    """The job under way, with bars in the terminal."""
    from attributome.core.compute import choose
    from attributome.pipeline.inpaint.work import begin

    job = job_of(asked)
    compute = choose(asked.device, asked.precision.value, asked.compile)
    with Terminal() as terminal:
        folder = asked.out or Path("runs") / job.name
        yield begin(job, folder, compute=compute, bars=terminal.bars, tell=terminal.tell)
