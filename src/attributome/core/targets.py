"""What about the output is being explained: frozen records, so that a run can note them.

A target is called with the outputs `(b, *o)` of whole batches and gives one number per sample.
One that is `rowwise` gives the same for a row whatever is beside it, and wherever it stands.
Every one says in `words` what it means. Targets that compare with a clean output are in
`fidelity.py`, one target per segmented cell in `cells.py`.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attributome.core.errors import DataError, UsageError
from attributome.core.types import Target

Index = int | Tensor
"""One class for the whole batch, or an integer tensor `(b,)` with one for each sample."""


@dataclass(frozen=True)
class Logit:
    """The score of one class: one index for the whole batch, or one per sample."""

    index: Index

    @property
    def rowwise(self) -> bool:
        """Whether a row of the output is enough: one class for all samples."""
        return isinstance(self.index, int)

    def __call__(self, out: Tensor) -> Tensor:
        return _pick(out, self.index)

    def words(self) -> str:
        return f"the score of class {self.index}" if _one(self.index) else "each sample's class"


@dataclass(frozen=True)
class LogProbability:
    """The log of one class's softmax probability: it falls where the other classes rise."""

    index: Index

    def __call__(self, out: Tensor) -> Tensor:
        return _pick(out, self.index, lambda scores: scores.log_softmax(1))

    def words(self) -> str:
        return f"the log-probability of {_class(self.index)}"


@dataclass(frozen=True)
class Margin:
    """The score of one class minus the largest other score: negative where another class wins."""

    index: Index

    def __call__(self, out: Tensor) -> Tensor:
        score = _pick(out, self.index)
        if out.shape[1] < 2:
            raise UsageError("a margin needs two classes or more; the model has one output")
        own = _indices(out, self.index)[:, None]
        return score - out.scatter(1, own, -math.inf).amax(1)

    def words(self) -> str:
        return f"the score of {_class(self.index)} minus the largest other score"


@dataclass(frozen=True)
class Difference:
    """The score of class `a` minus that of class `b`: what speaks for one and not the other."""

    a: Index
    b: Index

    def __call__(self, out: Tensor) -> Tensor:
        return _pick(out, self.a) - _pick(out, self.b)

    def words(self) -> str:
        return f"the score of {_class(self.a)} minus that of {_class(self.b, 'another class')}"


@dataclass(frozen=True)
class TopProbability:
    """The largest softmax probability, whichever class it is."""

    rowwise: ClassVar[bool] = True

    def __call__(self, out: Tensor) -> Tensor:
        return _numbers(out).softmax(1).amax(1)

    def words(self) -> str:
        return "the probability of the class the model prefers"


@dataclass(frozen=True)
class Output:
    """One regression output."""

    index: int = 0
    rowwise: ClassVar[bool] = True

    def __call__(self, out: Tensor) -> Tensor:
        if not 0 <= self.index < _numbers(out).shape[1]:
            raise UsageError(
                f"output {self.index} asked of a model with {out.shape[1]} outputs; they count "
                f"from 0"
            )
        return out[:, self.index]

    def words(self) -> str:
        return f"output {self.index} of the model"


@dataclass(frozen=True)
class OutputSum:
    """The sum of everything that the model puts out for a sample."""

    rowwise: ClassVar[bool] = True

    def __call__(self, out: Tensor) -> Tensor:
        return out.flatten(1).sum(1)

    def words(self) -> str:
        return "the sum of the model's outputs"


@dataclass(frozen=True)
class Channel:
    """Another target, of one channel of the output only."""

    index: int
    of: Target = OutputSum()

    def __call__(self, out: Tensor) -> Tensor:
        if out.ndim < 2 or not 0 <= self.index < out.shape[1]:
            raise UsageError(
                f"channel {self.index} asked of outputs of shape {tuple(out.shape)}; channels are "
                f"the second axis and count from 0"
            )
        return self.of(out[:, self.index : self.index + 1])

    def words(self) -> str:
        return f"{describe(self.of)}, in output channel {self.index} only"


@dataclass(frozen=True)
class RegionMean:
    """Mean of an image output inside a region: `(*s)` shared, or `(b, *s)` per sample.

    A region that is not 0 or 1 weighs its pixels. Channels are averaged; see `Channel`.
    """

    region: Tensor

    def __call__(self, out: Tensor) -> Tensor:
        total, area = _inside(out, self.region)
        return total / area / out.shape[1]

    def words(self) -> str:
        return "the mean of the model's output inside a region"


@dataclass(frozen=True)
class RegionSum:
    """Sum of an image output inside a region, over all channels; regions as in `RegionMean`."""

    region: Tensor

    def __call__(self, out: Tensor) -> Tensor:
        return _inside(out, self.region)[0]

    def words(self) -> str:
        return "the sum of the model's output inside a region"


@dataclass(frozen=True)
class Voxel:
    """One channel of an image output at one place, counted from 0 along each spatial axis."""

    position: tuple[int, ...]
    channel: int = 0

    def __call__(self, out: Tensor) -> Tensor:
        size, at = tuple(out.shape[2:]), (self.channel, *self.position)
        if len(self.position) != len(size) or not all(
            0 <= place < length for place, length in zip(at, out.shape[1:], strict=True)
        ):
            raise UsageError(
                f"voxel {self.position} of channel {self.channel} asked of outputs of size {size} "
                f"with {out.shape[1]} channels"
            )
        for place in at:
            out = out.select(1, place)
        return out

    def words(self) -> str:
        return f"output channel {self.channel} at {self.position}"


