"""Does a classifier of cells look at the cell? Planted plates, and what there is of real ones.

* Planted plates in 2-D and 3-D, where the answer is known: a cheater (the medium tells the
  treatment on its plates), its clean twin, and three remedies, each with Grad-CAMO on wells that it
  was not trained on, accuracy on plates that it never saw, and causal tests.
* Real volumes (embryos at two stages, a tissue, an ovule) and eight real fields of Cell Painting:
  segment, crop, train, features, Grad-CAMO of the class and of every feature. None of them can
  show that a treatment is told, see WHICH; they show where networks look.
* How much faster Grad-CAMO of all features is at once than feature by feature.

Needs the folder of real data in ATTRIBUTOME_DATA; `make real-camo` runs it into runs/camo, with two
processes of one thread. What is done is not done again, and a training that was killed goes on;
summary.json says all. Exit 1: a bar is missed.
"""

import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real_camo_steps import (
    BATCH,
    DIMS,
    JUMP,
    KINDS,
    LR,
    REMEDIES,
    SPEED,
    VOLUMES,
    WHICH,
    epochs_of,
    jump,
    planted,
    speed,
    volume,
)

from attributome import __version__
from attributome.core.errors import Refusal
from attributome.core.files import digest, make_folder, read_json, write_json

PUBLISHED = 0.30


def main() -> int:
    data = Path(os.environ.get("ATTRIBUTOME_DATA", "../shared/data")).resolve()
    for name in ("volumes_3d", "jump_brightfield"):
        if not (data / name).is_dir():
            print(f"no real data at {data / name}: set ATTRIBUTOME_DATA", file=sys.stderr)
            return 3
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/camo")
    try:
        summary = run(data, out)
    except Refusal as error:
        print(error, file=sys.stderr)
        return error.exit_code
    write_json(out / "summary.json", summary)
    return tell_all(summary)


@dataclass(frozen=True, slots=True)
class Job:
    """A step, the mark of its settings, and the minutes that it is likely to take."""

    step: Callable[[], dict[str, Any]]
    mark: str
    minutes: float


def jobs(data: Path, out: Path) -> dict[str, Job]:
    """What there is to do, the longest first."""
    made: dict[str, Job] = {}

    def add(name: str, minutes: float, of: Any, step: Callable[..., Any], *given: Any) -> None:
        mark = digest(json.dumps([__version__, BATCH, LR, of], sort_keys=True))
        folder = out / "training" / f"{name}-{mark[:8]}"
        made[name] = Job(partial(step, *given, folder), mark, minutes)

    for dims in (3, 2):
        for seed in DIMS[dims]["seeds"]:
            for kind, how in KINDS.items():
                epochs = epochs_of(dims, kind)
                settings = [DIMS[dims]["plant"], DIMS[dims]["net"], epochs, how]
                minutes = epochs / 15 if dims == 3 else 0.3
                add(f"{dims}d-{kind}-{seed}", minutes, settings, planted, dims, kind, seed)
    for name, of in VOLUMES.items():
        add(name, 1.0, of, volume, name, data / "volumes_3d", out / "real")
    add("jump", 1.5, JUMP, jump, data / "jump_brightfield", out / "real")
    return made


