"""Gradient attributions. Each returns one value per pixel and channel (k = c)."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.arrays import per_sample
from attributome.core.draws import Seeds, each, normal
from attributome.core.errors import UsageError
from attributome.core.fidelity import check_gradient_target
from attributome.core.probe import at_once, gradient
from attributome.core.rules import Call, Rules
from attributome.core.seeds import seed_of
from attributome.core.types import Images, Maps, Predictor, Target
from attributome.explain.lines import FIRST, until_complete, with_steps


def saliency(model: Predictor, x: Images, target: Target) -> Maps:
    """Signed gradient at `x` (Simonyan et al. 2013, without the absolute value)."""
    check_gradient_target(target)
    return gradient(model, x, target)


def input_x_gradient(model: Predictor, x: Images, target: Target) -> Maps:
    """Gradient times input: the attribution of a linear model without bias."""
    check_gradient_target(target)
    return x * gradient(model, x, target)


def integrated_gradients(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    baseline: Images | float = 0.0,
    steps: int | None = None,
    tolerance: float = 0.01,
    most: int = 640,
) -> Maps:
    """Average gradient along the line from `baseline` to `x`, times the difference.

    With `steps`, by the Gauss–Legendre rule of that many gradients, exact for polynomials of
    degree 2 · steps along the line. Without, 5, 11, 23, … gradients (Fejér's second rule, which
    uses every gradient again) until each sample's map sums to `target(x) - target(baseline)` up
    to the share `tolerance` of it; a sample keeps the first map that does. One that does not
    within `most` gradients keeps its finest map, and its completeness tells
    (Sundararajan et al. 2017). A channel whose baseline equals `x` is held fixed.
    """
    start = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).expand_as(x)
    if steps is not None:
        if steps < 1:
            raise UsageError(f"steps is {steps}; integrated gradients takes at least 1")
        return with_steps(model, x, target, start, steps)
    if tolerance <= 0 or most < FIRST:
        raise UsageError(
            f"tolerance is {tolerance} and most is {most}; they must be above 0 and at least "
            f"{FIRST}"
        )
    return until_complete(model, x, target, start, tolerance, most)


def smooth_grad(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    noise: float = 0.1,
    draws: int = 16,
    seed: Seeds = 0,
) -> Maps:
    """Mean gradient under Gaussian noise of standard deviation `noise` times the image's range.

    Smilkov et al. 2017.
    """
    return _mean_and_variance(_under_noise(model, x, target, noise, draws, seed))[0]


def var_grad(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    noise: float = 0.1,
    draws: int = 16,
    seed: Seeds = 0,
) -> Maps:
    """Variance of the gradient under the noise of `smooth_grad`: where it is unsteady.

    Unbiased, so that it does not grow with `draws`, of which there must be 2 (Adebayo et al. 2018).
    """
    if draws < 2:
        raise UsageError(f"a variance over {draws} draws is undefined: var_grad takes at least 2")
    return _mean_and_variance(_under_noise(model, x, target, noise, draws, seed))[1]


def expected_gradients(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    background: Float[Tensor, "n c *s"],
    draws: int = 32,
    seed: Seeds = 0,
) -> Maps:
    """Integrated gradients averaged over the images of `background` (GradientSHAP).

    Each draw takes one gradient between `x` and one background image; positions are stratified
    and every image serves equally often, up to one draw (Erion et al. 2021).
    """
    return expected_gradients_with_error(
        model, x, target, background=background, draws=draws, seed=seed
    )[0]


def expected_gradients_with_error(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    background: Float[Tensor, "n c *s"],
    draws: int = 32,
    seed: Seeds = 0,
) -> tuple[Maps, Maps]:
    """`expected_gradients`, and the standard error of each value.

    The error is that of independent draws, which stratified ones stay below.
    """
    if background.shape[1:] != x.shape[1:] or not len(background):
        raise UsageError(
            f"the background has shape {tuple(background.shape)}; it must hold at least one image "
            f"of shape {tuple(x.shape[1:])}"
        )
    if draws < 2:
        raise UsageError(f"draws is {draws}; expected gradients takes at least 2")
    plan = each(x, seed, lambda one, g: _plan(len(background), draws, g))
    background = background.to(x)

    def contributions() -> Iterator[Images]:
        group = at_once(x, draws)
        for first in range(0, draws, group):
            some = plan[:, first : first + group].unbind(1)
            start = torch.stack([background[one[:, 1].long().to(x.device)] for one in some])
            share = torch.stack([per_sample(one[:, 0].to(x), x) for one in some])
            points = start + share * (x - start)
            slopes = gradient(model, points.flatten(0, 1), target, copies=len(some))
            yield from (x - start) * slopes.view_as(points)

    mean, variance = _mean_and_variance(contributions())
    return mean, (variance / draws).sqrt()


def guided_backprop(model: Predictor, x: Images, target: Target) -> Maps:
    """Gradient that passes a ReLU only where it is positive (Springenberg et al. 2015).

    It shows edges of the input whatever the weights (Adebayo et al. 2018): compare it with the
    controls. A model that calls no ReLU is refused.
    """
    check_gradient_target(target)
    met: list[str] = []

    def relu(call: Call) -> Tensor:
        met.append(call.name)
        found: Tensor = _Guided.apply(call.tensor())
        return found

    found = gradient(model, x, target, under=lambda: Rules(model, {"relu": relu, "relu6": relu}))
    if not met:
        raise UsageError("guided backprop changes ReLUs, and this model calls none; use saliency")
    return found


class _Guided(torch.autograd.Function):
    """A ReLU that lets only positive gradients back."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u > 0)
        return u.relu()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (on,) = ctx.saved_tensors
        passed: Tensor = grad.relu() * on
        return passed


# Over draws ---------------------------------------------------------------------------------------


def _plan(images: int, draws: int, generator: torch.Generator) -> Float[Tensor, "1 n 2"]:
    """Position and background image of each draw, one position in each of `draws` equal parts."""
    at = (
        torch.randperm(draws, generator=generator) + torch.rand(draws, generator=generator)
    ) / draws
    rounds = -(-draws // images)
    which = torch.cat([torch.randperm(images, generator=generator) for _ in range(rounds)])
    return torch.stack([at.double(), which[:draws].double()], 1)[None]


def _under_noise(
    model: Predictor, x: Images, target: Target, noise: float, draws: int, seed: Seeds
) -> Iterator[Images]:
    """The gradient at each draw of the noise; each draw is seeded by its number."""
    if draws < 1:
        raise UsageError(f"draws is {draws}; it must be at least 1")
    width = noise * per_sample(x.flatten(1).amax(1) - x.flatten(1).amin(1), x)
    seeds = [seed] * len(x) if isinstance(seed, int) else list(seed)
    group = at_once(x, draws)
    for first in range(0, draws, group):
        some = range(first, min(first + group, draws))
        jitter = [each(x, [seed_of(one, "noise", draw) for one in seeds], normal) for draw in some]
        points = torch.cat([x + width * one for one in jitter])
        yield from gradient(model, points, target, copies=len(some)).view(len(some), *x.shape)


def _mean_and_variance(many: Iterator[Images]) -> tuple[Images, Images]:
    """Mean and unbiased variance of equal-sized tensors, holding two of them (Welford 1962)."""
    count, mean = 1, next(many).clone()
    squares = torch.zeros_like(mean)
    for one in many:
        count += 1
        away = one - mean
        mean += away / count
        squares += away * (one - mean)
    return mean, squares / max(1, count - 1)
