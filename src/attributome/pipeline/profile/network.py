"""The verb that trains a classifier of cells, and the network that the other verbs ask."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from attributome.core.errors import DataError, UsageError
from attributome.core.files import read_json
from attributome.core.parallel import team_of
from attributome.core.training import Plan, Story
from attributome.core.weights import CARD
from attributome.pipeline.profile.elsewhere import (
    is_elsewhere,
    mark_of,
    open_elsewhere,
    untrained_twin,
)
from attributome.pipeline.profile.job import TrainJob
from attributome.pipeline.profile.saving import load_network, save_network
from attributome.pipeline.profile.work import NETWORK, ProfileWork, open_cells
from attributome.predictors.cells import CellNetwork, cell_network
from attributome.profiles.learning.classifier import (
    Erase,
    channel_statistics,
    classes_of,
    fit_classifier,
)
from attributome.profiles.single_cells import SingleCells

STAGE = "train"
ERASE: dict[str, Erase] = {"mask": "mask", "background": "background"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A network ready to compute, the names of its outputs, how crops are shown, its weights."""

    net: nn.Module
    classes: tuple[str, ...]
    label: str
    erase: Erase
    sha256: str


def train(work: ProfileWork) -> Path:
    """Train the network of the job on its own cells; a finished one is left as it is."""
    return train_into(work, work.run.root / NETWORK, work.job.train)


def train_into(work: ProfileWork, folder: Path, how: TrainJob) -> Path:
    """Train a network of the job's kind, as `how` says, into a folder, or go on with it there.

    Under `torchrun` each process takes its share, and the first one saves.
    """
    if source := work.job.network.source:
        raise UsageError(
            f"network.source names {source}, so there is nothing to train; leave it empty to train "
            f"a network here"
        )
    if (folder / CARD).is_file():
        return folder
    cells, label = open_cells(work), work.job.data.label
    parts = training_parts(work, cells)
    classes = classes_of(cells, parts["train"], label)
    net, kwargs = new_network(work, cells, len(classes))
    with work.timed(STAGE if folder.name == NETWORK else f"{STAGE}_{folder.name}") as progress:
        story = fit_classifier(
            net,
            cells,
            parts,
            label=label,
            plan=plan_of(how),
            batch=how.batch,
            seed=work.job.seed,
            compute=work.compute,
            folder=folder,
            progress=progress,
            smoothing=how.smoothing,
            balance=how.balance,
            augment=how.augment,
            ema=how.ema,
            penalty=how.beta if how.remedy == "penalty" else 0.0,
            erase=ERASE.get(how.remedy, "none"),
        )
        team = team_of(work.compute)
        if team.rank == 0:
            save_network(folder, net, kwargs, _told(work, cells, classes, how, story))
        team.wait()
    return folder


def training_parts(work: ProfileWork, cells: SingleCells) -> dict[str, list[str]]:
    """The ids of the cells that are trained and validated on."""
    ids, parts = cells.table["id"].to_numpy(), {}
    for part in ("train", "validate"):
        rows = work.rows(cells, part)
        if not len(rows):
            raise DataError(
                f"the wells of the part {part!r} have no cells, and training needs them"
            )
        parts[part] = ids[rows].tolist()
    return parts


def new_network(
    work: ProfileWork, cells: SingleCells, classes: int
) -> tuple[CellNetwork, dict[str, Any]]:
    """An untrained network of the job's kind, in the units of the training cells; its kwargs."""
    kwargs = _kwargs(work, cells, classes)
    net = cell_network(**kwargs)
    mean, spread = channel_statistics(cells, work.rows(cells, "train"))
    flat = [name for name, s in zip(cells.channels, spread.tolist(), strict=True) if s == 0]
    if flat:
        raise DataError(f"the channel {flat[0]!r} is the same everywhere in the training cells")
    net.scale.set(mean, spread)
    return net, kwargs


def plan_of(how: TrainJob) -> Plan:
    """How long and how fast."""
    return Plan(
        lr=how.lr,
        weight_decay=how.weight_decay,
        epochs=how.epochs,
        patience=how.patience,
        minutes=how.minutes,
        schedule=how.schedule,
        warmup=how.warmup,
        clip=how.clip,
        watch=how.watch,
    )


