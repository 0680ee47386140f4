"""Train an inpainter on pairs of cells, and say how well it predicts those it has not seen.

Under `torchrun` each process takes its share of every batch; gradients and logged numbers are
those of the whole batch. All processes must see the same `folder`.
"""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest
from attributome.core.parallel import Team, team_of
from attributome.core.training import Plan, Story, fit
from attributome.core.types import Progress, silent
from attributome.inpainting.cells import Cells
from attributome.inpainting.feeding import Feed, Rows, Share
from attributome.inpainting.losses import LOSSES
from attributome.inpainting.network import Inpainter
from attributome.inpainting.pairs import Lonely, partners
from attributome.inpainting.pretext import (
    errors_of,
    examples_of,
    fixed_pairs,
    need_fit,
    predicted,
    pretext_errors,
    pretext_mse,
    trivial_errors,
    write_examples,
)

__all__ = ["fit_inpainter", "pretext_errors", "pretext_mse"]

WATCHED = ("loss", "mse")


def fit_inpainter(
    net: Inpainter,
    cells: Cells,
    parts: Mapping[str, Sequence[str]],
    *,
    plan: Plan,
    batch: int = 64,
    seed: int = 0,
    compute: Compute,
    folder: Path | None = None,
    progress: Progress = silent,
    loss: Literal["mse", "l1", "ms_ssim"] = "mse",
    augment: bool = True,
    ema: float | None = None,
    workers: int = 0,
    examples: int = 4,
    balanced: bool = False,
    lonely: Lonely = "refuse",
) -> Story:
    """Train `net` in place on the ids of `parts["train"]` and leave it with its best weights.

    Each epoch pairs are drawn anew within the training cells (`pairs.partners`), and source and
    target are flipped independently, each axis with p = 0.5, all channels of a cell alike. What is
    best is judged on pairs of `parts["validate"]`, which are of other fields and always the same:
    their loss as `val_loss`, pretext MSE as `val_mse`, and beside it `val_copy_marker`, the MSE of
    showing the target's marker instead. An epoch is cut into batches of equal size, `batch` or a
    few fewer, so that no pair is left out. With `ema` (such as 0.999) what is judged and kept is
    the running mean of the weights. `workers` threads read ahead. With a folder, the `examples`
    first validation pairs are written to `folder/examples`, and predicted there after every epoch.
    Order, pairs and flips are drawn by (seed, epoch): a resumed training ends with the same bits.
    """
    team = team_of(compute)
    compute = team.compute
    _check(net, cells, plan, batch, loss, ema, workers, examples, team)
    train, held = (_rows(cells, parts, part) for part in ("train", "validate"))
    _apart(cells, train, held)
    draw = partial(
        partners,
        cells.table["group"].to_numpy()[train],
        seed=seed,
        balanced=balanced,
        lonely=lonely,
    )
    feed = Feed(cells, train, draw, seed if augment else None, compute, team, workers)
    steps = team.steps(len(draw(epoch=0)[0]), batch, "pairs")
    fixed = fixed_pairs(cells, held, seed, lonely)
    copied = float(trivial_errors(cells, fixed)[:, 0].mean())
    compute.place(net, 2)
    average = Averaged(net, ema) if ema is not None else None
    judged = net if average is None else average.mean
    parallel = team.parallel(net)
    lead = folder / "examples" if folder and examples and team.rank == 0 else None
    shown = examples_of(cells, fixed, examples)
    last = 0

    def step(given: Share, number: int, _done: float) -> dict[str, Tensor]:
        nonlocal last
        if average is not None and number % steps:  # after an epoch `validate` has done it
            average.update(number - 1)
        last = number
        source, marker, truth = (compute.move(each) for each in given.images)
        value = LOSSES[loss](parallel(source, marker), truth)
        return {"loss": team.logged(value, given.weight)}

    def errors(at: Rows) -> np.ndarray:
        some = fixed[0][at], fixed[1][at]
        return errors_of(judged, cells, some, compute=compute, loss=LOSSES[loss])

    def validate() -> dict[str, float]:
        if average is not None:
            average.update(last)
        team.agree(net if average is None else average)
        found = team.together(errors, len(fixed[0]), columns=2)
        if lead:
            drawn = predicted(judged, cells, shown, compute)
            write_examples(lead, cells, shown, f"prediction-{last // steps + 1:04d}", drawn)
        mse, watched = found.mean(0).tolist()
        return {"loss": watched, "mse": mse, "copy_marker": copied}

    story = fit(
        net if average is None else average,
        plan,
        batches=lambda epoch: feed.batches(epoch, steps),
        steps=steps,
        step=step,
        validate=validate,
        compute=compute,
        folder=folder,
        identity={
            "network": net.kwargs,
            "cells": _mark(cells, train, held),
            "batch": batch,
            "seed": seed,
            "loss": loss,
            "augment": augment,
            "ema": ema,
            "balanced": balanced,
            "lonely": lonely,
            "processes": team.world,
        },
        progress=progress if team.rank == 0 else silent,
    )
    if average is not None:
        net.load_state_dict(average.mean.state_dict())
    return story


