"""A column `split` for a table of images: whole plates, whole wells or whole fields, never rows.

Beside it stands `split_group`, the group of each row: a job whose `data.group` it is resamples
groups, and refuses a table in which somebody has torn one apart.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.files import write_text, write_whole
from attributome.data.splits import split
from attributome.data.tables import read_table

LEVELS: Mapping[str, tuple[str, ...]] = {
    "plate": ("plate", "Plate", "PlateId", "plate_id", "Metadata_Plate"),
    "well": ("well_id", "WellId", "well", "Well", "Metadata_Well"),
    "field": ("field", "site", "fov", "FOVId", "video", "Metadata_Site"),
}
"""Names that columns of each level go by, from the coarsest level to the finest.

A well is one of its plate, and a field one of its well: A01 is on every plate.
"""

BATCHES = ("experiment", "batch", "Metadata_Batch")
"""Columns that a plate's name may be unique in only."""

FRACTIONS: Mapping[str, float] = {"train": 0.5, "validate": 0.1, "calibrate": 0.2, "test": 0.2}


def deal(
    table: Path,
    *,
    group: str | None,
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
    out: Path | None = None,
) -> tuple[Path, pd.DataFrame]:
    """Write `table` with a split in a file beside it; the file, and groups and rows of each part.

    `group` is a level of `LEVELS`, or any column. Without one, rows are dealt only where the table
    has no column of a level: fields of one well are alike, and so is what a row may be a part of.
    The file is `<table>.split.csv` (or `.parquet`) in the table's folder, unless `out` says another
    name there: paths in a table are relative to it.
    """
    rows = read_table(table)
    if had := [name for name in ("split", "split_group") if name in rows]:
        raise UsageError(f"{table} has a column {had[0]}: take it away to deal anew")
    path = out or table.with_name(f"{table.stem}.split{table.suffix}")
    if path.resolve().parent != table.resolve().parent or path.resolve() == table.resolve():
        raise UsageError(
            f"{path} must be another file in {table.parent}: paths in the table are relative to it"
        )
    if path.suffix.lower() != table.suffix.lower():
        raise UsageError(f"{path} must end with {table.suffix}, as {table.name} does")
    names = groups_of(rows, group, table)
    parts = split(pd.DataFrame({"group": names}), group="group", fractions=fractions, seed=seed)
    dealt = pd.Series("", index=rows.index, dtype=object)
    for part, members in parts.items():
        dealt.iloc[members] = part
    made = rows.assign(split=dealt, split_group=names)
    if path.suffix.lower() == ".parquet":
        write_whole(path, lambda whole: made.to_parquet(whole, index=False))
    else:
        write_text(path, made.to_csv(index=False))
    count = [
        (part, len({names[i] for i in members}), len(members)) for part, members in parts.items()
    ]
    return path, pd.DataFrame(count, columns=["part", "groups", "rows"])


def groups_of(rows: pd.DataFrame, group: str | None, table: Path) -> list[str]:
    """The group of each row; a `UsageError` says which columns there are."""
    has = {
        level: next((name for name in names if name in rows), None)
        for level, names in LEVELS.items()
    }
    known = [level for level, name in has.items() if name is not None]
    if group is None:
        if known:
            raise UsageError(
                f"{table} has the column {', '.join(str(has[level]) for level in known)}: say with "
                f"--group which must be whole, {' or '.join(known)}"
            )
        return [f"{row:09d}" for row in range(len(rows))]
    if group in LEVELS and has[group] is not None:
        levels = [*LEVELS][: [*LEVELS].index(group) + 1]
        columns = [name for name in BATCHES if name in rows]
        columns += [str(has[level]) for level in levels if has[level] is not None]
    elif group in rows:
        columns = [group]
    else:
        raise UsageError(
            f"{table} has no {group}; its columns are {', '.join(map(str, rows.columns))}"
        )
    for name in columns:
        if rows[name].isna().any():
            row = int(rows[name].isna().to_numpy().argmax())
            raise DataError(f"{name} is empty in row {row + 1} of {table}: name one for every row")
    return ["/".join(map(str, cells)) for cells in rows[columns].itertuples(index=False)]
