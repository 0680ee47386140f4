"""Methods of sequences: closed forms, sums, a batch that is sacred, and what goes back."""

from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients
from pair_networks import TARGET, Branched, Cut, Linear, Pairing, pairs, row

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import Strands, strands, text_of
from attributome.sequence.evidence.branches import images_of
from attributome.sequence.evidence.explainers import (
    DEFAULT,
    LETTER_METHODS,
    PAIR_METHODS,
    explained,
    from_maps,
)
from attributome.sequence.evidence.mutagenesis import mutagenesis, positions_of
from attributome.sequence.evidence.pair_gradients import integrated_gradients_by_branch
from attributome.sequence.evidence.references import Context, real, shuffled, substituted
from attributome.sequence.tracks import BRANCHES

METHODS = sorted([*PAIR_METHODS, *LETTER_METHODS])


def context(net, count=3, seed=0, background=True, **sizes):
    mirna, site = pairs(count, **sizes)
    others = pairs(4, seed=7, **sizes)
    ground = {"site": others[1], "mirna": others[0]} if background else None
    return Context(mirna=mirna, site=site, encoding=net.encoding, background=ground, seed=seed)


def asked(name, net, found, **options):
    images = images_of(net, found.mirna, found.site)
    method = {**PAIR_METHODS, **LETTER_METHODS}[name]
    return method(net, images["site"], images["mirna"], TARGET, found, **options)


def gap(net, site, mirna):
    net.eval()
    with torch.no_grad():
        out = net(site, mirna)
    return out[:, 1] - out[:, 0]


def single(found, i):
    seed = found.seed if isinstance(found.seed, int) else [found.seed[i]]
    return Context(
        mirna=row(found.mirna, i),
        site=row(found.site, i),
        encoding=found.encoding,
        background=found.background,
        seed=seed,
    )


@pytest.mark.parametrize("net", [Branched(), Linear(site_bins=5)], ids=["images", "positions"])
@pytest.mark.parametrize("name", METHODS)
def test_a_pair_does_not_depend_on_its_batch_and_the_network_stays(name, net):
    net.train()
    found = context(net, seed=[5, 6, 7])
    before = [p.clone() for p in net.parameters()]
    together = explained(name, net, TARGET, found)
    again = explained(name, net, TARGET, found)
    for i in range(3):
        alone = explained(name, net, TARGET, single(found, i))
        for branch in BRANCHES:
            wide = alone.tracks[branch].shape[1]
            ours, theirs = alone.tracks[branch][0], together.tracks[branch][i, :wide]
            assert np.allclose(ours, theirs, atol=1e-9, equal_nan=True)
            assert np.array_equal(together.tracks[branch], again.tracks[branch], equal_nan=True)
            assert torch.allclose(alone.maps[branch][0], together.maps[branch][i], atol=1e-9)
    assert net.training
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("steps", [1, 50])
def test_integrated_gradients_equal_captum_branch_by_branch(steps):
    net = Cut()
    found = context(net)
    site, mirna = images_of(net, found.mirna, found.site).values()
    ours = asked("integrated_gradients_by_branch", net, found, steps=steps)
    net.eval()
    for i in range(3):

        def alone(x, i=i):
            return net(x, mirna[i : i + 1].expand(len(x), -1, -1, -1))

        one = IntegratedGradients(alone)
        wanted = one.attribute(site[i : i + 1], target=1, n_steps=steps) - one.attribute(
            site[i : i + 1], target=0, n_steps=steps
        )
        assert torch.allclose(ours[0][i : i + 1], wanted, atol=1e-9)


def test_integrated_gradients_sum_to_what_the_branch_adds_and_skip_absent_words():
    net = Branched()
    found = context(net)
    site, mirna = images_of(net, found.mirna, found.site).values()
    maps = integrated_gradients_by_branch(net, site, mirna, TARGET, found, steps=2000)
    whole = gap(net, site, mirna)
    assert torch.allclose(maps[0].flatten(1).sum(1), whole - gap(net, 0 * site, mirna), atol=1e-3)
    assert torch.allclose(maps[1].flatten(1).sum(1), whole - gap(net, site, 0 * mirna), atol=1e-3)
    assert (maps[0][site == 0] == 0).all()


