"""Integrals along lines, draws and rectifiers: exact where they can be, and no dearer than said."""

import math

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Beside, Packed, pack
from attributome.core.targets import Logit, Output
from attributome.explain import gradients
from attributome.explain.lines import _fejer


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def network(activation, norm=None):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 6, 3, padding=1)
    mid = [] if norm is None else [norm(6)]
    return nn.Sequential(
        conv, *mid, activation(), nn.Conv2d(6, 6, 3), activation(), nn.Flatten(), nn.LazyLinear(3)
    )


def ready(model):
    model(torch.zeros(2, 2, 8, 8))
    return model.double().eval()


class Counting(nn.Module):
    """How many images a model was asked about."""

    def __init__(self, model):
        super().__init__()
        self.model, self.images = model, 0

    def forward(self, x):
        self.images += len(x)
        return self.model(x)


def polynomial(degree):
    return lambda x: (x**degree).flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_polynomial_of_twice_the_steps_is_exact(steps, dims):
    x, start = draw(2, 1, *[2] * dims), draw(2, 1, *[2] * dims, seed=1)
    exact = x ** (2 * steps) - start ** (2 * steps)
    found = gradients.integrated_gradients(
        polynomial(2 * steps), x, Output(), baseline=start, steps=steps
    )
    assert torch.allclose(found, exact, rtol=1e-10)
    beyond = gradients.integrated_gradients(
        polynomial(2 * steps + 2), x, Output(), baseline=start, steps=steps
    )
    assert not torch.allclose(beyond, x ** (2 * steps + 2) - start ** (2 * steps + 2), rtol=1e-3)


def test_products_and_quadratics_are_shared_as_the_axioms_say():
    x = torch.tensor([[[[3.0, -2.0]]]], dtype=torch.double)

    def product(x):
        return x.flatten(1).prod(1, keepdim=True)

    found = gradients.integrated_gradients(product, x, Output(), steps=1)
    assert found.flatten().tolist() == pytest.approx([-3, -3])
    a = draw(4, 4)
    x = draw(2, 1, 2, 2)

    def quadratic(x):
        flat = x.flatten(1)
        return torch.einsum("bi,ij,bj->b", flat, a, flat)[:, None]

    found = gradients.integrated_gradients(quadratic, x, Output(), steps=1).flatten(1)
    flat = x.flatten(1)
    assert torch.allclose(found, flat * (flat @ (a + a.T)) / 2)


@pytest.mark.parametrize("size", [5, 11, 23])
def test_fejer_weights_integrate_polynomials(size):
    angle = np.arange(1, size + 1) * math.pi / (size + 1)
    nodes, weights = (1 - np.cos(angle)) / 2, _fejer(angle, size)
    for power in range(size):
        assert (weights * nodes**power).sum() == pytest.approx(1 / (power + 1), rel=1e-12)


def test_steps_are_those_of_captum():
    model, x = ready(network(nn.ReLU)), draw(3, 2, 8, 8)
    classes, start = torch.tensor([0, 2, 1]), draw(3, 2, 8, 8, seed=1)
    wanted = captum.attr.IntegratedGradients(model).attribute(
        x, start, target=classes, n_steps=9, method="gausslegendre"
    )
    found = gradients.integrated_gradients(model, x, Logit(classes), baseline=start, steps=9)
    assert torch.allclose(found, wanted, rtol=1e-9)


def spots(count, seed):
    """Noise with a bright square in one of three places."""
    place = torch.randint(3, (count,), generator=torch.Generator().manual_seed(seed))
    x = 0.5 * draw(count, 2, 12, 12, seed=seed).float()
    for image, row in zip(x, place, strict=True):
        image[:, 4 * row : 4 * row + 4, 2:8] += 1
    return x, place


def trained(activation, norm):
    torch.manual_seed(0)
    mid = [[] if norm is None else [norm(8)] for _ in range(2)]
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), *mid[0], activation(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1), *mid[1], activation(), nn.Flatten(), nn.Linear(288, 3),
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(30):
        x, place = spots(32, step)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), place).backward()
        optimiser.step()
    return model.eval().requires_grad_(False).double()


