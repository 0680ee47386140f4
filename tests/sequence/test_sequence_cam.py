"""Class activation maps in words: cells are suffixes, and nothing is mixed."""

import pytest
import torch
from pair_networks import TARGET, Branched, pairs, row
from torch import nn

from attributome.core.errors import UsageError
from attributome.sequence.evidence.branches import images_of
from attributome.sequence.evidence.cam import UPSTREAM_LAYERS, enlarge, pair_cam, suffix_labels
from attributome.sequence.fcgr import kmers
from attributome.sequence.images import Encoding
from attributome.sequence.networks.upstream import TwoBranch
from attributome.sequence.tracks import BRANCHES

BEHIND_RELU = {"site": "first.2", "mirna": "second.1"}


class Counting(nn.Module):
    """One channel that is the image, pooled twice; its head weighs it by 3 and -2."""

    def __init__(self):
        super().__init__()
        self.encoding = Encoding(k=3)
        self.first = nn.Sequential(nn.AvgPool2d(2), nn.ReLU())
        self.second = nn.Sequential(nn.AvgPool2d(2), nn.ReLU())
        self.double()

    def forward(self, site, mirna):
        score = 3 * self.first(site).flatten(1).sum(1) - 2 * self.second(mirna).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize(("k", "grid"), [(3, 1), (3, 2), (3, 4), (3, 8), (6, 16), (4, 4)])
def test_a_coarse_cell_is_all_words_with_one_suffix(k, grid):
    labels = suffix_labels(k, grid)
    cells = torch.arange(grid * grid, dtype=torch.double).view(1, 1, grid, grid)
    at = enlarge(cells, k).flatten().long().tolist()
    met = {number: set() for number in range(grid * grid)}
    for word, cell in zip(kmers(k), at, strict=True):
        assert word.endswith(labels[cell])
        met[cell].add(word)
    letters = grid.bit_length() - 1
    assert {len(label) for label in labels} == {letters}
    assert len(set(labels)) == grid * grid
    assert all(len(words) == 4 ** (k - letters) for words in met.values())


def test_a_map_is_the_weighted_activation_with_its_sign():
    net = Counting()
    mirna, site = pairs(2)
    images = images_of(net, mirna, site)
    found = pair_cam(net, *images.values(), TARGET, layers={"site": "first", "mirna": "second"})
    pool = nn.AvgPool2d(2)
    assert torch.allclose(found["site"], 3 * pool(images["site"]))
    assert torch.allclose(found["mirna"], -2 * pool(images["mirna"]))


def test_a_map_equals_the_slow_one_and_not_the_batch():
    net = Branched()
    mirna, site = pairs(3)
    images = images_of(net, mirna, site)
    found = pair_cam(net, *images.values(), TARGET, layers=BEHIND_RELU)
    assert net.training
    net.eval()
    for i in range(3):
        one = images_of(net, row(mirna, i), row(site, i))
        act = net.first[:3](8 * one["site"]).detach().requires_grad_()
        joint = torch.cat(
            [net.first[3](act).flatten(1), net.second(8 * one["mirna"]).flatten(1)], 1
        )
        out = net.last(net.joint(joint))
        (grad,) = torch.autograd.grad(out[0, 1] - out[0, 0], act)
        wanted = (grad.mean((2, 3), keepdim=True) * act).sum(1, keepdim=True)
        assert torch.allclose(found["site"][i : i + 1], wanted)


def test_upstreams_layers_lie_behind_their_relu_and_suffixes_have_their_letters():
    torch.manual_seed(0)
    net = TwoBranch(3, widths=(4, 2, 4, 4), hidden=(8, 8, 8, 8, 8))
    images = images_of(net, *pairs(2))
    found = pair_cam(net, *images.values(), TARGET, layers=UPSTREAM_LAYERS)
    assert [found[branch].shape for branch in BRANCHES] == [(2, 1, 4, 4)] * 2
    assert {len(label) for label in suffix_labels(3, 4)} == {2}


def test_what_is_no_map_behind_a_relu_is_refused():
    net = Branched()
    images = images_of(net, *pairs(2))
    for layers, words in (
        ({"site": "first.0"}, "falls below 0: name the layer behind its ReLU"),
        ({"mirna": "joint"}, "a map needs"),
        ({"mirna": "third"}, "no layer 'third'"),
    ):
        with pytest.raises(UsageError, match=words):
            pair_cam(net, *images.values(), TARGET, layers=layers)
    with pytest.raises(UsageError, match="does not divide an image of 8 x 8"):
        suffix_labels(3, 3)
    with pytest.raises(UsageError, match="does not divide"):
        enlarge(torch.zeros(1, 1, 16, 16), 3)
