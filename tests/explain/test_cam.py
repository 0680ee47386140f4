"""Class activation maps: right, signed, for each sample by itself, in 2-D as in 3-D."""

import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from torch import nn

from attributome.core.arrays import resize
from attributome.core.errors import UsageError
from attributome.core.probe import layer_gradient
from attributome.core.targets import Logit, OutputSum
from attributome.explain import cam
from oracles import cams as oracle

NAMES = (
    "grad_cam",
    "grad_cam_plus_plus",
    "xgrad_cam",
    "hires_cam",
    "layer_cam",
    "eigen_cam",
    "eigen_grad_cam",
)
CLASSES = torch.tensor([3, 0, 2])


class Net(nn.Module):
    """Two layers, a grid of half the size, a head that is not linear; works on any axes."""

    def __init__(self, dims, channels=6, padding="zeros", seed=0):
        super().__init__()
        conv, pool = {2: (nn.Conv2d, nn.AvgPool2d), 3: (nn.Conv3d, nn.AvgPool3d)}[dims]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(
                conv(2, channels, 3, padding=1, padding_mode=padding), nn.ReLU(), pool(2)
            )
            self.mix = conv(channels, 5, 1)
            self.last = nn.Linear(5, 4)
        self.double()

    def forward(self, x):
        return self.last(self.mix(self.body(x)).tanh().flatten(2).square().sum(2))


@pytest.fixture
def x(dims):
    size = (8, 6) if dims == 2 else (4, 6, 8)
    return torch.rand(3, 2, *size, generator=torch.Generator().manual_seed(1)).double()


