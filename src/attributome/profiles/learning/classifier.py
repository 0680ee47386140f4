"""Train a network to tell the treatment of a cell from its crop, and score it on other wells.

What the network is worth is said by plates that it never saw: wells of one plate share their
staining, light and medium, and a network may go by those.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest
from attributome.core.parallel import Team, team_of
from attributome.core.probe import predict
from attributome.core.seeds import rng, seed_of
from attributome.core.training import Plan, Story, fit
from attributome.core.types import Images, Progress, silent
from attributome.predictors.cells import CellNetwork
from attributome.profiles.learning.remedies import (
    Labels,
    Own,
    Penalised,
    masked,
    overlap_penalty,
    replace_surroundings,
)
from attributome.profiles.learning.variants import Draws, draw_variants, varied
from attributome.profiles.learning.wrappers import WithMaps, WithMean
from attributome.profiles.single_cells import SingleCells

Rows = Int64[np.ndarray, "_"]
Erase = Literal["none", "mask", "background"]
WATCHED = ("loss", "error")
APART = ("well", "plate")


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """A batch of crops: images, the labels of all cells in them, which is the own one."""

    images: Images
    labels: Labels
    own: Own

    def to(self, compute: Compute) -> "Crops":
        """The batch on the device."""
        device = compute.device
        return Crops(compute.move(self.images), self.labels.to(device), self.own.to(device))


Given = tuple[Crops, Tensor, float]
"""Crops as they are shown, the numbers of their classes, how much their mean counts."""


def fit_classifier(
    net: nn.Module,
    crops: SingleCells,
    parts: Mapping[str, Sequence[str]],
    *,
    label: str = "treatment",
    plan: Plan,
    batch: int = 64,
    seed: int = 0,
    compute: Compute,
    folder: Path | None = None,
    progress: Progress = silent,
    smoothing: float = 0.1,
    balance: bool = True,
    augment: bool = True,
    ema: float | None = None,
    penalty: float = 0.0,
    penalised: Penalised = "contrast",
    erase: Erase = "none",
) -> Story:
    """Train `net` in place on the ids of `parts["train"]` and leave it with its best weights.

    Classes are the sorted values of the column `label` among the training cells. The loss is the
    cross-entropy with `smoothing` of the labels, each class weighed alike where `balance` says so;
    `parts["validate"]` judges what is best (`val_loss`, `val_error`: 1 − balanced accuracy), and
    other parts are not looked at. Parts may share no well, and none but train and validate a plate
    (DataError). `augment` draws variants as DeepProfiler does (`variants`), anew in every epoch;
    with `ema` (such as 0.99) the running mean of the weights is judged and kept.

    Three remedies against looking beside the cell: `penalty` is β of L = CE + β(1 − Grad-CAMO) at
    the maps of a `CellNetwork`, for what `penalised` says of the true class: its logit (`"class"`,
    which networks were seen to evade), or its contrast to the others with both signs of the map
    (see `overlap_penalty`). The log has `outside`, the mean of 1 − Grad-CAMO so made where it is
    defined, and `undefined`, the share where it is not, which adds nothing.
    `erase="mask"` shows the own cell alone, on zeros, in training and validation: such a network is
    to be asked so as well. `erase="background"` puts each training cell into the surroundings of
    the next one in its batch.

    All draws, dropout among them, are named by (seed, epoch, step): a resumed training ends with
    the same bits.

    Under `torchrun` each process takes its share of every batch; gradients, logged numbers and
    validation are those of the whole, and all processes must see the same `folder`. What a batch
    norm sees and a dropout drops is of each process's share: only without them do several processes
    end where one does.
    """
    team = team_of(compute)
    compute = team.compute
    _check(net, plan, batch, smoothing, ema, penalty, penalised, erase, team)
    rows = rows_of(crops, parts)
    names = classes_of(crops, parts["train"], label)
    _apart(crops, rows)
    codes = _codes(crops, label, names, rows)
    train, held = rows["train"], rows["validate"]
    weights = torch.ones(len(names))
    if balance:
        weights = torch.from_numpy(1 / np.bincount(codes[train], minlength=len(names))).float()
        weights *= len(train) / len(names)
    weights = weights.to(compute.device)
    steps = team.steps(len(train), batch, "cells")
    compute.place(net, len(crops.size))
    both = WithMean(net, ema) if ema is not None else None
    judged = both.mean.module if both else net
    parallel = team.parallel(WithMaps(net) if penalty and isinstance(net, CellNetwork) else net)
    alone = () if team.rank == 0 else (team.rank,)  # each process drops other features
    last = 0

    def loss_of(logits: Tensor, y: Tensor) -> Tensor:
        if logits.shape != (len(y), len(names)):
            raise UsageError(
                f"the network gives shape {tuple(logits.shape)} for {len(y)} cells of {len(names)} "
                f"classes ({', '.join(names)})"
            )
        each = F.cross_entropy(logits.float(), y, reduction="none", label_smoothing=smoothing)
        return each * weights[y]

    def step(given: Given, number: int, _done: float) -> dict[str, Tensor]:
        nonlocal last
        if both is not None and number % steps:  # after an epoch `validate` has done it
            both.mean.update_parameters(net)
        last = number
        some, y, weight = given[0].to(compute), given[1].to(compute.device), given[2]
        devices = [compute.device] if "cuda" in compute.device else []
        with torch.random.fork_rng(devices=devices):  # dropout knows the global generator only
            torch.manual_seed(seed_of(seed, "dropout", number, *alone))
            if not penalty:
                return {"loss": team.logged(loss_of(parallel(some.images), y).mean(), weight)}
            maps, logits = parallel(some.images)
        plain = loss_of(logits, y).mean()
        outside, defined = overlap_penalty(logits, y, maps, some.labels, some.own, of=penalised)
        return {
            "loss": team.logged(plain + penalty * outside.mean(), weight),
            "cross_entropy": team.logged(plain, weight),
            "outside": team.total(outside.sum()) / team.total(defined.sum()).clamp_min(1),
            "undefined": team.logged(1 - defined.float().mean(), weight),
        }

    def asked(at: Rows) -> np.ndarray:
        return _logits(judged, crops, held[at], batch, compute, erase).cpu().numpy()

    def validate() -> dict[str, float]:
        if both is not None:
            both.mean.update_parameters(net)
        team.agree(both or net)
        found = team.together(asked, len(held), columns=len(names))
        logits = torch.from_numpy(found).float().to(compute.device)
        y = torch.from_numpy(codes[held]).to(logits.device)
        right = (logits.argmax(1) == y).float()
        recalls = [right[y == code].mean() for code in y.unique()]
        error = 1 - torch.stack(recalls).mean()
        return {"loss": loss_of(logits, y).mean().item(), "error": error.item()}

    story = fit(
        both or net,
        plan,
        batches=lambda epoch: _batches(
            crops, train, codes, epoch, steps, seed, augment, erase, team
        ),
        steps=steps,
        step=step,
        validate=validate,
        compute=compute,
        folder=folder,
        identity={
            "network": [(name, [*value.shape]) for name, value in net.state_dict().items()],
            "cells": _mark(crops, train, held, label),
            "batch": batch, "seed": seed, "smoothing": smoothing, "balance": balance,
            "augment": augment, "ema": ema, "penalty": penalty, "erase": erase,
            **({"penalised": penalised} if penalty else {}),
            **({"processes": team.world} if team.world > 1 else {}),
        },
        progress=progress if team.rank == 0 else silent,
    )  # fmt: skip
    if both is not None:
        net.load_state_dict(both.mean.module.state_dict())
    return story


def classes_of(crops: SingleCells, ids: Sequence[str], label: str) -> tuple[str, ...]:
    """The classes that a network trained on these ids tells apart, in the order of its outputs."""
    if label not in crops.table:
        raise DataError(
            f"the table has no column {label!r}; it has {', '.join(map(str, crops.table))}"
        )
    found = crops.table[label][crops.table["id"].isin([*ids])]
    if found.isna().any():
        raise DataError(f"{int(found.isna().sum())} training cells have no {label}")
    names = tuple(sorted({str(name) for name in found}))
    if len(names) < 2:
        raise DataError(f"{len(names)} classes of {label!r} to train on; at least two are needed")
    return names


def rows_of(crops: SingleCells, parts: Mapping[str, Sequence[str]]) -> dict[str, Rows]:
    """Where the ids of each part stand in the table."""
    index, found = pd.Index(crops.table["id"]), {}
    for part in dict.fromkeys(("train", "validate", *parts)):
        ids = parts.get(part, ())
        if not len(ids):
            raise DataError(f"the part {part!r} has no cells, and training needs them")
        rows = index.get_indexer(pd.Index(ids))
        if (rows < 0).any():
            lost = ids[int((rows < 0).argmax())]
            raise DataError(f"the part {part!r} names the cell {lost!r}, which has no row")
        if len(np.unique(rows)) < len(rows):
            raise DataError(f"the part {part!r} names a cell twice")
        found[part] = rows.astype(np.int64)
    return found


def wells_of(crops: SingleCells) -> np.ndarray:
    """The well of each cell, named with its plate: the unit of every interval."""
    for name in APART:
        if name not in crops.table:
            raise DataError(
                f"the table has no column {name!r}; it has {', '.join(map(str, crops.table))}"
            )
    names: np.ndarray = (
        crops.table["plate"].astype(str) + "/" + crops.table["well"].astype(str)
    ).to_numpy(str)
    return names


def channel_statistics(
    crops: SingleCells, rows: Rows, *, batch: int = 256
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Mean and standard deviation of each channel over all voxels of some crops, for `Scale`."""
    sums, squares, count = 0.0, 0.0, 0
    for start in range(0, len(rows), batch):
        x = crops.images(rows[start : start + batch]).astype(np.float64)
        axes = (0, *range(2, x.ndim))
        sums, squares = sums + x.sum(axes), squares + (x**2).sum(axes)
        count += x.size // x.shape[1]
    mean = np.asarray(sums) / count
    spread = np.sqrt(np.maximum(np.asarray(squares) / count - mean**2, 0))
    return torch.from_numpy(mean).float(), torch.from_numpy(spread).float()


