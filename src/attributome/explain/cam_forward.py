"""Class activation maps without gradients: a channel weighs what the target says of it."""

import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.arrays import mix, resize
from attributome.core.probe import (
    at_once,
    each_copy,
    in_chunks,
    layer_output,
    predict_with,
    still,
    values,
)
from attributome.core.types import Images, Layer, Maps, Predictor, Target
from attributome.explain.cam import need_grid
from attributome.explain.segments import Baseline, backdrop


def score_cam(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    layer: str,
    baseline: Baseline = 0.0,
    softmax: bool = False,
    chunk: int | None = None,
) -> Maps:
    """Channels weighted by what the target gains where they show the image (Wang et al. 2020).

    A channel, enlarged and scaled to 0–1, keeps the image where it is high, and `baseline` stands
    elsewhere; the gain counts from the baseline alone. A channel that is constant shows nothing and
    gains 0. With `softmax`, the gains of all channels are turned into shares, as in their algorithm
    1: then every channel has a positive weight, also in a model that ignores its input. It costs a
    forward pass per channel; `chunk` channels run at once.
    """
    act = layer_output(model, layer, x)
    need_grid(act, x, layer)
    hidden = backdrop(x, baseline)
    nothing = values(model, hidden, target)

    def gains(rows: slice) -> Float[Tensor, "n b"]:
        shown = _unit(resize(act[:, rows], x)).transpose(0, 1)[:, :, None]
        versions = torch.stack([mix(x, masks, hidden) for masks in shown])
        return values(model, versions.flatten(0, 1), target, copies=len(shown)) - nothing

    channels = act.shape[1]
    weights = torch.cat(in_chunks(gains, channels, chunk or at_once(x, channels)))
    return _weighted(weights.softmax(0) if softmax else weights, act, x)


def ablation_cam(
    model: Predictor, x: Images, target: Target, *, layer: str, chunk: int | None = None
) -> Maps:
    """Channels weighted by what the target loses when they are set to 0 (Desai & Ramaswamy 2020).

    The weight is the plain drop `F - F without the channel`. The paper divides it by F, one number
    per sample, which would turn the map of a negative target over and is undefined for a target of
    0. It costs a forward pass per channel; `chunk` channels are ablated at once.
    """
    act = layer_output(model, layer, x)
    need_grid(act, x, layer)
    whole = values(model, x, target)

    def drops(rows: slice) -> Float[Tensor, "n b"]:
        gone = range(act.shape[1])[rows]
        without = act.repeat(len(gone), *[1] * (act.ndim - 1)).unflatten(0, (len(gone), -1))
        for copy, channel in zip(without, gone, strict=True):
            copy[:, channel] = 0
        many = x.repeat(len(gone), *[1] * (x.ndim - 1))
        out = predict_with(model, layer, many, without.flatten(0, 1))
        return whole - each_copy(target, out, len(gone))

    size = chunk or min(at_once(x, act.shape[1]), at_once(act, act.shape[1]))
    with still(model), torch.no_grad():
        weights = torch.cat(in_chunks(drops, act.shape[1], size))
    return _weighted(weights, act, x)


def _unit(maps: Maps) -> Maps:
    """Each channel of each sample scaled to 0–1; a constant one becomes 0."""
    flat = maps.flatten(2)
    low, high = flat.amin(2, keepdim=True), flat.amax(2, keepdim=True)
    width = high - low
    # enlarging a constant leaves rounding, which must not be stretched to 0–1
    constant = width <= 10 * torch.finfo(maps.dtype).eps * low.abs().maximum(high.abs())
    scaled = (flat - low) / torch.where(constant, 1.0, width)
    return torch.where(constant, 0.0, scaled).view_as(maps)


def _weighted(weights: Float[Tensor, "f b"], act: Layer, x: Images) -> Maps:
    return resize(torch.einsum("fb,bf...->b...", weights.to(act), act)[:, None], x)
