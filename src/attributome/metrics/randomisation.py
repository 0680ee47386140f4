"""Whether a map depends on what the network has learned: its layers are replaced by random ones.

The work is done on a deep copy; the user's network is only read. A layer is a module that owns
parameters itself, and layers are in the order in which the network defines them. `redraw` gives
every parameter new normal values of its own mean and standard deviation, `permute` shuffles its
values; a parameter of equal values, such as a fresh bias, stays as it is under both. Running
statistics of normalisation stay, too: they belong to the data.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.draws import Seeds, each, normal
from attributome.core.errors import UsageError
from attributome.core.inputs import Beside, Packed, network
from attributome.core.seeds import seed_of
from attributome.core.types import Explainer, Images, Maps, Predictor, Scores, Target
from attributome.metrics.ranking import constant, rank_correlation, unless

How = Literal["redraw", "permute"]
Order = Literal["top_down", "bottom_up"]
Similarity = Callable[[Maps, Maps], Scores]


def layers(model: Predictor) -> tuple[str, ...]:
    """Names of the modules that own parameters; "" is the network itself."""
    net = network(model)
    found = [] if net is None else [n for n, m in net.named_modules() if _own(m)]
    if not found:
        raise UsageError(
            "a predictor without parameters has no layers to randomise: give the network itself"
        )
    return tuple(found)


def randomised(
    model: Predictor, order: Sequence[str], *, how: How = "redraw", seed: int = 0
) -> Iterator[Predictor]:
    """One copy of the predictor, yielded after each of its layers was randomised, in `order`.

    The changes add up. Each layer draws from a generator named by the seed and the layer.
    """
    twin, net = _twin(model)
    modules = dict(net.named_modules())
    for name in order:
        if name not in modules:
            raise UsageError(f"no layer {name!r}; this model has {layers(model)}")
        generator = torch.Generator().manual_seed(seed_of(seed, "randomise", name))
        with torch.no_grad():
            for parameter in _own(modules[name]):
                parameter.copy_(_drawn(parameter, how, generator))
        yield twin


def similarity_by_layer(
    model: Predictor,
    x: Images,
    target: Target,
    explainer: Explainer,
    *,
    order: Order = "top_down",
    how: How = "redraw",
    similarity: Similarity = rank_correlation,
    seed: int = 0,
) -> Float[Tensor, "b n"]:
    """Similarity of the map to that after one more layer was randomised, for each of n layers.

    The untouched network, which is like itself, is not in it. `top_down` begins at the output
    (Adebayo et al. 2018), `bottom_up` at the input. NaN where the map itself is constant; a map
    that becomes constant has kept nothing, and its similarity is 0.
    """
    names = layers(model)
    before = explainer(model, x, target)
    found = []
    for twin in randomised(
        model, names[::-1] if order == "top_down" else names, how=how, seed=seed
    ):
        after = explainer(twin, x, target)
        found.append(torch.where(constant(after), 0.0, similarity(before, after)))
    return torch.stack([unless(constant(before), one) for one in found], 1)


def mprt(
    model: Predictor,
    x: Images,
    target: Target,
    explainer: Explainer,
    *,
    order: Order = "top_down",
    how: How = "redraw",
    similarity: Similarity = rank_correlation,
    seed: int = 0,
) -> Scores:
    """Model parameter randomisation test: the mean of `similarity_by_layer`.

    About 0 where the map depends on what was learned, 1 where it does not.
    """
    return similarity_by_layer(
        model, x, target, explainer, order=order, how=how, similarity=similarity, seed=seed
    ).mean(1)


def smprt(
    model: Predictor,
    x: Images,
    target: Target,
    explainer: Explainer,
    *,
    width: float = 0.1,
    draws: int = 8,
    order: Order = "top_down",
    how: How = "redraw",
    similarity: Similarity = rank_correlation,
    seed: int = 0,
) -> Scores:
    """As `mprt`, of maps averaged over `draws` noisy copies of the image (Hedström et al. 2024).

    So that the noise of gradients does not pass for forgetting. The noise has `width` times the
    image's range and is the same before and after.
    """

    def smooth(model: Predictor, x: Images, target: Target) -> Maps:
        span = width * (x.flatten(1).amax(1) - x.flatten(1).amin(1))
        jitter = _noise(x, draws, seed) * span.view(-1, *[1] * x.ndim)
        maps = [explainer(model, x + one, target) for one in jitter.unbind(1)]
        return torch.stack(maps).mean(0)

    return mprt(model, x, target, smooth, order=order, how=how, similarity=similarity, seed=seed)


def emprt(
    model: Predictor,
    x: Images,
    target: Target,
    explainer: Explainer,
    *,
    how: How = "redraw",
    bins: int = 100,
    seed: int = 0,
) -> Scores:
    """Relative rise of the map's complexity once the whole network is random.

    Hedström et al. 2024: the complexity is the entropy of the histogram of values, which a random
    network should raise. −1 where the map becomes constant, NaN where it was.
    """
    before = histogram_entropy(explainer(model, x, target), bins)
    *_, twin = randomised(model, layers(model), how=how, seed=seed)
    after = histogram_entropy(explainer(twin, x, target), bins)
    return (after - before) / unless(before == 0, before)


def histogram_entropy(maps: Maps, bins: int = 100) -> Scores:
    """Entropy in nats of the histogram of a map's values between its own extremes."""
    flat = maps.flatten(1)
    low = flat.amin(1, keepdim=True)
    span = flat.amax(1, keepdim=True) - low
    place = ((flat - low) / torch.where(span > 0, span, 1.0) * bins).long().clamp_max(bins - 1)
    counts = torch.zeros(len(flat), bins, dtype=flat.dtype, device=flat.device)
    shares = counts.scatter_add_(1, place, torch.ones_like(flat)) / flat.shape[1]
    total: Tensor = torch.special.entr(shares).sum(1)
    return total


def _own(module: nn.Module) -> list[nn.Parameter]:
    return list(module.parameters(recurse=False))


def _twin(model: Predictor) -> tuple[Predictor, nn.Module]:
    net = network(model)
    if net is None:
        raise UsageError(
            "a plain function has no layers to randomise: give the network itself, or `Beside`"
        )
    twin = copy.deepcopy(net)
    return (replace(model, model=twin) if isinstance(model, Beside | Packed) else twin), twin


def _drawn(parameter: Tensor, how: How, generator: torch.Generator) -> Tensor:
    if how == "permute":
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        return parameter.flatten()[order].view_as(parameter)
    spread, mean = torch.std_mean(parameter, correction=0)
    drawn: Tensor = mean + spread * normal(parameter, generator)
    return drawn


def _noise(x: Images, draws: int, seed: Seeds) -> Float[Tensor, "b n c *s"]:
    return each(x, seed, lambda one, g: torch.stack([normal(one, g) for _ in range(draws)], 1))
