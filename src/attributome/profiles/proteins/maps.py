"""Cells or proteins on a plane by UMAP (McInnes et al. 2018): to look at, not to measure.

Distances between groups and their sizes on such a plane mean little; accuracies, clusters and
spreads are computed from the features themselves, elsewhere.
"""

import importlib
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import seed_of


def umap_of(
    features: Float[np.ndarray, "n f"],
    *,
    neighbours: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
) -> Float32[np.ndarray, "n 2"]:
    """Places of cells on a plane, by `seed` and the cells alone; needs `attributome[umap]`.

    Features are z-scored over the cells, without constant ones, and the plane starts from their
    first two principal components: the usual start, by eigenvectors of the graph, is refused
    by the solver for some data, and is then replaced by noise. One thread, as more are not
    repeatable; the first call compiles for some ten seconds.
    """
    n = len(features)
    if not 2 <= neighbours < n:
        raise UsageError(f"{neighbours} neighbours among {n} cells; give from 2 to {n - 1}")
    if not 0 <= min_dist <= 1:
        raise UsageError(f"min_dist={min_dist}; it goes from 0 (dense) to 1")
    wrong = ~np.isfinite(features).all(1)
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} of {n} cells have undefined features (the first is number "
            f"{int(wrong.argmax())}, counted from 0): leave them out, and report how many"
        )
    varying = features.max(0) > features.min(0)
    if varying.sum() < 2:
        raise DataError(
            f"{int(varying.sum())} of {features.shape[1]} features differ between cells; a plane "
            f"needs 2"
        )
    kept = features[:, varying].astype(np.float64)
    scaled = ((kept - kept.mean(0)) / kept.std(0)).astype(np.float32)
    placed = _umap().UMAP(
        n_neighbors=neighbours,
        min_dist=min_dist,
        init="pca",
        random_state=seed_of(seed, "umap") % 2**32,
        n_jobs=1,
    )
    found: np.ndarray = np.asarray(placed.fit_transform(scaled), np.float32)
    if not np.isfinite(found).all():
        raise DataError(f"UMAP found no place for {int((~np.isfinite(found).all(1)).sum())} cells")
    return found


def _umap() -> Any:
    try:
        with warnings.catch_warnings():  # of its variant that trains a network, not used here
            warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
            return importlib.import_module("umap")
    except ImportError as error:
        raise UsageError(
            "a UMAP needs the package umap-learn: install attributome[umap], or leave it out"
        ) from error
