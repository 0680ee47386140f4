"""What can be promised about new fields, whatever their distribution is.

The threshold is calibrated by Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei 2021)
with fixed-sequence testing: thresholds are tried in an order that was fixed before, from the
largest mask on, and the first that cannot be shown to be safe ends the search. For one threshold
this is the tolerance bound of Wilks (1941). The risk-controlling sets of Bates, Angelopoulos, Lei,
Malik and Jordan (2021) promise the same where a larger mask is never worse; here it may be.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy.stats import binom

from attributome.core.errors import DataError, UsageError

ROUNDING = 1e-9  # 1 - 0.9 is not 0.1 in binary; that must not decide about a field


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """One threshold: how many calibration fields fall below the floor.

    `p` is the chance of so few, or fewer, if more than the allowed share of all fields did.
    """

    value: float
    failures: int
    fields: int
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """The statement, or why it cannot be made; `needed` is how many fields it takes at least.

    `threshold` and `failures` are None where it is not given. `curve` holds every threshold in
    the order of testing; only those before the first p above 1 − `confidence` were passed.
    """

    given: bool
    threshold: float | None
    floor: float
    share: float
    confidence: float
    fields: int
    needed: int
    failures: int | None
    reason: str
    curve: tuple[Tested, ...]

    def sentence(self) -> str:
        """For the report."""
        if not self.given:
            return f"No guarantee: {self.reason}."
        return (
            f"With {_percent(self.confidence)} confidence, at least {_percent(self.share)} of new "
            f"fields like the {self.fields} calibration fields keep an efficacy ≥ "
            f"{self.floor:g} at this mask."
        )

    def to_dict(self) -> dict[str, object]:
        """As JSON has it."""
        names = ("given", "reason", "confidence", "share", "floor", "threshold", "fields", "needed")
        return {
            "sentence": self.sentence(),
            **{name: getattr(self, name) for name in names},
            "curve": [asdict(tested) for tested in self.curve],
        }


def guarantee_threshold(
    efficacies: Float[np.ndarray, "fields thresholds"],
    thresholds: Sequence[float],
    *,
    floor: float = 0.9,
    share: float = 0.9,
    confidence: float = 0.9,
) -> Guarantee:
    """The strictest threshold at which `share` of new fields can be promised to keep `floor`.

    Row i holds the efficacies of calibration field i at every threshold. The fields must have
    been used for nothing else: not to train, stop, choose a noise scale, or lay out `thresholds`.
    """
    _check(efficacies, thresholds)
    fields, needed = len(efficacies), fields_needed(share, confidence)
    failures = (efficacies < floor).sum(axis=0).tolist()
    chances = binom.cdf(failures, fields, 1 - share).tolist()
    curve = tuple(
        Tested(value=float(value), failures=count, fields=fields, p=p)
        for value, count, p in zip(thresholds, failures, chances, strict=True)
    )
    passed = 0
    while passed < len(curve) and _rejects(curve[passed].p, confidence):
        passed += 1
    last = curve[passed - 1] if passed else None
    return Guarantee(
        given=last is not None,
        threshold=last.value if last else None,
        floor=floor,
        share=share,
        confidence=confidence,
        fields=fields,
        needed=needed,
        failures=last.failures if last else None,
        reason="" if last else _why_not(curve[0], needed, floor, share, confidence),
        curve=curve,
    )


def fields_needed(share: float, confidence: float) -> int:
    """How many calibration fields it takes if every one of them keeps the floor (22 at 90/90)."""
    for name, value in (("share", share), ("confidence", confidence)):
        if not 0 < value < 1:
            raise UsageError(f"a {name} of {value} is not between 0 and 1, such as 0.9")
    fields = max(1, math.ceil(math.log1p(-confidence) / math.log(share)) - 1)
    while not _rejects(share**fields, confidence):
        fields += 1
    return fields


def split_conformal_efficacy(efficacies: Float[np.ndarray, " fields"], share: float = 0.9) -> float:
    """What the efficacy of one new field reaches with probability `share`.

    The one-sided split-conformal bound (Papadopoulos et al. 2002; Vovk, Gammerman and Shafer
    2005). The probability is over the new field and the calibration fields together. The mask
    must have been fixed before: at a threshold that was chosen on these very fields, also by
    `guarantee_threshold`, the bound can be too high.
    """
    if not 0 < share < 1:
        raise UsageError(f"a share of {share} is not between 0 and 1, such as 0.9")
    _check_defined(efficacies)
    rank = math.floor((len(efficacies) + 1) * (1 - share) + ROUNDING)
    if rank < 1:
        needed = math.ceil(1 / (1 - share) - ROUNDING) - 1
        raise DataError(
            f"a bound that holds for {_percent(share)} of new fields needs at least {needed} "
            f"calibration fields, there are {len(efficacies)}"
        )
    return float(np.sort(efficacies)[rank - 1])


def _rejects(p: float, confidence: float) -> bool:
    return p <= 1 - confidence + ROUNDING


def _why_not(first: Tested, needed: int, floor: float, share: float, confidence: float) -> str:
    if first.fields < needed:
        there = "there is 1" if first.fields == 1 else f"there are {first.fields}"
        return f"it needs at least {needed} calibration fields, {there}"
    chances = binom.cdf(range(first.failures), first.fields, 1 - share).tolist()
    allowed = sum(_rejects(p, confidence) for p in chances) - 1
    return (
        f"even at the largest mask tried {first.failures} of {first.fields} calibration fields "
        f"fall below an efficacy of {floor:g}, and at most {allowed} may"
    )


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _check(efficacies: np.ndarray, thresholds: Sequence[float]) -> None:
    if efficacies.ndim != 2 or not efficacies.size or efficacies.shape[1] != len(thresholds):
        raise DataError(
            f"efficacies of shape {efficacies.shape} do not fit {len(thresholds)} thresholds: "
            f"there must be one row per field and one column per threshold"
        )
    for low, high in pairwise(thresholds):
        if not low < high:
            raise UsageError(
                f"threshold {high:g} follows {low:g}: they must rise, so that the largest mask is "
                f"tested first"
            )
    _check_defined(efficacies)


def _check_defined(efficacies: np.ndarray) -> None:
    undefined = np.argwhere(~np.isfinite(efficacies))
    if len(undefined):
        raise DataError(
            f"{len(undefined)} of {efficacies.size} efficacies are undefined (the first is that of "
            f"field {undefined[0][0]}, counted from 0): find out why before anything is promised"
        )
