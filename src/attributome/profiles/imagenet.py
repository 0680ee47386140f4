"""Features of a network that never saw a cell: VGG16 (Simonyan and Zisserman 2015), ImageNet.

The baseline of Lu et al. (2019): the protein channel alone, as a grey photograph. The network is
built here, and its weights come from a file with the names that torchvision gives them.
"""

import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float32, Integer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.probe import at_once, in_chunks, still
from attributome.core.types import Progress, silent
from attributome.core.weights import fill
from attributome.inpainting.cells import Cells
from attributome.profiles.features import described, named

WIDTHS = (64, 128, 256, 512)
DEPTHS = (2, 2, 3, 3)
LAYERS = tuple(
    f"block{i}_conv{j}" for i, depth in enumerate(DEPTHS, 1) for j in range(1, depth + 1)
)
"""The ten layers that were published; each is a convolution with its ReLU."""

PREPROCESSING: Mapping[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "torchvision": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "caffe": (1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
        "caffe_rgb": (1.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
    }
)
"""Scale, means and deviations of the three planes that the weights were trained with.

`torchvision` for the weights that torchvision trained; `caffe`, whose planes are blue, green and
red, for those of Keras (and so the published baseline); `caffe_rgb` for the same weights with the
planes of their first layer turned round, as torchvision offers them.
"""


class Vgg16(nn.Module):
    """The convolutions up to `block4_conv3`, under torchvision's names (`features.0`, …)."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        self.places: dict[str, int] = {}
        """The number of the ReLU behind each of `LAYERS`."""
        before = 3
        for block, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), 1):
            if block > 1:
                parts.append(nn.MaxPool2d(2))
            for number in range(1, depth + 1):
                parts += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                self.places[f"block{block}_conv{number}"] = len(parts) - 1
                before = width
        self.features = nn.Sequential(*parts)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b f i j"]:
        out: Tensor = self.features(x)
        return out

    def highest(
        self, x: Float[Tensor, "b 3 h w"], layers: Sequence[str]
    ) -> list[Float[Tensor, "b _"]]:
        """The largest value over space of each channel of some layers, in the order asked for."""
        found: dict[str, Tensor] = {}
        names = {place: name for name, place in self.places.items()}
        last = max(self.places[layer] for layer in layers)
        for place in range(last + 1):
            x = self.features[place](x)
            if names.get(place) in layers:
                found[names[place]] = x.amax((2, 3))
        return [found[layer] for layer in layers]


def imagenet_features(
    cells: Cells,
    weights: Path,
    *,
    layers: Sequence[str] = LAYERS,
    preprocessing: str = "torchvision",
    channel: str | None = None,
    rows: Integer[np.ndarray, " r"] | None = None,
    batch: int = 64,
    compute: Compute | None = None,
    progress: Progress = silent,
) -> Iterator[pd.DataFrame]:
    """Features of one channel, the only target or `channel`, in blocks as of `features.extract`.

    Columns are `vgg16_<layer>_max_<channel>`, such as `vgg16_block1_conv1_max_000`: the largest
    value after a layer's ReLU. A crop keeps its size; its values, which go from 0 to 1 as they are
    stored (no scaling by cell), become rint(255 a) on three alike planes, and then what
    `preprocessing` says, one of `PREPROCESSING`.

    `weights` is a safetensors file, or one of `torch.save` that holds tensors only, with the whole
    network or its convolutions. Values outside 0 to 1 are refused.
    """
    chosen = [*layers]
    unknown = [layer for layer in chosen if layer not in LAYERS]
    if unknown or not chosen or len(set(chosen)) < len(chosen):
        raise UsageError(f"layers {chosen}; give some of {', '.join(LAYERS)}, each once")
    if preprocessing not in PREPROCESSING:
        raise UsageError(
            f"preprocessing {preprocessing!r}; there are {', '.join(PREPROCESSING)}, after the "
            f"weights"
        )
    if channel is None and len(cells.targets) != 1:
        raise UsageError(
            f"these cells have the targets {', '.join(cells.targets)}; say which channel to take"
        )
    plane = cells.targets[0] if channel is None else channel
    if plane not in cells.channels:
        raise UsageError(f"no channel {plane!r}; there are {', '.join(cells.channels)}")
    taken = np.arange(len(cells)) if rows is None else rows
    if not len(taken) or taken.min() < 0 or taken.max() >= len(cells) or batch < 1:
        raise UsageError(
            f"{len(taken)} rows in batches of {batch}; give at least one, each from 0 to "
            f"{len(cells) - 1}, and a batch of at least 1"
        )
    if min(cells.size) < 2 ** (len(DEPTHS) - 1):
        raise UsageError(
            f"crops of {cells.size} pixels are too small for three poolings; 8 is least"
        )
    net = load_vgg16(weights)
    return _features(
        net, cells, taken, chosen, preprocessing, plane, batch, compute or Compute(), progress
    )


def load_vgg16(path: Path) -> Vgg16:
    """The network with the weights of a file, in evaluation mode; later layers are not needed."""
    state = _state(Path(path))
    net = Vgg16()
    needed = net.state_dict()
    beyond = ("classifier.", *(f"features.{i}." for i in (24, 26, 28)))
    used = {
        name: value
        for name, value in state.items()
        if name in needed or not name.startswith(beyond)
    }
    fill(net, used, f"{path} does not hold the weights of VGG16 as torchvision names them")
    return net.eval()


def _features(
    net: Vgg16,
    cells: Cells,
    rows: Integer[np.ndarray, " r"],
    layers: Sequence[str],
    preprocessing: str,
    channel: str,
    batch: int,
    compute: Compute,
    progress: Progress,
) -> Iterator[pd.DataFrame]:
    widths = [WIDTHS[int(layer[5]) - 1] for layer in layers]
    names = [
        name
        for layer, width in zip(layers, widths, strict=True)
        for name in named(f"vgg16_{layer}_max", width)
    ]
    compute.place(net, 2)
    done = 0
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        crops = cells.planes(some, [channel])
        wrong = ~((crops >= 0) & (crops <= 1)).all((1, 2, 3))
        if wrong.any():
            cell = cells.table["id"].iloc[some[int(wrong.argmax())]]
            raise DataError(
                f"the channel {channel!r} of cell {cell!r} has values that are not from 0 to 1; "
                f"grey values of a photograph need such a scale, as crops that are prepared have"
            )
        images = compute.move(torch.from_numpy(_grey(crops, preprocessing)))
        # closed before the block is handed on: whoever reads it may never come back
        with still(net), torch.no_grad(), compute.autocast():
            values = _highest(net, images, layers).cpu().numpy()
        done += len(some)
        progress(done / len(rows), f"{done} of {len(rows)} cells")
        table = described(cells, some)
        yield pd.concat([table, pd.DataFrame(values, columns=names)], axis=1)


def _highest(
    net: Vgg16, images: Float[Tensor, "b 3 h w"], layers: Sequence[str]
) -> Float[Tensor, "b f"]:
    """Of as many cells at once as are worth it; a part that does not fit is halved."""

    def part(some: slice) -> Tensor:
        return torch.cat(net.highest(images[some], layers), 1).float()

    return torch.cat(in_chunks(part, len(images), at_once(images[:1], len(images))))


def _grey(
    crops: Float32[np.ndarray, "b 1 h w"], preprocessing: str
) -> Float32[np.ndarray, "b 3 h w"]:
    """Three alike planes of whole numbers from 0 to 255, as the weights expect them."""
    scale, means, deviations = PREPROCESSING[preprocessing]
    each = (np.array(part, np.float32)[:, None, None] for part in (means, deviations))
    mean, deviation = each
    grey: np.ndarray = (np.rint(255 * crops) * np.float32(scale) - mean) / deviation
    return grey


def _state(path: Path) -> Mapping[str, Tensor]:
    try:
        found: Any = load_file(path) if path.suffix == ".safetensors" else _pickle(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read the weights {path}: {error}") from error
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise DataError(f"{path} holds no weights by name (a state_dict)")
    return found


def _pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # it warns of what it then refuses; the refusal is enough
            warnings.filterwarnings("ignore", message=r".*TorchScript archive")
            warnings.filterwarnings("ignore", message=r"Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} is no file of tensors alone, and a pickle of more can run code: save its "
            f"weights as safetensors"
        ) from error
    except OSError:
        raise
    except Exception as error:  # a damaged file makes the reader stumble in any way there is
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"cannot read the weights {path}: {reason}") from error
