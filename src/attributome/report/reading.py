"""Files of a run that may not be there yet; one of another form than expected is an error."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import parquet

from attributome.core.errors import DataError
from attributome.core.files import read_json


def json_of(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file."""
    return read_json(path) if path.is_file() else {}


def parquet_of(
    path: Path, needed: Sequence[str], *, more: Sequence[str] | None = None
) -> pd.DataFrame:
    """A table with at least these columns, without any where there is no file.

    With `more` nothing else is read than the needed columns and those of `more` that are there.
    """
    if not path.is_file():
        return pd.DataFrame()
    try:
        wanted = None
        if more is not None:
            there = parquet.read_schema(path).names
            wanted = [name for name in dict.fromkeys((*needed, *more)) if name in there]
        table = pd.read_parquet(path, columns=wanted)
    except (OSError, ValueError) as error:  # pyarrow derives its errors from these
        raise DataError(f"cannot read {path}: {error}") from error
    return whole(table, needed, path.stem, path)


def csv_of(path: Path, needed: Sequence[str], *, text: bool = True) -> pd.DataFrame:
    """A table of text, or of numbers, with at least these columns; none where there is no file."""
    if not path.is_file():
        return pd.DataFrame()
    try:
        table = pd.read_csv(path, dtype=str if text else float, keep_default_na=not text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return whole(table, needed, path.stem, path)


def whole(table: pd.DataFrame, needed: Sequence[str], name: str, where: Path) -> pd.DataFrame:
    """The table, which has all columns that are needed or no column at all."""
    lost = [column for column in needed if column not in table.columns]
    if lost and len(table.columns):
        raise DataError(
            f"the table {name!r} of {where} has no column {lost[0]!r}, only "
            f"{', '.join(map(str, table.columns))}: make it again with this version"
        )
    return table
