"""How many bits of a layer a model needs for its target, and where."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.arrays import resize, space
from attributome.core.draws import Seeds, each, normal
from attributome.core.errors import UsageError
from attributome.core.fills import blur
from attributome.core.probe import at_once, each_copy, in_chunks, layer_output, predict_with, still
from attributome.core.seeds import seed_of
from attributome.core.types import Images, Layer, Maps, Predictor, Target
from attributome.explain.cam import need_grid

START = 5.0
"""Where the logits of lambda start: almost nothing is hidden yet."""

LARGEST = 12.0
"""Beyond it, 1 - lambda has no digits left in single precision."""

NARROWEST = 0.01
"""Least spread of a unit, as a share of the layer's mean: a dead unit must not hold any bits."""


def information_bottleneck(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    layer: str,
    beta: float = 10.0,
    steps: int = 10,
    lr: float = 1.0,
    draws: int = 10,
    smooth: float = 1.0,
    background: Float[Tensor, "n c *s"] | None = None,
    seed: Seeds = 0,
) -> Maps:
    """Bits per voxel of the layer's grid that reach the target through noise (Schulz et al. 2020).

    The layer's R is replaced by `lambda R + (1 - lambda) noise`. The noise has the mean and the
    spread of the layer: of each unit over the `background` images, as in the paper, or, without
    them, of each channel over the space of the sample itself. Adam finds, for each sample, the
    lambda that minimises `beta * mean KL(Z|R, noise) - F`, where F is the target itself and the
    mean is over channels and voxels; the paper's F is a `LogProbability`. So `beta` weighs nats
    against the unit of the target. Lambda is smoothed over `smooth` voxels of the layer's grid. It
    costs `steps * draws` gradients.

    Bits are summed over channels. They are enlarged as a density, so that a pixel shows the bits of
    the layer's voxel around it: the sum over all pixels is about the bits of the layer times the
    pixels per voxel. A unit in which the target never had a gradient has 0 bits, its optimum.
    """
    if beta < 0 or lr <= 0 or smooth < 0 or steps < 1 or draws < 1:
        raise UsageError(
            f"a bottleneck of beta {beta}, lr {lr} and smooth {smooth} in {steps} steps of {draws} "
            f"draws: beta and smooth must not be negative, lr must be above 0, and there must be "
            f"at least one step and one draw"
        )
    act = layer_output(model, layer, x)
    need_grid(act, x, layer)
    seen = None if background is None else layer_output(model, layer, background)
    mean, spread = _estimates(act, seen)
    logits = torch.full_like(act, START, requires_grad=True)
    fall = torch.optim.Adam([logits], lr=lr)
    used = torch.zeros_like(act, dtype=torch.bool)
    for step in range(steps):
        seeds = _at_step(seed, step)
        noise = mean + spread * each(act, seeds, lambda one, g: _drawn(one, g, draws)).transpose(
            0, 1
        )
        with torch.enable_grad():
            kept = _smoothed(logits.sigmoid(), smooth)
            leaf = kept.detach().requires_grad_()
            cost = beta * _nats(leaf, (act - mean) / spread).flatten(1).mean(1).sum()
            pull = _pull(model, x, target, layer, act, noise, leaf)
            slope = torch.autograd.grad(cost, leaf)[0] - pull
            (logits.grad,) = torch.autograd.grad(kept, logits, slope)
        used |= pull != 0
        fall.step()
        with torch.no_grad():
            logits.clamp_(max=LARGEST)
    kept = _smoothed(logits.detach().sigmoid(), smooth)
    bits = _nats(kept, (act - mean) / spread).clamp_min(0) / math.log(2)  # rounding may be below
    return resize((bits * used).sum(1, keepdim=True), x)


def _estimates(act: Layer, seen: Float[Tensor, "n f *t"] | None) -> tuple[Tensor, Tensor]:
    """Mean and spread of the noise, such that they broadcast to the activation."""
    if seen is None:
        across: tuple[int, ...] = space(act)
        layer_wide = tuple(range(1, act.ndim))
    elif len(seen) > 1:
        across, layer_wide, act = (0,), tuple(range(act.ndim)), seen
    else:
        raise UsageError(f"a background of {len(seen)} images has no spread: give two or more")
    mean, spread = act.mean(across, keepdim=True), act.std(across, keepdim=True)
    least = NARROWEST * spread.mean(layer_wide, keepdim=True)
    return mean, spread.maximum(least.clamp_min(torch.finfo(act.dtype).tiny))


def _nats(kept: Layer, standard: Layer) -> Layer:
    """Information of each unit: the divergence of its noisy value from the noise alone."""
    # written so that only numbers of the size of `kept` cancel
    return (kept.square() + (kept * standard).square()) / 2 - kept - torch.log1p(-kept)


def _pull(
    model: Predictor,
    x: Images,
    target: Target,
    layer: str,
    act: Layer,
    noise: Float[Tensor, "n b f *t"],
    kept: Layer,
) -> Layer:
    """Gradient of the target, averaged over draws of the noise, with respect to what is kept."""
    draws = len(noise)

    def part(rows: slice) -> Layer:
        mixed = torch.lerp(noise[rows], act, kept)
        many = x.repeat(len(mixed), *[1] * (x.ndim - 1))
        out = predict_with(model, layer, many, mixed.flatten(0, 1))
        total = each_copy(target, out, len(mixed)).sum() / draws
        return torch.autograd.grad(total, kept)[0]

    with still(model):
        size = min(at_once(x, draws), at_once(act, draws))
        return torch.stack(in_chunks(part, draws, size)).sum(0)


def _smoothed(kept: Layer, smooth: float) -> Layer:
    """Smoothing is deterministic; the generator that every fill takes is not used."""
    return blur(kept, torch.Generator(), smooth / 4) if smooth else kept


def _drawn(one: Layer, generator: torch.Generator, draws: int) -> Float[Tensor, "b n f *t"]:
    return normal(one[:, None].expand(-1, draws, *one.shape[1:]), generator)


def _at_step(seed: Seeds, step: int) -> Seeds:
    """Other noise at every step, and still each sample's own."""
    if isinstance(seed, int):
        return seed_of(seed, "step", step)
    return [seed_of(one, "step", step) for one in seed]
