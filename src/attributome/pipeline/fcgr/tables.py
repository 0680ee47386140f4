"""Tables and numbers on their way into JSON and CSV: what is undefined becomes null there."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.files import write_whole


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain values."""
    return [plain(row) for row in table.to_dict("records")]


def plain(value: Any) -> Any:
    """Plain Python values all the way down; NaN and infinity become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole, as CSV."""
    write_whole(path, lambda part: table.to_csv(part, index=False))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole, as Parquet."""
    write_whole(path, lambda part: table.to_parquet(part, index=False))
