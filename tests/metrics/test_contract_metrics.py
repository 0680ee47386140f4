"""What every metric promises, checked for every metric in the table."""

import inspect
import math
from functools import partial

import pytest
import torch

from attributome.core.arrays import top_share
from attributome.core.targets import Logit, TopProbability
from attributome.explain.controls import random
from attributome.explain.gradients import smooth_grad
from attributome.metrics import METRICS

CLASSES = torch.tensor([0, 3, 4])


@pytest.fixture(params=METRICS)
def metric(request):
    return METRICS[request.param]


@pytest.fixture
def given(classifier, images):
    """No weight is negative and no pixel either, so that a pixel taken away lowers the target."""
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.abs_()
    x = images.double()
    maps, others = (random(classifier, x, len, seed=[s, s + 1, s + 2]) for s in (1, 7))
    return {
        "model": classifier.double(),
        "x": x,
        "target": Logit(CLASSES),
        "maps": maps,
        "others": others + maps,
        "masks": top_share(maps, 0.2),
        "fill": torch.zeros_like(x),
        "region": x[:, :1] > 0.7,
        "explainer": partial(smooth_grad, draws=2),
        "pixel_size": (0.5,) * (x.ndim - 2),
    }


def asked(metric, given):
    """With few steps and draws, where the metric has any."""
    known = inspect.signature(metric.function).parameters
    few = {name: n for name, n in {"steps": 4, "draws": 3}.items() if name in known}
    return metric.function(**{name: given[name] for name in metric.needs}, **few)


def state(model):
    hooks = [len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()]
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    return [m.training for m in model.modules()], flags, hooks, weights, torch.get_rng_state()


def same(before, after):
    return (
        before[:3] == after[:3]
        and before[3].keys() == after[3].keys()
        and all(torch.equal(before[3][k], after[3][k]) for k in before[3])
        and torch.equal(before[4], after[4])
    )


def test_one_number_per_sample(metric, given):
    scores = asked(metric, given)
    assert scores.shape == (3,)
    assert scores.isfinite().all()
    assert not scores.requires_grad


def test_samples_do_not_see_each_other(metric, given):
    def alone(i):
        one = {k: v[i : i + 1] if isinstance(v, torch.Tensor) else v for k, v in given.items()}
        return asked(metric, one | {"target": Logit(int(CLASSES[i]))})

    together = asked(metric, given)
    assert torch.allclose(together, torch.cat([alone(i) for i in range(3)]), rtol=1e-7, atol=1e-7)


def test_twice_is_the_same_and_nothing_is_touched(metric, given):
    before = state(given["model"])
    kept = {k: v.clone() for k, v in given.items() if isinstance(v, torch.Tensor)}
    first, second = asked(metric, given), asked(metric, given)
    assert torch.equal(first, second)
    assert same(before, state(given["model"]))
    assert all(torch.equal(given[name], value) for name, value in kept.items())


@pytest.mark.parametrize("metric", [m for m in METRICS.values() if "target" in m.needs])
def test_the_model_is_left_as_it_was_when_the_target_fails(metric, given):
    calls = []

    def broken(out):
        calls.append(out)
        if len(calls) == 2:  # in the middle of the work
            raise KeyError("target")
        return out[:, 0]

    before = state(given["model"])
    with pytest.raises(KeyError, match="target"):
        asked(metric, given | {"target": broken})
    assert same(before, state(given["model"]))


def test_the_scale_has_two_ends(metric):
    assert metric.better in ("higher", "lower")
    assert (metric.perfect > metric.worst) == (metric.better == "higher")
    assert not math.isnan(metric.perfect + metric.worst) or math.isinf(metric.perfect)


def test_scores_lie_on_the_scale(metric, given):
    if metric.function.__name__ == "mean_inside":
        given["maps"] = given["maps"].sigmoid()  # an importance from 0 to 1
    if metric.function.__name__ == "road":
        given["target"] = TopProbability()
    low, high = sorted((metric.perfect, metric.worst))
    scores = asked(metric, given)
    if metric.group != "randomisation":  # below 0 is the reverse, which is no likeness either
        assert (scores >= low - 1e-9).all()
    assert (scores <= high + 1e-9).all()
