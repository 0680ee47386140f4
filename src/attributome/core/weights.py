"""Networks as folders, and weights into a network: all of them, or none and a reason."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from attributome import __version__
from attributome.core.errors import DataError
from attributome.core.files import plain, sha256, write_json, write_whole

CARD, WEIGHTS = "network.json", "weights.safetensors"
"""What is said of a network, and its weights; a folder that has a card is whole."""

NAMED = 3
"""How many of the weights that do not fit are named."""


def write_network(folder: Path, net: nn.Module, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write the weights, then the card, which is returned.

    The card is `about` (plain values; a number that is not finite becomes null), the versions, and
    the SHA-256 of the weights.
    """
    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in net.state_dict().items()
    }
    (folder / CARD).unlink(missing_ok=True)
    write_whole(folder / WEIGHTS, lambda part: save_file(weights, part))
    card: dict[str, Any] = plain(
        {
            **about,
            "versions": {
                "attributome": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
            "weights_sha256": sha256(folder / WEIGHTS),
        }
    )
    write_json(folder / CARD, card)
    return card


def read_weights(folder: Path, card: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights beside a card, if they are those that it was written for."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise DataError(f"the network {folder} has a {CARD} but no {WEIGHTS}")
    if sha256(path) != card.get("weights_sha256"):
        raise DataError(f"{path} is not the file that {CARD} was written for: its SHA-256 differs")
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"cannot read the weights {path}: {error}") from error
    return weights


def fill(net: nn.Module, weights: Mapping[str, Tensor], complaint: str) -> None:
    """Put the weights into the network; `complaint` is what is said before those that do not fit.

    Such as "weights.safetensors is a checkpoint of another network than PairNet".
    """
    needed = net.state_dict()
    common = [name for name in needed if name in weights]
    wrong = [f"{name} is missing" for name in needed if name not in weights]
    wrong += [f"{name} is unknown" for name in weights if name not in needed]
    wrong += [
        f"{name} is {tuple(weights[name].shape)} and not {tuple(needed[name].shape)}"
        for name in common
        if weights[name].shape != needed[name].shape
    ]
    wrong += [f"{name} holds what is not finite" for name in common if not _finite(weights[name])]
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise DataError(f"{complaint}: {', '.join(wrong[:NAMED])}{more}")
    net.load_state_dict(weights)


def _finite(weight: Tensor) -> bool:
    return bool(weight.isfinite().all())
