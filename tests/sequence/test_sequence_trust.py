"""Checks of tracks: closed forms, a planted pairing that they must see, and chance."""

import numpy as np
import pytest
import torch
from pair_networks import TARGET, Branched, Linear, Pairing, paired, pairs, row
from scipy.stats import spearmanr

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import strands
from attributome.sequence.evidence.branches import images_of
from attributome.sequence.evidence.explainers import explained
from attributome.sequence.evidence.references import Context, shuffled
from attributome.sequence.evidence.replacing import random_ranks, replacement
from attributome.sequence.evidence.trust import (
    agreement,
    agreement_of_pairs,
    completeness,
    over_groups,
    parameter_randomisation,
    permuted,
    seed_enrichment,
)
from attributome.sequence.tracks import BRANCHES

NAN = np.nan


def context(net, mirna, site, seed=0):
    return Context(mirna=mirna, site=site, encoding=net.encoding, seed=seed)


def gap(net, site, mirna):
    with torch.no_grad():
        out = net.eval()(site, mirna)
    return (out[:, 1] - out[:, 0]).numpy()


def planted(count=6):
    """A network that only counts pairing words, pairs that hold six paired letters, and tracks."""
    net = Pairing(scale=60.0)
    mirna, site, starts = paired(count)
    found = context(net, mirna, site, range(count))  # one order for all would not average out
    return net, found, starts, explained("mutagenesis", net, TARGET, found).tracks


def test_completeness_is_a_share_of_the_gap():
    found = completeness(np.array([1.1, -2.0, 3.0]), np.array([1.0, -4.0, 0.0]))
    assert found[:2] == pytest.approx([0.1, 0.5])
    assert np.isnan(found[2])


def test_integrated_gradients_of_a_linear_network_are_complete():
    net = Linear()
    found = context(net, *pairs(3))
    made = explained("integrated_gradients_by_branch", net, TARGET, found, steps=3)
    site, mirna = images_of(net, found.mirna, found.site).values()
    total = sum(made.maps[branch].flatten(1).sum(1).numpy() for branch in BRANCHES)
    difference = gap(net, site, mirna) - gap(net, 0 * site, 0 * mirna)
    assert completeness(total, difference).max() < 1e-9


def test_agreement_is_spearmans_over_defined_letters():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(4, 12)), random.integers(0, 4, (4, 12)).astype(float)  # with ties
    a[0, 9:] = NAN
    b[0, 2] = NAN
    a[2] = 1.0
    a[3, 2:] = NAN
    found = agreement(a, b)
    keep = [0, 1, 3, 4, 5, 6, 7, 8]
    assert found[0] == pytest.approx(spearmanr(a[0, keep], b[0, keep]).statistic)
    assert found[1] == pytest.approx(spearmanr(a[1], b[1]).statistic)
    assert np.isnan(found[2:]).all()
    both = agreement_of_pairs({"site": a, "mirna": b}, {"site": a, "mirna": -b})
    assert both["site"][1] == pytest.approx(1)
    assert both["mirna"][1] == pytest.approx(-1)
    assert -1 < both["both"][1] < 1


def test_seed_shares_are_beside_the_share_of_letters():
    tracks = np.array([[1.0, 3.0, -4.0, 0.0, NAN], [1.0, 1.0, 1.0, 1.0, 1.0], [0.0] * 5])
    found = seed_enrichment(tracks, np.array([1, 0, 0]), np.array([3, 0, 2]))
    assert found.loc[0, ["positive", "absolute", "length"]].tolist() == [0.75, 0.875, 0.5]
    assert found.loc[0, "positive_fold"] == 1.5
    assert found.loc[1].isna().all()  # no match
    assert found.loc[2, "length"] == 0.4
    assert np.isnan(found.loc[2, "positive"])


def test_a_network_that_only_pairs_is_seen_to_use_the_match_and_chance_is_not():
    _, _, starts, tracks = planted(12)
    at = np.array(starts)
    ours = seed_enrichment(tracks["site"], at, at + 6)["positive_fold"]
    chance = seed_enrichment(permuted(tracks, 1)["site"], at, at + 6)["positive_fold"]
    assert ours.median() > 2
    assert chance.mean() < 1.5


