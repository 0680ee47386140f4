"""The network of paired cell inpainting (Lu et al. 2019): a cell and a marker in, protein out.

Layers carry the published names, and a layer is a convolution with its ReLU: what `conv3_1` gives
is the published feature map, which its norm (`conv3_1_norm`) follows.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.errors import UsageError

WIDTHS = (96, 256, 384, 384, 256)
MARKER_WIDTH = 16
EPS = 1e-3
"""Of every norm, as in Keras; torch's own 1e-5 gives other features without an error."""

Norm = Literal["batch", "group"]
NORMS = ("batch", "group")


class Inpainter(nn.Module):
    """Predict the target channels of a cell from its markers and from a whole other cell.

    `source` holds the `targets` protein channels and then the `markers` structural channels of one
    cell, `marker` the structural channels of another; the output is the other cell's protein.
    Height and width are any multiples of 4. The defaults are the published network; `widths` are
    those of the five source layers, which the decoder mirrors, and `marker_width` is that of the
    first of `marker_depth` marker layers (the rest have twice as many). `residual` makes each
    source layer two convolutions with a shortcut; `norm="group"` normalises each cell by itself, in
    training too. With `summary` the decoder is told the mean of the source's last layer over the
    cell, at every place: no place of one cell is a place of the other. Weights start as in Keras
    (Glorot uniform, no bias), drawn by `seed` alone.
    """

    def __init__(
        self,
        targets: int = 1,
        markers: int = 1,
        *,
        widths: Sequence[int] = WIDTHS,
        marker_width: int = MARKER_WIDTH,
        marker_depth: int = 3,
        norm: Norm = "batch",
        residual: bool = False,
        summary: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(targets, markers, widths, marker_width, marker_depth, norm)
        self.targets, self.markers = targets, markers
        self.kwargs: dict[str, Any] = {
            "targets": targets,
            "markers": markers,
            "widths": list(widths),
            "marker_width": marker_width,
            "marker_depth": marker_depth,
            "norm": norm,
            "residual": residual,
            "summary": summary,
        }
        """Plain values that build it again."""
        self.summary = summary
        self.layers = tuple(f"conv{i}_1" for i in range(1, 6))
        """Names of the source layers, which `encode` gives."""
        self.marker_layers = tuple(f"rfpconv{i}_1" for i in range(1, marker_depth + 1))
        self.decoder_layers = tuple(f"conv{i}_1" for i in range(6, 11))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._build(list(widths), marker_width, norm, Residual if residual else convolution)

    def _build(self, widths: list[int], thin: int, norm: Norm, layer: Any) -> None:
        before = self.targets + self.markers
        for at, (name, after) in enumerate(zip(self.layers, widths, strict=True)):
            self._normed(name, layer(before, after), after, norm, 2 if at < 2 else 1)
            before = after
        before = self.markers
        for at, name in enumerate(self.marker_layers):
            after = thin if at == 0 else 2 * thin
            # both branches meet at a quarter of the size, however few marker layers there are
            pool = 4 if len(self.marker_layers) == 1 else 2 if at < 2 else 1
            self._normed(name, convolution(before, after), after, norm, pool)
            before = after
        before += widths[-1]
        for name, after in zip(self.decoder_layers, reversed(widths), strict=True):
            self.add_module(name, convolution(before, after))
            before = after
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.y_gfp = nn.Conv2d(before, self.targets, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _normed(self, name: str, layer: nn.Module, width: int, norm: Norm, pool: int) -> None:
        self.add_module(name, layer)
        self.add_module(f"{name}_norm", _norm(norm, width))
        self.add_module(f"{name}_pool", nn.MaxPool2d(pool) if pool > 1 else nn.Identity())

    def forward(
        self, source: Float[Tensor, "b s h w"], marker: Float[Tensor, "b m h w"]
    ) -> Float[Tensor, "b t h w"]:
        """Target channels of the cells that `marker` shows."""
        if marker.shape[1] != self.markers or marker.shape[2:] != source.shape[2:]:
            raise UsageError(
                f"the marker has shape {tuple(marker.shape)}; beside a source of "
                f"{tuple(source.shape)} it must be (b, {self.markers}, {source.shape[2]}, "
                f"{source.shape[3]})"
            )
        x = self._after(self.layers[-1], self.encode(source)[self.layers[-1]])
        if self.summary:
            x = x.mean((2, 3), keepdim=True).expand_as(x)
        y = marker
        for name in self.marker_layers:
            y = self._after(name, self.get_submodule(name)(y))
        x = torch.cat([x, y], 1)
        for name in self.decoder_layers:
            x = self.get_submodule(name)(x)
            if name in ("conv8_1", "conv9_1"):
                x = self.upsample(x)
        out: Tensor = self.y_gfp(x)
        return out

    def encode(self, source: Float[Tensor, "b s h w"]) -> dict[str, Float[Tensor, "b _ _ _"]]:
        """What each source layer gives after its ReLU and before its norm, in one pass.

        Sizes are h, h/2 and then h/4. Only the source matters: no other cell is needed.
        """
        wanted = self.targets + self.markers
        if source.shape[1] != wanted or source.shape[2] % 4 or source.shape[3] % 4:
            raise UsageError(
                f"the source has shape {tuple(source.shape)}; this network reads {wanted} channels "
                f"({self.targets} to predict, then {self.markers} markers) of sizes divisible by 4"
            )
        found: dict[str, Tensor] = {}
        x = source
        for name in self.layers:
            found[name] = self.get_submodule(name)(x)
            if name != self.layers[-1]:
                x = self._after(name, found[name])
        return found

    def _after(self, name: str, x: Tensor) -> Tensor:
        """The norm and the pooling behind a layer."""
        normed = self.get_submodule(f"{name}_norm")(x)
        pooled: Tensor = self.get_submodule(f"{name}_pool")(normed)
        return pooled


class Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016), and the ReLU of their sum."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = convolution(before, after)
        self.second = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.second(self.first(x)) + self.shortcut(x))
        return out


def convolution(before: int, after: int) -> nn.Sequential:
    """A 3 x 3 convolution that keeps the size, and its ReLU."""
    parts: list[tuple[str, nn.Module]] = [
        ("conv", nn.Conv2d(before, after, 3, padding=1)),
        ("relu", nn.ReLU(inplace=True)),
    ]
    return nn.Sequential(OrderedDict(parts))


def _norm(kind: Norm, width: int) -> nn.Module:
    if kind == "batch":  # a Keras momentum of 0.99 is 0.01 in torch's words
        return nn.BatchNorm2d(width, eps=EPS, momentum=0.01)
    return nn.GroupNorm(math.gcd(width, 8), width, eps=EPS)


def _check(
    targets: int, markers: int, widths: Sequence[int], thin: int, depth: int, norm: str
) -> None:
    if targets < 1 or markers < 1:
        raise UsageError(
            f"an inpainter of {targets} target and {markers} marker channels; it needs at least "
            f"one of each"
        )
    if len(widths) != 5 or min(*widths, thin) < 1:
        raise UsageError(
            f"widths {list(widths)} and marker_width {thin}: give five widths (the published are "
            f"{list(WIDTHS)} and {MARKER_WIDTH}), each at least 1"
        )
    if depth < 1:
        raise UsageError(f"marker_depth {depth}: give at least one marker layer")
    if norm not in NORMS:
        raise UsageError(f"norm {norm!r}; there are {' and '.join(NORMS)}")
