"""The default network is the published table; its options keep what makes it one."""

import math

import pytest
import torch
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.probe import layer_output
from attributome.inpainting.network import Inpainter

SMALL = {"widths": (6, 7, 8, 9, 10), "marker_width": 4}
PUBLISHED = {
    "conv1_1": (2, 96),
    "conv2_1": (96, 256),
    "conv3_1": (256, 384),
    "conv4_1": (384, 384),
    "conv5_1": (384, 256),
    "rfpconv1_1": (1, 16),
    "rfpconv2_1": (16, 32),
    "rfpconv3_1": (32, 32),
    "conv6_1": (288, 256),
    "conv7_1": (256, 384),
    "conv8_1": (384, 384),
    "conv9_1": (384, 256),
    "conv10_1": (256, 96),
}
OPTIONS = [
    {},
    {"norm": "group"},
    {"residual": True},
    {"summary": True},
    {"marker_depth": 1},
    {"marker_depth": 2},
    {"marker_depth": 5},
    {"targets": 2, "markers": 3},
]


def cells(net, n=3, size=8, width=None):
    draw = torch.Generator().manual_seed(1)
    sizes = size, width or size
    source = torch.rand(n, net.targets + net.markers, *sizes, generator=draw)
    return source, torch.rand(n, net.markers, *sizes, generator=draw)


@pytest.fixture(scope="module")
def published():
    with torch.device("meta"):
        return Inpainter()


@pytest.mark.parametrize(
    ("markers", "trainable", "total"), [(1, 7_320_609, 7_323_521), (2, 7_321_617, 7_324_529)]
)
def test_it_has_the_published_number_of_parameters(markers, trainable, total):
    with torch.device("meta"):
        net = Inpainter(1, markers)
    stats = [b for name, b in net.named_buffers() if "running" in name]
    count = sum(p.numel() for p in net.parameters())
    assert count == trainable
    assert count + sum(b.numel() for b in stats) == total


