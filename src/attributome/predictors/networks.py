"""Networks worth training here, each built from keywords that JSON can hold."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.seeds import seed_of

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions of the five blocks of a VGG, by its depth (Simonyan and Zisserman 2015)."""


def unet(
    channels_in: int,
    channels_out: int,
    dims: int,
    *,
    features: Sequence[int] = (16, 16, 32, 64, 128, 16),
) -> nn.Module:
    """A U-Net of five levels, `(b, channels_in, *s)` to `(b, channels_out, *s)`, not squashed.

    Takes every size from 16 on; `features` are the widths of the five levels and of the last one.
    """
    if len(features) != 6:
        raise UsageError(
            f"a U-Net has 6 features (five levels and the last one), not {len(features)}"
        )
    _check_dims(dims)
    from monai.networks.nets import BasicUNet  # takes seconds, which --help need not wait for

    net: nn.Module = BasicUNet(
        spatial_dims=dims,
        in_channels=channels_in,
        out_channels=channels_out,
        features=tuple(features),
        act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
        norm="batch",
        bias=False,  # the batch norm behind each convolution has one
        # interpolation was a quarter faster, but MONAI's aligns corners: what a pixel becomes would
        # depend on the size of the field, and a tile would disagree with the whole
        upsample="deconv",
    )
    return net


def small_cnn(channels_in: int, outputs: int, dims: int, *, width: int = 16) -> nn.Module:
    """A CNN of four blocks for one number (`outputs` 1) or the scores of classes, of any size."""
    _check_dims(dims)
    conv, norm, pool = CONV[dims], NORM[dims], MAX_POOL[dims]
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    before = channels_in
    for level, after in enumerate((width, 2 * width, 4 * width, 4 * width), start=1):
        if level > 1:
            parts[f"pool{level}"] = pool(2, ceil_mode=True)  # so that one pixel is still an image
        parts[f"conv{level}"] = conv(before, after, 3, padding=1, bias=False)
        parts[f"norm{level}"] = norm(after)
        parts[f"relu{level}"] = nn.ReLU(inplace=True)
        before = after
    parts["global"] = MeanAndMax()
    parts["head"] = nn.Linear(2 * before, outputs)
    return nn.Sequential(parts)


def vgg_like(
    channels_in: int,
    outputs: int,
    dims: int = 2,
    *,
    width: int = 64,
    depth: int = 19,
    dropout: float = 0.5,
) -> nn.Module:
    """The VGG without its top that Mask Interpreter put on CIFAR-10: scores of `outputs` classes.

    Five blocks of 3x3 convolutions, `width` to 8 `width` features, each halved behind; global
    average, a dense layer of 4 `width` (256), dropout, the scores. The original began from weights
    trained on ImageNet, which are not here: this one has a batch norm behind each convolution, so
    that 16 of them learn from nothing. `depth` is 11, 13, 16 or 19; a side of 32 pixels is 1 at the
    end, and smaller ones are taken, too.
    """
    _check_dims(dims)
    if depth not in VGG or min(channels_in, outputs, width) < 1 or not 0 <= dropout < 1:
        raise UsageError(
            f"no VGG has depth {depth}, width {width}, dropout {dropout}, {channels_in} channels "
            f"and {outputs} outputs: depths are {', '.join(map(str, VGG))}, such as width 64"
        )
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    before = channels_in
    for block, (many, times) in enumerate(zip(VGG[depth], (1, 2, 4, 8, 8), strict=True), start=1):
        for each in range(1, many + 1):
            name = f"{block}_{each}"
            parts[f"conv{name}"] = CONV[dims](before, times * width, 3, padding=1, bias=False)
            parts[f"norm{name}"] = NORM[dims](times * width)
            parts[f"relu{name}"] = nn.ReLU(inplace=True)
            before = times * width
        parts[f"pool{block}"] = MAX_POOL[dims](2, ceil_mode=True)
    parts["global"] = Mean()
    parts["dense"] = nn.Linear(before, 4 * width)
    parts["relu"] = nn.ReLU(inplace=True)
    parts["dropout"] = CountedDropout(dropout)
    parts["head"] = nn.Linear(4 * width, outputs)
    return nn.Sequential(parts)


