"""How often the network gives cells of wells that it never saw their own label."""

from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from attributome.core.seeds import rng
from attributome.pipeline.profile.causes import known
from attributome.pipeline.profile.network import Asked
from attributome.pipeline.profile.splitting import HELD_OUT
from attributome.pipeline.profile.work import ProfileWork
from attributome.profiles.classifier import predicted, wells_of
from attributome.profiles.single_cells import SingleCells

Codes = Int64[np.ndarray, " n"]


def accuracies(work: ProfileWork, cells: SingleCells, asked: Asked) -> dict[str, Any]:
    """Balanced accuracy on validation, test and held-out plates, and who is taken for whom.

    `unknown` cells are of a label that the network never learnt, and count in no accuracy.
    """
    number = {name: code for code, name in enumerate(asked.classes)}
    wells = wells_of(cells)
    told: dict[str, Any] = {}
    for part in ("validate", "test", HELD_OUT):
        rows = known(work, cells, asked, part)
        if not len(rows):
            told[part] = {
                "unknown": len(work.rows(cells, part)),
                "reason": f"no cell of the part {part!r} is of a known class",
            }
            continue
        truth = np.array(
            [number[str(name)] for name in cells.table[asked.label].iloc[rows]], np.int64
        )
        said = predicted(
            asked.net,
            cells,
            rows,
            batch=work.job.train.batch,
            compute=work.compute,
            erase=asked.erase,
        )
        counts = np.zeros((len(number), len(number)), np.int64)
        np.add.at(counts, (truth, said), 1)
        told[part] = {
            **balanced(
                truth,
                said,
                wells[rows],
                draws=work.job.evaluate.draws,
                seed=work.job.seed,
            ),
            "confusion": counts.tolist(),
            "unknown": len(work.rows(cells, part)) - len(rows),
            "reason": "",
        }
    return told


def balanced(
    truth: Codes,
    said: Codes,
    wells: Shaped[np.ndarray, " n"],
    *,
    draws: int,
    seed: int,
    confidence: float = 0.95,
) -> dict[str, float | int]:
    """The mean over classes of the share of their cells that are recognised.

    `low` and `high` draw whole wells again (NaN below three); a draw without a cell of some class
    is a mean over the others.
    """
    names, of = np.unique(wells, return_inverse=True)
    cells, hits = np.zeros((2, len(names), int(truth.max()) + 1))
    np.add.at(cells, (of, truth), 1)
    np.add.at(hits, (of[truth == said], truth[truth == said]), 1)
    even = np.full(len(names), 1 / len(names))
    weights = rng(seed, "wells of accuracies").multinomial(len(names), even, size=draws)
    every = np.vstack([np.ones(len(names)), weights])
    total = every @ cells
    recalls = np.divide(every @ hits, total, out=np.full(total.shape, np.nan), where=total > 0)
    values = np.nanmean(recalls, axis=1)
    tail = (1 - confidence) / 2
    low, high = (np.nan, np.nan)
    if len(names) >= 3:
        low, high = np.quantile(values[1:], [tail, 1 - tail])
    classes = int(np.isfinite(recalls[0]).sum())
    return {
        "balanced": float(values[0]),
        "low": float(low),
        "high": float(high),
        "chance": 1 / classes,
        "n": len(truth),
        "wells": len(names),
        "classes": classes,
    }
