"""DeepLIFT and DeepSHAP are complete on everything they accept, and refuse the rest by name."""

import copy

import captum.attr
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Beside, Packed, pack
from attributome.core.targets import Logit, Output, RegionMean, TopProbability
from attributome.explain.gradients import input_x_gradient
from attributome.explain.references import deep_lift, deep_shap
from oracles.propagation import dense, rescale


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


class Does(nn.Module):
    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(4, 2), nn.Linear(2, 4)

    def forward(self, x):
        weight = torch.sigmoid(self.up(F.relu(self.down(x.flatten(2).mean(2)))))
        return x * weight.view(len(x), 4, *[1] * (x.ndim - 2))


class Residual(nn.Module):
    """One in-place ReLU, used three times, and a sum that overwrites its first part."""

    def __init__(self, conv):
        super().__init__()
        self.conv, self.relu = conv(4, 4, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.conv(self.relu(x)))
        y += x
        return self.relu(y)


def tokens(x, attention, norm):
    t = x.flatten(2).mT
    return norm(t + attention(t, t, t)[0])


def tokens_first(x, attention):
    t = x.flatten(2).permute(2, 0, 1)
    return (t + attention(t, t, t, need_weights=False)[0]).permute(1, 0, 2)


def middles(dims):
    """What stands between a convolution and a linear layer; every kind must be complete."""

    def of(name):
        return getattr(nn, f"{name}{dims}d")

    names = (
        "ReLU LeakyReLU ELU GELU SiLU Softplus Hardswish Mish Sigmoid Tanh PReLU ReLU6 Hardtanh "
        "Softsign SELU LogSigmoid Hardsigmoid Tanhshrink Identity"
    )
    plain = {name: getattr(nn, name)() for name in names.split()}
    layers = {
        "PReLU per channel": nn.PReLU(4),
        "instance norm": of("InstanceNorm")(4, affine=True),
        "instance norm in eval": of("InstanceNorm")(4, track_running_stats=True),
        "group norm": nn.GroupNorm(2, 4),
        "layer norm": nn.LayerNorm(6),
        "rms norm": nn.RMSNorm(6),
        "batch norm": of("BatchNorm")(4),
        "max pool": of("MaxPool")(3, 2, 1),
        "adaptive max pool": of("AdaptiveMaxPool")(2),
        "average pool": of("AvgPool")(2),
        "adaptive average pool": of("AdaptiveAvgPool")(3),
        "transposed": of("ConvTranspose")(4, 4, 2, 2),
        "upsample": nn.Sequential(nn.Upsample(scale_factor=2), nn.ReLU()),
        "dropout": nn.Sequential(nn.Dropout(), nn.GELU()),
        "softmax": nn.Softmax(1),
        "log softmax": nn.LogSoftmax(1),
        "glu": nn.GLU(1),
        "gate": Gate(),
        "residual": Residual(of("Conv")),
        "attention": Does(tokens, nn.MultiheadAttention(4, 2, batch_first=True), nn.LayerNorm(4)),
        "attention, length first": Does(tokens_first, nn.MultiheadAttention(4, 2)),
        "encoder": Does(
            lambda x, encoder: encoder(x.flatten(2).mT),
            nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
        ),
    }
    functions = {
        "exp": torch.exp,
        "log": lambda x: torch.log(x.abs() + 0.1),
        "sqrt": lambda x: (x * x + 1e-3).sqrt(),
        "cube": lambda x: x**3,
        "power of 2": lambda x: 2**x,
        "ratio": lambda x: x / (1 + x.abs()),
        "reciprocal": lambda x: 1 / (2 + x.sigmoid()),
        "clamp": lambda x: x.clamp(-0.1, 0.2),
        "amax": lambda x: x.flatten(2).amax(2),
        "max": lambda x: x.max(1).values,
        "amin": lambda x: x.amin((1, -1), keepdim=True),
        "maximum": lambda x: torch.maximum(x, x.flip(1)) + torch.minimum(x, x.flip(2)),
        "variance": lambda x: x.var((1, 2)),
        "deviation": lambda x: x.std(1, keepdim=True, correction=0),
        "normalised": lambda x: F.normalize(x),
        "length": lambda x: x.norm(dim=1) + torch.linalg.vector_norm(x, dim=1),
        "dot": lambda x: torch.linalg.vecdot(x, x.tanh(), dim=1),
        "overwritten": lambda x: x.relu_().mul_(x.flip(1)),
        "product, then overwritten": lambda x: (x @ x.mT).mul_(2).relu_(),
        "overwritten view": lambda x: (x[:, 1:].clamp_(0), x)[1],
        "kept, then overwritten": lambda x: (x.sigmoid(), x.mul_(2))[0] + x,
        "attend": lambda x: F.scaled_dot_product_attention(x, 2 * x, x),
        "einsum": lambda x: torch.einsum("bi...,bj...->bij", x, x),
        "matmul": lambda x: x @ x.mT,
        "logsumexp": lambda x: x.logsumexp(1),
        "masked": lambda x: x.masked_fill(torch.eye(6) > 0, 0.0),
        "moved about": lambda x: F.relu(torch.cat([x[:, :2], x[:, 2:].roll(1, -1)], 1) - 1 / 3),
    }
    return plain | layers | {name: Does(function) for name, function in functions.items()}


