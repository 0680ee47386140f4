"""The network of the contract suites."""

import math

import torch
from torch import nn

SIZES = {2: (8, 6), 3: (4, 6, 4)}
"""Of the images; axes differ, so that mixing them up shows."""


def mixed_cnn(
    dims: int, channels: int = 2, *, seed: int = 0, images_out: bool = False
) -> nn.Sequential:
    """A classifier of five classes, in double precision, in which careless restoring shows.

    It is in training mode but for one batch norm, has in-place activations, dropout, a frozen
    weight and a gradient that somebody else left. Made without the global random state. With
    `images_out` it answers with five channels on the grid of the images instead.
    """
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
    cells = math.prod(-(-length // 2) for length in SIZES[dims])
    first = conv(channels, 4, 3, padding=1, device="meta")
    frozen, stride = norm(4, device="meta"), 1 if images_out else 2
    last: nn.Module = conv(4, 5, 1, device="meta")
    if not images_out:
        last = nn.Linear(4 * cells, 5, device="meta")
    net = nn.Sequential(
        first,
        frozen,
        nn.ReLU(inplace=True),
        conv(4, 4, 3, stride=stride, padding=1, device="meta"),
        norm(4, device="meta"),
        nn.ReLU(inplace=True),
        nn.Dropout(0.3),
        nn.Identity() if images_out else nn.Flatten(),
        last,
    )
    net.to_empty(device="cpu").double().train()
    frozen.eval()
    draw = torch.Generator().manual_seed(seed)
    for values in net.state_dict().values():
        if not values.is_floating_point():
            values.zero_()
        elif values.ndim > 1:
            values.normal_(generator=draw).div_(values[0].numel() ** 0.5)
        else:
            values.uniform_(0.5, 1.5, generator=draw)
    first.weight.requires_grad_(False)
    for parameter in last.parameters():
        parameter.grad = torch.ones_like(parameter)
    return net
