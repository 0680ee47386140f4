"""Whether the predictor still says the same when only what the mask keeps is left."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.arrays import mix, pearson, top_share
from attributome.core.probe import predict
from attributome.core.types import Images, Masks, Predictor, Scores

Agreement = Callable[[Tensor, Tensor], Scores]
"""(outputs, reference outputs) → one number per sample, 1 where they are the same."""


def efficacy(
    model: Predictor,
    x: Images,
    masks: Masks,
    fill: Images,
    *,
    reference: Tensor | None = None,
    agreement: Agreement = pearson,
) -> Scores:
    """Agreement of the outputs before and after `fill` replaces what the mask leaves out.

    With `pearson` the mask efficacy of Mask Interpreter. `reference` is `model(x)` where the
    caller has it. Only a binary mask proves something: a soft one lets the image through.
    """
    wanted = predict(model, x) if reference is None else reference
    return agreement(predict(model, mix(x, masks, fill)), wanted)


def efficacy_curve(
    model: Predictor,
    x: Images,
    maps: Masks,
    fill: Images,
    sizes: Sequence[float],
    *,
    reference: Tensor | None = None,
    agreement: Agreement = pearson,
) -> Float[Tensor, "b n"]:
    """Efficacy when the top share of each map is kept, for every mask size."""
    wanted = predict(model, x) if reference is None else reference
    scores = [
        efficacy(model, x, top_share(maps, s), fill, reference=wanted, agreement=agreement)
        for s in sizes
    ]
    return torch.stack(scores, dim=1)


def smallest_size(
    model: Predictor,
    x: Images,
    maps: Masks,
    fill: Images,
    *,
    floor: float = 0.9,
    sizes: Sequence[float] = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0),
    halvings: int = 4,
    reference: Tensor | None = None,
    agreement: Agreement = pearson,
) -> Scores:
    """Smallest mask size at which the top share of a map keeps `floor`; NaN if none does.

    The first size on the grid that keeps it, then bisection towards the size before: the curve
    need not be monotone, and a lucky single size below the first crossing is not searched for.
    """
    wanted = predict(model, x) if reference is None else reference

    def keeps(row: int, size: float) -> bool:
        one = slice(row, row + 1)
        kept = top_share(maps[one], size)
        score = efficacy(model, x[one], kept, fill[one], reference=wanted[one], agreement=agreement)
        return bool(score.item() >= floor)

    return torch.tensor([_first(partial(keeps, row), sizes, halvings) for row in range(len(x))])


def _first(keeps: Callable[[float], bool], sizes: Sequence[float], halvings: int) -> float:
    low = 0.0
    for high in sorted(sizes):
        if keeps(high):
            break
        low = high
    else:
        return float("nan")
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high


def same_probabilities(out: Tensor, reference: Tensor) -> Scores:
    """1 − total variation distance of class probabilities (classification)."""
    return 1 - 0.5 * (out.softmax(1) - reference.softmax(1)).abs().sum(1)


def same_value(spread: float) -> Agreement:
    """1 − |difference| / `spread`, not below 0 (regression); `spread` is that of predictions."""

    def compare(out: Tensor, reference: Tensor) -> Scores:
        return (1 - (out - reference).flatten(1).abs().mean(1) / spread).clamp_min(0)

    return compare
