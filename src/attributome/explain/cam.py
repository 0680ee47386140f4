"""Class activation maps of a named layer, in 2-D and 3-D: one signed map per sample (k = 1).

The sign is kept: negative evidence is evidence, and a surface that hides it says so.
"""

from attributome.core.arrays import resize, space
from attributome.core.probe import layer_gradient
from attributome.core.types import Images, Maps, Predictor, Target


def grad_cam(model: Predictor, x: Images, target: Target, *, layer: str) -> Maps:
    """Channels weighted by their mean gradient (Selvaraju et al. 2017)."""
    act, grad = layer_gradient(model, layer, x, target)
    weights = grad.mean(space(grad), keepdim=True)
    return resize((weights * act).sum(1, keepdim=True), x)


def hires_cam(model: Predictor, x: Images, target: Target, *, layer: str) -> Maps:
    """Gradient times activation, without averaging the gradient (Draelos & Carin 2020)."""
    act, grad = layer_gradient(model, layer, x, target)
    return resize((grad * act).sum(1, keepdim=True), x)


def layer_cam(model: Predictor, x: Images, target: Target, *, layer: str) -> Maps:
    """Only positive gradients weigh the activation (Jiang et al. 2021)."""
    act, grad = layer_gradient(model, layer, x, target)
    return resize((grad.relu() * act).sum(1, keepdim=True), x)
