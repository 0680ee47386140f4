"""Nuclei of a stained plane as a label image, for fields that come without a segmentation.

The steps are those of Lu et al. (2019): Otsu, holes, border, size. Three defects of theirs are not
repeated: touching nuclei were never split (`split=False` does that), the threshold was Otsu's of
another image than it was held against (`otsu="raw"` does that), and the loop over labels
ended before the last, so that one nucleus of each image was lost (nothing here does that).
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int32
from scipy import ndimage

from attributome.core.errors import DataError, UsageError

_ALL = np.ones((3, 3), int)


def segment_nuclei(
    plane: Float[np.ndarray, "y x"],
    *,
    sigma: float = 5.0,
    otsu: Literal["smoothed", "raw"] = "smoothed",
    threshold: float | None = None,
    holes: int = 300,
    smallest: int = 100,
    largest: int | None = None,
    border: Literal["drop", "keep"] = "drop",
    split: bool = True,
    neck: float = 1.5,
) -> Int32[np.ndarray, "y x"]:
    """Labels 1, 2, … of nuclei in reading order, 0 elsewhere; none at all is an answer too.

    What is brighter than `threshold` (Otsu's, if none is given) after a blur by `sigma` pixels is
    nucleus, and so is background of fewer than `holes` pixels that it encloses. Pixels that touch
    by an edge or a corner are one piece. `split` cuts a piece by a watershed of its depth (the
    distance to the background) where its waist is more than `neck` pixels less deep than both
    parts. Pieces that touch the edge of the field are dropped, then those of `smallest` pixels or
    fewer, or of more than `largest`. Published: `otsu="raw"`, `split=False`.

    Raises `DataError` where the plane is constant or not finite.
    """
    if min(sigma, holes, smallest, neck) < 0 or (largest is not None and largest <= smallest):
        raise UsageError(
            f"sigma={sigma}, holes={holes}, smallest={smallest}, largest={largest}, neck={neck} "
            f"cannot be meant: none is below 0, and largest is above smallest"
        )
    if otsu not in ("smoothed", "raw") or border not in ("drop", "keep"):
        raise UsageError(
            f"otsu={otsu!r}, border={border!r} cannot be meant; there are otsu 'smoothed' and "
            f"'raw', border 'drop' and 'keep'"
        )
    if not plane.size or not np.isfinite(plane).all():
        raise DataError(f"a plane of shape {plane.shape} has no pixels, or some that are no number")
    smooth = ndimage.gaussian_filter(plane.astype(np.float64), sigma, mode="nearest")
    if threshold is None:
        threshold = otsu_threshold(smooth if otsu == "smoothed" else plane)
    mask = _filled(smooth > threshold, holes)
    labels = _split(mask, neck) if split else ndimage.label(mask, _ALL)[0]
    sizes = np.bincount(labels.ravel())
    kept = (sizes > smallest) & (sizes <= (largest or plane.size))
    if border == "drop":
        for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            kept[line] = False
    kept[0] = False
    return _in_reading_order(np.where(kept[labels], labels, 0))


def otsu_threshold(values: Float[np.ndarray, "*s"], *, bins: int = 256) -> float:
    """The middle of the bin up to which one class of the histogram goes (Otsu 1979)."""
    low, high = float(values.min()), float(values.max())
    if not low < high:
        raise DataError(f"an image of the one value {low:g} has no threshold")
    counts, edges = np.histogram(values.astype(np.float64), bins)
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    sums = counts * middles
    mean_below = np.cumsum(sums) / below
    mean_above = (np.cumsum(sums[::-1]) / np.cumsum(counts[::-1]))[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(middles[between.argmax()])


def _filled(mask: Bool[np.ndarray, "y x"], holes: int) -> Bool[np.ndarray, "y x"]:
    """With background added that is enclosed and small."""
    pieces, _ = ndimage.label(~mask)  # by edges: what pieces of 8 neighbours enclose
    small = np.bincount(pieces.ravel()) < holes
    for line in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        small[line] = False
    return np.asarray(mask | small[pieces])


def _split(mask: Bool[np.ndarray, "y x"], neck: float) -> np.ndarray:
    """Pieces, cut between the tops of their depth that are higher than `neck` above the saddle."""
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    depth = ndimage.distance_transform_edt(mask)
    # of hills that are cut down by `neck`, those that still stand apart
    flat = reconstruction(np.maximum(depth - neck, 0), depth)
    middles, count = ndimage.label(local_maxima(flat, connectivity=2) & mask, _ALL)
    pieces, _ = ndimage.label(mask, _ALL)
    thin = mask & ~np.isin(pieces, pieces[middles > 0])  # pieces that `neck` cut down to nothing
    middles[thin] = count + pieces[thin]
    return np.asarray(watershed(-depth, middles, connectivity=2, mask=mask))


def _in_reading_order(labels: np.ndarray) -> Int32[np.ndarray, "y x"]:
    """Renumbered from 1 by the first pixel of each."""
    ids, first, place = np.unique(labels, return_index=True, return_inverse=True)
    cells = np.flatnonzero(ids > 0)
    new = np.zeros(len(ids), np.int32)
    new[cells[np.argsort(first[cells])]] = np.arange(1, len(cells) + 1)
    return new[place.reshape(labels.shape)]
