"""The smooth mask of a given size through which a model sees the most of its target."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.arrays import mix, per_sample, resize
from attributome.core.draws import Seeds, each
from attributome.core.errors import UsageError
from attributome.core.fills import fill_named
from attributome.core.probe import at_once, gradient
from attributome.core.types import Images, Maps, Predictor, Target

HALVINGS = 40
STEEPEST = 60.0
"""Logits further apart than this make the same mask in single precision."""
TINY = 1e-12
"""Gradients below this count as nothing; Adam's usual 1e-8 is no small part of some targets'."""


def extremal_perturbation(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    areas: Sequence[float] = (0.025, 0.05, 0.1, 0.2, 0.4),
    steps: int = 100,
    rate: float = 0.2,
    cells: int = 8,
    fill: str = "blur",
    scale: float = 1.5,
    seed: Seeds = 0,
) -> Maps:
    """Masks that keep a share of the image and make the target largest (Fong et al. 2019).

    The mean of the masks of all `areas`, in [0, 1]; give one area for its mask. Outside a mask
    stands a `fill` of `core.fills` at `scale`. A mask is a grid of `cells` logits along each axis,
    interpolated, shifted and squashed so that its mean is the area: where Fong et al. add a penalty
    on the area, here every step keeps it. Adam climbs, so that the scale of the target does not
    matter. It costs `steps` gradients per area. A sample whose target never had a gradient has no
    evidence, and its map is 0.
    """
    if not areas or not all(0 < area < 1 for area in areas) or steps < 1:
        raise UsageError(
            f"areas {list(areas)} in {steps} steps: give at least one share between 0 and 1, and "
            f"at least one step"
        )
    hidden = each(x, seed, lambda one, g: fill_named(fill)(one, g, scale))
    groups = torch.tensor(list(areas), dtype=x.dtype, device=x.device).split(at_once(x, len(areas)))
    found = [_climbed(model, x, target, hidden, g, steps, rate, cells) for g in groups]
    return torch.cat(found).mean(0)


def _climbed(
    model: Predictor,
    x: Images,
    target: Target,
    hidden: Images,
    areas: Float[Tensor, " n"],
    steps: int,
    rate: float,
    cells: int,
) -> Float[Tensor, "n b 1 *s"]:
    """The mask of each area, found by itself; 0 for samples that never had a gradient."""
    copies = len(areas)
    many, fills = (t.repeat(copies, *[1] * (x.ndim - 1)) for t in (x, hidden))
    shares = areas.repeat_interleave(len(x))
    grid = [min(cells, size) for size in x.shape[2:]]
    logits = torch.zeros(len(many), 1, *grid, dtype=x.dtype, device=x.device, requires_grad=True)
    climb = torch.optim.Adam([logits], lr=rate, eps=TINY, maximize=True)
    evidence = torch.zeros(len(many), dtype=torch.bool, device=x.device)
    for _ in range(steps):
        with torch.enable_grad():
            masks = sized(resize(logits, many), shares)
        through = mix(many, masks.detach(), fills)
        pull = (gradient(model, through, target, copies=copies) * (many - fills)).sum(1)
        (logits.grad,) = torch.autograd.grad(masks, logits, pull[:, None])
        evidence |= logits.grad.flatten(1).any(1)
        climb.step()
    masks = sized(resize(logits.detach(), many), shares)
    return (masks * per_sample(evidence.to(masks), masks)).view(copies, len(x), *masks.shape[1:])


def sized(logits: Maps, areas: Float[Tensor, " b"]) -> Maps:
    """The logistic function of logits that are shifted, per sample, until its mean is the area.

    The shift is found by bisection, and its gradient is that of the equation it solves.
    """
    rows = logits.flatten(1)
    with torch.no_grad():
        low, high = rows.amin(1) - STEEPEST, rows.amax(1) + STEEPEST
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            large = (rows - middle[:, None]).sigmoid().mean(1) > areas
            low, high = torch.where(large, middle, low), torch.where(large, high, middle)
        shift = ((low + high) / 2)[:, None]
        slope = (rows - shift).sigmoid() * (shift - rows).sigmoid()
        slope = slope / slope.sum(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    follows = (slope * rows).sum(1, keepdim=True)
    return (rows - shift - (follows - follows.detach())).sigmoid().view_as(logits)
