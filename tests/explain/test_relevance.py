"""LRP relevance by relevance against dense matrices, and what it conserves."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.targets import Logit, Output, TopProbability
from attributome.explain.gradients import input_x_gradient
from attributome.explain.relevance import lrp
from oracles.propagation import dense, relevance


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def network(dims=2, *, bias=True, activation=None, norm=False):
    torch.manual_seed(0)
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    mean = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[dims - 1]
    layers = [
        conv(1, 3, 3, padding=1, bias=bias), activation or nn.ReLU(inplace=True),
        conv(3, 2, 3, bias=bias), nn.ReLU(), mean(2), nn.Flatten(), nn.LazyLinear(2, bias=bias),
    ]  # fmt: skip
    if norm:
        layers.insert(1, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1](3))
    model = nn.Sequential(*layers)
    model(torch.zeros(2, 1, *[6] * dims))
    return model.double().eval()


RULES = {
    "epsilon": ("epsilon", "epsilon"),
    "gamma": ("gamma", "gamma"),
    "epsilon_gamma": ("gamma", "epsilon"),
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("epsilon", [1e-6, 0.3])
def test_it_is_the_slow_version(rule, bias, epsilon):
    model, x = network(bias=bias), draw(2, 1, 6, 6)
    model[-1] = nn.Linear(8, 1, bias=bias).double()
    first, second = dense(model[0], (1, 6, 6)), dense(model[2], (3, 6, 6))
    head = dense(nn.Sequential(*model[4:]), second[2])
    layers = [first[:2], None, second[:2], None, head[:2]]
    conv, linear = ((epsilon, None) if one == "epsilon" else (0, 0.4) for one in RULES[rule])
    rules = [(*conv, 3), None, (*conv, 2), None, (*linear, 1)]
    found = lrp(model, x, Output(), rule=rule, epsilon=epsilon, gamma=0.4)
    if rule == "gamma":  # the mean joins the head, and gamma of both is not gamma of one
        head = dense(nn.Sequential(*model[5:]), (2, 2, 2))
        mean = dense(model[4], second[2])
        layers[4:] = [mean[:2], head[:2]]
        rules[4:] = [(0, None, 1), (*linear, 1)]
    for i in range(2):
        wanted = relevance(layers, x[i].flatten().numpy(), rules)
        assert np.allclose(found[i].flatten(), wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_epsilon_near_zero_is_gradient_times_input(dims):
    model, x = network(dims), draw(2, 1, *[6] * dims)
    if dims == 1:
        x = x.view(2, 1, 6, 1)
        model = nn.Sequential(nn.Flatten(2), model)
    found = lrp(model, x, Logit(1), rule="epsilon", epsilon=0.0)
    assert torch.allclose(found, input_x_gradient(model, x, Logit(1)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.2), nn.GELU(), nn.Tanh()])
def test_without_bias_all_relevance_arrives(rule, activation, dims):
    model, x = network(dims, bias=False, activation=activation), draw(3, 1, *[6] * dims)
    found = lrp(model, x, Logit(torch.tensor([0, 1, 1])), rule=rule, epsilon=0.0)
    with torch.no_grad():
        wanted = model(x)[[0, 1, 2], [0, 1, 1]]
    assert torch.allclose(found.flatten(1).sum(1), wanted)


def test_epsilon_absorbs_and_gamma_favours():
    model, x = network(bias=False), draw(3, 1, 6, 6)
    with torch.no_grad():
        score = model(x)[:, 0]
    sums = [
        lrp(model, x, Logit(0), rule="epsilon", epsilon=e).flatten(1).sum(1) / score
        for e in (0.0, 0.1, 1.0)
    ]
    assert torch.allclose(sums[0], torch.ones(3, dtype=torch.double))
    assert (sums[1] > sums[2]).all()

    def against(gamma):
        maps = lrp(model, x, Logit(0), rule="gamma", gamma=gamma) * score.sign().view(3, 1, 1, 1)
        return (-maps).relu().sum() / maps.abs().sum()

    assert against(0.0) > against(1.0) > against(100.0)


@pytest.mark.parametrize("rule", RULES)
def test_samples_do_not_see_each_other(rule):
    model, x = network(norm=True), draw(3, 1, 6, 6)
    together = lrp(model, x, Logit(torch.tensor([0, 1, 1])), rule=rule, epsilon=0.1)
    for i, label in enumerate((0, 1, 1)):
        alone = lrp(model, x[i : i + 1], Logit(label), rule=rule, epsilon=0.1)
        assert torch.allclose(together[i : i + 1], alone)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.MaxPool2d(2)

    def forward(self, x):
        y = F.relu(self.conv(x), inplace=True)
        y += x
        return self.pool(y).mean((2, 3))


def test_residuals_and_maxima_hand_on_what_they_get():
    torch.manual_seed(0)
    model, x = Residual().double(), draw(2, 1, 6, 6)
    found = lrp(model, x, Output(), epsilon=0.0)
    with torch.no_grad():
        assert torch.allclose(found.flatten(1).sum(1), model(x)[:, 0])


@pytest.mark.parametrize(
    ("model", "target", "params", "says"),
    [
        (nn.Sequential(nn.Sigmoid(), nn.Flatten()), Logit(0), {}, "'sigmoid'.*layer '0' .Sigmoid"),
        (nn.Sequential(nn.GroupNorm(1, 1).double(), nn.Flatten()), Logit(0), {}, "'group_norm'"),
        (nn.Flatten(), TopProbability(), {}, "'softmax', called by a plain function or the target"),
        (nn.Flatten(), Logit(0), {"epsilon": -1.0}, "not negative"),
    ],
)
def test_what_it_cannot_do_is_refused(model, target, params, says):
    with pytest.raises(UsageError, match=says):
        lrp(model, draw(2, 1, 4, 4), target, **params)


def test_gates_are_refused():
    gate = nn.Sequential(nn.Conv2d(1, 2, 1), nn.GELU(), nn.Flatten()).double()

    def gated(x):
        return gate(x) * gate(x)

    with pytest.raises(UsageError, match="'mul'.*both depend on the input.*use deep_lift"):
        lrp(gated, draw(2, 1, 4, 4), Logit(0))
