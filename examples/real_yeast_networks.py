"""Real yeast cells for `real_yeast.py`: reading them, and training a network without each fold."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from attributome.core.compute import Compute
from attributome.core.training import Plan
from attributome.inpainting.cells import Cells
from attributome.inpainting.fit import fit_inpainter
from attributome.inpainting.network import Inpainter
from attributome.inpainting.preprocess import prepare
from attributome.inpainting.saving import load_inpainter, save_inpainter

SEED, K, FOLDS = 0, 11, 4
SHAPE: dict[str, Any] = {
    "widths": (24, 32, 48, 48, 32),
    "marker_width": 8,
    "norm": "group",
    "summary": True,
}
PLAN = Plan(lr=2e-3, weight_decay=1e-2, clip=1.0, epochs=30)
BATCH, EMA = 32, 0.99


def read(path: Path) -> Cells:
    """The cells of the archive; pairs are drawn within a protein."""
    with np.load(path) as stored:
        crops = stored["x"].astype(np.float32) * stored["scale"][:, :, None, None]
        proteins = stored["classes"][stored["y"]].astype(str)
        table = pd.DataFrame(
            {"id": stored["cell"].astype(str), "group": proteins, "field": stored["field"]}
        )
    return Cells(
        table=table.astype(object),
        crops=crops.astype(np.float32),
        channels=("rfp", "gfp"),
        targets=("gfp",),
        markers=("rfp",),
    )


def folds_of(cells: Cells) -> np.ndarray:
    """The place of each cell's field among the fields of its protein: 0 to 3."""
    table = cells.table
    places = table.groupby("group")["field"].transform(lambda of: of.rank(method="dense"))
    folds: np.ndarray = places.to_numpy().astype(int) - 1
    return folds


def views(cells: Cells, count: int) -> Iterator[Cells]:
    """The cells as they are; of eight, also mirrored and with rows and columns exchanged."""
    for at in range(count):
        crops = cells.crops
        crops = crops.swapaxes(-1, -2) if at & 4 else crops
        crops = crops[..., ::-1, :] if at & 2 else crops
        crops = crops[..., ::-1] if at & 1 else crops
        yield with_crops(cells, np.ascontiguousarray(crops))


def with_crops(cells: Cells, crops: np.ndarray) -> Cells:
    names = {key: getattr(cells, key) for key in ("channels", "targets", "markers")}
    return Cells(table=cells.table, crops=crops, **names)


def doubled(cells: Cells) -> Cells:
    """Each cell, and the same with rows and columns exchanged: flips alone never turn a cell."""
    turned = cells.table.assign(id=cells.table["id"] + "/turned")
    both = np.concatenate([cells.crops, cells.crops.swapaxes(-1, -2)])
    names = {key: getattr(cells, key) for key in ("channels", "targets", "markers")}
    table = pd.concat([cells.table, turned], ignore_index=True)
    return Cells(table=table, crops=np.ascontiguousarray(both), **names)


def network() -> Inpainter:
    return Inpainter(1, 1, seed=SEED, **SHAPE)


def settings() -> dict[str, Any]:
    return {
        "shape": {key: [*of] if isinstance(of, tuple) else of for key, of in SHAPE.items()},
        "plan": asdict(PLAN) | {"betas": [*PLAN.betas]},
        "batch": BATCH,
        "ema": EMA,
        "seed": SEED,
        "k": K,
        "folds": FOLDS,
    }


def home(out: Path, fold: int) -> Path:
    return out / f"without-fold-{fold + 1}"


def card(folder: Path) -> dict[str, Any]:
    return dict(load_inpainter(folder)[1])


def train_all(path: Path, out: Path, beside: Sequence[Callable[[Path, Path], None]]) -> None:
    """Two networks at a time, each in a process of its own; how far they are, as it goes.

    Each of `beside` is one more training among them, called with path and out.
    """
    asked = [fold for fold in reversed(range(FOLDS)) if not trained(home(out, fold), settings())]
    if not asked and not beside:
        return
    began = time.monotonic()
    before = epochs_done(out)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), mp_context=context) as pool:
        left = {pool.submit(train, path, out, fold) for fold in asked}
        left |= {pool.submit(one, path, out) for one in beside}
        while left:
            done, left = wait(left, timeout=15)
            for one in done:
                one.result()
            epochs, total = epochs_done(out), FOLDS * PLAN.epochs
            spent = time.monotonic() - began
            words = "" if epochs == before else f", about {_minutes(spent, epochs, before, total)}"
            if asked:
                print(
                    f"training: {epochs} of {total} epochs of {FOLDS} networks{words}", flush=True
                )


def _minutes(spent: float, epochs: int, before: int, total: int) -> str:
    return f"{spent / 60 * (total - epochs) / (epochs - before):.0f} min of training left"


def epochs_done(out: Path) -> int:
    logs = [home(out, fold) / "training" / "log.csv" for fold in range(FOLDS)]
    return sum(len(log.read_text().splitlines()) - 1 for log in logs if log.exists())


def trained(folder: Path, asked: dict[str, Any]) -> bool:
    """Whether this network was trained with what is asked."""
    if not (folder / "network.json").exists():
        return False
    return bool(card(folder).get("asked") == asked)


def train(path: Path, out: Path, fold: int) -> None:
    """Train without a fold; a training that was killed goes on from its last whole epoch."""
    torch.set_num_threads(1)
    cells = doubled(prepare(read(path), "yeast"))
    ids, held = cells.table["id"], folds_of(cells) == fold
    upright = ~ids.str.endswith("/turned").to_numpy()
    net = network()
    story = fit_inpainter(
        net,
        cells,
        {"train": ids[~held].tolist(), "validate": ids[held & upright].tolist()},
        plan=PLAN,
        batch=BATCH,
        seed=SEED,
        compute=Compute(),
        folder=home(out, fold) / "training",
        ema=EMA,
    )
    about = {"asked": settings(), "rows": story.rows, "seconds": round(story.seconds, 1)}
    save_inpainter(home(out, fold), net, about)