@dataclass(frozen=True)
class Weighted:
    """Any weighted sum of the output: weights `(*o)` shared, or `(b, *o)` per sample.

    The gradient of `Weighted(g)` is the model's Jacobian applied to g, whatever g is.
    """

    weights: Tensor

    def __call__(self, out: Tensor) -> Tensor:
        shape, wanted = tuple(self.weights.shape), tuple(out.shape)
        if shape not in (wanted, wanted[1:]):
            raise UsageError(
                f"weights of shape {shape} for outputs of shape {wanted}: give {wanted[1:]} for "
                f"all samples, or {wanted}"
            )
        return (out * self.weights.to(out)).flatten(1).sum(1)

    def words(self) -> str:
        return "a weighted sum of the model's outputs"


def describe(target: object) -> str:
    """What is being explained, in words."""
    say = getattr(target, "words", None)
    return str(say()) if callable(say) else getattr(target, "__name__", type(target).__name__)


FORMS: dict[str, Callable[[Sequence[int]], Target]] = {
    r"sum": lambda _: OutputSum(),
    r"output:\d+": lambda n: Output(n[0]),
    r"class:\d+": lambda n: Logit(n[0]),
    r"class:\d+-\d+": lambda n: Difference(n[0], n[1]),
    r"logprob:\d+": lambda n: LogProbability(n[0]),
    r"margin:\d+": lambda n: Margin(n[0]),
    r"top": lambda _: TopProbability(),
    r"channel:\d+": lambda n: Channel(n[0]),
    r"voxel:\d+(,\d+)+": lambda n: Voxel(tuple(n)),
}
"""How a job names targets; `region:LABEL` needs an image of labels and stands in `target_named`."""

SAMPLES = (
    "sum, output:2, class:3, class:3-1, logprob:3, margin:3, top, channel:1, voxel:12,40, region:7"
)


def target_named(text: str, *, regions: Tensor | None = None) -> Target:
    """The target that a job names; `regions` is an image of integer labels, `(*s)` or `(b, *s)`."""
    for form, make in FORMS.items():
        if re.fullmatch(form, text):
            return make([int(number) for number in re.findall(r"\d+", text)])
    if not (found := re.fullmatch(r"region:(\d+)", text)):
        raise UsageError(f"no target {text!r}; it is one of these, with your numbers: {SAMPLES}")
    if regions is None:
        raise UsageError(f"target {text!r} needs an image of regions, and there is none")
    region = regions == int(found[1])
    if not region.any():
        raise DataError(f"target {text!r}: the image of regions has no pixel with that label")
    return RegionMean(region)


def _one(index: Index) -> bool:
    return isinstance(index, int)


def _class(index: Index, several: str = "each sample's class") -> str:
    return f"class {index}" if _one(index) else several


def _numbers(out: Tensor) -> Tensor:
    """Outputs that are numbers and not images."""
    if out.ndim != 2:
        raise UsageError(
            f"outputs of shape {tuple(out.shape)} are no row of numbers per sample, shape (batch, "
            f"outputs), which this target needs"
        )
    return out


def _indices(out: Tensor, index: Index) -> Tensor:
    """A valid class for every sample."""
    found = torch.as_tensor(index, device=out.device)
    if found.is_floating_point() or found.dtype == torch.bool or found.is_complex():
        raise UsageError(f"classes are whole numbers, not {found.dtype}")
    if found.shape not in ((), (len(out),)):
        raise UsageError(
            f"classes of shape {tuple(found.shape)} for {len(out)} samples; give one for all, or "
            f"one for each, shape ({len(out)},)"
        )
    if out.ndim != 2 or not 0 <= int(found.min()) <= int(found.max()) < out.shape[1]:
        wrong = found.min() if found.min() < 0 else found.max()
        raise UsageError(
            f"class {int(wrong)} asked of outputs of shape {tuple(out.shape)}, which should be "
            f"(batch, classes) with more classes than that; classes count from 0"
        )
    return found.long().expand(len(out))


def _pick(
    out: Tensor, index: Index, scale: Callable[[Tensor], Tensor] = lambda scores: scores
) -> Tensor:
    if isinstance(index, int) and out.ndim == 2 and 0 <= index < out.shape[1]:
        return scale(out)[:, index]  # without a tensor of indices: small networks are that fast
    own = _indices(out, index)[:, None]
    return scale(out).gather(1, own).squeeze(1)


def _inside(out: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the output inside each sample's region, and the region's size."""
    size = tuple(out.shape[2:])
    if tuple(region.shape) not in (size, (1, *size), (len(out), *size)) or not size:
        raise UsageError(
            f"a region of shape {tuple(region.shape)} for outputs of shape {tuple(out.shape)}: "
            f"give {size} for all samples, or {(len(out), *size)}"
        )
    weight = region.to(out).expand(len(out), *size)
    area = weight.flatten(1).sum(1)
    if not (area > 0).all():
        raise UsageError("the region of a target is empty; it must cover at least one pixel")
    return torch.einsum("bc...,b...->b", out, weight), area
