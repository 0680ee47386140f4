"""The flags that verbs on single-cell profiles share, and the job that they and a file make."""

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
    from attributome.pipeline.profile.job import ProfileJob
    from attributome.pipeline.profile.work import ProfileWork


class Kind(StrEnum):
    """What the source of fields is."""

    auto = "auto"
    table = "table"
    ngff = "ngff"
    jump = "jump"
    deepprofiler = "deepprofiler"


class Remedy(StrEnum):
    """What is done in training against looking beside the cell."""

    none = "none"
    penalty = "penalty"
    mask = "mask"
    background = "background"


class About(StrEnum):
    """Which class of a cell its Grad-CAMO is of."""

    label = "label"
    predicted = "predicted"


def _channels(texts: list[str]) -> dict[str, str]:
    """`NAME=THEIRS` as the job has it; a name alone is what the source calls the channel too."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, theirs = text.partition("=")
        if not name.strip() or (equals and not theirs.strip()):
            raise UsageError(f"--channel {text!r} must read NAME=THEIRS, such as dna=c0, or NAME")
        key = (theirs if equals else name).strip()
        if key in found:
            raise UsageError(f"--channel gives {key!r} two names")
        found[key] = name.strip()
    return found


def _plates(texts: list[str]) -> int | list[str]:
    """Names of plates, or how many of them."""
    return int(texts[0]) if len(texts) == 1 and texts[0].isdecimal() else texts


Data = Annotated[
    str | None, typer.Option("--data", help="A table of fields, or a folder of plates.")
]
KindOf = Annotated[Kind | None, typer.Option("--kind", help="What --data is; auto looks.")]
More = Annotated[str | None, typer.Option("--about", help="A table with the treatments of wells.")]
Channels = Annotated[
    list[str] | None,
    typer.Option("--channel", metavar="NAME=THEIRS", help="What we call a channel; repeat."),
]
Label = Annotated[str | None, typer.Option("--label", help="Column of what is told apart.")]
Control = Annotated[
    list[str] | None, typer.Option("--control", help="Label that is a negative control; repeat.")
]
HeldOut = Annotated[
    list[str] | None,
    typer.Option("--held-out", help="Plate that no training sees (repeat), or how many."),
]
Size = Annotated[
    list[int] | None,
    typer.Option("--size", help="Voxels of a crop: one for all axes, or one each."),
]
Network = Annotated[str | None, typer.Option("--network", help="Folder of a trained network.")]
Architecture = Annotated[
    str | None, typer.Option("--architecture", help="small, resnet or efficientnet.")
]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Longest training.")]
RemedyOf = Annotated[Remedy | None, typer.Option("--remedy", help="Against looking beside.")]
Compared = Annotated[
    list[Remedy] | None, typer.Option("--remedy", help="What is compared: all three, or repeat.")
]
Layers = Annotated[list[str] | None, typer.Option("--layer", help="Layer of features; repeat.")]
CamoLayer = Annotated[str | None, typer.Option("--camo-layer", help="Layer of Grad-CAMO.")]
Target = Annotated[About | None, typer.Option("--target", help="Class that the maps are of.")]

DATA = {
    "data": (Data, "data.source"),
    "kind": (KindOf, "data.kind"),
    "about": (More, "data.about"),
    "channel": (Channels, "data.channels", _channels),
    "label": (Label, "data.label"),
    "control": (Control, "data.control"),
    "held_out": (HeldOut, "data.held_out_plates", _plates),
    "size": (Size, "crops.size"),
}
NETWORK = {"network": (Network, "network.source")}
TRAIN = {
    "architecture": (Architecture, "network.kind"),
    "epochs": (Epochs, "train.epochs"),
    "minutes": (Minutes, "train.minutes"),
    "remedy": (RemedyOf, "train.remedy"),
}
REMEDIES = {"remedy": (Compared, "remedies.which", lambda some: [one.value for one in some])}
FEATURES = {"layer": (Layers, "features.layers")}
CAMO = {"camo_layer": (CamoLayer, "camo.layer"), "target": (Target, "camo.target")}


def job_of(asked: Asked) -> "ProfileJob":
    """The job of a file, of the run that is in `--out` already, or of flags alone."""
    from attributome.pipeline.profile.job import changed, job_from, read_job

    if (before := asked.before()) is None:
        return read_job(asked.path, asked.changes)
    if not {"crops", "camo", "profiles"} <= {*before.get("job", {})}:
        raise UsageError(f"{asked.out} holds something else: choose another --out")
    return changed(job_from(before["job"], str(asked.out)), asked.changes)


@contextmanager
def open_profiles(asked: Asked, *, trust: bool = False) -> Iterator["ProfileWork"]:
    """The job under way, with bars in the terminal."""
    from attributome.core.compute import choose
    from attributome.pipeline.profile.work import begin

    job = job_of(asked)
    compute = choose(asked.device, asked.precision.value, asked.compile)
    with Terminal() as terminal:
        folder = asked.out or Path("runs") / job.name
        yield begin(
            job, folder, compute=compute, trust=trust, bars=terminal.bars, tell=terminal.tell
        )
