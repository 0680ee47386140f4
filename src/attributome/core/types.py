"""The words between tensors.

Shapes: b batch, c channels, *s space (2-D or 3-D), k map channels, o output channels,
f features and *t space of an inner layer. Letters that recur in a signature must agree.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

Images = Float[Tensor, "b c *s"]
Maps = Float[Tensor, "b k *s"]
Masks = Float[Tensor, "b 1 *s"]
Layer = Float[Tensor, "b f *t"]
Scores = Float[Tensor, " b"]

Predictor = Callable[[Tensor], Tensor]
"""Images in, outputs out: any `nn.Module` with one image argument already is one."""

Target = Callable[[Tensor], Tensor]
"""Reduces model outputs `(b, *o)` to the one number per sample being explained."""

Progress = Callable[[float, str], None]
"""Told the share of the work that is done (0 to 1) and a few words about where it stands."""


@runtime_checkable  # so that beartype can check it
class Explainer(Protocol):
    """Attribute `target(model(x))` to the pixels of `x`.

    Every explainer keeps the batch (sample i of the result explains sample i of `x`), leaves the
    model as it found it, and returns maps on the spatial grid of `x` with k = 1 or k = c.
    Only what differs from this is documented on the methods themselves.
    """

    def __call__(self, model: Predictor, x: Images, target: Target) -> Maps: ...


def silent(_done: float, _words: str) -> None:
    """A `Progress` that says nothing."""
