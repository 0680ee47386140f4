"""What every explainer promises, checked for every explainer in the table."""

import pytest
import torch

from attributome.core.errors import UsageError
from attributome.core.targets import Logit
from attributome.explain import CONTROLS, METHODS, method, parameters
from attributome.testing import check_explainer, mixed_cnn
from attributome.testing.networks import SIZES

SMALL = {
    "steps": 4, "draws": 4, "evaluations": 20, "masks": 16, "samples": 16, "depth": 2,
    "areas": (0.2,), "layer": "3",
}  # fmt: skip
"""Settings that keep a test short, and those without which a method does not run."""

OWN = {
    "integrated_gradients": {"steps": None, "most": 20},
    "kernel_shap": {"evaluations": 100},
    "extremal_perturbation": {"fill": "gaussian"},  # a blur draws nothing
}
"""Where a setting of `SMALL` would switch off what has to be checked, or is too small."""

SEE_MORE = {*CONTROLS, "eigen_cam"}
"""Maps that a model which ignores its input need not leave empty."""

IMAGES_OUT = {"prediction"}
"""Maps that exist for image-to-image models only."""

FAULTS = 40
"""At least, for each method that runs the model: all of them together meet over a thousand."""


def settings(name, dims):
    draw = torch.Generator().manual_seed(7)
    background = torch.randn(3, 2, *SIZES[dims], generator=draw, dtype=torch.double)
    known = SMALL | {"background": background} | OWN.get(name, {})
    return {key: value for key, value in known.items() if key in parameters(name)}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_the_contract(name):
    reports = [
        check_explainer(
            method(name, **settings(name, dims)),
            dims=(dims,),
            zero_where_constant=name not in SEE_MORE,
            images_out=name in IMAGES_OUT,
            calls=20 if dims == 2 else 0,
        )
        for dims in (2, 3)
    ]
    assert name in CONTROLS or sum(report.faults for report in reports) >= FAULTS


def test_there_are_enough_methods_for_a_thousand_faults():
    assert FAULTS * len(METHODS.keys() - CONTROLS.keys()) >= 1000


def test_controls_find_importance_in_a_constant_model(classifier, images):
    with torch.no_grad():
        classifier[-1].weight.zero_()
    names = CONTROLS.keys() - IMAGES_OUT
    assert [n for n in names if not method(n)(classifier, images, Logit(1)).any()] == []


@pytest.mark.parametrize("name", ["saliency", "smooth_grad", "occlusion", "grad_cam"])
def test_methods_keep_the_contract_on_image_to_image_models(name):
    small = settings(name, 2)
    check_explainer(method(name, **small), dims=(2,), images_out=True, calls=0)


@pytest.mark.parametrize("name", [name for name in METHODS if "seed" in parameters(name)])
def test_each_sample_may_have_its_own_seed(name):
    model = mixed_cnn(2)
    noise = torch.randn(1, 2, *SIZES[2], generator=torch.Generator().manual_seed(0))
    x = noise.double().expand(3, -1, -1, -1)
    small = settings(name, 2)
    same = method(name, **small, seed=5)(model, x, Logit(1))
    each = method(name, **small, seed=[5, 6, 5])(model, x, Logit(1))
    assert torch.allclose(same[0], same[1], rtol=1e-9)
    assert torch.allclose(each[0], each[2], rtol=1e-9)
    assert torch.allclose(each[0], same[0], rtol=1e-9)
    assert not torch.allclose(each[0], each[1], rtol=1e-6)
    with pytest.raises(UsageError, match="2 seeds were given for 3 samples"):
        method(name, **small, seed=[1, 2])(model, x, Logit(1))


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
