"""The promise holds as often as it says, is worth having, and a careless rule would be caught.

Every simulation draws a calibration set from a population whose true risk at each threshold is
known, lets a procedure choose, and counts how often the threshold chosen is worse than promised.
"""

import json
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom, norm

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng
from attributome.masks.guarantee import (
    fields_needed,
    guarantee_threshold,
    split_conformal_efficacy,
)

DRAWS = 500
FALSE_ALARM = 1e-3  # a correct procedure with exactly 10 % violations fails a check this rarely
MOST = int(binom.isf(FALSE_ALARM, DRAWS, 0.1))
THRESHOLDS = [0.5, 0.54, 0.58, 0.62, 0.66, 0.7, 0.74, 0.78]


def smooth(draw, fields):
    """Efficacy falls with the threshold, faster in some fields: nested masks, one field effect."""
    scale = 0.12 * np.array(THRESHOLDS) ** 2
    efficacies = 1 - scale * np.exp(0.4 * draw.standard_normal((fields, 1)))
    return efficacies, norm.sf(np.log(0.1 / scale) / 0.4)


def uneven(draw, fields):
    """Not monotone: a dip at the fourth threshold, and more of them after it."""
    risk = np.array([0.01] * 3 + [0.12] + [0.02, 0.12] * 2)
    return 0.95 - 0.2 * (draw.random((fields, 8)) < risk), risk


def on_the_edge(draw, fields):
    """Two values, one exactly at the floor; every threshold is just too risky on its own."""
    risk = np.full(8, 0.1001)
    return np.where(draw.random((fields, 8)) < risk, np.nextafter(0.9, 0), 0.9), risk


POPULATIONS = [smooth, uneven, on_the_edge]


def by_testing(efficacies):
    return guarantee_threshold(efficacies, THRESHOLDS).threshold


def by_looking(efficacies):
    """Broken: the strictest threshold at which these very fields keep the floor often enough."""
    good = np.flatnonzero((efficacies >= 0.9).mean(axis=0) >= 0.9)
    return THRESHOLDS[good[-1]] if len(good) else None


def by_testing_each_alone(efficacies):
    """Broken: every threshold gets its own test at the full level, in no order."""
    failures = (efficacies < 0.9).sum(axis=0)
    good = np.flatnonzero(binom.cdf(failures, len(efficacies), 0.1) <= 0.1)
    return THRESHOLDS[good[-1]] if len(good) else None


@cache
def chosen(procedure, population, fields):
    """Per draw: the threshold and its true risk, or None twice."""
    results = []
    for number in range(DRAWS):
        efficacies, risk = population(rng(1, population.__name__, fields, number), fields)
        value = procedure(efficacies)
        results.append((value, None if value is None else risk[THRESHOLDS.index(value)]))
    return results


def violations(procedure, population, fields):
    return sum(r is not None and bool(r > 0.1) for _, r in chosen(procedure, population, fields))


@pytest.mark.parametrize("fields", [22, 60])
@pytest.mark.parametrize("population", POPULATIONS)
def test_the_promise_is_broken_as_rarely_as_it_says(population, fields):
    assert violations(by_testing, population, fields) <= MOST


def test_the_level_is_used_up():
    """At 22 fields a risk of 0.1 is accepted in 9.8 % of draws: the check above is not slack."""
    least = binom.isf(1 - FALSE_ALARM, DRAWS, (1 - 0.1001) ** 22)
    assert violations(by_testing, on_the_edge, 22) >= least > 25


@pytest.mark.parametrize(
    ("broken", "population"),
    [
        (by_looking, smooth),
        (by_looking, uneven),
        (by_looking, on_the_edge),
        (by_testing_each_alone, on_the_edge),
    ],
)
def test_a_broken_procedure_is_caught(broken, population):
    assert violations(broken, population, 38) > MOST


def test_the_guarantee_is_worth_having():
    results = chosen(by_testing, smooth, 60)
    risks = np.array([risk for _, risk in results if risk is not None])
    assert len(risks) >= 0.99 * DRAWS
    assert np.median(risks) > 0.02  # of the 0.1 that it may use
    assert np.median([value for value, _ in results if value is not None]) >= 0.62


@pytest.mark.parametrize("fields", [22, 30, 60])
def test_no_failure_gives_share_to_the_power_of_fields(fields):
    given = guarantee_threshold(np.ones((fields, 3)), [0.1, 0.5, 0.9])
    assert [tested.p for tested in given.curve] == pytest.approx([0.9**fields] * 3)
    assert (given.given, given.threshold, given.failures) == (True, 0.9, 0)
    assert given.sentence() == (
        f"With 90 % confidence, at least 90 % of new fields like the {fields} calibration fields "
        f"keep an efficacy ≥ 0.9 at this mask."
    )


@pytest.mark.parametrize(("failures", "fields"), [(0, 22), (1, 38), (2, 52), (3, 65), (4, 78)])
def test_as_many_failures_as_the_binomial_allows(failures, fields):
    efficacies = np.ones((fields, 1))
    efficacies[:failures] = 0.5
    assert guarantee_threshold(efficacies, [0.5]).given
    assert not guarantee_threshold(efficacies[:-1], [0.5]).given


@pytest.mark.parametrize(
    ("share", "confidence", "fields"),
    [(0.9, 0.9, 22), (0.95, 0.95, 59), (0.8, 0.9, 11), (0.99, 0.99, 459), (0.1, 0.9, 1)],
)
def test_fields_needed_is_the_least_that_suffices(share, confidence, fields):
    assert fields_needed(share, confidence) == fields
    enough = guarantee_threshold(np.ones((fields, 1)), [0.5], share=share, confidence=confidence)
    assert enough.given
    assert enough.needed == fields
    if fields > 1:
        few = guarantee_threshold(
            np.ones((fields - 1, 1)), [0.5], share=share, confidence=confidence
        )
        assert not few.given


