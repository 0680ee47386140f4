"""Partners are exactly uniform over the others of a group, and never anything else."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.pairs import partners


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(0, 99), st.booleans())
def test_pairs_are_within_groups_and_of_two(groups, seed, balanced):
    counts = Counter(groups)
    kept = [i for i, group in enumerate(groups) if counts[group] > 1]
    options = {"seed": seed, "epoch": 1, "balanced": balanced, "lonely": "drop"}
    if not kept:
        with pytest.raises(DataError, match="has two cells"):
            partners(groups, **options)
        return
    source, target = partners(groups, **options)
    assert len(source) == len(target) == len(kept)
    assert (source != target).all()
    assert all(groups[s] == groups[t] for s, t in zip(source, target, strict=True))
    if not balanced:
        assert sorted(source) == kept
        return
    per_group = Counter(groups[s] for s in source)
    assert max(per_group.values()) - min(per_group.values()) <= 1
    assert set(per_group) == {group for group in counts if counts[group] > 1}
    for group in per_group:  # round after round: within a group, sources differ by one at most
        uses = [int((source == i).sum()) for i in kept if groups[i] == group]
        assert max(uses) - min(uses) <= 1


@pytest.mark.parametrize("balanced", [False, True])
def test_every_other_cell_is_equally_likely(balanced):
    """Chi-square over all ordered pairs of a group, for groups that lie mixed in the table."""
    groups = ["a", "b", "a", "a", "b", "c", "a", "c", "c", "b", "a"]
    seen = Counter()
    for epoch in range(1500):
        seen.update(
            zip(
                *map(np.ndarray.tolist, partners(groups, seed=3, epoch=epoch, balanced=balanced)),
                strict=True,
            )
        )
    for name in "abc":
        rows = [i for i, group in enumerate(groups) if group == name]
        counts = [seen[s, t] for s in rows for t in rows if s != t]
        assert min(counts) > 150
        assert chisquare(counts).pvalue > 1e-3
    assert sum(seen.values()) == 1500 * len(groups)


def test_the_order_of_an_epoch_is_uniform():
    first = Counter(int(partners([0] * 6, seed=0, epoch=e)[0][0]) for e in range(1500))
    assert chisquare([first[i] for i in range(6)]).pvalue > 1e-3


def test_balanced_leaves_out_of_large_groups_by_lot():
    groups = [0] * 30 + [1] * 2
    seen = Counter()
    for epoch in range(600):
        seen.update(partners(groups, seed=0, epoch=epoch, balanced=True)[0].tolist())
    assert chisquare([seen[i] for i in range(30)]).pvalue > 1e-3
    assert [seen[30], seen[31]] == [4800, 4800]


def test_the_same_seed_and_epoch_give_the_same_pairs():
    groups = np.random.default_rng(0).integers(0, 5, 200)
    one = partners(groups, seed=1, epoch=2)
    np.testing.assert_array_equal(one, partners(groups.tolist(), seed=1, epoch=2))
    names = pd.Series([f"group {i}" for i in groups], index=range(7, 207))
    np.testing.assert_array_equal(one, partners(names, seed=1, epoch=2))
    for other in ({"seed": 1, "epoch": 3}, {"seed": 2, "epoch": 2}):
        assert (one[0] != partners(groups, **other)[0]).any()
        assert (one[1] != partners(groups, **other)[1]).any()


def test_groups_of_one_cell_are_refused_by_name_or_left_out():
    groups = ["x", "pair", "pair", *"abcdef"]
    with pytest.raises(DataError, match="7 groups have one cell.*'x', 'a', 'b', 'c', 'd' and 2"):
        partners(groups, seed=0, epoch=0)
    source, target = partners(groups, seed=0, epoch=0, lonely="drop")
    assert sorted(source) == sorted(target) == [1, 2]


@pytest.mark.parametrize("nothing", [None, np.nan])
def test_a_cell_without_a_group_is_refused(nothing):
    with pytest.raises(DataError, match="row 3 has no group"):
        partners(["a", "a", nothing], seed=0, epoch=0)


def test_words_that_cannot_be_meant():
    with pytest.raises((UsageError, TypeError), match="lonely"):
        partners(["a", "a"], seed=0, epoch=0, lonely="keep")
