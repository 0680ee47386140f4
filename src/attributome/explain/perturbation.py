"""Attributions that only call the model forwards, so the model need not be differentiable."""

from itertools import product

import torch

from attributome.core.arrays import per_sample
from attributome.core.probe import predict
from attributome.core.types import Images, Maps, Predictor, Target


def occlusion(
    model: Predictor, x: Images, target: Target, *, window: int = 8, baseline: float = 0.0
) -> Maps:
    """Drop in the target when a window is replaced; windows tile the image without overlap."""
    before = target(predict(model, x))
    maps = torch.zeros_like(x[:, :1])
    for corner in product(*(range(0, size, window) for size in x.shape[2:])):
        box = tuple(slice(start, start + window) for start in corner)
        hole = (slice(None), slice(None), *box)
        hidden = x.clone()
        hidden[hole] = baseline
        maps[hole] = per_sample(before - target(predict(model, hidden)), maps)
    return maps
