"""Features are groups of pixels: label images, and which of the groups a model gets to see.

A label image `(b, *s)` numbers the features of each sample from 0. Samples may have different
numbers of features; a number that a sample does not use is no feature of that sample.
"""

from collections.abc import Sequence
from math import ceil, prod

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attributome.core.arrays import space
from attributome.core.errors import UsageError
from attributome.core.probe import at_once, values
from attributome.core.types import Images, Maps, Predictor, Target

Labels = Int[Tensor, "b *s"]
Baseline = float | Tensor

USUAL = 64
"""About how many features a sample has where nobody says."""


def blocks(x: Images, size: int | Sequence[int]) -> Labels:
    """Tiles of `size` pixels along each axis; those at the far borders may be smaller."""
    sizes = per_axis(x, size, "block")
    tiles = [torch.arange(n, device=x.device) // s for n, s in zip(x.shape[2:], sizes, strict=True)]
    return _combined(tiles, [int(t[-1]) + 1 for t in tiles], len(x))


def usual_blocks(x: Images) -> Labels:
    """About 64 tiles: 8 along each axis of a plane, 4 along each axis of a volume."""
    along = round(USUAL ** (1 / len(space(x))))
    return blocks(x, [ceil(n / along) for n in x.shape[2:]])


def halves(x: Images, depth: int) -> Labels:
    """The `2**depth` leaves of a balanced tree that cuts the field, longest axis first.

    Leaf labels are paths: bit `depth - 1 - d` says on which side of cut d a pixel lies, so the
    leaves below a node of the tree are consecutive.
    """
    cuts = [0] * len(space(x))
    order: list[int] = []
    for _ in range(depth):
        extents = [n / 2**c for n, c in zip(x.shape[2:], cuts, strict=True)]
        order.append(extents.index(max(extents)))
        cuts[order[-1]] += 1
    if depth < 0 or any(2**c > n for n, c in zip(x.shape[2:], cuts, strict=True)):
        raise UsageError(f"a field of {tuple(x.shape[2:])} pixels cannot be halved {depth} times")
    left = list(cuts)
    labels = torch.zeros(x.shape[2:], dtype=torch.long, device=x.device)
    for axis in order:
        n, left[axis] = x.shape[2 + axis], left[axis] - 1
        leaf = torch.arange(n, device=x.device) * 2 ** cuts[axis] // n
        side = (leaf >> left[axis]) & 1
        labels = 2 * labels + side.view([-1 if a == axis else 1 for a in range(len(cuts))])
    return labels.expand(len(x), *labels.shape)


def superpixels(x: Images, *, count: int = USUAL, compactness: float = 0.3) -> Labels:
    """SLIC clusters (Achanta et al. 2012) of all channels, supervoxels in 3-D; per sample.

    About `count` of them; the larger `compactness` (colours count from 0 to 1 over the image), the
    more they look like blocks.
    """
    from skimage.segmentation import slic

    found = []
    for image in x.detach().cpu().double().numpy():
        labels = slic(
            image,
            n_segments=count,
            compactness=compactness,
            sigma=1,  # or noise tears clusters into scraps, which are then all merged into one
            channel_axis=0,
            start_label=0,
            convert2lab=False,
        )
        found.append(np.unique(labels, return_inverse=True)[1].reshape(labels.shape))
    return torch.as_tensor(np.stack(found), dtype=torch.long, device=x.device)


def compact(labels: Int[Tensor, "..."], x: Images) -> Labels:
    """Labels checked against the images they divide, and renumbered per sample without gaps."""
    if labels.shape != (len(x), *x.shape[2:]) or labels.min() < 0:
        raise UsageError(
            f"features of shape {tuple(labels.shape)} and type {labels.dtype} for images of shape "
            f"{tuple(x.shape)}: they must be whole numbers from 0, shape (batch, *space)"
        )
    labels = labels.to(x.device, torch.long)
    rank = (sizes_of(labels) > 0).cumsum(1) - 1
    return rank.gather(1, labels.flatten(1)).view_as(labels)


def sizes_of(labels: Labels) -> Int[Tensor, "b p"]:
    """How many pixels each feature of each sample has."""
    flat = labels.flatten(1)
    counts = torch.zeros(len(flat), int(flat.max()) + 1, dtype=torch.long, device=flat.device)
    return counts.scatter_add_(1, flat, torch.ones_like(flat))


def painted(numbers: Float[Tensor, "b p"], labels: Labels) -> Maps:
    """A map that has at every pixel the number of its feature."""
    maps: Maps = numbers.gather(1, labels.flatten(1)).view_as(labels)[:, None]
    return maps


def masks_of(kept: Float[Tensor, "m #b p"], labels: Labels) -> Float[Tensor, "m b 1 *s"]:
    """For each coalition, 1 on the pixels of the features that are kept."""
    index = labels.flatten(1).expand(len(kept), -1, -1)
    chosen = kept.expand(-1, len(labels), -1).gather(2, index)
    return chosen.view(len(kept), len(labels), 1, *labels.shape[1:])


def coalition_values(
    model: Predictor,
    x: Images,
    target: Target,
    kept: Bool[Tensor, "m #b p"],
    labels: Labels,
    baseline: Baseline,
) -> Float[Tensor, "m b"]:
    """The target when only the kept features of `x` are seen and `baseline` is in their place."""
    hidden = backdrop(x, baseline)
    found = []
    for group in kept.to(x.device).split(at_once(x, len(kept))):
        # of numbers: mixing by them is four times as fast as choosing by booleans
        seen = torch.lerp(hidden, x, masks_of(group.to(x), labels)).flatten(0, 1)
        found.append(values(model, seen, target, copies=len(group)))
    return torch.cat(found)


def backdrop(x: Images, baseline: Baseline) -> Images:
    """What stands in the place of hidden pixels: one number, or images that fit `x`."""
    hidden = torch.as_tensor(baseline, dtype=x.dtype, device=x.device)
    try:
        return hidden.expand_as(x)
    except RuntimeError as error:
        raise UsageError(
            f"a baseline of shape {tuple(hidden.shape)} does not fit images of shape "
            f"{tuple(x.shape)}: give one number, one image, or one image per sample"
        ) from error


def per_axis(x: Images, size: int | Sequence[int], what: str) -> tuple[int, ...]:
    """One whole number of pixels for each spatial axis."""
    sizes = (size,) * len(space(x)) if isinstance(size, int) else tuple(size)
    if len(sizes) != len(space(x)) or min(sizes) < 1:
        raise UsageError(
            f"a {what} of {size} pixels for {len(space(x))}-D images: give one number above 0, or "
            f"one per axis"
        )
    return sizes


def _combined(tiles: Sequence[Tensor], counts: Sequence[int], batch: int) -> Labels:
    """One label from the tile's place along each axis, the last axis running fastest."""
    labels = torch.zeros([1] * len(tiles), dtype=torch.long, device=tiles[0].device)
    for axis, tile in enumerate(tiles):
        shape = [-1 if a == axis else 1 for a in range(len(tiles))]
        labels = labels + tile.view(shape) * prod(counts[axis + 1 :])
    return labels.expand(batch, *labels.shape)
