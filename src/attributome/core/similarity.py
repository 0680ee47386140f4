"""How alike two images are, one number per sample, differentiable, the same in 2-D and 3-D."""

import torch
import torch.nn.functional as F
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.types import Images, Scores


def ssim(
    a: Images, b: Images, *, data_range: float | Tensor | None = None, sigma: float = 1.5
) -> Scores:
    """Structural similarity in Gaussian windows (Wang et al. 2004), averaged over channels.

    `data_range` is the span of values: a number, one per sample `(b,)`, or max − min of each
    sample of `b`. Windows reach 3.5 sigma and lie whole inside the image, as in scikit-image with
    `gaussian_weights=True, use_sample_covariance=False`. An axis of one voxel is left out, so that
    a plane in 3-D is worth what it is in 2-D. NaN where the range is 0: similarity is undefined.
    """
    radius = int(3.5 * sigma + 0.5)
    axes = [axis for axis in range(2, a.ndim) if a.shape[axis] > 1]
    if short := [a.shape[axis] for axis in axes if a.shape[axis] <= 2 * radius]:
        raise UsageError(
            f"an axis of {short[0]} pixels is shorter than the window of {2 * radius + 1} pixels "
            f"in which similarity is measured: give a sigma below {sigma}"
        )
    if data_range is None:
        data_range = b.flatten(1).amax(1) - b.flatten(1).amin(1)
    span = torch.as_tensor(data_range, dtype=a.dtype, device=a.device).expand(len(a))
    span = torch.where(span > 0, span, torch.nan).view(-1, *[1] * (a.ndim - 1))
    grid = torch.arange(-radius, radius + 1, dtype=a.dtype, device=a.device)
    kernel = torch.exp(-0.5 * (grid / sigma) ** 2)
    kernel = kernel / kernel.sum()

    def smooth(x: Tensor) -> Tensor:
        for axis in axes:
            lines = x.movedim(axis, -1)
            rows = F.conv1d(lines.reshape(-1, 1, lines.shape[-1]), kernel.view(1, 1, -1))
            x = rows.view(*lines.shape[:-1], -1).movedim(-1, axis)
        return x

    # about their common level, or the variance of a bright flat image drowns in rounding
    level = b.flatten(2).mean(2).view(*b.shape[:2], *[1] * (b.ndim - 2)).detach()
    a, b = a - level, b - level
    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    both = smooth(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    top, bottom = mean_a + level, mean_b + level
    bright = (2 * top * bottom + c1) / (top**2 + bottom**2 + c1)
    return (bright * (2 * both + c2) / (var_a + var_b + c2)).flatten(1).mean(1)


def soft_above(x: Tensor, threshold: float, softness: float) -> Tensor:
    """1 above the threshold and 0 below it, over about four times `softness`; 0 is a sharp step."""
    return torch.sigmoid((x - threshold) / softness) if softness else (x > threshold).to(x)


def dice(a: Tensor, b: Tensor) -> Scores:
    """Overlap 2ab / (a² + b²) of two masks in [0, 1] (Milletari et al. 2016); NaN if both are 0.

    The squares make it 1 for equal soft masks, and change nothing for binary ones.
    """
    a, b = a.flatten(1), b.flatten(1)
    return 2 * (a * b).sum(1) / (a.square().sum(1) + b.square().sum(1))
