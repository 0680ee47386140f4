"""Attribution methods: plain functions, and the tables that give them names."""

import inspect
from collections.abc import Callable
from functools import partial

from attributome.core.errors import UsageError
from attributome.core.types import Explainer, Maps
from attributome.explain.bottleneck import information_bottleneck
from attributome.explain.cam import (
    eigen_cam,
    eigen_grad_cam,
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    layer_cam,
    xgrad_cam,
)
from attributome.explain.cam_forward import ablation_cam, score_cam
from attributome.explain.controls import (
    blurred_noise,
    centre,
    edges,
    intensity,
    local_variance,
    prediction,
    random,
)
from attributome.explain.extremal import extremal_perturbation
from attributome.explain.gradients import (
    expected_gradients,
    guided_backprop,
    input_x_gradient,
    integrated_gradients,
    saliency,
    smooth_grad,
    var_grad,
)
from attributome.explain.perturbation import feature_ablation, occlusion, rise
from attributome.explain.references import deep_lift, deep_shap
from attributome.explain.relevance import lrp
from attributome.explain.shapley import kernel_shap, owen

Function = Callable[..., Maps]


def _table(*functions: Function) -> dict[str, Function]:
    return {f.__name__: f for f in functions}


GRADIENT = _table(
    saliency,
    input_x_gradient,
    integrated_gradients,
    smooth_grad,
    var_grad,
    expected_gradients,
    guided_backprop,
    deep_lift,
    deep_shap,
    lrp,
    extremal_perturbation,
)
"""Methods that differentiate the model."""

LAYER = _table(
    grad_cam,
    grad_cam_plus_plus,
    xgrad_cam,
    hires_cam,
    layer_cam,
    eigen_cam,
    eigen_grad_cam,
    score_cam,
    ablation_cam,
    information_bottleneck,
)
"""Methods that look at a named layer."""

FORWARD = _table(occlusion, feature_ablation, rise, kernel_shap, owen)
"""Methods that only call the model."""

CONTROLS = _table(random, blurred_noise, centre, intensity, edges, local_variance, prediction)
"""Maps that know nothing of the model, or nothing of what in the image it uses."""

COMPLETE = ("integrated_gradients", "deep_lift", "kernel_shap", "owen")
"""Methods whose maps sum to what separates the image from their baseline."""

HALF = (
    "occlusion",
    "feature_ablation",
    "kernel_shap",
    "grad_cam",
    "grad_cam_plus_plus",
    "xgrad_cam",
    "hires_cam",
    "layer_cam",
    "eigen_cam",
    "eigen_grad_cam",
    "score_cam",
    "ablation_cam",
)
"""Methods that may run in bfloat16 autocast: their maps then keep a correlation of 0.99 with those
in float32 (tested on a small CNN). All others run in float32 whatever precision was asked for."""

METHODS = GRADIENT | LAYER | FORWARD | CONTROLS


def need(name: str) -> str:
    """What a method asks of a model: "gradient", "layer" or "nothing" but to be called."""
    return "gradient" if name in GRADIENT else "layer" if name in LAYER else "nothing"


def method(name: str, **params: object) -> Explainer:
    """The named method with its parameters filled in; fails on a name or parameter it lacks."""
    if name not in METHODS:
        raise UsageError(f"no method {name!r}; choose one of {sorted(METHODS)}")
    known = parameters(name)
    if unknown := params.keys() - known:
        raise UsageError(f"{name} has no parameter {sorted(unknown)}; it takes {sorted(known)}")
    needed = {key for key, default in known.items() if default is inspect.Parameter.empty}
    if absent := needed - params.keys():
        raise UsageError(f"{name} needs the parameter {sorted(absent)}")
    return partial(METHODS[name], **params)


def parameters(name: str) -> dict[str, object]:
    """Keyword parameters of a method and their defaults."""
    signature = inspect.signature(METHODS[name]).parameters.values()
    return {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY}
