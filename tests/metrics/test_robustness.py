"""Robustness against loops and closed forms, and at the ends of its scales."""

import numpy as np
import pytest
import torch

from attributome.core.draws import each
from attributome.core.errors import UsageError
from attributome.core.targets import Output
from attributome.explain.controls import random
from attributome.explain.gradients import input_x_gradient, saliency
from attributome.metrics import robustness
from attributome.metrics.robustness import shifted
from oracles import metrics as oracle


@pytest.fixture
def x(images):
    return images[..., :6, :5].double() + 0.1


def cube(v):
    return v.pow(3).flatten(1).sum(1, keepdim=True)


def test_a_constant_gradient_does_not_move(x):
    given = (lambda v: v.flatten(1).sum(1, keepdim=True), x, Output(), saliency)
    assert robustness.max_sensitivity(*given).tolist() == [0, 0, 0]
    assert robustness.mean_sensitivity(*given).tolist() == [0, 0, 0]


def test_sensitivity_is_that_of_the_loop(x):
    """The gradient of the sum of cubes is 3x²."""

    def draw(one, generator):
        many = torch.rand((1, 4, *one.shape[1:]), generator=generator).to(one)
        return 0.3 * (2 * many - 1)

    moved = each(x, [5, 6, 7], draw)
    assert moved.abs().amax() <= 0.3
    told = [
        f(cube, x, Output(), saliency, radius=0.3, draws=4, seed=[5, 6, 7])
        for f in (robustness.max_sensitivity, robustness.mean_sensitivity)
    ]
    for i in range(3):
        was = 3 * x[i].numpy() ** 2
        change = [
            np.linalg.norm(3 * (x[i] + one).numpy() ** 2 - was) / np.linalg.norm(was)
            for one in moved[i]
        ]
        assert [t[i].item() for t in told] == pytest.approx([max(change), np.mean(change)])


def test_a_map_of_zeros_has_no_relative_change(x):
    for explainer in (lambda m, v, t: 0 * v, lambda m, v, t: v - x):
        assert robustness.max_sensitivity(cube, x, Output(), explainer).isnan().all()


def test_seeds_at_their_ends(x):
    """A method that ignores its seed, one that turns its map round, and pure noise."""

    def turning(model, x, target, *, seed):
        return x * (-1) ** seed

    def deaf(model, x, target, *, seed):
        return x

    given = (cube, x, Output())
    assert robustness.seed_stability(*given, deaf).tolist() == pytest.approx([1, 1, 1])
    turned = robustness.seed_stability(*given, turning, seeds=(0, 1))
    assert turned.tolist() == pytest.approx([-1, -1, -1])
    noise = robustness.seed_stability(*given, random, seeds=(3, 4, 9))
    for i in range(3):
        maps = [random(cube, x, Output(), seed=s)[i].numpy() for s in (3, 4, 9)]
        pairs = [(0, 1), (0, 2), (1, 2)]
        wanted = np.mean([oracle.spearman(maps[a], maps[b]) for a, b in pairs])
        assert noise[i].item() == pytest.approx(wanted)
    assert robustness.seed_stability(*given, lambda m, x, t, seed: 0 * x).isnan().all()


def test_equivariance_at_its_ends(x):
    given = (cube, x, Output())
    assert robustness.equivariance(*given, input_x_gradient).tolist() == pytest.approx([1] * 3)
    move = [shifted(*range(1, x.ndim - 1))]
    assert robustness.equivariance(*given, input_x_gradient, moves=move).tolist() == (
        pytest.approx([1] * 3)
    )
    ramp = torch.arange(6.0).double().view(-1, 1).expand(x.shape[-2:])
    fixed = robustness.equivariance(
        *given, lambda m, x, t: 0 * x + ramp, moves=[lambda v: v.flip(-2)]
    )
    assert fixed.tolist() == pytest.approx([-1, -1, -1])
    assert robustness.equivariance(*given, lambda m, x, t: 0 * x).isnan().all()


def test_impossible_requests_are_refused(x):
    with pytest.raises(UsageError, match="make no pair"):
        robustness.seed_stability(cube, x, Output(), random, seeds=(1, 1))
    with pytest.raises(UsageError, match="at least one move"):
        robustness.equivariance(cube, x, Output(), saliency, moves=[])
    with pytest.raises(UsageError, match="change nothing"):
        robustness.max_sensitivity(cube, x, Output(), saliency, radius=0)
