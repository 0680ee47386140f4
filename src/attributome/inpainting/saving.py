"""Trained inpainters as folders: `network.json` says all about the weights beside it."""

import hashlib
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from attributome import __version__
from attributome.core.errors import DataError, UsageError
from attributome.core.files import read_json, write_json, write_whole
from attributome.inpainting.network import Inpainter

CARD, WEIGHTS = "network.json", "weights.safetensors"
FORMAT = 1
KIND = "inpainter"


def save_inpainter(folder: Path, net: Inpainter, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write the weights, then the card; a folder that has a card is whole.

    The card is `about` (plain values, such as the names of the channels and how the crops were
    prepared; a number that is not finite becomes null) and what is known of the network: kind,
    kwargs, versions, and the SHA-256 of the weights.
    """
    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in net.state_dict().items()
    }
    (folder / CARD).unlink(missing_ok=True)
    write_whole(folder / WEIGHTS, lambda part: save_file(weights, part))
    card: dict[str, Any] = _plain(
        {
            **about,
            "format": FORMAT,
            "kind": KIND,
            "kwargs": net.kwargs,
            "versions": {
                "attributome": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
            "weights_sha256": _sha256(folder / WEIGHTS),
        }
    )
    write_json(folder / CARD, card)
    return card


def load_inpainter(folder: Path) -> tuple[Inpainter, dict[str, Any]]:
    """The network of a folder, in evaluation mode on the CPU, and its card."""
    card = read_json(folder / CARD)
    if card.get("format") != FORMAT or card.get("kind") != KIND:
        raise DataError(
            f"{folder / CARD} is of kind {card.get('kind')!r} and format {card.get('format')!r}; "
            f"this reads {KIND!r} and {FORMAT}"
        )
    path = folder / WEIGHTS
    if not path.is_file():
        raise DataError(f"the network {folder} has a {CARD} but no {WEIGHTS}")
    if _sha256(path) != card.get("weights_sha256"):
        raise DataError(f"{path} is not the file that {CARD} was written for: its SHA-256 differs")
    try:
        net = Inpainter(**card["kwargs"])
        weights = load_file(path)
    except (KeyError, TypeError, UsageError) as error:
        raise DataError(f"{folder / CARD} builds no network: {error}") from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"cannot read the weights {path}: {error}") from error
    _fill(net, weights, path)
    return net.eval(), card


def _fill(net: Inpainter, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put the weights into the network, or name the first that do not fit."""
    needed = net.state_dict()
    wrong = [f"{name} is missing" for name in needed if name not in weights]
    wrong += [f"{name} is unknown" for name in weights if name not in needed]
    common = [name for name in needed if name in weights]
    wrong += [
        f"{name} is {tuple(weights[name].shape)} and not {tuple(needed[name].shape)}"
        for name in common
        if weights[name].shape != needed[name].shape
    ]
    wrong += [f"{n} holds what is not finite" for n in common if not weights[n].isfinite().all()]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise DataError(
            f"{path} does not fit the network of its {CARD}: {', '.join(wrong[:3])}{more}"
        )
    net.load_state_dict(weights)


def _plain(value: Any) -> Any:
    """Values as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _sha256(path: Path) -> str:
    """What `sha256sum` prints."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
