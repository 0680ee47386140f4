"""Gradient attributions. Each returns one value per pixel and channel (k = c)."""

import torch

from attributome.core.arrays import per_sample
from attributome.core.draws import Seeds, each, normal
from attributome.core.probe import gradient
from attributome.core.types import Images, Maps, Predictor, Target


def saliency(model: Predictor, x: Images, target: Target) -> Maps:
    """Signed gradient at `x` (Simonyan et al. 2013, without the absolute value)."""
    return gradient(model, x, target)


def input_x_gradient(model: Predictor, x: Images, target: Target) -> Maps:
    """Gradient times input: the attribution of a linear model without bias."""
    return x * gradient(model, x, target)


def integrated_gradients(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    baseline: Images | float = 0.0,
    steps: int = 32,
) -> Maps:
    """Average gradient along the line from `baseline` to `x`, times the difference.

    Sums to `target(x) - target(baseline)` up to the midpoint rule's error, which falls as steps^-2
    (Sundararajan et al. 2017). A channel whose baseline equals `x` is held fixed.
    """
    start = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).expand_as(x)
    total = torch.zeros_like(x)
    for step in range(steps):
        total += gradient(model, start + (step + 0.5) / steps * (x - start), target)
    return (x - start) * total / steps


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
    width = noise * per_sample(x.flatten(1).amax(1) - x.flatten(1).amin(1), x)
    many = each(
        x, seed, lambda one, g: torch.stack([normal(one, g) for _ in range(draws)], 1)
    ).unbind(1)
    total = torch.zeros_like(x)
    for jitter in many:
        total += gradient(model, x + width * jitter, target)
    return total / draws
