"""FCGR images as tensors, on any device, with the place of each k-mer where a network asks for it.

With `bins` of 1 an image is the FCGR. With more, channel j holds only the windows that start at
position j (the last channel all later ones): the channels sum to the FCGR, and a network can see
where in the sequence a k-mer stands. Every window has one number of its own, at (channel, pixel),
unless two windows with the same k-mer share a channel.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import Strands
from attributome.sequence.fcgr import check_k, shares_of, window_counts, windows

Image = Float[Tensor, "b bins n n"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What a network sees of a pair: the word length, and the position channels of each branch."""

    k: int
    site_bins: int = 1
    mirna_bins: int = 1

    def __post_init__(self) -> None:
        check_k(self.k)
        if min(self.site_bins, self.mirna_bins) < 1:
            raise UsageError(
                f"position channels are {self.site_bins} (site) and {self.mirna_bins} (miRNA); "
                f"there is at least 1"
            )

    def site(self, batch: Strands, device: torch.device | str = "cpu") -> Image:
        """Images of sites."""
        return images(batch, self.k, self.site_bins, device)

    def mirna(self, batch: Strands, device: torch.device | str = "cpu") -> Image:
        """Images of miRNAs."""
        return images(batch, self.k, self.mirna_bins, device)


def cells_of(batch: Strands, k: int, bins: int) -> Int[Tensor, "b windows"]:
    """For each window, its flat (channel, pixel) in the image; -1 where it has none."""
    return torch.from_numpy(_cells(batch, k, bins)).long()


def images(batch: Strands, k: int, bins: int = 1, device: torch.device | str = "cpu") -> Image:
    """Images of a batch in float32: counts divided by L - k + 1."""
    totals = window_counts(batch, k)
    if torch.device(device).type != "cpu":  # a few indices travel there and not the zeros
        there = torch.from_numpy(totals).clamp(min=1).to(device)
        return scattered(cells_of(batch, k, bins).to(device), there, k, bins)
    flat = torch.from_numpy(shares_of(_cells(batch, k, bins), totals, bins * 4**k))
    return flat.view(len(batch), bins, 1 << k, 1 << k)


def scattered(
    cells: Int[Tensor, "b windows"], totals: Int[Tensor, " b"], k: int, bins: int
) -> Image:
    """Count the windows of each cell, those at -1 left out, and divide by `totals`.

    Whole numbers are added up and divided once, so an image does not depend on the order of its
    windows and equals `fcgr` to the bit. Only cells with a window are touched again.
    """
    flat = torch.zeros(len(cells), bins * 4**k, device=cells.device)
    at = cells.clamp(min=0)
    flat.scatter_add_(1, at, (cells >= 0).float())
    flat.scatter_(1, at, flat.gather(1, at) / totals[:, None])  # the same number for one cell
    return flat.view(len(cells), bins, 1 << k, 1 << k)


def of_counts(counts: Float[Tensor, "b cells"], totals: Int[Tensor, " b"], k: int) -> Image:
    """The images of counts, channel by channel and pixel by pixel; differentiable in the counts."""
    image: Image = (counts / totals.to(counts)[:, None]).unflatten(1, (-1, 1 << k, 1 << k))
    return image


def _cells(batch: Strands, k: int, bins: int) -> Int32[np.ndarray, "b windows"]:
    at = windows(batch, k)
    if bins == 1:
        return at
    channel = np.minimum(np.arange(at.shape[1], dtype=np.int32), bins - 1)
    return np.where(at >= 0, channel * np.int32(4**k) + at, np.int32(-1))
