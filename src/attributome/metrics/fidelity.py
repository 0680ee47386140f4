"""Whether the numbers of a map say by how much the target changes, not only in which order.

A map of one channel stands for every channel of the image.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attributome.core.draws import Seeds, each, normal
from attributome.core.errors import UsageError
from attributome.core.probe import values
from attributome.core.types import Images, Maps, Predictor, Scores, Target
from attributome.metrics.ranking import check_channels, correlation, positions
from attributome.metrics.versions import each_version

Perturb = Callable[[Tensor, torch.Generator], Tensor]
"""(one image `(1, c, *s)`, generator) → what is taken away from it."""


class Infidelity(NamedTuple):
    """Mean squared error of the predicted change, as it is and with the best scale."""

    plain: Scores
    scaled: Scores
    scale: Scores


def noisy(width: float = 0.1) -> Perturb:
    """Normal noise of `width` times the image's range."""

    def draw(one: Tensor, generator: torch.Generator) -> Tensor:
        return width * (one.amax() - one.amin()) * normal(one, generator)

    return draw


def blanks(size: int, baseline: float = 0.0) -> Perturb:
    """The difference to `baseline` in one square or cube of `size` pixels somewhere inside."""

    def draw(one: Tensor, generator: torch.Generator) -> Tensor:
        box = [slice(None), slice(None)]
        for length in one.shape[2:]:
            room = max(1, length - size + 1)
            corner = int(torch.randint(room, (), generator=generator))
            box.append(slice(corner, corner + size))
        taken = torch.zeros_like(one)
        taken[tuple(box)] = one[tuple(box)] - baseline
        return taken

    return draw


def infidelities(
    model: Predictor,
    x: Images,
    target: Target,
    maps: Maps,
    *,
    perturb: Perturb | None = None,
    draws: int = 32,
    seed: Seeds = 0,
) -> Infidelity:
    """E[(I·φ − (F(x) − F(x − I)))²], and the same with β φ for the β that makes it smallest.

    Yeh et al. 2019. The map is read as a gradient, per unit of the image, so that a map of
    contributions needs `perturb` that takes whole values away and the scaled form. The
    perturbations are drawn once, from each sample's own seed; by default `noisy()`.
    """
    check_channels(maps, x)
    if draws < 1:
        raise UsageError(f"{draws} draws estimate nothing: ask for at least 1")
    draw = perturb or noisy()
    taken = each(x, seed, lambda one, g: torch.stack([draw(one, g) for _ in range(draws)], 1))
    told = (taken * maps[:, None]).flatten(2).sum(2)
    before = values(model, x, target)
    after = each_version(model, x, target, (x - one for one in taken.unbind(1)), draws)
    seen = (before - after).T
    power, shared = told.square().mean(1), (told * seen).mean(1)
    scale = torch.where(power > 0, shared / torch.where(power > 0, power, 1.0), 0.0)
    return Infidelity(
        plain=(told - seen).square().mean(1),
        scaled=(scale[:, None] * told - seen).square().mean(1),
        scale=scale,
    )


def infidelity(
    model: Predictor,
    x: Images,
    target: Target,
    maps: Maps,
    *,
    perturb: Perturb | None = None,
    draws: int = 32,
    seed: Seeds = 0,
) -> Scores:
    """The plain form of `infidelities`, in squared units of the target."""
    return infidelities(model, x, target, maps, perturb=perturb, draws=draws, seed=seed).plain


def scaled_infidelity(
    model: Predictor,
    x: Images,
    target: Target,
    maps: Maps,
    *,
    perturb: Perturb | None = None,
    draws: int = 32,
    seed: Seeds = 0,
) -> Scores:
    """The form of `infidelities` with the best scale: what no rescaling of the map can mend."""
    return infidelities(model, x, target, maps, perturb=perturb, draws=draws, seed=seed).scaled


def sensitivity_n(
    model: Predictor,
    x: Images,
    target: Target,
    maps: Maps,
    fill: Images,
    *,
    shares: Sequence[float] = (0.05, 0.1, 0.2, 0.4, 0.8),
    draws: int = 32,
    seed: Seeds = 0,
) -> Scores:
    """Correlation of a random set's summed attribution with the drop when `fill` replaces it.

    The mean over set sizes, given as shares of the values (Ancona et al. 2018); 1 for every size
    and set where the map is complete and the model linear. NaN where, at one size, all sets have
    the same sum or the same drop.
    """
    check_channels(maps, x)
    if draws < 2:
        raise UsageError(f"a correlation over {draws} draws is not defined: ask for at least 2")

    def draw(one: Tensor, generator: torch.Generator) -> Tensor:
        return torch.stack([normal(one, generator) for _ in range(draws)], 1)

    ranks = [positions(noise) for noise in each(maps, seed, draw).unbind(1)]
    total = maps[0].numel()
    before = values(model, x, target)

    found = []
    for share in shares:
        count = round(share * total)
        if not 0 < count < total:
            raise UsageError(f"a share of {share} of {total} values is nothing or everything")
        sets = [rank < count for rank in ranks]
        told = [(maps * chosen).flatten(1).sum(1) for chosen in sets]
        hidden = (torch.where(chosen, fill, x) for chosen in sets)
        after = each_version(model, x, target, hidden, draws)
        found.append(correlation(torch.stack(told, 1), (before - after).T))
    return torch.stack(found).mean(0)


def completeness(
    maps: Maps, model: Predictor, x: Images, target: Target, baseline: Images | float = 0.0
) -> Scores:
    """Relative error |Σφ − ΔF| / |ΔF| of a map's sum, ΔF = F(x) − F(baseline).

    Where ΔF is 0: 0 if the sum is 0 too, else NaN.
    """
    start = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).expand_as(x)
    after, before = each_version(model, x, target, [x, start], 2)
    told, seen = maps.flatten(1).sum(1), after - before
    error = (told - seen).abs() / torch.where(seen == 0, float("nan"), seen.abs())
    return torch.where((seen == 0) & (told == 0), 0.0, error)
