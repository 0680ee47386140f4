"""How much alike two outputs of a model are: agreements, 1 where they are the same."""

from collections.abc import Callable

from torch import Tensor

from attributome.core import similarity
from attributome.core.types import Scores

Agreement = Callable[[Tensor, Tensor], Scores]
"""(outputs, reference outputs) → one number per sample, 1 where they are the same."""


def same_probabilities(out: Tensor, reference: Tensor) -> Scores:
    """1 − total variation distance of class probabilities (classification)."""
    return 1 - 0.5 * (out.softmax(1) - reference.softmax(1)).abs().sum(1)


def same_class(out: Tensor, reference: Tensor) -> Scores:
    """1 where the preferred class is the same, 0 where it is another (classification)."""
    return (out.argmax(1) == reference.argmax(1)).to(out)


def same_value(spread: float) -> Agreement:
    """1 − |difference| / `spread`, not below 0 (regression); `spread` is that of predictions."""

    def compare(out: Tensor, reference: Tensor) -> Scores:
        return (1 - (out - reference).flatten(1).abs().mean(1) / spread).clamp_min(0)

    return compare


def small_error(spread: float) -> Agreement:
    """1 − root of the mean squared difference / `spread`: below 0 where the error is larger.

    Unlike the correlation it sees an output that is too bright or too dark.
    """

    def compare(out: Tensor, reference: Tensor) -> Scores:
        return 1 - (out - reference).flatten(1).square().mean(1).sqrt() / spread

    return compare


def dice(threshold: float) -> Agreement:
    """Overlap of what lies above `threshold` in both outputs: 2 |A ∩ B| / (|A| + |B|).

    NaN where nothing does in either: an empty segmentation is no evidence.
    """

    def compare(out: Tensor, reference: Tensor) -> Scores:
        a, b = (similarity.soft_above(one, threshold, 0.0) for one in (out, reference))
        return similarity.dice(a, b)

    return compare


def structural_similarity(spread: float | None = None, *, sigma: float = 1.5) -> Agreement:
    """Mean structural similarity in 2-D and 3-D (Wang et al. 2004); see `core.similarity.ssim`.

    `spread` is the range of the outputs' values, by default that of each reference output.
    """

    def compare(out: Tensor, reference: Tensor) -> Scores:
        return similarity.ssim(out, reference, data_range=spread, sigma=sigma)

    return compare
