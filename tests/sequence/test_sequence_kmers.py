"""Words as players: occlusion and Shapley values against closed forms and all coalitions."""

import numpy as np
import pytest
import torch
from pair_networks import TARGET, Branched, Linear, Pairing, pairs, row
from torch import nn

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import strands
from attributome.sequence.evidence.branches import images_of
from attributome.sequence.evidence.kmers import (
    kmer_shapley,
    occlusion_kmers,
    players_of,
    shapley,
    shapley_exact,
)
from attributome.sequence.evidence.references import Context
from attributome.sequence.images import Encoding
from attributome.sequence.tracks import BRANCHES, pixel_map

LIKE = torch.zeros(0, dtype=torch.double)


def context(net, mirna, site, seed=0):
    return Context(mirna=mirna, site=site, encoding=net.encoding, seed=seed)


def gap(net, site, mirna):
    with torch.no_grad():
        out = net.eval()(site, mirna)
    return out[:, 1] - out[:, 0]


def small(net):
    """Pairs of few words: one with a repeat, one with an N, of unequal lengths."""
    return context(net, strands(["ACGTT", "ACNGTA"]), strands(["AAAAAAC", "GATTCG"]), [3, 4])


def test_players_are_the_distinct_words_of_both_sequences():
    found = players_of(small(Linear()))
    assert found.names[0] == [
        ("site", "AAA"),
        ("site", "AAC"),
        ("mirna", "ACG"),
        ("mirna", "CGT"),
        ("mirna", "GTT"),
    ]
    assert found.counts.tolist() == [5, 5]
    assert found.windows["site"][0].tolist() == [0, 0, 0, 0, 1]
    assert found.windows["mirna"][1].tolist() == [-1, -1, -1, 4]


@pytest.mark.parametrize("bins", [1, 3])
@pytest.mark.parametrize("method", [occlusion_kmers, kmer_shapley])
def test_both_are_image_times_weight_for_a_linear_network(method, bins):
    """Of a word in several position channels, each window has the same part."""
    net = Linear(site_bins=bins)
    mirna, site = pairs(3)
    images = images_of(net, mirna, site)
    maps = method(net, images["site"], images["mirna"], TARGET, context(net, mirna, site))
    for branch, one in zip(BRANCHES, maps, strict=True):
        wanted = images[branch] * net.slopes(branch)
        assert torch.allclose(pixel_map(one), pixel_map(wanted), atol=1e-7)
        assert ((one != 0) == (images[branch] > 0)).all()


def test_occlusion_is_the_network_without_the_word():
    net = Branched()
    found = small(net)
    site, mirna = images_of(net, found.mirna, found.site).values()
    maps = occlusion_kmers(net, site, mirna, TARGET, found)
    whole = gap(net, site, mirna)
    for row_, column in torch.nonzero(site[1, 0]).tolist():
        without = site[1:].clone()
        without[0, 0, row_, column] = 0
        lost = whole[1] - gap(net, without, mirna[1:])[0]
        assert float(maps[0][1, 0, row_, column]) == pytest.approx(float(lost), abs=1e-9)
    assert (maps[0][site == 0] == 0).all()


@pytest.mark.parametrize("net", [Branched(), Pairing()], ids=["branched", "pairing"])
def test_permutations_come_to_all_coalitions_within_their_error(net):
    found = small(net)
    exact = shapley_exact(net, TARGET, found, like=LIKE)
    drawn = shapley(net, TARGET, found, like=LIKE, pairs=60)
    away = np.abs(drawn.shares - exact.shares)
    assert (away <= 4 * drawn.errors + 1e-9).all()
    assert np.nanmax(drawn.errors) > 0
    assert (exact.errors == 0).all()


@pytest.mark.parametrize("pairs", [1, 3])
def test_shares_sum_to_what_all_words_add(pairs):
    net = Branched()
    found = small(net)
    site, mirna = images_of(net, found.mirna, found.site).values()
    added = gap(net, site, mirna) - gap(net, 0 * site, 0 * mirna)
    drawn = shapley(net, TARGET, found, like=LIKE, pairs=pairs)
    exact = shapley_exact(net, TARGET, found, like=LIKE)
    maps = kmer_shapley(net, site, mirna, TARGET, found, pairs=pairs)
    assert np.allclose(np.nansum(drawn.shares, 1), added, atol=1e-9)
    assert np.allclose(np.nansum(exact.shares, 1), added, atol=1e-9)
    assert torch.allclose(sum(one.flatten(1).sum(1) for one in maps), added, atol=1e-9)
    assert np.isnan(drawn.errors).all() == (pairs == 1)


class And(nn.Module):
    """1 where a word of the site and a word of the miRNA are there together."""

    encoding = Encoding(k=1)

    def forward(self, site, mirna):
        both = ((site[:, 0, 0, 0] > 0) & (mirna[:, 0, 1, 1] > 0)).double()
        return torch.stack([0 * both, both], 1)


def test_two_words_that_act_together_share_alike():
    """A in the site, G in the miRNA; C and T stand by."""
    net = And()
    found = context(net, strands(["GTGT"]), strands(["ACA"]))
    for worths in (
        shapley_exact(net, TARGET, found, like=LIKE),
        shapley(net, TARGET, found, like=LIKE, pairs=1),  # antithetic pairs are exact here
    ):
        shares = dict(zip(worths.players.names[0], worths.shares[0], strict=True))
        assert shares[("site", "A")] == pytest.approx(0.5)
        assert shares[("mirna", "G")] == pytest.approx(0.5)
        assert shares[("site", "C")] == shares[("mirna", "T")] == 0


def test_shares_are_undefined_behind_the_last_player_and_do_not_depend_on_the_batch():
    net = Branched()
    mirna, site = pairs(3)
    seeds = [5, 6, 7]
    together = shapley(net, TARGET, context(net, mirna, site, seeds), like=LIKE, pairs=2)
    for i, count in enumerate(together.players.counts.tolist()):
        one = context(net, row(mirna, i), row(site, i), seeds[i : i + 1])
        alone = shapley(net, TARGET, one, like=LIKE, pairs=2)
        assert np.allclose(alone.shares[0], together.shares[i, :count])
        assert np.isnan(together.shares[i, count:]).all()


def test_too_many_players_are_refused():
    net = Linear()
    mirna, site = pairs(3)
    with pytest.raises(UsageError, match="too many coalitions; at most 16"):
        shapley_exact(net, TARGET, context(net, mirna, site), like=LIKE)
    with pytest.raises(UsageError, match="0 pairs of permutations"):
        shapley(net, TARGET, context(net, mirna, site), like=LIKE, pairs=0)
