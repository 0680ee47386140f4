"""Predictors from files. Weights are data; a file that is a program is run only when trusted.

A predictor folder is `predictor.json` (its card) and `weights.safetensors`. From elsewhere:
safetensors with the `module:function` that builds the network, TorchScript, and torch.export.
"""

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest, sha256, write_whole
from attributome.core.weights import fill
from attributome.predictors.card import Card, read_card, write_card
from attributome.predictors.networks import NETWORKS

__all__ = ["Card", "build", "fingerprint", "load_predictor", "save_predictor"]

WEIGHTS, CARD = "weights.safetensors", "predictor.json"
OWN = {f"attributome.predictors.networks:{make.__name__}": make for make in NETWORKS.values()}
Kind = Literal["folder", "safetensors", "torchscript", "exported"]


def save_predictor(folder: Path, net: nn.Module, card: Card) -> Card:
    """Write the network and its card; the card comes last, so a folder that has one is whole."""
    weights = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in net.state_dict().items()
    }
    fill(
        build(card.factory, card.kwargs, trust=True), weights, _other("this network", card.factory)
    )
    (folder / CARD).unlink(missing_ok=True)
    write_whole(folder / WEIGHTS, lambda part: save_file(weights, part))
    card = replace(card, weights_sha256=sha256(folder / WEIGHTS))
    write_card(folder / CARD, card)
    return card


def load_predictor(
    source: Path,
    *,
    factory: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    trust: bool = False,
    card: Card | None = None,
) -> tuple[nn.Module, Card]:
    """The network in evaluation mode, on the CPU, and what is known about it.

    `factory` and `kwargs` build the network for bare weights, `card` says what a file cannot.
    `trust` runs what is a program: TorchScript, torch.export and factories of other packages.
    """
    kind = kind_of(source)
    if kind != "safetensors" and (factory or kwargs):
        raise UsageError(f"{source} says itself how it is built; a factory is for bare weights")
    if kind == "folder":
        if card:
            raise UsageError(f"{source} has its own card ({CARD}); give a card with other files")
        return _from_folder(source, trust)
    card = replace(card or Card(), weights_sha256=sha256(source))
    if kind == "safetensors":
        name = factory or card.factory
        if not name:
            raise UsageError(
                f"{source} holds weights only; say with factory='module:function' (--factory) what "
                f"builds the network"
            )
        card = replace(card, factory=name, kwargs=dict(kwargs or card.kwargs))
        return _from_weights(source, card, trust), card
    if not trust:
        raise UsageError(
            f"{source} is a program ({kind}), which can do anything to this machine when it is "
            f"loaded; pass trust=True (--trust) if you know who made it"
        )
    return (_torchscript if kind == "torchscript" else _exported)(source), card


def fingerprint(source: Path) -> str:
    """SHA-256 of what decides the outputs: the weights or the program, and the card of a folder."""
    if kind_of(source) == "folder":
        return digest(source / CARD, source / WEIGHTS)
    return sha256(source)


def build(
    factory: str, kwargs: Mapping[str, Any], *, seed: int = 0, trust: bool = False
) -> nn.Module:
    """The network of a factory, with initial weights that only `seed` decides.

    Without trust only the networks of this package are built. Not every function of it: a card is
    a stranger's, and a function that writes files is in this package, too.
    """
    make = OWN.get(factory)
    if make is None:
        if not trust:
            raise UsageError(
                f"the factory {factory!r} is code outside attributome, which has {sorted(OWN)}; "
                f"pass trust=True (--trust) if you know who wrote it"
            )
        make = _imported(factory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            net = make(**kwargs)
        except TypeError as error:
            raise UsageError(f"the factory {factory!r} refuses {dict(kwargs)}: {error}") from error
    if not isinstance(net, nn.Module):
        raise UsageError(
            f"the factory {factory!r} made a {type(net).__name__}; a torch.nn.Module is needed"
        )
    return net


def kind_of(source: Path) -> Kind:
    """What kind of predictor this is, by its content and without running any of it."""
    if source.is_dir():
        if not (source / CARD).is_file():
            raise DataError(f"the folder {source} is no predictor: it has no {CARD}")
        return "folder"
    try:
        with source.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise DataError(f"cannot read the predictor {source}: {error.strerror}") from error
    if not head:
        raise DataError(f"the predictor {source} is an empty file")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= source.stat().st_size:
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(source)
    if head.startswith(b"\x80"):
        raise _pickle(source)
    raise DataError(
        f"{source} is no predictor: it begins with {head[:8]!r}; attributome reads its own "
        f"predictor folders, safetensors, TorchScript and torch.export (.pt2)"
    )


def _kind_of_archive(source: Path) -> Kind:
    try:
        with zipfile.ZipFile(source) as archive:
            # below the one folder that torch writes, whose name is the file's first name
            names = {name.partition("/")[2] or name for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise DataError(f"the predictor {source} is damaged or cut short: {error}") from error
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "torchscript"
    if "archive_format" in names or "serialized_exported_program.json" in names:
        return "exported"
    if "data.pkl" in names:
        raise _pickle(source)
    raise DataError(f"{source} is a zip archive, but no TorchScript or torch.export program")


def _pickle(source: Path) -> DataError:
    convert = (
        f"safetensors.torch.save_file(torch.load({source.name!r}, weights_only=True), "
        f"{source.with_suffix('.safetensors').name!r})"
    )
    return DataError(
        f"{source} is a pickle where safetensors was expected, and reading a pickle can run code: "
        f"convert its state dict once with `{convert}` and load that file"
    )


def _from_folder(folder: Path, trust: bool) -> tuple[nn.Module, Card]:
    card, weights = read_card(folder / CARD), folder / WEIGHTS
    if not weights.is_file():
        raise DataError(f"the predictor {folder} has a {CARD} but no {WEIGHTS}")
    if sha256(weights) != card.weights_sha256:
        raise DataError(
            f"{weights} is not the file that {CARD} was written for: its SHA-256 differs"
        )
    return _from_weights(weights, card, trust), card


def _from_weights(path: Path, card: Card, trust: bool) -> nn.Module:
    net = build(card.factory, card.kwargs, trust=trust)
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"cannot read the weights {path}: {error}") from error
    fill(net, weights, _other(str(path), card.factory))
    return net.eval()


def _other(path: str, factory: str) -> str:
    return f"{path} is a checkpoint of another model than {factory} builds"


def _imported(factory: str) -> Any:
    module, colon, function = factory.partition(":")
    if not (module and colon and function.isidentifier()):
        raise UsageError(f"the factory {factory!r} must read 'module:function'")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot import the factory {factory!r}: {error}") from error


def _torchscript(source: Path) -> nn.Module:
    try:
        with warnings.catch_warnings():
            # that there is a newer format is not news to somebody who has a file in this one
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.load` is deprecated")
            net: nn.Module = torch.jit.load(source, map_location="cpu")
    except RuntimeError as error:
        raise DataError(f"cannot load the TorchScript {source}: {_first_line(error)}") from error
    return net.eval()


def _exported(source: Path) -> nn.Module:
    try:
        # it has no eval(): an exported program keeps the mode in which it was exported
        return torch.export.load(source).module()
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise DataError(f"cannot load the program {source}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
