"""Closed forms of efficacy and of the masks in the wrong place."""

import pytest
import torch

from attributome.core.arrays import mask_size, mix, pearson, top_share
from attributome.core.fills import fill_for
from attributome.metrics.copies import flipped, translated
from attributome.metrics.faithfulness import (
    efficacy,
    efficacy_curve,
    same_probabilities,
    same_value,
    smallest_size,
)


@pytest.fixture
def fill(images):
    return fill_for(images, ["a", "b", "c"], "gaussian", scale=1.5, seed=0)


def identity(x):
    return x


def test_a_full_mask_keeps_everything_and_an_empty_one_nothing(images, fill):
    ones = torch.ones_like(images[:, :1])
    assert torch.allclose(efficacy(identity, images, ones, fill), torch.ones(3))
    nothing = efficacy(identity, images, 0 * ones, fill)
    assert torch.allclose(nothing, pearson(fill, images))
    assert nothing.abs().max() < 0.2


def test_efficacy_of_the_identity_is_the_correlation_of_the_mixed_image(images, fill):
    masks = top_share(images[:, :1], 0.3)
    wanted = pearson(mix(images, masks, fill), images)
    assert torch.allclose(efficacy(identity, images, masks, fill), wanted)
    assert torch.allclose(efficacy(identity, images, masks, fill, reference=images), wanted)


def test_efficacy_does_not_depend_on_the_batch(images, fill):
    masks = top_share(images[:, :1], 0.3)
    alone = efficacy(identity, images[1:2], masks[1:2], fill[1:2])
    assert torch.allclose(efficacy(identity, images, masks, fill)[1:2], alone)


def test_the_curve_is_efficacy_at_each_size(images, fill):
    maps = images[:, :1]
    curve = efficacy_curve(identity, images, maps, fill, (0.1, 0.5, 1.0))
    assert curve.shape == (3, 3)
    assert torch.allclose(curve[:, 1], efficacy(identity, images, top_share(maps, 0.5), fill))
    assert torch.allclose(curve[:, 2], torch.ones(3))


def test_smallest_size_is_where_the_curve_crosses_the_floor():
    """The predictor reads the left quarter only, and the map knows it."""
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    fill = fill_for(x, ["a", "b"], "gaussian", scale=1, seed=0)
    used = torch.zeros(1, 1, 32, 32)
    used[..., :8] = 1
    maps = used + 1e-3 * torch.rand(x.shape)
    size = smallest_size(lambda v: v * used, x, maps, fill, floor=0.999)
    assert size.tolist() == pytest.approx([0.25, 0.25], abs=0.01)
    # with noise in a share q of the quarter PCC^2 is about 1 - q, so 0.9 needs 0.81 of it
    lower = smallest_size(lambda v: v * used, x, maps, fill, floor=0.9)
    assert lower.tolist() == pytest.approx([0.81 * 0.25] * 2, abs=0.03)


def test_smallest_size_is_undefined_where_nothing_keeps_the_floor(images, fill):
    size = smallest_size(lambda x: 0 * x, images, images[:, :1], fill)
    assert size.isnan().all()


def test_copies_have_the_same_size_and_another_place(images):
    masks = top_share(images[:, :1], 0.2)
    for copy in (translated(masks, [1, 2, 3]), flipped(masks)):
        assert torch.equal(mask_size(copy), mask_size(masks))
        assert (mask_size(copy * masks) < 0.6 * mask_size(masks)).all()
    assert torch.equal(flipped(flipped(masks)), masks)
    again = translated(masks[1:2], [2])
    assert torch.equal(translated(masks, [1, 2, 3])[1:2], again)


def test_scalar_agreements():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    assert torch.allclose(same_probabilities(logits, logits), torch.ones(2))
    opposite = same_probabilities(torch.tensor([[99.0, 0.0]]), torch.tensor([[0.0, 99.0]]))
    assert opposite.item() == pytest.approx(0)
    compare = same_value(spread=2.0)
    scores = compare(torch.tensor([[1.0], [5.0]]), torch.tensor([[0.0], [0.0]]))
    assert scores.tolist() == [0.5, 0.0]