@pytest.mark.parametrize("kind", ["shuffled", "real"])
def test_expected_gradients_sum_to_the_gap_to_their_references(kind):
    net = Linear()
    found = context(net)
    maps = asked(f"expected_gradients_{kind}", net, found, draws=8)
    rows = {"shuffled": shuffled, "real": real}[kind](found, 8)
    references = images_of(net, rows["mirna"], rows["site"])
    blank = gap(net, references["site"], references["mirna"]).view(8, 3).mean(0)
    whole = gap(net, *images_of(net, found.mirna, found.site).values())
    total = sum(one.flatten(1).sum(1) for one in maps)
    assert torch.allclose(total, whole - blank, atol=1e-7)


def test_expected_gradients_of_a_curved_network_come_close():
    net = Branched()
    found = context(net)
    total = sum(
        o.flatten(1).sum(1) for o in asked("expected_gradients_shuffled", net, found, draws=500)
    )
    rows = shuffled(found, 500)
    references = images_of(net, rows["mirna"], rows["site"])
    blank = gap(net, references["site"], references["mirna"]).view(500, 3)
    whole = gap(net, *images_of(net, found.mirna, found.site).values())
    assert torch.allclose(total, whole - blank.mean(0), atol=0.15 * float(blank.std()))


@pytest.mark.parametrize("name", ["smooth_grad_simplex", "smooth_grad_sequence"])
def test_smooth_gradients_of_a_linear_network_are_image_times_weight(name):
    net = Linear(site_bins=4)
    found = context(net)
    images = images_of(net, found.mirna, found.site)
    maps = asked(name, net, found, draws=3)
    for branch, one in zip(BRANCHES, maps, strict=True):
        assert torch.allclose(one, images[branch] * net.slopes(branch))


def test_noise_on_the_simplex_leaves_an_image_of_the_same_words():
    """A network that keeps what it is shown."""
    seen = []

    class Watching(Linear):
        def forward(self, site, mirna):
            seen.append((site.detach().clone(), mirna.detach().clone()))
            return super().forward(site, mirna)

    net = Watching()
    found = context(net)
    site = images_of(net, found.mirna, found.site)["site"]
    asked("smooth_grad_simplex", net, found, draws=4, noise=0.1)
    shown = torch.cat([one[0] for one in seen]).view(4, *site.shape)
    assert not torch.allclose(shown[0], shown[1])
    assert ((shown == 0) == (site == 0)).all()
    assert torch.allclose(shown.flatten(2).sum(2), site.flatten(1).sum(1).expand(4, -1))
    away = (shown - site).flatten(2).norm(dim=2) / site.flatten(1).norm(dim=1)
    assert 0.02 < float(away.mean()) < 0.15
    seen.clear()
    asked("smooth_grad_simplex", net, found, draws=4, noise=2.0)  # so much that words vanish
    shown = torch.cat([one[0] for one in seen]).view(4, *site.shape)
    assert ((shown == 0) & (site > 0)).any()
    assert (shown >= 0).all()
    assert torch.allclose(shown.flatten(2).sum(2), site.flatten(1).sum(1).expand(4, -1))


def test_references_are_of_each_pair_and_keep_its_length():
    net = Linear()
    found = context(net, seed=[1, 2, 3])
    for make in (
        partial(substituted, count=5, share=0.3),
        partial(shuffled, count=5),
        partial(real, count=5),
    ):
        rows = make(found)
        assert len(rows["site"]) == len(rows["mirna"]) == 15
    mutants = text_of(substituted(found, 200, 0.3)["site"])
    for i, text in enumerate(text_of(found.site)):
        changed = np.array([[a != b for a, b in zip(text, m, strict=True)] for m in mutants[i::3]])
        assert changed.mean() == pytest.approx(0.3, abs=0.03)
        assert not changed[:, [j for j, letter in enumerate(text) if letter == "N"]].any()
    counted = text_of(real(found, 8)["mirna"])
    for i in range(3):
        assert sorted(counted[i::3]) == sorted(2 * text_of(found.background["mirna"]))