@pytest.mark.parametrize("fill", ["shuffle", "letters"])
def test_tracks_that_know_beat_random_orders_and_permuted_ones_do_not(fill):
    net, found, _, tracks = planted(60)
    ours = replacement(net, found, tracks, TARGET, fill=fill)
    chance = replacement(net, found, permuted(tracks, range(60)), TARGET, fill=fill)
    wrong = {branch: -one for branch, one in tracks.items()}
    reverse = replacement(net, found, wrong, TARGET, fill=fill)
    for gain in ("deletion_gain", "insertion_gain"):
        assert ours[gain].mean() > 4 * ours[gain].sem()
        assert abs(chance[gain].mean()) < 3 * chance[gain].sem()
        assert reverse[gain].mean() < -4 * reverse[gain].sem()
    assert (ours["n"] == 38).all()
    assert np.allclose(ours["random"], reverse["random"])


def test_deletion_equals_a_slow_loop_over_steps():
    """One draw of a shuffle, from the largest value on, five letters at a time."""
    net, found, _, tracks = planted(3)
    table = replacement(net, found, tracks, TARGET, steps=4, draws=1, orders=1)
    new = shuffled(found, 1)
    for i in range(3):
        scores = np.concatenate([tracks["site"][i], tracks["mirna"][i]])
        order = np.argsort(-scores, kind="stable")
        own, other = (
            np.concatenate([one[branch].codes[i] for branch in BRANCHES])
            for one in ({"site": found.site, "mirna": found.mirna}, new)
        )
        asked = []
        for step in (1, 2, 3):
            text = own.copy()
            gone = order[: round(step * 38 / 4)]
            text[gone] = other[gone]
            letters = "".join("ACGT"[code] for code in text)
            images = images_of(net, strands([letters[24:]]), strands([letters[:24]]))
            asked.append(gap(net, *images.values())[0])
        assert table["deletion"][i] == pytest.approx(np.mean(asked), abs=1e-6)


def test_replacement_is_undefined_without_an_order_and_keeps_the_batch():
    net = Branched()
    mirna, site = pairs(3)
    whole = context(net, mirna, site, [1, 2, 3])
    tracks = dict(explained("mutagenesis", net, TARGET, whole).tracks)
    together = replacement(net, whole, tracks, TARGET)
    for i in range(3):
        one = context(net, row(mirna, i), row(site, i), [i + 1])
        mine = {b: tracks[b][i : i + 1, : one.strands(b).codes.shape[1]] for b in BRANCHES}
        alone = replacement(net, one, mine, TARGET)
        assert np.allclose(alone.loc[0], together.loc[i], atol=1e-9)
    flat = {branch: np.zeros_like(one) for branch, one in tracks.items()}
    assert replacement(net, whole, flat, TARGET)["deletion"].isna().all()
    few = replacement(net, whole, tracks, TARGET, steps=30)
    assert few["deletion"].isna().tolist() == (few["n"] < 30).tolist()


def test_random_orders_are_drawn_for_each_pair():
    found = context(Linear(), *pairs(2), [1, 2])
    known = np.array([[True] * 9, [True] * 6 + [False] * 3])
    ranks = random_ranks(found, known, 0)
    assert sorted(ranks[0]) == list(range(9))
    assert sorted(ranks[1][:6]) == list(range(6))
    assert (ranks[1][6:] == 9).all()
    again = random_ranks(context(Linear(), *pairs(2), [2, 2]), np.ones((2, 9), bool), 0)
    assert np.array_equal(again[0], again[1])
    assert not np.array_equal(again[0], ranks[0])
    assert not np.array_equal(again[0], random_ranks(found, np.ones((2, 9), bool), 1)[1])