def read_crops(crops: SingleCells, rows: Rows) -> Crops:
    """Some crops as tensors on the host."""
    own = torch.from_numpy(crops.own(rows)).long()
    labels = torch.from_numpy(crops.labels(rows)).long()
    return Crops(torch.from_numpy(crops.images(rows)), labels, own)


def predicted(
    net: nn.Module,
    crops: SingleCells,
    rows: Rows,
    *,
    batch: int = 64,
    compute: Compute,
    erase: Erase = "none",
) -> Rows:
    """The class that the network gives each cell; `erase` as it was in training."""
    codes: np.ndarray = _logits(net, crops, rows, batch, compute, erase).argmax(1).cpu().numpy()
    return codes


def shown(some: Crops, erase: Erase) -> Images:
    """What a network that was trained with `erase` is given of crops that it is asked about."""
    return masked(some.images, some.labels, some.own) if erase == "mask" else some.images


def _batches(
    crops: SingleCells,
    train: Rows,
    codes: Int64[np.ndarray, " n"],
    epoch: int,
    steps: int,
    seed: int,
    augment: bool,
    erase: Erase,
    team: Team,
) -> Iterator[Given]:
    """The epoch's cells in a new order, in `steps` batches of equal size, one more in some."""
    order = rng(seed, "order", epoch).permutation(len(train))
    draws: Draws | None = None
    if augment:
        draws = draw_variants(len(train), crops.size, len(crops.channels), seed=seed, epoch=epoch)
    for whole in np.array_split(order, steps):
        some, weight = team.share(whole)
        if erase == "background":  # of the one before in the whole batch, whoever has it
            before = team.share(np.roll(whole, 1))[0][:1]
            row = read_crops(crops, train[np.concatenate([before, some])])
            after = row.images[1:], row.labels[1:], row.own[1:]
            others = row.images[:-1], row.labels[:-1], row.own[:-1]
            given = Crops(*replace_surroundings(*after, *others), row.own[1:])
        else:
            given = read_crops(crops, train[some])
        if draws is not None:
            images, labels = varied(given.images, given.labels, draws.of(some))
            given = Crops(images, labels, given.own)
        given = Crops(shown(given, erase), given.labels, given.own)
        yield given, torch.from_numpy(codes[train[some]]), weight


