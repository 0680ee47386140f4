"""Networks whose interactions can be written down: bilinear, additive, and cut in two."""

import numpy as np
import pytest
import torch
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.targets import Difference
from attributome.sequence.alphabet import strands, text_of
from attributome.sequence.fcgr import fcgr, reverse_complement_pixels
from attributome.sequence.findings.complementarity import agreement, pairings
from attributome.sequence.findings.interaction import epistasis, mixed_derivative, outer_product
from attributome.sequence.images import Encoding

TARGET = Difference(1, 0)
MIRNA = strands(["TGAGGTAGTA", "ACGTNACG"])
SITE = strands(["CTACCTCAGGAT", "TTACGGACGTAAAC"])


class Bilinear(nn.Module):
    """z1 - z0 = site B mirna, plus what each strand says alone."""

    def __init__(self, k=2, site_bins=1):
        super().__init__()
        self.encoding = Encoding(k=k, site_bins=site_bins)
        drawn = torch.Generator().manual_seed(1)
        size = 4**k
        self.b = nn.Parameter(torch.randn(site_bins * size, size, generator=drawn).double())
        self.alone = nn.Parameter(torch.randn(size, generator=drawn).double())

    def forward(self, site, mirna):
        site, mirna = site.flatten(1), mirna.flatten(1)
        both = ((site @ self.b) * mirna).sum(1) + torch.exp(mirna @ self.alone)
        return torch.stack([torch.ones_like(both), both], 1)


class Halves(nn.Module):
    """A network that can be cut; counts how many images its branches see."""

    def __init__(self, additive=False):
        super().__init__()
        self.encoding = Encoding(k=2)
        torch.manual_seed(3)
        self.site, self.mirna = nn.Linear(16, 5).double(), nn.Linear(16, 4).double()
        self.last = nn.Sequential(nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 2)).double()
        self.norm = nn.BatchNorm1d(9).double()
        self.additive, self.seen = additive, 0

    def site_features(self, images):
        self.seen += len(images)
        return torch.relu(self.site(20 * images.flatten(1)))

    def mirna_features(self, images):
        self.seen += len(images)
        return torch.relu(self.mirna(20 * images.flatten(1)))

    def head(self, site, mirna):
        both = self.norm(torch.cat([site, mirna], 1))
        return both[:, ::5] if self.additive else self.last(both)

    def forward(self, site, mirna):
        return self.head(self.site_features(site), self.mirna_features(mirna))


class Whole(nn.Module):
    """The same network without a place to cut it."""

    def __init__(self, inner):
        super().__init__()
        self.encoding, self.inner = inner.encoding, inner

    def forward(self, site, mirna):
        return self.inner(site, mirna)


def other_letters(letter, letters):
    if letters == "complement":
        return [dict(zip("ACGT", "TGCA", strict=True))[letter]]
    return [one for one in "ACGT" if one != letter]


def slow(net, mirna, site, letters):
    """One pair, every double mutant written out as text."""

    def mutants(text):
        return {
            (place, new): text[:place] + new + text[place + 1 :]
            for place, own in enumerate(text)
            if own != "N"
            for new in other_letters(own, letters)
        }

    texts = [
        (m, s) for m in (mirna, *mutants(mirna).values()) for s in (site, *mutants(site).values())
    ]
    firsts, seconds = zip(*texts, strict=True)
    images = net.encoding.site(strands(seconds)), net.encoding.mirna(strands(firsts))
    with torch.no_grad():
        out = net(*(image.double() for image in images))
    z = dict(zip(texts, (out[:, 1] - out[:, 0]).tolist(), strict=True))
    told = {}
    for (p, _), m in mutants(mirna).items():
        for (q, _), s in mutants(site).items():
            value = z[mirna, site] - z[m, site] - z[mirna, s] + z[m, s]
            told.setdefault((p, q), []).append(value)
    found = np.full((len(mirna), len(site)), np.nan)
    for cell, values in told.items():
        found[cell] = np.mean(values)
    return found


def check(found, net, letters):
    for row, (m, s) in enumerate(zip(text_of(MIRNA), text_of(SITE), strict=True)):
        wanted = slow(net, m, s, letters)
        assert found[row, : len(m), : len(s)] == pytest.approx(wanted, abs=1e-12, nan_ok=True)
        assert np.isnan(found[row, len(m) :]).all()
        assert np.isnan(found[row, :, len(s) :]).all()


@pytest.mark.parametrize("letters", ["mean", "complement"])
@pytest.mark.parametrize("make", [Bilinear, lambda: Bilinear(site_bins=9), Halves])
def test_it_is_what_double_mutants_say_one_by_one(make, letters):
    net = make().eval()
    check(epistasis(net, MIRNA, SITE, target=TARGET, letters=letters), net, letters)


@pytest.mark.parametrize("site_bins", [1, 9])
@pytest.mark.parametrize("letters", ["mean", "complement"])
def test_a_bilinear_network_has_the_interactions_of_its_matrix(letters, site_bins):
    """The change of one image, times B, times the change of the other; alone-terms vanish."""
    net = Bilinear(site_bins=site_bins)
    found = epistasis(net, MIRNA, SITE, target=TARGET, letters=letters)
    assert mixed_derivative(net, MIRNA, SITE, target=TARGET, letters=letters) == pytest.approx(
        found, abs=1e-7, nan_ok=True
    )  # images are shares in float32
    mirna, site = text_of(MIRNA)[0], text_of(SITE)[0]
    change = {}
    for name, text, image in (
        ("mirna", mirna, net.encoding.mirna),
        ("site", site, net.encoding.site),
    ):
        rows = []
        for place, own in enumerate(text):
            others = [text[:place] + a + text[place + 1 :] for a in other_letters(own, letters)]
            rows.append(image(strands(others)).mean(0) - image(strands([text]))[0])
        change[name] = torch.stack(rows).flatten(1).double()
    wanted = change["mirna"] @ net.b.detach().T @ change["site"].T
    assert found[0, : len(mirna), : len(site)] == pytest.approx(wanted.numpy(), abs=1e-7)
    assert np.nanmax(np.abs(found)) > 1e-3