def run(data: Path, out: Path) -> dict[str, Any]:
    """Two jobs at a time, each in a process of its own; the speed last and alone."""
    todo, began = jobs(data, out), time.monotonic()
    asked = {name: job for name, job in todo.items() if not known(out, name, job.mark)}
    left = total = sum(job.minutes for job in asked.values())
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), mp_context=context) as pool:
        running = {
            pool.submit(once, out, name, job.mark, job.step): job for name, job in asked.items()
        }
        try:
            while running:
                for one in wait(running, timeout=15, return_when=FIRST_COMPLETED).done:
                    left -= running.pop(one).minutes
                    one.result()
                spent = (time.monotonic() - began) / 60
                more = spent * left / (total - left) if left < total else left / 2
                done = len(todo) - len(running)
                print(f"{done} of {len(todo)} steps; about {more:.0f} min left", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    mark = digest(json.dumps([__version__, SPEED]))
    if not known(out, "speed", mark):
        print("the speed of all features at once: about 1 min left", flush=True)
        once(out, "speed", mark, speed)
    results = {name: read_json(home(out, name))["found"] for name in (*todo, "speed")}
    training = sum(found.get("seconds", 0.0) for found in results.values())
    spent = {"of_all_trainings": round(training), "this_call": round(time.monotonic() - began)}
    return summed(results) | {"seconds": spent}


def summed(results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The summary: planted by kind, dimension and seed, real by data."""
    of: dict[str, dict[str, dict[str, Any]]] = {
        kind: {
            f"{dims}d": {str(s): results[f"{dims}d-{kind}-{s}"] for s in DIMS[dims]["seeds"]}
            for dims in DIMS
        }
        for kind in KINDS
    }
    return {
        "attributome": __version__,
        "planted": {
            "cheater": of["cheater"],
            "twin": of["twin"],
            "remedies": {kind: of[kind] for kind in REMEDIES},
            "penalty_of_the_class": of["penalty_of_the_class"],
        },
        "real": {name: results[name] for name in (*VOLUMES, "jump")}
        | {"published_share_above_half": PUBLISHED},
        **results["speed"],
        "which": WHICH,
        "settings": {"dims": {str(d): of for d, of in DIMS.items()}, "kinds": KINDS},
    }


def home(out: Path, name: str) -> Path:
    return out / "steps" / f"{name}.json"


def known(out: Path, name: str, mark: str) -> bool:
    return home(out, name).exists() and read_json(home(out, name))["mark"] == mark


def once(out: Path, name: str, mark: str, step: Callable[[], dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    make_folder(home(out, name).parent)
    write_json(home(out, name), {"mark": mark, "found": plain(step())})


def plain(value: Any) -> Any:
    """What JSON can hold: numbers of four digits, and null for what is undefined."""
    if isinstance(value, Mapping):
        return {str(key): plain(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(of) for of in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return round(float(value), 4) if math.isfinite(value) else None
    return value


def bars(summary: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Words, a value, and what it must reach."""
    made, rows = summary["planted"], []
    for dims, seeds in made["cheater"].items():
        for seed, cheater in seeds.items():
            of, twin = f"{dims}, seed {seed}", made["twin"][dims][seed]
            camo, held = cheater["median_grad_camo"], cheater["held_out_accuracy"]
            rows += [
                (f"{of}: cheater this near to chance", -abs(camo - cheater["chance"]), -0.1),
                (f"{of}: cheater is flagged", float(cheater["flagged"]), 1.0),
                (f"{of}: twin's Grad-CAMO", twin["median_grad_camo"], 0.8),
                (f"{of}: twin is not flagged", float(not twin["flagged"]), 1.0),
            ]
            for kind in REMEDIES:
                remedy = made["remedies"][kind][dims][seed]
                gain = remedy["median_grad_camo"] - camo
                rows.append((f"{of}: {kind} raises Grad-CAMO by", gain, 0.3))
                accuracy = remedy["held_out_accuracy"]
                rows.append((f"{of}: {kind}, accuracy on held-out plates", accuracy, held))
    measured = summary["feature_camo_measured"]
    rows.append(("Grad-CAMO of all features at once, times", summary["feature_camo_ratio"], 20.0))
    rows.append(("and the largest difference", -measured["largest_gap"], -1e-5))
    return rows


def tell_all(summary: dict[str, Any]) -> int:
    """Print values beside their bars; 1 where one is missed."""
    made = summary["planted"]
    named = {"cheater": made["cheater"], "twin": made["twin"], **made["remedies"]}
    named["penalty_of_the_class"] = made["penalty_of_the_class"]
    for kind, by_dims in named.items():
        for dims, seeds in by_dims.items():
            for seed, row in seeds.items():
                tests = {one["test"]: one["balanced"] for one in row["causal_tests"]}
                undefined = row["grad_camo"]["validate"]["undefined"]
                print(
                    f"{kind}, {dims}, seed {seed}: Grad-CAMO {row['median_grad_camo']:.2f}, chance "
                    f"{row['chance']:.2f} ({undefined} undefined); accuracy {row['accuracy']:.2f}, "
                    f"held-out plates {row['held_out_accuracy']:.2f}, background replaced "
                    f"{tests['background replaced']:.2f}{', flagged' if row['flagged'] else ''}"
                )
    for name in (*VOLUMES, "jump"):
        row = summary["real"][name]
        count = sum(row["cells"].values())
        print(
            f"{name}: {row['share_above_half']:.0%} of {count} cells above one half (uniform map "
            f"{row['share_above_half_uniform_map']:.0%}, untrained "
            f"{row['share_above_half_untrained']:.0%}, published {PUBLISHED:.0%}); "
            f"{row['what_this_can_say']}"
        )
    print("\nbars")
    missed = 0
    for words, value, bar in bars(summary):
        kept = value >= bar
        missed += not kept
        print(f"  {'kept' if kept else 'MISSED':6}  {words}: {abs(value):.3g}, bar {abs(bar):.3g}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
