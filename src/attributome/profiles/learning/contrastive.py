"""Features without labels: two variants of a cell are to be told from all other cells.

This is SimCLR (Chen et al. 2020), plain instance discrimination: every other crop of a batch is a
negative, also one of the same treatment or well, and no label is read. What is common to two
variants of a crop may be learned, its neighbours and its medium too; `erase` takes those away.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest, write_whole
from attributome.core.probe import predict
from attributome.core.seeds import rng, seed_of
from attributome.core.training import Plan, Story, fit
from attributome.core.types import Images, Progress, silent
from attributome.predictors.cells import CellNetwork
from attributome.profiles.features import named
from attributome.profiles.formats import metadata
from attributome.profiles.learning.classifier import Crops, Erase, Rows, read_crops, rows_of, shown
from attributome.profiles.learning.remedies import replace_surroundings
from attributome.profiles.learning.variants import Draws, draw_variants, varied
from attributome.profiles.single_cells import SingleCells

ERASED = ("none", "mask", "background")
WATCHED = ("loss", "error")
FRAMES = "frames"
"""The folder of features of the cells that are followed, one file per epoch."""

Embeddings = Float[Tensor, "b d"]
Pair = tuple[Draws, Draws]


class Encoder(nn.Module):
    """Features `(b, f)` of crops: the mean maps of a `CellNetwork`, or what another module gives.

    A `CellNetwork` is asked below its classes, whose layer is neither used nor trained here.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Images) -> Float[Tensor, "b f"]:
        """The features of each crop."""
        if isinstance(self.net, CellNetwork):
            pooled: Tensor = self.net.pool(self.net.maps(x)).flatten(1)
            return pooled
        out: Tensor = self.net(x)
        if out.ndim != 2 or len(out) != len(x):
            raise UsageError(
                f"the network gives shape {tuple(out.shape)} for {len(x)} crops; an encoder gives "
                f"a row of features for each"
            )
        return out


class Projected(nn.Module):
    """An encoder and two layers behind it, in whose space variants are compared."""

    def __init__(self, net: nn.Module, features: int, width: int, seed: int) -> None:
        super().__init__()
        self.encoder = Encoder(net)
        with torch.random.fork_rng(devices=[]):  # layers draw from the global generator only
            torch.manual_seed(seed_of(seed, "projection"))
            self.projection = nn.Sequential(
                nn.Linear(features, features), nn.ReLU(), nn.Linear(features, width)
            )

    def forward(self, x: Images) -> Embeddings:
        """Where each crop is compared."""
        out: Tensor = self.projection(self.encoder(x))
        return out


def nt_xent(z1: Embeddings, z2: Embeddings, temperature: float = 0.2) -> Float[Tensor, ""]:
    """The loss of Chen et al. (2020): cross-entropy of finding a variant's other one, by cosine.

    Rows i of `z1` and `z2` are two variants of crop i. Each of the 2b is to find the other among
    2b − 1, by cosines over `temperature`; the mean is taken over all 2b. Chance is ln(2b − 1); b
    is at least 2. Computed in float32 or finer, whatever the autocast.
    """
    if z1.shape != z2.shape or len(z1) < 2:
        raise UsageError(
            f"variants of shape {tuple(z1.shape)} and {tuple(z2.shape)}; both have one shape, and "
            f"two crops at least"
        )
    if not temperature > 0:
        raise UsageError(f"a temperature of {temperature}; it lies above 0, such as 0.2")
    with torch.autocast(z1.device.type, enabled=False):
        near = _cosines(z1, z2) / temperature
        return F.cross_entropy(near, _others(len(z1), near.device))


