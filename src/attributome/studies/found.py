"""What a study found, on its way to a folder and to a page: tables, numbers and sentences."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

POOLED = "all predictors"
"""What the mean over predictors is called where a study gives one beside each of them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """The result of one study.

    `numbers` is what stands in the summary, as JSON has it (None where a number is undefined).
    `n` says what was counted ("8 fields of 8 wells, 2 predictors"), `test` how it was tested and
    corrected, or why nothing was; `words` are sentences, each with its number. `tables` are written
    as CSV and Parquet, `arrays` (small pictures) as NumPy files.
    """

    numbers: Mapping[str, Any]
    n: str
    test: str
    words: tuple[str, ...]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
