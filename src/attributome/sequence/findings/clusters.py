"""Regions of an image that matter: K-means over the pixels of k-mers that the sequence holds.

Neighbouring pixels share a suffix only inside a quadrant, so two k-mers can lie side by side and
have nothing in common. `by="letters"` clusters k-mers by the letters they share instead.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import seed_of
from attributome.sequence.fcgr import kmers

Square = Float[np.ndarray, "n n"]


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """`labels` holds 0 where there is no region and 1 … c elsewhere; region 1 weighs most.

    `centres` are weighted means (row, column), `weights` sums of |attribution|. All are empty,
    and labels 0, where nothing on the support is attributed.
    """

    labels: Int[np.ndarray, "n n"]
    centres: Float[np.ndarray, "c 2"]
    weights: Float[np.ndarray, " c"]


def regions(
    attribution: Square,
    fcgr: Float[np.ndarray, "m l"],
    *,
    clusters: int = 5,
    quantile: float = 0.75,
    by: Literal["pixels", "letters"] = "pixels",
    seed: int = 0,
) -> Regions:
    """Clusters of the k-mers that matter most, each weighted by its |attribution|.

    Those are the pixels with an FCGR above 0 and an attribution other than 0 whose |attribution|
    reaches the `quantile` of all such pixels. Fewer pixels than `clusters` make as many regions.
    """
    if attribution.shape != fcgr.shape:
        raise DataError(f"a map of shape {attribution.shape} came with an image of {fcgr.shape}")
    if not np.isfinite(attribution).all():
        raise DataError("the map holds values that are not finite; their regions are undefined")
    if clusters < 1 or not 0 <= quantile < 1:
        raise UsageError(
            f"{clusters} clusters beyond quantile {quantile} cannot be: give at least 1, and a "
            f"quantile from 0 to below 1"
        )
    if by not in ("pixels", "letters"):
        raise UsageError(f'pixels cannot be clustered by {by!r}: it is "pixels" or "letters"')
    size = np.abs(attribution).astype(np.float64)
    support = (fcgr > 0) & (size > 0)
    labels = np.zeros(attribution.shape, np.int64)
    if not support.any():
        return Regions(labels, np.empty((0, 2)), np.empty(0))
    chosen = support & (size >= np.quantile(size[support], quantile))
    places, weights = np.argwhere(chosen), size[chosen]
    points = places.astype(np.float64) if by == "pixels" else _letters(places, len(attribution))
    index = _k_means(points, weights, min(clusters, len(places)), seed_of(seed, "regions") % 2**32)
    total = np.bincount(index, weights)
    order = np.argsort(-total, kind="stable")
    order = order[total[order] > 0]
    rank = np.empty(len(total), np.int64)
    rank[order] = np.arange(len(order))
    labels[chosen] = rank[index] + 1
    centres = [np.average(places[index == one], 0, weights[index == one]) for one in order]
    return Regions(labels, np.array(centres).reshape(-1, 2), total[order])


def upstream_clusters(
    attribution: Square, *, clusters: int = 5, percentile: float = 75
) -> tuple[Int[np.ndarray, "n n"], Float[np.ndarray, "c 2"]]:
    """Upstream's `cluster_attribution_regions`: labels and centres (row, column); to compare with.

    All pixels whose |attribution| reaches the percentile of all pixels, unweighted. An image is
    almost empty, so that percentile is 0, every pixel is chosen, and the "regions" tile the
    square whatever the network does. Fewer pixels than clusters give no region and no centres.
    """
    size = np.abs(attribution)
    chosen = size >= np.percentile(size, percentile)
    labels = np.zeros(attribution.shape, np.int64)
    places = np.argwhere(chosen)
    if len(places) < clusters:
        return labels, np.empty((0, 2))
    index = _k_means(places.astype(np.float64), np.ones(len(places)), clusters, 42)
    labels[chosen] = index + 1
    return labels, np.array([places[index == one].mean(0) for one in range(clusters)])


def _letters(places: Int[np.ndarray, "m 2"], size: int) -> Float[np.ndarray, "m features"]:
    """One-hot letters of each pixel's k-mer."""
    k = size.bit_length() - 1
    if 1 << k != size:
        raise DataError(f"an image of {size} x {size} pixels is no FCGR, which has 2^k a side")
    words = [kmers(k)[row * size + column] for row, column in places]
    return np.array([[float(one == letter) for one in word for letter in "ACGT"] for word in words])


def _k_means(
    points: Float[np.ndarray, "m d"], weights: Float[np.ndarray, " m"], clusters: int, seed: int
) -> Int[np.ndarray, " m"]:
    from sklearn.cluster import KMeans  # half a second to import

    found = KMeans(clusters, n_init=10, random_state=seed).fit(points, sample_weight=weights)
    index: np.ndarray = found.labels_.astype(np.int64)
    return index