@pytest.mark.parametrize("name", sorted({*LETTER_METHODS} - {"mutagenesis"}))
@pytest.mark.parametrize("bins", [1, 30])
def test_hypothetical_methods_are_mutagenesis_for_a_linear_network(name, bins):
    net = Linear(site_bins=bins, mirna_bins=bins)
    found = context(net)
    exact = mutagenesis(net, found.mirna, found.site, target=TARGET)
    foretold = explained(name, net, TARGET, found)
    assert np.allclose(foretold.effects["site"], exact.site, atol=1e-7, equal_nan=True)
    assert np.allclose(
        foretold.tracks["mirna"], positions_of(exact.mirna), atol=1e-7, equal_nan=True
    )


def test_gradients_half_way_foretell_mutants_of_a_curved_network_better_than_one_at_the_pair():
    net = Branched(seed=3)
    for weight in (net.first[0].weight, net.second[0].weight, net.joint[0].weight):
        weight.data *= 3
    found = context(net, 16, mirna=14, site=20)
    exact = mutagenesis(net, found.mirna, found.site, target=TARGET)

    def error(name):
        foretold = explained(name, net, TARGET, found).effects["site"]
        return np.nanmean((foretold - exact.site) ** 2)

    assert error("hypothetical_spaced") < 0.5 * error("hypothetical_here")


def test_mutagenesis_has_tracks_and_a_picture_of_the_same_total():
    net = Pairing()
    mirna, site = strands(["ACGTACCTGA"]), strands(["TTCAGGTACGTAA"])
    found = Context(mirna=mirna, site=site, encoding=net.encoding)
    both = explained("mutagenesis", net, TARGET, found)
    wanted = positions_of(mutagenesis(net, mirna, site, target=TARGET).site)
    assert np.array_equal(both.tracks["site"], wanted)
    assert both.maps["site"].sum() == pytest.approx(np.nansum(wanted))
    assert both.off_support["site"] == 0


def test_maps_of_any_method_come_back_to_letters():
    net = Linear()
    found = context(net)
    images = images_of(net, found.mirna, found.site)
    maps = tuple(images[branch] * net.slopes(branch) for branch in BRANCHES)
    both = from_maps(maps, found)
    for branch, one in zip(BRANCHES, maps, strict=True):
        total = np.nansum(both.tracks[branch], 1) + both.off_support[branch]
        assert np.allclose(total, one.flatten(1).sum(1))


def test_the_tables_name_what_they_hold():
    assert DEFAULT in LETTER_METHODS
    assert not {*PAIR_METHODS} & {*LETTER_METHODS}


def test_what_cannot_be_meant_is_refused():
    net = Linear()
    found = context(net, background=False)
    with pytest.raises(UsageError, match="no method 'saliency'"):
        explained("saliency", net, TARGET, found)
    with pytest.raises(UsageError, match="has no background"):
        explained("expected_gradients_real", net, TARGET, found)
    with pytest.raises(UsageError, match="draws is 0"):
        explained("hypothetical_shuffled", net, TARGET, found, draws=0)
    with pytest.raises(UsageError, match="share of 0"):
        explained("smooth_grad_sequence", net, TARGET, found, share=0.0)
    with pytest.raises(UsageError, match="2 seeds were given for 3 pairs"):
        context(net, seed=[1, 2])
    with pytest.raises(UsageError, match="no pairs"):
        Context(mirna=row(found.mirna, 0), site=found.site, encoding=net.encoding)
    empty = Strands(np.zeros((0, 5), np.uint8), np.zeros(0, np.int64))
    with pytest.raises(UsageError, match="no sequence of branch site"):
        Context(
            mirna=found.mirna, site=found.site, encoding=net.encoding, background={"site": empty}
        )


def test_the_doors_see_the_kept_branch_once():
    net = Cut()
    found = context(net)
    asked("integrated_gradients_by_branch", net, found, steps=10)
    assert net.rows == {"site": 3 * 11, "mirna": 3 * 11}
