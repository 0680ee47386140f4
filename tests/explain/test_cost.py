"""The forecast is what the methods then really do."""

import math

import pytest
import torch
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.targets import Logit
from attributome.explain import METHODS, cost, method, parameters
from attributome.explain.cost import Cost, Measured, break_even, forecast
from attributome.testing import mixed_cnn
from attributome.testing.networks import SIZES

SMALL = {
    "steps": 4, "draws": 4, "evaluations": 20, "masks": 16, "depth": 2, "areas": (0.2, 0.4),
    "layer": "3", "background": torch.randn(3, 2, *SIZES[2]).double(), "window": 3,
}  # fmt: skip
FEATURES = 4  # of layer "3"


class Counting(nn.Module):
    """Counts the images that go through it, and those that a gradient comes back for."""

    def __init__(self):
        super().__init__()
        self.net, self.forwards, self.backwards = mixed_cnn(2), 0, 0

    def forward(self, x):
        self.forwards += len(x)
        out = self.net(x)
        if out.requires_grad:
            out.register_hook(self.back)
        return out

    def back(self, gradient):
        self.backwards += len(gradient)


def params_of(name, **more):
    given = parameters(name) | {k: v for k, v in SMALL.items() if k in parameters(name)} | more
    if "layer" in given:
        given["layer"] = "net.3"
    if name == "kernel_shap":
        given["evaluations"] = 100
    return given


@pytest.mark.parametrize("name", [n for n in METHODS if n in cost.FORMULAS and n != "prediction"])
def test_passes_are_those_that_are_counted(name):
    model, x = Counting(), torch.randn(3, 2, *SIZES[2]).double()
    params = params_of(name)
    method(name, **params)(model, x, Logit(1))
    told = forecast(name, params, SIZES[2], channels=FEATURES)
    found = Cost(model.forwards // 3, model.backwards // 3)
    assert (model.forwards % 3, model.backwards % 3) == (0, 0)
    if told.at_most:
        assert found.forwards <= told.forwards
        assert found.backwards <= told.backwards
        assert found.forwards > 0
        assert found.forwards >= told.forwards / 2 or name == "integrated_gradients"
    else:
        assert told == found


def test_integrated_gradients_stay_below_what_is_told():
    model, x = Counting(), torch.randn(3, 2, *SIZES[2]).double()
    params = params_of("integrated_gradients", steps=None, tolerance=1e-9, most=20)
    method("integrated_gradients", **params)(model, x, Logit(1))
    told = forecast("integrated_gradients", params, SIZES[2])
    assert told.at_most
    assert told.forwards / 2 < model.forwards / 3 <= told.forwards
    assert told.backwards / 2 < model.backwards / 3 <= told.backwards


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_line(name):
    assert name in cost.FORMULAS, f"{name} has no line in explain/cost.py"


def test_what_is_not_known_is_called_unknown():
    assert forecast("nothing_like_it", {}, (8, 8)) is None
    assert forecast("score_cam", {}, (8, 8)) is None  # without the layer's channels
    assert cost.in_words("x", None, Measured(1.0, 0, 1), 3) == "x: cost unknown"


def test_occlusion_counts_its_windows():
    params = {"window": 8, "stride": None}
    assert forecast("occlusion", params, (64, 64)) == Cost(65, 0)
    assert forecast("occlusion", params, (65, 60, 3)) == Cost(1 + 9 * 8 * 1, 0)
    assert forecast("occlusion", {"window": 8, "stride": 4}, (64, 64)) == Cost(1 + 15**2, 0)


def test_the_saved_bytes_are_those_of_the_activations():
    """A convolution saves its input; ReLU its output; both are shared between two layers."""
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.Flatten())
    found = cost.measure(net, torch.rand(5, 1, 10, 10))
    assert found.saved == 4 * (100 + 4 * 100)  # the image; what the ReLU gave, saved by two layers
    assert found.numbers == 100
    assert found.seconds > 0
    assert all(p.requires_grad for p in net.parameters())
    no_gradient = cost.measure(
        lambda x: x.detach().mean((1, 2, 3))[:, None], torch.rand(2, 1, 4, 4)
    )
    assert no_gradient.saved == 0


def test_seconds_and_bytes_follow_the_passes():
    measured = Measured(seconds=0.5, saved=1000, numbers=100)
    x = torch.rand(2, 1, 10, 10)
    assert cost.seconds(Cost(3, 1), measured, 10) == 20
    assert cost.memory(Cost(1, 1), measured, x) == 2 * (1000 + 2 * 400)
    assert cost.memory(Cost(3, 0), measured, x) == 3 * 2 * 2 * 400
    words = cost.in_words("saliency", Cost(1, 1), measured, 4)
    assert words == (
        "saliency: 1 forward and 1 backward passes per image, about 4.0 s for 4 images"
    )
    assert "at most 2 forward" in cost.in_words("x", Cost(2, 0, at_most=True), measured, 1)


@pytest.mark.parametrize(
    ("training", "other", "mask", "images"),
    [(1000, 11, 1, 101), (1005, 11, 1, 101), (0, 2, 1, 1), (10, 1, 1, None), (10, 0.5, 1, None)],
)
def test_a_learned_mask_pays_from_the_first_image_at_which_it_is_cheaper(
    training, other, mask, images
):
    assert break_even(training, other, mask) == images
    if images is not None:
        assert training + images * mask < images * other
        assert training + (images - 1) * mask >= (images - 1) * other


def test_training_costs_what_its_steps_do():
    assert cost.training_passes(100, 8) == 100 * 8 * 5
    assert cost.training_passes(100, 8, generator=2) == 100 * 8 * 8
    # 800 steps of an optimised mask against one pass of the generator
    assert break_even(cost.training_passes(2000, 8), 1600, 1) == math.floor(80000 / 1599) + 1
    with pytest.raises(UsageError, match="costs of -1, 1 and 1 must not be < 0"):
        break_even(-1, 1, 1)
