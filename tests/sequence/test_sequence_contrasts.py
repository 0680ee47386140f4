"""Against scipy on one miRNA, every permutation of small data, loops, and a null that is true."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, false_discovery_control, mannwhitneyu, somersd

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import benjamini_hochberg
from attributome.sequence.alphabet import strands
from attributome.sequence.fcgr import kmers
from attributome.sequence.findings import contrasts
from attributome.sequence.findings.contrasts import (
    centred_ranks,
    contrast,
    outcome_groups,
    versus,
)
from attributome.sequence.findings.features import (
    by_kmer,
    by_match,
    by_pixel,
    by_position,
    by_region,
)

GROUPS = np.repeat([3, 1, 7], [6, 5, 7])
LABELS = np.array([1, 0, 0, 1, 0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0])


@pytest.fixture
def features(random):
    drawn = random.standard_normal((18, 4)).round(1)  # rounded: ties
    drawn[:, 1] += LABELS
    drawn[::5, 2] = np.nan
    drawn[:, 3] += GROUPS
    return drawn


def delta(ones, zeros):
    return np.mean([np.sign(a - b) for a, b in product(ones, zeros)])


def slow(column, labels):
    """Weighted mean over miRNAs of Cliff's delta and of the difference of means."""
    parts = []
    for group in np.unique(GROUPS):
        inside = (group == GROUPS) & ~np.isnan(column)
        ones, zeros = column[inside & (labels == 1)], column[inside & (labels == 0)]
        weight = len(ones) * len(zeros) / (len(ones) + len(zeros) + 1)
        if weight:
            parts.append([weight, delta(ones, zeros), ones.mean() - zeros.mean()])
    weight, deltas, gaps = np.transpose(parts)
    return weight @ deltas / weight.sum(), weight @ gaps / weight.sum()


def test_effects_are_means_over_mirnas_of_their_own(features):
    found = contrast(features, list("abcd"), LABELS, GROUPS, draws=10, least=1)
    for column, row in zip(features.T, found.itertuples(), strict=True):
        assert (row.cliffs_delta, row.difference) == pytest.approx(slow(column, LABELS))
        residuals, cells = [], 0
        for group, label in product(np.unique(GROUPS), (0, 1)):
            part = column[(group == GROUPS) & (label == LABELS)]
            part = part[~np.isnan(part)]
            residuals, cells = [*residuals, *(part - part.mean())], cells + 1
        spread = np.sqrt(np.square(residuals).sum() / (len(residuals) - cells))
        assert row.cohens_d == pytest.approx(row.difference / spread)
    assert found["n1"].tolist() == [8, 8, 4, 8]
    assert found["n0"].tolist() == [10, 10, 10, 10]
    assert found["name"].tolist() == list("abcd")


def test_one_mirna_is_the_usual_statistic(random):
    values, labels = random.standard_normal((200, 5)).round(1), random.integers(0, 2, 200)
    values[:, 1] += 0.3 * labels
    found = contrast(values, list("abcde"), labels, np.zeros(200), draws=4000)
    for column, row in zip(values.T, found.itertuples(), strict=True):
        ones, zeros = column[labels == 1], column[labels == 0]
        assert row.cliffs_delta == pytest.approx(
            2 * mannwhitneyu(ones, zeros).statistic / len(ones) / len(zeros) - 1
        )
        assert row.cliffs_delta == pytest.approx(somersd(labels, column).statistic)
        assert row.difference == pytest.approx(ones.mean() - zeros.mean())
        pooled = (ones.var() * len(ones) + zeros.var() * len(zeros)) / (len(values) - 2)
        assert row.cohens_d == pytest.approx(row.difference / np.sqrt(pooled))
        theirs = mannwhitneyu(ones, zeros, use_continuity=False).pvalue
        assert row.p == pytest.approx(theirs, abs=0.03)


def test_p_is_the_share_of_all_permutations_within_mirna(random):
    """Two miRNAs of four and five pairs: all 24 * 120 arrangements, written out."""
    groups, labels = np.repeat([0, 1], [4, 5]), np.array([1, 1, 0, 0, 1, 1, 1, 0, 0])
    column = random.standard_normal(9).round(0)
    observed, extreme, n = abs(weighted(column, labels, groups)), 0, 0
    for first, second in product(permutations(labels[:4]), permutations(labels[4:])):
        again = abs(weighted(column, np.array(first + second), groups))
        extreme, n = extreme + (again >= observed - 1e-9), n + 1
    draws = 6000
    found = contrast(column[:, None], ["a"], labels, groups, draws=draws, least=1)
    low, high = binom.interval(0.999, draws, extreme / n)
    assert low <= found["p"][0] * (draws + 1) - 1 <= high
    assert found["p_family"][0] == found["p"][0]  # of one feature, it is its own family


