"""Many tests at once: p-values that are asked too often find something by chance alone."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from attributome.core.errors import DataError


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: all below a level holds for all at once."""
    wrong = [p for p in pvalues if not 0 <= p <= 1]
    if wrong:
        raise DataError(f"{wrong[0]} is no p-value: each must be between 0 and 1")
    order = np.argsort(pvalues, kind="stable")
    adjusted, highest = [0.0] * len(pvalues), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(pvalues) - rank) * pvalues[index]))
        adjusted[index] = highest
    return adjusted


def benjamini_hochberg(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """q-values: those below a level hold a share of false ones below it (1995); NaN is no test."""
    wrong = p[~np.isnan(p) & ~((p >= 0) & (p <= 1))]
    if len(wrong):
        raise DataError(f"{wrong[0]} is no p-value: each must be between 0 and 1, or NaN")
    q = np.full(len(p), np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    falling = tests[np.argsort(p[tests], kind="stable")][::-1]
    scaled = p[falling] * len(tests) / np.arange(len(tests), 0, -1)
    q[falling] = np.minimum.accumulate(np.minimum(scaled, 1.0))
    return q