def test_one_percent_costs_at_most_half_of_fifty_gradients():
    """What captum spends by default; the two values it is compared with are counted here."""
    kinds = [
        (nn.ReLU, None),
        (nn.GELU, None),
        (nn.ReLU, nn.BatchNorm2d),
        (nn.SiLU, lambda c: nn.GroupNorm(2, c)),
    ]
    cheap = 0
    x, place = spots(6, 99)
    x, target = x.double(), Logit(place)
    for activation, norm in kinds:
        model = Counting(trained(activation, norm))
        maps = gradients.integrated_gradients(model, x, target)
        cheap += model.images <= 25 * len(x)
        gap = target(model(x)) - target(model(0 * x))
        assert (maps.flatten(1).sum(1) - gap).abs().le(0.01 * gap.abs()).all()
    assert cheap >= 3


def test_a_hard_line_takes_more_steps_until_they_are_spent():
    def step(x):
        return torch.sigmoid(200 * (x.flatten(1) - 0.3)).sum(1, keepdim=True)

    x = torch.ones(1, 1, 1, 1, dtype=torch.double)
    errors, costs = [], []
    for most in (5, 23, 640):
        model = Counting(nn.Identity())
        found = gradients.integrated_gradients(
            lambda x, m=model: step(m(x)), x, Output(), tolerance=1e-3, most=most
        )
        errors.append(abs(float(found.sum()) - 1))
        costs.append(model.images - 2)
    assert costs[:2] == [5, 23]
    assert 23 < costs[2] <= 640
    assert errors[2] <= 1e-3 < min(errors[:2])


def test_each_sample_stops_by_itself():
    """A sample keeps the map it was done with, however long its neighbours take."""
    model, target = ready(network(nn.GELU)), Logit(0)
    x = torch.cat([draw(1, 2, 8, 8), 40 * draw(1, 2, 8, 8, seed=2), draw(1, 2, 8, 8, seed=3)])
    together = gradients.integrated_gradients(model, x, target, tolerance=1e-4)
    alone = [gradients.integrated_gradients(model, one[None], target, tolerance=1e-4) for one in x]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-9)


def test_a_linear_model_needs_no_more_than_the_first_steps():
    model = Counting(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)).double())
    gradients.integrated_gradients(model, draw(2, 1, 2, 2), Output(), baseline=1.0)
    assert model.images == 2 * (5 + 2)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.image, self.row = nn.Linear(8, 4), nn.Linear(3, 4)

    def forward(self, image, row):
        return (self.image(image.flatten(1)).tanh() * self.row(row)).sum(1, keepdim=True)


def test_packed_inputs_are_explained_jointly_and_one_beside_the_other_alone():
    model, image, row = TwoInputs().double(), draw(3, 2, 2, 2), draw(3, 3, seed=1)
    packed = Packed(model, ((2, 2, 2), (3,)))
    x = pack([image, row])
    maps = gradients.integrated_gradients(packed, x, Output(), steps=40)
    with torch.no_grad():
        gap = model(image, row)[:, 0] - model(0 * image, 0 * row)[:, 0]
        beside = model(image, row)[:, 0] - model(0 * image, row)[:, 0]
    assert torch.allclose(maps.flatten(1).sum(1), gap, rtol=1e-8)
    alone = gradients.integrated_gradients(Beside(model, 0, (row,)), image, Output(), steps=40)
    assert torch.allclose(alone.flatten(1).sum(1), beside, rtol=1e-8)


def test_noise_of_width_zero_is_the_gradient():
    model, x = ready(network(nn.GELU)), draw(2, 2, 8, 8)
    plain = gradients.saliency(model, x, Logit(1))
    assert torch.allclose(gradients.smooth_grad(model, x, Logit(1), noise=0.0, draws=3), plain)
    assert not gradients.var_grad(model, x, Logit(1), noise=0.0, draws=3).any()


def test_noise_has_the_width_it_says_and_the_moments_are_those_of_all_draws():
    """For f = Σ x³ the moments of the gradient 3 (x + e)² are known."""
    x = torch.linspace(-1, 3, 16, dtype=torch.double).view(1, 1, 4, 4)
    model = polynomial(3)
    many = torch.stack(list(gradients._under_noise(model, x, Output(), 0.05, 500, 3)))
    mean = gradients.smooth_grad(model, x, Output(), noise=0.05, draws=500, seed=3)
    variance = gradients.var_grad(model, x, Output(), noise=0.05, draws=500, seed=3)
    assert torch.allclose(mean, many.mean(0))
    assert torch.allclose(variance, many.var(0))
    width = 0.05 * 4
    assert torch.allclose(mean, 3 * (x**2 + width**2), atol=3 * 0.1)
    exact = 9 * (4 * x**2 * width**2 + 2 * width**4)
    assert float((variance / exact).median()) == pytest.approx(1, rel=0.1)


