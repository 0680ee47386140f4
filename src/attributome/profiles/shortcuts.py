"""What else tells the label of a cell: its plate, its place on it, its background."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from attributome.core.errors import DataError, Refusal
from attributome.profiles.learning.classifier import Rows, wells_of
from attributome.profiles.neighbours import linear_accuracy
from attributome.profiles.single_cells import SingleCells

PERCENTILES = (5, 25, 50, 75, 95)
LAGS = (1, 2, 4)
"""Pixels between two that are compared, in the plane: how fine or coarse a texture is."""


def what_else_tells(
    crops: SingleCells,
    rows: Rows,
    *,
    label: str,
    batch: int = 256,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How well a linear classifier tells the label from what is not the cell, and from the cell.

    Rows per `features`: `plate` (which one), `position` (row and column of the well, as the letter
    and the number of its name), `background` (outside all cells, per channel: mean, spread and
    percentiles of the intensity, and how it differs between pixels 1, 2 and 4 apart) and `cell`
    (the same inside the own one, to compare); and per `protocol`: `well folds` and `leave plate
    out`. The other columns are of `Accuracy`, whose interval draws wells, and the `reason` where a
    protocol cannot be followed.
    """
    some = crops.table.iloc[rows]
    wells, plates = wells_of(crops)[rows], some["plate"].astype(str).to_numpy(str)
    labels = some[label].astype(str).to_numpy(str)
    letters = some["well"].astype(str).str.extract(r"^([A-Za-z]+)(\d+)$")
    features: dict[str, np.ndarray] = {
        "plate": (plates[:, None] == np.unique(plates)).astype(np.float64)
    }
    if letters.notna().all(axis=None):
        row = pd.factorize(letters[0], sort=True)[0]
        features["position"] = np.stack([row, letters[1].astype(int)], 1).astype(np.float64)
    features["background"], features["cell"] = _looks(crops, rows, batch)
    table: list[dict[str, Any]] = []
    for name, numbers in features.items():
        for protocol, groups in (("well folds", wells), ("leave plate out", plates)):
            folds = len(np.unique(groups))
            try:
                found = linear_accuracy(
                    numbers, labels, groups, folds=min(folds, 5) if groups is wells else folds,
                    units=wells, confidence=confidence, draws=draws, seed=seed,
                )  # fmt: skip
                told: dict[str, Any] = {**found.row(), "reason": ""}
            except Refusal as refusal:
                told = {"reason": str(refusal)}
            table.append({"features": name, "protocol": protocol, **told})
    return pd.DataFrame(table)


def _looks(
    crops: SingleCells, rows: Rows, batch: int
) -> tuple[Float[np.ndarray, "n f"], Float[np.ndarray, "n f"]]:
    """Statistics of each channel outside all cells, and inside the own cell."""
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        images, labels, own = crops.images(some), crops.labels(some), crops.own(some)
        for image, label, mine in zip(images, labels, own, strict=True):
            for where, kept in zip((label == 0, label == mine), found, strict=True):
                kept.append(_look(image.astype(np.float64), where))
    return np.stack(found[0]), np.stack(found[1])


def _look(
    image: Float[np.ndarray, "c *s"], where: Bool[np.ndarray, "*s"]
) -> Float[np.ndarray, " f"]:
    if not where.any():
        raise DataError(
            "a crop has no background, or its own cell is not in it: how it looks there is "
            "undefined; cut larger crops"
        )
    values = image[:, where]
    numbers = [values.mean(1), values.std(1), *np.percentile(values, PERCENTILES, 1)]
    for lag in LAGS:
        gaps = []
        for axis in (-2, -1):
            after, before = np.moveaxis(image, axis, -1), np.moveaxis(where, axis, -1)
            both = before[..., lag:] & before[..., :-lag]
            gaps.append(np.abs(after[..., lag:] - after[..., :-lag])[:, both])
        joined = np.concatenate(gaps, 1)
        # two pixels so far apart may not both be there: then they do not differ
        numbers.append(joined.mean(1) if joined.shape[1] else np.zeros(len(image)))
    return np.concatenate(numbers)