def test_testing_stops_at_the_first_threshold_that_is_not_safe():
    efficacies = np.ones((30, 4))
    efficacies[:5, 2] = 0.8
    result = guarantee_threshold(efficacies, [0.2, 0.4, 0.6, 0.8])
    assert result.threshold == 0.4
    assert [tested.failures for tested in result.curve] == [0, 0, 5, 0]


def test_exactly_the_floor_is_kept():
    assert guarantee_threshold(np.full((22, 1), 0.9), [0.5]).given
    assert not guarantee_threshold(np.full((22, 1), np.nextafter(0.9, 0)), [0.5]).given


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (2, "it needs at least 22 calibration fields, there are 2"),
        (1, "it needs at least 22 calibration fields, there is 1"),
        (40, "even at the largest mask tried 9 of 40 calibration fields fall below an efficacy "
             "of 0.9, and at most 1 may"),
    ],
)  # fmt: skip
def test_a_guarantee_that_is_not_given_says_why(fields, words):
    efficacies = np.ones((fields, 2))
    efficacies[:9] = 0.5 if fields > 9 else 1
    result = guarantee_threshold(efficacies, [0.5, 0.6])
    assert (result.given, result.threshold, result.failures) == (False, None, None)
    assert result.reason == words
    assert result.sentence() == f"No guarantee: {words}."


def test_the_record_is_json():
    told = guarantee_threshold(np.ones((22, 1), np.float32), [0.5]).to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == {
        "given": True,
        "sentence": "With 90 % confidence, at least 90 % of new fields like the 22 calibration "
        "fields keep an efficacy ≥ 0.9 at this mask.",
        "reason": "",
        "confidence": 0.9,
        "share": 0.9,
        "floor": 0.9,
        "threshold": 0.5,
        "fields": 22,
        "needed": 22,
        "curve": [{"value": 0.5, "failures": 0, "fields": 22, "p": pytest.approx(0.9**22)}],
    }


def misses(fields, share, columns=1):
    """How often one new field falls below the bound, made at the column that looks best."""
    count = 0
    for draw in 1 - rng(2, fields).exponential(size=(4 * DRAWS, fields + 1, columns)):
        best = draw[:, int(np.argmax(np.sort(draw[:-1], axis=0)[2]))]
        count += best[-1] < split_conformal_efficacy(best[:-1], share)
    return count


@pytest.mark.parametrize(("fields", "share"), [(9, 0.9), (30, 0.9), (19, 0.8), (60, 0.75)])
def test_one_new_field_is_above_the_bound_as_often_as_promised(fields, share):
    # without ties the chance of a miss is exactly this, at most 1 - share
    chance = int((fields + 1) * (1 - share) + 1e-9) / (fields + 1)
    low, high = binom.isf([1 - FALSE_ALARM, FALSE_ALARM], 4 * DRAWS, chance)
    assert chance <= 1 - share + 1e-9
    assert low <= misses(fields, share) <= high


def test_the_bound_fails_at_a_mask_that_was_chosen_on_the_same_fields():
    most = binom.isf(FALSE_ALARM, 4 * DRAWS, 0.1)
    assert misses(30, 0.9, columns=10) > most


def test_the_bound_by_hand():
    values = np.array([0.5, 0.9, 0.7, 0.8, 0.6, 0.95, 0.99, 0.85, 0.75])
    assert split_conformal_efficacy(values, 0.9) == 0.5  # (9 + 1) · 0.1 = the first of nine
    assert split_conformal_efficacy(values, 0.8) == 0.6
    assert split_conformal_efficacy(values, 0.5) == 0.8


@pytest.mark.parametrize(("share", "needed"), [(0.9, 9), (0.95, 19), (0.8, 4)])
def test_a_bound_from_too_few_fields_is_refused(share, needed):
    split_conformal_efficacy(np.ones(needed), share)
    with pytest.raises(DataError, match=f"at least {needed} calibration fields, there are 3"):
        split_conformal_efficacy(np.ones(3), share)


@pytest.mark.parametrize(
    ("efficacies", "thresholds", "error", "words"),
    [
        (np.ones((5, 2)), [0.5], DataError, r"shape \(5, 2\) do not fit 1 thresholds"),
        (np.ones((0, 1)), [0.5], DataError, r"shape \(0, 1\) do not fit"),
        (np.ones((5, 2)), [0.6, 0.5], UsageError, "0.5 follows 0.6: they must rise"),
        (
            np.array([[1.0], [np.nan]]),
            [0.5],
            DataError,
            "1 of 2 efficacies are undefined .* field 1",
        ),
    ],
)
def test_what_cannot_be_tested_is_refused(efficacies, thresholds, error, words):
    with pytest.raises(error, match=words):
        guarantee_threshold(efficacies, thresholds)


def test_impossible_levels_are_refused():
    with pytest.raises(UsageError, match="a share of 1.0 is not between 0 and 1"):
        fields_needed(1.0, 0.9)
    with pytest.raises(UsageError, match="a confidence of 90 is not between 0 and 1"):
        guarantee_threshold(np.ones((2, 1)), [0.5], confidence=90)
    with pytest.raises(UsageError, match="a share of 0.0 is not between 0 and 1"):
        split_conformal_efficacy(np.ones(30), 0.0)
    with pytest.raises(DataError, match="1 of 3 efficacies are undefined"):
        split_conformal_efficacy(np.array([1.0, np.nan, 1.0]), 0.5)
