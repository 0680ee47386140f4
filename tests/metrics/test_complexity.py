"""Complexity against loops, and at the ends of its scales."""

import math

import pytest
import torch

from attributome.core.errors import UsageError
from attributome.metrics.complexity import effective_voxels, entropy, gini, mask_area
from oracles import metrics as oracle


@pytest.fixture
def maps(images):
    return images[..., :5, :4].double() - 0.5


def test_they_are_those_of_the_loop(maps):
    for i in range(3):
        values = maps[i].numpy()
        assert gini(maps)[i].item() == pytest.approx(oracle.gini(values))
        assert entropy(maps)[i].item() == pytest.approx(oracle.entropy(values))
        assert effective_voxels(maps)[i].item() == pytest.approx(math.exp(oracle.entropy(values)))


def test_one_voxel_and_equal_voxels_are_the_ends(maps):
    one, n = torch.zeros_like(maps), maps[0].numel()
    one.flatten(1)[:, 3] = -7
    assert gini(one).tolist() == pytest.approx([1, 1, 1])
    assert entropy(one).tolist() == [0, 0, 0]
    assert effective_voxels(one).tolist() == [1, 1, 1]
    level = maps.sign()
    assert gini(level).tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert effective_voxels(level).tolist() == pytest.approx([n, n, n])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_a_map_does_not_matter(maps, scale):
    small = maps.float()
    for score in (gini, entropy):
        assert torch.allclose(score(small * scale), score(small), rtol=1e-4)


def test_a_map_of_zeros_is_undefined(maps):
    for score in (gini, entropy, effective_voxels):
        assert score(0 * maps).isnan().all()


def test_area_is_in_micrometres(maps):
    masks = (maps[:, :1] > 0).double()
    size = (2.0, 0.5, 0.25)[: maps.ndim - 2]
    wanted = [m.sum().item() * math.prod(size) for m in masks]
    assert mask_area(masks, size).tolist() == pytest.approx(wanted)
    assert mask_area(0 * masks, size).tolist() == [0, 0, 0]
    with pytest.raises(UsageError, match="a pixel size of 1 numbers"):
        mask_area(masks, (1.0,))
