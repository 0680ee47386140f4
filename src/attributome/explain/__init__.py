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

CONTROLS: dict[str, Callable[..., Maps]] = {
    f.__name__: f for f in (random, blurred_noise, intensity, edges, local_variance)
}
METHODS: dict[str, Callable[..., Maps]] = {
    f.__name__: f
    for f in (
        saliency,
        input_x_gradient,
        integrated_gradients,
        smooth_grad,
        grad_cam,
        hires_cam,
        layer_cam,
        occlusion,
    )
} | CONTROLS


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
