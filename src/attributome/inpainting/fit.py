"""Train an inpainter on pairs of cells, and say how well it predicts those it has not seen.

Under `torchrun` each process takes its share of every batch; gradients and logged numbers are
those of the whole batch. All processes must see the same `folder`.
"""

import atexit
import copy
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Float64, Integer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.files import digest, write_text, write_whole
from attributome.core.probe import in_chunks, still
from attributome.core.seeds import rng, seed_of
from attributome.core.training import Plan, Story, fit
from attributome.core.types import Progress, silent
from attributome.inpainting.cells import Cells
from attributome.inpainting.losses import LOSSES, Loss
from attributome.inpainting.network import Inpainter
from attributome.inpainting.pairs import Lonely, partners

T = TypeVar("T")
R = TypeVar("R")
Rows = Integer[np.ndarray, "_"]
Pairs = tuple[Rows, Rows]
"""Source and target rows."""

Flips = Bool[np.ndarray, "_ 2 2"]
"""Of source and target: up-down and left-right."""

Images = tuple[Float[Tensor, "b s h w"], Float[Tensor, "b m h w"], Float[Tensor, "b t h w"]]
"""Source, marker, and the truth."""

WATCHED = ("loss", "mse")
TRIVIAL = ("copy_marker", "mean", "zeros")
CHUNK = 256


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
    team = _team(compute)
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
    steps = _steps(len(draw(epoch=0)[0]), batch, team)
    fixed = _fixed(cells, held, seed, lonely)
    copied = float(_trivial(cells, fixed)[:, 0].mean())
    compute.place(net, 2)
    average = Averaged(net, ema) if ema is not None else None
    judged = net if average is None else average.mean
    parallel = team.parallel(net)
    lead = folder / "examples" if folder and examples and team.rank == 0 else None
    shown = _examples(cells, fixed, examples)
    last = 0

    def step(given: Share, number: int, _done: float) -> dict[str, Tensor]:
        nonlocal last
        if average is not None and number % steps:  # after an epoch `validate` has done it
            average.update(number - 1)
        last = number
        source, marker, truth = (compute.move(each) for each in given.images)
        value = LOSSES[loss](parallel(source, marker), truth)
        return {"loss": team.logged(value, given.weight)}

    def validate() -> dict[str, float]:
        if average is not None:
            average.update(last)
        team.agree(net if average is None else average)
        work = partial(_errors, judged, cells, compute=compute, loss=LOSSES[loss])
        found = team.together(work, fixed)
        if lead:
            drawn = _predicted(judged, cells, shown, compute)
            _show(lead, cells, shown, f"prediction-{last // steps + 1:04d}", drawn)
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


def pretext_errors(
    net: Inpainter,
    cells: Cells,
    rows: Rows,
    *,
    seed: int,
    compute: Compute | None = None,
    batch: int = CHUNK,
    lonely: Lonely = "refuse",
) -> pd.DataFrame:
    """Squared error of each of the fixed pairs of `rows`, and of predictors that learn nothing.

    One pair per row: ids of `source` and `target`, the target's `group` and `field`, and means over
    its pixels and target channels of the squared errors of the network (`mse`), of the target's
    marker (`copy_marker`; of several, the best for each target channel over all pairs), of the best
    constant of each channel over all pairs (`mean`) and of `zeros`. `seed` decides the pairs,
    as that of `fit_inpainter` does: the rows of its validation part give its `val_mse`.
    """
    if compute is None:
        compute = Compute(device=str(next(net.parameters()).device))
    else:
        compute.place(net, 2)
    _fits(net, cells)
    pairs = _fixed(cells, rows, seed, lonely)
    table = cells.table
    found = pd.DataFrame(
        {
            "source": table["id"].to_numpy()[pairs[0]],
            "target": table["id"].to_numpy()[pairs[1]],
            "group": table["group"].to_numpy()[pairs[1]],
            "field": table["field"].to_numpy()[pairs[1]],
        }
    )
    errors = _errors(net, cells, pairs, compute=compute, loss=LOSSES["mse"], batch=batch)
    found["mse"] = errors[:, 0]
    found[list(TRIVIAL)] = _trivial(cells, pairs)
    return found