def resnet_regressor(channels_in: int, outputs: int, dims: int, *, width: int = 64) -> nn.Module:
    """The ResNet that Mask Interpreter trained on the cell cycle: numbers from 0 to 1.

    A 7x7 convolution that halves, a pool that halves, the eight blocks of a ResNet-18 (He et al.
    2016) with `width` to 8 `width` features, global average, a dense layer, four of dense, layer
    norm and GELU, and a sigmoid. Where a block halves, the way around averages before its 1x1
    convolution instead of giving that a stride (see `Block`): as many weights, another function.
    """
    _check_dims(dims)
    if min(channels_in, outputs, width) < 1:
        raise UsageError(
            f"{channels_in} channels, {outputs} outputs and width {width} make no network"
        )
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["embed"] = CONV[dims](channels_in, width, 7, stride=2, padding=3, bias=False)
    parts["norm"] = NORM[dims](width)
    parts["relu"] = nn.ReLU(inplace=True)
    parts["pool"] = MAX_POOL[dims](3, stride=2, padding=1)
    before = width
    for level, times in enumerate((1, 2, 4, 8), start=1):
        after = times * width
        parts[f"block{level}_1"] = Block(before, after, dims, stride=1 if level == 1 else 2)
        parts[f"block{level}_2"] = Block(after, after, dims)
        before = after
    parts["global"] = Mean()
    parts["dense"] = nn.Linear(before, before)
    for layer in range(1, 5):
        parts[f"dense{layer}"] = nn.Linear(before, before)
        parts[f"layer_norm{layer}"] = nn.LayerNorm(before)
        parts[f"gelu{layer}"] = nn.GELU()
    parts["head"] = nn.Linear(before, outputs)
    parts["sigmoid"] = nn.Sigmoid()
    return nn.Sequential(parts)


class Block(nn.Module):
    """Two convolutions and a way around them, which is the image itself where the shapes agree.

    Where the block halves, the way around is an average and a 1x1 convolution (He et al. 2019).
    A 1x1 convolution with a stride was seen to corrupt the memory of a CPU in its backward pass,
    with few channels, channels last (PyTorch 2.13), and it throws three of four pixels away.
    """

    def __init__(self, before: int, after: int, dims: int, *, stride: int = 1) -> None:
        super().__init__()
        self.halves = stride > 1
        self.conv1 = CONV[dims](before, after, 3, stride=stride, padding=1, bias=False)
        self.norm1 = NORM[dims](after)
        self.conv2 = CONV[dims](after, after, 3, padding=1, bias=False)
        self.norm2 = NORM[dims](after)
        same = before == after and not self.halves
        project = nn.Sequential(CONV[dims](before, after, 1, bias=False), NORM[dims](after))
        self.around = nn.Identity() if same else project

    def forward(self, x: Tensor) -> Tensor:
        deep = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.halves:  # adaptive: AvgPool3d refuses an axis of one voxel
            pool = F.adaptive_avg_pool2d if x.ndim == 4 else F.adaptive_avg_pool3d
            x = pool(x, deep.shape[2:])
        return F.relu(deep + self.around(x))


class CountedDropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose draws are named by how often it was trained.

    The count is kept with the weights, so a training that was killed and goes on draws as one that
    was not, and nobody else's random numbers are touched.
    """

    count: Tensor

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        draws = torch.Generator().manual_seed(seed_of(0, "dropout", int(self.count)))
        self.count += 1
        kept = torch.rand(x.shape, generator=draws).to(x) >= self.share
        return x * kept / (1 - self.share)


class Mean(nn.Module):
    """Global average, `(b, f, *t)` to `(b, f)`."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


class MeanAndMax(nn.Module):
    """Global pooling, `(b, f, *t)` to `(b, 2f)`: how much there is of a feature, and its peak."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        return torch.cat([flat.mean(2), flat.amax(2)], dim=1)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "unet": unet,
    "cnn": small_cnn,
    "vgg": vgg_like,
    "resnet": resnet_regressor,
}


def _check_dims(dims: int) -> None:
    if dims not in (2, 3):
        raise UsageError(f"dims {dims}: networks here are 2-D or 3-D")
