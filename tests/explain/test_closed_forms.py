"""Cases whose answer can be written down."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from attributome.core.targets import Logit, Output
from attributome.explain import controls, gradients, perturbation


def test_linear_model_is_its_weights(images):
    weight = torch.randn(images[0].shape, generator=torch.Generator().manual_seed(1))

    def linear(x):
        return (x * weight).flatten(1).sum(1, keepdim=True)

    assert torch.allclose(gradients.saliency(linear, images, Output()), weight.expand_as(images))
    exact = images * weight
    for attribute in (gradients.input_x_gradient, gradients.integrated_gradients):
        assert torch.allclose(attribute(linear, images, Output()), exact, atol=1e-5)


def test_integrated_gradients_is_complete(classifier, images):
    target, double = Logit(2), classifier.double()
    x = images.double()
    ig = gradients.integrated_gradients(double, x, target, steps=64)
    double.eval()
    gap = target(double(x)) - target(double(torch.zeros_like(x)))
    assert torch.allclose(ig.flatten(1).sum(1), gap, atol=2e-3)


def test_occlusion_of_a_sum_is_the_window_sum(images):
    maps = perturbation.occlusion(
        lambda x: x.flatten(1).sum(1, keepdim=True), images, Output(), window=4
    )
    corner = (slice(None), slice(None), *[slice(0, 4)] * (images.ndim - 2))
    sums = images[corner].flatten(1).sum(1)
    assert torch.allclose(maps[corner].flatten(1)[:, 0], sums, atol=1e-4)


def test_intensity_edges_and_variance_are_what_they_say():
    x = torch.rand(1, 1, 24, 20, generator=torch.Generator().manual_seed(0)).double()
    pixels = x[0, 0].numpy()
    wanted = np.abs(pixels - pixels.mean())
    assert np.allclose(controls.intensity(torch.relu, x, Output())[0, 0].numpy(), wanted)
    padded = np.pad(pixels, 1, mode="edge")
    up, across = padded[2:, 1:-1] - padded[:-2, 1:-1], padded[1:-1, 2:] - padded[1:-1, :-2]
    assert np.allclose(
        controls.edges(torch.relu, x, Output())[0, 0].numpy(), np.hypot(up, across) / 2
    )

    def smooth(image):
        return gaussian_filter(image, 2, mode="nearest", truncate=3)

    wanted = np.sqrt(np.maximum(smooth(pixels**2) - smooth(pixels) ** 2, 0))
    assert np.allclose(
        controls.local_variance(torch.relu, x, Output())[0, 0].numpy(), wanted, atol=1e-6
    )
