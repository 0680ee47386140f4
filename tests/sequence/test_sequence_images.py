"""Images as tensors equal the FCGR, and their position channels sum to it."""

import numpy as np
import pytest
import torch

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import strands
from attributome.sequence.fcgr import fcgr, window_counts, windows
from attributome.sequence.images import Encoding, cells_of, images, of_counts, scattered

TEXTS = ["TGAGGTAGTAGGTTGTATAGTT", "ACGNACGTTT", "AAAAAAAA", "ACG", "AC", "NNNNN"]


@pytest.mark.parametrize("k", [1, 3, 6])
def test_one_channel_is_the_fcgr_to_the_bit(k):
    batch = strands(TEXTS)
    found = images(batch, k)
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), fcgr(batch, k))


@pytest.mark.parametrize("bins", [1, 2, 5, 40])
def test_channels_hold_windows_by_their_start_and_sum_to_the_fcgr(bins):
    batch, k = strands(TEXTS), 3
    found = images(batch, k, bins)
    assert found.shape == (6, bins, 8, 8)
    wanted = np.zeros((6, bins, 64))
    for i, row in enumerate(windows(batch, k)):
        for start, flat in enumerate(row):
            if flat >= 0:
                wanted[i, min(start, bins - 1), flat] += 1
    wanted /= np.maximum(window_counts(batch, k), 1)[:, None, None]
    assert np.array_equal(found.flatten(2).numpy(), wanted.astype(np.float32))
    assert np.allclose(found.sum(1).numpy(), fcgr(batch, k)[:, 0], atol=1e-7)


def test_cells_scatter_to_the_image_in_any_order():
    batch = strands(TEXTS)
    cells = cells_of(batch, 3, 4)
    totals = torch.from_numpy(window_counts(batch, 3)).clamp(min=1)
    assert cells.shape == (6, 20)
    assert cells.min() == -1
    mixed = cells[:, torch.randperm(20, generator=torch.Generator().manual_seed(1))]
    assert torch.equal(scattered(mixed, totals, 3, 4), images(batch, 3, 4))


def test_an_encoding_names_what_each_branch_sees():
    encoding, batch = Encoding(k=3, site_bins=4), strands(TEXTS)
    assert torch.equal(encoding.site(batch), images(batch, 3, 4))
    assert torch.equal(encoding.mirna(batch), images(batch, 3))


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_nothing_has_empty_images(texts):
    assert images(strands(texts), 3, 2).shape == (len(texts), 2, 8, 8)
    assert not images(strands(texts), 3, 2).any()


@pytest.mark.parametrize(
    ("values", "words"), [({"k": 9}, "1 to 8"), ({"k": 3, "mirna_bins": 0}, "at least 1")]
)
def test_an_encoding_that_cannot_be_is_refused(values, words):
    with pytest.raises(UsageError, match=words):
        Encoding(**values)


def test_images_of_counts_are_the_images_and_have_a_gradient_for_each_count():
    batch, k, bins = strands(TEXTS[:3]), 3, 4
    totals = torch.from_numpy(window_counts(batch, k))
    wanted = images(batch, k, bins)
    counts = (wanted.flatten(1) * totals[:, None]).round().requires_grad_()
    made = of_counts(counts, totals, k)
    assert torch.equal(made, wanted)
    weights = torch.randn(made.shape, generator=torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad((made * weights).sum(), counts)
    assert torch.allclose(slope, weights.flatten(1) / totals[:, None])
