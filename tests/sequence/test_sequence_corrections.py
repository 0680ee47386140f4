"""Corrections: what ours keep, and what upstream's do (defects N1 to N3 of its pipeline)."""

import numpy as np
import pytest
import torch
from pair_networks import TARGET, Branched, letters

from attributome.sequence.alphabet import strands
from attributome.sequence.evidence.branches import images_of
from attributome.sequence.evidence.corrections import (
    CORRECTIONS,
    UPSTREAM_CORRECTIONS,
    per_share,
    simplex_tangent,
    support_median,
)
from attributome.sequence.evidence.pair_gradients import integrated_gradients_by_branch
from attributome.sequence.evidence.references import Context
from attributome.sequence.images import images


@pytest.fixture
def explained():
    """Integrated gradients of real-sized sequences at k = 5, and their images."""
    net = Branched(k=5)
    mirna, site = strands(letters(2, 22)), strands(letters(2, 40, seed=1))
    both = images_of(net, mirna, site)
    context = Context(mirna=mirna, site=site, encoding=net.encoding)
    maps = integrated_gradients_by_branch(net, *both.values(), TARGET, context, steps=5)
    return maps[0], both["site"]


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def sequences(bins=1):
    return images(strands(letters(3, 30)), 3, bins).double()


@pytest.mark.parametrize("bins", [1, 4])
@pytest.mark.parametrize("name", sorted(CORRECTIONS))
def test_ours_stay_on_the_support_and_pair_by_pair(name, bins):
    x = sequences(bins)
    maps = noise(*x.shape)
    found = CORRECTIONS[name](maps, x)
    assert (found[x == 0] == 0).all()
    assert found.isfinite().all()
    for i in range(3):
        assert torch.equal(CORRECTIONS[name](maps[i : i + 1], x[i : i + 1])[0], found[i])


def test_contributions_per_share_are_slopes():
    x = sequences()
    slopes = noise(*x.shape)
    assert torch.allclose(per_share(x * slopes, x), torch.where(x > 0, slopes, 0))


@pytest.mark.parametrize("bins", [1, 4])
def test_the_tangent_is_an_orthogonal_projection(bins):
    x = sequences(bins)
    slopes = noise(*x.shape)
    found = simplex_tangent(slopes, x)
    assert found.flatten(1).sum(1).abs().max() < 1e-12
    assert torch.allclose(simplex_tangent(found, x), found)  # once is enough
    assert torch.allclose(simplex_tangent(slopes + 5, x), found)  # a constant says nothing
    held = (x > 0).double()
    move = held * noise(*x.shape).flip(0)
    move -= held * (move.flatten(1).sum(1) / held.flatten(1).sum(1)).view(-1, 1, 1, 1)
    wanted, same = ((g * move).flatten(1).sum(1) for g in (slopes, found))
    assert torch.allclose(wanted, same)  # every move among the words is worth what it was


def test_the_median_is_over_the_words_around():
    x = torch.zeros(1, 1, 8, 8, dtype=torch.double)
    maps = noise(1, 1, 8, 8)
    for place in ((0, 0), (0, 1), (1, 1), (5, 5), (7, 6), (7, 7)):
        x[0, 0][place] = 0.1
    found = support_median(maps, x)
    corner = maps[0, 0][[0, 0, 1], [0, 1, 1]]
    assert torch.allclose(found[0, 0, 0, 1], corner.median())
    assert found[0, 0, 5, 5] == maps[0, 0, 5, 5]
    assert torch.allclose(found[0, 0, 7, 7], maps[0, 0, 7, 6:8].mean())
    full = torch.ones_like(maps)
    inner = support_median(maps, full)[:, :, 1:-1, 1:-1]
    assert torch.equal(inner, UPSTREAM_CORRECTIONS["filter"](maps, full)[:, :, 1:-1, 1:-1])


def test_n1_a_quantile_of_all_pixels_is_zero(explained):
    """So that a threshold at the 75th percentile keeps every pixel of the map."""
    maps, _ = explained
    for one in maps.abs().flatten(1).numpy():
        limit = np.percentile(one, 75)
        assert limit == 0
        assert (one >= limit).all()


def test_n2_the_filter_leaves_nothing_and_the_tangent_is_a_mask(explained):
    maps, x = explained
    lone = torch.zeros_like(x)
    lone[:, :, 3, 3] = lone[:, :, 12, 20] = 0.1  # no word beside another
    attribution = lone * noise(*lone.shape)
    assert (UPSTREAM_CORRECTIONS["filter"](attribution, lone) == 0).all()
    assert (UPSTREAM_CORRECTIONS["tangent"](attribution, lone) == 0).all()
    assert UPSTREAM_CORRECTIONS["filter"](maps, x).abs().sum() < 0.05 * maps.abs().sum()
    kept = UPSTREAM_CORRECTIONS["tangent"](torch.ones_like(x), x)
    assert ((kept < 1e-6) | (kept > 0.999)).all()
    assert torch.equal(support_median(attribution, lone), attribution)


def test_n3_normalising_multiplies_absent_words_by_1e8(explained):
    maps, x = explained
    held = x > 0
    on_support = UPSTREAM_CORRECTIONS["normalize"](maps, x)
    assert torch.allclose(on_support, per_share(maps, x), rtol=1e-5)
    dense = noise(*x.shape)
    wrong = UPSTREAM_CORRECTIONS["normalize"](dense, x)
    assert torch.allclose(wrong[~held], dense[~held] * 1e8)
    assert per_share(dense, x).abs().max() < 1e3
