"""Contributions counted from a reference: what makes F(x) differ from F(x0), without remainder.

The rescale rule of DeepLIFT (Shrikumar et al. 2017) with exact differences for normalisation,
softmax, attention, gates and maxima, so that the sum over the map is F(x) − F(x0) on them too. A
model with a function that has no such rule is refused, with the function's and the layer's name;
so is a result whose sum is wrong.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.probe import at_once
from attributome.core.rescale import Rescale
from attributome.core.types import Images, Maps, Predictor, Target

RELATIVE = 1e-3
"""How much of F(x) − F(x0) a map may miss before it is refused."""


def deep_lift(
    model: Predictor, x: Images, target: Target, *, baseline: Images | float = 0.0
) -> Maps:
    """Multipliers between `x` and `baseline`, times the difference (Shrikumar et al. 2017)."""
    start = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).expand_as(x)
    return _mean_over(model, x, target, [start], "deep_lift")


def deep_shap(
    model: Predictor, x: Images, target: Target, *, background: Float[Tensor, "n c *s"]
) -> Maps:
    """Mean of DeepLIFT over the images of `background`, one model run for each pair.

    Sums to F(x) less the mean of F over the background (Lundberg & Lee 2017).
    """
    if background.shape[1:] != x.shape[1:] or not len(background):
        raise UsageError(
            f"the background has shape {tuple(background.shape)}; it must hold at least one image "
            f"of shape {tuple(x.shape[1:])}"
        )
    starts = [image.to(x).expand_as(x) for image in background]
    return _mean_over(model, x, target, starts, "deep_shap")


def _mean_over(
    model: Predictor, x: Images, target: Target, starts: list[Tensor], purpose: str
) -> Maps:
    rules = Rescale(model, purpose)
    here = rules.record(x, target)
    group = at_once(x, len(starts))
    total = torch.zeros_like(x)
    for first in range(0, len(starts), group):
        some = starts[first : first + group]
        found, there = rules.multipliers(torch.cat(some), target, len(some))
        maps = (x - torch.stack(some)) * found.unflatten(0, (len(some), -1))
        _check_sums(maps, here, there, purpose)
        total += maps.sum(0)
    return total / len(starts)


def _check_sums(
    maps: Float[Tensor, "n b c *s"],
    here: Float[Tensor, " b"],
    there: Float[Tensor, "n b"],
    purpose: str,
) -> None:
    """Refuse maps that do not sum to the difference they explain (also where either is NaN)."""
    sums, sizes = maps.flatten(2).sum(2), maps.flatten(2).abs().sum(2)
    gap = here - there
    rounding = 1000 * torch.finfo(maps.dtype).eps * (here.abs() + there.abs() + sizes)
    missed = (sums - gap).abs()
    wrong = ~(missed <= RELATIVE * gap.abs() + rounding)
    if wrong.any():
        raise UsageError(
            f"{purpose} does not hold for this model: a map sums to {float(sums[wrong][0]):.6g} "
            f"and the target changes by {float(gap[wrong][0]):.6g}, so that some value reaches the "
            f"output by a way without gradient; use integrated_gradients"
        )
