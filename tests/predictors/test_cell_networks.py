"""Networks for crops of cells: strides, grids, and MONAI's own numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attributome.core.errors import UsageError
from attributome.predictors.cells import (
    SamePad,
    _efficientnet,
    cam_grid,
    cell_network,
    choose_strides,
)

FLAT, DEEP = ((32, 32), None), ((5, 33, 26), (2.0, 0.3, 0.3))


@pytest.mark.parametrize(
    ("kind", "version", "size", "spacing"),
    [
        ("small", None, *FLAT),
        ("small", None, (8, 24, 24), (0.6, 0.3, 0.3)),
        ("small", None, *DEEP),
        ("resnet", "10", *DEEP),
        ("resnet", "50", *FLAT),
        ("efficientnet", "b0", *FLAT),
        ("efficientnet", "b0", *DEEP),
    ],
    ids=str,
)
def test_maps_have_the_grid_that_was_promised(kind, version, size, spacing):
    net = cell_network(2, 3, size=size, kind=kind, version=version, spacing=spacing).eval()
    x = torch.randn(2, 2, *size)
    with torch.no_grad():
        maps, out = net.maps(x), net(x)
        alone = torch.cat([net(x[:1]), net(x[1:])])
    assert tuple(maps.shape[2:]) == net.grid == cam_grid(net, net.cam_layer, size, channels=2)
    assert min(net.grid) >= 4
    assert out.shape == (2, 3)
    torch.testing.assert_close(out, net.logits(maps))
    torch.testing.assert_close(out, alone, rtol=1e-4, atol=1e-5)
    # what is explained is linear in the mean of the maps: the closed form of Grad-CAM holds
    torch.testing.assert_close(out, net.head(maps.flatten(2).mean(2)), rtol=1e-4, atol=1e-5)


def test_axes_of_coarse_voxels_are_halved_later():
    assert choose_strides((16, 32, 32), 3, spacing=(0.6, 0.3, 0.3)) == (
        (1, 2, 2),
        (2, 2, 2),
        (2, 2, 2),
    )
    assert choose_strides((16, 32, 32), 2, spacing=(3.0, 0.3, 0.3)) == ((1, 2, 2), (1, 2, 2))
    # y and x have reached four cells, and z may go on
    assert choose_strides((16, 8, 8), 4, spacing=(3.0, 0.3, 0.3)) == (
        (1, 2, 2),
        (2, 1, 1),
        (2, 1, 1),
        (1, 1, 1),
    )
    assert choose_strides((64, 64), 5, cam_cells=16) == ((2, 2), (2, 2), (1, 1), (1, 1), (1, 1))


def test_efficientnet_gives_monais_numbers_where_the_strides_are_its_own():
    from monai.networks.nets.efficientnet import EfficientNetBN

    torch.manual_seed(1)
    theirs = EfficientNetBN("efficientnet-b0", pretrained=False, in_channels=2, num_classes=3)
    ours, features = _efficientnet(2, (224, 224), "b0", ((2, 2),) * 5)
    weights = [*theirs.named_parameters()], [*ours.named_parameters()]
    with torch.no_grad():
        for (name, theirs_one), (_, ours_one) in zip(weights[0][:-2], weights[1], strict=True):
            assert "_fc" not in name
            ours_one.copy_(theirs_one)
    x = torch.randn(1, 2, 224, 224)
    with torch.no_grad():
        pooled = ours.eval()(x).mean((2, 3))
        expected = theirs.eval()(x)
        found = F.linear(pooled, theirs._fc.weight, theirs._fc.bias)
    assert features == 1280
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n", "k", "s"), [(7, 3, 2), (8, 3, 2), (5, 5, 2), (4, 5, 1), (9, 1, 2)])
def test_same_padding_keeps_the_ceiling(n, k, s):
    x = torch.randn(1, 1, n, 6)
    padded = SamePad((k, 3), (s, 1))(x)
    out = F.conv2d(padded, torch.randn(1, 1, k, 3), stride=(s, 1))
    assert out.shape[2:] == (-(-n // s), 6)
    if s == 1:
        weight = torch.randn(1, 1, k, 3)
        same = F.conv2d(x, weight, padding="same")
        torch.testing.assert_close(F.conv2d(padded, weight), same)


def test_weights_are_drawn_by_the_seed_and_nothing_else():
    before = torch.get_rng_state()
    nets = [cell_network(1, 2, size=(16, 16), kind="small", seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    a, b, c = (net.head.weight for net in nets)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize("size", [(24, 24), (8, 24, 24)], ids=str)
def test_a_quiet_network_is_another_start_of_the_same_network(size):
    loud, quiet = (
        cell_network(1, 2, size=size, kind="small", width=4, quiet=by, dropout=0.0)
        for by in (0.0, 1.5)
    )
    differ = {n for n, w in quiet.state_dict().items() if not torch.equal(w, loud.state_dict()[n])}
    assert differ == {"body.10.bias"}
    assert torch.equal(quiet.body[10].bias, torch.full((16,), -1.5))
    loud.load_state_dict(quiet.state_dict())
    x = torch.randn(2, 1, *size)
    assert torch.equal(loud(x), quiet(x))


def test_a_quiet_network_is_silent_where_nothing_is_to_be_seen():
    draw = torch.Generator().manual_seed(0)
    x = 0.1 * torch.randn(8, 1, 12, 32, 32, generator=draw)
    x[..., 4:8, 12:20, 12:20] += 2 * torch.rand(8, 1, 4, 8, 8, generator=draw)
    far, levels = torch.ones(12, 16, 16, dtype=torch.bool), []
    far[2:10, 4:12, 4:12] = False
    for quiet in (0.0, 1.0):
        net = cell_network(1, 2, size=(12, 32, 32), kind="small", cam_cells=12, quiet=quiet).train()
        with torch.no_grad():
            maps = net.maps(x)
        assert net.grid == (12, 16, 16)
        levels.append(maps[..., far].mean() / maps[..., ~far].mean())
        assert maps[..., ~far].mean() > 0.05
    assert levels[1] < levels[0] / 3


def test_channels_are_scaled_by_what_is_kept_with_the_weights():
    net = cell_network(2, 2, size=(16, 16), kind="small")
    net.scale.set(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 4.0]))
    x = torch.ones(1, 2, 16, 16)
    torch.testing.assert_close(net.scale(x)[0, :, 0, 0], torch.tensor([0.0, -0.25]))
    assert {"scale.mean", "scale.spread"} <= {*net.state_dict()}
    with pytest.raises(UsageError, match="above 0"):
        net.scale.set(torch.zeros(2), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (16,)},
        {"classes": 1},
        {"size": (3, 32, 32)},
        {"cam_cells": 3},
        {"spacing": (1.0, 0.0)},
        {"spacing": (1.0,)},
        {"version": "b9"},
        {"kind": "resnet", "version": "7"},
        {"dropout": 1.0},
        {"kind": "small", "quiet": -1.0},
        {"kind": "resnet", "quiet": 1.0},
    ],
    ids=str,
)
def test_networks_that_cannot_be_are_refused(wrong):
    with pytest.raises(UsageError):
        cell_network(**{"channels": 2, "classes": 3, "size": (32, 32), **wrong})


def test_a_layer_that_is_too_coarse_is_refused():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, stride=4), nn.Conv2d(2, 2, 3, stride=2), nn.Flatten())
    assert cam_grid(net, "0", (32, 32), channels=1) == (8, 8)
    for layer in ("1", "2"):
        with pytest.raises(UsageError, match="at least 4 cells"):
            cam_grid(net, layer, (32, 32), channels=1)
