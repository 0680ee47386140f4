"""Trained inpainters as folders: `network.json` says all about the weights beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attributome.core.errors import DataError, UsageError
from attributome.core.files import read_json
from attributome.core.weights import CARD, WEIGHTS, fill, read_weights, write_network
from attributome.inpainting.network import Inpainter

FORMAT = 1
KIND = "inpainter"


def save_inpainter(folder: Path, net: Inpainter, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write the weights, then the card; a folder that has a card is whole.

    The card is `about` (plain values, such as the names of the channels and how the crops were
    prepared; a number that is not finite becomes null) and what is known of the network: kind,
    kwargs, versions, and the SHA-256 of the weights.
    """
    about = {
        **about,
        "format": FORMAT,
        "kind": KIND,
        "kwargs": net.kwargs,
    }
    return write_network(folder, net, about)


def load_inpainter(folder: Path) -> tuple[Inpainter, dict[str, Any]]:
    """The network of a folder, in evaluation mode on the CPU, and its card."""
    card = read_json(folder / CARD)
    if card.get("format") != FORMAT or card.get("kind") != KIND:
        raise DataError(
            f"{folder / CARD} is of kind {card.get('kind')!r} and format {card.get('format')!r}; "
            f"this reads {KIND!r} and {FORMAT}"
        )
    weights = read_weights(folder, card)
    try:
        net = Inpainter(**card["kwargs"])
    except (KeyError, TypeError, UsageError) as error:
        raise DataError(f"{folder / CARD} builds no network: {error}") from error
    fill(net, weights, f"{folder / WEIGHTS} does not fit the network of its {CARD}")
    return net.eval(), card
