"""Closed forms of the small helpers."""

import numpy as np
import pytest
import torch

from attributome.core.arrays import above, mask_size, mix, pearson, resize, top_share


def test_pearson_matches_numpy_and_is_zero_for_constants():
    a, b = torch.rand(2, 5, 7), torch.rand(2, 5, 7)
    wanted = [np.corrcoef(a[i].flatten(), b[i].flatten())[0, 1] for i in (0, 1)]
    assert torch.allclose(pearson(a, b), torch.tensor(wanted, dtype=torch.float), atol=1e-6)
    assert pearson(torch.ones(1, 5, 7), b[:1]).item() == 0


def test_pearson_is_invariant_to_scale_and_batch_mates():
    a, b = torch.rand(3, 1, 9, 9, dtype=torch.double), torch.rand(3, 1, 9, 9, dtype=torch.double)
    assert torch.allclose(pearson(a, b), pearson(1e-4 * a + 5, 3e4 * b))
    assert torch.allclose(pearson(a, b)[1:2], pearson(a[1:2], b[1:2]))


def test_weighted_pearson_sees_only_the_region():
    a, b = torch.rand(2, 1, 6, 6, dtype=torch.double), torch.rand(2, 1, 6, 6, dtype=torch.double)
    weight = torch.zeros(2, 1, 6, 6)
    weight[..., 1:4, 2:5] = 1
    inside = pearson(a[..., 1:4, 2:5], b[..., 1:4, 2:5])
    assert torch.allclose(pearson(a, b, weight), inside)
    b[..., 5, 5] = 1e9  # outside the region, so it does not count
    assert torch.allclose(pearson(a, b, weight), inside)
    assert torch.allclose(pearson(a, b, torch.ones(2, 1, 6, 6)), pearson(a, b))


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_gradient_of_pearson_is_finite_even_for_constants(scale):
    a = torch.full((2, 1, 4, 4), 3.0).add(scale * torch.rand(2, 1, 4, 4)).requires_grad_()
    pearson(a, torch.rand(2, 1, 4, 4)).sum().backward()
    assert a.grad.isfinite().all()


def test_top_share_is_exact_even_with_ties(images):
    maps = images[:, :1].round(decimals=1)
    kept = top_share(maps, 0.3)
    pixels = maps[0].numel()
    assert (kept.flatten(1).sum(1) == round(0.3 * pixels)).all()
    assert maps[kept == 1].min() >= maps[kept == 0].max() - 0.100001
    assert top_share(torch.zeros_like(maps), 0.25).sum(dtype=torch.long) == 3 * (pixels // 4)
    each = top_share(maps, torch.tensor([0.0, 0.5, 1.0]))
    assert mask_size(each).tolist() == [0.0, 0.5, 1.0]
    assert top_share(maps, 1e-9).flatten(1).sum(1).tolist() == [1, 1, 1]


def test_mix_keeps_the_image_where_the_mask_is_one(images):
    mask = above(images[:, :1], 0.5)
    fill = torch.full_like(images, 7.0)
    mixed = mix(images, mask, fill)
    assert torch.equal(mixed[(mask == 1).expand_as(mixed)], images[(mask == 1).expand_as(images)])
    assert (mixed[(mask == 0).expand_as(mixed)] == 7).all()


def test_resize_has_half_pixel_centres():
    maps = torch.tensor([[[[0.0, 1.0]]]])
    wide = resize(maps, torch.zeros(1, 1, 1, 4))
    assert wide.flatten().tolist() == pytest.approx([0, 0.25, 0.75, 1])
