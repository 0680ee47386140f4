"""Flags say what a score means, at the bounds exactly, and without torch."""

import math
import subprocess
import sys

import pytest

from attributome.core.errors import UsageError
from attributome.quality import CHECKS, Check, flags, worst

GOOD = {
    "completeness": 0.0,
    "control_p": 0.0,
    "efficacy": 1.0,
    "mprt": 0.0,
    "seed_stability": 1.0,
    "map_range": 2.0,
    "effective_share": 0.2,
    "undefined_share": 0.0,
}


def level(name, value):
    (flag,) = flags({name: value})
    return flag.level


def test_a_good_explanation_has_only_good_flags():
    found = flags(GOOD)
    assert [flag.name for flag in found] == list(CHECKS) == list(GOOD)
    assert {flag.level for flag in found} == {"good"}
    assert worst(found) == worst([]) == "good"


@pytest.mark.parametrize(
    ("name", "warns", "fails"),
    [
        ("completeness", 0.011, 0.11),
        ("control_p", 0.02, 0.06),
        ("efficacy", 0.89, 0.79),
        ("mprt", 0.31, 0.61),
        ("seed_stability", 0.89, 0.69),
        ("effective_share", 0.9e-3, 0.9e-4),
        ("undefined_share", 0.01, 0.11),
    ],
)
def test_beyond_the_bounds_it_is_doubtful_then_bad(name, warns, fails):
    check = CHECKS[name]
    assert [level(name, v) for v in (check.warn, warns, check.bad, fails)] == [
        "good", "warn", "warn", "bad",
    ]  # fmt: skip
    doubtful, bad = flags({name: warns})[0], flags({name: fails})[0]
    assert (doubtful.bound, bad.bound) == (check.warn, check.bad)
    assert (doubtful.value, bad.value) == (warns, fails)


def test_a_constant_map_is_no_evidence():
    (flag,) = flags({"map_range": 0.0})
    assert flag.level == "bad"
    assert "no evidence for this target" in flag.reason
    assert level("map_range", 1e-300) == "good"


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("value", [None, math.nan])
def test_what_is_undefined_is_a_flag_of_its_own(name, value):
    (flag,) = flags({name: value})
    assert (flag.level, flag.value) == ("warn", None)
    assert flag.reason == CHECKS[name].undefined


@pytest.mark.parametrize("value", [0.0, 0.5, -math.inf, math.inf])
@pytest.mark.parametrize("name", CHECKS)
def test_every_reason_is_a_sentence(name, value):
    reason = flags({name: value})[0].reason
    assert reason.endswith(".")
    assert "{" not in reason


def test_reasons_name_the_numbers():
    assert flags({"completeness": 0.25})[0].reason == (
        "The values of the map miss the change of the target by 25 % (more than 10 %): its numbers "
        "are not contributions."
    )
    assert "(rank correlation 0.85, below 0.9)" in flags({"seed_stability": 0.85})[0].reason


def test_the_gravest_counts():
    mixed = flags(GOOD | {"efficacy": 0.85, "mprt": 0.9})
    assert worst(mixed) == "bad"
    assert worst([flag for flag in mixed if flag.name != "mprt"]) == "warn"


def test_bounds_may_be_others_but_must_be_in_order():
    strict = {
        "efficacy": Check(worse="below", warn=0.99, bad=0.95, good="a.", doubt="b.", undefined="c.")
    }
    assert flags({"efficacy": 0.96}, checks=strict)[0].level == "warn"
    with pytest.raises(UsageError, match="are not in order"):
        Check(worse="below", warn=0.9, bad=0.95, good="a.", doubt="b.", undefined="c.")
    with pytest.raises(UsageError, match=r"no check looks at \['efficiency'\]; there are"):
        flags({"efficiency": 1.0})


def test_flags_and_comparisons_need_no_torch():
    code = (
        "import sys, attributome.quality, attributome.metrics.comparison; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
