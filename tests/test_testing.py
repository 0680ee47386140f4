"""The contract suites catch every broken method, in the right words, and pass sound ones."""

import random
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import torch

from attributome.core.probe import gradient, layer_gradient, predict, values
from attributome.explain.controls import random as random_map
from attributome.explain.gradients import saliency
from attributome.explain.perturbation import occlusion
from attributome.testing import check_explainer, check_metric, mixed_cnn
from attributome.testing.checks import CHECKS
from attributome.testing.state import changed, state_of

KEPT = []
SHARED = {}
FIRST = "after InjectedError in the forward pass of the model (call 1)"


def leaves_a_hook(model, x, target):
    model[3].register_forward_hook(lambda *_: None)
    return saliency(model, x, target)


def leaves_a_global_hook(model, x, target):
    KEPT.append(torch.nn.modules.module.register_module_forward_hook(lambda *_: None))
    return saliency(model, x, target)


def stays_in_evaluation(model, x, target):
    model.eval()
    return saliency(model, x, target)


def stays_in_evaluation_after_an_error(model, x, target):
    modes = [module.training for module in model.modules()]
    model.eval()
    maps = saliency(model, x, target)
    for module, mode in zip(model.modules(), modes, strict=True):
        module.training = mode
    return maps


def trains_while_it_explains(model, x, target):
    model(x.detach())
    return saliency(model, x, target)


def unfreezes(model, x, target):
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return saliency(model, x, target)


