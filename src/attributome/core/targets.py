"""What about the output is being explained. Frozen dataclasses, so that a run can record them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from attributome.core.errors import UsageError


@dataclass(frozen=True)
class Logit:
    """The score of one class: one index for the whole batch, or one per sample."""

    index: int | Tensor

    def __call__(self, out: Tensor) -> Tensor:
        index = torch.as_tensor(self.index, device=out.device).expand(out.shape[0])
        if out.ndim != 2 or int(index.max()) >= out.shape[1]:
            raise UsageError(
                f"class {int(index.max())} asked of outputs of shape {tuple(out.shape)}, which "
                f"should be (batch, classes) with more classes than that"
            )
        return out.gather(1, index[:, None]).squeeze(1)


@dataclass(frozen=True)
class Output:
    """One regression output."""

    index: int = 0

    def __call__(self, out: Tensor) -> Tensor:
        return out[:, self.index]


@dataclass(frozen=True)
class OutputSum:
    """The sum of everything that the model puts out for a sample."""

    def __call__(self, out: Tensor) -> Tensor:
        return out.flatten(1).sum(1)


@dataclass(frozen=True)
class TopProbability:
    """The largest softmax probability, whichever class it is."""

    def __call__(self, out: Tensor) -> Tensor:
        return out.softmax(1).amax(1)


@dataclass(frozen=True)
class RegionMean:
    """Mean of an image output inside a region: `(*s)` shared, or `(b, *s)` per sample."""

    region: Tensor

    def __call__(self, out: Tensor) -> Tensor:
        weight = self.region.to(out).expand(out.shape[0], *out.shape[2:])
        area = weight.flatten(1).sum(1)
        if not area.all():
            raise UsageError("the region of a target is empty; it must cover at least one pixel")
        return torch.einsum("bc...,b...->b", out, weight) / area / out.shape[1]


def describe(target: object) -> str:
    """What is being explained, in words."""
    words = {
        Output: lambda t: f"output {t.index} of the model",
        OutputSum: lambda _: "the sum of the model's outputs",
        TopProbability: lambda _: "the probability of the class the model prefers",
        Logit: lambda t: (
            f"the score of class {t.index}" if isinstance(t.index, int) else "each sample's class"
        ),
        RegionMean: lambda _: "the mean of the model's output inside a region",
    }
    say = words.get(type(target))
    return say(target) if say else getattr(target, "__name__", type(target).__name__)