def pretext_mse(
    net: Inpainter,
    cells: Cells,
    rows: Rows,
    *,
    seed: int,
    compute: Compute | None = None,
    batch: int = CHUNK,
    lonely: Lonely = "refuse",
) -> dict[str, float]:
    """Means of `pretext_errors` over the pairs, with how many `pairs` of how many `fields`."""
    table = pretext_errors(net, cells, rows, seed=seed, compute=compute, batch=batch, lonely=lonely)
    counts = {"pairs": float(len(table)), "fields": float(table["field"].nunique())}
    return counts | {name: float(table[name].mean()) for name in ("mse", *TRIVIAL)}


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """What one process is given of a batch, and how much its mean counts in that of all."""

    images: Images
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """The pairs of every epoch as images; `seed` is that of the flips, None for no flips."""

    cells: Cells
    rows: Rows
    draw: Callable[..., Pairs]
    seed: int | None
    compute: Compute
    team: "Team"
    workers: int

    def batches(self, epoch: int, steps: int) -> Iterator[Share]:
        """The epoch's pairs in `steps` batches of equal size, one more in some."""
        sources, targets = (self.rows[at] for at in self.draw(epoch=epoch))
        flips = None
        if self.seed is not None:
            flips = rng(self.seed, "flips", epoch).random((len(sources), 2, 2)) < 0.5

        def read(rows: Rows) -> Share:
            mine = np.array_split(rows, self.team.world)[self.team.rank]
            turned = None if flips is None else flips[mine]
            images = _images(self.cells, (sources[mine], targets[mine]), turned, self.compute)
            return Share(images, len(mine) * self.team.world / len(rows))

        return _ahead(read, np.array_split(np.arange(len(sources)), steps), self.workers)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """The processes that train together; one by itself is a team too."""

    compute: Compute
    rank: int = 0
    world: int = 1

    def parallel(self, net: nn.Module) -> nn.Module:
        """The network whose backward pass averages the gradients of all processes."""
        return DistributedDataParallel(net) if self.world > 1 else net

    def logged(self, loss: Tensor, weight: float) -> Tensor:
        """The mean loss of the whole batch, with a slope whose mean over processes is its own."""
        if self.world == 1:
            return loss
        mine = loss * weight
        total = mine.detach().clone()
        torch.distributed.all_reduce(total)
        return total / self.world + (mine - mine.detach())

    def agree(self, net: nn.Module) -> None:
        """Give every process the running statistics of the first."""
        if self.world > 1:
            for each in net.buffers():
                torch.distributed.broadcast(each, 0)

    def together(self, work: Callable[[Pairs], np.ndarray], pairs: Pairs) -> np.ndarray:
        """`work` gives a row of numbers per pair; each process does its share of the pairs."""
        if self.world == 1:
            return work(pairs)
        mine = np.arange(self.rank, len(pairs[0]), self.world)
        some = work((pairs[0][mine], pairs[1][mine]))
        found = torch.zeros(len(pairs[0]), 2, dtype=torch.float64, device=self.compute.device)
        found[torch.from_numpy(mine).to(found.device)] = torch.from_numpy(some).to(found.device)
        torch.distributed.all_reduce(found)
        whole: np.ndarray = found.cpu().numpy()
        return whole


def _team(compute: Compute) -> Team:
    """The team that `torchrun` or the caller has made of the processes."""
    group = torch.distributed
    if not group.is_available():
        return Team(compute=compute)
    here = os.environ.get("LOCAL_RANK")
    if compute.device == "cuda" and here is not None:
        compute = replace(compute, device=f"cuda:{here}")
        torch.cuda.set_device(int(here))
    if not group.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        group.init_process_group("nccl" if "cuda" in compute.device else "gloo")
        # not when this training ends: a second one of the same processes meets there again
        atexit.register(group.destroy_process_group)
    if not group.is_initialized():
        return Team(compute=compute)
    return Team(compute=compute, rank=group.get_rank(), world=group.get_world_size())


def _images(
    cells: Cells, pairs: Pairs, flips: Flips | None = None, compute: Compute | None = None
) -> Images:
    """What the network is given and what it must say, on the host."""
    both = [cells.source(rows) for rows in pairs]
    if flips is not None:
        for i, images in enumerate(both):
            for j, axis in enumerate((-2, -1)):
                which = flips[:, i, j]
                images[which] = np.flip(images[which], axis)
    count = len(cells.targets)
    # each for itself: a view of one channel has odd strides, and its gradients would have them too
    arrays = both[0], *(np.ascontiguousarray(x) for x in np.split(both[1], [count], axis=1))
    source, truth, marker = map(torch.from_numpy, arrays)
    if compute is not None and "cuda" in compute.device:
        return source.pin_memory(), marker.pin_memory(), truth.pin_memory()
    return source, marker, truth