def leaks_requires_grad_after_an_error(model, x, target):
    flags = [parameter.requires_grad for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    maps = saliency(model, x, target)
    for parameter, flag in zip(model.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)
    return maps


def leaves_the_images_with_requires_grad(model, x, target):
    x.requires_grad_()
    return saliency(model, x, target)


def leaves_gradients(model, x, target):
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return saliency(model, x, target)


def flips_in_place_flags(model, x, target):
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return saliency(model, x, target)


def leaves_a_layer_inside(model, x, target):
    model[6] = torch.nn.Identity()
    return saliency(model, x, target)


def leaves_an_attribute(model, x, target):
    model[0].x = x.sum().item()
    return saliency(model, x, target)


def leaves_a_buffer(model, x, target):
    model[0].register_buffer("seen", torch.zeros(1))
    return saliency(model, x, target)


def changes_a_weight(model, x, target):
    model[0].bias.data.add_(1e-12)
    return saliency(model, x, target)


def changes_the_images(model, x, target):
    maps = saliency(model, x, target)
    x.data[0, 0].mul_(2)
    return maps


def draws_from_torch(model, x, target):
    return saliency(model, x + 0 * torch.rand(1), target)


def draws_from_numpy(model, x, target):
    return saliency(model, x + 0 * np.random.rand(), target)  # noqa: NPY002 (the slip itself)


def draws_from_python(model, x, target):
    return saliency(model, x, target) * random.random()


NOISE = torch.Generator()


def has_a_generator_of_its_own(model, x, target):
    return saliency(model, x, target) + torch.rand(x.shape, generator=NOISE, dtype=x.dtype)


def changes_the_default_dtype(model, x, target):
    torch.set_default_dtype(torch.float64)
    return saliency(model, x, target)


def changes_a_cudnn_flag(model, x, target):
    torch.backends.cudnn.benchmark = not torch.backends.cudnn.benchmark
    return saliency(model, x, target)


def switches_gradients_off(model, x, target):
    maps = saliency(model, x, target)
    torch.set_grad_enabled(False)
    return maps


def changes_the_threads(model, x, target):
    torch.set_num_threads(torch.get_num_threads() % 2 + 1)
    return saliency(model, x, target)


def silences_warnings(model, x, target):
    warnings.simplefilter("ignore")
    warnings.filterwarnings("ignore", message=str(len(warnings.filters)))
    return saliency(model, x, target)


def mixes_the_batch(model, x, target):
    maps = saliency(model, x, target)
    return maps / maps.abs().max()


def mixes_a_little(model, x, target):
    maps = saliency(model, x, target)
    return maps * (1 + 1e-5 * x.square().mean())


def knows_its_place(model, x, target):
    return saliency(model, x, target) * torch.arange(1.0, len(x) + 1).view(-1, *[1] * (x.ndim - 1))


def has_another_shape(model, x, target):
    return saliency(model, x, target)[..., :-1]


def is_two_dimensional(model, x, target):
    return saliency(model, x, target).flatten(3)


def gives_nan(model, x, target):
    maps = saliency(model, x, target)
    return maps / (maps - maps)


def gives_a_list(model, x, target):
    return saliency(model, x, target).tolist()


def gives_whole_numbers(model, x, target):
    return saliency(model, x, target).long()


def keeps_its_graph(model, x, target):
    return saliency(model, x, target) * torch.ones(1, requires_grad=True)


def keeps_every_map(model, x, target):
    KEPT.append(saliency(model, x, target))
    return KEPT[-1]


def swallows_errors(model, x, target):
    try:
        return saliency(model, x, target)
    except Exception:
        return torch.zeros_like(x)


def asks_without_gradients(model, x, target):
    leaf = x.detach().clone().requires_grad_()
    if not torch.is_grad_enabled():
        return torch.zeros_like(x)
    return gradient(model, leaf, target)


def says_how_often_it_had_to_ask(model, x, target):
    seen = []
    handle = model.register_forward_pre_hook(lambda _module, args: seen.append(len(args[0])))
    try:
        maps = saliency(model, x, target)
    finally:
        handle.remove()
    return maps * len(seen)


def finds_something_in_nothing(model, x, target):
    return saliency(model, x, target) + x.abs()


def shares_what_it_holds(model, x, target):
    SHARED["x"] = x
    out = values(model, x, target)
    return SHARED["x"].detach() * out.mean(0).view(-1, *[1] * (x.ndim - 1))


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (leaves_a_hook, "after a call, the set of hooks of layer '3' (_forward_hooks) is not"),
        (leaves_a_global_hook, "after a call, the set of hooks of all modules is not"),
        (stays_in_evaluation, "after a call, `training` of the model is not what it was"),
        (stays_in_evaluation_after_an_error, FIRST + ", `training` of the model is not"),
        (trains_while_it_explains, "after a call, the content of 4.running_mean is not"),
        (unfreezes, "after a call, requires_grad of 0.weight is not what it was"),
        (leaks_requires_grad_after_an_error, FIRST + ", requires_grad of 0.bias is not"),
        (leaves_the_images_with_requires_grad, "after a call, requires_grad of input 0"),
        (leaves_gradients, "after a call, the gradient of 0.weight is not"),
        (flips_in_place_flags, "after a call, `inplace` of layer '2' is not"),
        (leaves_a_layer_inside, "after a call, the list of layers is not"),
        (leaves_an_attribute, "after a call, the set of attributes of layer '0' is not"),
        (leaves_a_buffer, "after a call, the set of keys of the state_dict is not"),
        (changes_a_weight, "after a call, the content of 0.bias is not"),
        (changes_the_images, "after a call, the content of input 0 is not"),
        (draws_from_torch, "after a call, the global random state of torch is not"),
        (draws_from_numpy, "after a call, the global random state of NumPy is not"),
        (draws_from_python, "the same call gave other numbers the second time"),
        (has_a_generator_of_its_own, "the same call gave other numbers the second time"),
        (changes_the_default_dtype, "after a call, the default dtype is not"),
        (changes_a_cudnn_flag, "after a call, a flag of cudnn is not"),
        (switches_gradients_off, "after a call, whether gradients are on is not"),
        (changes_the_threads, "after a call, the number of threads is not"),
        (silences_warnings, "after a call, the list of warning filters is not"),
        (mixes_the_batch, "the result of a sample depends on the samples beside it"),
        (mixes_a_little, "the result of a sample depends on the samples beside it"),
        (knows_its_place, "the result of a sample depends on the samples beside it"),
        (has_another_shape, "maps of images (3, 2, 8, 6) have shape (3, 2, 8, 5)"),
        (is_two_dimensional, "in 3-D, maps of images (3, 2, 4, 6, 4) have shape (3, 2, 4, 24)"),
        (gives_nan, "a map holds numbers that are not finite"),
        (gives_a_list, "it returned a list and not a tensor"),
        (gives_whole_numbers, "its result is of torch.int64, which is no floating type"),
        (keeps_its_graph, "its result still carries a graph"),
        (keeps_every_map, "20 more tensors are alive after 20 calls"),
        (swallows_errors, f"it went on {FIRST} as if nothing had been"),
        (asks_without_gradients, "other numbers where the caller has no gradients"),
        (says_how_often_it_had_to_ask, "it gives other numbers where memory is short"),
        (finds_something_in_nothing, "it finds importance in a model that ignores its input"),
        (shares_what_it_holds, "two threads on two models disturb each other"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_a_broken_explainer_is_caught_in_the_right_words(broken, says, put_back):
    dims, calls = (3 if says.startswith("in 3-D") else 2,), 20 if broken is keeps_every_map else 0
    with pytest.raises(AssertionError) as caught:
        check_explainer(broken, dims=dims, calls=calls)
    assert says in str(caught.value)


@pytest.fixture
def put_back():
    """What these slips do to the process must not reach other tests."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    filters = warnings.filters[:]
    yield
    torch.set_num_threads(threads)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.backends.cudnn.benchmark = benchmark
    warnings.filters[:] = filters
    for kept in KEPT:
        if hasattr(kept, "remove"):
            kept.remove()
    KEPT.clear()


@pytest.mark.parametrize("explainer", [saliency, partial(occlusion, window=3)])
def test_a_sound_explainer_passes_and_is_told_what_was_looked_at(explainer):
    report = check_explainer(explainer)
    assert report.checks == tuple(check.__name__ for check in CHECKS)
    assert report.faults > 80


def test_maps_that_know_nothing_pass_where_that_is_said():
    quick = {"dims": (2,), "calls": 0}
    assert check_explainer(random_map, zero_where_constant=False, **quick).faults == 0
    with pytest.raises(AssertionError, match="finds importance in a model that ignores"):
        check_explainer(random_map, **quick)


def test_all_that_is_broken_is_told_at_once():
    def broken(model, x, target):
        return mixes_the_batch(model, x + 0 * torch.rand(1), target)

    with pytest.raises(AssertionError) as caught:
        check_explainer(broken, calls=0)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(set(lines)) > 3
    assert {line[:6] for line in lines} == {"in 2-D", "in 3-D"}


def drop(model, x, maps, target):
    """A sound metric: what is lost where the map is above its mean."""
    most = maps > maps.flatten(1).mean(1).view(-1, *[1] * (maps.ndim - 1))
    return (values(model, x, target) - values(model, torch.where(most, 0.0, x), target))[0]


def test_a_sound_metric_passes():
    assert check_metric(drop).faults > 80


@pytest.mark.parametrize(
    "metric",
    [
        lambda model, x, maps, target: maps.flatten(1).std(1),
        lambda model, x, maps, target: torch.full((len(x),), torch.nan),  # undefined is a value
    ],
)
def test_a_metric_need_not_ask_the_model(metric):
    assert check_metric(metric, dims=(2,), calls=0).faults == 0


def changes_its_maps(model, x, maps, target):
    maps.mul_(2)
    return drop(model, x, maps, target)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda *asked: drop(*asked).mean(), "scores of 3 maps have shape ()"),
        (lambda *asked: drop(*asked) / 0, "a score is infinite"),
        (lambda *asked: drop(*asked) - drop(*asked).mean(), "depends on the samples beside it"),
        (lambda *asked: drop(*asked).tolist(), "it returned a list and not a tensor"),
        (changes_its_maps, "the metric changed the maps that it judges"),
        (lambda *asked: drop(*asked) + torch.rand(1), "the global random state of torch is not"),
        (lambda model, x, maps, target: model(x)[:, 0].detach(), "running_mean is not what it was"),
    ],
)
def test_a_broken_metric_is_caught_in_the_right_words(broken, says):
    with pytest.raises(AssertionError) as caught:
        check_metric(broken, dims=(2,), calls=0)
    assert says in str(caught.value)


def test_every_random_state_is_watched(monkeypatch):
    monkeypatch.delitem(sys.modules, "beartype", raising=False)  # it draws from Python's itself
    model = mixed_cnn(2)
    for draw, name in (
        (random.random, "Python"),
        (np.random.rand, "NumPy"),
        (lambda: torch.rand(1), "torch"),
    ):
        before = state_of(model)
        draw()
        assert f"the global random state of {name}" in changed(before, state_of(model))


def test_the_network_is_made_without_the_global_random_state():
    before = torch.get_rng_state()
    one, two = mixed_cnn(2, seed=3), mixed_cnn(2, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert [k for k in changed(state_of(one), state_of(two)) if "content" in k] == []
    x = torch.rand(2, 2, 8, 6, dtype=torch.double)
    assert not torch.allclose(predict(one, x), predict(mixed_cnn(2, seed=4), x))
    act, _ = layer_gradient(one, "3", x, lambda out: out[:, 0])
    assert act.shape == (2, 4, 4, 3)
