"""Rows of numbers, one per pair, in which groups of pairs can be compared (see `contrasts`).

Each builder returns `(values (n, f), names)`. NaN says that a feature does not exist in a pair,
such as position 30 of a site of 28 letters or the mean over a k-mer that it does not hold; 0 says
that it exists and counts for nothing.
"""

import numpy as np
from jaxtyping import Float, Int

from attributome.core.errors import DataError, UsageError
from attributome.sequence.alphabet import Strands
from attributome.sequence.fcgr import kmers, windows
from attributome.sequence.regions import REGIONS

Tracks = Float[np.ndarray, "n length"]
Built = tuple[Float[np.ndarray, "n f"], list[str]]


def by_pixel(maps: Float[np.ndarray, "n pixels"], k: int) -> Built:
    """A pixel map as it stands; a pair that does not hold a k-mer has 0 there, or off-support."""
    if maps.shape[1] != 4**k:
        raise UsageError(f"maps of {maps.shape[1]} pixels are none of {k}-mers, which have {4**k}")
    return maps, list(kmers(k))


def by_kmer(tracks: Tracks, batch: Strands, k: int) -> Built:
    """Sum of the track over the k letters of a k-mer, the mean of its places in the pair.

    NaN where the pair does not hold it. The k-mers need not be those of the network.
    """
    _fits(tracks, batch)
    at = windows(batch, k)
    sums = np.lib.stride_tricks.sliding_window_view(np.nan_to_num(tracks), k, axis=1).sum(-1)
    row, start = np.nonzero(at >= 0)
    cells, size = row * 4**k + at[row, start], (len(batch), 4**k)
    count = np.bincount(cells, minlength=size[0] * size[1]).reshape(size)
    total = np.bincount(cells, sums[row, start], size[0] * size[1]).reshape(size)
    values = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
    return values, list(kmers(k))


def by_position(tracks: Tracks, branch: str) -> Built:
    """A track as it stands, positions named from 1."""
    return tracks, [f"{branch} nt {place + 1}" for place in range(tracks.shape[1])]


def by_region(tracks: Tracks) -> Built:
    """Mean of a miRNA's track in each of its regions, NaN where it ends before a region begins."""
    ranges = {**REGIONS, "tail": (max(stop for _, stop in REGIONS.values()), tracks.shape[1])}
    inside = np.zeros((tracks.shape[1], len(ranges)))
    for column, (start, stop) in enumerate(ranges.values()):
        inside[start:stop, column] = 1.0
    there = (~np.isnan(tracks)).astype(np.float64) @ inside
    total = np.nan_to_num(tracks).astype(np.float64) @ inside
    return np.divide(total, there, out=np.full(total.shape, np.nan), where=there > 0), list(ranges)


def by_match(
    tracks: Tracks, starts: Int[np.ndarray, " n"], stops: Int[np.ndarray, " n"], *, flank: int = 5
) -> Built:
    """Mean of a site's track in its seed match, in the flanks of it, and in the rest.

    Matches are half-open ranges from 0, as `regions.seed_match` gives them; an empty one has
    no match and no flanks (NaN).
    """
    place = np.arange(tracks.shape[1])
    match = (place >= starts[:, None]) & (place < stops[:, None])
    near = (place >= starts[:, None] - flank) & (place < stops[:, None] + flank)
    near &= ~match & (stops > starts)[:, None]
    columns = []
    for inside in (match, near, ~match & ~near):
        there = (inside & ~np.isnan(tracks)).sum(1)
        total = np.where(inside, np.nan_to_num(tracks), 0.0).sum(1, dtype=np.float64)
        columns.append(np.divide(total, there, out=np.full(len(tracks), np.nan), where=there > 0))
    return np.stack(columns, 1), ["seed match", f"{flank} nt beside it", "rest of the site"]


def _fits(tracks: Tracks, batch: Strands) -> None:
    if tracks.shape != batch.codes.shape:
        raise DataError(
            f"tracks of shape {tracks.shape} came with sequences of shape {batch.codes.shape}"
        )
