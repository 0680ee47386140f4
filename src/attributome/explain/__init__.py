"""Attribution methods: plain functions, and the tables that give them names."""

import inspect
from collections.abc import Callable
from functools import partial

from attributome.core.errors import UsageError
from attributome.core.types import Explainer, Maps
from attributome.explain.cam import grad_cam, hires_cam, layer_cam
from attributome.explain.controls import blurred_noise, edges, intensity, local_variance, random
from attributome.explain.gradients import (
    input_x_gradient,
    integrated_gradients,
    saliency,
    smooth_grad,
)
from attributome.explain.perturbation import occlusion

Function = Callable[..., Maps]


def _table(*functions: Function) -> dict[str, Function]:
    return {f.__name__: f for f in functions}


GRADIENT = _table(saliency, input_x_gradient, integrated_gradients, smooth_grad)
"""Methods that differentiate the model."""

LAYER = _table(grad_cam, hires_cam, layer_cam)
"""Methods that look at a named layer."""

FORWARD = _table(occlusion)
"""Methods that only call the model."""

CONTROLS = _table(random, blurred_noise, intensity, edges, local_variance)
"""Maps that know nothing of the model, or nothing of what in the image it uses."""

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
