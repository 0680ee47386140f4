"""Whether the predictor still says the same when only what the mask keeps is left."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attributome.core.arrays import mix, pearson, top_share
from attributome.core.errors import UsageError
from attributome.core.probe import predict
from attributome.core.types import Images, Masks, Predictor, Scores
from attributome.metrics.outputs import Agreement as Agreement
from attributome.metrics.outputs import same_probabilities as same_probabilities
from attributome.metrics.outputs import same_value as same_value

SIZES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)


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


def area_under(curve: Float[Tensor, "b n"], sizes: Sequence[float]) -> Scores:
    """Mean height of a curve over the sizes from the first to the last (trapezoids).

    With sizes from 0 to 1 the area under the efficacy curve.
    """
    if len(sizes) < 2 or len(sizes) != curve.shape[1]:
        raise UsageError(
            f"a curve of {curve.shape[1]} points came with {len(sizes)} sizes: an area needs one "
            f"size per point, and at least two"
        )
    if any(low >= high for low, high in pairwise(sizes)) or sizes[0] < 0 or sizes[-1] > 1:
        raise UsageError(f"mask sizes of {tuple(sizes)} make no axis: they must rise within 0 to 1")
    axis = torch.tensor(sizes, dtype=curve.dtype, device=curve.device)
    return torch.trapezoid(curve, axis, dim=1) / (axis[-1] - axis[0])


def efficacy_area(
    model: Predictor,
    x: Images,
    maps: Masks,
    fill: Images,
    *,
    sizes: Sequence[float] = SIZES,
    reference: Tensor | None = None,
    agreement: Agreement = pearson,
) -> Scores:
    """Area under the efficacy curve (AUEC): 1 where any share of the map keeps everything."""
    curve = efficacy_curve(model, x, maps, fill, sizes, reference=reference, agreement=agreement)
    return area_under(curve, sizes)


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

    def keeps(size: float | Tensor) -> Bool[Tensor, " b"]:
        kept = top_share(maps, size)
        return efficacy(model, x, kept, fill, reference=wanted, agreement=agreement) >= floor

    # the whole batch goes on until its last sample is done: a model may know its batch
    low = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    high = torch.full_like(low, float("nan"))
    for size in sorted(sizes):
        high = torch.where(high.isnan() & keeps(size), size, high)
        low = torch.where(high.isnan(), size, low)
        if not high.isnan().any():
            break
    for _ in range(halvings):
        middle = (low + high) / 2
        enough = keeps(middle.nan_to_num(1.0))
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return high.float()
