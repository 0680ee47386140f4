"""Fields and cells of the Allen Institute for Cell Science, as stacks with names and sizes.

Two sets of its public bucket: `aics/pipeline_integrated_cell`, whole fields of one tagged structure
each (Roberts et al. 2017), and `aics/hipsc_single_cell_image_dataset`, single cells (Viana et al.
2023). Both begin with a `metadata.csv`, from which fields or cells are chosen by the gene of the
structure; each becomes one OME-TIFF or OME-Zarr of seven channels (`allen_stacks.CHANNELS`) in
uint16.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.files import sha256, write_text
from attributome.data.sources.allen_stacks import (
    CELL_FILES,
    CHANNELS,
    FIELD_CHANNELS,
    FIELD_FILES,
    Read,
    Size,
    cell_stack,
    field_stack,
    read_source,
)
from attributome.data.sources.allen_tables import GENES, Chosen, report_of, write_tables
from attributome.data.sources.s3 import download, find_objects
from attributome.data.sources.stack_files import Format, note_settings, suffix_of, write_stack

ENDPOINT = "https://allencell.s3.amazonaws.com"
TERMS = "Allen Institute for Cell Science, https://www.allencell.org/terms-of-use.html"
LICENCE = """\
These images are of the Allen Institute for Cell Science, {endpoint}/{prefix}

The Institute states its terms of use at https://www.allencell.org/terms-of-use.html and asks to be
cited: {cite}.
This note was written by a program and is not the licence: check the present terms before you use,
change or pass on what is in this folder.
"""
AT_ONCE = 8
"""Images whose sources are fetched together, and are on the scratch disk at one time."""

CHUNK = 20_000
SETTINGS, METADATA = "source.json", "metadata.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What differs between the sets: where it is, whose it is, and its columns."""

    prefix: str
    gene: str
    files: tuple[str, ...]
    columns: tuple[str, ...]
    first: int | None
    cite: str


KINDS: Mapping[str, Kind] = {
    "fields": Kind(
        prefix="aics/pipeline_integrated_cell/",
        gene="Gene",
        files=FIELD_FILES,
        columns=("WellId", *FIELD_CHANNELS),
        first=None,
        cite="Roberts et al., Molecular Biology of the Cell 28, 2854 (2017)",
    ),
    "cells": Kind(
        prefix="aics/hipsc_single_cell_image_dataset/",
        gene="structure_name",
        files=CELL_FILES,
        columns=("cell_stage", "roi", "name_dict", "ChannelNumberBrightfield"),
        first=46,  # hundreds of features follow
        cite="Viana et al., Nature 613, 345 (2023)",
    ),
}


