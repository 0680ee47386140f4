"""Trained networks of pairs as folders: `network.json` says all about the weights beside it."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.core.files import read_json
from attributome.core.weights import CARD, WEIGHTS, fill, read_weights, write_network
from attributome.sequence.images import Encoding
from attributome.sequence.networks.pair_net import PairNet
from attributome.sequence.networks.upstream import TwoBranch, other_network

FORMAT = 1
NETWORKS: dict[str, Callable[..., nn.Module]] = {"upstream": TwoBranch, "ours": PairNet}
"""Each carries `encoding` (the images that it reads) and `kwargs` (plain values that build it)."""


def new_network(kind: str, kwargs: Mapping[str, Any], *, seed: int = 0) -> nn.Module:
    """An untrained network whose weights only `seed` decides."""
    if kind not in NETWORKS:
        near = difflib.get_close_matches(kind, NETWORKS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"no network {kind!r}; there are {', '.join(NETWORKS)}{hint}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return NETWORKS[kind](**kwargs)
        except TypeError as error:
            raise UsageError(f"the network {kind!r} refuses {dict(kwargs)}: {error}") from error


def save_network(folder: Path, net: nn.Module, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write the weights, then the card; a folder that has a card is whole.

    The card is `about` (plain values; a number that is not finite becomes null) and what is known
    of the network: kind, kwargs, encoding, versions, and the SHA-256 of the weights.
    """
    kinds = [kind for kind, made in NETWORKS.items() if type(net) is made]
    if not kinds:
        raise UsageError(f"a {type(net).__name__} is none of the networks {', '.join(NETWORKS)}")
    about = {
        **about,
        "format": FORMAT,
        "kind": kinds[0],
        "kwargs": net.kwargs,
        "encoding": _encoding(net),
    }
    return write_network(folder, net, about)


def load_network(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a folder, in evaluation mode on the CPU, and its card."""
    card = read_json(folder / CARD)
    if card.get("format") != FORMAT:
        raise DataError(
            f"{folder / CARD} has format {card.get('format')!r}; this attributome reads {FORMAT}"
        )
    kind, kwargs = card.get("kind"), card.get("kwargs")
    if kind not in NETWORKS or not isinstance(kwargs, dict):
        raise DataError(
            f"{folder / CARD} is of a network {kind!r} with {kwargs!r}; attributome builds "
            f"{', '.join(NETWORKS)} from a dict of keyword arguments"
        )
    weights = read_weights(folder, card)
    net = new_network(kind, kwargs)
    if _encoding(net) != card.get("encoding"):
        raise DataError(
            f"{folder / CARD} says the images are {card.get('encoding')}; the network that its "
            f"kwargs build reads {_encoding(net)}"
        )
    fill(net, weights, other_network(folder / WEIGHTS, net))
    return net.eval(), card


def _encoding(net: nn.Module) -> dict[str, int]:
    encoding = net.encoding
    if not isinstance(encoding, Encoding):
        raise UsageError(f"the encoding of a {type(net).__name__} is {encoding!r}")
    return asdict(encoding)
