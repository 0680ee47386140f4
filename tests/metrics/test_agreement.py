"""Agreement of maps against loops, and at the ends of its scales."""

import pytest
import torch
from scipy.stats import spearmanr

from attributome.core.errors import UsageError
from attributome.metrics import agreement
from attributome.metrics.ranking import check_alike, mid_ranks, rank_correlation
from oracles import metrics as oracle

MEASURES = (
    rank_correlation,
    agreement.feature_agreement,
    agreement.sign_agreement,
    agreement.rank_agreement,
    agreement.signed_rank_agreement,
    agreement.pairwise_rank_agreement,
    agreement.iou_at_share,
)
TOPS = {
    agreement.feature_agreement: (False, False),
    agreement.sign_agreement: (True, False),
    agreement.rank_agreement: (False, True),
    agreement.signed_rank_agreement: (True, True),
}


@pytest.fixture
def pair(dims):
    """Two maps that are alike; ties and zeros in both."""
    draw = torch.Generator().manual_seed(5)
    shape = (4, 2, *[4, 3, 2][:dims])
    a, b = (torch.randn(shape, generator=draw, dtype=torch.double) for _ in range(2))
    return (2 * a).round(decimals=0), (2 * a + b).round(decimals=0)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_map_agrees_with_itself(pair, measure):
    assert measure(pair[0], pair[0]).tolist() == pytest.approx([1] * 4)
    a, b = measure(*pair), measure(*pair[::-1])
    assert torch.allclose(a, b)
    assert (a < 1).all()


@pytest.mark.parametrize("measure", MEASURES)
def test_the_other_end(dims, measure):
    shape = (2, 1, *[4, 3, 2][:dims])
    n = torch.Size(shape[1:]).numel()
    a = torch.arange(1.0, n + 1).double().expand(2, n).view(shape)
    b = (
        -a
        if measure is rank_correlation or measure not in TOPS
        else a.flip(tuple(range(2, 2 + dims)))
    )
    wanted = -1 if measure is rank_correlation else 0
    assert measure(a, b).tolist() == pytest.approx([wanted] * 2)


def test_opposite_signs_share_features_but_not_signs(pair):
    a = pair[0]
    assert agreement.feature_agreement(a, -a).tolist() == [1] * 4
    assert agreement.rank_agreement(a, -a).tolist() == [1] * 4
    assert agreement.sign_agreement(a, -a).tolist() == [0] * 4
    assert agreement.signed_rank_agreement(a, -a).tolist() == [0] * 4


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("measure", TOPS)
def test_tops_are_those_of_the_loop(pair, measure, share):
    signs, ranks = TOPS[measure]
    ours = measure(*pair, share=share)
    for i in range(4):
        a, b = (m[i].numpy() for m in pair)
        wanted = oracle.agreement(a, b, share, signs=signs, places=ranks)
        assert ours[i].item() == pytest.approx(wanted)


def test_order_is_that_of_the_loop_and_of_scipy(pair):
    for i in range(4):
        a, b = (m[i].numpy() for m in pair)
        rho = rank_correlation(*pair)[i].item()
        assert rho == pytest.approx(oracle.spearman(a, b))
        assert rho == pytest.approx(spearmanr(a.ravel(), b.ravel()).statistic)
        pairs = agreement.pairwise_rank_agreement(*pair)[i].item()
        assert pairs == pytest.approx(oracle.pairs_alike(a, b))


def test_drawn_pairs_estimate_all_pairs(pair):
    whole = agreement.pairwise_rank_agreement(*pair)
    n = pair[0][0].numel()
    some = agreement.pairwise_rank_agreement(*pair, pairs=n * (n - 1) // 2 - 1, seed=3)
    assert torch.allclose(some, whole, atol=0.2)
    assert not torch.equal(some, whole)


def test_sparse_maps_do_not_agree_by_their_zeros():
    """Two maps of one pixel each: what neither shows is nothing that they agree about."""
    a, b = torch.zeros(1, 1, 4, 5), torch.zeros(1, 1, 4, 5)
    a[..., 0, 0], b[..., 3, 3] = 1, 1
    for measure in (*TOPS, agreement.iou_at_share):
        assert measure(a, b, share=0.5).item() == 0
        assert measure(a, a, share=0.5).item() == 1


@pytest.mark.parametrize("measure", MEASURES)
def test_a_constant_map_is_undefined(pair, measure):
    assert measure(pair[0], 0 * pair[0] + 1).isnan().all()


def test_maps_of_other_shapes_are_refused(pair):
    with pytest.raises(UsageError, match="sum them over their channels first"):
        check_alike(pair[0], pair[0][:, :1])


def test_the_matrix_compares_sums_over_channels(pair):
    a, b = pair
    names, values = agreement.agreement_matrix({"one": a, "two": b, "flat": 0 * a[:, :1]})
    assert names == ("one", "two", "flat")
    both = rank_correlation(a.sum(1, keepdim=True), b.sum(1, keepdim=True))
    assert torch.allclose(values[:, 0, 1], both)
    assert torch.equal(values[:, 1, 0], values[:, 0, 1])
    assert values[:, 2].isnan().all()
    assert torch.allclose(values[:, 0, 0], torch.ones(4).double())
    with pytest.raises(UsageError, match="no maps"):
        agreement.agreement_matrix({})


def test_mid_ranks(pair):
    rows = pair[0].flatten(1)
    for i, row in enumerate(mid_ranks(rows)):
        assert row.tolist() == pytest.approx(oracle.ranks(rows[i].numpy()) / (rows.shape[1] - 1))