def fit_contrastive(
    net: nn.Module,
    crops: SingleCells,
    parts: Mapping[str, Sequence[str]],
    *,
    plan: Plan,
    batch: int = 64,
    seed: int = 0,
    compute: Compute,
    folder: Path | None = None,
    progress: Progress = silent,
    temperature: float = 0.2,
    width: int = 64,
    erase: Erase = "none",
    followed: Sequence[str] = (),
) -> Story:
    """Train `net` in place on the ids of `parts["train"]` and leave it with its best weights.

    `net` is a `CellNetwork`, whose features are learned and whose classes stay as they are, or any
    module that gives a row of features per crop. Two variants of each crop are drawn anew in every
    epoch (`variants`), and compared behind a projection to `width` numbers, which is thrown away.
    `parts["validate"]` judges what is best, by variants that are always the same: `val_loss`, and
    `val_error`, the share of variants to which another crop of their batch is nearer than their
    own other one. Both depend on the size of a batch. The two parts may share no field (DataError).

    `erase="mask"` shows the own cell alone, in training and validation: such a network is to be
    asked so as well. `erase="background"` puts the cell of each variant into the surroundings of
    another training crop, so that these do not help to find the other variant.

    With a folder, features of the ids `followed` are written after each epoch to
    `frames/0001.npy` and on in it, for `trajectory`. All draws are named by (seed, epoch, step):
    a resumed training ends with the same bits.
    """
    _check(plan, batch, temperature, width, erase, followed, folder)
    used = {part: parts.get(part, ()) for part in ("train", "validate")}
    rows = rows_of(crops, {**used, "followed": followed} if len(followed) else used)
    train, held = rows["train"], rows["validate"]
    _apart(crops, train, held)
    steps = _steps(len(train), batch)
    compute.place(net, len(crops.size))
    blank = compute.move(torch.zeros(2, len(crops.channels), *crops.size))
    both = Projected(net, predict(Encoder(net), blank).shape[1], width, seed).to(compute.device)
    fixed = _draws(crops, len(held), seed_of(seed, "held out"), 0)
    last = 0

    def step(given: tuple[Images, Images], number: int, _done: float) -> dict[str, Tensor]:
        nonlocal last
        last = number
        x = compute.move(torch.cat(given))
        devices = [compute.device] if "cuda" in compute.device else []
        with torch.random.fork_rng(devices=devices):  # dropped paths know the global one only
            torch.manual_seed(seed_of(seed, "dropout", number))
            one, other = both(x).float().chunk(2)
        return {"loss": nt_xent(one, other, temperature)}

    def validate() -> dict[str, float]:
        if folder is not None and "followed" in rows:
            path = folder / FRAMES / f"{last // steps + 1:04d}.npy"
            _write_frame(path, net, crops, rows["followed"], batch, compute, erase)
        loss = wrong = 0.0
        for some in np.array_split(np.arange(len(held)), _steps(len(held), batch)):
            views = _views(read_crops(crops, held[some]), _of(fixed, some), erase)
            one, other = predict(both, compute.move(torch.cat(views))).float().chunk(2)
            loss += nt_xent(one, other, temperature).item() * len(some)
            found = _cosines(one, other).argmax(1)
            right = (found == _others(len(some), found.device)).float().mean()
            wrong += (1 - right.item()) * len(some)
        return {"loss": loss / len(held), "error": wrong / len(held)}

    return fit(
        both,
        plan,
        batches=partial(_batches, crops, train, steps=steps, seed=seed, erase=erase),
        steps=steps,
        step=step,
        validate=validate,
        compute=compute,
        folder=folder,
        identity={
            "network": [(name, [*value.shape]) for name, value in both.state_dict().items()],
            "cells": _mark(crops, train, held), "batch": batch, "seed": seed,
            "temperature": temperature, "erase": erase, "followed": [*followed],
        },
        progress=progress,
    )  # fmt: skip


def contrastive_features(
    net: nn.Module,
    crops: SingleCells,
    *,
    rows: Rows | None = None,
    batch: int = 256,
    compute: Compute | None = None,
    erase: Erase = "none",
    stem: str = "Cells_contrastive",
    progress: Progress = silent,
) -> Iterator[pd.DataFrame]:
    """The features of cells, as one table for each `batch` of them; only that much is in memory.

    Columns are `Metadata_<name>` for each of the table and float32 `<stem>_000` on. `rows` says
    which cells (all of them), `erase` is as it was in training. `compute` as in `features.extract`.
    """
    taken = np.arange(len(crops)) if rows is None else rows
    if batch < 1 or not len(taken):
        raise UsageError(f"{len(taken)} cells in batches of {batch}; at least one of each")
    if erase not in ERASED:
        raise UsageError(f"erase {erase!r}; there are {', '.join(ERASED)}")
    if compute is None:
        device = next((str(weight.device) for weight in net.parameters()), "cpu")
        compute = Compute(device=device)
    else:
        compute.place(net, len(crops.size))
    return _tables(net, crops, taken, batch, compute, erase, stem, progress)


def _tables(
    net: nn.Module,
    crops: SingleCells,
    rows: Rows,
    batch: int,
    compute: Compute,
    erase: Erase,
    stem: str,
    progress: Progress,
) -> Iterator[pd.DataFrame]:
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        values = _encoded(net, crops, some, compute, erase)
        table = metadata(crops.table.iloc[some])
        bad = ~np.isfinite(values).all(1)
        if bad.any():
            raise DataError(
                f"the features of cell {table['Metadata_id'].iloc[int(bad.argmax())]!r} are not "
                f"finite: look at its crop, and at the weights"
            )
        done = start + len(some)
        progress(done / len(rows), f"{done} of {len(rows)} cells")
        found = pd.DataFrame(values, columns=named(stem, values.shape[1]))
        yield pd.concat([table, found], axis=1)


def _encoded(
    net: nn.Module, crops: SingleCells, rows: Rows, compute: Compute, erase: Erase
) -> Float[np.ndarray, "b f"]:
    x = compute.move(shown(read_crops(crops, rows), erase))
    with compute.autocast():
        values: np.ndarray = predict(Encoder(net), x).float().cpu().numpy()
    return values


