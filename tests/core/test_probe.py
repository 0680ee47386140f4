"""The three doors: right numbers, no traces, bounded memory."""

import gc
import weakref

import pytest
import torch
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.probe import gradient, layer_gradient, predict, still
from attributome.core.targets import Logit, OutputSum


def state(model):
    hooks = [len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()]
    return (
        [m.training for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
        hooks,
    )


def test_doors_leave_the_model_as_it_was_even_after_an_error(classifier, images):
    before = state(classifier)
    weights = {k: v.clone() for k, v in classifier.state_dict().items()}

    def broken(out):
        raise KeyError("target")

    predict(classifier, images)
    gradient(classifier, images, Logit(1))
    layer_gradient(classifier, "3", images, Logit(1))
    for door in (
        lambda: gradient(classifier, images, broken),
        lambda: layer_gradient(classifier, "3", images, broken),
        lambda: gradient(classifier, images, broken, chunk=1),
        lambda: layer_gradient(classifier, "3", images, broken, chunk=1),
    ):
        with pytest.raises(KeyError, match="target"):
            door()
    assert state(classifier) == before
    assert all(torch.equal(v, weights[k]) for k, v in classifier.state_dict().items())
    assert all(p.grad is None for p in classifier.parameters())
    assert not images.requires_grad


@pytest.mark.parametrize("chunk", [1, 2])
def test_chunks_change_nothing(classifier, images, chunk):
    classifier.double()
    x, target = images.double(), Logit(torch.tensor([0, 3, 4]))

    def coupled(out):  # a target that couples the samples cannot be cut, and is not
        return out.std(0).sum().expand(len(out))

    assert torch.allclose(predict(classifier, x, chunk=chunk), predict(classifier, x))
    for goal in (target, coupled):
        assert torch.allclose(
            gradient(classifier, x, goal, chunk=chunk), gradient(classifier, x, goal)
        )
        for cut, whole in zip(
            layer_gradient(classifier, "3", x, goal, chunk=chunk),
            layer_gradient(classifier, "3", x, goal),
            strict=True,
        ):
            assert torch.allclose(cut, whole)


class Small(nn.Module):
    """Has room for two samples at a time."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 3, 1)
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory (this test plays the device)")
        return self.layer(x).mean((2, 3))


def test_what_does_not_fit_is_halved_and_goes_on():
    model, x = Small(), torch.rand(9, 2, 4, 4)
    wanted = torch.cat([model(x[i : i + 1]) for i in range(9)]).detach()
    model.sizes.clear()
    assert torch.allclose(predict(model, x), wanted)
    assert model.sizes == [9, 5, 3, 2, 2, 2, 2, 1]
    exact = torch.cat([gradient(model, x[i : i + 1], Logit(0)) for i in range(9)])
    assert torch.allclose(gradient(model, x, Logit(0)), exact)
    activation, _ = layer_gradient(model, "layer", x, Logit(0))
    assert activation.shape == (9, 3, 4, 4)


def test_other_errors_are_not_taken_for_memory():
    def broken(x):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        predict(broken, torch.rand(4, 1, 2, 2))


def test_layer_gradient_keeps_no_graph_below_the_layer():
    """With a graph below, the gradient would flow on to the first layer's own output."""
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x)
            return x

    model = nn.Sequential(nn.Conv2d(1, 2, 3), Spy(), nn.Conv2d(2, 2, 3), nn.Flatten())
    layer_gradient(model, "2", torch.rand(2, 1, 8, 8), OutputSum())
    assert not seen[0].requires_grad
    assert seen[0].grad_fn is None


def test_no_activation_stays_alive_after_a_door():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(weakref.ref(x))
            return x * 1

    model = nn.Sequential(nn.Conv2d(1, 2, 3), Spy(), nn.Conv2d(2, 2, 3), Spy(), nn.Flatten())
    layer_gradient(model, "2", torch.rand(2, 1, 8, 8), OutputSum())
    gradient(model, torch.rand(2, 1, 8, 8), OutputSum())
    gc.collect()
    assert [ref() for ref in seen] == [None] * 4


@pytest.mark.parametrize("inplace", [False, True])
def test_an_inplace_relu_after_the_layer_changes_nothing(inplace):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(inplace=inplace), nn.Flatten(), nn.LazyLinear(2)
    )
    x = torch.rand(2, 1, 6, 6)
    model(x)
    activation, grad = layer_gradient(model, "0", x, Logit(1))
    assert torch.equal(activation, model[0](x))
    by_hand = activation.clone().requires_grad_()
    model[3](by_hand.relu().flatten(1))[:, 1].sum().backward()
    assert torch.allclose(grad, by_hand.grad)


def test_wrong_layers_are_refused_with_the_reason(classifier, images):
    class Reused(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)
            self.idle = nn.ReLU()

        def forward(self, x):
            return self.conv(self.conv(x)).mean((2, 3))

    with pytest.raises(UsageError, match="no layer 'head'; this model has"):
        layer_gradient(classifier, "head", images, Logit(0))
    with pytest.raises(UsageError, match="ran more than once"):
        layer_gradient(Reused(), "conv", torch.rand(1, 2, 4, 4), Logit(0))
    with pytest.raises(UsageError, match="did not run"):
        layer_gradient(Reused(), "idle", torch.rand(1, 2, 4, 4), Logit(0))


def test_outputs_that_are_not_one_tensor_are_refused():
    with pytest.raises(UsageError, match="returned a tuple; attributome explains one tensor"):
        predict(lambda x: (x, x), torch.rand(1, 1, 2, 2))
    with pytest.raises(UsageError, match="returned 1 outputs for 3 images"):
        predict(lambda x: x.mean(0, keepdim=True), torch.rand(3, 1, 2, 2))


def test_still_reaches_models_that_override_train():
    class Stubborn(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.9)

        def train(self, mode=True):
            raise RuntimeError("exported programs refuse to change mode")

        def forward(self, x):
            return self.drop(x)

    model, x = Stubborn(), torch.rand(2, 1, 4, 4)
    with still(model):
        assert torch.equal(model(x), x)
    assert model.drop.training
