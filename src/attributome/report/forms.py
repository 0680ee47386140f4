"""Whether the JSON of a run has the form of its layout; an error says where it has not."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attributome.core.errors import DataError

Row = Mapping[str, Any]


def rows_of(
    found: Mapping[str, Any],
    key: str,
    texts: Sequence[str],
    numbers: Sequence[str],
    path: Path,
) -> list[Row]:
    """A list of objects with these texts and numbers (null: undefined); none where it is absent."""
    given = found.get(key)
    if given is None:
        return []
    if not isinstance(given, list):
        raise DataError(f"{path}: {key!r} is a {type(given).__name__}, not a list of rows")
    for at, row in enumerate(given):
        checked(row, texts, numbers, f"{path}: {key}[{at}]")
    return list(given)


def object_of(
    found: Mapping[str, Any],
    key: str,
    texts: Sequence[str],
    numbers: Sequence[str],
    path: Path,
) -> Row:
    """An object with these texts and numbers; empty where it is absent."""
    given = found.get(key)
    if given is None:
        return {}
    checked(given, texts, numbers, f"{path}: {key!r}")
    return dict(given)


def checked(row: Any, texts: Sequence[str], numbers: Sequence[str], where: str) -> None:
    """Refuse what is no object, or lacks a text or a number."""
    if not isinstance(row, dict):
        raise DataError(f"{where} is a {type(row).__name__}, not an object")
    for name in (*texts, *numbers):
        if name not in row:
            raise DataError(f"{where} has no {name!r}, only {', '.join(map(str, row))}")
    for name in texts:
        if not isinstance(row[name], str | int):
            raise DataError(f"{where} has {name} = {row[name]!r}, which is no name")
    for name in numbers:
        value = row[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise DataError(f"{where} has {name} = {value!r}, which is no number")
