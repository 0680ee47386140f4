"""Cell Painting images of the Cell Painting Gallery: chosen wells as files and a table of them.

The bucket `cellpainting-gallery` (Weisbart et al. 2024; JUMP is cpg0016, Chandrasekaran et al.
2023) has for each plate a table `load_data.csv.gz`, one row for each site of a well, with the
address of one file for each channel: `URL_OrigDNA`, or `PathName_OrigDNA` and `FileName_OrigDNA`.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.files import write_text
from attributome.data.sources.s3 import download, find_objects, list_objects, split_address

ENDPOINT = "https://cellpainting-gallery.s3.amazonaws.com"
BUCKET = "cellpainting-gallery"
TERMS = "Cell Painting Gallery, CC0 1.0, https://registry.opendata.aws/cellpainting-gallery"
LICENCE = """\
These images are of the Cell Painting Gallery, {endpoint}

The Gallery releases them as CC0 1.0 and asks to cite the publication of each data set and the
Gallery (Weisbart et al., Nature Methods 21, 1775 (2024)). This note was written by a program and is
not the licence: see https://registry.opendata.aws/cellpainting-gallery before you pass on what is
in this folder.
"""
TABLE = "load_data.csv"
PLACES = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")

_WELL = re.compile(r"(?P<row>[A-Z]{1,2})(?P<column>\d{1,2})").fullmatch
_NAME = re.compile(r"[\w.-]+").fullmatch


def fetch_load_data(
    folder: Path,
    *,
    project: str,
    source: str,
    batch: str,
    plate: str,
    endpoint: str = ENDPOINT,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    seed: int = 0,
) -> Path:
    """The table of a plate, of `<project>/<source>/workspace/load_data_csv/<batch>/<plate>/`.

    Raises `DataError` where that folder of the bucket has no `load_data.csv`, packed or not.
    """
    prefix = f"{project}/{source}/workspace/load_data_csv/{batch}/{plate}/"
    terms: dict[str, Any] = {"tries": tries, "timeout": timeout, "wait": wait, "seed": seed}
    entries = {entry.key: entry for entry in list_objects(endpoint, prefix, **terms)}
    key = next((prefix + n for n in (f"{TABLE}.gz", TABLE) if prefix + n in entries), None)
    if key is None:
        raise DataError(f"{endpoint} has no {prefix}{TABLE}, packed or not")
    done, failed = download([entries[key]], folder, endpoint=endpoint, **terms)
    if len(failed):
        raise DataError(f"cannot fetch {key}: {failed['reason'][0]}")
    return done[key]


def read_load_data(path: Path, *, moved: tuple[str, str] | None = None) -> pd.DataFrame:
    """Sites: `plate, well, site`, what else is metadata, and for each channel `key_<channel>`.

    A key is that of an object of the bucket. Tables whose paths are those of the machine that made
    them need `moved`, what their paths begin with and what the bucket has for it, as
    `("/mnt/bucket/", "cpg0000-jump-pilot/")`. An empty cell is an empty key.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read the table {path}: {error}") from error
    if missing := [name for name in PLACES if name not in table]:
        raise DataError(f"{path} has no column {', '.join(missing)}: it is no load_data")
    channels = _addresses(table)
    if not channels:
        raise DataError(f"{path} has no column URL_Orig… or FileName_Orig… and PathName_Orig…")
    made = pd.DataFrame(
        {"plate": table[PLACES[0]], "well": table[PLACES[1]], "site": table[PLACES[2]]}
    )
    bad = [well for well in made["well"] if not _WELL(well)]
    if bad:
        raise DataError(f"{path} has the well {bad[0]!r}; wells are named as A01")
    for name in table.columns:
        if str(name).startswith("Metadata_") and name not in PLACES:
            made[str(name).removeprefix("Metadata_").lower()] = table[name]
    for channel, column in channels.items():
        made[f"key_{channel}"] = [_key(text, moved, path) for text in column]
    return made


