"""Targets that compare the output with a clean reference output: how much of the answer is left.

All of them are largest at the image itself, where the output is the reference. So **their gradient
at the image is exactly zero**: they are for what takes pixels away (masks, occlusion, deletion),
and for paths that start elsewhere. A gradient at the image explains a sum: `OutputSum`,
`RegionSum`, or `Weighted(reference)`, whose gradient there is that of the output's energy
(half its sum of squares).
"""

from dataclasses import dataclass

from torch import Tensor

from attributome.core.arrays import pearson
from attributome.core.errors import DataError, UsageError
from attributome.core.similarity import dice, soft_above, ssim
from attributome.core.targets import describe


@dataclass(frozen=True, eq=False)
class Correlation:
    """Pearson correlation with the reference, per sample; 0 for a constant output.

    `per_channel` correlates every output channel by itself and averages: a weak channel then
    counts as much as a strong one. A constant reference has no correlation and is refused.
    """

    reference: Tensor
    per_channel: bool = False

    def __post_init__(self) -> None:
        rows = self.reference.flatten(0, 1) if self.per_channel else self.reference
        what = "channel" if self.per_channel else "sample"
        _varies(rows.flatten(1), what, "there is nothing to correlate with")

    def __call__(self, out: Tensor) -> Tensor:
        reference = _like(self.reference, out)
        if self.per_channel:
            each = pearson(out.flatten(0, 1), reference.flatten(0, 1))
            return each.view(out.shape[:2]).mean(1)
        return pearson(out, reference)

    def words(self) -> str:
        return "the correlation with the model's clean output" + (
            ", averaged over output channels" if self.per_channel else ""
        )


@dataclass(frozen=True, eq=False)
class NegativeError:
    """Minus the mean squared difference from the reference: 0 at best."""

    reference: Tensor

    def __call__(self, out: Tensor) -> Tensor:
        return -(out - _like(self.reference, out)).square().flatten(1).mean(1)

    def words(self) -> str:
        return "minus the mean squared difference from the model's clean output"


@dataclass(frozen=True, eq=False)
class Similarity:
    """Structural similarity with the reference, whose span of values is the range."""

    reference: Tensor
    sigma: float = 1.5

    def __post_init__(self) -> None:
        _varies(self.reference.flatten(1), "sample", "its range of values is 0")

    def __call__(self, out: Tensor) -> Tensor:
        return ssim(out, _like(self.reference, out), sigma=self.sigma)

    def words(self) -> str:
        return "the structural similarity with the model's clean output"


@dataclass(frozen=True, eq=False)
class Overlap:
    """Dice overlap of what lies above a threshold in the output and in the reference.

    `softness` is the width of the step, in units of the output; 0 is the plain Dice score, which
    has no gradient at all.
    """

    reference: Tensor
    threshold: float
    softness: float

    def __post_init__(self) -> None:
        if self.softness < 0:
            raise UsageError(f"the softness of an overlap is {self.softness}; it must not be < 0")
        bare = ~(self.reference.flatten(1) > self.threshold).any(1)
        if bare.any():
            raise DataError(
                f"sample {int(bare.nonzero()[0])} of the reference has nothing above "
                f"{self.threshold}: there is nothing to overlap with"
            )

    def __call__(self, out: Tensor) -> Tensor:
        both = (out, _like(self.reference, out))
        return dice(*(soft_above(one, self.threshold, self.softness) for one in both))

    def words(self) -> str:
        return f"the overlap with the model's clean output above {self.threshold}"


FIDELITY = (Correlation, NegativeError, Similarity, Overlap)


def check_gradient_target(target: object) -> None:
    """Refuse a target whose gradient at the image itself is zero whatever the model does.

    For methods that differentiate at the image (saliency, CAM). A path from elsewhere is not one.
    """
    inner = getattr(target, "of", target)  # of a channel
    if isinstance(inner, FIDELITY):
        raise UsageError(
            f"{describe(target)} is largest at the image itself, so its gradient there is zero: "
            f"explain a sum of the output with gradients (sum, region, or Weighted(reference)), or "
            f"this target with a method that takes pixels away"
        )


def _like(reference: Tensor, out: Tensor) -> Tensor:
    if reference.shape != out.shape:
        raise UsageError(
            f"the reference output has shape {tuple(reference.shape)}, the output "
            f"{tuple(out.shape)}: compare outputs of the same batch"
        )
    return reference.detach().to(out)


def _varies(rows: Tensor, what: str, so: str) -> None:
    constant = rows.amax(1) == rows.amin(1)
    if constant.any():
        first = int(constant.nonzero()[0])
        raise DataError(f"{what} {first} of the reference output is constant: {so}")
