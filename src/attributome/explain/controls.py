"""Maps that know nothing of what the model uses. One that does not beat them says nothing.

They have the signature of every explainer, so that they pass through the same metrics.
"""

import torch

from attributome.core.arrays import resize, space
from attributome.core.draws import Seeds, each, normal
from attributome.core.errors import UsageError
from attributome.core.fills import blur
from attributome.core.probe import predict
from attributome.core.types import Images, Maps, Predictor, Target


def random(model: Predictor, x: Images, target: Target, *, seed: Seeds = 0) -> Maps:
    """Independent noise: its largest pixels are random pixels."""
    return each(x[:, :1], seed, normal)


def blurred_noise(
    model: Predictor, x: Images, target: Target, *, sigma: float = 4.0, seed: Seeds = 0
) -> Maps:
    """Noise smoothed over `sigma` pixels: random blobs, about the size of organelles."""
    return each(x[:, :1], seed, lambda one, g: blur(normal(one, g), g, sigma / 4))


def intensity(model: Predictor, x: Images, target: Target) -> Maps:
    """Contrast: how far a pixel is from its channel's mean, averaged over channels."""
    return (x - x.mean(space(x), keepdim=True)).abs().mean(1, keepdim=True)


def edges(model: Predictor, x: Images, target: Target) -> Maps:
    """Length of the image gradient (central differences), averaged over channels."""
    squares = torch.zeros_like(x)
    for axis in space(x):
        size = x.shape[axis]
        at = torch.arange(size, device=x.device)
        ahead = x.index_select(axis, (at + 1).clamp_max(size - 1))
        squares += (ahead - x.index_select(axis, (at - 1).clamp_min(0))).square() / 4
    return squares.sqrt().mean(1, keepdim=True)


def local_variance(model: Predictor, x: Images, target: Target, *, sigma: float = 2.0) -> Maps:
    """Standard deviation in a Gaussian window of `sigma` pixels, averaged over channels."""
    unused = torch.Generator()
    around = blur(x, unused, sigma / 4)
    power = blur(x.square(), unused, sigma / 4) - around.square()
    return power.clamp_min(0).sqrt().mean(1, keepdim=True)


def centre(model: Predictor, x: Images, target: Target) -> Maps:
    """Falls from 1 in the middle of the field towards 0 in its corners, alike along all axes."""
    square = torch.zeros_like(x[:1, :1])
    for axis in space(x):
        size = x.shape[axis]
        place = (2 * torch.arange(size, dtype=x.dtype, device=x.device) + 1 - size) / size
        shape = [-1 if a == axis else 1 for a in range(x.ndim)]
        square = square + place.square().view(shape) / len(space(x))
    return (1 - square.sqrt()).expand(len(x), *square.shape[1:]).clone()


def prediction(model: Predictor, x: Images, target: Target) -> Maps:
    """Size of the predicted image, averaged over its channels: where the output is, not why."""
    out = predict(model, x)
    if out.ndim != x.ndim:
        raise UsageError(
            f"the control map `prediction` needs a model that puts out images, with {x.ndim} "
            f"dimensions; this one gave shape {tuple(out.shape)}"
        )
    return resize(out.abs().mean(1, keepdim=True), x).to(x)


def blurred_copy(maps: Maps, sigma: float) -> Maps:
    """A map smoothed over `sigma` pixels: it knows less, so it must not score better.

    Where it does, the metric rewards blur (arXiv:2304.13836 on ROAR and ROAD).
    """
    return blur(maps, torch.Generator(), sigma / 4)
