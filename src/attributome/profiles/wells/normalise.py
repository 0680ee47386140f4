"""Profiles in units of what the negative controls of their own plate do."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool

from attributome.core.errors import DataError, UsageError
from attributome.profiles.formats import feature_names

METHODS = ("robust", "standard")
NORMAL = 1.4826
"""Median absolute deviations of a normal distribution in one standard deviation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Normalised:
    """The table in new units, without the features in `dropped` (feature, plate, reason).

    `references` has a row for each plate: `plate`, and `n`, how many rows it was fitted on.
    """

    table: pd.DataFrame
    dropped: pd.DataFrame
    references: pd.DataFrame


def normalise(
    table: pd.DataFrame,
    reference: Bool[np.ndarray, " n"],
    *,
    by: str = "Metadata_plate",
    method: str = "robust",
    epsilon: float = 1e-18,
    least: int = 4,
) -> Normalised:
    """Centre and scale each feature, plate by plate, fitted on the reference rows alone.

    `"robust"` is (x − median) / (1.4826 MAD + epsilon), with the median absolute deviation about
    the median, and `"standard"` (x − mean) / standard deviation (1 / n, as scikit-learn).
    `reference` marks the negative controls; each plate needs `least` of them. A feature whose
    spread over them is 0 on some plate is dropped from all and told. Undefined values stay so, but
    not in reference rows, where they are refused.
    """
    if method not in METHODS:
        raise UsageError(f"no method {method!r}; there are {' and '.join(METHODS)}")
    if by not in table:
        raise UsageError(f"no column {by!r}; there is {[*map(str, table.columns)][:6]}")
    if least < 2 or not epsilon >= 0:
        raise UsageError(f"least = {least} and epsilon = {epsilon}; such as 4 and 1e-18")
    if len(reference) != len(table):
        raise DataError(f"{len(table)} rows came with {len(reference)} marks")
    if table[by].isna().any():
        raise DataError(f"{table[by].isna().sum()} of {len(table)} rows have no {by!r}")
    names = feature_names(table)
    x = table[names].to_numpy(np.float64)
    plates, of = np.unique(table[by].to_numpy(), return_inverse=True)
    counts = np.bincount(of[reference], minlength=len(plates))
    if (counts < least).any():
        poor = [f"{plates[i]} ({counts[i]})" for i in np.flatnonzero(counts < least)]
        raise DataError(
            f"{len(poor)} of {len(plates)} plates have fewer than {least} reference rows: "
            f"{', '.join(poor[:5])}{', …' if len(poor) > 5 else ''}"
        )
    undefined = ~np.isfinite(x[reference]).all(0)
    if undefined.any():
        raise DataError(
            f"{undefined.sum()} of {len(names)} features are undefined in some reference row, such "
            f"as {names[int(undefined.argmax())]!r}: drop features or rows, and report how many"
        )
    flat: dict[str, str] = {}
    for i, plate in enumerate(plates):
        here = of == i
        centre, spread = _fitted(x[here & reference], method)
        for j in np.flatnonzero(spread == 0):
            flat.setdefault(names[j], str(plate))
        scale = np.where(spread == 0, 1.0, spread + (epsilon if method == "robust" else 0.0))
        x[here] = (x[here] - centre) / scale
    kept = [j for j, name in enumerate(names) if name not in flat]
    if not kept:
        raise DataError(f"all {len(names)} features have no spread over the references of a plate")
    known = table[[name for name in table.columns if name not in {*names}]]
    features = pd.DataFrame(x[:, kept], columns=[names[j] for j in kept])
    spread_of = "median absolute deviation" if method == "robust" else "standard deviation"
    return Normalised(
        table=pd.concat([known.reset_index(drop=True), features], axis=1),
        dropped=pd.DataFrame(
            {
                "feature": [*flat],
                "plate": [*flat.values()],
                "reason": [f"{spread_of} 0 over the reference rows"] * len(flat),
            }
        ),
        references=pd.DataFrame({"plate": plates, "n": counts}),
    )


def _fitted(x: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Centre and spread of each column; a constant one has spread 0 and no rounding in it."""
    if method == "robust":
        centre = np.median(x, axis=0)
        return centre, NORMAL * np.median(np.abs(x - centre), axis=0)
    return x.mean(0), np.where(x.max(0) == x.min(0), 0.0, x.std(0))
