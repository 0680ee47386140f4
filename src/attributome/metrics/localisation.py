"""Whether the mask lies where the evidence is known to be, or where a structure is segmented.

All are NaN where a region or a signature is empty: undefined, to be counted and not averaged.
"""

from jaxtyping import Bool
from torch import Tensor

from attributome.core.types import Masks, Scores

Region = Bool[Tensor, "b 1 *s"]


def recall(masks: Masks, region: Region) -> Scores:
    """Share of the region that the binary mask keeps."""
    return _sum(masks * region) / _sum(region)


def precision(masks: Masks, region: Region) -> Scores:
    """Share of the binary mask that lies in the region."""
    return _sum(masks * region) / _sum(masks)


def mean_inside(maps: Masks, region: Region) -> Scores:
    """Mean importance inside the region."""
    return _sum(maps * region) / _sum(region)


def context(masks: Masks, region: Region) -> Scores:
    """Mask size over the share of the mask inside the region: how much surrounding is needed.

    Infinite where mask and region do not meet (Mask Interpreter).
    """
    return masks.flatten(1).mean(1) / precision(masks, region)


def _sum(x: Tensor) -> Tensor:
    return x.flatten(1).float().sum(1)
