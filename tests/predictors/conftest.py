"""Tiny predictors, and how other people save theirs."""

import warnings

import pytest
import torch
from torch import nn


class Levels(nn.Module):
    """An image-to-image network whose sizes must be divisible by 2^levels, in mixed mode."""

    def __init__(self, levels=3, dims=2, channels=1):
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
        back = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[dims]
        self.first = conv(channels, 4, 3, padding=1)
        self.norm = norm(4)
        self.down = conv(4, 4, 2**levels, stride=2**levels)
        self.up = back(4, 4, 2**levels, stride=2**levels)
        self.last = conv(8, 1, 1)

    def forward(self, x):
        top = torch.relu(self.norm(self.first(x)))
        return self.last(torch.cat([top, self.up(torch.relu(self.down(top)))], dim=1))


@pytest.fixture
def make():
    """Networks with the same weights every time, in evaluation mode."""

    def make(kind=Levels, **kwargs):
        torch.manual_seed(0)
        net = kind(**kwargs)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
        return net.eval()

    return make


@pytest.fixture
def saved(tmp_path):
    """Save a network as `script`, `trace`, `exported` or `dynamic` and return the path."""

    def save(net, how, example):
        path = tmp_path / f"{how}.{'pt2' if how in ('exported', 'dynamic') else 'pt'}"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            if how == "script":
                torch.jit.script(net).save(path)
            elif how == "trace":
                torch.jit.trace(net, example).save(path)
        if how == "exported":
            torch.export.save(torch.export.export(net, (example,)), path)
        elif how == "dynamic":
            dim = torch.export.Dim
            axes = {axis: 8 * dim(f"n{axis}") for axis in range(2, example.ndim)}
            free = ({0: dim("b"), **axes},)
            torch.export.save(torch.export.export(net, (example,), dynamic_shapes=free), path)
        return path

    return save