def around(middle, dims):
    torch.manual_seed(0)
    conv = (nn.Conv2d, nn.Conv3d)[dims - 2](2, 4, 3, padding=1)
    model = nn.Sequential(conv, copy.deepcopy(middle), nn.Flatten(), nn.LazyLinear(3))
    model(torch.rand(2, 2, *[6] * dims))
    draw = torch.Generator().manual_seed(5)
    for name, values in model.named_buffers():
        if values.is_floating_point():
            values.uniform_(0.5, 2, generator=draw) if "var" in name else values.normal_(
                generator=draw
            )
    return model.double().eval()


KINDS = list(middles(2))


@pytest.mark.parametrize("kind", KINDS)
def test_the_zoo_is_complete(kind, dims):
    """To rounding, with a plain and with a nonlinear target, and for several references."""
    model = around(middles(dims)[kind], dims)
    shape = (2, *[6] * dims)
    x, start, background = draw(3, *shape), draw(3, *shape, seed=1), draw(4, *shape, seed=2)
    for target in (Logit(torch.tensor([0, 2, 1])), TopProbability()):
        with torch.no_grad():
            here, there = target(model(x)), target(model(start))
            mean = torch.stack([target(model(one.expand_as(x))) for one in background]).mean(0)
        maps = deep_lift(model, x, target, baseline=start)
        scale = maps.flatten(1).abs().sum(1)
        assert (maps.flatten(1).sum(1) - (here - there)).abs().le(1e-10 * scale).all()
        shap = deep_shap(model, x, target, background=background)
        assert (shap.flatten(1).sum(1) - (here - mean)).abs().le(1e-10 * scale).all()


@pytest.mark.parametrize("kind", ["PReLU per channel", "attention, length first", "max pool"])
def test_deep_shap_is_the_mean_of_deep_lift(kind):
    model = around(middles(2)[kind], 2)
    x, background = draw(3, 2, 6, 6), draw(4, 2, 6, 6, seed=2)
    target = Logit(torch.tensor([0, 2, 1]))
    one_by_one = [
        deep_lift(model, x, target, baseline=one.expand_as(x).contiguous()) for one in background
    ]
    wanted = torch.stack(one_by_one).mean(0)
    found = deep_shap(model, x, target, background=background)
    assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["instance norm", "gate", "attention", "softmax", "group norm"])
def test_samples_do_not_see_each_other(kind):
    model = around(middles(2)[kind], 2)
    x, background = draw(3, 2, 6, 6), draw(2, 2, 6, 6, seed=2)
    together = deep_shap(model, x, Logit(torch.tensor([0, 2, 1])), background=background)
    for i, label in enumerate((0, 2, 1)):
        alone = deep_shap(model, x[i : i + 1], Logit(label), background=background)
        assert torch.allclose(together[i : i + 1], alone, rtol=1e-9, atol=1e-12)


def test_single_precision_is_complete_to_its_rounding():
    for kind, middle in middles(2).items():
        model = around(middle, 2).float()
        x = draw(3, 2, 6, 6).float()
        maps = deep_lift(model, x, Logit(1))
        with torch.no_grad():
            gap = model(x)[:, 1] - model(0 * x)[:, 1]
        wrong = (maps.flatten(1).sum(1) - gap).abs() / maps.flatten(1).abs().sum(1)
        assert wrong.max() < 1e-4, kind


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        (nn.ReLU(), lambda v: np.maximum(v, 0)),
        (nn.SiLU(), lambda v: v / (1 + np.exp(-v))),
        (nn.Tanh(), np.tanh),
    ],
)
def test_multipliers_are_those_of_the_slow_version(activation, function):
    torch.manual_seed(0)
    first = nn.Conv2d(1, 3, 3, padding=1).double()
    second = nn.Conv2d(3, 2, 3, stride=2).double()
    head = nn.Sequential(nn.Flatten(), nn.LazyLinear(1)).double()
    model = nn.Sequential(first, activation, second, activation, head)
    x, start = draw(2, 1, 6, 6), draw(2, 1, 6, 6, seed=1)
    model(x)
    one, two = dense(first, (1, 6, 6)), dense(second, (3, 6, 6))
    three = dense(head, two[2])
    layers = [one[:2], function, two[:2], function, three[:2]]
    found = deep_lift(model, x, Output(), baseline=start)
    for i in range(2):
        wanted = rescale(layers, x[i].flatten().numpy(), start[i].flatten().numpy())
        assert np.allclose(found[i].flatten(), wanted, rtol=1e-6)


