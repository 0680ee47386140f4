"""Networks that tell the treatment of a cell from its crop, with maps fine enough to look at.

Every network is `scale` (per channel), `body` (the maps that a class activation map is made of),
`pool` (their mean: the features of a cell) and `head` (the classes).
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.probe import layer_output
from attributome.core.types import Images, Layer

Kind = Literal["efficientnet", "resnet", "small"]
Strides = tuple[tuple[int, ...], ...]
LEAST = 4
"""Cells that a grid needs along each axis to say where something is."""

STAGES = {"efficientnet": 5, "resnet": 5, "small": 2}
"""Places at which a network may halve its maps."""


class CellNetwork(nn.Module):
    """`(b, c, *s)` to logits `(b, classes)`; the logits are linear in the mean of `body`'s maps.

    `cam_layer` and `feature_layer` name what Grad-CAM and feature extraction ask for; `strides` are
    the total strides of `body` per axis and `grid` its size for crops of `size`.
    """

    cam_layer = "body"
    feature_layer = "pool"

    def __init__(
        self,
        body: nn.Module,
        channels: int,
        features: int,
        classes: int,
        *,
        size: tuple[int, ...],
        stages: Strides,
        dropout: float,
    ) -> None:
        super().__init__()
        self.size, self.stages = size, stages
        self.scale = Scale(channels, len(size))
        self.body = body
        self.pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[len(size)](1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    @property
    def strides(self) -> tuple[int, ...]:
        """How many voxels of the crop lie between two of the maps, per axis."""
        return tuple(
            math.prod(stage[axis] for stage in self.stages) for axis in range(len(self.size))
        )

    @property
    def grid(self) -> tuple[int, ...]:
        """The size of the maps for crops of `size`."""
        return _grid(self.size, self.stages)

    def maps(self, x: Images) -> Layer:
        """What the class activation map is made of."""
        found: Tensor = self.body(self.scale(x))
        return found

    def logits(self, maps: Layer) -> Float[Tensor, "b classes"]:
        """The classes from the maps."""
        found: Tensor = self.head(self.dropout(self.pool(maps).flatten(1)))
        return found

    def forward(self, x: Images) -> Float[Tensor, "b classes"]:
        """The classes from the crop."""
        return self.logits(self.maps(x))


class Scale(nn.Module):
    """Each channel minus a number and divided by one; both are kept with the weights."""

    mean: Tensor
    spread: Tensor

    def __init__(self, channels: int, dims: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, *[1] * dims))
        self.register_buffer("spread", torch.ones(channels, *[1] * dims))

    def set(self, mean: Float[Tensor, " c"], spread: Float[Tensor, " c"]) -> None:
        """Take the mean and standard deviation of each channel, of the training crops say."""
        if not bool((spread > 0).all()):
            raise UsageError(f"spreads {spread.tolist()}; each channel needs one above 0")
        self.mean.copy_(mean.view_as(self.mean))
        self.spread.copy_(spread.view_as(self.spread))

    def forward(self, x: Images) -> Images:
        """The channels in their standard units."""
        return (x - self.mean) / self.spread


def cell_network(
    channels: int,
    classes: int,
    *,
    size: Sequence[int],
    kind: Kind = "efficientnet",
    spacing: Sequence[float] | None = None,
    cam_cells: int = LEAST,
    version: str | None = None,
    width: int = 16,
    quiet: float = 0.0,
    dropout: float = 0.2,
    seed: int = 0,
) -> CellNetwork:
    """A network for crops of `size`, `(y, x)` or `(z, y, x)`, with weights drawn by `seed`.

    `spacing` is the size of a voxel per axis (any unit); an axis with coarse voxels is halved
    later, so that the maps' voxels come near to cubes. No axis falls below `cam_cells` cells.
    `version` is b0 to b7 of EfficientNet (Tan & Le 2019, MONAI's, built for these strides and
    sizes), or 10, 18, 34 or 50 of ResNet (He et al. 2016, MONAI's);
    `width` is that of `small`, four convolutions with batch norm, the last of one voxel.

    `quiet` is of `small` as well, and of where training starts: the last batch norm adds minus that
    many standard deviations. At 0 half of the maps are on wherever nothing is to be seen, and what
    training leaves there is a low level of the class activation map all over the crop; in 3-D,
    where a cell is a small share of its crop, such a level holds much of the map. At 1 the maps
    start near 0 where a crop is as it is in most places. Such a network is also slower to learn
    from what fills the background.

    Raises `UsageError` where `cam_cells` is below 4 or the crop is smaller.
    """
    space = tuple(int(s) for s in size)
    if kind not in STAGES:
        raise UsageError(f"kind {kind!r}; there are {', '.join(STAGES)}")
    if len(space) not in (2, 3) or min(channels, width) < 1 or classes < 2:
        raise UsageError(
            f"size {space}, {channels} channels, {classes} classes and width {width} make no "
            f"network: two or three axes, a channel and two classes are needed"
        )
    if quiet < 0 or (quiet and kind != "small"):
        raise UsageError(f"quiet {quiet} for {kind!r}: 0 or more, and above 0 for small alone")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout {dropout}: a share from 0 to below 1 is needed")
    stages = choose_strides(space, STAGES[kind], spacing=spacing, cam_cells=cam_cells)
    with torch.random.fork_rng(devices=[]):  # the layers draw from the global generator only
        torch.manual_seed(seed)
        if kind == "small":
            body, features = _small(channels, width, stages, quiet), 4 * width
        elif kind == "resnet":
            body, features = _resnet(channels, len(space), version or "18", stages)
        else:
            body, features = _efficientnet(channels, space, version or "b0", stages)
        return CellNetwork(
            body, channels, features, classes, size=space, stages=stages, dropout=dropout
        )


def choose_strides(
    size: Sequence[int],
    stages: int,
    *,
    spacing: Sequence[float] | None = None,
    cam_cells: int = LEAST,
) -> Strides:
    """A stride of 1 or 2 per axis for each stage.

    An axis is halved where its voxels are not coarser than √2 times the finest of those axes that
    can still be halved, and at least `cam_cells` cells are left.
    """
    space = tuple(size)
    voxel = [1.0] * len(space) if spacing is None else [float(s) for s in spacing]
    if len(voxel) != len(space) or min(voxel) <= 0:
        raise UsageError(f"spacing {voxel} for {len(space)} axes; give one number above 0 for each")
    if cam_cells < LEAST:
        raise UsageError(f"cam_cells {cam_cells}; a map needs at least {LEAST} cells per axis")
    if min(space) < cam_cells:
        raise UsageError(
            f"crops of {space} have fewer than {cam_cells} voxels along an axis: no class "
            f"activation map can have {cam_cells} cells there; cut larger crops"
        )
    found = []
    left = list(space)
    for _ in range(stages):
        can = [-(-n // 2) >= cam_cells for n in left]
        finest = min((v for v, may in zip(voxel, can, strict=True) if may), default=0.0)
        stride = tuple(
            2 if may and v <= math.sqrt(2) * finest else 1
            for v, may in zip(voxel, can, strict=True)
        )
        found.append(stride)
        left = [-(-n // s) for n, s in zip(left, stride, strict=True)]
        voxel = [v * s for v, s in zip(voxel, stride, strict=True)]
    return tuple(found)


def cam_grid(net: nn.Module, layer: str, size: Sequence[int], *, channels: int) -> tuple[int, ...]:
    """The grid that a layer of any network has for crops of `size`; refused below 4 per axis."""
    device = next((weight.device for weight in net.parameters()), torch.device("cpu"))
    maps = layer_output(net, layer, torch.zeros(1, channels, *size, device=device))
    grid = tuple(maps.shape[2:])
    if len(grid) != len(tuple(size)) or min(grid) < LEAST:
        raise UsageError(
            f"layer {layer!r} has a grid of {grid} for crops of {tuple(size)}; a class activation "
            f"map needs at least {LEAST} cells along each axis: choose an earlier layer"
        )
    return grid


def _grid(size: tuple[int, ...], stages: Strides) -> tuple[int, ...]:
    left = list(size)
    for stage in stages:
        left = [-(-n // s) for n, s in zip(left, stage, strict=True)]
    return tuple(left)


def _small(channels: int, width: int, stages: Strides, quiet: float) -> nn.Module:
    dims = len(stages[0])
    conv: Callable[..., nn.Module] = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
    ones = (1,) * dims
    widths = (channels, width, 2 * width, 4 * width, 4 * width)
    parts: list[nn.Module] = []
    for (before, after), stride in zip(pairwise(widths), (ones, *stages, None), strict=True):
        if stride is None:  # mixes what was seen and sees no further: maps stay where things are
            last = norm(after)
            if quiet:
                nn.init.constant_(last.bias, -quiet)
            parts += [conv(before, after, 1, bias=False), last, nn.ReLU()]
        else:
            parts += [conv(before, after, 3, stride=stride, padding=1, bias=False), norm(after)]
            parts += [nn.ReLU()]
    return nn.Sequential(*parts)


class SamePad(nn.Module):
    """Zeros around `(b, c, *s)` so that a convolution gives ceil(s / stride), whatever s is."""

    def __init__(self, kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for n, k, s in zip(x.shape[2:], self.kernel, self.stride, strict=True):
            more = max((-(-n // s) - 1) * s + k - n, 0)
            pads = [more // 2, more - more // 2, *pads]  # F.pad counts from the last axis
        return F.pad(x, pads) if any(pads) else x


def _efficientnet(
    channels: int, size: tuple[int, ...], version: str, stages: Strides
) -> tuple[nn.Module, int]:
    """MONAI's layers with strides per axis; its padding is frozen for one size and one stride."""
    if version not in {f"b{i}" for i in range(8)}:
        raise UsageError(f"EfficientNet {version!r}; there are b0 to b7")
    from monai.networks.nets.efficientnet import EfficientNetBN  # takes seconds to import

    net = EfficientNetBN(
        f"efficientnet-{version}", pretrained=False, spatial_dims=len(size), in_channels=channels
    )
    blocks = [block for stack in net._blocks for block in stack]
    halving = [net._conv_stem]
    halving += [b._depthwise_conv for b in blocks if max(b._depthwise_conv.stride) > 1]
    for conv, stride in zip(halving, stages, strict=True):
        conv.stride = stride
    for module in net.modules():
        for name, conv in list(module.named_children()):
            if isinstance(conv, (nn.Conv2d, nn.Conv3d)) and hasattr(module, f"{name}_padding"):
                pad = SamePad(tuple(conv.kernel_size), tuple(conv.stride))
                setattr(module, f"{name}_padding", pad)
        if hasattr(module, "_swish"):
            module._swish = nn.SiLU()  # the same numbers, not in place
    head = net._conv_head
    body = nn.Sequential(
        net._conv_stem_padding, net._conv_stem, net._bn0, nn.SiLU(), *blocks,
        head, net._bn1, nn.SiLU(),
    )  # fmt: skip
    return body, int(head.out_channels)


def _resnet(channels: int, dims: int, version: str, stages: Strides) -> tuple[nn.Module, int]:
    """MONAI's layers, whose paddings fit strides per axis as they are."""
    from monai.networks.nets.resnet import ResNet

    if version not in RESNETS:
        raise UsageError(f"ResNet {version!r}; there are {', '.join(RESNETS)}")
    block, layers = RESNETS[version]
    net = ResNet(
        block, list(layers), [64, 128, 256, 512], dims, channels, feed_forward=False,
        bias_downsample=False,
    )  # fmt: skip
    net.conv1.stride, net.maxpool.stride = stages[0], stages[1]
    for layer, stride in zip((net.layer2, net.layer3, net.layer4), stages[2:], strict=True):
        first = layer[0]
        (first.conv1 if block == "basic" else first.conv2).stride = stride
        first.downsample[0].stride = stride
    body = nn.Sequential(
        net.conv1, net.bn1, net.act, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4
    )
    return body, 512 if block == "basic" else 2048


RESNETS = {
    "10": ("basic", (1, 1, 1, 1)),
    "18": ("basic", (2, 2, 2, 2)),
    "34": ("basic", (3, 4, 6, 3)),
    "50": ("bottleneck", (3, 4, 6, 3)),
}
