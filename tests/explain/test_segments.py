"""Label images: what they number, and that a coalition shows what it should."""

import numpy as np
import pytest
import torch

from attributome.core.errors import UsageError
from attributome.explain.segments import (
    blocks,
    compact,
    halves,
    masks_of,
    painted,
    per_axis,
    sizes_of,
    superpixels,
    usual_blocks,
)


def test_blocks_number_tiles_in_reading_order():
    x = torch.zeros(2, 1, 5, 4)
    wanted = [[0, 0, 1, 1]] * 3 + [[2, 2, 3, 3]] * 2
    assert blocks(x, (3, 2)).tolist() == [wanted, wanted]


def test_usual_blocks_are_about_64(images):
    labels = usual_blocks(images)
    assert (sizes_of(labels) == 16 ** (images.ndim - 2) // 64).all()
    assert sizes_of(labels).shape == (3, 64)


@pytest.mark.parametrize("space", [(8, 8), (9, 5), (6, 7, 11)])
def test_halves_are_a_balanced_tree(space):
    x = torch.zeros(2, 1, *space)
    for depth in range(1, 5):
        below, above = halves(x, depth), halves(x, depth - 1)
        assert torch.equal(below >> 1, above)
        counts = sizes_of(below)
        assert counts.shape == (2, 2**depth)
        assert counts.min() > 0
        for box in range(2**depth):  # every leaf is a box
            at = (below[0] == box).nonzero()
            assert int((at.amax(0) - at.amin(0) + 1).prod()) == len(at)


def test_halves_cut_the_longest_axis_first():
    assert halves(torch.zeros(1, 1, 2, 8), 2)[0].tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]] * 2


def test_a_field_is_not_halved_beyond_its_pixels():
    assert halves(torch.zeros(1, 1, 2, 2), 2).flatten().tolist() == [0, 1, 2, 3]
    with pytest.raises(UsageError, match="cannot be halved 3 times"):
        halves(torch.zeros(1, 1, 2, 2), 3)


def test_superpixels_keep_to_edges_and_to_their_sample(images):
    x = 0.1 * images
    x[0, :, :5] += 3
    x[1, 1, ..., 9:] -= 3
    labels = superpixels(x, count=12)
    assert labels.shape == (3, *x.shape[2:])
    for image, label in zip(x, labels, strict=True):
        assert label.unique().tolist() == list(range(int(label.max()) + 1))
        assert 2 <= len(label.unique()) <= 30
        assert torch.equal(superpixels(image[None], count=12)[0], label)
    assert not set(labels[0, :5].unique().tolist()) & set(labels[0, 5:].unique().tolist())
    assert not set(labels[1, ..., :9].unique().tolist()) & set(labels[1, ..., 9:].unique().tolist())


def test_compact_closes_gaps_of_each_sample():
    x = torch.zeros(2, 1, 1, 4)
    labels = torch.tensor([[[7, 7, 2, 9]], [[0, 1, 1, 0]]], dtype=torch.int32)
    assert compact(labels, x).tolist() == [[[1, 1, 0, 2]], [[0, 1, 1, 0]]]
    assert sizes_of(compact(labels, x)).tolist() == [[1, 2, 1], [2, 2, 0]]


@pytest.mark.parametrize("wrong", [torch.zeros(1, 1, 4), torch.full((2, 1, 4), -1)])
def test_labels_that_do_not_divide_the_images_are_refused(wrong):
    with pytest.raises(UsageError, match="whole numbers from 0, shape"):
        compact(wrong.long(), torch.zeros(2, 1, 1, 4))


def test_one_size_per_axis():
    x = torch.zeros(1, 1, 4, 4)
    assert per_axis(x, 3, "window") == (3, 3)
    for wrong in (0, (1, 2, 3)):
        with pytest.raises(UsageError, match="one per axis"):
            per_axis(x, wrong, "window")


@pytest.mark.parametrize("shared", [True, False])
def test_masks_keep_the_pixels_of_the_features_that_are_kept(images, shared):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (3, *images.shape[2:]), generator=generator)
    kept = torch.rand(4, 1 if shared else 3, 5, generator=generator) > 0.5
    masks = masks_of(kept.float(), labels)
    for m in range(4):
        for i in range(3):
            wanted = kept[m, 0 if shared else i].numpy()[labels[i].numpy()]
            assert np.array_equal(masks[m, i, 0].numpy(), wanted)


def test_painted_shows_the_number_of_each_feature():
    labels = torch.tensor([[[0, 1]], [[1, 0]]])
    assert painted(torch.tensor([[5.0, 6.0], [7.0, 8.0]]), labels).tolist() == [
        [[[5, 6]]],
        [[[8, 7]]],
    ]
