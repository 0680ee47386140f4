"""Which samples train, validate and test: whole groups, never rows of a group."""

from collections.abc import Mapping

import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng


def split(
    manifest_table: pd.DataFrame,
    *,
    group: str | None,
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, list[int]]:
    """Row numbers of each part. Fractions are shares of the groups, and every part gets one.

    Cells of one well, or fields of one plate, are alike: with them on both sides a test flatters.
    Without a `group` column every row is its own group.
    """
    if not fractions or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise UsageError(f"fractions {dict(fractions)} must be above 0 and sum to 1")
    groups = _groups(manifest_table, group)
    names = sorted(set(groups))
    if len(names) < len(fractions):
        raise DataError(
            f"{len(names)} groups ({group or 'rows'}) cannot fill {len(fractions)} parts "
            f"({', '.join(fractions)}): give at least as many groups as parts"
        )
    shuffled = [names[i] for i in rng(seed, "split").permutation(len(names))]
    part_of: dict[str, str] = {}
    for part, count in _quotas(fractions, len(names)).items():
        for name in shuffled[len(part_of) : len(part_of) + count]:
            part_of[name] = part
    return {part: [i for i, g in enumerate(groups) if part_of[g] == part] for part in fractions}


def split_from_column(
    manifest_table: pd.DataFrame, *, column: str = "split", group: str | None = None
) -> dict[str, list[int]]:
    """Row numbers of each part that a column names, in order of appearance.

    With `group`, a group that stands in two parts is refused.
    """
    parts = _groups(manifest_table, column)
    found: dict[str, list[int]] = {}
    for row, part in enumerate(parts):
        found.setdefault(part, []).append(row)
    home: dict[str, str] = {}
    for name, part in zip(_groups(manifest_table, group), parts, strict=True):
        if home.setdefault(name, part) != part:
            raise DataError(
                f"{group} {name!r} stands in the parts {home[name]!r} and {part!r} of column "
                f"{column!r}: a group must be whole"
            )
    return found


def _groups(table: pd.DataFrame, column: str | None) -> list[str]:
    if column is None:
        return [f"{row:09d}" for row in range(len(table))]
    if column not in table:
        raise DataError(f"the table has no column {column!r}: it has {', '.join(table.columns)}")
    values = table[column]
    if values.isna().any():
        row = int(values.isna().to_numpy().argmax())
        raise DataError(f"column {column!r} is empty in row {row + 1}: name a group for every row")
    return [str(value) for value in values]


def _quotas(fractions: Mapping[str, float], count: int) -> dict[str, int]:
    """Whole numbers of groups, at least 1 each, as near to the fractions as they can be."""
    quotas = dict.fromkeys(fractions, 1)
    for _ in range(count - len(quotas)):
        most_wanted = max(quotas, key=lambda part: fractions[part] * count - quotas[part])
        quotas[most_wanted] += 1
    return quotas
