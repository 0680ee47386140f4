"""Comparisons of methods against scipy, published tables and closed forms."""

import numpy as np
import pytest
from scipy.stats import binom, friedmanchisquare, rankdata

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import holm
from attributome.metrics.comparison import compare_methods
from attributome.metrics.intervals import (
    clopper_pearson,
    grouped_interval,
    median_interval,
    paired_difference,
)


@pytest.fixture
def table(random):
    names = ("ours", "grad", "noise", "edges")
    return {n: random.normal(m, 1, 24).round(1) for n, m in zip(names, (1, 0.5, 0, 0), strict=True)}


def test_friedman_is_that_of_scipy(table):
    told = compare_methods(table, draws=50)
    theirs = friedmanchisquare(*table.values())
    assert told.friedman == pytest.approx(theirs.statistic)
    assert told.friedman_p == pytest.approx(theirs.pvalue)
    assert told.units == 24


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_ranks_are_those_of_each_unit(table, better):
    told = compare_methods(table, better=better, draws=50)
    sign = -1 if better == "higher" else 1
    wanted = np.mean([rankdata(sign * unit) for unit in np.stack([*table.values()]).T], axis=0)
    assert told.mean_ranks == pytest.approx(tuple(wanted))


# Demšar 2006, table 5: q / √2 at 0.05
@pytest.mark.parametrize(("k", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_the_table(k, q, random):
    n = 14
    told = compare_methods({str(i): random.random(n) for i in range(k)}, draws=1)
    assert told.critical_difference == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * n)), abs=1e-3)


@pytest.mark.parametrize("reference", [None, "noise"])
def test_pairs_are_corrected_together(table, reference):
    told = compare_methods(table, reference=reference, draws=200)
    names = [(p.first, p.second) for p in told.pairs]
    if reference:
        assert names == [("ours", "noise"), ("grad", "noise"), ("edges", "noise")]
    else:
        assert len(set(names)) == 6
    assert [p.holm for p in told.pairs] == holm([p.p for p in told.pairs])
    for pair in told.pairs:
        one = paired_difference(table[pair.first], table[pair.second], draws=200)
        assert {name: getattr(pair, name) for name in one if name != "n"} == {
            name: value for name, value in one.items() if name != "n"
        }


def test_a_clear_order_has_the_extreme_ranks():
    rise = np.arange(20.0)
    told = compare_methods({"c": rise, "a": rise + 2, "b": rise + 1}, draws=10)
    assert told.mean_ranks == (3, 1, 2)
    assert told.friedman == pytest.approx(20 * 2)  # n (k − 1), the largest that there is
    assert told.cliques == ()
    assert all(pair.holm < 1e-3 for pair in told.pairs)


def test_equal_methods_are_one_clique():
    same = np.ones(5)
    told = compare_methods({"a": same, "b": same, "c": same}, draws=10)
    assert (told.friedman, told.friedman_p, told.mean_ranks) == (0, 1, (2, 2, 2))
    assert told.cliques == (("a", "b", "c"),)
    assert [pair.holm for pair in told.pairs] == [1, 1, 1]


def test_cliques_overlap_where_only_the_ends_differ():
    """Mean ranks 1.2, 2.0 and 2.8 over 10 units: the ends are 1.6 apart, the difference is 1.05."""
    orders = [(3, 2, 1)] * 8 + [(1, 2, 3)] + [(2, 2.5, 1.5)]
    a, b, c = np.array(orders).T
    told = compare_methods({"a": a, "b": b, "c": c}, draws=10)
    assert told.critical_difference == pytest.approx(1.048, abs=1e-3)
    assert told.mean_ranks == (1.3, 1.9, 2.8)
    assert told.cliques == (("a", "b"), ("b", "c"))


def test_what_cannot_be_compared_is_refused(table):
    with pytest.raises(UsageError, match="1 methods make no comparison"):
        compare_methods({"a": np.ones(3)})
    with pytest.raises(UsageError, match="no method 'other' to compare with"):
        compare_methods(table, reference="other")
    with pytest.raises(DataError, match="each unit needs all scores"):
        compare_methods({"a": np.ones(3), "b": np.ones(4)})
    with pytest.raises(DataError, match=r"1 of 2 units have an undefined score .the first is num"):
        compare_methods({"a": np.ones(2), "b": np.array([1, np.nan])})


@pytest.mark.parametrize(("passed", "n", "bound"), [(59, 59, 0.9505), (97, 100, 0.9242)])
def test_the_bound_is_that_of_the_books(passed, n, bound):
    assert clopper_pearson(passed, n) == pytest.approx(bound, abs=1e-4)


@pytest.mark.parametrize(("passed", "n"), [(1, 1), (7, 9), (40, 50), (3, 200)])
def test_at_the_bound_so_many_passes_have_the_chance_left(passed, n):
    low = clopper_pearson(passed, n, confidence=0.9)
    assert binom.sf(passed - 1, n, low) == pytest.approx(0.1)


def test_the_ends_of_the_bound():
    assert clopper_pearson(0, 10) == 0
    assert clopper_pearson(1, 1) == pytest.approx(0.05)
    for passed, n in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(DataError, match="units passed"):
            clopper_pearson(passed, n)
    with pytest.raises(UsageError, match="a confidence of 95"):
        clopper_pearson(5, 5, 95)


def test_groups_of_one_are_the_plain_interval(random):
    values = random.random(15)
    assert grouped_interval(values, np.arange(15)) == median_interval(values)


def test_values_of_one_group_are_no_new_evidence(random):
    """Ten copies of every value make the interval no narrower, though there are ten times more."""
    values = random.random(9)
    many, groups = np.repeat(values, 10), np.repeat(np.arange(9), 10)
    assert grouped_interval(many, groups)[1:] == median_interval(values)[1:]
    plain = median_interval(many)
    assert plain[2] - plain[1] < 0.6 * (median_interval(values)[2] - median_interval(values)[1])


def test_groups_are_drawn_whole():
    """Three groups of one value each: medians are those values, whatever their sizes."""
    values, groups = np.array([0.0, 1, 1, 1, 2]), np.array(["a", "b", "b", "b", "c"])
    assert grouped_interval(values, groups) == (1, 0, 2)
    assert grouped_interval(values[:4], groups[:4]) == (1, 0, 1)
    with pytest.raises(DataError, match="5 values came with 4 groups"):
        grouped_interval(values, groups[:4])