def test_expected_gradients_of_a_quadratic_are_exact_in_the_mean():
    """Its gradient is linear along each line, so the mean over positions is the midpoint."""
    x, background = draw(2, 1, 2, 2), draw(5, 1, 2, 2, seed=4)
    maps, error = gradients.expected_gradients_with_error(
        polynomial(2), x, Output(), background=background, draws=2000
    )
    exact = (x[:, None] ** 2 - background[None] ** 2).mean(1)
    assert (maps - exact).abs().le(3 * error).all()
    assert float(error.max()) < 0.2
    wide = gradients.expected_gradients_with_error(
        polynomial(2), x, Output(), background=background, draws=20
    )[1]
    assert float((wide / error).median()) == pytest.approx(10, rel=0.3)


def test_expected_gradients_serve_every_background_alike_and_samples_alone():
    x, background = draw(3, 1, 2, 2), draw(4, 1, 2, 2, seed=4)
    weight = draw(1, 1, 2, 2, seed=5)

    def linear(x):
        return (x * weight).flatten(1).sum(1, keepdim=True)

    exact = (x - background.mean(0)) * weight
    found = gradients.expected_gradients(linear, x, Output(), background=background, draws=8)
    assert torch.allclose(found, exact)
    model = ready(network(nn.GELU))
    x, background = draw(3, 2, 8, 8), draw(4, 2, 8, 8, seed=4)
    classes = torch.tensor([2, 0, 1])
    run = {"background": background, "draws": 6}
    together = gradients.expected_gradients(model, x, Logit(classes), seed=[1, 2, 3], **run)
    for i in range(3):
        alone = gradients.expected_gradients(
            model, x[i : i + 1], Logit(int(classes[i])), seed=[i + 1], **run
        )
        assert torch.allclose(together[i : i + 1], alone, rtol=1e-9)


@pytest.mark.parametrize("inplace", [False, True])
def test_guided_backprop_is_that_of_captum(inplace):
    model, x = ready(network(nn.ReLU)), draw(2, 2, 8, 8)
    with pytest.warns(UserWarning, match="Setting backward hooks on ReLU"):
        wanted = captum.attr.GuidedBackprop(model).attribute(x.clone().requires_grad_(), target=1)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = inplace
    found = gradients.guided_backprop(model, x, Logit(1))
    assert torch.allclose(found, wanted.detach())
    assert not torch.allclose(found, gradients.saliency(model, x, Logit(1)))


def test_guided_backprop_sees_functional_relus_and_refuses_where_there_is_none():
    model, x = ready(network(nn.ReLU)), draw(2, 2, 8, 8)

    def functional(x):
        return model[4:](torch.relu_(model[2](torch.relu(model[0](x)))))

    found = gradients.guided_backprop(functional, x, Logit(1))
    assert torch.allclose(found, gradients.guided_backprop(model, x, Logit(1)))
    with pytest.raises(UsageError, match="this model calls none; use saliency"):
        gradients.guided_backprop(ready(network(nn.GELU)), x, Logit(1))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m, x: gradients.integrated_gradients(m, x, Logit(0), steps=0), "at least 1"),
        (lambda m, x: gradients.integrated_gradients(m, x, Logit(0), most=3), "at least 5"),
        (lambda m, x: gradients.integrated_gradients(m, x, Logit(0), tolerance=0.0), "above 0"),
        (lambda m, x: gradients.smooth_grad(m, x, Logit(0), draws=0), "at least 1"),
        (lambda m, x: gradients.var_grad(m, x, Logit(0), draws=1), "at least 2"),
        (
            lambda m, x: gradients.expected_gradients(m, x, Logit(0), background=x[:0]),
            "at least one image",
        ),
        (
            lambda m, x: gradients.expected_gradients(m, x, Logit(0), background=x, draws=1),
            "at least 2",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(call, says):
    with pytest.raises(UsageError, match=says):
        call(ready(network(nn.ReLU)), draw(2, 2, 8, 8))