def build_allen(
    folder: Path,
    *,
    kind: Literal["fields", "cells"] = "fields",
    endpoint: str = ENDPOINT,
    organelles: Sequence[str] = tuple(GENES),
    images_per_organelle: int = 200,
    only_metadata: bool = False,
    override: bool = False,
    manifest_sha256: str | None = None,
    format: Format = "tiff",
    z_step: float | None = None,
    z_ratio: float | None = None,
    pixel_size: Size | None = None,
    without_stage: str | None = "M0",
    masked: bool = False,
    dilate: int = 0,
    scratch: Path | None = None,
    threads: int = 4,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> pd.DataFrame:
    """Make the stacks of organelles in `folder`, and return a row for each: `status`, `reason`.

    Of fields, the first of each well is taken; of cells, those that are not in `without_stage`;
    of these the first `images_per_organelle` (the originals: 200 fields, 100 cells). Written are
    `<organelle>/<organelle>_<i>.ome.tif` (or `.ome.zarr`, by `format`),
    `<organelle>/<organelle>.csv` with the archive's columns of the images that are there,
    `images.csv` of them all, for `open_images`, and `failed.csv`. With `only_metadata`, tables of
    what would be made and no images.

    `metadata.csv` must have `manifest_sha256`; without one, that of the first call is noted in
    `source.json`, and another is refused later. What is there is kept, and refused if it was made
    with other settings, unless `override` makes it again. `z_step` and `pixel_size` are of
    `field_stack`; `z_ratio`, `masked` and `dilate` of `cell_stack`. Sources are kept in
    `scratch` (of a killed call, for the next one) until their images are made; an image needs
    about 2 GB of memory while it is made. Raises `DataError` where no image could be had.
    """
    most = images_per_organelle
    _check(kind, organelles, most, z_step, z_ratio, pixel_size, masked, dilate)
    suffix = suffix_of(format)
    made: dict[str, Any] = {"z_step": z_step}
    if kind == "cells":
        made = {"z_ratio": z_ratio, "masked": masked, "dilate": dilate}
    made |= {"pixel_size": pixel_size}
    settings = made | {"pixel_size": [*pixel_size] if pixel_size else None}
    settings |= {"without_stage": without_stage} if kind == "cells" else {}
    settings |= {"format": format}
    spec = KINDS[kind]
    terms: dict[str, Any] = {"tries": tries, "timeout": timeout, "wait": wait, "seed": seed}
    terms |= {"threads": threads}
    note = LICENCE.format(endpoint=endpoint, prefix=spec.prefix, cite=spec.cite)
    write_text(folder / "LICENCE.txt", note)
    metadata = _metadata(folder, endpoint, spec, manifest_sha256, terms)
    note_settings(folder / SETTINGS, {"kind": kind, "metadata": sha256(metadata)}, override=False)
    for name in organelles:
        note_settings(folder / name / SETTINGS, settings, override=override)
    table = _table(metadata, spec, {GENES[name] for name in organelles})
    images = [
        Chosen(organelle=name, number=number, row=row, suffix=suffix)
        for name in organelles
        for number, row in enumerate(select(table, name, kind, most, without_stage=without_stage))
    ]
    if not images:
        raise DataError(f"{metadata} has no {kind} of {', '.join(organelles)}")
    also = {"is_masked": masked} if kind == "cells" else {}
    if only_metadata:
        status = {image.path: ("listed", "") for image in images}
        write_tables(folder, organelles, images, status, also)
        return report_of(images, status)
    status = {
        image.path: ("kept", "")
        for image in images
        if (folder / image.path).exists() and not override
    }
    missing = [image for image in images if image.path not in status]
    home = scratch or folder / ".sources"
    try:
        for batch, later in _batches(missing):
            got, reasons = _sources(batch, spec, endpoint, home, terms)
            read = lru_cache(maxsize=2)(read_source)  # cells of one field follow each other
            for image in sorted(batch, key=lambda image: str(image.row[spec.files[0]])):
                status[image.path] = _made(image, folder, kind, got, reasons, read, made)
                if progress is not None:
                    progress(len(status), len(images))
            needed = {image.row.get(name) for image in later for name in spec.files}
            _remove({path for key, path in got.items() if key not in needed}, scratch or folder)
    finally:
        write_tables(folder, organelles, images, status, also)
    report = report_of(images, status)
    if (report["status"] == "failed").all():
        raise DataError(
            f"no image of {len(images)} could be had; the first, {report['image'][0]}: "
            f"{report['reason'][0]}"
        )
    return report


def select(
    table: pd.DataFrame,
    organelle: str,
    kind: Literal["fields", "cells"],
    most: int,
    *,
    without_stage: str | None = "M0",
) -> list[dict[str, Any]]:
    """The first `most` rows of an organelle: one of each well, or cells of the other stages."""
    spec = KINDS[kind]
    rows = table[table[spec.gene] == GENES[organelle]]
    if kind == "fields":
        # a field without a well is not the same as another one without
        rows = rows[~rows["WellId"].duplicated() | rows["WellId"].isna()]
    elif without_stage is not None:
        rows = rows[rows["cell_stage"] != without_stage]
    rows = rows.head(most).astype(object)
    return [
        {str(k): v for k, v in row.items()}
        for row in rows.where(rows.notna(), None).to_dict("records")
    ]


def _check(
    kind: str,
    organelles: Sequence[str],
    most: int,
    z_step: float | None,
    z_ratio: float | None,
    pixel_size: Size | None,
    masked: bool,
    dilate: int,
) -> None:
    if kind not in KINDS:
        raise UsageError(f"kind is {kind!r}; it is one of {', '.join(KINDS)}")
    unknown = [name for name in organelles if name not in GENES]
    if isinstance(organelles, str) or unknown or len({*organelles}) < len(organelles):
        raise UsageError(f"organelles are {organelles!r}; name some of {', '.join(GENES)}, once")
    if most < 1 or dilate < 0 or not organelles:
        raise UsageError(
            f"images_per_organelle is {most}, dilate {dilate} and there are {len(organelles)} "
            f"organelles; give 1 or more, 0 or more, 1 or more"
        )
    if (kind == "cells" and z_step) or (kind == "fields" and (z_ratio or masked or dilate)):
        raise UsageError(
            f"z_step is of fields, z_ratio, masked and dilate are of cells, not {kind}"
        )
    lengths = (z_step, z_ratio, *(pixel_size or ()))
    if any(length is not None and not 0 < length < float("inf") for length in lengths):
        raise UsageError(f"z_step, z_ratio and pixel_size are {lengths}; they must be above 0")


def _metadata(
    folder: Path, endpoint: str, spec: Kind, pinned: str | None, terms: Mapping[str, Any]
) -> Path:
    """The archive's table, in `folder`: that which is pinned, or the one of today."""
    path = folder / METADATA
    if not path.exists():
        key = spec.prefix + METADATA
        [entry] = find_objects(endpoint, [key], **terms)
        if entry is None:
            raise DataError(f"{endpoint} has no {key}: it is not the archive, or a part of it")
        _, failed = download([entry], folder, endpoint=endpoint, strip=spec.prefix, **terms)
        if len(failed):
            raise DataError(f"cannot fetch {key}: {failed['reason'][0]}")
    if pinned is not None and (found := sha256(path)) != pinned.lower():
        raise DataError(
            f"the SHA-256 of {path} is {found} and not {pinned.lower()}: the archive has another "
            f"version now; give manifest_sha256={found} and another folder for it"
        )
    return path


def _made(
    image: Chosen,
    folder: Path,
    kind: str,
    got: Mapping[str, Path],
    reasons: Mapping[str, str],
    read: Read,
    words: Mapping[str, Any],
) -> tuple[str, str]:
    """Make one image; its status and, if it failed, the reason."""
    make: Any = field_stack if kind == "fields" else cell_stack
    try:
        files = _files(image, KINDS[kind], got, reasons)
        stack, size = make(image.row, files, read=read, **words)
        write_stack(folder / image.path, stack, CHANNELS, size)
    except DataError as error:
        return "failed", str(error)
    return "made", ""


def _table(path: Path, spec: Kind, genes: set[str]) -> pd.DataFrame:
    """The rows of some genes, all texts; the table may be larger than memory."""
    try:
        names = [str(name) for name in pd.read_csv(path, dtype=str, nrows=0).columns]
        needed = {spec.gene, *spec.files, *spec.columns}
        if missing := sorted(needed - {*names}):
            raise DataError(f"{path} has no column {', '.join(missing)}; it is another table")
        keep = {*names[: spec.first], *needed} - {n for n in names if n.startswith("Unnamed: ")}
        chunks = pd.read_csv(
            path,
            dtype=str,
            keep_default_na=False,
            na_values=[""],
            usecols=sorted(keep, key=names.index),
            chunksize=CHUNK,
        )
        return pd.concat([chunk[chunk[spec.gene].isin(genes)] for chunk in chunks])
    except DataError:
        raise
    except (OSError, ValueError) as error:  # pandas derives its own from ValueError
        raise DataError(f"cannot read the table {path}: {error}") from error


def _batches(images: list[Chosen]) -> Iterator[tuple[list[Chosen], list[Chosen]]]:
    """Some images, and those that follow."""
    for start in range(0, len(images), AT_ONCE):
        yield images[start : start + AT_ONCE], images[start + AT_ONCE :]


def _sources(
    batch: list[Chosen], spec: Kind, endpoint: str, home: Path, terms: Mapping[str, Any]
) -> tuple[dict[str, Path], dict[str, str]]:
    """The files of a batch, by what the rows name, and why others are not there."""
    named = {str(image.row[name]) for image in batch for name in spec.files if image.row[name]}
    keys = sorted(named)
    entries = find_objects(endpoint, [spec.prefix + key for key in keys], **terms)
    reasons = {
        key: f"the archive has no {key}"
        for key, entry in zip(keys, entries, strict=True)
        if entry is None
    }
    there = [entry for entry in entries if entry is not None]
    done, failed = download(there, home, endpoint=endpoint, strip=spec.prefix, **terms)
    reasons |= {
        str(key).removeprefix(spec.prefix): reason
        for key, reason in zip(failed["key"], failed["reason"], strict=True)
    }
    return {key.removeprefix(spec.prefix): path for key, path in done.items()}, reasons


def _files(
    image: Chosen, spec: Kind, got: Mapping[str, Path], reasons: Mapping[str, str]
) -> dict[str, Path]:
    """The files of one image by column."""
    for name in spec.files:
        key = image.row[name]
        if key is None:
            raise DataError(f"its row names no {name}")
        if key in reasons:
            raise DataError(reasons[key])
    return {name: got[image.row[name]] for name in spec.files}


def _remove(paths: set[Path], home: Path) -> None:
    """Take sources away, and folders in `home` that are empty then."""
    for path in paths:
        path.unlink(missing_ok=True)
    for inner in {path.parent for path in paths}:
        while inner != home and inner.exists() and not any(inner.iterdir()):
            inner.rmdir()
            inner = inner.parent