def test_permuted_tracks_hold_the_same_values_at_letters():
    tracks = {"site": np.array([[1.0, 2.0, 3.0, 4.0, NAN], [5.0, 6.0, NAN, 7.0, 8.0]])}
    found = permuted(tracks, [1, 2])["site"]
    for ours, theirs in zip(found, tracks["site"], strict=True):
        assert np.array_equal(np.isnan(ours), np.isnan(theirs))
        assert sorted(ours[~np.isnan(ours)]) == sorted(theirs[~np.isnan(theirs)])
    alone = permuted({"site": tracks["site"][1:]}, [2])["site"]
    assert np.array_equal(alone[0], found[1], equal_nan=True)


@pytest.mark.parametrize("stepwise", [False, True])
def test_tracks_change_with_the_weights_unless_they_ignore_them(stepwise):
    net = Branched()
    found = context(net, *pairs(8, mirna=14, site=20)[:2])
    before = {name: value.clone() for name, value in net.state_dict().items()}

    def looks(twin):
        return explained("hypothetical_here", twin, TARGET, found).tracks

    ignores = looks(net)
    table = parameter_randomisation(net, looks, stepwise=stepwise, seed=1)
    layers = {"last", "joint.0", "second.0", "first.1", "first.0"}
    assert set(table["layer"]) == (layers if stepwise else {"first.0"})
    final = table[table["layers"] == 5]
    assert len(final) == 16
    assert abs(final["agreement"].median()) < 0.5
    same = parameter_randomisation(net, lambda _: ignores, seed=1)
    assert same["agreement"].to_numpy() == pytest.approx(1)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert table.equals(parameter_randomisation(net, looks, stepwise=stepwise, seed=1))


def test_a_track_that_becomes_constant_has_kept_nothing():
    net = Linear()
    constant, varies = np.ones((2, 5)), np.arange(10.0).reshape(2, 5)
    given = {"site": varies, "mirna": constant}
    table = parameter_randomisation(
        net, lambda twin: given if twin is net else dict.fromkeys(BRANCHES, constant)
    )
    assert (table[table["branch"] == "site"]["agreement"] == 0).all()
    assert table[table["branch"] == "mirna"]["agreement"].isna().all()


def test_medians_over_groups_count_what_is_undefined():
    random = np.random.default_rng(0)
    groups = np.repeat([f"m{i}" for i in range(30)], 5)
    values = random.normal(size=30).repeat(5) + 0.1 * random.normal(size=150)
    values[:7] = NAN
    table = over_groups({"a": values, "b": np.full(150, NAN)}, groups, draws=400)
    one, none = table.iloc[0], table.iloc[1]
    assert one["median"] == pytest.approx(np.nanmedian(values))
    assert one["low"] < one["median"] < one["high"]
    assert (one["n"], one["undefined"], one["groups"]) == (143, 7, 29)
    assert np.isnan(none["median"])
    assert (none["n"], none["groups"]) == (0, 0)
    by_pair = over_groups({"a": values}, np.arange(150).astype(str), draws=400).iloc[0]
    # pairs of a group are alike: intervals over pairs would claim too much
    assert one["high"] - one["low"] > 1.4 * (by_pair["high"] - by_pair["low"])


def test_a_drawn_median_is_that_of_the_repeated_values():
    """The interval of two groups is spanned by the draws that hold one of them only."""
    values, groups = np.array([1.0, 2.0, 10.0, 20.0, 30.0]), np.array(["a", "a", "b", "b", "b"])
    table = over_groups({"x": values}, groups, draws=200).iloc[0]
    assert (table["low"], table["median"], table["high"]) == (1.5, 10.0, 20.0)


def test_what_cannot_be_meant_is_refused():
    net, found, _, tracks = planted(2)
    with pytest.raises(UsageError, match="steps is 1"):
        replacement(net, found, tracks, TARGET, steps=1)
    with pytest.raises(UsageError, match="do not lie on sequences"):
        replacement(net, found, {b: one[:, :-1] for b, one in tracks.items()}, TARGET)
    with pytest.raises(UsageError, match="3 seeds were given for 2 pairs"):
        permuted(tracks, [1, 2, 3])
    with pytest.raises(UsageError, match="no parameters"):
        parameter_randomisation(torch.nn.ReLU(), lambda _: tracks)
