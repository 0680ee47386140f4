"""Maps of all features at once are the maps of each feature, however the work is cut."""

import pytest
import torch
from test_cam import Net, close, pooled
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Beside
from attributome.core.targets import Logit
from attributome.explain.cam import grad_cam, hires_cam
from attributome.explain.cam_features import feature_cams

KINDS = {"grad": grad_cam, "hires": hires_cam}


@pytest.fixture
def x(dims):
    size = (8, 6) if dims == 2 else (4, 6, 8)
    return torch.rand(3, 2, *size, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def one_by_one(kind, model, x, layer, features=range(4)):
    return torch.cat([KINDS[kind](model, x, Logit(k), layer=layer) for k in features], 1)


@pytest.mark.parametrize("layer", ["body", "body.0", "mix"])
def test_each_is_the_map_of_its_feature(kind, layer, x, dims):
    model = Net(dims)
    close(feature_cams(model, x, layer=layer, kind=kind), one_by_one(kind, model, x, layer))


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_features_come_in_the_order_asked_however_many_at_once(kind, chunk, x, dims):
    model = Net(dims)
    maps = feature_cams(model, x, layer="body", features=[2, 0, 2, 3], kind=kind, chunk=chunk)
    close(maps, one_by_one(kind, model, x, "body", [2, 0, 2, 3]))


def test_after_pooling_it_is_the_weights_of_the_head(x, dims):
    model = pooled(dims)
    wanted = torch.einsum("of,bf...->bo...", model[4].weight, model[0](x)) / x[0, 0].numel()
    close(feature_cams(model, x, layer="0"), wanted.detach())


class Stubborn(torch.autograd.Function):
    """Squares, with a backward pass that does not say how to be vectorised."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        assert float(x.abs().max() * grad.abs().max()) >= 0  # asks for a number, as some code does
        return 2 * x * grad


class Stubbornly(nn.Module):
    def forward(self, x):
        return Stubborn.apply(x)


def test_an_operation_that_cannot_be_vectorised_is_done_one_by_one(kind, x, dims):
    model = nn.Sequential(pooled(dims), Stubbornly())
    maps = feature_cams(model, x, layer="0.0", kind=kind)
    close(maps, one_by_one(kind, model, x, "0.0"))


def test_a_sample_does_not_see_the_others(kind, x, dims):
    model = Net(dims)
    together = feature_cams(model, x, layer="body", kind=kind)
    for i in range(3):
        close(feature_cams(model, x[i : i + 1], layer="body", kind=kind)[0], together[i])


def test_the_other_input_stays_with_its_sample(kind, x, dims):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Net(dims)

        def forward(self, a, b):
            return self.net(a) * b

    other = torch.rand(3, 4, generator=torch.Generator().manual_seed(2)).double()
    model = Two()
    maps = feature_cams(Beside(model, 0, (other,)), x, layer="net.body", kind=kind)
    plain = feature_cams(model.net, x, layer="body", kind=kind)
    close(maps, plain * other.view(3, 4, *[1] * dims))


def test_memory_that_is_short_halves_the_chunk(kind, x, dims):
    """The backward pass of more than one feature does not fit."""

    class Small(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x.clone()

        @staticmethod
        def setup_context(ctx, inputs, output):
            pass

        @staticmethod
        def backward(ctx, grad):
            sizes.append(1)
            if len(sizes) in (1, 2):
                raise torch.OutOfMemoryError("out of memory (the test plays the device)")
            return grad

    class Smallish(nn.Module):
        def forward(self, x):
            return Small.apply(x)

    sizes = []
    model = nn.Sequential(pooled(dims), Smallish())
    maps = feature_cams(model, x, layer="0.0", kind=kind)
    close(maps, one_by_one(kind, model, x, "0.0"))
    assert len(sizes) == 2 + 4 + 4  # two failures, four chunks of one, four of the loop


def test_the_model_is_left_alone(kind, x, dims):
    model = Net(dims).train()
    model.mix.weight.requires_grad_(False)
    with torch.no_grad():
        maps = feature_cams(model, x.requires_grad_(), layer="body", kind=kind)
    assert not maps.requires_grad
    assert all(module.training for module in model.modules())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["mix.weight"]
    assert all(p.grad is None for p in model.parameters())
    assert x.grad is None
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"features": []}, "give at least one"),
        ({"features": [1, 4]}, "4. asked of a model with 4 outputs"),
        ({"features": [-1]}, "count from 0"),
        ({"layer": "last"}, "no grid of"),
        ({"layer": "nowhere"}, "no layer 'nowhere'"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, says, x, dims):
    with pytest.raises(UsageError, match=says):
        feature_cams(Net(dims), x, **{"layer": "body"} | options)


def test_an_image_as_output_has_no_features(x, dims):
    with pytest.raises(UsageError, match="no row of features per sample"):
        feature_cams(Net(dims).body, x, layer="0")
