"""What an inpainter may be trained to make small; each compares images as float32 or better."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from attributome.core.errors import UsageError

Images = Float[Tensor, "b c h w"]
Truth = Float[Tensor, "n k y x"]
"""Of the same shape, which is said in words where it is not."""

Loss = Callable[[Tensor, Tensor], Tensor]

WINDOW, SIGMA = 11, 1.5
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""How much each scale counts, finest first (Wang et al. 2003)."""

STEADY = 0.01**2, 0.03**2
"""What keeps luminance and contrast defined where an image is flat, for values in 0..1."""

LEAST = 1e-4
"""A scale's similarity is never less: a root of 0 has no slope, one of less no value."""


def mse(prediction: Images, truth: Truth) -> Float[Tensor, ""]:
    """Mean squared error over cells, channels and pixels: the published loss."""
    return F.mse_loss(*_alike(prediction, truth))


def l1(prediction: Images, truth: Truth) -> Float[Tensor, ""]:
    """Mean absolute error over cells, channels and pixels."""
    return F.l1_loss(*_alike(prediction, truth))


def ms_ssim(prediction: Images, truth: Truth) -> Float[Tensor, ""]:
    """1 minus the multi-scale structural similarity (Wang et al. 2003), mean over cells, channels.

    For values in 0..1. As many of the five scales are used as leave 11 pixels to a side, and their
    weights are scaled to sum to 1: three for the published crops of 64 pixels.
    """
    x, y = _alike(prediction, truth)
    side = min(x.shape[2:])
    if side < WINDOW:
        raise UsageError(
            f"ms_ssim looks through windows of {WINDOW} pixels; crops of {tuple(x.shape[2:])} are "
            f"too small for it: use mse or l1"
        )
    scales = [w for level, w in enumerate(SCALES) if side // 2**level >= WINDOW]
    total = torch.zeros(x.shape[:2], dtype=x.dtype, device=x.device)
    for level, weight in enumerate(scales):
        if level:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        whole, structure = _similarity(x, y)
        kept = whole if level == len(scales) - 1 else structure
        total = total + kept.clamp(min=LEAST).log() * (weight / sum(scales))
    return 1 - total.exp().mean()


LOSSES: dict[str, Loss] = {"mse": mse, "l1": l1, "ms_ssim": ms_ssim}


def _alike(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float32 or better, and of one shape: broadcasting would compare other cells."""
    if prediction.shape != truth.shape:
        raise UsageError(
            f"a prediction of shape {tuple(prediction.shape)} cannot be compared with a truth of "
            f"{tuple(truth.shape)}"
        )
    kind = torch.promote_types(torch.promote_types(prediction.dtype, truth.dtype), torch.float32)
    return prediction.to(kind), truth.to(kind)


def _similarity(x: Tensor, y: Tensor) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
    """Structural similarity of each cell and channel, and its part of contrast and structure."""
    bright, rough = STEADY
    mean_x, mean_y = _blurred(x), _blurred(y)
    spread = _blurred(x * x) - mean_x**2 + _blurred(y * y) - mean_y**2
    shared = _blurred(x * y) - mean_x * mean_y
    structure = (2 * shared + rough) / (spread + rough)
    light = (2 * mean_x * mean_y + bright) / (mean_x**2 + mean_y**2 + bright)
    return (light * structure).mean((2, 3)), structure.mean((2, 3))


def _blurred(x: Tensor) -> Tensor:
    """Mean under a Gaussian window, wherever the whole window fits."""
    at = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    window = torch.exp(-(at**2) / (2 * SIGMA**2))
    window = (window / window.sum()).expand(x.shape[1], 1, -1)
    with torch.autocast(x.device.type, enabled=False):  # differences of squares need the digits
        rows = F.conv2d(x, window[..., None], groups=x.shape[1])
        return F.conv2d(rows, window[:, :, None], groups=x.shape[1])
