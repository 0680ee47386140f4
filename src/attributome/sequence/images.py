"""FCGR images as tensors, on any device, with the place of each k-mer where a network asks for it.

With `bins` of 1 an image is the FCGR. With more, channel j holds only the windows that start at
position j (the last channel all later ones): the channels sum to the FCGR, and a network can see
where in the sequence a k-mer stands. Every window has one number of its own, at (channel, pixel),
unless two windows with the same k-mer share a channel.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import Strands
from attributome.sequence.fcgr import check_k, window_counts, windows

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
    at = torch.from_numpy(windows(batch, k)).long()
    channel = torch.arange(at.shape[1]).clamp(max=bins - 1)
    return torch.where(at >= 0, channel * 4**k + at, -1)


def images(batch: Strands, k: int, bins: int = 1, device: torch.device | str = "cpu") -> Image:
    """Images of a batch in float32: counts divided by L - k + 1."""
    totals = torch.from_numpy(window_counts(batch, k)).clamp(min=1)
    return scattered(cells_of(batch, k, bins).to(device), totals.to(device), k, bins)


def scattered(
    cells: Int[Tensor, "b windows"], totals: Int[Tensor, " b"], k: int, bins: int
) -> Image:
    """Count the windows of each cell, those at -1 left out, and divide by `totals`.

    Whole numbers are added up and divided once, so an image does not depend on the order of its
    windows and equals `fcgr` to the bit.
    """
    flat = torch.zeros(len(cells), bins * 4**k, device=cells.device)
    flat.scatter_add_(1, cells.clamp(min=0), (cells >= 0).float())
    return (flat / totals[:, None]).view(len(cells), bins, 1 << k, 1 << k)
