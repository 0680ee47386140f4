"""Scores of one explanation → flags, each with its reason: what a reader must know first.

Plain numbers in, sentences out; nothing is averaged here. A score that is not among those given
was not measured and raises no flag; one that is None or NaN is undefined, and that is a flag.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from attributome.core.errors import UsageError

Level = Literal["good", "warn", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One check: `reason` is a sentence, `bound` what `value` was compared with last."""

    name: str
    level: Level
    reason: str
    value: float | None
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """When a score is doubtful or bad: beyond `warn` or `bad`, upwards or downwards.

    The sentences take `{value}` and `{bound}` as text, `{percent}` and `{limit}` as per cent.
    """

    worse: Literal["above", "below"]
    warn: float
    bad: float
    good: str
    doubt: str
    undefined: str

    def __post_init__(self) -> None:
        in_order = self.warn <= self.bad if self.worse == "above" else self.warn >= self.bad
        if not (in_order and math.isfinite(self.warn) and math.isfinite(self.bad)):
            raise UsageError(
                f"bounds of {self.warn:g} (warn) and {self.bad:g} (bad) are not in order for a "
                f"score that is worse {self.worse} them"
            )


CHECKS: dict[str, Check] = {
    "completeness": Check(
        worse="above",
        warn=0.01,
        bad=0.1,
        good="The values of the map add up to the change of the target within {limit}.",
        doubt="The values of the map miss the change of the target by {percent} (more than "
        "{limit}): its numbers are not contributions.",
        undefined="The completeness error is undefined: the target does not change from the "
        "baseline to the image.",
    ),
    "control_p": Check(
        worse="above",
        warn=0.01,
        bad=0.05,
        good="The map beats its best control (Holm-corrected p = {value}).",
        doubt="The map is not shown to beat its best control (Holm-corrected p = {value}, above "
        "{bound}): a picture that knows nothing of the model may do as well.",
        undefined="The map could not be compared with a control.",
    ),
    "efficacy": Check(
        worse="below",
        warn=0.9,
        bad=0.8,
        good="What the mask keeps is enough: the prediction agrees to {value}.",
        doubt="What the mask keeps is not enough: the prediction agrees only to {value} (below "
        "{bound}).",
        undefined="The efficacy is undefined.",
    ),
    "mprt": Check(
        worse="above",
        warn=0.3,
        bad=0.6,
        good="The map changes when the network forgets what it learned (similarity {value}).",
        doubt="The map stays alike when the network is made random (similarity {value}, above "
        "{bound}): it shows the image rather than what was learned.",
        undefined="The randomisation test is undefined: the map is constant.",
    ),
    "seed_stability": Check(
        worse="below",
        warn=0.9,
        bad=0.7,
        good="The map hardly depends on the seed (rank correlation {value}).",
        doubt="Another seed gives another map (rank correlation {value}, below {bound}): use more "
        "draws.",
        undefined="The seed stability is undefined: a map is constant.",
    ),
    "map_range": Check(
        worse="below",
        warn=0.0,
        bad=0.0,
        good="The map tells pixels apart.",
        doubt="The map has one value everywhere: no evidence for this target.",
        undefined="The map is not finite.",
    ),
    "effective_share": Check(
        worse="below",
        warn=1e-3,
        bad=1e-4,
        good="The map spreads over {percent} of the field.",
        doubt="The map comes down to {percent} of the field (below {limit}): a few pixels may be "
        "an artefact of the network's grid or of the detector.",
        undefined="The map is 0 everywhere: no evidence for this target.",
    ),
    "undefined_share": Check(
        worse="above",
        warn=0.0,
        bad=0.1,
        good="Every score is defined.",
        doubt="The scores of {percent} of the samples are undefined and are in no average.",
        undefined="How many scores are undefined is not known.",
    ),
}
"""`map_range` is largest minus smallest value, `effective_share` effective voxels / voxels."""

AT_BOUND = ("map_range",)  # bad at the bound itself, not only beyond it


def flags(
    scores: Mapping[str, float | None], *, checks: Mapping[str, Check] = CHECKS
) -> list[Flag]:
    """A flag for every score, in the order of `checks`: the good ones say so."""
    if unknown := sorted(scores.keys() - checks.keys()):
        raise UsageError(f"no check looks at {unknown}; there are {sorted(checks)}")
    return [_flag(name, check, scores[name]) for name, check in checks.items() if name in scores]


def worst(found: list[Flag]) -> Level:
    """The gravest level, "good" where nothing was flagged."""
    levels = {flag.level for flag in found}
    return "bad" if "bad" in levels else "warn" if "warn" in levels else "good"


def _flag(name: str, check: Check, value: float | None) -> Flag:
    if value is None or math.isnan(value):
        return Flag(name=name, level="warn", reason=check.undefined, value=None, bound=check.warn)

    def beyond(bound: float) -> bool:
        if name in AT_BOUND and value == bound:
            return True
        return value > bound if check.worse == "above" else value < bound

    level: Level = "bad" if beyond(check.bad) else "warn" if beyond(check.warn) else "good"
    bound = check.bad if level == "bad" else check.warn
    say = check.good if level == "good" else check.doubt
    reason = say.format(
        value=f"{value:.3g}", bound=f"{bound:g}", percent=_percent(value), limit=_percent(bound)
    )
    return Flag(name=name, level=level, reason=reason, value=value, bound=bound)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