def _batches(
    crops: SingleCells, train: Rows, epoch: int, *, steps: int, seed: int, erase: Erase
) -> Iterator[tuple[Images, Images]]:
    """The epoch's cells in a new order, two variants of each, in `steps` batches alike in size."""
    order = rng(seed, "order", epoch).permutation(len(train))
    draws = _draws(crops, len(train), seed, epoch)
    for some in np.array_split(order, steps):
        given = read_crops(crops, train[some])
        if erase == "background":
            one, other = (
                varied(*_elsewhere(given, by), each.of(some))[0]
                for by, each in enumerate(draws, start=1)
            )
            yield one, other
        else:
            yield _views(given, _of(draws, some), erase)


def _views(some: Crops, draws: Pair, erase: Erase) -> tuple[Images, Images]:
    """Two variants of each crop; a mask that is shown alone turns with its image."""
    made = []
    for each in draws:
        images, labels = varied(some.images, some.labels, each)
        made.append(shown(Crops(images, labels, some.own), erase))
    return made[0], made[1]


def _elsewhere(given: Crops, by: int) -> tuple[Images, Tensor]:
    """Each cell in the surroundings of the one `by` places before it in the batch."""
    donors = [each.roll(by, 0) for each in (given.images, given.labels, given.own)]
    return replace_surroundings(given.images, given.labels, given.own, *donors)


def _draws(crops: SingleCells, count: int, seed: int, epoch: int) -> Pair:
    one, other = (
        draw_variants(
            count, crops.size, len(crops.channels), seed=seed_of(seed, "variant", i), epoch=epoch
        )
        for i in range(2)
    )
    return one, other


def _of(draws: Pair, some: Rows) -> Pair:
    return draws[0].of(some), draws[1].of(some)


def _cosines(one: Embeddings, other: Embeddings) -> Float[Tensor, "v v"]:
    """Between all variants, those of `one` first; −∞ of each to itself."""
    z = F.normalize(torch.cat([one, other]).to(torch.promote_types(one.dtype, torch.float32)))
    return (z @ z.T).fill_diagonal_(-torch.inf)


def _others(count: int, device: torch.device) -> Tensor:
    """Where the other variant of each stands."""
    return torch.arange(2 * count, device=device).roll(count)


def _steps(count: int, batch: int) -> int:
    """Batches of an epoch: none larger than `batch`, if each has two crops then."""
    return max(1, min(-(-count // batch), count // 2))


def _write_frame(
    path: Path,
    net: nn.Module,
    crops: SingleCells,
    rows: Rows,
    batch: int,
    compute: Compute,
    erase: Erase,
) -> None:
    parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    frame = np.concatenate([_encoded(net, crops, part, compute, erase) for part in parts])
    write_whole(path, partial(np.save, arr=frame, allow_pickle=False))


def _apart(crops: SingleCells, train: Rows, held: Rows) -> None:
    """Refuse a field in both parts, and parts too small to have negatives."""
    fields = crops.table["field"]
    shared = sorted({*fields.iloc[train]} & {*fields.iloc[held]}, key=str)
    if shared:
        raise DataError(
            f"{len(shared)} fields are to be trained and validated on, the first {shared[0]!r}; "
            f"hold out whole fields"
        )
    if min(len(train), len(held)) < 2:
        raise DataError(
            f"{len(train)} cells to train on and {len(held)} to validate; a cell is told from "
            f"others, so that each part needs two"
        )


def _mark(crops: SingleCells, train: Rows, held: Rows) -> str:
    """What the cells are by, without reading them all."""
    columns = crops.table[["id", "field"]].astype(str)
    lines = ["\t".join(row) for part in (train, held) for row in columns.iloc[part].to_numpy()]
    seen = train[np.linspace(0, len(train) - 1, 16).astype(int)]
    return digest("\n".join([*lines, str(len(train))]), crops.images(seen).tobytes())


def _check(
    plan: Plan,
    batch: int,
    temperature: float,
    width: int,
    erase: str,
    followed: Sequence[str],
    folder: Path | None,
) -> None:
    if plan.watch not in WATCHED:
        raise UsageError(f"held-out {plan.watch!r} cannot be watched; {' and '.join(WATCHED)} can")
    if batch < 2 or width < 1:
        raise UsageError(f"a batch of {batch} and width {width}; give at least 2 cells and 1")
    if not temperature > 0:
        raise UsageError(f"a temperature of {temperature}; it lies above 0, such as 0.2")
    if erase not in ERASED:
        raise UsageError(f"erase {erase!r}; there are {', '.join(ERASED)}")
    if len(followed) and folder is None:
        raise UsageError(f"{len(followed)} cells are followed, and there is no folder to write to")