def close(found, wanted):
    torch.testing.assert_close(found, torch.as_tensor(wanted), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("channels", [6, 40], ids=["few", "many"])
@pytest.mark.parametrize("layer", ["body", "mix"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_that_of_loops(name, layer, channels, x, dims):
    """Layer `mix` has activations of both signs; 40 channels are more than voxels."""
    model = Net(dims, channels)
    maps = getattr(cam, name)(model, x, Logit(CLASSES), layer=layer)
    act, grad = layer_gradient(model, layer, x, Logit(CLASSES))
    for i in range(3):
        coarse = getattr(oracle, name)(act[i].numpy(), grad[i].numpy())
        close(maps[i, 0], oracle.enlarged(coarse, tuple(x.shape[2:])))


@pytest.mark.parametrize(
    ("name", "peer"), [("grad_cam", LayerGradCam), ("hires_cam", LayerGradientXActivation)]
)
def test_it_is_that_of_captum(name, peer, x, dims):
    model = Net(dims)
    theirs = peer(model, model.body).attribute(x, target=CLASSES).detach().sum(1, keepdim=True)
    close(getattr(cam, name)(model, x, Logit(CLASSES), layer="body"), resize(theirs, x))


def pooled(dims):
    """Global average pooling and a linear head, on a layer of the images' own grid."""
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        body = nn.Sequential(conv(2, 5, 3, padding=1, padding_mode="circular"), nn.GELU())
        return nn.Sequential(
            body, nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(5, 4)
        ).double()


def test_after_pooling_grad_cam_is_cam_and_hires_cam_is_complete(x, dims):
    model = pooled(dims)
    head, target = model[4], Logit(CLASSES)
    with torch.no_grad():
        classic = torch.einsum("bf,bf...->b...", head.weight[CLASSES], model[0](x))[:, None]
        wanted = target(model(x)) - head.bias[CLASSES]
    voxels = x[0, 0].numel()
    close(cam.grad_cam(model, x, target, layer="0"), classic / voxels)
    maps = cam.hires_cam(model, x, target, layer="0")
    close(maps, classic / voxels)
    close(maps.flatten(1).sum(1), wanted)


def test_xgrad_cam_keeps_the_sum_of_gradient_times_activation(x, dims):
    model, target = Net(dims), Logit(1)
    maps = cam.xgrad_cam(model, x, target, layer="body")
    act, grad = layer_gradient(model, "body", x, target)
    close(maps.flatten(1).mean(1), (act * grad).sum(1).flatten(1).mean(1))


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_does_not_see_the_others(name, x, dims):
    model, method = Net(dims), getattr(cam, name)
    together = method(model, x, Logit(CLASSES), layer="body")
    for i in range(3):
        close(method(model, x[i : i + 1], Logit(int(CLASSES[i])), layer="body")[0], together[i])


@pytest.mark.parametrize("name", NAMES)
def test_a_plane_in_a_volume_has_the_map_of_the_plane(name):
    x = torch.rand(2, 2, 6, 8, generator=torch.Generator().manual_seed(1)).double()
    flat, deep = Net(2), Net(3)
    deep.body[2] = nn.AvgPool3d((1, 2, 2))
    with torch.no_grad():
        for two, three in ((flat.body[0], deep.body[0]), (flat.mix, deep.mix)):
            three.weight.zero_()
            three.weight[:, :, three.weight.shape[2] // 2] = two.weight
            three.bias.copy_(two.bias)
    deep.last = flat.last
    method = getattr(cam, name)
    close(
        method(deep, x[:, :, None], Logit(1), layer="body")[:, :, 0],
        method(flat, x, Logit(1), layer="body"),
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_moved_image_has_a_moved_map(name, x, dims):
    model, method = pooled(dims), getattr(cam, name)
    axes = tuple(range(2, x.ndim))
    moved = method(model, x.roll((1, 3, 2)[:dims], axes), Logit(1), layer="0")
    close(moved, method(model, x, Logit(1), layer="0").roll((1, 3, 2)[:dims], axes))


@pytest.mark.parametrize("name", NAMES)
def test_a_mirrored_image_has_a_mirrored_map(name, x, dims):
    model, method = Net(dims), getattr(cam, name)
    axes = tuple(range(2, x.ndim))
    weight = model.body[0].weight.detach()
    for axis in axes:  # kernels that are their own mirror images
        weight += weight.flip(axis)
    mirrored = method(model, x.flip(axes), Logit(1), layer="body")
    close(mirrored, method(model, x, Logit(1), layer="body").flip(axes))


def test_enlarging_keeps_the_centre_of_mass(dims):
    """A spot in one voxel of the layer, away from the border, is centred on its pixels."""
    pool = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[dims](4)
    x = torch.zeros(1, 1, *[24] * dims).double()
    x[(0, 0, *[slice(8, 12), slice(12, 16), slice(4, 8)][:dims])] = 1
    model = nn.Sequential(pool, nn.Flatten())
    spot = cam.hires_cam(model, x, OutputSum(), layer="0")[0, 0]
    for axis, centre in enumerate((9.5, 13.5, 5.5)[:dims]):
        along = spot.sum([other for other in range(dims) if other != axis])
        found = (along * torch.arange(24)).sum() / along.sum()
        assert float(found) == pytest.approx(centre, abs=1e-12)


def test_the_sign_is_kept(x, dims):
    model = pooled(dims)
    for name in ("grad_cam", "hires_cam", "xgrad_cam"):
        maps = getattr(cam, name)(model, x, Logit(1), layer="0")
        close(getattr(cam, name)(model, x, lambda out: -out[:, 1], layer="0"), -maps)
        assert (maps < 0).any()


def test_channels_without_activation_do_no_harm(x, dims):
    """A dead channel, and one whose activations cancel exactly up to rounding."""

    class Planted(nn.Module):
        def forward(self, x):
            half = x[:, :1] - x[:, :1].mean(tuple(range(1, x.ndim)), keepdim=True)
            return torch.cat([x[:, :1], torch.zeros_like(half), half], 1)

    model = nn.Sequential(Planted(), nn.Flatten(), nn.Softplus())
    alone = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Softplus())
    wanted = cam.xgrad_cam(alone, x[:, :1], OutputSum(), layer="0")
    close(cam.xgrad_cam(model, x, OutputSum(), layer="0"), wanted)
    zero = torch.zeros_like(x)
    for name in NAMES:
        assert (getattr(cam, name)(model, zero, OutputSum(), layer="0") == 0).all()


def test_plus_plus_leaves_out_a_voxel_whose_share_is_undefined(dims):
    """One channel that sums to -2 with a gradient of 1: the denominator is 0 everywhere."""
    x = torch.full((1, 1, *[2] * dims), -2 / 2**dims).double()
    model = nn.Sequential(nn.Identity(), nn.Flatten())
    assert (cam.grad_cam_plus_plus(model, x, OutputSum(), layer="0") == 0).all()


def test_small_gradients_are_not_lost_to_powers(dims):
    """1e-30 squared is no single-precision number; the formula has gradients in it cubed."""
    x = torch.rand(1, 2, *[4] * dims, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Identity(), nn.Flatten())
    maps = cam.grad_cam_plus_plus(model, x, lambda out: 1e-30 * out.sum(1), layer="0")
    torch.testing.assert_close(maps, 0.5e-30 * 4**dims * x.sum(1, keepdim=True), atol=0, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("layer", "says"),
    [("0.1", "'0.1' has a grid of .*1, 1.*a single voxel"), ("3", "'3' gives shape .*no grid")],
)
def test_a_layer_that_cannot_say_where_is_refused(name, layer, says, x, dims):
    pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dims]
    head = nn.Linear(2, 4).double()
    model = nn.Sequential(nn.Sequential(nn.Identity(), pool(1)), nn.Flatten(), nn.ReLU(), head)
    with pytest.raises(UsageError, match=says):
        getattr(cam, name)(model, x, Logit(1), layer=layer)


def test_nothing_below_the_layer_is_kept_for_the_backward_pass(dims):
    """A head of pooling and a linear layer needs none of the large activations."""
    conv, pool = {
        2: (nn.Conv2d, nn.AdaptiveAvgPool2d),
        3: (nn.Conv3d, nn.AdaptiveAvgPool3d),
    }[dims]
    body = [conv(1, 4, 3, padding=1), nn.ReLU(), conv(4, 4, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*body, conv(4, 6, 2, stride=8), pool(1), nn.Flatten(), nn.Linear(6, 3))
    x = torch.rand(1, 1, *[16] * dims)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def saved(work):
        sizes = []

        def pack(tensor):
            if tensor.untyped_storage().data_ptr() not in weights:
                sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            work()
        return sum(sizes)

    whole = saved(lambda: model(x))
    assert saved(lambda: cam.grad_cam(model, x, Logit(1), layer="4")) < 0.01 * whole