def _ahead(read: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map` with threads that read ahead; NumPy and the disk let Python go on meanwhile."""
    if not workers:
        yield from map(read, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _fixed(cells: Cells, rows: Rows, seed: int, lonely: Lonely) -> Pairs:
    """One partner for each row, within the rows, whoever asks and when."""
    groups = cells.table["group"].to_numpy()[rows]
    at = partners(groups, seed=seed_of(seed, "validate"), epoch=0, lonely=lonely)
    return rows[at[0]], rows[at[1]]


def _errors(
    net: Inpainter,
    cells: Cells,
    pairs: Pairs,
    *,
    compute: Compute,
    loss: Loss,
    batch: int = CHUNK,
) -> Float64[np.ndarray, "_ 2"]:
    """Squared error of each pair, and its loss."""

    def work(some: slice) -> Tensor:
        source, marker, truth = (
            compute.move(each) for each in _images(cells, (pairs[0][some], pairs[1][some]))
        )
        out = net(source, marker).float()
        squared: Tensor = (out - truth).double().square().mean((1, 2, 3))
        if loss is LOSSES["mse"]:
            return squared[:, None].expand(-1, 2)
        each = [loss(out[i : i + 1], truth[i : i + 1]).double() for i in range(len(out))]
        return torch.stack([squared, torch.stack(each)], 1)

    with still(net), torch.no_grad(), compute.autocast():
        found = in_chunks(work, len(pairs[0]), batch)
    return torch.cat(found).cpu().numpy() if found else np.empty((0, 2))


def _predicted(
    net: Inpainter, cells: Cells, pairs: Pairs, compute: Compute
) -> Float32[np.ndarray, "_ t h w"]:
    source, marker, _ = (compute.move(each) for each in _images(cells, pairs))
    with still(net), torch.no_grad(), compute.autocast():
        out: np.ndarray = net(source, marker).float().contiguous().cpu().numpy()
    return out


def _trivial(cells: Cells, pairs: Pairs) -> Float64[np.ndarray, "_ 3"]:
    """Squared errors of each pair for the three predictors that learn nothing."""
    copies, means, squares = [], [], []
    for start in range(0, len(pairs[1]), CHUNK):
        rows = pairs[1][start : start + CHUNK]
        truth, marker = cells.target(rows).astype(float), cells.marker(rows).astype(float)
        each = [((truth - marker[:, [m]]) ** 2).mean((2, 3)) for m in range(marker.shape[1])]
        copies.append(np.stack(each, 2))
        means.append(truth.mean((2, 3)))
        squares.append((truth**2).mean((2, 3)))
    copy, mean, square = (np.concatenate(parts) for parts in (copies, means, squares))
    best = copy.mean(0).argmin(1)
    copied = np.take_along_axis(copy, best[None, :, None], 2)[..., 0].mean(1)
    level = mean.mean(0)
    constant = (square - 2 * level * mean + level**2).mean(1)
    return np.stack([copied, constant, square.mean(1)], 1)


def _examples(cells: Cells, pairs: Pairs, count: int) -> Pairs:
    """The first pairs, one of each group before a second of any."""
    group = pd.Series(cells.table["group"].to_numpy()[pairs[0]])
    first = np.argsort(group.groupby(group).cumcount().to_numpy(), kind="stable")[:count]
    return pairs[0][first], pairs[1][first]


def _show(folder: Path, cells: Cells, pairs: Pairs, name: str, drawn: np.ndarray) -> None:
    """Write pairs and their prediction; only now is it sure that the folder is this training's."""
    truth = [each.numpy() for each in _images(cells, pairs)]
    for title, array in zip(("source", "marker", "truth", name), (*truth, drawn), strict=True):
        _write(folder / f"{title}.npy", array)
    ids = cells.table["id"].to_numpy()
    table = pd.DataFrame({"source": ids[pairs[0]], "target": ids[pairs[1]]})
    write_text(folder / "pairs.csv", table.to_csv(index=False))


def _write(path: Path, array: np.ndarray) -> None:
    write_whole(path, lambda part: np.save(part, array))


def _steps(pairs: int, batch: int, team: "Team") -> int:
    """How many steps an epoch has, so that each process has at least two pairs in every one."""
    least = 2 * team.world
    if pairs < least:
        raise DataError(
            f"{pairs} training pairs for {team.world} processes; each needs at least 2 in a step"
        )
    return min(-(-pairs // batch), pairs // least)


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
    _fits(net, cells)
    if loss not in LOSSES:
        raise UsageError(f"loss {loss!r}; there are {', '.join(LOSSES)}")
    if plan.watch not in WATCHED:
        raise UsageError(f"held-out {plan.watch!r} cannot be watched; {' and '.join(WATCHED)} can")
    if batch < 2 * team.world:
        raise UsageError(
            f"a batch of {batch} pairs for {team.world} processes; each needs at least 2, or its "
            f"norms see no spread"
        )
    if ema is not None and not 0 < ema < 1:
        raise UsageError(f"ema {ema}: what is kept of the mean in each step lies between 0 and 1")
    if workers < 0 or examples < 0:
        raise UsageError(f"workers {workers} and examples {examples}: neither can be below 0")
    if team.world > 1 and plan.minutes is not None:
        raise UsageError(
            "several processes cannot share a plan of minutes, because their clocks decide when to "
            "stop: give epochs"
        )


def _fits(net: Inpainter, cells: Cells) -> None:
    if (net.targets, net.markers) != (len(cells.targets), len(cells.markers)):
        raise UsageError(
            f"the network predicts {net.targets} channels beside {net.markers} markers; the cells "
            f"have {len(cells.targets)} targets ({', '.join(cells.targets)}) and "
            f"{len(cells.markers)} markers ({', '.join(cells.markers)})"
        )
    if cells.size[0] % 4 or cells.size[1] % 4:
        raise DataError(f"crops of {cells.size} pixels; both sizes must be divisible by 4")


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
