"""Several inputs and several cells: the same numbers as one by one, whoever lies beside."""

from functools import partial

import pytest
import torch
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.inputs import pack
from attributome.core.probe import at_once, each_copy, predict
from attributome.core.targets import Logit, Output, OutputSum, RegionMean
from attributome.explain import METHODS, several
from attributome.explain.cam import grad_cam
from attributome.explain.controls import intensity
from attributome.explain.gradients import (
    input_x_gradient,
    integrated_gradients,
    saliency,
    smooth_grad,
)
from attributome.explain.perturbation import occlusion
from attributome.explain.several import alone, joint, one_by_one, per_cell


class Branches(nn.Module):
    """Two branches of unequal sizes that meet in a product, in mixed mode."""

    def __init__(self, dims=2):
        super().__init__()
        torch.manual_seed(0)
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.first, self.second = conv(1, 3, 3), nn.Conv2d(1, 3, 5)
        self.last = nn.Linear(3, 4)
        self.double().train()
        self.last.eval()

    def forward(self, a, b):
        a, b = (torch.tanh(f(x)).flatten(2).mean(2) for f, x in self.each(a, b))
        return self.last(a * b)

    def each(self, a, b):
        return (self.first, a), (self.second, b)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@pytest.fixture(params=[(1, 8, 8), (1, 6, 4, 5), (1, 9)], ids=["2d", "3d", "line"])
def pair(request):
    """An image, a volume or a line beside a larger image, for which they have a network."""
    shape = request.param
    return Branches(len(shape) - 1), (noise(3, *shape), noise(3, 1, 16, 16, seed=1))


def rows(inputs, i):
    return tuple(one[i : i + 1] for one in inputs)


CLASSES = torch.tensor([0, 3, 1])


@pytest.mark.parametrize("method", [saliency, input_x_gradient, integrated_gradients, smooth_grad])
def test_joint_maps_have_the_shapes_of_their_inputs_and_know_no_neighbours(method, pair):
    model, inputs = pair
    together = joint(method, model, inputs, Logit(CLASSES))
    assert [one.shape for one in together] == [one.shape for one in inputs]
    assert model.training
    assert not model.last.training
    for i in range(3):
        single = joint(method, model, rows(inputs, i), Logit(int(CLASSES[i])))
        for found, wanted in zip(rows(together, i), single, strict=True):
            assert torch.allclose(found, wanted, rtol=1e-7, atol=1e-12)


def test_joint_integrated_gradients_add_up_over_both_inputs(pair):
    model, inputs = pair
    baselines = tuple(0.3 * one.flip(-1) + 0.1 for one in inputs)
    ig = partial(integrated_gradients, baseline=pack(baselines), steps=64)
    maps = joint(ig, model, inputs, Logit(CLASSES))
    gap = Logit(CLASSES)(model(*inputs)) - Logit(CLASSES)(model(*baselines))
    found = sum(one.flatten(1).sum(1) for one in maps)
    assert torch.allclose(found, gap, rtol=1e-3)
    halves = [one.flatten(1).sum(1).abs().min() for one in maps]
    assert min(halves) > 1e-5  # both inputs carry some of it


def test_the_product_of_two_inputs_is_shared_equally():
    a, b = noise(2, 1, 1, 1), noise(2, 1, seed=1)
    maps = joint(integrated_gradients, lambda a, b: a.flatten(1) * b, (a, b), Output())
    for one in maps:
        assert torch.allclose(one.flatten(), (a.flatten() * b.flatten()) / 2)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("held", ["values", "number", "shared", "each"])
def test_one_input_is_explained_with_the_other_held(pair, which, held):
    model, inputs = pair
    other = 1 - which
    at = {
        "values": (None, inputs[other]),
        "number": (0.5, torch.full_like(inputs[other], 0.5)),
        "shared": ({other: inputs[other][1]}, inputs[other][1].expand_as(inputs[other])),
        "each": ({other: -inputs[other]}, -inputs[other]),
    }
    asked, value = at[held]
    maps = alone(saliency, model, inputs, Logit(CLASSES), which=which, held=asked)
    for i in range(3):
        row = [value[i : i + 1], value[i : i + 1]]
        row[which] = inputs[which][i : i + 1].clone().requires_grad_()
        (wanted,) = torch.autograd.grad(model(*row)[0, CLASSES[i]], row[which])
        assert torch.allclose(maps[i], wanted[0])


def test_one_input_alone_adds_up_to_what_it_changes(pair):
    model, inputs = pair
    for which in (0, 1):
        maps = alone(partial(integrated_gradients, steps=64), model, inputs, Logit(2), which=which)
        without = [one.clone() for one in inputs]
        without[which].zero_()
        gap = model(*inputs)[:, 2] - model(*without)[:, 2]
        assert torch.allclose(maps.flatten(1).sum(1), gap, rtol=1e-3, atol=1e-8)


def in_copies(model, x, target, *, chunk):
    """A method that asks about copies of the batch in parts, as many methods do."""
    many = torch.cat([x, 0 * x, 2 * x, -x])
    found = each_copy(target, predict(model, many, chunk=chunk), 4)
    return found.std(0).view(-1, *[1] * (x.ndim - 1)) * x


