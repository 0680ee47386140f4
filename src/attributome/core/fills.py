"""What replaces the pixels that a mask takes away: noise, or a version of the image without detail.

Each fill is `(x, generator, scale) -> x-shaped tensor`; images are z-scored, so `scale` counts in
standard deviations of the image.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.seeds import seed_of
from attributome.core.types import Images

Fill = Callable[[Images, torch.Generator, float], Images]


def gaussian(x: Images, generator: torch.Generator, scale: float) -> Images:
    """Independent normal noise of standard deviation `scale`, the same in every channel."""
    one = torch.randn(x[:, :1].shape, generator=generator, device=generator.device)
    return one.mul_(scale).to(x).expand_as(x)


def gaussian_channels(x: Images, generator: torch.Generator, scale: float) -> Images:
    """Independent normal noise of standard deviation `scale`, drawn for every channel."""
    noise = torch.randn(x.shape, generator=generator, device=generator.device)
    return noise.mul_(scale).to(x)


def blur(x: Images, generator: torch.Generator, scale: float) -> Images:
    """The image smoothed until its detail is gone: a Gaussian of `4 * scale` pixels."""
    width = 4 * scale
    radius = max(1, int(3 * width))
    grid = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (grid / width) ** 2)
    kernel = kernel / kernel.sum()
    for axis in range(2, x.ndim):
        # clamped indices repeat the border, whatever the image's size
        reach = torch.arange(-radius, x.shape[axis] + radius, device=x.device)
        lines = x.index_select(axis, reach.clamp(0, x.shape[axis] - 1)).movedim(axis, -1)
        rows = F.conv1d(lines.reshape(-1, 1, lines.shape[-1]), kernel.view(1, 1, -1))
        x = rows.view(*lines.shape[:-1], -1).movedim(-1, axis)
    return x


def permuted(x: Images, generator: torch.Generator, scale: float) -> Images:
    """The image's own pixels in random order: its histogram is kept, `scale` is not used."""
    pixels = x[0, 0].numel()
    order = [torch.randperm(pixels, generator=generator, device=generator.device) for _ in x]
    index = torch.stack(order).to(x.device)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, index).view_as(x)


def mean(x: Images, generator: torch.Generator, scale: float) -> Images:
    """The mean of the data set, which is 0 after z-scoring."""
    return torch.zeros_like(x)


FILLS: dict[str, Fill] = {
    f.__name__: f for f in (gaussian, gaussian_channels, blur, permuted, mean)
}


def fill_named(name: str) -> Fill:
    """The fill of that name, or which names there are."""
    if name not in FILLS:
        raise UsageError(f"no noise kind {name!r}; choose one of {sorted(FILLS)}")
    return FILLS[name]


def fill_for(
    x: Images, ids: Sequence[str], kind: str, *, scale: float, seed: int, draw: int = 0
) -> Images:
    """The fill of each sample from its own seed: the same however a data set is split or batched.

    Drawn on the host, so that every device sees the same numbers.
    """
    fill = fill_named(kind)
    fills = torch.empty_like(x)
    for image, into, name in zip(x, fills, ids, strict=True):
        generator = torch.Generator().manual_seed(seed_of(seed, name, "fill", draw))
        into.copy_(fill(image[None], generator, scale)[0])
    return fills


def fill_batch(x: Images, kind: str, *, scale: float, seed: int, step: int) -> Tensor:
    """The fill of one training step, drawn on the device of `x`."""
    generator = torch.Generator(x.device).manual_seed(seed_of(seed, "step", step))
    return fill_named(kind)(x, generator, scale)
