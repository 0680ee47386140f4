"""A classifier of cells that was made elsewhere: any module of which a layer can be named."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.core.probe import predict
from attributome.pipeline.profile.job import ProfileJob
from attributome.pipeline.profile.saving import digest_of
from attributome.predictors.card import Card
from attributome.predictors.load import CARD, build, fingerprint, kind_of, load_predictor
from attributome.profiles.single_cells import SingleCells


def is_elsewhere(source: Path) -> bool:
    """Whether this is a predictor: a folder of `save_predictor`, or the file of a program."""
    return source.is_file() or (source / CARD).is_file()


def mark_of(source: Path) -> str:
    """SHA-256 of what decides the outputs of a network of either kind."""
    return fingerprint(source) if is_elsewhere(source) else digest_of(source)


def open_elsewhere(
    source: Path, job: ProfileJob, cells: SingleCells, *, trust: bool
) -> tuple[nn.Module, tuple[str, ...]]:
    """The module in evaluation mode, and the classes that its outputs are, in their order.

    Crops are given to it as they are. Its classes are those of the job (`network.classes`), or else
    the outputs of its card. `trust` runs what is a program.
    """
    net, card = load_predictor(_need_whole(source), trust=trust)
    _need_fit(source, card, cells)
    classes = job.network.classes or card.outputs
    if not classes:
        raise UsageError(
            f"nobody says which classes the outputs of {source} are: name them in "
            f"network.classes, in their order"
        )
    x = torch.from_numpy(cells.images(np.arange(min(2, len(cells)), dtype=np.int64)))
    try:
        out = predict(net, x)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{source} cannot read crops of {tuple(x.shape[1:])}: {first}") from error
    if tuple(out.shape) != (len(x), len(classes)):
        raise UsageError(
            f"{source} gives shape {tuple(out.shape)} for {len(x)} crops, and {len(classes)} "
            f"classes are named ({', '.join(classes)})"
        )
    return net, tuple(classes)


def untrained_twin(source: Path, *, seed: int, trust: bool) -> nn.Module:
    """The same module with weights that only `seed` decides; of a folder only."""
    if kind_of(source) != "folder":
        raise UsageError(f"{source} is a program, of which there is none before its training")
    _, card = load_predictor(source, trust=trust)
    return build(card.factory, card.kwargs, seed=seed, trust=trust).eval()


def _need_whole(source: Path) -> Path:
    if kind_of(source) == "safetensors":
        raise UsageError(
            f"{source} holds weights only: give the folder of a predictor, which says how they are "
            f"put together (attributome.predictors.load.save_predictor)"
        )
    return source


def _need_fit(source: Path, card: Card, cells: SingleCells) -> None:
    if card.task not in (None, "classification"):
        raise UsageError(
            f"{source} is a predictor for {card.task}; profiles need one for classification"
        )
    if card.normalise != "none":
        raise UsageError(
            f"{source} reads images scaled by {card.normalise}, and crops are given as they are: "
            f"put the scaling into the module, and say normalise 'none'"
        )
    if card.dims not in (None, len(cells.size)):
        raise UsageError(f"{source} reads {card.dims}-D images, and the crops are {cells.size}")
    if card.inputs and tuple(card.inputs) != cells.channels:
        raise UsageError(
            f"{source} reads the channels {', '.join(card.inputs)}; the cells have "
            f"{', '.join(cells.channels)}"
        )