def weighted(column, labels, groups):
    total = []
    for group in np.unique(groups):
        ones = column[(groups == group) & (labels == 1)]
        zeros = column[(groups == group) & (labels == 0)]
        total.append(delta(ones, zeros) * len(ones) * len(zeros) / (len(ones) + len(zeros) + 1))
    return sum(total)


def test_what_only_follows_the_mirna_is_no_difference(random):
    """miRNAs with more positives have higher values: a test over all pairs would be certain."""
    groups = np.repeat(np.arange(40), 20)
    level = random.standard_normal(40)
    labels = (random.random(800) < 1 / (1 + np.exp(-2 * level[groups]))).astype(int)
    values = np.stack([level[groups], level[groups] + random.standard_normal(800)], 1)
    found = contrast(values, ["level", "noisy"], labels, groups)
    assert mannwhitneyu(values[labels == 1, 1], values[labels == 0, 1]).pvalue < 1e-6
    assert found["p"][0] == 1.0
    assert found["cliffs_delta"][0] == 0.0
    assert found["p"][1] > 0.01


def test_false_alarms_are_as_rare_as_asked_and_a_single_signal_is_found(random):
    groups, labels = np.repeat(np.arange(20), 10), np.tile([0, 1], 100)
    values = random.standard_normal((200, 1500))
    values[:, 1000:] *= random.random((200, 500)) < 0.2  # sparse: most pairs do not carry it
    names = [str(i) for i in range(1500)]
    null = contrast(values, names, labels, groups, draws=400)
    for level in (0.05, 0.2):
        assert (null["p"] <= level).mean() == pytest.approx(level, abs=0.02)
    assert null["p_family"].min() > 0.02
    values[:, 7] += 1.5 * labels
    found = contrast(values, names, labels, groups, draws=400).set_index("name")
    assert found["p_family"].idxmin() == "7"
    assert found.loc["7", "p_family"] == 1 / 401
    assert (found["p_family"] < 0.05).sum() == 1
    assert found.loc["7", "q"] > 0.05  # 400 draws cannot say more about one of 1500


def test_only_features_with_carriers_where_both_labels_are(features):
    groups = np.append(GROUPS, [9, 9])
    labels = np.append(LABELS, [1, 1])  # a miRNA of positives only has nothing to compare
    wide = np.concatenate([features, np.full((2, 4), 5.0)])
    wide[:, 0] = np.where(np.arange(20) < 3, wide[:, 0], 0.0)
    found = contrast(wide, list("abcd"), labels, groups, draws=10, least=12)
    assert found["name"].tolist() == ["b", "c", "d"]
    assert found["mirnas"].tolist() == [3, 3, 3]
    alone = contrast(features, list("abcd"), LABELS, GROUPS, draws=10, least=12).iloc[1:]
    assert found["difference"].to_numpy() == pytest.approx(alone["difference"].to_numpy())
    empty = contrast(wide, list("abcd"), np.ones(20, int), groups)
    assert empty.empty
    assert list(empty) == list(found)


def test_a_feature_that_is_never_in_both_labels_of_a_mirna_is_undefined(features):
    features[:, 0] = np.where(LABELS == 1, features[:, 0], np.nan)
    found = contrast(features, list("abcd"), LABELS, GROUPS, draws=99, least=1)
    assert found.loc[0, ["difference", "cliffs_delta", "cohens_d", "p", "q"]].isna().all()
    rest = contrast(features[:, 1:], list("bcd"), LABELS, GROUPS, draws=99, least=1)
    assert found["q"][1:].tolist() == rest["q"].tolist()  # it is no test


