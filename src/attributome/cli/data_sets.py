"""Verbs on sets of other houses: jump, rxrx1, cifar10, cifar10c."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from attributome.cli.data_flags import (
    Address,
    Channels,
    Endpoint,
    Into,
    OnlyMetadata,
    PerSecond,
    Sum,
    Threads,
    Timeout,
    Tries,
    Wait,
    go_on,
    moved_of,
    state_terms,
    under_way,
)
from attributome.cli.speaking import end, say
from attributome.core.errors import UsageError

CLASSES = ("--set", "predictor.task=classification", "--set", "predictor.classes=10")


def jump(
    out: Into,
    batch: Annotated[str, typer.Option("--batch", help="Such as 2021_04_26_Batch1.")],
    plate: Annotated[str, typer.Option("--plate", help="Such as BR00117035.")],
    source: Annotated[str, typer.Option("--source", help="Such as source_4.")],
    project: Annotated[
        str, typer.Option("--project", help="Such as cpg0016-jump.")
    ] = "cpg0016-jump",
    well: Annotated[list[str] | None, typer.Option("--well", help="Such as A01; repeat.")] = None,
    site: Annotated[list[str] | None, typer.Option("--site", help="Such as 1; repeat.")] = None,
    channel: Channels = None,
    load_data: Annotated[
        Path | None, typer.Option("--load-data", help="A table of your own for the plate.")
    ] = None,
    moved: Annotated[
        str | None,
        typer.Option(
            "--moved", metavar="OLD=NEW", help="What the bucket has for a start of paths."
        ),
    ] = None,
    only_metadata: OnlyMetadata = False,
    threads: Threads = 4,
    per_second: PerSecond = None,
    tries: Tries = 5,
    timeout: Timeout = 30.0,
    wait: Wait = 1.0,
    endpoint: Endpoint = None,
) -> None:
    """Wells of a plate of the Cell Painting Gallery, as JUMP."""
    from attributome.data.sources.jump import (
        ENDPOINT,
        TERMS,
        build_jump,
        fetch_load_data,
        read_load_data,
    )

    start = moved_of(moved)
    state_terms(TERMS, out)
    terms: dict[str, Any] = {"tries": tries, "timeout": timeout, "wait": wait}
    terms |= {"endpoint": endpoint or ENDPOINT}
    facts = load_data or fetch_load_data(
        out, project=project, source=source, batch=batch, plate=plate, **terms
    )
    if only_metadata:
        sites = read_load_data(facts, moved=start)
        names = [str(n).removeprefix("key_") for n in sites if str(n).startswith("key_")]
        say(f"{len(sites)} sites of {sites['well'].nunique()} wells, channels {', '.join(names)}")
        say(f"table: {facts}")
        say("go on: the same command without --only-metadata")
        return
    with under_way("jump", "files") as show:
        rows = build_jump(
            out,
            facts,
            wells=well or None,
            sites=site or None,
            channels=channel or None,
            moved=start,
            threads=threads,
            per_second=per_second,
            progress=show,
            **terms,
        )
    say(f"{len(rows)} sites of {rows['well'].nunique()} wells are whole")
    go_on(out / "images.csv", "--input", "Brightfield", "--target", "DNA")
    end(_lost(out / "failed.csv"), done=len(rows))


def rxrx1(
    out: Into,
    archives: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ARCHIVE]...", help="Zips or their addresses, else Recursion's."),
    ] = None,
    experiment: Annotated[
        list[str] | None, typer.Option("--experiment", help="Such as HUVEC-01; repeat.")
    ] = None,
    channel: Channels = None,
    only_metadata: OnlyMetadata = False,
    tries: Tries = 5,
    timeout: Timeout = 30.0,
    wait: Wait = 1.0,
) -> None:
    """RxRx1: six stains of four cell types under 1,139 siRNAs.

    The archive has 47 GB; chosen experiments are unpacked. Split by experiment, which is a batch.
    """
    from attributome.core.files import write_text
    from attributome.data.sources.downloads import fetch
    from attributome.data.sources.rxrx1 import (
        ARCHIVES,
        CHANNELS,
        LARGEST,
        LICENCE,
        TERMS,
        index_rxrx1,
        unpack_rxrx1,
    )

    if unknown := [name for name in channel or () if name not in CHANNELS]:
        raise UsageError(f"there is no channel {', '.join(unknown)}; use {', '.join(CHANNELS)}")
    state_terms(TERMS, out)
    write_text(out / "LICENCE.txt", LICENCE)
    paths = []
    for name in archives or (ARCHIVES[:1] if only_metadata else ARCHIVES):
        if not name.lower().startswith(("https://", "http://")):
            paths.append(Path(name))
            continue
        path = out / "archives" / name.partition("?")[0].rpartition("/")[2]
        with under_way(path.name, "bytes") as show:
            words: dict[str, Any] = {"tries": tries, "timeout": timeout, "wait": wait}
            paths.append(fetch(name, path, limit=LARGEST, progress=show, **words))
    with under_way("unpack", "members") as show:
        new = unpack_rxrx1(paths, out, experiments=experiment or None, progress=show)
    say(f"{new} new files")
    if only_metadata:
        say(f"table: {out / 'metadata.csv'}")
        say("go on: the same command without --only-metadata")
        return
    rows, missing = index_rxrx1(out, experiments=experiment or None, channels=channel or CHANNELS)
    say(f"{len(rows)} sites are whole, {missing} lack an image")
    go_on(out / "images.csv", "--set", "data.group=experiment")


def cifar10(
    out: Into,
    url: Address = None,
    sha256: Sum = None,
    tries: Tries = 5,
    timeout: Timeout = 30.0,
    wait: Wait = 1.0,
) -> None:
    """CIFAR-10: a folder of arrays, which a job takes as it is."""
    from attributome.data.sources.cifar import CIFAR10, CIFAR10_SHA256, TERMS10, fetch_cifar10

    address, checksum = _archive(url, sha256, CIFAR10, CIFAR10_SHA256)
    state_terms(TERMS10, out)
    fetching = partial(fetch_cifar10, out, url=address, checksum=checksum)
    _arrays("cifar10", fetching, tries=tries, timeout=timeout, wait=wait)


def cifar10c(
    out: Into,
    url: Address = None,
    sha256: Sum = None,
    tries: Tries = 5,
    timeout: Timeout = 30.0,
    wait: Wait = 1.0,
) -> None:
    """CIFAR-10-C: its test images under 19 corruptions (2.9 GB)."""
    from attributome.data.sources.cifar import CIFAR10C, CIFAR10C_SHA256, TERMS10C, fetch_cifar10c

    address, checksum = _archive(url, sha256, CIFAR10C, CIFAR10C_SHA256)
    state_terms(TERMS10C, out)
    fetching = partial(fetch_cifar10c, out, url=address, checksum=checksum)
    _arrays("cifar10c", fetching, tries=tries, timeout=timeout, wait=wait)


def _arrays(name: str, fetching: Callable[..., Path], **words: Any) -> None:
    """Fetch a set of arrays as it goes, and say which job takes it."""
    with under_way(name, "bytes") as show:
        home = fetching(progress=show, **words)
    go_on(home, *CLASSES)


def _archive(url: str | None, checksum: str | None, usual: str, its_sum: str) -> tuple[str, str]:
    """Where an archive is and its SHA-256; another address has another sum."""
    if (url is None) != (checksum is None):
        raise UsageError("--url and --sha256 go together: what is fetched is checked")
    return (url, checksum) if url is not None and checksum is not None else (usual, its_sum)


def _lost(path: Path) -> dict[str, str]:
    """The files that could not be had, and why."""
    import pandas as pd

    if not path.exists():
        return {}
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return dict(zip(table["key"], table["reason"], strict=True))
