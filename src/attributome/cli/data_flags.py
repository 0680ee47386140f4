"""The flags that verbs on public archives share, and what they say before, while and after."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attributome.cli.speaking import end, say
from attributome.core.errors import UsageError
from attributome.terminal import Terminal

if TYPE_CHECKING:  # a table is only made where a verb runs
    import pandas as pd

NOTE = "LICENCE.txt"


class Format(StrEnum):
    """How stacks are written."""

    tiff = "tiff"
    zarr = "zarr"


Into = Annotated[Path, typer.Option("--out", help="Folder to fill; the same one goes on.")]
Organelles = Annotated[
    list[str] | None, typer.Option("--organelle", help="Such as Mitochondria; repeat for more.")
]
Genes = Annotated[
    list[str] | None, typer.Option("--gene", help="The same by gene, such as TOMM20; repeat.")
]
Every = Annotated[bool, typer.Option("--every-organelle", help="All 18; that is terabytes.")]
PerOrganelle = Annotated[
    int, typer.Option("--images-per-organelle", help="The first so many of each organelle.")
]
OnlyMetadata = Annotated[
    bool, typer.Option("--only-metadata", help="Tables of what would be made, and no images.")
]
Override = Annotated[
    bool, typer.Option("--override", help="Make what is there again, also with other settings.")
]
Pinned = Annotated[
    str | None, typer.Option("--manifest-sha256", help="What metadata.csv must be, else refused.")
]
FormatOf = Annotated[Format, typer.Option("--format", help="OME-TIFF or OME-Zarr, in uint16.")]
PixelSize = Annotated[
    str | None,
    typer.Option("--pixel-size", metavar="Z,Y,X", help="Micrometres, where no file says them."),
]
Scratch = Annotated[
    Path | None, typer.Option("--scratch", help="Folder for sources until stacks are made.")
]
Endpoint = Annotated[str | None, typer.Option("--endpoint", help="Address of another bucket.")]
Threads = Annotated[int, typer.Option("--threads", help="Files that are fetched at a time.")]
Tries = Annotated[int, typer.Option("--tries", help="Tries in a row that may bring nothing new.")]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds without a byte.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds before the second try; then twice.")]
PerSecond = Annotated[
    float | None, typer.Option("--per-second", help="Requests per second, at most.")
]
Address = Annotated[str | None, typer.Option("--url", help="Another address of the archive.")]
Sum = Annotated[str | None, typer.Option("--sha256", help="SHA-256 of that archive.")]
Channels = Annotated[
    list[str] | None, typer.Option("--channel", help="Repeat for more; all unless said.")
]


@contextmanager
def under_way(title: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar with the time left, to be called with what is done and with all of it."""
    scale, name = (2**20, "MiB") if unit == "bytes" else (1, unit)
    with Terminal() as terminal:
        bar = terminal.bars(title)

        def show(done: int, total: int | None) -> None:
            of = f" of {total // scale}" if total else ""
            bar(done / total if total else 0.0, f"{done // scale}{of} {name}")

        yield show


def state_terms(terms: str, folder: Path) -> None:
    """One line on whose the images are, before anything is fetched."""
    say(f"licence: {terms}; the note is in {folder / NOTE}")


def go_on(table: Path, *words: str) -> None:
    """Where the table is, and what can be done with it."""
    say(f"{'data' if table.is_dir() else 'table'}: {table}")
    say(f"go on: {shlex.join(['attributome', 'run', '--images', str(table), *words])}")


def told(report: "pd.DataFrame", table: Path, listed: Sequence[Path], *words: str) -> None:
    """What became of the images, and exit code 4 where some could not be had."""
    counts = report["status"].value_counts()
    say(", ".join(f"{count} {status}" for status, count in counts.items()))
    if counts.get("listed", 0) == len(report):
        for path in listed:
            say(f"table: {path}")
        say("go on: the same command without --only-metadata")
        return
    go_on(table, *words)
    failed = report[report["status"] == "failed"]
    end(dict(zip(failed["image"], failed["reason"], strict=True)), done=len(report) - len(failed))


def sizes_of(text: str | None) -> tuple[float, float, float] | None:
    """Three lengths from `--pixel-size Z,Y,X`."""
    if text is None:
        return None
    try:
        z, y, x = map(float, text.split(","))
    except ValueError as error:
        raise UsageError(
            f"--pixel-size {text!r} must read Z,Y,X, such as 0.29,0.11,0.11"
        ) from error
    if not all(0 < length < float("inf") for length in (z, y, x)):
        raise UsageError(f"--pixel-size {text!r} has a length that is not above 0")
    return z, y, x


def organelles_of(names: list[str] | None, genes: list[str] | None, every: bool) -> Sequence[str]:
    """The organelles that a command line names, each once."""
    from attributome.data.sources.allen_tables import GENES, organelle_named

    asked = [*(names or ()), *(genes or ())]
    if every == bool(asked):
        raise UsageError(
            f"name some with --organelle or --gene, or all with --every-organelle; there are "
            f"{', '.join(f'{name} ({gene})' for name, gene in GENES.items())}"
        )
    return [*GENES] if every else [*dict.fromkeys(map(organelle_named, asked))]


def fractions_of(texts: list[str] | None) -> dict[str, float] | None:
    """Shares from `--fractions PART=SHARE`."""
    if not texts:
        return None
    found: dict[str, float] = {}
    for text in texts:
        part, equals, share = text.partition("=")
        try:
            value = float(share)
        except ValueError:
            equals = ""
        if not equals or not part.strip() or part.strip() in found:
            raise UsageError(
                f"--fractions {text!r} must read PART=SHARE, such as train=0.7, each part once"
            )
        found[part.strip()] = value
    return found


def moved_of(text: str | None) -> tuple[str, str] | None:
    """What paths of a table begin with, and what the bucket has for it."""
    if text is None:
        return None
    old, equals, new = text.partition("=")
    if not equals or not old:
        raise UsageError(
            f"--moved {text!r} must read OLD=NEW, such as /bucket/=cpg0000-jump-pilot/"
        )
    return old, new