def test_blocks_change_nothing(features, monkeypatch):
    whole = contrast(features, list("abcd"), LABELS, GROUPS, draws=50, least=1)
    monkeypatch.setattr(contrasts, "BLOCK", 40)
    again = contrast(features, list("abcd"), LABELS, GROUPS, draws=50, least=1)
    assert again.iloc[:, 1:].to_numpy() == pytest.approx(whole.iloc[:, 1:].to_numpy(), nan_ok=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_q_is_scipys(p):
    assert benjamini_hochberg(np.array(p)) == pytest.approx(false_discovery_control(p))


def test_q_leaves_out_what_is_no_test():
    q = benjamini_hochberg(np.array([0.03, np.nan, 0.01]))
    assert q == pytest.approx([0.03, np.nan, 0.02], nan_ok=True)
    with pytest.raises(DataError, match=r"1\.5 is no p-value"):
        benjamini_hochberg(np.array([1.5]))


def test_ranks_are_centred_in_each_group():
    values = np.array([[3.0], [1.0], [1.0], [np.nan], [5.0], [9.0]])
    found = centred_ranks(values, np.array([0, 0, 0, 0, 1, 1]))
    assert found[:, 0].tolist() == [1.0, -0.5, -0.5, 0.0, -0.5, 0.5]


def test_outcomes():
    found = outcome_groups(np.array([1, 1, 0, 0]), np.array([2.0, 0.0, 0.1, -1.0]))
    assert found.tolist() == ["TP", "FN", "FP", "TN"]
    rows, labels = versus(found, "TP", "FN")
    assert rows.tolist(), labels.tolist() == ([0, 1], [1, 0])
    with pytest.raises(UsageError, match="itself"):
        versus(found, "TP", "TP")
    with pytest.raises(DataError, match="pair 1 has no logit"):
        outcome_groups(np.array([1, 1]), np.array([0.0, np.nan]))


def test_features_of_kmers_are_means_over_their_places():
    batch = strands(["ACGTACG", "ACGNA"])
    tracks = np.array([[1, 2, 3, 4, 5, 6, 7.0], [1, 1, 1, 8, 1, np.nan, np.nan]])
    values, names = by_kmer(tracks, batch, 3)
    at = {name: values[:, i].tolist() for i, name in enumerate(names)}
    assert at["ACG"] == [(6 + 18) / 2, 3.0]
    assert at["CGT"][0] == 9.0
    assert np.isnan(at["CGT"][1])
    assert np.isfinite(values).sum() == 4 + 1
    with pytest.raises(DataError, match="shape"):
        by_kmer(tracks[:, :5], batch, 3)


def test_features_of_regions():
    tracks = np.array([np.arange(18.0), np.where(np.arange(18) < 10, 2.0, np.nan)])
    values, names = by_region(tracks)
    assert names == ["nt 1", "seed", "centre", "3' pairing", "tail"]
    assert values[0].tolist() == [0.0, 4.0, 9.5, 14.0, 17.0]
    assert values[1].tolist() == pytest.approx([2, 2, 2, np.nan, np.nan], nan_ok=True)


def test_features_of_matches():
    tracks = np.arange(12.0)[None].repeat(2, 0)
    values, names = by_match(tracks, np.array([4, 0]), np.array([10, 0]), flank=3)
    assert values[0].tolist() == [6.5, (1 + 2 + 3 + 10 + 11) / 5, 0.0]
    assert values[1].tolist() == pytest.approx([np.nan, np.nan, 5.5], nan_ok=True)
    assert names[1] == "3 nt beside it"


def test_maps_and_tracks_are_features_as_they_stand():
    assert by_pixel(np.ones((2, 16)), 2)[1] == list(kmers(2))
    assert by_position(np.ones((2, 3)), "site")[1] == ["site nt 1", "site nt 2", "site nt 3"]
    with pytest.raises(UsageError, match="16 pixels"):
        by_pixel(np.ones((2, 16)), 3)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"labels": LABELS[1:]}, DataError, "18 pairs came with 17 labels"),
        ({"labels": LABELS + 1}, DataError, "label 2 is not 0 or 1"),
        ({"names": ["a"]}, UsageError, "1 names were given for 4"),
        ({"features": np.full((18, 4), np.inf)}, DataError, "'a' of pair 0 is infinite"),
        ({"draws": 0}, UsageError, "0 permutations"),
    ],
)
def test_bad_input(change, error, says, features):
    asked = {"features": features, "names": list("abcd"), "labels": LABELS, "groups": GROUPS}
    with pytest.raises(error, match=says):
        contrast(**(asked | change))
