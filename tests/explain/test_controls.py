"""Control maps whose values can be written down."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from attributome.core.errors import UsageError
from attributome.core.targets import Output
from attributome.explain.controls import blurred_copy, centre, prediction


def test_centre_falls_off_alike_along_all_axes(dims):
    space = (4, 10, 6)[:dims]
    maps = centre(torch.relu, torch.rand(2, 3, *space), Output())
    for pixel in np.ndindex(space):
        off = [(2 * p + 1) / n - 1 for p, n in zip(pixel, space, strict=True)]
        wanted = 1 - np.sqrt(np.mean(np.square(off)))
        assert maps[(0, 0, *pixel)].item() == pytest.approx(wanted, abs=1e-6)
    assert maps.shape == (2, 1, *space)
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps, maps.flip(tuple(range(2, dims + 2))))


def test_centre_is_1_in_the_middle():
    assert centre(torch.relu, torch.zeros(1, 1, 5, 3), Output())[0, 0, 2, 1] == 1


def test_prediction_is_the_mean_size_of_the_output(images):
    def model(x):
        return torch.cat([x[:, :1] - 1, 3 * x[:, 1:]], 1)

    maps = prediction(model, images, Output())
    torch.testing.assert_close(maps[:, 0], ((1 - images[:, 0]) + 3 * images[:, 1]) / 2)


def test_prediction_comes_to_the_grid_of_the_images(images):
    maps = prediction(lambda x: x[(..., *[slice(None, None, 2)] * (x.ndim - 2))], images, Output())
    assert maps.shape == images[:, :1].shape


def test_prediction_needs_an_image(images):
    with pytest.raises(UsageError, match=r"puts out images.*gave shape \(3, 2\)"):
        prediction(lambda x: x.flatten(2).mean(2), images, Output())


def test_blurred_copy_is_a_gaussian(dims):
    maps = torch.randn(1, 1, *[12] * dims, generator=torch.Generator().manual_seed(0)).double()
    found = blurred_copy(maps, 1.5)[0, 0].numpy()
    wanted = gaussian_filter(maps[0, 0].numpy(), 1.5, mode="nearest", radius=4)
    assert np.allclose(found, wanted, atol=1e-12)
