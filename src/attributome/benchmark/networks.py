"""Networks with hand-set weights, of which the exact answer is known, in 2-D and 3-D."""

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from attributome.benchmark.scenes import HALO, Task
from attributome.core.probe import predict
from attributome.core.types import Images, Predictor

CONVS: dict[int, Callable[..., nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
POOLS: dict[int, Callable[[int], nn.Module]] = {
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}
LEVEL = 0.3
"""What one marker must be brighter than the other, in granules, to count; noise is about 0.1."""

Support = Bool[Tensor, "b 1 *s"]


def linear_network(kernel: Float[Tensor, "*k"]) -> nn.Module:
    """A convolution of one channel: y = K x, zero padding, no bias, a kernel of odd sides."""
    dims = kernel.ndim
    conv = CONVS[dims](
        1, 1, tuple(kernel.shape), padding=tuple(k // 2 for k in kernel.shape), bias=False
    ).to(kernel.dtype)
    with torch.no_grad():
        conv.weight.copy_(kernel[None, None])
    return nn.Sequential(OrderedDict(filter=conv)).eval()


def linear_support(kernel: Float[Tensor, "*k"], region: Support) -> Support:
    """The pixels that a score on `region` of `linear_network` depends on, and no others.

    The region dilated by where the kernel is not zero. Outside it the effect is exactly zero.
    """
    used = (kernel != 0).to(torch.float64)[None, None]
    spread = F.conv_transpose2d if kernel.ndim == 2 else F.conv_transpose3d
    pads = [k // 2 for k in kernel.shape]
    return spread(region.to(torch.float64), used, padding=pads) > 0


def planted_network(task: Task, dims: int) -> nn.Module:
    """A network that reads the granules of a planted field and nothing else.

    `unmix` smooths over 3 pixels and subtracts one marker from the other, which takes out cells and
    autofluorescence; what is left above a threshold counts (`relu`). `image`: a ring is drawn
    around marker A's granules, so that the stain lies where the evidence is not. `regression`:
    their light. `classification`: the light of either marker is the score of its class.
    """
    unmix = CONVS[dims](3, 2, 3, padding=1)
    smooth = _smooth(dims)
    weight = torch.zeros_like(unmix.weight)
    weight[0, 0], weight[0, 1] = smooth, -smooth
    weight[1, 0], weight[1, 1] = -smooth, smooth
    with torch.no_grad():
        unmix.weight.copy_(weight)
        _set(unmix.bias, torch.tensor([-LEVEL, -LEVEL]))
    layers: OrderedDict[str, nn.Module] = OrderedDict(unmix=unmix, relu=nn.ReLU())
    if task == "image":
        layers["stain"] = _ring(dims)
    else:
        head = nn.Linear(2, 2 if task == "classification" else 1)
        light = {2: 180.0, 3: 700.0}[dims]  # a granule's mean light in a field is about 1 / light
        weights = torch.eye(2) if task == "classification" else torch.tensor([[1.0, 0.0]])
        with torch.no_grad():
            head.weight.copy_(light * weights)
            _set(head.bias, torch.zeros(len(weights)))
        layers |= OrderedDict(pool=POOLS[dims](1), flat=nn.Flatten(), head=head)
    return nn.Sequential(layers).eval()


def planted_support(model: nn.Module, x: Images, channel: int) -> Support:
    """Where `planted_network` reads its answer: what is above the threshold, dilated by 3 pixels.

    `channel` is 0 for marker A and 1 for marker B. The gradient elsewhere is exactly zero.
    """
    parts = dict(model.named_children())
    with torch.no_grad():
        counts = predict(parts["unmix"], x)[:, channel : channel + 1] > 0
    pool = F.max_pool2d if x.ndim == 4 else F.max_pool3d
    return pool(counts.to(x), 3, stride=1, padding=1) > 0


def effect(model: Predictor, x: Images, changed: Images) -> Float[Tensor, " b"]:
    """Root of the mean squared change of the output per sample."""
    gap = predict(model, changed) - predict(model, x)
    return gap.flatten(1).square().mean(1).sqrt()


def _smooth(dims: int) -> Tensor:
    line = torch.tensor([0.25, 0.5, 0.25])
    return line[:, None] * line if dims == 2 else line[:, None, None] * line[:, None] * line


def _ring(dims: int) -> nn.Module:
    radius = int(HALO[1]) + 1
    at = torch.arange(-radius, radius + 1.0)
    away = torch.hypot(at[:, None], at)
    ring = ((away >= HALO[0]) & (away <= HALO[1])).float()
    ring = ring / 12  # the light of a granule's middle
    kernel = ring if dims == 2 else ring[None]
    conv = CONVS[dims](
        2, 1, tuple(kernel.shape), padding=tuple(k // 2 for k in kernel.shape), bias=False
    )
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0] = kernel
    return conv


def _set(bias: Tensor | None, values: Tensor) -> None:
    assert bias is not None  # the layers here are made with one
    bias.copy_(values)
