"""The two-branch inception CNN of miFCGR, layer by layer and key by key, and its checkpoints.

One branch reads the site's image, one the miRNA's; each ends in 1024 features, which meet only in
the fully connected head. Whatever k is, the weights have the same names and shapes (3,586,274
parameters): only the pooling differs, so k cannot be read off a checkpoint.
"""

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from attributome.core.errors import DataError, UsageError
from attributome.core.probe import still
from attributome.core.weights import fill
from attributome.sequence.images import Encoding, Image
from attributome.sequence.networks.near import SPARSE, Places, around, inception_near

Logits = Float[Tensor, "b 2"]
Features = Float[Tensor, "b features"]

POOLED = {3: (1, 2, 1), 4: (2, 2, 1), 5: (2, 2, 2), 6: (2, 2, 4)}
"""By what each k shrinks its maps behind the inception block, conv2 and conv3: to 4 x 4 at last."""


class Inception(nn.Module):
    """Convolutions of several sizes side by side; their channels follow each other."""

    def __init__(self, channels: int, width: int, kernels: Sequence[int]) -> None:
        super().__init__()
        # upstream's dropout here is 0.1 whatever was asked for elsewhere
        self.branches = nn.ModuleList(_block(channels, width, size, 0.1) for size in kernels)

    def forward(self, x: Float[Tensor, "b c n n"]) -> Float[Tensor, "b d n n"]:
        """All branches of one image."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class Branch(nn.Module):
    """One image to 16 · widths[3] features."""

    def __init__(
        self, k: int, kernels: Sequence[int], widths: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.shape = (1, 1 << k, 1 << k)
        first, each, second, last = widths
        self.conv1 = _block(1, first, 3)
        self.inception_block = Inception(first, each, kernels)
        self.conv2 = _block(each * len(kernels), second, 3, dropout)
        self.conv3 = _block(second, last, 3, dropout)
        pools = [nn.MaxPool2d(size) if size > 1 else nn.Identity() for size in POOLED[k]]
        self.pool1, self.pool2, self.pool3 = pools
        self.drop = nn.Dropout2d(dropout if k == 6 else 0.0)

    def forward(self, x: Image, near: Places | None = None) -> Features:
        """Features of images of this word length; `near` is where they have words (see `near`)."""
        if x.shape[1:] != self.shape:
            raise UsageError(
                f"an image of shape {tuple(x.shape[1:])} came to a network that reads {self.shape}"
            )
        if near is None:
            x = self.inception_block(self.conv1(x))
        else:
            x = inception_near(self.conv1, self.inception_block.branches, x, near)
        x = self.pool1(x)
        x = self.pool3(self.conv3(self.pool2(self.conv2(x))))
        found: Tensor = self.drop(x).flatten(1)
        return found


class TwoBranch(nn.Module):
    """Logits of a pair, `net(site_images, mirna_images)`; class 1 is interaction.

    As upstream built it with the defaults; other kernels and widths (of conv1, of each inception
    branch, conv2 and conv3) change its shapes. The mean over a batch needs two rows in training.
    """

    def __init__(
        self,
        k: int,
        *,
        dropout: float = 0.1,
        site_kernels: Sequence[int] = (1, 5, 9),
        mirna_kernels: Sequence[int] = (1, 3, 5),
        widths: Sequence[int] = (32, 64, 128, 64),
        hidden: Sequence[int] = (1024, 512, 128, 64, 32),
    ) -> None:
        super().__init__()
        _check(k, dropout, (*site_kernels, *mirna_kernels), widths, hidden)
        self.encoding = Encoding(k=k)
        self.kwargs: dict[str, Any] = {
            "k": k,
            "dropout": dropout,
            "site_kernels": [*site_kernels],
            "mirna_kernels": [*mirna_kernels],
            "widths": [*widths],
            "hidden": [*hidden],
        }
        self.m_rna_model = Branch(k, site_kernels, widths, dropout)
        self.mi_rna_model = Branch(k, mirna_kernels, widths, dropout)
        layers: list[nn.Module] = []
        width = 2 * 16 * widths[-1]
        for size, share in zip(hidden, (1.0, 1.0, 1.0, 0.6, 0.3), strict=True):
            layers += [nn.Linear(width, size), nn.BatchNorm1d(size), nn.ReLU()]
            layers += [nn.Dropout(share * dropout)]
            width = size
        self.fc = nn.Sequential(*layers)
        self.output = nn.Linear(width, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, site: Image, mirna: Image) -> Logits:
        """Logits of a batch of pairs."""
        return self.head(self.site_features(site), self.mirna_features(mirna))

    def site_features(self, images: Image, near: Places | None = None) -> Features:
        """What the site's branch hands to the head."""
        made: Tensor = self.m_rna_model(images, near)
        return made

    def mirna_features(self, images: Image, near: Places | None = None) -> Features:
        """What the miRNA's branch hands to the head."""
        made: Tensor = self.mi_rna_model(images, near)
        return made

    def near(self, images: Image) -> Places | None:
        """Where the images have words; None where these are so many that all places are faster."""
        places = around(images)
        return places if len(places) <= SPARSE * images[0, 0].numel() else None

    def head(self, site: Features, mirna: Features) -> Logits:
        """Logits of the features of both branches."""
        logits: Tensor = self.output(self.fc(torch.cat([site, mirna], 1)))
        return logits


