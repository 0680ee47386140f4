"""Raw intensities of cells as features: what a network must beat."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Integer

from attributome.core.errors import UsageError
from attributome.inpainting.cells import Cells
from attributome.profiles.formats import metadata

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


def baselines(
    cells: Cells, *, rows: Integer[np.ndarray, " r"] | None = None, batch: int = 256
) -> Iterator[pd.DataFrame]:
    """Raw intensities of each channel as features: what a network must beat.

    Blocks as of `features.extract`, with `raw_<channel>_<statistic>` (mean, std and percentiles of
    the crop as it stands, in its units); what is said about one cell never depends on another.
    """
    taken = np.arange(len(cells)) if rows is None else rows
    if not len(taken) or taken.min() < 0 or taken.max() >= len(cells) or batch < 1:
        raise UsageError(
            f"{len(taken)} rows in batches of {batch}; give at least one, each from 0 to "
            f"{len(cells) - 1}, and a batch of at least 1"
        )
    return _baselines(cells, taken, batch)


def _baselines(cells: Cells, rows: Integer[np.ndarray, " r"], batch: int) -> Iterator[pd.DataFrame]:
    statistics = ("mean", "std", *(f"p{p:02d}" for p in PERCENTILES))
    names = [f"raw_{channel}_{what}" for channel in cells.channels for what in statistics]
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        crops = cells.planes(some, cells.channels).reshape(len(some), len(cells.channels), -1)
        crops = crops.astype(np.float64)
        found = np.stack([crops.mean(2), crops.std(2), *np.percentile(crops, PERCENTILES, axis=2)])
        flat = found.transpose(1, 2, 0).reshape(len(some), -1).astype(np.float32)
        table = metadata(cells.table.iloc[some])
        yield pd.concat([table, pd.DataFrame(flat, columns=names)], axis=1)