def _logits(
    net: nn.Module, crops: SingleCells, rows: Rows, batch: int, compute: Compute, erase: Erase
) -> Float[Tensor, "_ k"]:
    found = []
    for start in range(0, len(rows), batch):
        some = read_crops(crops, rows[start : start + batch]).to(compute)
        with compute.autocast():
            found.append(predict(net, shown(some, erase)).float())
    return torch.cat(found)


def _codes(
    crops: SingleCells, label: str, names: tuple[str, ...], rows: Mapping[str, Rows]
) -> Int64[np.ndarray, " n"]:
    """The number of each cell's class, −1 for those of no training class."""
    number = {name: code for code, name in enumerate(names)}
    codes = np.array([number.get(str(name), -1) for name in crops.table[label]], np.int64)
    strange = rows["validate"][codes[rows["validate"]] < 0]
    if len(strange):
        raise DataError(
            f"{len(strange)} validation cells are of a class without training cells, the first "
            f"{crops.table[label].iloc[strange[0]]!r}"
        )
    return codes


def _apart(crops: SingleCells, rows: Mapping[str, Rows]) -> None:
    """Refuse a well in two parts, and a plate of train or validate in another part."""
    wells, plates = wells_of(crops), crops.table["plate"].astype(str).to_numpy(str)
    inside = {"train", "validate"}
    names = [*rows]
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            for what, of in (("well", wells), ("plate", plates)):
                if what == "plate" and (not inside & {a, b} or {a, b} == inside):
                    continue
                both = sorted({*of[rows[a]]} & {*of[rows[b]]})
                if both:
                    raise DataError(
                        f"the {what} {str(both[0])!r} stands in the parts {a!r} and {b!r}; split "
                        f"by well and plate, so that what is learned of one is judged on others"
                    )


