"""The network near words says what it says everywhere, and its gradient is right at words."""

import pytest
import torch

from attributome.core.probe import still
from attributome.sequence.networks.near import around
from attributome.sequence.networks.upstream import TwoBranch


def network(k):
    torch.manual_seed(k)
    net = TwoBranch(k).double()
    for module in net.modules():  # statistics, shifts and biases that are not those of the start
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.bias, 0, 0.3)
        elif isinstance(module, torch.nn.Conv2d):
            torch.nn.init.normal_(module.bias, 0, 0.3)
    return net


def images(k, words=6, rows=2, seed=0):
    """A few words of a batch, some of them in corners and on edges."""
    draw = torch.Generator().manual_seed(seed)
    size = 1 << k
    flat = torch.zeros(rows, size * size, dtype=torch.double)
    corners = torch.tensor([0, size - 1, size * size - 1])
    for row in flat:
        at = torch.randperm(size * size, generator=draw)[:words]
        row[torch.cat([at, corners])] = torch.rand(words + 3, generator=draw, dtype=torch.double)
    return flat.view(rows, 1, size, size)


@pytest.mark.parametrize("k", [4, 5, 6])
@pytest.mark.parametrize("branch", ["site", "mirna"])
def test_near_words_is_everywhere_where_the_rest_is_empty(k, branch):
    net, x = network(k), images(k)
    features = getattr(net, f"{branch}_features")
    with still(net):
        leaf = x.clone().requires_grad_()
        whole = features(leaf)
        weights = torch.randn(whole.shape, dtype=torch.double, generator=torch.Generator())
        (wanted,) = torch.autograd.grad((whole * weights).sum(), leaf)
        near = features(leaf, around(x))
        (found,) = torch.autograd.grad((near * weights).sum(), leaf)
    torch.testing.assert_close(near, whole, rtol=1e-10, atol=1e-10)
    there = x != 0
    torch.testing.assert_close(found[there], wanted[there], rtol=1e-9, atol=1e-10)
    assert (found != wanted).any()  # elsewhere it leaves out what a word would do


def test_places_are_the_neighbours_of_all_words_of_the_batch():
    x = torch.zeros(2, 1, 8, 8)
    x[0, 0, 0, 0] = x[1, 0, 5, 7] = 1
    wanted = {0, 1, 8, 9, *(8 * row + column for row in (4, 5, 6) for column in (6, 7))}
    assert set(around(x).tolist()) == wanted


def test_a_batch_with_words_nearly_everywhere_is_asked_everywhere():
    net = network(4)
    assert net.near(images(4, words=1, rows=1)) is not None
    assert net.near(images(4, words=60, rows=2)) is None