def network(work: ProfileWork, cells: SingleCells) -> Asked:
    """The network that is asked, on the device."""
    named = work.job.network.source
    source = Path(named) if named else work.run.root / NETWORK
    if not named and not (source / CARD).is_file():
        raise DataError(
            f"{work.run.root} has no trained network yet: run `attributome profile train` first, "
            f"or name one with --network"
        )
    return opened(work, cells, source)


def untrained_net(work: ProfileWork, asked: Asked) -> CellNetwork | nn.Module:
    """The network that is asked as it was before training, in the same units of crops."""
    named = work.job.network.source
    source = Path(named) if named else work.run.root / NETWORK
    if is_elsewhere(source):
        return untrained_twin(source, seed=work.job.seed, trust=work.trust)
    net = cell_network(**read_json(source / CARD)["kwargs"])
    assert isinstance(asked.net, CellNetwork)  # as its folder says
    net.scale.load_state_dict(asked.net.scale.state_dict())
    return net


def trained_of(work: ProfileWork) -> dict[str, Any]:
    """How the network that is asked was trained, as far as it says."""
    named = work.job.network.source
    path = (Path(named) if named else work.run.root / NETWORK) / CARD
    return dict(read_json(path)["trained"]) if path.is_file() else {}


def opened(work: ProfileWork, cells: SingleCells, source: Path) -> Asked:
    """The network of a folder, or a predictor from elsewhere, on the device."""
    if is_elsewhere(source):
        other, names = open_elsewhere(source, work.job, cells, trust=work.trust)
        return Asked(
            net=work.compute.place(other, len(cells.size)).eval(),
            classes=names,
            label=work.job.data.label,
            erase="none",
            sha256=mark_of(source),
        )
    net, card = load_network(source)
    _need_fit(card, cells, source)
    erase = str(card["trained"]["remedy"])
    return Asked(
        net=work.compute.place(net, len(cells.size)).eval(),
        classes=tuple(card["classes"]),
        label=str(card["label"]),
        erase="mask" if erase == "mask" else "none",  # other surroundings are of training alone
        sha256=str(card["weights_sha256"]),
    )


def need_layers(asked: Asked, layers: tuple[str, ...], key: str) -> None:
    """Refuse a layer that the network does not have."""
    known = [name for name, _ in asked.net.named_modules() if name]
    for layer in layers:
        if layer not in known:
            shown = ", ".join(name for name in known if name.count(".") < 2)
            raise UsageError(f"{key} has {layer!r}, and the network has {shown}")


def _kwargs(work: ProfileWork, cells: SingleCells, classes: int) -> dict[str, Any]:
    asked = work.job.network
    return {
        "channels": len(cells.channels),
        "classes": classes,
        "size": [*cells.size],
        "kind": asked.kind,
        "spacing": None if cells.spacing is None else [*cells.spacing],
        "cam_cells": asked.cam_cells,
        "version": asked.version or None,
        "width": asked.width,
        "dropout": asked.dropout,
        "seed": work.job.seed,
    }


def _need_fit(card: dict[str, Any], cells: SingleCells, source: Path) -> None:
    channels, size = tuple(card["channels"]), tuple(card["size"])
    if channels != cells.channels or size != cells.size:
        raise UsageError(
            f"the network {source} takes crops of {' x '.join(map(str, size))} voxels with the "
            f"channels {', '.join(channels)}; the cells have {' x '.join(map(str, cells.size))} "
            f"and {', '.join(cells.channels)}"
        )


def _told(
    work: ProfileWork,
    cells: SingleCells,
    classes: tuple[str, ...],
    how: TrainJob,
    story: Story,
) -> dict[str, Any]:
    """What the card of the network says about its making."""
    best = story.rows[story.best_epoch]
    return {
        "classes": [*classes],
        "label": work.job.data.label,
        "channels": [*cells.channels],
        "size": [*cells.size],
        "spacing": cells.spacing,
        "trained": {
            **how.model_dump(mode="json"),
            "seed": work.job.seed,
            "epochs_done": len(story.rows),
            "best_epoch": story.best_epoch + 1,
            "seconds": round(story.seconds, 1),
            **best,
        },
        "data": work.run.asked["data"],
    }