def _mark(crops: SingleCells, train: Rows, held: Rows, label: str) -> str:
    """What the cells are by, without reading them all."""
    columns = crops.table[["id", "well", "plate", label]].astype(str)
    lines = ["\t".join(row) for part in (train, held) for row in columns.iloc[part].to_numpy()]
    seen = train[np.linspace(0, len(train) - 1, 16).astype(int)]
    return digest("\n".join([*lines, str(len(train))]), crops.images(seen).tobytes())


def _check(
    net: nn.Module,
    plan: Plan,
    batch: int,
    smoothing: float,
    ema: float | None,
    penalty: float,
    penalised: str,
    erase: str,
    team: Team,
) -> None:
    if plan.watch not in WATCHED:
        raise UsageError(f"held-out {plan.watch!r} cannot be watched; {' and '.join(WATCHED)} can")
    team.need(plan, batch, "cells")
    if not 0 <= smoothing < 1 or penalty < 0:
        raise UsageError(
            f"smoothing {smoothing} and penalty {penalty}: a share from 0 to below 1, and 0 or more"
        )
    if ema is not None and not 0 < ema < 1:
        raise UsageError(f"ema {ema}: what is kept of the mean in each step lies between 0 and 1")
    if erase not in get_args(Erase):
        raise UsageError(f"erase {erase!r}; there are {', '.join(get_args(Erase))}")
    if penalised not in get_args(Penalised):
        raise UsageError(f"penalised {penalised!r}; there are {', '.join(get_args(Penalised))}")
    if penalty and not isinstance(net, CellNetwork):
        raise UsageError(
            f"a penalty on the overlap needs the maps of a CellNetwork, not of {type(net).__name__}"
        )
