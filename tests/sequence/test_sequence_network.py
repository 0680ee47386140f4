"""Our network for pairs: what a register holds, what smoothness promises, and that it learns."""

import numpy as np
import pytest
import torch

from attributome.core.compute import Compute
from attributome.core.errors import UsageError
from attributome.core.training import Plan
from attributome.sequence.alphabet import reverse_complement, strands
from attributome.sequence.fcgr import reverse_complement_pixels
from attributome.sequence.networks.fit import fit_pairs, predict_pairs
from attributome.sequence.networks.pair_net import PairNet, _sheared
from attributome.sequence.networks.scores import ranking
from attributome.sequence.pairs.planted import planted_pairs
from attributome.sequence.pairs.splits import split_pairs

SMALL = {"k": 3, "site_bins": 12, "mirna_bins": 7, "width": 4, "hidden": 6}
MIRNAS, SITES = ["ACGGTTCAT", "TTGCA", "GANCCATG"], ["CCATGAACCGTAGT", "TGCAATGC", "CATGGATCTTGACA"]
PAIRS = {"AT", "TA", "CG", "GC"}


@pytest.fixture(params=[True, False], ids=["positions", "plain"])
def net(request):
    torch.manual_seed(1)
    return PairNet(**SMALL, positions=request.param).double().eval()


def images(net, sites=SITES, mirnas=MIRNAS):
    make = net.encoding
    return make.site(strands(sites)).double(), make.mirna(strands(mirnas)).double()


def test_a_pair_gets_the_same_logits_whatever_is_beside_it(net):
    site, mirna = images(net)
    together = net.train(False)(site, mirna)
    alone = torch.cat([net(site[i : i + 1], mirna[i : i + 1]) for i in range(len(site))])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    assert together.shape == (3, 2)
    assert len(together[:, 0].unique()) == 3


def test_logits_change_as_their_gradient_says(net):
    """Second-order exact: a network with a kink anywhere near would miss this."""
    site, mirna = (x.requires_grad_() for x in images(net))
    out = net(site, mirna)[:, 1].sum()
    slopes = torch.autograd.grad(out, (site, mirna))
    turns = [torch.randn(x.shape, dtype=torch.float64) for x in (site, mirna)]
    said = sum((slope * turn).sum() for slope, turn in zip(slopes, turns, strict=True))

    def at(step):
        return net(*(x + step * turn for x, turn in zip((site, mirna), turns, strict=True)))[:, 1]

    seen = (at(1e-5) - at(-1e-5)).sum() / 2e-5
    torch.testing.assert_close(seen, said, rtol=1e-6, atol=1e-9)
    assert all(slope.abs().sum() > 0 for slope in slopes)


def test_letters_come_back_from_the_windows_that_cover_them():
    duplex = PairNet(**SMALL).duplex
    image = PairNet(**SMALL).encoding.mirna(strands(["ACGGTTCAT"]))  # 7 windows in 7 channels
    found = duplex._letters(image.flatten(2) * 7)[0]
    whole = torch.tensor([1, 1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3])
    expected = torch.zeros(4, 9)
    expected[["ACGT".index(letter) for letter in "ACGGTTCAT"], range(9)] = whole
    torch.testing.assert_close(found, expected)


def test_a_register_holds_the_letters_that_face_each_other():
    """The slow oracle: lay the strands beside each other, letter by letter, in every register."""
    duplex, mirna, site = PairNet(**SMALL).duplex, "ACGGTTCAT", "CCATGAACCGTAGT"
    along, across = (
        torch.eye(4)[["ACGT".index(letter) for letter in text]].T[None] for text in (mirna, site)
    )
    with torch.no_grad():
        duplex.affinity.weight.view(duplex.AFFINITIES, 4, 4).copy_(
            torch.arange(16.0).view(4, 4).expand(duplex.AFFINITIES, 4, 4) + 1
        )
    beyond = duplex.beyond
    strand = torch.nn.functional.pad(across.flip(-1), (beyond, beyond))
    with torch.no_grad():
        found = _sheared(duplex._facing(along, strand))[0, 0]
    registers = len(site) + len(mirna) - 2 * duplex.LEAST + 1
    assert found.shape == (len(mirna), registers)
    for register in range(registers):
        for m, letter in enumerate(mirna):
            s = len(site) - 1 + beyond - register - m
            facing = site[s] if 0 <= s < len(site) else None
            value = 1 + 4 * "ACGT".index(facing) + "ACGT".index(letter) if facing else 0
            assert found[m, register] == value


