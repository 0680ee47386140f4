"""Grad-CAM on the branches of a pair network, in words: a coarse cell is all k-mers of one suffix.

A layer's grid of 2^m cells a side divides the image as its quadrants do, so a cell at (row, column)
stands for the words whose last m letters are those of that m-mer's own pixel. Maps are enlarged by
repeating cells: interpolation would mix words that have nothing in common.
"""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Packed, pack
from attributome.core.probe import layer_gradient
from attributome.core.types import Target
from attributome.sequence.fcgr import check_k, kmers
from attributome.sequence.tracks import BRANCHES, Branch, MirnaImages, SiteImages

UPSTREAM_LAYERS: dict[Branch, str] = {"site": "m_rna_model.conv3", "mirna": "mi_rna_model.conv3"}
"""Where upstream's network has its last maps behind a ReLU (its dropout does nothing here)."""

Cells = Float[Tensor, "b 1 m m"]


def pair_cam(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    *,
    layers: Mapping[Branch, str],
) -> dict[Branch, Cells]:
    """Grad-CAM on the grid of a named layer behind a ReLU, for each branch named (Selvaraju 2017).

    Signed: what speaks against the target is negative. A layer whose values fall below 0 is not
    behind a ReLU and is refused: there a weight times an activation has no sign.
    """
    inputs = [site_images, mirna_images]
    model = Packed(net, tuple(tuple(one.shape[1:]) for one in inputs))
    found = dict[Branch, Tensor]()
    for branch, layer in layers.items():
        if branch not in BRANCHES:
            raise UsageError(f"no branch {branch!r}; there are {' and '.join(BRANCHES)}")
        act, grad = layer_gradient(model, layer, pack(inputs), target)
        if act.ndim != 4:
            raise UsageError(
                f"layer {layer!r} gives shape {tuple(act.shape[1:])}; a map needs (channels, m, m)"
            )
        if (act < 0).any():
            raise UsageError(f"layer {layer!r} falls below 0: name the layer behind its ReLU")
        weights = grad.mean((2, 3), keepdim=True)
        found[branch] = (weights * act).sum(1, keepdim=True)
    return found


def enlarge(cells: Cells, k: int) -> Float[Tensor, "b 1 n n"]:
    """Each cell repeated over the pixels of its suffix: constant within a quadrant of its size."""
    grid = cells.shape[2]
    letters(k, grid)
    block = (1 << k) // grid
    return cells.repeat_interleave(block, 2).repeat_interleave(block, 3)


def suffix_labels(k: int, grid: int) -> list[str]:
    """The common suffix of the k-mers of each cell, row by row; "" for a grid of one cell."""
    size = letters(k, grid)
    return list(kmers(size)) if size else [""]


def letters(k: int, grid: int) -> int:
    """How many last letters the words of one cell share, on a grid of `grid` x `grid` cells."""
    check_k(k)
    if grid < 1 or (1 << k) % grid:
        raise UsageError(
            f"a grid of {grid} x {grid} does not divide an image of {1 << k} x {1 << k} into "
            f"quadrants: name a layer whose side is a power of 2 up to {1 << k}"
        )
    return grid.bit_length() - 1
