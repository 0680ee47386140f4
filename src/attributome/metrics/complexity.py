"""How much of the field a map spreads over. A short answer is easier to read, not truer.

All look at |φ| and are NaN where it is 0 everywhere.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.types import Maps, Masks, Scores


def gini(maps: Maps) -> Scores:
    """Gini coefficient of |φ|: 0 where all values are equal, 1 where one has everything.

    Hurley & Rickard 2009 (Chalasani et al. 2020 for maps), times n / (n − 1), so that 1 is
    reached whatever the number n of values.
    """
    size = maps.flatten(1).abs().sort(dim=1).values
    n = size.shape[1]
    place = torch.arange(1, n + 1, dtype=size.dtype, device=size.device)
    return (_shares(size) * (2 * place - n - 1) / max(1, n - 1)).sum(1)


def entropy(maps: Maps) -> Scores:
    """Entropy of |φ| / Σ|φ| in nats: from 0 to the logarithm of the number of values.

    The complexity of Bhatt et al. 2020.
    """
    total: Tensor = torch.special.entr(_shares(maps.flatten(1).abs())).sum(1)
    return total


def effective_voxels(maps: Maps) -> Scores:
    """Over how many values a map is spread: exp(entropy), n for n equal values."""
    return entropy(maps).exp()


def mask_area(masks: Masks, pixel_size: Sequence[float]) -> Scores:
    """Area in µm², or volume in µm³, of a mask; `pixel_size` is µm along each axis."""
    if len(pixel_size) != masks.ndim - 2:
        raise UsageError(
            f"a pixel size of {len(pixel_size)} numbers came for masks of {masks.ndim - 2} axes"
        )
    return masks.flatten(1).sum(1) * math.prod(pixel_size)


def _shares(sizes: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    # first over the largest, so that neither a tiny nor a huge map leaves the range of its type
    sizes = sizes / sizes.amax(1, keepdim=True)
    return sizes / sizes.sum(1, keepdim=True)
