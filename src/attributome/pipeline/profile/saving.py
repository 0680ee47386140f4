"""Trained classifiers of cells as folders: `network.json` says all about the weights beside it."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from attributome import __version__
from attributome.core.errors import DataError, UsageError
from attributome.core.files import plain, read_json, sha256, write_json, write_whole
from attributome.core.weights import fill
from attributome.predictors.cells import CellNetwork, cell_network

CARD, WEIGHTS = "network.json", "weights.safetensors"
FORMAT = 1
KIND = "cell classifier"


def save_network(
    folder: Path,
    net: CellNetwork,
    kwargs: Mapping[str, Any],
    about: Mapping[str, Any],
    *,
    kind: str = KIND,
) -> dict[str, Any]:
    """Write the weights, then the card; a folder that has a card is whole.

    `kwargs` are those of `cell_network`; the card is `about` (classes, channels, how the network
    was trained) with kind, versions and the SHA-256 of the weights.
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
            "format": FORMAT,
            "kind": kind,
            "kwargs": dict(kwargs),
            "strides": net.strides,
            "grid": net.grid,
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


def load_network(folder: Path, *, kind: str = KIND) -> tuple[CellNetwork, dict[str, Any]]:
    """The network of a folder, in evaluation mode on the CPU, and its card."""
    card = read_json(folder / CARD)
    if card.get("format") != FORMAT or card.get("kind") != kind:
        raise DataError(
            f"{folder / CARD} is of kind {card.get('kind')!r} and format {card.get('format')!r}; "
            f"this reads {kind!r} and {FORMAT}"
        )
    path = folder / WEIGHTS
    if digest_of(folder) != card.get("weights_sha256"):
        raise DataError(f"{path} is not the file that {CARD} was written for: its SHA-256 differs")
    try:
        net = cell_network(**card["kwargs"])
        weights = load_file(path)
    except (KeyError, TypeError, UsageError) as error:
        raise DataError(f"{folder / CARD} builds no network: {error}") from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"cannot read the weights {path}: {error}") from error
    fill(net, weights, f"{path} does not fit the network of its {CARD}")
    return net.eval(), card


def digest_of(source: Path) -> str:
    """SHA-256 of the weights in the folder of a network."""
    path = source / WEIGHTS
    if not path.is_file():
        raise DataError(f"there is no network {source}: give a folder with {CARD} and {WEIGHTS}")
    return sha256(path)
