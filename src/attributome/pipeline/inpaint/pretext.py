"""How well the task itself is done on fields that were held out, beside what learns nothing."""

from typing import Any

import numpy as np
import pandas as pd

from attributome.core.bootstrap import cluster_bootstrap
from attributome.core.errors import DataError
from attributome.inpainting.cells import Cells
from attributome.inpainting.network import Inpainter
from attributome.inpainting.pretext import pretext_errors
from attributome.pipeline.inpaint.work import CellWork

ERRORS = {"mse": "mse", "copy_marker": "copy_marker", "mean": "constant", "zeros": "zeros"}
"""Columns of squared errors, and what a run calls them."""


def errors(work: CellWork, net: Inpainter, cells: Cells, part: str) -> pd.DataFrame:
    """Squared errors of the fixed pairs of a part; `DataError` where it has no pair."""
    rows = work.rows(cells, part)
    if not len(rows):
        raise DataError(f"the part {part!r} has no cells")
    found = pretext_errors(
        net,
        cells,
        rows,
        seed=work.job.seed,
        compute=work.compute,
        lonely=work.job.data.lonely,
    )
    return found.rename(columns=ERRORS)


def has_pairs(work: CellWork, cells: Cells, part: str) -> bool:
    """Whether some group has two cells in a part."""
    return bool(cells.table["group"].iloc[work.rows(cells, part)].duplicated().any())


def held_out(work: CellWork, net: Inpainter, cells: Cells) -> dict[str, Any] | None:
    """Mean squared errors on the test fields, with an interval that draws fields; None: no pairs.

    Without test fields, those of the validation, which the training was stopped by.
    """
    part = next((name for name in ("test", "validate") if has_pairs(work, cells, name)), None)
    if part is None:
        return None
    table = errors(work, net, cells, part)
    names = [*ERRORS.values()]
    found = cluster_bootstrap(
        table[names].to_numpy(np.float64),
        table["field"].to_numpy(str),
        draws=work.job.evaluate.draws,
        seed=work.job.seed,
    )
    means = dict(zip(names, found["mean"].tolist(), strict=True))
    enough = table["field"].nunique() >= 3
    by_group = table.groupby("group", sort=True).agg(
        pairs=("mse", "size"), mse=("mse", "mean"), copy_marker=("copy_marker", "mean")
    )
    return {
        "part": part,
        "pairs": len(table),
        "fields": int(table["field"].nunique()),
        **means,
        "mse_low": float(found["low"][0]) if enough else float("nan"),
        "mse_high": float(found["high"][0]) if enough else float("nan"),
        "by_group": by_group.reset_index().to_dict("records"),
    }
