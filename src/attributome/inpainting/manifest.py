"""Crops that a table names: one row per cell, one file per channel or one file with all of them."""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.cells import Block, Cells, Refused, gather, per_block
from attributome.inpainting.layout import Reader, grouped, read_planes, usual_size

SEPARATORS = {".csv": ",", ".tsv": "\t"}


def read_manifest(
    path: Path,
    *,
    channels: Mapping[str, str] | Sequence[str],
    targets: Sequence[str],
    image: str = "image",
    mask: str | None = None,
    group: Sequence[str] = ("group",),
    field: str = "field",
    root: Path | None = None,
    size: tuple[int, int] | None = None,
    folder: Path | None = None,
    read: Reader | None = None,
) -> Cells:
    """Cells of a CSV, TSV or Parquet table of files.

    `channels` maps columns of files to channels; or it names the planes, in order, of the
    file in the column `image`. Channels that are not `targets` are markers. `mask` is a column
    of files whose pixels above 0 are the own cell. `group` are the columns whose values pairs
    share, `field` that of the field of view; without a column `id`, the row's number is it. All
    other columns are kept, those of a CSV as texts. Paths are relative to the table and stay in its
    folder, or in `root`. `size`, `folder` and `read` are as in `read_layout`.

    A row whose files cannot be used, or that has no group or field, or an id that
    another has, stands in `rejected` with the reason.
    """
    apart = isinstance(channels, Mapping)
    names = tuple(channels.values()) if isinstance(channels, Mapping) else tuple(channels)
    columns = [*channels] if apart else [image]
    asked = [*columns, *([mask] if mask else [])]
    table = _table(path)
    _look(table, [*asked, *group, field], path)
    if not group:
        raise UsageError("cells are grouped by nothing; name a column or more")
    rejected: list[Refused] = []
    limit = (root or path.parent).resolve()
    files: list[list[Path]] = []
    kept = []
    seen: dict[str, int] = {}
    texts = table.astype(object).where(table.notna(), "").astype(str)
    for i, values in enumerate(texts.to_numpy().tolist()):
        row = dict(zip(texts.columns, values, strict=True))
        where = f"row {i + 1}"
        name = row.get("id", str(i + 1))
        found, fault = _files(row, asked, path.parent, limit)
        empty = [column for column in (*group, field) if not row[column].strip()]
        if empty:
            fault = ("", f"it has no {empty[0]}")
        if not name or name in seen:
            fault = (name, f"row {seen[name]} has this id" if name else "its id is empty")
        if fault:
            rejected.append((where, *fault))
            continue
        seen[name] = i + 1
        kept.append(i)
        files.append(found)
    if not kept:
        where, value, reason = rejected[0]
        raise DataError(
            f"{path} has no row that can be used: {len(rejected)} were refused, the first, {where} "
            f"{value!r}, because {reason}"
        )
    reader = read or read_planes
    made = _described(table.iloc[kept], texts.iloc[kept], asked, group, field, [*seen])
    return gather(
        _blocks(
            made,
            files,
            1 if apart else len(names),
            mask is not None,
            size or usual_size(files, reader),
            reader,
            [f"row {i + 1}" for i in kept],
            rejected,
        ),
        channels=names,
        targets=targets,
        markers=[name for name in names if name not in targets],
        rejected=rejected,
        about={"manifest": str(path), "files": columns},
        folder=folder,
    )


def _table(path: Path) -> pd.DataFrame:
    end = path.suffix.lower()
    if end not in (*SEPARATORS, ".parquet"):
        raise UsageError(f"{path} is no table that can be read: give a .csv, .tsv or .parquet")
    try:
        if end == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(path, sep=SEPARATORS[end], dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas and pyarrow derive theirs from ValueError
        raise DataError(f"cannot read the table {path}: {error}") from error
    if not len(table):
        raise DataError(f"{path} has no rows")
    return table.rename(columns=str).reset_index(drop=True)


def _look(table: pd.DataFrame, wanted: Sequence[str], path: Path) -> None:
    has = [str(name) for name in table.columns]
    for name in wanted:
        if name not in has:
            near = difflib.get_close_matches(name, has, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{path} has no column {name!r}{hint} (it has {', '.join(has)})")


def _files(
    row: Mapping[str, str], columns: Sequence[str], start: Path, limit: Path
) -> tuple[list[Path], tuple[str, str] | None]:
    """The files of a row; or else the value that is at fault, and why."""
    found: list[Path] = []
    for column in columns:
        if not row[column]:
            return found, ("", f"it names no file as {column}")
        path = start / row[column]
        if not path.resolve().is_relative_to(limit):
            return found, (row[column], "the file is outside the root of the data")
        if not path.is_file():
            return found, (row[column], "there is no such file")
        found.append(Path(os.path.normpath(path)))
    return found, None


def _described(
    table: pd.DataFrame,
    texts: pd.DataFrame,
    files: Sequence[str],
    group: Sequence[str],
    field: str,
    ids: Sequence[str],
) -> pd.DataFrame:
    """Id, group and field first, then the other columns under their own names."""
    made = pd.DataFrame({"id": ids}, index=table.index)
    made["group"] = grouped(texts, group)
    made["field"] = texts[field]
    rest = [name for name in table.columns if name not in (*files, *made.columns)]
    return made.join(table[rest]).reset_index(drop=True)


def _blocks(
    table: pd.DataFrame,
    files: Sequence[Sequence[Path]],
    planes: int,
    masked: bool,
    size: tuple[int, int],
    read: Reader,
    where: Sequence[str],
    rejected: list[Refused],
) -> Iterator[Block]:
    step = per_block(planes * len(files[0]), *size)
    for start in range(0, len(table), step):
        rows, crops, masks = [], [], []
        for row in range(start, min(start + step, len(table))):
            path = files[row][0]
            try:
                parts = []
                for n, path in enumerate(files[row]):
                    single = masked and n == len(files[row]) - 1
                    parts.append(_read(path, read, (1 if single else planes, *size)))
            except DataError as error:
                rejected.append((where[row], path.name, str(error)))
                continue
            if masked:
                masks.append(parts.pop()[0] > 0)
            rows.append(row)
            crops.append(np.concatenate(parts))
        if rows:
            yield table.iloc[rows], np.stack(crops), np.stack(masks) if masked else None


def _read(path: Path, read: Reader, shape: tuple[int, ...]) -> np.ndarray:
    found = read(path)
    if found.shape != shape:
        came, wanted = (" x ".join(map(str, some)) for some in (found.shape, shape))
        raise DataError(f"it is {came} and not {wanted}")
    return found