def test_it_is_captum_where_captum_is_right():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 2), nn.BatchNorm2d(4),
        nn.ReLU(), nn.Flatten(), nn.LazyLinear(3),
    )  # fmt: skip
    model(torch.rand(2, 2, 8, 8))
    model.double().eval()
    x, start = draw(3, 2, 8, 8), draw(3, 2, 8, 8, seed=1)
    classes = torch.tensor([0, 2, 1])
    with pytest.warns(UserWarning, match="Setting forward, backward hooks"):
        wanted = captum.attr.DeepLift(model).attribute(
            x.clone().requires_grad_(), start.clone().requires_grad_(), target=classes
        )
    found = deep_lift(model, x, Logit(classes), baseline=start)
    assert torch.allclose(found, wanted.detach(), rtol=1e-8, atol=1e-12)


def test_the_maximum_of_two_by_hand():
    """max(x1, x2) = x2 + relu(x1 - x2), at (3, 1) from (0, 0): all of it is x1's."""

    def maximum(x):
        a, b = x.flatten(1).unbind(1)
        return (b + F.relu(a - b))[:, None]

    x = torch.tensor([[[[3.0, 1.0]]], [[[1.0, 3.0]]]], dtype=torch.double)
    assert deep_lift(maximum, x, Output()).flatten(1).tolist() == [[3, 0], [0, 3]]
    start = torch.tensor([0.0, 2.0], dtype=torch.double).expand(2, 1, 1, 2)
    # from (0, 2), 3 - 2 = 1: the difference goes from -2 to 2, its ReLU from 0 to 2: slope 1/2
    assert deep_lift(maximum, x[:1], Output(), baseline=start[:1]).flatten().tolist() == [1.5, -0.5]


def test_a_pool_gives_the_whole_change_to_one_position_where_captum_gives_it_twice():
    """ReLU, then the larger of two, from (1, 2) to (3, 1): it rises by 1 and x1 has all of it."""
    model = nn.Sequential(nn.ReLU(), nn.MaxPool2d((1, 2)), nn.Flatten())
    x = torch.tensor([[[[3.0, 1.0]]]], dtype=torch.double)
    start = torch.tensor([[[[1.0, 2.0]]]], dtype=torch.double)
    assert deep_lift(model, x, Output(), baseline=start).flatten().tolist() == [1, 0]
    assert deep_lift(model, start, Output(), baseline=x).flatten().tolist() == [-1, 0]


def test_a_product_is_shared_alike_and_a_linear_model_is_its_weights(images):
    x = torch.tensor([[[[3.0, -2.0]]]], dtype=torch.double)
    found = deep_lift(lambda x: (x[..., 0] * x[..., 1]).flatten(1), x, Output())
    assert found.flatten().tolist() == [-3, -3]
    weight = draw(*images[0].shape)

    def linear(x):
        return (x * weight).flatten(1).sum(1, keepdim=True)

    x, start = images.double(), draw(*images.shape, seed=3)
    assert torch.allclose(deep_lift(linear, x, Output(), baseline=start), (x - start) * weight)


def test_where_nothing_changes_it_is_the_gradient():
    """At x = x0 + a little, multipliers are the gradient of a smooth model."""
    model = around(nn.GELU(), 2)
    x = draw(2, 2, 6, 6)
    away = 1e-5 * draw(2, 2, 6, 6, seed=1)
    slopes = input_x_gradient(model, x, Logit(1)) / x
    found = deep_lift(model, x, Logit(1), baseline=x - away)
    assert torch.allclose(found, slopes * away, rtol=1e-3, atol=1e-9)


