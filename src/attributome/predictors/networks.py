"""Networks worth training here, each built from keywords that JSON can hold."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from attributome.core.errors import UsageError


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
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
    pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[dims]
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


class MeanAndMax(nn.Module):
    """Global pooling, `(b, f, *t)` to `(b, 2f)`: how much there is of a feature, and its peak."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        return torch.cat([flat.mean(2), flat.amax(2)], dim=1)


NETWORKS: dict[str, Callable[..., nn.Module]] = {"unet": unet, "cnn": small_cnn}


def _check_dims(dims: int) -> None:
    if dims not in (2, 3):
        raise UsageError(f"dims {dims}: networks here are 2-D or 3-D")