def test_an_additive_network_has_no_interactions():
    found = epistasis(Halves(additive=True).eval(), MIRNA, SITE, target=TARGET)
    assert np.nanmax(np.abs(found)) < 1e-12
    mixed = mixed_derivative(Halves(additive=True).eval(), MIRNA, SITE, target=TARGET)
    assert np.nanmax(np.abs(mixed)) < 1e-12


def test_a_branch_runs_once_per_single_mutant_where_the_network_can_be_cut():
    net = Halves()  # in training mode: the doors freeze it
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = epistasis(net, MIRNA, SITE, target=TARGET, letters="complement", batch=32)
    assert net.seen == 2 * (10 + 1) + 2 * (14 + 1)
    assert net.training
    assert net.norm.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    whole = epistasis(Whole(net), MIRNA, SITE, target=TARGET, letters="complement")
    assert found == pytest.approx(whole, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("ask", [epistasis, mixed_derivative])
def test_company_and_chunks_change_nothing(ask):
    net = Halves().eval()
    together = ask(net, MIRNA, SITE, target=TARGET)
    small = ask(net, MIRNA, SITE, target=TARGET, batch=7)
    assert together == pytest.approx(small, abs=1e-12, nan_ok=True)
    alone = ask(net, strands(text_of(MIRNA)[:1]), strands(text_of(SITE)[:1]), target=TARGET)
    assert together[0, :10, :12] == pytest.approx(alone[0], abs=1e-12)


def test_a_target_may_ask_each_pair_for_its_own_class():
    net = Halves().eval()
    both = Difference(torch.tensor([1, 0]), torch.tensor([0, 1]))
    same = epistasis(net, MIRNA, SITE, target=TARGET)
    found = epistasis(net, MIRNA, SITE, target=both)
    assert found[0] == pytest.approx(same[0], nan_ok=True)
    assert found[1] == pytest.approx(-same[1], nan_ok=True)


class Product(nn.Module):
    """Sum of F_mirna * F_site[reverse complement]: what pairs is worth more together."""

    def __init__(self, k=3):
        super().__init__()
        self.encoding = Encoding(k=k)
        self.register_buffer("other", torch.from_numpy(reverse_complement_pixels(k).copy()))

    def forward(self, site, mirna):
        both = (site.flatten(1)[:, self.other] * mirna.flatten(1)).sum(1)
        return torch.stack([-both, both], 1)


def test_a_network_of_reverse_complements_agrees_with_pairing(random):
    mirnas = ["".join(random.choice(list("ACGT"), 20)) for _ in range(12)]
    sites = ["".join(random.choice(list("ACGT"), 30)) for _ in range(12)]
    mirna, site = strands(mirnas), strands(sites)
    found = epistasis(Product(), mirna, site, target=TARGET)
    assert found.dtype == np.float32
    told = agreement(found, pairings(mirna, site), np.arange(12) // 2, draws=200)
    assert told.low > told.null
    assert told.p < 0.01
    runs = agreement(found, pairings(mirna, site), np.arange(12) // 2, draws=200, run=3)
    assert runs.low > 0.85
    assert runs.p < 0.01
    assert (told.n, told.groups) == (12, 6)
    additive = agreement(random.standard_normal(found.shape), pairings(mirna, site), draws=200)
    assert additive.p > 0.01
    assert additive.null == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("k", [3, 4])
def test_upstreams_map_is_the_outer_product_of_block_means(k, random):
    site, mirna = (random.standard_normal((2, 4**k)) for _ in range(2))
    found = outer_product(site, mirna)
    size = 4**k // 64
    for row in range(2):
        full = np.outer(mirna[row], site[row])  # what upstream averages, in full
        blocks = full.reshape(64, size, 64, size).mean((1, 3))
        assert found[row] == pytest.approx(blocks, rel=1e-9)
        assert np.linalg.matrix_rank(found[row]) == 1


def test_at_k_6_a_block_is_a_row_of_the_image():
    image = fcgr(strands(["TGAGGTAGTAGGTTGTATAGTT"]), 6)
    found = outer_product(image.reshape(1, -1), np.ones((1, 4096), np.float32))
    assert found[0, 0] == pytest.approx(image[0, 0].mean(1), rel=1e-6)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: epistasis(Bilinear(), MIRNA, strands(["ACGT"]), target=TARGET), "no pairs"),
        (lambda: epistasis(Bilinear(), MIRNA, SITE, target=TARGET, batch=0), "batch is 0"),
        (lambda: epistasis(nn.Linear(2, 2), MIRNA, SITE, target=TARGET), "does not say"),
        (lambda: mixed_derivative(Bilinear(), strands([]), strands([]), target=TARGET), "no pairs"),
        (lambda: outer_product(np.ones((1, 16)), np.ones((1, 16))), "64 equal blocks"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(UsageError, match=says):
        call()