def test_words_that_pair_are_the_reverse_complement_product_with_its_places():
    net = PairNet(**SMALL)
    site, mirna = (x.float() for x in images(net))
    duplex, k = net.duplex, 3
    scaled = site.flatten(2) * 12, mirna.flatten(2) * 7
    found = _sheared(duplex._words(*scaled))[:, 0]
    turned = reverse_complement_pixels(k).tolist()
    product = (site.sum(1).flatten(1) * mirna.sum(1).flatten(1)[:, turned]).sum(1)
    # of the registers that overlap in fewer letters than LEAST a word of three may be lost
    assert (found.sum((1, 2)) <= 7 * 12 * product + 1e-5).all()
    m, s = MIRNAS[0], SITES[0]
    expected = {
        (i + k // 2, len(s) - 1 + duplex.beyond - (j + k - 1) - i)
        for i in range(len(m) - k + 1)
        for j in range(len(s) - k + 1)
        if m[i : i + k] == reverse_complement(s[j : j + k])
    }
    seen = {(int(a), int(b)) for a, b in found[0].nonzero()}
    assert seen == {(a, b) for a, b in expected if 0 <= b < found.shape[2]}
    assert len(seen) >= 7  # all of the miRNA pairs


def test_places_matter_only_to_the_network_that_sees_them(net):
    """Both sites hold the same words, in another order."""
    one, other = ["ACCATACGATACCA"], ["ACGATACCATACCA"]
    mirnas = ["TGGTATCGT"]
    logits = [net(*images(net, site, mirnas)) for site in (one, other)]
    assert torch.allclose(*logits, atol=1e-9) != net.kwargs["positions"]


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize(("site_bins", "mirna_bins"), [(3, 9), (20, 6), (1, 1)])
def test_every_length_has_finite_logits_and_gradients(k, positions, site_bins, mirna_bins):
    shape = {"site_bins": site_bins, "mirna_bins": mirna_bins, "width": 2, "hidden": 3}
    net = PairNet(k, positions=positions, **shape).eval()
    sites, mirnas = ["ACGTACGTAC", "ACGTACGTACGTACGTACGTACGTACGTT"], ["TTTTTT", "ACGTACGTACGTACG"]
    site, mirna = (
        x.requires_grad_()
        for x in (net.encoding.site(strands(sites)), net.encoding.mirna(strands(mirnas)))
    )
    out = net(site, mirna)
    slopes = torch.autograd.grad(out.sum(), (site, mirna))
    assert all(torch.isfinite(x).all() for x in (out, *slopes))


def test_its_keyword_arguments_build_it_again(net):
    again = PairNet(**net.kwargs).double().eval()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(*images(net)), net(*images(net)))
    assert again.encoding == net.encoding


def test_what_cannot_be_meant_is_refused(net):
    site, mirna = images(net)
    finer = [x.repeat_interleave(2, 2).repeat_interleave(2, 3) for x in (site, mirna)]
    for wrong in (finer, (site.repeat(1, 2, 1, 1), mirna), (site, mirna.repeat(1, 2, 1, 1))):
        with pytest.raises(UsageError, match="came to a network for"):
            net(*wrong)
    for options in ({"dropout": 1.0}, {"hidden": 0}, {"width": 0}):
        with pytest.raises(UsageError, match="at least 1"):
            PairNet(**(SMALL | options))


@pytest.mark.parametrize(("positions", "at_least"), [(True, 0.9), (False, 0.7)])
def test_it_learns_which_words_pair_for_mirnas_it_never_saw(positions, at_least):
    """Each miRNA has as many sites as not, and the same letters in both, so nothing else helps."""
    pairs = planted_pairs(mirnas=100, pairs_each=8, site_length=20, seed=3)
    parts = split_pairs(pairs, "mirna", seed=0)
    torch.manual_seed(0)
    net = PairNet(3, site_bins=18, mirna_bins=20, positions=positions, width=8, hidden=16)
    plan = Plan(lr=5e-3 if positions else 1e-2, epochs=5 if positions else 10, clip=1.0)
    fit_pairs(net, pairs, parts, plan=plan, batch=32, compute=Compute())
    test = pairs[pairs["id"].isin(parts["test"])]
    weights = np.ones((len(test), 1))
    auc = ranking(test["label"].to_numpy(), predict_pairs(net, test), weights)[0][0]
    assert auc > at_least