def features(net: TwoBranch, branch: str, images: Image) -> Features:
    """What one branch makes of its images, in evaluation; gradients reach the images."""
    parts = {"site": net.site_features, "mirna": net.mirna_features}
    if branch not in parts:
        raise UsageError(f"there is no branch {branch!r}; there are {', '.join(parts)}")
    with still(net):
        return parts[branch](images)


def head(net: TwoBranch, site_features: Features, mirna_features: Features) -> Logits:
    """Logits of features that `features` gave: with either kept, only the other is computed."""
    with still(net):
        return net.head(site_features, mirna_features)


def load_upstream(path: Path, *, k: int | None = None, dropout: float = 0.1) -> TwoBranch:
    """The network of an upstream checkpoint, in evaluation mode on the CPU.

    A pickle (a dict with `model_state_dict`, or a bare state dict) is read with torch's
    weights-only reader and with no other; safetensors are read too. `k` may be left out only where
    the file says it: in a checkpoint's `k` or `config`, or in the metadata of safetensors.
    """
    weights, said = _read(path)
    if k is not None and said is not None and k != said:
        raise UsageError(f"{path} was trained with k = {said}; k = {k} was asked for")
    if (k := said if k is None else k) is None:
        raise UsageError(f"{path} does not say its k, and weights are alike for every k: give k")
    net = TwoBranch(k, dropout=dropout)
    fill(net, weights, other_network(path, net))
    return net.eval()


def other_network(path: Path, net: nn.Module) -> str:
    """What is said of weights that are not those of a network."""
    return f"{path} is a checkpoint of another network than {type(net).__name__}"


def _block(channels: int, width: int, size: int, dropout: float | None = None) -> nn.Sequential:
    conv = nn.Conv2d(channels, width, size, padding=size // 2)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, *([] if dropout is None else [nn.Dropout2d(dropout)]))


def _check(
    k: int,
    dropout: float,
    kernels: Sequence[int],
    widths: Sequence[int],
    hidden: Sequence[int],
) -> None:
    if k not in POOLED:
        raise UsageError(f"k is {k}; this network has a form for k = 3, 4, 5 and 6")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout is {dropout}; it is a share, at least 0 and below 1")
    if not kernels or any(size < 1 or size % 2 == 0 for size in kernels):
        raise UsageError(
            f"kernels are {[*kernels]}; each must be odd, so that maps keep their size"
        )
    if (len(widths), len(hidden)) != (4, 5) or min(*widths, *hidden) < 1:
        raise UsageError(
            f"widths are {[*widths]} and {[*hidden]}; there are 4 of a branch and 5 of the head"
        )


def _read(path: Path) -> tuple[dict[str, Tensor], int | None]:
    """The state dict of a file, and the k that the file says, where it does."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise DataError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    if start[8:] == b"{":
        return _safetensors(path)
    if not start.startswith((b"PK\x03\x04", b"\x80")):
        raise DataError(
            f"{path} is no checkpoint: it begins with {start!r}; what torch.save writes is read, "
            f"and safetensors"
        )
    found = _pickle(path)
    weights = found.get("model_state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        has = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise DataError(
            f"{path} holds {has}; a state dict is needed, or a dict with one as 'model_state_dict'"
        )
    if weights is found:
        return dict(weights), None
    config = found.get("config")
    said = found.get("k", config.get("k") if isinstance(config, Mapping) else None)
    return dict(weights), _whole(said, path)


def _safetensors(path: Path) -> tuple[dict[str, Tensor], int | None]:
    try:
        with safe_open(path, framework="pt") as file:
            said = (file.metadata() or {}).get("k")
            return {n: file.get_tensor(n) for n in file.keys()}, _whole(said, path)  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"cannot read the checkpoint {path}: {error}") from error


def _pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # it warns of what it then refuses; the refusal is enough
            warnings.filterwarnings("ignore", message=r".*TorchScript archive")
            warnings.filterwarnings("ignore", message=r"Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} holds more than tensors and plain values, and is not "
            f"read because a pickle can run code (older files keep their score as a NumPy number): "
            f"where you trust it, save its weights alone once with `torch.save(torch.load("
            f"{path.name!r}, weights_only=False)['model_state_dict'], 'weights.pth')`, and load "
            f"that file"
        ) from error
    except Exception as error:  # a damaged file makes the reader stumble in any way there is
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"cannot read the checkpoint {path}: {reason}") from error


def _whole(said: object, path: Path) -> int | None:
    if said is None:
        return None
    if str(said) not in map(str, POOLED):
        raise DataError(f"{path} says k = {said!r}; there is a network for k = 3, 4, 5 and 6")
    return int(str(said))
