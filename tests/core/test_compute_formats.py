"""The memory format of a placed network, and of the one layer for which it would be dangerous."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from attributome.core.compute import Compute, skips

CPU = Compute()
LAST = {2: torch.channels_last, 3: torch.channels_last_3d}

CRASH = """
import torch
from torch import nn
from attributome.core.compute import Compute

torch.set_num_threads(1)
for turn in range(25):
    torch.manual_seed(turn)
    net = nn.Conv2d(4, 8, 1, stride=2, bias=False)
    x = torch.randn(8, 4, 16, 16)
    right = nn.Conv2d(4, 8, 1, stride=2, bias=False).double()
    right.load_state_dict(net.state_dict())
    Compute().place(net.to(memory_format=torch.channels_last), 2)
    up = torch.randn(8, 8, 8, 8)
    net(Compute().move(x)).backward(up)
    right(x.double()).backward(up.double())
    assert (net.weight.grad - right.weight.grad).abs().max() < 1e-3
print("whole")
"""


class Shortcut(nn.Module):
    """A residual block whose way around halves the field."""

    def __init__(self, dims, stride):
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.first = conv(4, 8, 3, stride=stride, padding=1)
        self.around = conv(4, 8, 1, stride=stride)

    def forward(self, x):
        return torch.relu(self.first(x)) + self.around(x)


def formats_seen(net, x):
    """The format in which each convolution gets its input: whether it is contiguous."""
    seen = {}
    handles = [
        layer.register_forward_hook(
            lambda _layer, inputs, _out, name=name: seen.update({name: inputs[0].is_contiguous()})
        )
        for name, layer in net.named_children()
    ]
    net(x)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("stride", [1, 2])
def test_a_strided_shortcut_stays_contiguous_and_nothing_else_does(dims, stride):
    net = CPU.place(Shortcut(dims, stride).to(memory_format=LAST[dims]), dims)
    x = CPU.move(torch.rand(2, 4, *[6] * dims))
    assert net.first.weight.is_contiguous(memory_format=LAST[dims])
    assert net.around.weight.stride()[-1] == (1 if stride == 2 else 4)
    assert formats_seen(net, x) == {"first": False, "around": stride == 2}
    assert skips(net) == ([net.around] if stride == 2 else [])


def test_gradients_are_those_of_the_contiguous_network(dims):
    torch.manual_seed(0)
    plain = Shortcut(dims, 2).double()
    placed = CPU.place(CPU.place(copy.deepcopy(plain), dims), dims)
    assert len(placed.around._forward_pre_hooks) == 1
    x = torch.rand(3, 4, *[7] * dims, dtype=torch.float64)
    grads = []
    for net, seen in ((plain, x), (placed, CPU.move(x))):
        seen = seen.detach().requires_grad_()
        net(seen).square().sum().backward()
        grads.append([seen.grad, *(weight.grad for weight in net.parameters())])
    for one, other in zip(*grads, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


def test_the_weight_gradient_of_a_strided_shortcut_writes_nowhere_else():
    """In another process, because without the guard it dies; as on a CPU without AVX-512."""
    told = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "MALLOC_CHECK_": "3"}
    done = subprocess.run(
        [sys.executable, "-c", CRASH], env=told, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout.strip()) == (0, "whole"), done.stderr
