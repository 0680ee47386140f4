"""Which proteins (or wells, or compounds) look alike: a tree of profiles, its order and its cut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from attributome.core.errors import DataError, UsageError
from attributome.profiles.formats import METADATA, feature_names

Metric = Literal["correlation", "cosine", "euclidean", "cityblock"]
Method = Literal["average", "complete", "single", "weighted", "centroid", "median", "ward"]
SPATIAL = ("centroid", "median", "ward")
"""Methods whose heights mean something for Euclidean distances only."""

MOST = 30
"""The largest number of clusters that is considered where none is asked for."""
ORDERED = 2000
"""Labels up to which leaves are put in the best order, whose cost grows with the third power."""

Square = Float[np.ndarray, "n n"]
Merges = Float[np.ndarray, "m 4"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clustering:
    """`labels` by rising name; `merges` as scipy's linkage; `order` of the leaves, as numbers.

    `clusters` gives each label its cluster, counted from 1 along `order`. `distances` are those
    between labels. `chosen` says who chose their number, `silhouettes` the mean silhouette (from
    -1 to 1; about 0 where there are no groups) of each number that was looked at, and
    `constant` how many features were the same for all labels and were dropped.
    """

    labels: tuple[str, ...]
    merges: Merges
    order: Int[np.ndarray, " n"]
    clusters: Mapping[str, int]
    distances: Square
    chosen: Literal["asked", "silhouette"]
    silhouettes: Mapping[int, float]
    constant: int


def cluster(
    table: pd.DataFrame,
    label: str,
    *,
    count: int | None = None,
    metric: Metric = "correlation",
    method: Method = "average",
    scale: bool = True,
) -> Clustering:
    """Cluster the rows of a table of averages, one for each `Metadata_<label>`.

    `scale` gives every feature mean 0 and standard deviation 1 over the labels: as they come,
    features that are large for every protein make all of them correlated. Leaves are ordered so
    that neighbours are near (Bar-Joseph et al. 2001), up to `ORDERED` labels; beyond, as the tree
    was built. Without `count` the number of clusters is that of the largest mean silhouette
    (Rousseeuw 1987) of 2 to `MOST`, the smallest of equals; it always finds some, so that the
    silhouette itself says whether they are there. The order of the rows changes nothing.

    At least three labels are needed, each once, with defined features. Labels whose profiles
    equal another's, or which are constant over features so that their correlation (or cosine) is
    undefined, are refused by name.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import pdist, squareform

    if method in SPATIAL and metric != "euclidean":
        raise UsageError(f"the method {method!r} is for euclidean distances, and not for {metric}")
    labels, x, constant = _profiles(table, label, scale)
    n = len(labels)
    if count is not None and not 1 <= count <= n:
        raise UsageError(f"{count} clusters of {n} labels; give from 1 to {n}")
    spread = np.ptp(x, 1) if metric == "correlation" else np.abs(x).max(1)
    if metric in ("correlation", "cosine") and (flat := spread <= 1e-12 * np.abs(x).max()).any():
        raise DataError(
            f"the profile of {_named(labels, flat)} is {'constant' if x.any() else 'zero'} over "
            f"all features, so that its {metric} with others is undefined"
        )
    near = np.maximum(pdist(x, metric), 0)  # rounding may leave -1e-16
    merges = linkage(near, method)
    if n <= ORDERED:
        merges = optimal_leaf_ordering(merges, near)
    order = leaves_list(merges).astype(np.int64)
    distances = squareform(near)
    looked: Sequence[int] = range(2, min(n - 1, MOST) + 1) if count is None else [count]
    silhouettes = {k: _silhouette(distances, _cut(merges, order, k)) for k in looked}
    chosen = max(silhouettes, key=lambda k: (silhouettes[k], -k)) if count is None else count
    found = _cut(merges, order, chosen)
    return Clustering(
        labels=tuple(labels),
        merges=merges,
        order=order,
        clusters=dict(zip(labels, found.tolist(), strict=True)),
        distances=distances,
        chosen="silhouette" if count is None else "asked",
        silhouettes=silhouettes,
        constant=constant,
    )


def _profiles(
    table: pd.DataFrame, label: str, scale: bool
) -> tuple[list[str], Float[np.ndarray, "n f"], int]:
    """Labels by rising name, their scaled features, and how many features were dropped."""
    column = f"{METADATA}{label}"
    if column not in table:
        has = [str(name) for name in table.columns if str(name).startswith(METADATA)]
        raise UsageError(f"no column {column!r}; there is {', '.join(has) or 'no metadata'}")
    if len(table) < 3:
        raise DataError(f"{len(table)} labels; a tree of clusters needs at least 3")
    if table[column].isna().any():
        raise DataError(f"row {int(table[column].isna().argmax()) + 1} has no {column}")
    names = table[column].astype(str)
    if names.duplicated().any():
        raise DataError(
            f"{_named(names[names.duplicated()].tolist())} has several rows; average them first"
        )
    order = np.argsort(names.to_numpy(str), kind="stable")
    labels = names.iloc[order].tolist()
    x = table[feature_names(table)].to_numpy(np.float64)[order]
    wrong = ~np.isfinite(x).all(1)
    if wrong.any():
        raise DataError(
            f"the profile of {_named(labels, wrong)} has features that are not finite: leave them "
            f"or those features out"
        )
    varying = x.max(0) > x.min(0)
    if not varying.any():
        raise DataError(f"all {x.shape[1]} features are the same for all {len(labels)} labels")
    _, first, back = np.unique(x, axis=0, return_index=True, return_inverse=True)
    twin = first[back.ravel()] != np.arange(len(x))
    if twin.any():
        other = labels[int(first[back.ravel()][twin.argmax()])]
        raise DataError(
            f"the profile of {_named(labels, twin)} equals another's (the first that of {other}): "
            f"are they the same cells?"
        )
    kept = x[:, varying]
    if scale:
        kept = (kept - kept.mean(0)) / kept.std(0)
    return labels, kept, x.shape[1] - kept.shape[1]


def _cut(merges: Merges, order: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " n"]:
    """Clusters 1, 2, … along the leaves, before the last `count` - 1 merges."""
    n = len(order)
    top = np.arange(2 * n - 1)
    for i in range(n - count):
        top[merges[i, :2].astype(int)] = n + i
    for node in range(2 * n - 2, -1, -1):  # a node's number is below that of what it went into
        top[node] = top[top[node]]
    _, first, place = np.unique(top[order], return_index=True, return_inverse=True)
    found = np.empty(n, np.int64)
    found[order] = np.argsort(np.argsort(first))[place] + 1
    return found


def _silhouette(distances: Square, clusters: Int[np.ndarray, " n"]) -> float:
    """The mean over labels; NaN for one cluster, or as many as labels, where it is undefined."""
    from sklearn.metrics import silhouette_score

    if not 1 < clusters.max() < len(clusters):
        return float("nan")
    return float(silhouette_score(distances, clusters, metric="precomputed"))


def _named(labels: Sequence[str], which: np.ndarray | None = None) -> str:
    names = [*labels] if which is None else [labels[i] for i in np.flatnonzero(which).tolist()]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more
