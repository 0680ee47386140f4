"""How unlike the single cells of a protein are: their spread about their own centre.

Cells of one field share its light and its neighbours, so that a centre which their own field
helped to make is too near to them. Every distance here is to a centre of other fields.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng
from attributome.profiles.proteins.averages import Sums, sums_of

Means = Float[np.ndarray, "u f"]
Codes = Integer[np.ndarray, " u"]


def variability(
    blocks: pd.DataFrame | Iterable[pd.DataFrame],
    label: str,
    *,
    unit: str = "field",
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How far cells lie from the centre of their own `Metadata_<label>` and of the others.

    A row for each label, by rising name: `label`, `cells`, `fields` (units), `undefined` (cells
    that lack a feature and are left out of all else), `within` with the interval `within_low`,
    `within_high`, and `between`. Distances are in features with mean 0 and standard deviation 1
    over all cells, without constant ones: the root of the mean squared difference, over features
    and cells, so that 1 is the spread of all cells together.

    `within` is to the mean of the cells of the label's other units. `between` is to such centres of
    each other label, every one of its units left out in turn (and always the cell's own unit,
    where it holds both labels), then averaged over the labels: where labels do not differ, the two
    agree. A label of one unit has no such centre: its distances are NaN, it is no centre for
    others, and its cells count in the scaling alone. The interval draws whole units of the label,
    with centres as they are, and is NaN below three.

    Blocks are read once, and memory holds sums for each label and unit.
    """
    if not 0 < confidence < 1 or draws < 1:
        raise UsageError(f"confidence {confidence} and {draws} draws; such as 0.95 and 1000")
    if label == unit:
        raise UsageError(f"cells of one {label!r} cannot be told apart by {unit!r}, the same")
    tables = [blocks] if isinstance(blocks, pd.DataFrame) else blocks
    sums = sums_of(tables, [label, unit], squares=True, complete=True)
    cells = sums.cells - sums.undefined
    used = cells > 0
    if not used.any():
        raise DataError(f"all {int(sums.cells.sum())} cells lack a feature")
    pairs = [key for key, some in zip(sums.keys, used, strict=True) if some]
    names, of = _codes([key[0] for key in pairs])
    _, within_unit = _codes([key[1] for key in pairs])
    total, squares = _scaled(sums, used)
    count = cells[used]
    own, between = _distances(total, squares, count, of, within_unit)
    rows: list[dict[str, Any]] = []
    for code, name in enumerate(names):
        mine = of == code
        lost = [key[0] == name for key in sums.keys]
        low, high = _interval(own[mine], count[mine], confidence, draws, seed, str(name))
        rows.append(
            {
                "label": name,
                "cells": int(count[mine].sum()),
                "fields": int(mine.sum()),
                "undefined": int(sums.undefined[lost].sum()),
                "within": float(np.sqrt(np.average(own[mine], weights=count[mine]))),
                "within_low": low,
                "within_high": high,
                "between": float(np.sqrt(np.average(between[mine], weights=count[mine]))),
            }
        )
    return pd.DataFrame(rows)


def _scaled(sums: Sums, used: np.ndarray) -> tuple[Means, Float[np.ndarray, " u"]]:
    """Sums of scaled features, and of their squares over features, for each label and unit.

    Scaled by the root of the number of features too, so that squares add up to means over them.
    """
    varying = sums.most > sums.least
    if not varying.any():
        raise DataError(f"all {len(sums.features)} features are the same for every cell")
    assert sums.squares is not None
    cells = sums.count[used][:, varying].astype(np.float64)
    total, squares = sums.total[used][:, varying], sums.squares[used][:, varying]
    n = cells[:, 0].sum()
    mean = total.sum(0) / n
    # about the mean before anything is divided, so that nothing large is left to cancel
    squares = squares - 2 * mean * total + cells * mean**2
    total = total - cells * mean
    variance = squares.sum(0) / n * varying.sum()
    return total / np.sqrt(variance), (squares / variance).sum(1)


def _distances(
    total: Means, squares: Float[np.ndarray, " u"], count: Codes, of: Codes, unit: Codes
) -> tuple[Float[np.ndarray, " u"], Float[np.ndarray, " u"]]:
    """Mean squared distance of the cells of each label and unit, to the own and to other centres.

    The mean of |x - c|² over cells and over centres needs only their means and mean squares.
    """
    labels = int(of.max()) + 1
    whole, number = np.zeros((labels, total.shape[1])), np.zeros(labels)
    np.add.at(whole, of, total)
    np.add.at(number, of, count)
    parts = np.bincount(of, minlength=labels)
    centred = parts[of] > 1
    rest = np.where(centred, number[of] - count, 1)
    centre = np.where(centred[:, None], (whole[of] - total) / rest[:, None], 0)
    length = (centre**2).sum(1)
    mean, square = total / count[:, None], squares / count
    own = square - 2 * (mean * centre).sum(1) + length
    # every label's centres with one unit left out, averaged over which
    weight = np.where(centred, 1 / parts[of], 0)
    usual, usual_length = np.zeros((labels, total.shape[1])), np.zeros(labels)
    np.add.at(usual, of, weight[:, None] * centre)
    np.add.at(usual_length, of, weight * length)
    # in a unit that holds a label, that label's centre is the one without this unit
    units = int(unit.max()) + 1
    here, here_length = np.zeros((units, total.shape[1])), np.zeros(units)
    np.add.at(here, unit, np.where(centred[:, None], centre - usual[of], 0))
    np.add.at(here_length, unit, np.where(centred, length - usual_length[of], 0))
    others = int((parts > 1).sum()) - 1
    if others < 1:
        between = np.full(len(of), np.nan)
    else:
        toward = (usual.sum(0) + here[unit] - centre) / others
        toward_length = (usual_length.sum() + here_length[unit] - length) / others
        between = square - 2 * (mean * toward).sum(1) + toward_length
    return np.where(centred, own, np.nan), np.where(centred, between, np.nan)


def _interval(
    squared: Float[np.ndarray, " u"],
    count: Codes,
    confidence: float,
    draws: int,
    seed: int,
    name: str,
) -> tuple[float, float]:
    n = len(squared)
    if n < 3:
        return float("nan"), float("nan")
    again = rng(seed, "variability", name).multinomial(n, np.full(n, 1 / n), size=draws)
    tail = (1 - confidence) / 2
    drawn = np.sqrt((again @ (squared * count)) / (again @ count))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _codes(names: list[Any]) -> tuple[list[Any], Codes]:
    try:
        ordered = sorted(set(names))
    except TypeError as error:
        raise DataError(f"the labels are of several types and have no order: {error}") from error
    place = {name: i for i, name in enumerate(ordered)}
    return ordered, np.array([place[name] for name in names])
