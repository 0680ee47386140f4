"""Class activation maps of a named layer, in 2-D and 3-D: one signed map per sample (k = 1).

The sign is kept: negative evidence is evidence, and a surface that hides it says so. A map is made
on the grid of the layer and enlarged by linear interpolation, which keeps its centre of mass.
"""

import torch
from torch import Tensor

from attributome.core.arrays import resize, space
from attributome.core.errors import UsageError
from attributome.core.fidelity import check_gradient_target
from attributome.core.probe import layer_gradient, layer_output
from attributome.core.types import Images, Layer, Maps, Predictor, Target


def grad_cam(model: Predictor, x: Images, target: Target, *, layer: str) -> Maps:
    """Channels weighted by their mean gradient (Selvaraju et al. 2017)."""
    act, grad = _at(model, layer, x, target)
    return _enlarged(grad.mean(space(grad), keepdim=True) * act, x)


def grad_cam_plus_plus(model: Predictor, x: Images, target: Target, *, layer: str) -> Maps:
    """Channels weighted by a sum of their positive gradients (Chattopadhay et al. 2018).

    A voxel counts with `g² / (2 g² + g³ sum(A))`, their closed form for the exponential of the
    target, where the sum runs over the channel. It is meant for activations that are not negative;
    with others the denominator can be 0, and such a voxel does not count.
    """
    act, grad = _at(model, layer, x, target)
    below = 2 + grad * act.sum(space(act), keepdim=True)  # without g², which could underflow
    share = torch.where(below == 0, 0.0, 1 / torch.where(below == 0, 1.0, below))
    return _enlarged((share * grad.relu()).sum(space(grad), keepdim=True) * act, x)


def xgrad_cam(model: Predictor, x: Images, target: Target, *, layer: str) -> Maps:
    """Channels weighted so that each keeps its sum of gradient times activation (Fu et al. 2020).

    It is meant for activations that are not negative; a channel that sums to 0 cannot keep anything
    and gets the weight 0.
    """
    act, grad = _at(model, layer, x, target)
    total = act.sum(space(act), keepdim=True)
    # what is left of numbers that cancel is rounding, and must not be divided by
    rounding = 10 * torch.finfo(act.dtype).eps * act.abs().sum(space(act), keepdim=True)
    empty = total.abs() <= rounding
    kept = (grad * act).sum(space(act), keepdim=True)
    return _enlarged(torch.where(empty, 0.0, kept / torch.where(empty, 1.0, total)) * act, x)


def hires_cam(model: Predictor, x: Images, target: Target, *, layer: str) -> Maps:
    """Gradient times activation, without averaging the gradient (Draelos & Carin 2020)."""
    act, grad = _at(model, layer, x, target)
    return _enlarged(grad * act, x)


def layer_cam(model: Predictor, x: Images, target: Target, *, layer: str) -> Maps:
    """Only positive gradients weigh the activation (Jiang et al. 2021)."""
    act, grad = _at(model, layer, x, target)
    return _enlarged(grad.relu() * act, x)


def eigen_cam(model: Predictor, x: Images, target: Target, *, layer: str) -> Maps:
    """The first principal component of the activation (Muhammad & Yeasin 2020).

    The same whatever the target: it shows what varies most in the layer and not what counts.
    Muhammad & Yeasin leave the mean of each channel in, and then mostly find the mean; here it is
    taken out, so that the map sums to 0. Its sign is that which goes along with the mean over the
    channels.
    """
    act = layer_output(model, layer, x)
    need_grid(act, x, layer)
    return resize(_principal(act), x)


def eigen_grad_cam(model: Predictor, x: Images, target: Target, *, layer: str) -> Maps:
    """`eigen_cam` of gradient times activation, which does depend on the target."""
    act, grad = _at(model, layer, x, target)
    return resize(_principal(grad * act), x)


def need_grid(act: Tensor, x: Images, layer: str) -> None:
    """Refuse the activation of a layer that cannot say where: it has no grid, or one voxel."""
    grid = tuple(act.shape[2:])
    if act.ndim != x.ndim:
        raise UsageError(
            f"layer {layer!r} gives shape {tuple(act.shape)} for images of shape {tuple(x.shape)}, "
            f"which is no grid of {x.ndim - 2} spatial axes: choose a layer that keeps them"
        )
    if act[0, 0].numel() == 1:
        raise UsageError(
            f"layer {layer!r} has a grid of {grid}, a single voxel, and its map would be constant: "
            f"choose a layer with a larger grid"
        )


def _at(model: Predictor, layer: str, x: Images, target: Target) -> tuple[Layer, Layer]:
    check_gradient_target(target)
    act, grad = layer_gradient(model, layer, x, target)
    need_grid(act, x, layer)
    return act, grad


def _enlarged(terms: Layer, x: Images) -> Maps:
    return resize(terms.sum(1, keepdim=True), x)


def _principal(terms: Layer) -> Maps:
    """Scores of the voxels on the first principal component of their channels."""
    rows = terms.flatten(2)
    rows = rows - rows.mean(2, keepdim=True)
    if rows.shape[1] <= rows.shape[2]:  # eigenvectors of the smaller Gram matrix
        _, vectors = torch.linalg.eigh(rows @ rows.mT)
        scores = vectors[..., -1:].mT @ rows
    else:
        strengths, vectors = torch.linalg.eigh(rows.mT @ rows)
        scores = (vectors[..., -1:] * strengths[:, -1:, None].clamp_min(0).sqrt()).mT
    against = (scores * rows.mean(1, keepdim=True)).sum(2, keepdim=True) < 0
    return torch.where(against, -scores, scores).view(len(terms), 1, *terms.shape[2:])
