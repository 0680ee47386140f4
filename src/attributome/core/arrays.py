"""Small pure tensor helpers, the same in 2-D and 3-D."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from attributome.core.types import Images, Maps, Masks, Scores


def space(x: Tensor) -> tuple[int, ...]:
    """Indices of the spatial dimensions of `(b, c, *s)`."""
    return tuple(range(2, x.ndim))


def per_sample(values: Float[Tensor, " b"], like: Tensor) -> Tensor:
    """Shape `(b,)` into `(b, 1, …, 1)` so that it multiplies `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


def resize(maps: Float[Tensor, "b k *t"], like: Images) -> Maps:
    """Interpolate maps to the spatial size of `like` (half-pixel centres)."""
    mode = {4: "bilinear", 5: "trilinear"}[maps.ndim]
    return F.interpolate(maps, size=like.shape[2:], mode=mode, align_corners=False)


def mix(x: Images, masks: Masks, fill: Images) -> Images:
    """Keep `x` where the mask is 1 and put `fill` where it is 0."""
    return torch.lerp(fill, x, masks.to(x))  # exact at 0 and at 1


def pearson(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Scores:
    """Pearson correlation per sample over everything but the batch, optionally weighted.

    0 where either side is constant: a constant prediction agrees with nothing. `weight` has the
    shape of `a` or broadcasts to it; where it is 0 the voxel does not count at all.
    """
    if weight is None:  # without products of its own: a large field holds few copies
        a, b = a.flatten(1), b.flatten(1)
        count = a.shape[1]
        a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
        ab, aa, bb = (torch.linalg.vecdot(p, q) / count for p, q in ((a, b), (a, a), (b, b)))
    else:
        w = weight.to(a).expand_as(a).flatten(1)
        w = w / w.sum(1, keepdim=True).clamp_min(torch.finfo(a.dtype).tiny)
        a, b = a.flatten(1), b.flatten(1)
        a, b = (v - (w * v).sum(1, keepdim=True) for v in (a, b))
        ab, aa, bb = ((w * p * q).sum(1) for p, q in ((a, b), (a, a), (b, b)))
    power = aa * bb
    flat = power <= torch.finfo(a.dtype).eps ** 2
    # the square root of a zero has an infinite gradient, which `where` alone would turn into NaN
    return torch.where(flat, 0.0, ab / torch.where(flat, 1.0, power).sqrt())


def top_share(maps: Masks, share: float | Float[Tensor, " b"]) -> Masks:
    """Keep exactly the `share` of each sample's pixels that score highest, as a 0/1 mask.

    Ties are broken by position, so that the size is exact even for a constant map; `share` times
    the number of pixels is rounded, and at least one pixel is kept when `share` is above 0.
    """
    flat = maps.flatten(1)
    shares = torch.as_tensor(share, dtype=torch.float64, device=maps.device).expand(len(flat))
    count = (shares * flat.shape[1]).round().long().clamp(0, flat.shape[1])
    count = torch.where((shares > 0) & (count == 0), 1, count)
    order = flat.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(flat.shape[1], device=maps.device).expand_as(order)
    )
    return (rank < count[:, None]).to(maps).view_as(maps)


def mask_size(masks: Masks) -> Scores:
    """Share of the image that is kept (mean of the mask)."""
    return masks.flatten(1).mean(1)


def above(maps: Masks, threshold: float) -> Masks:
    """The binary signature: 1 where the map is above the threshold."""
    kept: Bool[Tensor, "b 1 *s"] = maps > threshold
    return kept.to(maps)
