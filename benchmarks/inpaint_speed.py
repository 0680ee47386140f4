"""What training and feature extraction of an inpainter add to the network itself; exit 1 if much.

* `step_over_floor`: a step inside `fit_inpainter` (reading, flipping, forward, loss, backward,
  optimiser, log) over the bare network forward and backward on a batch that is there already;
  `step_over_floor_and_optimizer` has AdamW in the floor too.
* `features_over_encode`: `extract` of all five layers, max and mean, over the source branch alone
  (`encode`) on the same cells; `features_over_forward` over the whole network. The first is judged
  with the published widths only: a branch of a few channels takes so little time itself that
  reading, moving and pooling, which depend on it hardly, come to a fifth of it and more.
* `feed`: pairs that are read and flipped in a second with 0, 1 and 2 threads reading ahead, from a
  folder of cells on disk, and a batch's reading as a share of a step.

Work and floor take turns in one process. The judged ratios are medians over rounds of seconds of
processor time, since on a machine with other work the wall clock tells of that. One thread.
`--width published` takes the network of Lu et al. (2019), `--width small` that of the example on
yeast cells.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from peers_turns import Scale, in_turns, quarters

from attributome.core.compute import Compute
from attributome.core.parallel import team_of
from attributome.core.probe import at_once, in_chunks, still
from attributome.core.training import Plan
from attributome.inpainting.cells import Cells, read_cells, write_cells
from attributome.inpainting.feeding import Feed, images_of
from attributome.inpainting.fit import fit_inpainter
from attributome.inpainting.losses import LOSSES
from attributome.inpainting.network import Inpainter
from attributome.inpainting.pairs import partners
from attributome.inpainting.planted import planted
from attributome.inpainting.preprocess import prepare
from attributome.profiles.features import extract

BOUNDS = {
    "published": {"step_over_floor": 1.2, "features_over_encode": 1.15},
    "small": {"step_over_floor": 1.2, "features_over_forward": 1.15},
}
WIDTHS: dict[str, dict[str, Any]] = {
    "published": {},
    "small": {"widths": (24, 32, 48, 48, 32), "marker_width": 8},
}
BATCH = {"published": 4, "small": 32}
WARM = 2
"""First steps that are not counted: the optimiser makes its state in them."""


def measure(*, width: str = "small", rounds: int = 15, seed: int = 0) -> dict[str, Any]:
    """All ratios for one network, and what was measured."""
    torch.set_num_threads(1)
    batch = BATCH[width]
    cells = prepare(planted(groups=2, fields=4, cells=8, size=64, seed=seed), "yeast")
    with tempfile.TemporaryDirectory() as home:
        write_cells(Path(home), cells)
        cells = read_cells(Path(home))
        step = of_a_step(cells, network(width, seed), batch, rounds, seed)
        features = of_features(cells, network(width, seed), batch, rounds)
        feed = of_the_feed(cells, batch, step["seconds"]["step"], seed)
    return {
        "step_over_floor": round(median(step["ratios"]), 3),
        "step_quartiles": quarters(step["ratios"]),
        "step_over_floor_and_optimizer": round(median(step["with_optimizer"]), 3),
        "features_over_encode": round(median(features["encode"]), 3),
        "features_quartiles": quarters(features["encode"]),
        "features_over_forward": round(median(features["forward"]), 3),
        "feed": feed,
        "cpu_seconds_a_step": {k: round(v, 4) for k, v in step["seconds"].items()},
        "setting": {"width": width, "batch": batch, "crop": 64, "rounds": rounds, "threads": 1},
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),
    }


def network(width: str, seed: int) -> Inpainter:
    return Inpainter(1, 2, norm="batch", seed=seed, **WIDTHS[width])


def of_a_step(cells: Cells, net: Inpainter, batch: int, rounds: int, seed: int) -> dict[str, Any]:
    """Steps of one epoch and floors in turns: the training comes back to us after every step."""
    compute = Compute()
    bare = compute.place(network_like(net), 2).train()
    tuned = torch.optim.AdamW(bare.parameters(), lr=1e-3)
    rows = np.arange(batch)
    pairs = rows, rows[::-1].copy()
    source, marker, truth = (compute.move(each) for each in images_of(cells, pairs))
    fields = cells.table["field"].to_numpy()
    ids = cells.table["id"].to_numpy()
    held = np.array([str(name).endswith("_f3") for name in fields])
    train = np.flatnonzero(~held)[: batch * (rounds + WARM + 1)]
    few = np.flatnonzero(held)[:batch]
    steps: list[float] = []
    floors: list[float] = []
    optimizers: list[float] = []

    def floor() -> None:
        began = time.process_time()
        bare.zero_grad(set_to_none=True)
        LOSSES["mse"](bare(source, marker), truth).backward()
        floors.append(time.process_time() - began)
        began = time.process_time()
        tuned.step()
        optimizers.append(time.process_time() - began)

    mark = [0.0, 0.0]

    def after_a_step(_done: float, words: str) -> None:
        now = time.process_time()
        epoch = float(words.split()[1].rstrip(",")) if words.startswith("epoch") else -1.0
        if epoch == mark[1]:  # the first step of an epoch has the validation before it in its time
            steps.append(now - mark[0])
            floor()
        mark[:] = [time.process_time(), epoch]

    per_epoch = -(-len(train) // batch)
    epochs = -(-(rounds + WARM) // (per_epoch - 1))
    fit_inpainter(
        net,
        cells,
        {"train": ids[train].tolist(), "validate": ids[few].tolist()},
        plan=Plan(lr=1e-3, epochs=epochs),
        batch=batch,
        seed=seed,
        compute=compute,
        progress=after_a_step,
    )
    counted = list(zip(steps, floors, optimizers, strict=True))[WARM : WARM + rounds]
    return {
        "ratios": [step / floor for step, floor, _ in counted],
        "with_optimizer": [step / (floor + more) for step, floor, more in counted],
        "seconds": {
            name: median(column)
            for name, column in zip(
                ("step", "floor", "optimizer"), zip(*counted, strict=True), strict=True
            )
        },
    }


def network_like(net: Inpainter) -> Inpainter:
    """Another network of the same shape."""
    return Inpainter(**net.kwargs)


def of_features(cells: Cells, net: Inpainter, batch: int, rounds: int) -> dict[str, list[float]]:
    """`extract` beside passes over the same cells, in chunks of the same size, in memory."""
    compute = Compute()
    compute.place(net, 2)
    rows = np.arange(4 * batch)
    chunk = at_once(torch.from_numpy(cells.source(rows[:1])), len(rows))
    source, marker, _ = (compute.move(each) for each in images_of(cells, (rows, rows)))

    def features() -> None:
        for _block in extract(net, cells, rows=rows):
            pass

    def encode() -> None:
        with still(net), torch.no_grad():
            in_chunks(lambda some: net.encode(source[some])["conv5_1"], len(rows), chunk)

    def forward() -> None:
        with still(net), torch.no_grad():
            in_chunks(lambda some: net(source[some], marker[some]), len(rows), chunk)

    versions = {"ours": features, "encode": encode, "forward": forward}
    turns = in_turns(versions, Scale(least=rounds, most=rounds, seconds=0.0))
    return {name: turns.ratios("ours", name, cpu=True) for name in ("encode", "forward")}


def of_the_feed(cells: Cells, batch: int, step: float, seed: int) -> dict[str, Any]:
    """Pairs per second on the clock and per second of the processor, by threads that read ahead."""
    compute = Compute()
    team = team_of(compute)
    rows = np.arange(len(cells))
    draw = partial(partners, cells.table["group"].to_numpy(), seed=seed)
    steps = len(cells) // batch
    found: dict[str, Any] = {}
    for workers in (0, 1, 2):
        feed = Feed(cells, rows, draw, seed, compute, team, workers)
        spans = []
        for epoch in range(8):
            wall, cpu = time.perf_counter(), time.process_time()
            for _share in feed.batches(epoch, steps):
                pass
            spans.append((time.perf_counter() - wall, time.process_time() - cpu))
        wall, cpu = (median(column) for column in zip(*spans[1:], strict=True))
        found[f"{workers} workers"] = {
            "pairs_per_second": round(len(cells) / wall),
            "pairs_per_cpu_second": round(len(cells) / cpu),
            "share_of_a_step": round(cpu / steps / step, 4),
        }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", choices=tuple(WIDTHS), default="small")
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    found = measure(width=asked.width, rounds=asked.rounds)
    print(json.dumps(found, indent=1))
    bounds = BOUNDS[asked.width]
    behind = [name for name, bound in bounds.items() if found[name] > bound]
    for name in behind:
        print(f"{name} {found[name]} is above its bound of {bounds[name]}", file=sys.stderr)
    return int(bool(behind))


if __name__ == "__main__":
    sys.exit(main())
