"""What a good mask is: one loss for image-to-image, regression and classification.

The three terms and their weights are those of Ben Nedava, Miller and Zaritsky (Mask Interpreter):
`fidelity` (squared difference of outputs), `size` (of the mask) and `agreement` (how far the
correlation of outputs is below `enough`). What differs between tasks is data in an `Objective`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from attributome.core.arrays import pearson
from attributome.core.types import Masks, Scores

Form = Literal["rank", "soft", "bernoulli", "concrete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """Weights, comparisons and the form in which logits become a mask. Plain data, to be recorded.

    `pool` says over what a correlation and a rank are taken: each sample, or the whole batch (for
    models with one output, where a single sample has no correlation).
    """

    form: Form = "rank"
    fidelity: float = 0.0
    size: float = 0.0
    agreement: float = 1.0
    enough: float = 1.0
    two_sided: bool = False
    size_power: int = 1
    pool: Literal["sample", "batch"] = "batch"
    outputs: Literal["values", "probabilities"] = "values"
    areas: tuple[float, float] = (0.02, 0.3)
    temperature: tuple[float, float] = (1.0, 1.0)
    noise: str = "gaussian"
    noise_scale: float = 1.5


PRESETS: dict[str, Objective] = {
    "image": Objective(),
    "regression": Objective(noise_scale=0.5, areas=(0.05, 0.5)),
    "classification": Objective(noise_scale=0.5, areas=(0.05, 0.5), outputs="probabilities"),
    "published_image": Objective(
        form="soft", fidelity=1.0, size=1.0, size_power=2, agreement=6.0, enough=0.9, pool="sample"
    ),
    "published_regression": Objective(
        form="soft", fidelity=1.0, size=1.0, agreement=2.5, enough=0.95, two_sided=True,
        noise_scale=0.5,
    ),
    "published_classification": Objective(
        form="soft", fidelity=1.0, size=1.0, agreement=1.75, enough=0.95, two_sided=True,
        outputs="probabilities", noise_scale=0.5,
    ),
}  # fmt: skip


def loss_terms(
    goal: Objective, got: Tensor, wanted: Tensor, masks: Masks, weight: Tensor | None = None
) -> dict[str, Tensor]:
    """The terms, the correlation they rest on, and the weighted sum under "loss"."""
    got, wanted = comparable(goal, got), comparable(goal, wanted)
    correlation = agreement(goal, got, wanted, weight)
    short = goal.enough - correlation
    terms = {
        "fidelity": (got - wanted).square().mean(),
        "size": masks.abs().pow(goal.size_power).mean(),
        "agreement": (short.abs() if goal.two_sided else short.clamp_min(0)).mean(),
    }
    total = (
        goal.fidelity * terms["fidelity"]
        + goal.size * terms["size"]
        + goal.agreement * terms["agreement"]
    )
    return {"loss": total, **terms, "pcc": correlation.mean()}


def agreement(goal: Objective, got: Tensor, wanted: Tensor, weight: Tensor | None = None) -> Scores:
    """Correlation of outputs: one per sample, or one for the whole batch."""
    if goal.pool == "sample":
        return pearson(got, wanted, weight)
    flat = None if weight is None else weight.expand_as(got).flatten()[None]
    return pearson(got.flatten()[None], wanted.flatten()[None], flat)


def comparable(goal: Objective, out: Tensor) -> Tensor:
    """The outputs in the units in which they are compared."""
    return out.softmax(1) if goal.outputs == "probabilities" else out


def as_mask(goal: Objective, logits: Masks, done: float, generator: torch.Generator) -> Masks:
    """The mask that the predictor sees in training; hard forms pass gradients straight through."""
    start, end = goal.temperature
    temperature = start * (end / start) ** done
    return FORMS[goal.form](goal, logits, temperature, generator)


def _soft(goal: Objective, logits: Masks, temperature: float, generator: torch.Generator) -> Masks:
    """The published form. It leaks: a network reads through half-strength noise."""
    return logits.sigmoid()


def _bernoulli(
    goal: Objective, logits: Masks, temperature: float, generator: torch.Generator
) -> Masks:
    """Each pixel is kept with its own probability."""
    share = (logits / temperature).sigmoid()
    return _straight(
        torch.rand(share.shape, generator=generator, device=share.device) < share, share
    )


def _concrete(
    goal: Objective, logits: Masks, temperature: float, generator: torch.Generator
) -> Masks:
    """Binary concrete: logistic noise on the logits, then a step (Maddison 2017, Jang 2017)."""
    u = torch.rand(logits.shape, generator=generator, device=logits.device).clamp(1e-6, 1 - 1e-6)
    share = ((logits + u.logit()) / temperature).sigmoid()
    return _straight(share > 0.5, share)


def _rank(goal: Objective, logits: Masks, temperature: float, generator: torch.Generator) -> Masks:
    """Keep a random share of the pixels, those that rank highest.

    Training sees every mask size between `areas`, so that one map is right at all of them: the
    loss is the area above the curve of efficacy against mask size.
    """
    low, high = goal.areas
    u = torch.rand((), generator=generator, device=logits.device).item()
    area = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
    rows = logits.flatten()[None] if goal.pool == "batch" else logits.flatten(1)
    rows = (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True).clamp_min(1e-6)
    cut = rows.detach().kthvalue(rows.shape[1] - max(1, round(area * rows.shape[1])), dim=1)
    share = ((rows - cut.values[:, None]) / temperature).sigmoid()
    return _straight(rows > cut.values[:, None], share).view_as(logits)


FORMS: dict[str, Callable[[Objective, Masks, float, torch.Generator], Masks]] = {
    "rank": _rank,
    "soft": _soft,
    "bernoulli": _bernoulli,
    "concrete": _concrete,
}


def _straight(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard` with the gradient of `soft`."""
    return hard.to(soft) + (soft - soft.detach())  # the bracket is exactly 0
