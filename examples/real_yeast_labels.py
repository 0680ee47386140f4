"""What the labels themselves give: the source layers of `real_yeast.py`, told each cell's protein.

A reference of the same size, for which nothing was tuned; not the best that labels could give.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_yeast_networks import (
    BATCH,
    FOLDS,
    PLAN,
    SEED,
    folds_of,
    network,
    read,
    settings,
)
from torch import Tensor, nn

from attributome.core.seeds import rng
from attributome.inpainting.cells import Cells
from attributome.inpainting.network import Inpainter
from attributome.inpainting.preprocess import prepare
from attributome.inpainting.saving import save_inpainter

EPOCHS, SMOOTHING = 30, 0.1


class Labelled(nn.Module):
    """The source layers, and a linear layer on the maxima and means of the last of them."""

    def __init__(self, net: Inpainter, classes: int) -> None:
        super().__init__()
        self.net = net
        self.name = net.layers[-1]
        self.head = nn.Linear(2 * net.kwargs["widths"][-1], classes)

    def forward(self, source: Tensor) -> Tensor:
        found = self.net.encode(source)[self.name]
        maps = self.net.get_submodule(f"{self.name}_norm")(found)
        told: Tensor = self.head(torch.cat([maps.amax((2, 3)), maps.mean((2, 3))], 1))
        return told


def labelled_home(out: Path) -> Path:
    return out / "labelled"


def labels_asked() -> dict[str, Any]:
    return settings() | {"label_epochs": EPOCHS, "label_smoothing": SMOOTHING}


def train_labelled(path: Path, out: Path) -> None:
    """Train a network on the proteins' names, and save it with how it fares."""
    torch.set_num_threads(1)
    net, told = labelled(prepare(read(path), "yeast"))
    save_inpainter(labelled_home(out), net, {"asked": labels_asked(), "told": told})


def labelled(cells: Cells) -> tuple[Inpainter, dict[str, Any]]:
    """A network that is told the protein of the cells of three fields of four, and how it fares."""
    labels = np.unique(cells.table["group"].to_numpy(str), return_inverse=True)[1]
    held = folds_of(cells) == FOLDS - 1
    rows, truth = np.flatnonzero(~held), torch.from_numpy(labels)
    sources = torch.from_numpy(cells.source(np.arange(len(cells))))
    torch.manual_seed(SEED)
    net = Labelled(network(), int(labels.max()) + 1)
    best = torch.optim.AdamW(net.parameters(), lr=PLAN.lr, weight_decay=PLAN.weight_decay)
    steps = len(rows) // BATCH
    rate = torch.optim.lr_scheduler.OneCycleLR(best, 2 * PLAN.lr, total_steps=EPOCHS * steps)
    judge = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    began = time.monotonic()
    for epoch in range(EPOCHS):
        draw = rng(SEED, "labelled cells", epoch)
        order = draw.permutation(rows)[: steps * BATCH].reshape(steps, BATCH)
        for some, turns in zip(order, draw.random((steps, 3)) < 0.5, strict=True):
            source = sources[some].flip([axis for axis, turn in ((-1, 0), (-2, 1)) if turns[turn]])
            loss = judge(net(source.swapaxes(-1, -2) if turns[2] else source), truth[some])
            best.zero_grad()
            loss.backward()
            best.step()
            rate.step()
    net.eval()
    with torch.no_grad():
        parts = [net(some).argmax(1) for some in sources.split(100)]
    right = torch.cat(parts).numpy() == labels
    told = {
        "epochs": EPOCHS,
        "recognised_of_cells_it_was_told": round(float(right[~held].mean()), 4),
        "recognised_of_held_out_fields": round(float(right[held].mean()), 4),
        "seconds": round(time.monotonic() - began, 1),
    }
    return net.net, told