def build_jump(
    folder: Path,
    load_data: Path,
    *,
    endpoint: str = ENDPOINT,
    wells: Collection[str] | None = None,
    sites: Collection[str] | None = None,
    channels: Sequence[str] | None = None,
    moved: tuple[str, str] | None = None,
    threads: int = 4,
    per_second: float | None = None,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> pd.DataFrame:
    """Fetch the images of chosen wells, sites and channels, and return the table of the sites.

    Files are named as in the bucket. `images.csv` in `folder` has a row for each site of which all
    channels are there, with `image_<channel>` for `open_images`, and `plate`, `well`, `site`, by
    which a split has to go; `failed.csv` has the files that are not there and why. Rows of other
    sites that `images.csv` had stay. `load_data` is of `fetch_load_data`, or one's own.
    `progress(files, all)`. Raises `DataError` where no site is whole.
    """
    table = read_load_data(load_data, moved=moved)
    named = [str(name).removeprefix("key_") for name in table if str(name).startswith("key_")]
    wanted = [*channels] if channels is not None else named
    if unknown := [name for name in wanted if name not in named] or isinstance(channels, str):
        raise UsageError(f"there is no channel {unknown}; {load_data} has {', '.join(named)}")
    table = _chosen(table, "well", wells, load_data)
    table = _chosen(table, "site", sites, load_data)
    twice = table[table.duplicated(["plate", "well", "site"])]
    if len(twice):
        plate, well, site = twice.iloc[0][["plate", "well", "site"]]
        raise DataError(f"{load_data} has site {site} of {plate} {well} more than once")
    table = table.drop(columns=[f"key_{name}" for name in named if name not in wanted])
    columns = [f"key_{name}" for name in wanted]
    terms: dict[str, Any] = {"tries": tries, "timeout": timeout, "wait": wait, "seed": seed}
    write_text(folder / "LICENCE.txt", LICENCE.format(endpoint=endpoint))
    keys = sorted({key for column in columns for key in table[column] if key})
    entries = find_objects(endpoint, keys, threads=threads, **terms)
    lost = {
        key: f"the bucket has no {key}"
        for key, entry in zip(keys, entries, strict=True)
        if entry is None
    }
    done, failed = download(
        [entry for entry in entries if entry is not None],
        folder,
        endpoint=endpoint,
        threads=threads,
        per_second=per_second,
        progress=progress,
        **terms,
    )
    lost |= dict(zip(failed["key"], failed["reason"], strict=True))
    whole = table[[all(key in done for key in row) for row in table[columns].to_numpy()]]
    _write(folder, whole, lost)
    if whole.empty:
        reason = next(iter(lost.values()), "its table names no file of a channel")
        raise DataError(f"no site of {len(table)} is whole; the first reason: {reason}")
    return whole.rename(columns=lambda name: str(name).replace("key_", "image_", 1))


def _addresses(table: pd.DataFrame) -> Mapping[str, list[str]]:
    """The addresses of the files of each channel, in the order of the table."""
    found: dict[str, list[str]] = {}
    for column in map(str, table.columns):
        if (channel := column.removeprefix("URL_Orig")) != column:
            found[channel] = [*table[column]]
        elif (channel := column.removeprefix("FileName_Orig")) != column:
            path = f"PathName_Orig{channel}"
            if path in table and f"URL_Orig{channel}" not in table:
                found[channel] = [
                    f"{folder.rstrip('/')}/{name}" if name else ""
                    for folder, name in zip(table[path], table[column], strict=True)
                ]
    for channel in found:
        if not _NAME(channel):
            raise DataError(f"a channel is named {channel!r}; give it letters, digits, _ . or -")
    return found


def _key(text: str, moved: tuple[str, str] | None, path: Path) -> str:
    """The key of an object of the bucket, from what a table has for it."""
    if not text:
        return ""
    if moved is not None and text.startswith(moved[0]):
        return moved[1] + text.removeprefix(moved[0])
    if not text.startswith("s3://"):
        raise DataError(
            f"{path} names {text}, which is no s3:// address; say as moved what it is in the bucket"
        )
    bucket, key = split_address(text)
    if bucket != BUCKET:
        raise DataError(f"{path} names {text}, which is not in the bucket {BUCKET}")
    return re.sub("/{2,}", "/", key)


def _chosen(
    table: pd.DataFrame, column: str, wanted: Collection[str] | None, path: Path
) -> pd.DataFrame:
    if wanted is None:
        return table
    unknown = sorted({*wanted} - {*table[column]})
    if isinstance(wanted, str) or unknown or not wanted:
        raise UsageError(f"{path} has no {column} {', '.join(unknown) or repr(wanted)}")
    return table[table[column].isin([*wanted])]


def _write(folder: Path, whole: pd.DataFrame, lost: Mapping[str, str]) -> None:
    """The table of whole sites, with those that it had of others, and of files that are lost."""
    rows = whole.rename(columns=lambda name: str(name).replace("key_", "image_", 1))
    rows.insert(0, "id", rows["plate"] + "_" + rows["well"] + "_" + rows["site"])
    path = folder / "images.csv"
    if path.exists():
        before = pd.read_csv(path, dtype=str, keep_default_na=False)
        if "id" not in before or {*before.columns} != {*rows.columns}:
            raise DataError(f"{path} has other columns; give another folder")
        rows = pd.concat([before[~before["id"].isin(rows["id"])], rows])
    if len(rows):
        write_text(path, rows.sort_values("id", kind="stable").to_csv(index=False))
    failed = pd.DataFrame([*lost.items()], columns=["key", "reason"])
    if len(failed):
        write_text(folder / "failed.csv", failed.to_csv(index=False))
    else:
        (folder / "failed.csv").unlink(missing_ok=True)
