"""Trained classifiers of cells as folders: `network.json` says all about the weights beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attributome.core.errors import DataError, UsageError
from attributome.core.files import read_json, sha256
from attributome.core.weights import CARD, WEIGHTS, fill, read_weights, write_network
from attributome.predictors.cells import CellNetwork, cell_network

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
    about = {
        **about,
        "format": FORMAT,
        "kind": kind,
        "kwargs": dict(kwargs),
        "strides": net.strides,
        "grid": net.grid,
    }
    return write_network(folder, net, about)


def load_network(folder: Path, *, kind: str = KIND) -> tuple[CellNetwork, dict[str, Any]]:
    """The network of a folder, in evaluation mode on the CPU, and its card."""
    card = read_json(folder / CARD)
    if card.get("format") != FORMAT or card.get("kind") != kind:
        raise DataError(
            f"{folder / CARD} is of kind {card.get('kind')!r} and format {card.get('format')!r}; "
            f"this reads {kind!r} and {FORMAT}"
        )
    weights = read_weights(folder, card)
    try:
        net = cell_network(**card["kwargs"])
    except (KeyError, TypeError, UsageError) as error:
        raise DataError(f"{folder / CARD} builds no network: {error}") from error
    fill(net, weights, f"{folder / WEIGHTS} does not fit the network of its {CARD}")
    return net.eval(), card


def digest_of(source: Path) -> str:
    """SHA-256 of the weights in the folder of a network."""
    path = source / WEIGHTS
    if not path.is_file():
        raise DataError(f"there is no network {source}: give a folder with {CARD} and {WEIGHTS}")
    return sha256(path)
