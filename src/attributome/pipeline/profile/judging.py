"""How often the network gives cells of wells that it never saw their own label."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from attributome.core.errors import DataError
from attributome.core.seeds import rng
from attributome.pipeline.profile.causes import known
from attributome.pipeline.profile.network import Asked
from attributome.pipeline.profile.splitting import HELD_OUT
from attributome.pipeline.profile.work import ProfileWork
from attributome.profiles.learning.classifier import predicted, wells_of
from attributome.profiles.single_cells import SingleCells

Codes = Int64[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What cells are, what the network says that they are, and in which wells they were."""

    truth: Codes
    said: Codes
    wells: Shaped[np.ndarray, " n"]


def answers(work: ProfileWork, cells: SingleCells, asked: Asked, part: str) -> Answers | None:
    """What the network says of the cells of a part whose class it knows; None: there are none."""
    rows = known(work, cells, asked, part)
    if not len(rows):
        return None
    number = {name: code for code, name in enumerate(asked.classes)}
    names = cells.table[asked.label].iloc[rows]
    said = predicted(
        asked.net,
        cells,
        rows,
        batch=work.job.train.batch,
        compute=work.compute,
        erase=asked.erase,
    )
    truth = np.array([number[str(name)] for name in names], np.int64)
    return Answers(truth=truth, said=said, wells=wells_of(cells)[rows])


def accuracies(work: ProfileWork, cells: SingleCells, asked: Asked) -> dict[str, Any]:
    """Balanced accuracy on validation, test and held-out plates, and who is taken for whom.

    `unknown` cells are of a label that the network never learnt, and count in no accuracy.
    """
    count = len(asked.classes)
    told: dict[str, Any] = {}
    for part in ("validate", "test", HELD_OUT):
        found, every = answers(work, cells, asked, part), len(work.rows(cells, part))
        if found is None:
            reason = f"no cell of the part {part!r} is of a known class"
            told[part] = {"unknown": every, "reason": reason}
            continue
        counts = np.zeros((count, count), np.int64)
        np.add.at(counts, (found.truth, found.said), 1)
        told[part] = {
            **balanced(
                found.truth,
                found.said,
                found.wells,
                draws=work.job.evaluate.draws,
                seed=work.job.seed,
            ),
            "confusion": counts.tolist(),
            "unknown": every - len(found.truth),
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
    values, units, classes = _again(truth, said, wells, draws, seed)
    return {
        "balanced": float(values[0]),
        **dict(zip(("low", "high"), _ends(values, units, confidence), strict=True)),
        "chance": 1 / classes,
        "n": len(truth),
        "wells": units,
        "classes": classes,
    }


def gained(
    one: Answers, other: Answers, *, draws: int, seed: int, confidence: float = 0.95
) -> dict[str, float]:
    """Balanced accuracy of `other` minus that of `one`, both of the same cells.

    The interval draws whole wells again, the same for both.
    """
    if not (np.array_equal(one.truth, other.truth) and np.array_equal(one.wells, other.wells)):
        raise DataError("two accuracies are compared that are not of the same cells")
    before, units, _ = _again(one.truth, one.said, one.wells, draws, seed)
    after, _, _ = _again(other.truth, other.said, other.wells, draws, seed)
    low, high = _ends(after - before, units, confidence)
    return {"gain": float(after[0] - before[0]), "low": low, "high": high}


def _again(
    truth: Codes, said: Codes, wells: Shaped[np.ndarray, " n"], draws: int, seed: int
) -> tuple[Float64[np.ndarray, " d"], int, int]:
    """Balanced accuracies as they are and of wells drawn again; how many wells and classes."""
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
    return values, len(names), int(np.isfinite(recalls[0]).sum())


def _ends(values: Float64[np.ndarray, " d"], wells: int, confidence: float) -> tuple[float, float]:
    """The ends of what was drawn again; undefined below three wells."""
    if wells < 3:
        return np.nan, np.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(values[1:], [tail, 1 - tail])
    return float(low), float(high)
