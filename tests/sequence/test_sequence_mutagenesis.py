"""Mutants of a pair: against one at a time, against closed forms, and what is computed."""

import numpy as np
import pytest
import torch
from pair_networks import TARGET, Branched, Cut, Linear, Pairing, pairs, row
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Packed, pack, unpack
from attributome.core.probe import gradient, predict
from attributome.core.targets import Difference
from attributome.sequence.alphabet import LETTERS, strands, text_of
from attributome.sequence.evidence.branches import beside, encoded, features, images_of
from attributome.sequence.evidence.mutagenesis import hypothetical, mutagenesis, positions_of


def slow(net, mirna, site):
    """One mutant at a time, from text."""

    def z(mirna, site):
        found = images_of(net, strands([mirna]), strands([site]))
        with torch.no_grad():
            out = net.eval()(found["site"], found["mirna"])
        return float(out[0, 1] - out[0, 0])

    def mutants(text, ask):
        found = np.full((len(text), 4), np.nan)
        for place, own in enumerate(text):
            for letter in LETTERS if own != "N" else "":
                found[place, LETTERS.index(letter)] = ask(text[:place] + letter + text[place + 1 :])
        return found - z(mirna, site)

    return mutants(mirna, lambda text: z(text, site)), mutants(site, lambda text: z(mirna, text))


@pytest.mark.parametrize(
    "net", [Branched(), Cut(), Pairing(), Linear(site_bins=4)], ids=lambda net: type(net).__name__
)
def test_mutants_equal_one_at_a_time(net):
    mirna, site = pairs(3)
    found = mutagenesis(net, mirna, site, target=TARGET, batch=50)
    assert found.mirna.shape == (3, 12, 4)
    assert found.site.shape == (3, 19, 4)
    for i in range(3):
        of_mirna, of_site = slow(net, text_of(mirna)[i], text_of(site)[i])
        for ours, wanted in ((found.mirna[i], of_mirna), (found.site[i], of_site)):
            assert np.allclose(ours[: len(wanted)], wanted, atol=1e-9, equal_nan=True)
            assert np.isnan(ours[len(wanted) :]).all()


def test_the_letter_itself_changes_nothing_and_n_is_undefined():
    mirna, site = pairs(3)
    found = mutagenesis(Branched(), mirna, site, target=TARGET).site
    own = np.take_along_axis(found, np.minimum(site.codes, 3)[..., None].astype(int), 2)[..., 0]
    assert (own[site.codes < 4] == 0).all()
    assert np.isnan(found[site.codes == 4]).all()
    assert np.isnan(found[2, 7]).all()


def test_importance_is_what_the_pair_loses():
    effects = np.array([[[0.0, -1.0, -2.0, -6.0], [np.nan] * 4]])
    assert positions_of(effects)[0, 0] == 3.0
    assert np.isnan(positions_of(effects)[0, 1])


def test_a_cut_network_computes_the_other_branch_once():
    mirna, site = pairs(3)
    net, whole = Cut(), Branched()
    found, wanted = (mutagenesis(one, mirna, site, target=TARGET) for one in (net, whole))
    assert np.allclose(found.site, wanted.site, atol=1e-12, equal_nan=True)
    assert np.allclose(found.mirna, wanted.mirna, atol=1e-12, equal_nan=True)
    # its features once, the pairs as they are, and three mutants for each letter
    assert net.rows == {"site": 3 * (2 + 3 * 19), "mirna": 3 * (2 + 3 * 12)}
    assert net.training
    assert not net.last.training


def test_a_sample_does_not_depend_on_its_batch_nor_on_the_size_of_batches():
    mirna, site = pairs(3)
    net = Cut()
    together = mutagenesis(net, mirna, site, target=Difference(1, torch.tensor([0, 0, 0])))
    for i in range(3):
        alone = mutagenesis(net, row(mirna, i), row(site, i), target=TARGET, batch=7)
        assert alone.reference == pytest.approx(together.reference[i : i + 1])
        for ours, theirs in ((alone.site, together.site), (alone.mirna, together.mirna)):
            width = ours.shape[1]
            assert np.allclose(ours[0], theirs[i, :width], atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("bins", [1, 4, 40])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_hypothetical_matrix_is_exact_for_a_linear_network(k, bins):
    """Repeated words, edges, N and unequal lengths are among the pairs."""
    mirna, site = pairs(3)
    net = Linear(k, site_bins=bins)
    exact = mutagenesis(net, mirna, site, target=TARGET)
    for branch, batch, wanted in (("site", site, exact.site), ("mirna", mirna, exact.mirna)):
        slopes = net.slopes(branch).expand(3, -1, -1, -1)
        found = hypothetical(slopes, batch, k, bins if branch == "site" else 1)
        assert np.allclose(found, wanted, atol=1e-7, equal_nan=True)


def test_the_hypothetical_matrix_is_a_first_order_view_of_a_product():
    """Each branch of a product of images is linear while the other is held."""
    mirna, site = pairs(3)
    net = Pairing()
    images = images_of(net, mirna, site)
    shapes = tuple(tuple(one.shape[1:]) for one in images.values())
    slopes = unpack(gradient(Packed(net, shapes), pack([*images.values()]), TARGET), shapes)
    exact = mutagenesis(net, mirna, site, target=TARGET)
    assert np.allclose(hypothetical(slopes[0], site, 3), exact.site, atol=1e-6, equal_nan=True)
    assert np.allclose(hypothetical(slopes[1], mirna, 3), exact.mirna, atol=1e-6, equal_nan=True)


def test_the_branch_that_is_kept_meets_its_own_rows():
    mirna, site = pairs(3)
    for net in (Branched(), Cut()):
        images = images_of(net, mirna, site)
        model = beside(net, "mirna", images["site"], images["mirna"])
        copies = torch.cat([images["mirna"], images["mirna"].flip(0)])
        found = predict(model, copies, chunk=2)
        net.eval()
        assert torch.allclose(found[:3], net(images["site"], images["mirna"]))
        assert torch.allclose(found[3:], net(images["site"], images["mirna"].flip(0)))


def test_images_come_in_the_networks_type():
    mirna, site = pairs(2)
    assert encoded(Linear(), "site", site).dtype == torch.double
    assert encoded(Linear().half(), "mirna", mirna).dtype == torch.half


def test_what_cannot_be_meant_is_refused():
    mirna, site = pairs(3)
    with pytest.raises(UsageError, match="has an `encoding`"):
        mutagenesis(nn.Identity(), mirna, site, target=TARGET)
    with pytest.raises(UsageError, match="3 miRNAs and 1 sites are no pairs"):
        mutagenesis(Linear(), mirna, row(site, 0), target=TARGET)
    with pytest.raises(UsageError, match="batch is 0"):
        mutagenesis(Linear(), mirna, site, target=TARGET, batch=0)
    with pytest.raises(UsageError, match="k = 2 with 4 position channels"):
        hypothetical(torch.zeros(3, 1, 4, 4), site, 2, 4)
    with pytest.raises(UsageError, match="no features"):
        features(Linear(), "site", encoded(Linear(), "site", site))
