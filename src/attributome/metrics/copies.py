"""Copies of a mask in the wrong place: the same size and shapes, but not the same evidence."""

import torch
from torch import Tensor

from attributome.core.draws import Seeds, each
from attributome.core.types import Masks


def translated(masks: Masks, seed: Seeds = 0) -> Masks:
    """Each mask moved round its field by a random offset of a quarter to three quarters."""

    def move(mask: Tensor, generator: torch.Generator) -> Tensor:
        share = 0.25 + 0.5 * torch.rand(mask.ndim - 2, generator=generator)
        axes = range(2, mask.ndim)
        shifts = [round(float(s) * mask.shape[a]) for s, a in zip(share, axes, strict=True)]
        return mask.roll(shifts, tuple(axes))

    return each(masks, seed, move)


def flipped(masks: Masks, seed: Seeds = 0) -> Masks:
    """Each mask mirrored along all spatial axes."""
    return masks.flip(tuple(range(2, masks.ndim)))
