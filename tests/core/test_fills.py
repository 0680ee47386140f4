"""What replaces masked pixels: statistics, and independence of how the work is split."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from attributome.core.errors import UsageError
from attributome.core.fills import FILLS, fill_for, fill_named


@pytest.mark.parametrize("kind", FILLS)
def test_a_fill_does_not_depend_on_the_batch(kind, images):
    ids = ["a", "b", "c"]
    together = fill_for(images, ids, kind, scale=1.5, seed=3)
    assert together.shape == images.shape
    for i, name in enumerate(ids):
        alone = fill_for(images[i : i + 1], [name], kind, scale=1.5, seed=3)
        assert torch.equal(alone[0], together[i])


def test_noise_has_its_scale_and_differs_by_sample_seed_and_draw():
    x = torch.zeros(2, 3, 64, 64)
    one = fill_for(x, ["a", "b"], "gaussian", scale=1.5, seed=0)
    assert one.std().item() == pytest.approx(1.5, rel=0.03)
    assert torch.equal(one[:, 0], one[:, 2])  # the same in all channels
    each = fill_for(x, ["a", "b"], "gaussian_channels", scale=1.5, seed=0)
    assert torch.corrcoef(each.movedim(1, 0).flatten(1)).sub(torch.eye(3)).abs().max() < 0.05
    for other in (
        fill_for(x, ["b", "a"], "gaussian", scale=1.5, seed=0),
        fill_for(x, ["a", "b"], "gaussian", scale=1.5, seed=1),
        fill_for(x, ["a", "b"], "gaussian", scale=1.5, seed=0, draw=1),
    ):
        assert not torch.equal(other[0], one[0])


def test_permuted_keeps_the_histogram_and_channels_together(images):
    fill = fill_for(images, ["a", "b", "c"], "permuted", scale=1, seed=0)
    pixels = [image.flatten(1).T.sort(dim=0).values for image in (images[0], fill[0])]
    assert torch.equal(*pixels)
    assert not torch.equal(fill, images)


def test_blur_is_a_gaussian_with_repeated_borders():
    x = torch.rand(1, 1, 20, 24, generator=torch.Generator().manual_seed(0))
    wanted = gaussian_filter(x[0, 0].numpy(), 4, mode="nearest", truncate=3)
    assert torch.allclose(
        FILLS["blur"](x, torch.Generator(), 1.0)[0, 0], torch.tensor(wanted), atol=1e-5
    )


def test_unknown_kinds_are_refused():
    with pytest.raises(UsageError, match="no noise kind 'salt'; choose one of"):
        fill_named("salt")