def test_every_layer_is_that_of_the_table(published):
    convs = {
        name.removesuffix(".conv"): (m.in_channels, m.out_channels)
        for name, m in published.named_modules()
        if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) and m.padding == (1, 1)
    }
    assert convs == PUBLISHED
    assert (published.y_gfp.kernel_size, published.y_gfp.weight.shape) == ((1, 1), (1, 96, 1, 1))
    norms = {n: m for n, m in published.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert [*norms] == [f"{name}_norm" for name in (*published.layers, *published.marker_layers)]
    assert {(m.eps, m.momentum) for m in norms.values()} == {(1e-3, 0.01)}


def by_hand(net, source, marker):
    """The table of the published network, row by row."""
    step = dict(net.named_modules())
    pool = nn.MaxPool2d(2)

    def up(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def conv(name, x):
        layer = step[f"{name}.conv"]
        return nn.functional.conv2d(x, layer.weight, layer.bias, padding=1).clamp(min=0)

    def norm(name, x):
        layer = step[f"{name}_norm"]
        shape = (1, -1, 1, 1)
        scale = layer.weight / (layer.running_var + 1e-3).sqrt()
        return (x - layer.running_mean.view(shape)) * scale.view(shape) + layer.bias.view(shape)

    found = {}
    x = source
    for name in ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"):
        found[name] = conv(name, x)
        x = norm(name, found[name])
        x = pool(x) if name in ("conv1_1", "conv2_1") else x
    y = marker
    for name in ("rfpconv1_1", "rfpconv2_1", "rfpconv3_1"):
        y = norm(name, conv(name, y))
        y = pool(y) if name != "rfpconv3_1" else y
    x = torch.cat([x, y], 1)
    x = up(conv("conv8_1", conv("conv7_1", conv("conv6_1", x))))
    x = conv("conv10_1", up(conv("conv9_1", x)))
    return torch.einsum("oi,bihw->bohw", net.y_gfp.weight[:, :, 0, 0], x) + net.y_gfp.bias, found


def stirred(net):
    """Norms and biases that are not at rest, so that leaving one out shows."""
    draw = torch.Generator().manual_seed(2)
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if tensor.ndim == 1:
            low = 0.2 if name.endswith("var") else -0.2
            tensor.data = torch.rand(tensor.shape, generator=draw, dtype=tensor.dtype) + low
    return net


def test_it_computes_the_table():
    net = stirred(Inpainter(**SMALL).double().eval())
    source, marker = (x.double() for x in cells(net, width=12))
    wanted, layers = by_hand(net, source, marker)
    torch.testing.assert_close(net(source, marker), wanted)
    found = net.encode(source)
    assert [*found] == [*layers]
    for name, activation in layers.items():
        torch.testing.assert_close(found[name], activation)


def test_a_summary_is_the_mean_of_the_source_at_every_place():
    net = stirred(Inpainter(**SMALL, summary=True).double().eval())
    source, marker = (x.double() for x in cells(net, width=12))
    seen = []
    net.conv6_1.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net(source, marker)
    told = seen[0][:, : net.kwargs["widths"][-1]]
    mean = net.conv5_1_norm(net.encode(source)["conv5_1"]).mean((2, 3), keepdim=True)
    torch.testing.assert_close(told, mean.expand_as(told))
    assert told.shape[2:] == (2, 3)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_keeps_the_shapes_and_the_batch(options):
    net = stirred(Inpainter(**SMALL | options).double().eval())
    source, marker = (x.double() for x in cells(net, width=16))
    out = net(source, marker)
    assert out.shape == (3, net.targets, 8, 16)
    for i in range(3):
        torch.testing.assert_close(net(source[i : i + 1], marker[i : i + 1])[0], out[i])
    assert not torch.allclose(net(source.flip(0), marker), out)
    assert not torch.allclose(net(source, marker.flip(0)), out)
    sizes = [tuple(x.shape[1:]) for x in net.encode(source).values()]
    assert sizes == [(6, 8, 16), (7, 4, 8), (8, 2, 4), (9, 2, 4), (10, 2, 4)]
    again = Inpainter(**net.kwargs)
    assert {n: t.shape for n, t in again.state_dict().items()} == {
        n: t.shape for n, t in net.state_dict().items()
    }


@pytest.mark.parametrize("options", [{}, {"residual": True}, {"norm": "group"}], ids=str)
def test_a_named_layer_is_what_encode_gives(options):
    net = stirred(Inpainter(**SMALL | options).eval())
    source, marker = cells(net)
    found = net.encode(source)
    for name in net.layers:
        kept = []
        layer = net.get_submodule(name)
        handle = layer.register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(out))
        net(source, marker)
        handle.remove()
        torch.testing.assert_close(kept[0], found[name])
        assert (found[name] >= 0).all()
        assert (found[name] == 0).any()

    class SourceOnly(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x, marker)

    torch.testing.assert_close(layer_output(SourceOnly(), "net.conv3_1", source), found["conv3_1"])


def test_group_norm_keeps_the_batch_in_training_and_batch_norm_does_not():
    for norm, alone in (("group", True), ("batch", False)):
        net = Inpainter(**SMALL, norm=norm).double().train()
        source, marker = (x.double() for x in cells(net))
        same = torch.allclose(net(source, marker)[:2], net(source[:2], marker[:2]))
        assert same is alone


def test_it_starts_as_keras_does_and_by_its_seed_alone():
    before = torch.get_rng_state()
    net = Inpainter(widths=(8, 16, 16, 16, 8))
    assert torch.equal(torch.get_rng_state(), before)
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            area = layer.weight[0, 0].numel()
            limit = math.sqrt(6 / ((layer.in_channels + layer.out_channels) * area))
            assert 0.8 * limit < layer.weight.abs().max() <= limit, name
            assert not layer.bias.any()
    seeds = [Inpainter(**SMALL, seed=seed).conv3_1.conv.weight for seed in (0, 0, 1)]
    assert torch.equal(seeds[0], seeds[1])
    assert not torch.equal(seeds[0], seeds[2])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"markers": 0}, "1 target and 0 marker channels; it needs at least one of each"),
        ({"widths": (1, 2)}, r"widths \[1, 2\] and marker_width 16: give five widths"),
        ({"widths": (1, 2, 0, 4, 5)}, "each at least 1"),
        ({"marker_depth": 0}, "marker_depth 0: give at least one"),
    ],
)
def test_what_cannot_be_built_is_refused(options, says):
    with pytest.raises(UsageError, match=says):
        Inpainter(**options)


def test_images_that_do_not_fit_are_refused():
    net = Inpainter(1, 2, **SMALL)
    source, marker = cells(net)
    with pytest.raises(UsageError, match="reads 3 channels .1 to predict, then 2 markers"):
        net(source[:, :2], marker)
    with pytest.raises(UsageError, match=r"sizes divisible by 4"):
        net(source[..., :6], marker[..., :6])
    with pytest.raises(UsageError, match=r"it must be \(b, 2, 8, 8\)"):
        net(source, marker[:, :1])
