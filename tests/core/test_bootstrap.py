"""Against a loop that draws groups, scipy's own bootstrap, and the share of true values inside."""

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import bootstrap as scipy_bootstrap

from attributome.core import bootstrap
from attributome.core.bootstrap import cluster_bootstrap, group_weights
from attributome.core.errors import DataError, UsageError

GROUPS = np.repeat(["a", "b", "c", "d", "e"], [1, 4, 2, 5, 3])


def test_each_draw_is_the_mean_of_the_pairs_of_the_groups_it_holds(random):
    features = random.standard_normal((15, 3))
    features[2, 1] = features[7, 1] = features[0, 2] = np.nan
    _, weights = group_weights(GROUPS, draws=200, seed=4)
    means = []
    for row in weights:
        names = np.repeat(list("abcde"), row)
        again = np.concatenate([features[name == GROUPS] for name in names])
        means.append(np.nanmean(again, 0))
    assert (weights.sum(1) == 5).all()
    found = cluster_bootstrap(features, GROUPS, draws=200, seed=4, confidence=0.8)
    assert found["mean"].to_numpy() == pytest.approx(np.nanmean(features, 0), rel=1e-12)
    ends = np.nanquantile(means, [0.1, 0.9], axis=0)
    assert found[["low", "high"]].to_numpy() == pytest.approx(ends.T, rel=1e-12)
    assert found["n"].tolist() == [15, 13, 14]
    assert found["groups"].tolist() == [5, 5, 4]


@pytest.mark.parametrize("kind", ["percentile", "bca"])
def test_with_a_pair_per_group_it_is_scipys(kind, random):
    values = random.exponential(size=30)
    theirs = scipy_bootstrap(
        (values,), np.mean, method=kind, n_resamples=60_000, rng=random, vectorized=True
    ).confidence_interval
    ours = cluster_bootstrap(values[:, None], np.arange(30), draws=60_000, kind=kind)
    assert ours[["low", "high"]].to_numpy()[0] == pytest.approx(list(theirs), abs=0.01)


@pytest.mark.parametrize(
    ("kind", "groups", "least", "most"),
    [("percentile", 40, 0.92, 0.96), ("bca", 40, 0.92, 0.96), ("percentile", 8, 0.84, 0.91)],
)
def test_the_interval_covers_the_true_mean_as_often_as_it_says(kind, groups, least, most, random):
    """Pairs of one group share an effect; each feature is an experiment of its own."""
    experiments = 2000
    shared = random.standard_normal((groups, experiments)).repeat(5, 0)
    features = shared + random.standard_normal((groups * 5, experiments))
    found = cluster_bootstrap(features, np.arange(groups).repeat(5), draws=400, kind=kind)
    inside = int(((found["low"] <= 0) & (found["high"] >= 0)).sum())
    assert binom.isf(1 - 1e-3, experiments, least) <= inside
    assert inside <= binom.isf(1e-3, experiments, most)


def test_pairs_as_units_would_cover_far_less(random):
    """Why groups are drawn: the same data, each pair for itself."""
    shared = random.standard_normal((20, 500)).repeat(10, 0)
    features = shared + 0.3 * random.standard_normal(shared.shape)
    found = cluster_bootstrap(features, np.arange(200), draws=200)
    assert ((found["low"] <= 0) & (found["high"] >= 0)).mean() < 0.6


def test_blocks_and_order_change_nothing(random, monkeypatch):
    features = random.standard_normal((15, 7))
    whole = cluster_bootstrap(features, GROUPS, draws=50, kind="bca")
    monkeypatch.setattr(bootstrap, "BLOCK", 100)
    order = random.permutation(15)
    again = cluster_bootstrap(features[order], GROUPS[order], draws=50, kind="bca")
    assert again.to_numpy() == pytest.approx(whole.to_numpy(), rel=1e-9)


@pytest.mark.parametrize("kind", ["percentile", "bca"])
def test_constants_are_certain_and_one_group_says_nothing(kind):
    same = cluster_bootstrap(np.full((15, 1), 0.1), GROUPS, draws=20, kind=kind)
    assert same.loc[0, ["mean", "low", "high"]].tolist() == pytest.approx([0.1] * 3)
    values = np.where(GROUPS[:, None] == "b", 2.0, np.nan)
    alone = cluster_bootstrap(values, GROUPS, draws=20, kind=kind)
    assert alone["mean"].tolist() == [2.0]
    assert alone[["low", "high"]].isna().all(axis=None)
    nothing = cluster_bootstrap(np.full((15, 1), np.nan), GROUPS, draws=20, kind=kind)
    assert nothing[["mean", "low", "high"]].isna().all(axis=None)
    assert cluster_bootstrap(np.empty((15, 0)), GROUPS, kind=kind).empty


@pytest.mark.parametrize(
    ("features", "groups", "asked", "says"),
    [
        (np.zeros((3, 1)), np.zeros(2), {}, "3 rows came with 2 groups"),
        (np.zeros((0, 1)), np.zeros(0), {}, "no rows"),
        (np.full((2, 1), np.inf), np.zeros(2), {}, "feature 0 of row 0 is infinite"),
    ],
)
def test_what_is_no_data_is_refused(features, groups, asked, says):
    with pytest.raises(DataError, match=says):
        cluster_bootstrap(features, groups, **asked)


@pytest.mark.parametrize(("asked", "says"), [({"draws": 0}, "draws"), ({"confidence": 1}, "0.95")])
def test_what_cannot_be_meant_is_refused(asked, says):
    with pytest.raises(UsageError, match=says):
        cluster_bootstrap(np.zeros((2, 1)), np.zeros(2), **asked)
