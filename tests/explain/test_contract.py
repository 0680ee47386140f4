"""What every explainer promises, checked for every explainer in the table."""

import copy

import pytest
import torch

from attributome.core.errors import UsageError
from attributome.core.targets import Logit
from attributome.explain import CONTROLS, METHODS, method, parameters


@pytest.fixture(params=METHODS)
def name(request):
    return request.param


@pytest.fixture
def explainer(name):
    return method(name, **({"layer": "3"} if "layer" in parameters(name) else {}))


def state(model):
    hooks = [len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules()]
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    flags = [p.requires_grad for p in model.parameters()]
    return [m.training for m in model.modules()], flags, hooks, weights


def test_shape_is_that_of_the_images(explainer, classifier, images):
    maps = explainer(classifier, images, Logit(1))
    assert maps.shape[0] == images.shape[0]
    assert maps.shape[1] in (1, images.shape[1])
    assert maps.shape[2:] == images.shape[2:]
    assert maps.isfinite().all()


def test_model_and_images_are_left_as_they_were(explainer, classifier, images):
    before, kept = state(classifier), copy.deepcopy(images)
    explainer(classifier, images, Logit(1))
    after = state(classifier)
    assert after[:3] == before[:3]
    assert all(torch.equal(after[3][k], v) for k, v in before[3].items())
    assert all(p.grad is None for p in classifier.parameters())
    assert torch.equal(images, kept)
    assert not images.requires_grad


def test_model_is_left_as_it_was_when_the_target_fails(name, explainer, classifier, images):
    def broken(out):
        raise KeyError("target")

    before = state(classifier)
    if name in CONTROLS:  # they do not look at the model, so they cannot meet the error
        explainer(classifier, images, broken)
    else:
        with pytest.raises(KeyError, match="target"):
            explainer(classifier, images, broken)
    assert state(classifier)[:3] == before[:3]


def test_samples_do_not_see_each_other(explainer, classifier, images):
    classes = torch.tensor([0, 3, 4])
    together = explainer(classifier, images, Logit(classes))
    alone = [explainer(classifier, images[i : i + 1], Logit(int(classes[i]))) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_twice_is_the_same(explainer, classifier, images):
    first, second = (explainer(classifier, images, Logit(1)) for _ in range(2))
    assert torch.equal(first, second)


def test_only_controls_find_importance_in_a_constant_model(name, explainer, classifier, images):
    with torch.no_grad():
        classifier[-1].weight.zero_()
    assert explainer(classifier, images, Logit(1)).any() == (name in CONTROLS)


@pytest.mark.parametrize("name", ["random", "blurred_noise", "smooth_grad"])
def test_each_sample_may_have_its_own_seed(name, classifier, images):
    classifier.double()  # so that a map cannot look alike because it is small
    x = images[:1].expand(3, *images.shape[1:]).double()
    same = method(name, seed=5)(classifier, x, Logit(1))
    each = method(name, seed=[5, 6, 5])(classifier, x, Logit(1))
    assert torch.allclose(same[0], same[1], rtol=1e-9)
    assert torch.allclose(each[0], each[2], rtol=1e-9)
    assert not torch.allclose(each[0], each[1], rtol=1e-3)
    with pytest.raises(UsageError, match="2 seeds were given for 3 samples"):
        method(name, seed=[1, 2])(classifier, x, Logit(1))


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("gradcam", {}, "no method 'gradcam'; choose one of"),
        ("occlusion", {"size": 3}, "it takes .*window"),
        ("grad_cam", {}, "grad_cam needs the parameter .'layer'."),
    ],
)
def test_wrong_names_say_what_would_be_right(name, params, says):
    with pytest.raises(UsageError, match=says):
        method(name, **params)
