"""Networks and inputs of the comparison with the peers, the same for both sides."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRIDS = (2, 3, 5, 8, 16)
"""How fine the blobs of each of five textures are: what `settled` classifiers tell apart."""


def images(*shape: int, seed: int = 0) -> Tensor:
    """Smooth blobs under a little noise, no two alike."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(*shape[:2], *(max(1, n // 8) for n in shape[2:]), generator=generator)
    mode = {4: "bilinear", 5: "trilinear"}[len(shape)]
    smooth = F.interpolate(coarse, size=shape[2:], mode=mode, align_corners=False)
    return smooth + 0.2 * torch.randn(shape, generator=generator)


def textures(count: int, side: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images of five textures in turn, and which one each of them is."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.arange(count) % len(GRIDS)
    coarse = [torch.randn(1, 1, GRIDS[k], GRIDS[k], generator=generator) for k in kinds.tolist()]
    smooth = [F.interpolate(one, size=(side, side), mode="bilinear") for one in coarse]
    noise = torch.randn(count, 1, side, side, generator=generator)
    return torch.cat(smooth) + 0.2 * noise, kinds


def seeded(build: Callable[..., nn.Module], *args: Any, **options: Any) -> nn.Module:
    """A network with the same weights in every run, ready to be explained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(*args, **options).eval()


def settled(net: nn.Module, steps: int) -> nn.Module:
    """Trained in seconds: a classifier of textures, or a network that smooths what is bright.

    Integrals along a line are easy on random weights of one network and hard on those of another;
    only a network that has learned something says what a method needs.
    """
    optimiser = torch.optim.AdamW(net.train().parameters(), lr=2e-3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for step in range(steps):
            x, kinds = textures(20, 32, 1000 + step)
            out = net(x)
            if out.ndim == 2:
                loss = F.cross_entropy(out, kinds)
            else:
                loss = F.mse_loss(out, F.avg_pool2d(x.relu(), 5, 1, 2))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net.eval()


def resnet(depth: int, dims: int, channels: int, outputs: int) -> nn.Module:
    """MONAI's ResNet, its head made of positive weights.

    Activations are not negative either, so a Grad-CAM is nowhere negative, and pytorch-grad-cam,
    which cuts at 0 before it enlarges, must give the very same numbers.
    """
    from monai.networks.nets import resnet10, resnet18

    net = seeded(
        {10: resnet10, 18: resnet18}[depth],
        spatial_dims=dims,
        n_input_channels=channels,
        num_classes=outputs,
        conv1_t_stride=2,
    )
    with torch.no_grad():
        net.fc.weight.abs_()
    return net


def plain_cnn(
    channels: int,
    outputs: int,
    *,
    width: int = 16,
    act: Callable[[], nn.Module] = nn.ReLU,
    norm: Callable[[int], nn.Module] = nn.Identity,
) -> nn.Module:
    """Four convolutions in 2-D, a pool after each of the first three, a linear head."""
    parts: list[nn.Module] = []
    for before, after in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
        parts += [nn.Conv2d(before, after, 3, padding=1), norm(after), act(), nn.MaxPool2d(2)]
    parts += [nn.Conv2d(4 * width, 4 * width, 3, padding=1), norm(4 * width), act()]
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, outputs)]
    return nn.Sequential(*(part for part in parts if not isinstance(part, nn.Identity)))


def crop_cnn(channels: int, outputs: int, *, width: int = 8) -> nn.Module:
    """Two strided convolutions and a head, for crops of single cells: cheap to run."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, outputs),
    )
