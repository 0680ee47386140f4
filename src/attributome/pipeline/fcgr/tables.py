"""Tables and numbers on their way into JSON and CSV: what is undefined becomes null there."""

from pathlib import Path
from typing import Any

import pandas as pd

from attributome.core.files import plain, write_whole


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain values."""
    return [plain(row) for row in table.to_dict("records")]


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole, as CSV."""
    write_whole(path, lambda part: table.to_csv(part, index=False))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole, as Parquet."""
    write_whole(path, lambda part: table.to_parquet(part, index=False))
