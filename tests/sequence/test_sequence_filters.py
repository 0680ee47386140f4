"""Filters and activations of the first layers, and the words that they fire on."""

import pytest
import torch
from pair_networks import Branched, pairs

from attributome.core.errors import UsageError
from attributome.sequence.evidence.branches import images_of
from attributome.sequence.evidence.filters import (
    UPSTREAM_BLOCKS,
    UPSTREAM_FILTERS,
    activations,
    filters,
    strongest_words,
)
from attributome.sequence.fcgr import pixel_of
from attributome.sequence.networks.upstream import TwoBranch


def test_filters_are_a_copy_of_the_weights():
    net = Branched()
    found = filters(net, "first.0")
    assert found.shape == (4, 1, 3, 3)
    assert (found == net.first[0].weight.detach().numpy()).all()
    found[:] = 0
    assert net.first[0].weight.abs().sum() > 0


def test_activations_are_those_of_the_named_layer():
    net = Branched()
    images = images_of(net, *pairs(3))
    found = activations(net, images["site"], images["mirna"], layer="second.1")
    net.eval()
    assert torch.allclose(found, net.second[:2](8 * images["mirna"]).detach())


def test_upstreams_first_layers_have_these_names():
    torch.manual_seed(0)
    net = TwoBranch(3, widths=(4, 2, 4, 4), hidden=(8, 8, 8, 8, 8))
    images = images_of(net, *pairs(2))
    for branch in ("site", "mirna"):
        assert filters(net, UPSTREAM_FILTERS[branch]).shape == (4, 1, 3, 3)
        found = activations(net, *images.values(), layer=UPSTREAM_BLOCKS[branch])
        assert found.shape == (2, 4, 8, 8)
        assert (found >= 0).all()


def test_the_words_on_which_a_filter_fires():
    maps = torch.zeros(3, 2, 8, 8)
    maps[:, 0][(slice(None), *pixel_of("GAT"))] = torch.tensor([1.0, 2.0, 0.0])
    maps[:, 1][(slice(None), *pixel_of("CCC"))] = 1.0
    table = strongest_words(maps, 3, most=1)
    assert table.word.tolist() == ["GAT", "CCC"]
    assert table["mean"].tolist() == pytest.approx([1.0, 1.0])
    assert table.n.tolist() == [2, 3]


def test_what_is_no_convolution_is_refused():
    with pytest.raises(UsageError, match="no convolution 'joint'; this network has"):
        filters(Branched(), "joint")
