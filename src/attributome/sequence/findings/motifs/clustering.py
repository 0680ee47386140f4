"""Seqlets that are alike, aligned: cosine of contribution windows, best over small shifts."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import UNKNOWN

Parts = Float[np.ndarray, "m w 4"]


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Cluster of each seqlet, the largest is 0; and where each lies in its cluster.

    Position j of seqlet i stands at `shifts[i] + j` of the seqlet in the middle of its cluster.
    """

    labels: Int[np.ndarray, " m"]
    shifts: Int[np.ndarray, " m"]


def cut(
    seqlets: pd.DataFrame,
    tracks: Float[np.ndarray, "n length"],
    codes: UInt8[np.ndarray, "n length"],
    *,
    flank: int = 2,
) -> tuple[UInt8[np.ndarray, "m w"], Parts]:
    """Letters and contributions (the track at the letter that is there) of seqlets and flanks.

    What lies outside of a sequence is N and 0.
    """
    start = seqlets["start"].to_numpy()[:, None] - flank
    width = int((seqlets["stop"] - seqlets["start"]).max()) + 2 * flank if len(seqlets) else 0
    place = start + np.arange(width)
    inside = (place >= 0) & (place < codes.shape[1])
    pair, at = seqlets["pair"].to_numpy()[:, None], np.where(inside, place, 0)
    letters = np.where(inside, codes[pair, at], UNKNOWN).astype(np.uint8)
    values = np.where(letters < UNKNOWN, np.nan_to_num(tracks[pair, at]), 0.0)
    return letters, one_hot(letters) * values[..., None]


def one_hot(letters: UInt8[np.ndarray, "m w"]) -> Parts:
    """1 at the letter that is there, nothing at N."""
    found: np.ndarray = (letters[..., None] == np.arange(4)).astype(np.float64)
    return found


def cluster(parts: Parts, *, shift: int = 3, alike: float = 0.6) -> Clusters:
    """Average linkage, cut where seqlets of two clusters are on average less than `alike`.

    Likeness is the cosine of the two windows, 0 beyond their ends, at the best of the shifts up
    to `shift` either way. It costs m² for m seqlets: some thousands are the limit.
    """
    if not 0 < alike < 1 or not 0 <= shift < max(parts.shape[1], 1):
        raise UsageError(
            f"likeness {alike} and shifts up to {shift} cannot be: likeness lies between 0 and 1, "
            f"and a shift is shorter than the window of {parts.shape[1]}"
        )
    if len(parts) < 2:
        return Clusters(np.zeros(len(parts), np.int64), np.zeros(len(parts), np.int64))
    likeness, best = likenesses(parts, shift)
    apart = np.clip(1 - likeness, 0, None)
    np.fill_diagonal(apart, 0)
    found = fcluster(linkage(squareform(apart, checks=False), "average"), 1 - alike, "distance")
    _, first, index, size = np.unique(
        found, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(size), np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    labels, shifts = rank[index], np.zeros(len(parts), np.int64)
    for label in range(len(size)):
        members = np.flatnonzero(labels == label)
        middle = members[likeness[np.ix_(members, members)].sum(1).argmax()]
        shifts[members] = best[middle, members]
    return Clusters(labels, shifts)


def likenesses(parts: Parts, shift: int) -> tuple[Float[np.ndarray, "m m"], Int[np.ndarray, "m m"]]:
    """Best cosine of each two windows, and where the second then starts in the first."""
    norms = np.sqrt((parts**2).sum((1, 2), keepdims=True))
    unit = np.divide(parts, norms, out=np.zeros_like(parts), where=norms > 0)
    count, width = unit.shape[:2]
    best, at = np.full((count, count), -np.inf), np.zeros((count, count), np.int64)
    for step in sorted(range(-shift, shift + 1), key=abs):  # of equals the smallest shift
        first = unit[:, max(step, 0) : width + min(step, 0)].reshape(count, -1)
        second = unit[:, max(-step, 0) : width + min(-step, 0)].reshape(count, -1)
        now = first @ second.T
        better = now > best + 1e-12
        best, at = np.where(better, now, best), np.where(better, step, at)
    return best, at