@pytest.mark.parametrize("chunk", [None, 1, 2, 5])
def test_copies_in_parts_keep_every_sample_with_its_companions(pair, chunk):
    model, inputs = pair
    method = partial(in_copies, chunk=chunk)
    ways = (joint, one_by_one)
    for way in ways:
        together = way(method, model, inputs, Logit(CLASSES))
        for i in range(3):
            single = way(method, model, rows(inputs, i), Logit(int(CLASSES[i])))
            for found, wanted in zip(rows(together, i), single, strict=True):
                assert torch.allclose(found, wanted, rtol=1e-9)


def test_methods_that_think_in_space_are_refused_jointly_and_go_one_by_one():
    model, inputs = Branches(), (noise(3, 1, 8, 8), noise(3, 1, 16, 16, seed=1))
    spatial = (partial(occlusion, window=4), intensity)
    for method in (*spatial, partial(grad_cam, layer="first")):
        with pytest.raises(UsageError, match="looks at neighbours in space.*with one_by_one"):
            joint(method, model, inputs, Logit(0))
    for method in spatial:
        maps = one_by_one(method, model, inputs, Logit(CLASSES))
        assert [one.shape for one in maps] == [one.shape for one in inputs]
        for i in range(3):
            single = one_by_one(method, model, rows(inputs, i), Logit(int(CLASSES[i])))
            for found, wanted in zip(rows(maps, i), single, strict=True):
                assert torch.allclose(found, wanted, rtol=1e-9)
    for which, layer in enumerate(("first", "second")):
        cam = alone(partial(grad_cam, layer=layer), model, inputs, Logit(0), which=which)
        assert cam.shape == inputs[which].shape


def test_one_by_one_agrees_with_closed_forms():
    def model(a, b):
        return (a.flatten(1).sum(1) * b.flatten(1).sum(1))[:, None]

    a, b = noise(2, 1, 4, 4), noise(2, 1, 2, 6, seed=1)
    first, second = one_by_one(partial(occlusion, window=1), model, (a, b), Output())
    assert torch.allclose(first, a * b.flatten(1).sum(1).view(-1, 1, 1, 1))
    assert torch.allclose(second, b * a.flatten(1).sum(1).view(-1, 1, 1, 1))


def test_methods_that_can_be_joint_exist_or_are_awaited():
    assert len(set(several.POINTWISE)) == len(several.POINTWISE)
    assert {"saliency", "integrated_gradients"} <= METHODS.keys() & set(several.POINTWISE)
    assert not {"occlusion", "grad_cam"} & set(several.POINTWISE)


PAIR = (torch.rand(2, 1, 4, 4), torch.rand(2, 3))


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"which": 2}, "input 2 of 2; they count from 0"),
        ({"which": 0, "held": {0: 1.0}}, "input 0 cannot be held while input 0 of 2 is"),
        ({"which": 0, "held": {5: 1.0}}, "input 5 cannot be held while input 0 of 2 is"),
        ({"which": 0, "held": {1: torch.rand(4)}}, r"input 1 of shape \(2, 3\) cannot be held at"),
    ],
)
def test_slips_are_refused(params, says):
    with pytest.raises(UsageError, match=says):
        alone(saliency, lambda a, b: b, PAIR, OutputSum(), **params)


def test_inputs_of_unequal_batches_are_refused():
    for way in (joint, one_by_one):
        with pytest.raises(UsageError, match=r"inputs of \[\d, \d\] samples are not one batch"):
            way(saliency, lambda a, b: b, (PAIR[0], PAIR[1][:1]), OutputSum())


@pytest.mark.parametrize("together", [None, 1, 2])
@pytest.mark.parametrize("method", [saliency, partial(occlusion, window=3), smooth_grad])
def test_cells_at_once_are_cells_one_by_one(dims, method, together):
    torch.manual_seed(0)
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    model = nn.Sequential(conv(1, 4, 3, padding=1), nn.Tanh(), conv(4, 2, 3, padding=1)).double()
    size = (6, 7, 5)[:dims]
    x, draw = noise(2, 1, *size), torch.Generator().manual_seed(3)
    labels = torch.randint(0, 5, (2, *size), generator=draw)
    labels[1][labels[1] == 3] = 0
    maps = per_cell(method, model, x, labels, together=together)
    assert maps.shape == (2, 4, 1, *size)
    for i in range(2):
        ids = [n for n in labels[i].unique().tolist() if n]
        for column, n in enumerate(ids):
            one = slice(i, i + 1)
            wanted = method(model, x[one], RegionMean(labels[one] == n))
            assert torch.allclose(maps[i, column], wanted[0], rtol=1e-9, atol=1e-15)
        assert maps[i, len(ids) :].isnan().all()
    shared = per_cell(method, model, x, labels[0], together=together)
    assert torch.allclose(shared[0], maps[0], rtol=1e-9, atol=1e-15)


def test_few_calls_explain_many_cells():
    calls = []

    def method(model, x, target):
        calls.append(len(x))
        return target(x).view(-1, 1, 1, 1) * torch.ones_like(x)

    x, labels = torch.rand(2, 1, 8, 8), torch.arange(64).view(8, 8)
    maps = per_cell(method, torch.relu, x, labels)
    assert calls == [2 * 63]
    assert at_once(x, 63) == 63
    assert torch.allclose(maps[:, :, 0, 0, 0], x.flatten(1)[:, 1:])


def test_labels_of_another_batch_are_refused():
    with pytest.raises(UsageError, match="3 images of labels came for 2 images"):
        per_cell(saliency, torch.relu, torch.rand(2, 1, 4, 4), torch.ones(3, 4, 4).long())