def test_an_image_to_image_model_is_complete_too(dims):
    torch.manual_seed(0)
    conv = (nn.Conv2d, nn.Conv3d)[dims - 2]
    model = nn.Sequential(conv(2, 4, 3, padding=1), nn.GELU(), conv(4, 1, 3, padding=1)).double()
    x, region = draw(2, 2, *[6] * dims), torch.zeros([6] * dims, dtype=torch.double)
    region[2:4] = 1
    maps = deep_lift(model, x, RegionMean(region))
    with torch.no_grad():
        gap = RegionMean(region)(model(x)) - RegionMean(region)(model(0 * x))
    assert torch.allclose(maps.flatten(1).sum(1), gap)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.image, self.row = nn.Linear(8, 4), nn.Linear(3, 4)

    def forward(self, image, row):
        return (F.gelu(self.image(image.flatten(1))) * self.row(row)).sum(1, keepdim=True)


def test_packed_inputs_are_joint_and_inputs_beside_are_held():
    model, image, row = TwoInputs().double(), draw(3, 2, 2, 2), draw(3, 3, seed=1)
    x = pack([image, row])
    found = deep_lift(Packed(model, ((2, 2, 2), (3,))), x, Output())
    with torch.no_grad():
        joint = (model(image, row) - model(0 * image, 0 * row))[:, 0]
        held = (model(image, row) - model(0 * image, row))[:, 0]
    assert torch.allclose(found.flatten(1).sum(1), joint)
    alone = deep_shap(Beside(model, 0, (row,)), image, Output(), background=0 * image[:2])
    assert torch.allclose(alone.flatten(1).sum(1), held)


class Sorted(nn.Module):
    def forward(self, x):
        return x.sort(-1).values


class Detached(nn.Module):
    def forward(self, x):
        return x + x.detach()


class Course(nn.Module):
    def forward(self, x):
        return x.relu().relu() if bool(x.detach().sum() != 0) else x.relu()


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (Sorted(), r"'sort', called by layer '0' \(Sorted\), .*use integrated_gradients"),
        (Detached(), "a map sums to .* and the target changes by .*use integrated_gradients"),
        (Course(), "called other functions|called fewer functions"),
        (nn.MaxPool2d(2, return_indices=True), "positions are used"),
        (Does(lambda x: torch.where(x > 0, x, 0.1 * x)), "'where'.*differs between"),
        (Does(lambda x: F.dropout(x)), "'dropout'.*is random"),
        (Does(lambda x: F.conv2d(x, x[:2, :1])), "'conv2d'.*weight that depends"),
        (Does(lambda x: x * (x > 0)), "'mul'.*has no gradient"),
        (Does(lambda x: x.cumprod(-1)), "'cumprod', called by layer '0'"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_what_has_no_rule_is_refused_by_name_and_leaves_no_trace(layer, says):
    wrap = Does(lambda x: x[0]) if isinstance(layer, nn.MaxPool2d) else nn.Identity()
    model = nn.Sequential(layer, wrap, nn.Flatten(), nn.LazyLinear(2))
    model = model.double()
    x = draw(2, 1, 4, 4)
    model(x)
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    with pytest.raises(UsageError, match=says):
        deep_lift(model, x, Logit(1))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_a_compiled_program_is_refused_and_so_is_a_strange_background():
    model = around(nn.ReLU(), 2)
    x = draw(2, 2, 6, 6)
    with pytest.warns(DeprecationWarning, match="torch.jit.trace"):
        traced = torch.jit.trace(model, x)
    with pytest.raises(UsageError, match="'the model' is a compiled"):
        deep_lift(traced, x, Logit(0))
    with pytest.raises(UsageError, match="it must hold at least one image"):
        deep_shap(model, x, Logit(0), background=x[:0])


class Room(nn.Module):
    """Has room for so many rows where a graph is kept."""

    def __init__(self, model, rows):
        super().__init__()
        self.model, self.rows, self.sizes = model, rows, []

    def forward(self, x):
        if x.requires_grad:
            self.sizes.append(len(x))
            if len(x) > self.rows:
                raise torch.OutOfMemoryError("CUDA out of memory (this test plays the device)")
        return self.model(x)


def test_what_does_not_fit_is_done_in_halves_or_refused():
    model, x, background = around(nn.GELU(), 2), draw(3, 2, 6, 6), draw(5, 2, 6, 6, seed=2)
    wanted = deep_shap(model, x, Logit(1), background=background)
    tight = Room(model, 6)
    assert torch.allclose(deep_shap(tight, x, Logit(1), background=background), wanted)
    assert tight.sizes == [15, 6, 9, 3, 6]
    with pytest.raises(UsageError, match="give fewer images at a time"):
        deep_shap(Room(model, 2), x, Logit(1), background=background)
