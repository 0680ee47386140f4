"""What the generator sees besides the pixels."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.arrays import per_sample
from attributome.core.probe import gradient
from attributome.core.types import Images, Predictor, Target

Seen = Float[Tensor, "b d *s"]
Condition = Callable[[Predictor, Images, Tensor, Target], Seen]
"""(model, x, model(x), target) → the generator's input; the outputs are given, not made again."""


def with_prediction(model: Predictor, x: Images, out: Tensor, target: Target) -> Seen:
    """Append the model's image output (image-to-image)."""
    return torch.cat([x, out], dim=1)


def with_gradient(model: Predictor, x: Images, out: Tensor, target: Target) -> Seen:
    """Append the gradient's length over channels, scaled to [0, 1] per sample (scalar outputs)."""
    length = gradient(model, x, target).norm(dim=1, keepdim=True)
    low, high = length.flatten(1).amin(1), length.flatten(1).amax(1)
    return torch.cat([x, (length - per_sample(low, x)) / per_sample(high - low + 1e-8, x)], dim=1)


CONDITIONS: dict[str, Condition] = {"prediction": with_prediction, "gradient": with_gradient}
