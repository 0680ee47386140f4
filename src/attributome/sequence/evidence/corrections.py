"""What may be done to a map before it is looked at, and what upstream did under the same names.

`maps` and `images` have one shape, (b, bins, n, n). The support of an image is where it is above 0:
the words that the sequence holds. Off the support ours give 0: an absent word has no window to
stand at. Position channels are one image, whose support is that of all channels.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Maps = Float[Tensor, "b bins n n"]
Correction = Callable[[Tensor, Tensor], Tensor]


def per_share(maps: Maps, images: Maps) -> Maps:
    """Each map value over its pixel's value, on the support: what a whole image of that word says.

    For contributions, which are a slope times a pixel, that is the slope again: words that stand
    often and words that stand once compare. It is no contribution any more and sums to nothing.
    """
    held = images > 0
    return torch.where(held, maps / torch.where(held, images, 1), 0)


def simplex_tangent(maps: Maps, images: Maps) -> Maps:
    """The part of a gradient along which an image stays one: less its mean over the support.

    An image sums to 1, so a constant added to the gradient changes nothing that a sequence could
    show. This is the orthogonal projection onto changes of the words that are there, which sum to
    0; it is for gradients, and makes of contributions something that sums to 0.
    """
    held = (images > 0).to(maps)
    size = held.flatten(1).sum(1).clamp(min=1)
    mean = (held * maps).flatten(1).sum(1) / size
    return held * (maps - mean.view(-1, 1, 1, 1))


def support_median(maps: Maps, images: Maps) -> Maps:
    """Median over the words of the support among the 3 x 3 pixels around each of them.

    Caveat: neighbours in the image are words with another first letter only within their 2 x 2
    block; across block borders they share less and less of their suffix, and across the middle
    nothing. A word without such a neighbour keeps its value; of an even number the mean of the two
    in the middle counts. It does not keep the total.
    """
    held = images > 0
    values = torch.where(held, maps, torch.nan)
    windows = _around(values)  # (b, bins, n, n, 9)
    ordered = windows.sort(-1).values  # NaN last
    count = (~windows.isnan()).sum(-1, keepdim=True)
    low = ordered.gather(-1, ((count - 1) // 2).clamp(min=0))
    high = ordered.gather(-1, (count // 2).clamp(max=8))
    return torch.where(held, ((low + high) / 2)[..., 0], 0)


def upstream_normalize(maps: Maps, images: Maps) -> Maps:
    """Upstream's `normalize`: A / (|F| + 1e-8), everywhere.

    What a map says of an absent word is multiplied by 1e8; only maps that are exactly 0 there, as
    integrated gradients from the empty image, survive, as the mean gradient.
    """
    return maps / (images.abs() + 1e-8)


def upstream_filter(maps: Maps, images: Maps) -> Maps:
    """Upstream's `filter`: a 3 x 3 median over all pixels, edges reflected.

    A map on isolated pixels becomes 0 everywhere.
    """
    from scipy.ndimage import median_filter

    found = median_filter(maps.detach().cpu().numpy(), size=(1, 1, 3, 3), mode="reflect")
    return torch.from_numpy(found).to(maps)


def upstream_tangent(maps: Maps, images: Maps) -> Maps:
    """Upstream's `tangent`: A g / ((sqrt(g) + 1e-8)^2 + 1e-8), g the squared Sobel slope of F.

    It is called a projection and is a mask: 1 where the image has a slope, 0 at an isolated pixel,
    whose own Sobel slope is 0, so that it takes away nearly all that lies on the support.
    """
    from scipy.ndimage import sobel

    image = images.detach().cpu().numpy()
    slope = np.square(sobel(image, axis=2)) + np.square(sobel(image, axis=3))
    size = np.sqrt(slope) + 1e-8
    return maps * torch.from_numpy(slope / (size**2 + 1e-8)).to(maps)


CORRECTIONS: dict[str, Correction] = {
    one.__name__: one for one in (per_share, simplex_tangent, support_median)
}
UPSTREAM_CORRECTIONS: dict[str, Correction] = {
    "normalize": upstream_normalize,
    "filter": upstream_filter,
    "tangent": upstream_tangent,
}


def _around(values: Tensor) -> Tensor:
    """The 3 x 3 pixels around each, NaN beyond the edges."""
    padded = F.pad(values, (1, 1, 1, 1), value=float("nan"))
    return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)
