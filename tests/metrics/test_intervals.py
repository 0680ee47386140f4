"""Against exact bootstrap distributions, exact permutation tests and closed forms."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, bootstrap

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import holm
from attributome.metrics.intervals import median_interval, paired_difference


def exact_ends(values, confidence):
    """Percentiles of the bootstrap median of an odd number of values, without drawing.

    The median of a resample is at most the k-th smallest value if more than half of the draws
    are, each with probability k/n.
    """
    n = len(values)
    below = binom.sf(n // 2, n, np.arange(1, n + 1) / n)
    tail = (1 - confidence) / 2
    return [np.sort(values)[np.searchsorted(below, q)] for q in (tail, 1 - tail)]


@pytest.mark.parametrize(("n", "confidence"), [(5, 0.9), (9, 0.95), (21, 0.95), (41, 0.8)])
def test_the_interval_is_that_of_the_exact_bootstrap(n, confidence, random):
    values = random.standard_normal(n)
    median, low, high = median_interval(values, confidence=confidence, draws=20_000)
    assert median == np.median(values)
    assert [low, high] == exact_ends(values, confidence)


def test_the_interval_is_that_of_scipy(random):
    values = random.random(40)
    theirs = bootstrap(
        (values,), np.median, method="percentile", n_resamples=20_000, rng=random
    ).confidence_interval
    assert median_interval(values, draws=20_000)[1:] == pytest.approx(list(theirs), abs=0.02)


@pytest.mark.parametrize(("n", "coverage"), [(7, 0.875), (25, 0.957)])
def test_the_interval_covers_the_median_as_often_as_it_says(n, coverage, random):
    """Skewed values; the ends are order statistics, so the coverage is a binomial probability."""
    low, high = (int(end) for end in exact_ends(np.arange(n), 0.95))
    assert binom.cdf(high, n, 0.5) - binom.cdf(low, n, 0.5) == pytest.approx(coverage, abs=1e-3)
    hits = 0
    for _ in range(600):
        _, low, high = median_interval(random.exponential(size=n))
        hits += low <= np.log(2) <= high
    assert binom.isf(1 - 1e-3, 600, coverage) <= hits <= binom.isf(1e-3, 600, coverage)


@pytest.mark.parametrize(
    ("values", "told"), [([0.4], (0.4, 0.4, 0.4)), ([0.8, 0.4], (0.6, 0.4, 0.8))]
)
def test_one_or_two_values_show_their_range(values, told):
    assert median_interval(np.array(values)) == pytest.approx(told)


def test_the_seed_decides(random):
    values = random.random(10)
    assert median_interval(values, draws=50) == median_interval(values, draws=50)
    assert median_interval(values, draws=50) != median_interval(values, draws=50, seed=1)


def exact_p(gaps):
    """Two-sided signed-rank p over all sign patterns, zeros left out and ties given mid-ranks."""
    gaps = gaps[gaps != 0]
    size = np.abs(gaps)
    ranks = np.array([(size < s).sum() + ((size == s).sum() + 1) / 2 for s in size])
    totals = np.array([(ranks * signs).sum() for signs in product((0, 1), repeat=len(gaps))])
    seen = ranks[gaps > 0].sum()
    return min(1.0, 2 * min((totals <= seen).mean(), (totals >= seen).mean()))


@pytest.mark.parametrize(
    "gaps",
    [
        [0.1, 0.2, 0.3, 0.4, 0.5],
        [0.3, -0.1, 0.7, 0.2, -0.5, 0.9, 0.4],
        [0.5, 0.5, -0.5, 0.25, 0.25, 1.0],  # equal sizes
        [0.5, 0.0, 0.25, 0.0, -0.125, 1.0],  # equal pairs
        [0.5],
    ],
)
def test_p_is_that_of_all_sign_patterns(gaps):
    gaps = np.array(gaps)
    other = np.full(len(gaps), 0.5)
    told = paired_difference(gaps + other, other)
    assert told["p"] == pytest.approx(exact_p(gaps))
    assert (told["n"], told["wins"], told["ties"]) == (
        len(gaps),
        (gaps > 0).sum(),
        (gaps == 0).sum(),
    )
    assert told["median"] == pytest.approx(np.median(gaps))


def test_all_fields_better_gives_the_smallest_p():
    a = np.arange(1, 11) / 10
    assert paired_difference(a, np.zeros(10))["p"] == pytest.approx(2 / 2**10)


def test_the_difference_of_pairs_is_not_the_difference_of_medians():
    a, b = np.array([0.1, 0.5, 0.9]), np.array([0.0, 0.6, 0.5])
    told = paired_difference(a, b)
    assert told["median"] == pytest.approx(0.1)
    assert np.median(a) - np.median(b) == pytest.approx(0.0)


def test_swapping_turns_the_sign_and_keeps_p(random):
    a, b = random.random(20), random.random(20)
    there, back = paired_difference(a, b, draws=20_001), paired_difference(b, a, draws=20_001)
    assert there["median"] == -back["median"]
    assert there["low"] == pytest.approx(-back["high"])
    assert there["p"] == back["p"]
    assert there["wins"] == 20 - back["wins"]


def test_equal_scores_are_no_evidence(random):
    a = random.random(4)
    told = paired_difference(a, a)
    assert (told["p"], told["wins"], told["ties"], told["median"]) == (1.0, 0, 4, 0.0)


def test_p_is_uniform_where_there_is_no_difference(random):
    level = [
        paired_difference(*random.standard_normal((2, 12)), draws=1)["p"] <= 0.05
        for _ in range(400)
    ]
    # of the 2¹² equally likely sign patterns, 174 have p ≤ 0.05
    exact = 174 / 2**12
    assert binom.isf(1 - 1e-3, 400, exact) <= sum(level) <= binom.isf(1e-3, 400, exact)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from([0.01, 0.05, 0.3]))
def test_holm_rejects_what_stepping_down_rejects(pvalues, level):
    adjusted, going = holm(pvalues), True
    for rank, index in enumerate(sorted(range(len(pvalues)), key=lambda i: pvalues[i])):
        going = going and (len(pvalues) - rank) * pvalues[index] <= level
        assert (adjusted[index] <= level) == going
        assert pvalues[index] <= adjusted[index] <= 1


def test_what_is_undefined_is_counted_and_refused():
    holes = np.array([0.1, np.nan, np.inf])
    with pytest.raises(DataError, match=r"2 of 3 values are undefined .the first is number 1"):
        median_interval(holes)
    with pytest.raises(DataError, match="2 of 3 second scores are undefined"):
        paired_difference(np.ones(3), holes)
    with pytest.raises(DataError, match="values are empty"):
        median_interval(np.ones(0))
    with pytest.raises(DataError, match="nan is no p-value"):
        holm([0.1, float("nan")])
    with pytest.raises(DataError, match="1.5 is no p-value"):
        holm([1.5])


def test_impossible_requests_are_refused():
    with pytest.raises(UsageError, match="a confidence of 95 is not between 0 and 1"):
        median_interval(np.ones(5), confidence=95)
    with pytest.raises(UsageError, match="0 bootstrap draws"):
        median_interval(np.ones(5), draws=0)
