"""From an image of k-mers back to the letters: pixel → window → position, with nothing lost.

What lies in image coordinates is a tensor, what lies in sequence coordinates a NumPy array. An
attribution at a pixel is shared equally by the windows that were counted there, and a window's
share by its k letters. So the total over the k-mers that a sequence holds stays what it was. What
a map says about k-mers that the sequence does not hold has no place in it, and is told apart.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import Strands
from attributome.sequence.images import Encoding, cells_of

Branch = Literal["site", "mirna"]
BRANCHES: tuple[Branch, ...] = ("site", "mirna")
"""The branches of a network for pairs, in the order of its inputs."""

Edges = Literal["conserve", "coverage"]
ImageMaps = Float[Tensor, "b bins n n"]
SiteImages = Float[Tensor, "b sitebins n n"]
MirnaImages = Float[Tensor, "b mirnabins n n"]
Track = Float[np.ndarray, "b length"]


def cells_of_pairs(
    mirna: Strands, site: Strands, encoding: Encoding
) -> dict[Branch, Int[Tensor, "_ _"]]:
    """`cells_of` both branches."""
    return {
        "site": cells_of(site, encoding.k, encoding.site_bins),
        "mirna": cells_of(mirna, encoding.k, encoding.mirna_bins),
    }


def pixel_map(maps: ImageMaps) -> Float[Tensor, "b pixels"]:
    """One value per k-mer: position channels add up."""
    return maps.sum(1).flatten(1)


def to_windows(maps: ImageMaps, batch: Strands, k: int) -> Float[Tensor, "b windows"]:
    """The share of each window in its cell of the map; 0 where a window has no cell."""
    flat, cells = _flat(maps, batch, k), cells_of(batch, k, maps.shape[1]).to(maps.device)
    there, at = cells >= 0, cells.clamp(min=0)
    counts = torch.zeros_like(flat).scatter_add_(1, at, there.to(flat))
    shares = flat.gather(1, at) / counts.gather(1, at).clamp(min=1)
    return torch.where(there, shares, 0)


def to_positions(
    maps: ImageMaps, batch: Strands, k: int, *, edges: Edges = "conserve"
) -> tuple[Track, Float[np.ndarray, " b"]]:
    """Tracks, NaN behind each sequence's end; and the sum of each map off its sequence's k-mers.

    With "conserve" a position has the sum of its windows' shares over k: a track and what is off
    the support sum to the map, and the outer k - 1 letters, which fewer windows cover, get less.
    With "coverage" it has the mean over the windows that cover it: no letter gets less for
    standing at an end, and the total is lost; NaN where no window covers it (all hold an N).
    """
    scores = to_windows(maps, batch, k).double()
    off = maps.double().flatten(1).sum(1) - scores.sum(1)
    off = torch.where(_outside(maps, batch, k).any(1), off, 0)  # else it is rounding
    tracks = _spread(scores, k, batch) / k
    if edges == "coverage":
        covered = _spread(cells_of(batch, k, 1).to(scores.device) >= 0, k, batch)
        tracks = torch.where(covered > 0, tracks * k / covered.clamp(min=1), torch.nan)
    inside = np.arange(batch.codes.shape[1]) < batch.lengths[:, None]
    found = np.where(inside, tracks.to(maps.dtype).cpu().numpy(), np.nan)
    return found.astype(_kind(maps)), off.to(maps.dtype).cpu().numpy()


def off_support_share(maps: ImageMaps, batch: Strands, k: int) -> Float[np.ndarray, " b"]:
    """Share of a map's absolute values at k-mers that the sequence lacks; NaN for a map of 0."""
    size = maps.double().flatten(1).abs()
    total = size.sum(1)
    off = torch.where(_outside(maps, batch, k), size, 0).sum(1)
    shares = torch.where(total > 0, off / total, torch.nan)
    return shares.cpu().numpy()


def to_maps(tracks: Track, batch: Strands, k: int, bins: int = 1) -> ImageMaps:
    """A picture of what was found in sequence space: each letter's score goes to its windows.

    It is shared equally by those that cover the letter, so the total stays, but for letters that
    no window covers. It is for looking at: `to_positions` does not give the track back, since
    windows overlap.
    """
    scores = torch.from_numpy(np.nan_to_num(tracks, nan=0.0)).double()
    cells = cells_of(batch, k, bins)
    covered = _spread(cells >= 0, k, batch)
    each = scores / covered.clamp(min=1)
    count = cells.shape[1]
    window = torch.zeros(cells.shape, dtype=torch.double)
    for i in range(k if count else 0):
        window += each[:, i : i + count]
    flat = torch.zeros(len(cells), bins * 4**k, dtype=torch.double)
    flat.scatter_add_(1, cells.clamp(min=0), torch.where(cells >= 0, window, 0))
    return flat.to(torch.from_numpy(tracks[:0]).dtype).view(len(cells), bins, 1 << k, 1 << k)


def varies(tracks: Track) -> Bool[np.ndarray, " b"]:
    """Whether a track has two values at least: another one is no evidence for anything."""
    there = np.isfinite(tracks)
    highest = np.where(there, tracks, -np.inf).max(1, initial=-np.inf)
    lowest = np.where(there, tracks, np.inf).min(1, initial=np.inf)
    differ: np.ndarray = highest > lowest
    return differ


def _flat(maps: Tensor, batch: Strands, k: int) -> Tensor:
    if len(maps) != len(batch) or maps.shape[2:] != (1 << k, 1 << k):
        raise UsageError(
            f"maps of shape {tuple(maps.shape)} are none of {len(batch)} sequences at k = {k}, "
            f"which have {1 << k} x {1 << k} pixels"
        )
    return maps.flatten(1)


def _outside(maps: Tensor, batch: Strands, k: int) -> Tensor:
    """Where a map has a value and the sequence no window: what has no place in a track."""
    cells = cells_of(batch, k, maps.shape[1]).to(maps.device)
    held = torch.zeros(maps.flatten(1).shape, device=maps.device)
    held.scatter_add_(1, cells.clamp(min=0), (cells >= 0).float())
    return (held == 0) & (maps.flatten(1) != 0)


def _spread(scores: Tensor, k: int, batch: Strands) -> Tensor:
    """For each position the sum over the windows that cover it."""
    count = scores.shape[1]
    found = torch.zeros(len(batch), batch.codes.shape[1], dtype=torch.double, device=scores.device)
    for i in range(k if count else 0):
        found[:, i : i + count] += scores
    return found


def _kind(maps: Tensor) -> np.dtype:
    return np.dtype(np.float64 if maps.dtype == torch.float64 else np.float32)