class Averaged(nn.Module):
    """A network and the running mean of its weights, so that both are saved and resumed as one."""

    def __init__(self, net: Inpainter, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.net: Inpainter = net
        self.mean: Inpainter = copy.deepcopy(net)
        self.mean.requires_grad_(False)

    @torch.no_grad()
    def update(self, number: int) -> None:
        """Take in the weights after step `number`; the first steps soon forget where it began."""
        keep = min(self.decay, (1 + number) / (10 + number))
        new = self.net.state_dict()
        for name, old in self.mean.state_dict().items():
            if old.is_floating_point():
                old.lerp_(new[name], 1 - keep)
            else:
                old.copy_(new[name])


def _check(
    net: Inpainter,
    cells: Cells,
    plan: Plan,
    batch: int,
    loss: str,
    ema: float | None,
    workers: int,
    examples: int,
    team: Team,
) -> None:
    need_fit(net, cells)
    if loss not in LOSSES:
        raise UsageError(f"loss {loss!r}; there are {', '.join(LOSSES)}")
    if plan.watch not in WATCHED:
        raise UsageError(f"held-out {plan.watch!r} cannot be watched; {' and '.join(WATCHED)} can")
    team.need(plan, batch, "pairs")
    if ema is not None and not 0 < ema < 1:
        raise UsageError(f"ema {ema}: what is kept of the mean in each step lies between 0 and 1")
    if workers < 0 or examples < 0:
        raise UsageError(f"workers {workers} and examples {examples}: neither can be below 0")


def _rows(cells: Cells, parts: Mapping[str, Sequence[str]], part: str) -> Rows:
    """Where the ids of a part stand in the table."""
    if not len(ids := parts.get(part, ())):
        raise DataError(f"the split has no cells in its part {part!r}, and training needs them")
    found = pd.Index(cells.table["id"]).get_indexer(pd.Index(ids))
    if (found < 0).any():
        raise DataError(
            f"the part {part!r} names the cell {ids[int((found < 0).argmax())]!r}, which is not in "
            f"the table"
        )
    if len(np.unique(found)) < len(found):
        raise DataError(f"the part {part!r} names a cell twice")
    rows: np.ndarray = found.astype(np.int64)
    return rows


def _apart(cells: Cells, train: Rows, held: Rows) -> None:
    """Refuse a field in both parts: its cells share their staining, light and neighbours."""
    fields = cells.table["field"]
    both = sorted({*fields.iloc[train]} & {*fields.iloc[held]}, key=str)
    if both:
        raise DataError(
            f"{len(both)} fields are to be trained and validated on, the first {both[0]!r}; hold "
            f"out whole fields"
        )


def _mark(cells: Cells, train: Rows, held: Rows) -> str:
    """What tells one training set from another: who is in it, and the pixels of some of them."""
    columns = cells.table[["id", "group", "field"]].astype(str)
    lines = ["\t".join([*cells.targets, *cells.markers])]
    lines += ["\t".join(row) for part in (train, held) for row in columns.iloc[part].to_numpy()]
    seen = train[np.linspace(0, len(train) - 1, 16).astype(int)]
    return digest("\n".join([*lines, str(len(train))]), cells.source(seen).tobytes())
