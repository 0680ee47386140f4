"""Every study that eight real fields and two virtual stainings allow.

U2OS cells (cpg0000, JUMP pilot), three bright-field planes in; DNA and AGP are painted. Each
stain has two predictors with masks, each trained on four fields (one of them validates) and
tested on the other four: cross-fitted, so that each of the eight fields is a test field once.
The wells and the compounds of the fields all differ, so that a field is its own unit.

Needs the folder of real data in ATTRIBUTOME_DATA; `make real-jump-studies` runs it into
runs/jump-studies and runs/studies, with two processes of one thread. What is done is not done
again; runs/studies/summary.json says all, and runs/studies/report/index.html shows it. Exit 1: a
bar is missed.
"""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd

from attributome.cli import run_cli
from attributome.config import job_from, write_example
from attributome.core.files import read_json

STAINS = {"DNA": "ch5", "AGP": "ch2"}
HALVES = {1: ["train", "train", "train", "validate"], 2: ["test"] * 4}
RIVALS = ("saliency", "integrated_gradients", "grad_cam")
VOLUMES = ("0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9")

JOB: dict[str, Any] = {
    "predictor": {"lr": 4e-3, "epochs": 8, "steps": 50, "batch": 8, "patch": [128, 128]},
    "masks": {
        "lr": 5e-3, "epochs": 6, "steps": 50, "batch": 8, "patch": [128, 128],
        # the comparison noises 10 % to 90 % of a field, and so training draws sizes as wide
        "noise_scale": 1.5, "threshold": 0.88, "grain": 1, "areas": [0.05, 0.8],
    },
    "explain": {"methods": {"learned_mask": {}}, "window": [512, 512]},
}  # fmt: skip


def table(data: Path, folder: Path, half: int) -> Path:
    """Fields in the order of their names, every other one of this half; the others are tests."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = pd.read_csv(data / "fields.csv").sort_values("file").reset_index(drop=True)
    own, other = HALVES[1], HALVES[2]
    first, second = (own, other) if half == 1 else (other, own)
    split = [each for pair in zip(first, second, strict=True) for each in pair]
    rows = fields.assign(image=[str(data / name) for name in fields.pop("file")], split=split)
    rows.insert(0, "id", rows["compound"])
    path = folder / "fields.csv"
    rows.to_csv(path, index=False)
    return path


def train(data: Path, out: Path, stain: str, half: int) -> int:
    """A predictor and its masks from one half of the fields."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    torch.set_num_threads(1)
    folder = out / f"{stain}-{half}"
    chosen = {
        "inputs": ["ch6", "ch7", "ch8"],
        "targets": [STAINS[stain]],
        "source": str(table(data, folder, half)),
        "root": str(data),
    }
    job = folder / "job.toml"
    if not job.exists():
        write_example(job, job_from({**JOB, "name": stain, "data": chosen}, "this example"))
    return run_cli(["run", str(job), "--out", str(folder)])


def main() -> int:
    data = Path(os.environ.get("ATTRIBUTOME_DATA", "../shared/data")).resolve() / "jump_brightfield"
    if not data.is_dir():
        print(f"no real data at {data}: set ATTRIBUTOME_DATA", file=sys.stderr)
        return 3
    runs = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/jump-studies")
    out = Path(sys.argv[2] if len(sys.argv) > 2 else "runs/studies")
    started = time.monotonic()
    if failed := train_all(data, runs):
        return failed
    names = [f"{stain}={runs / f'{stain}-{half}'}" for stain in STAINS for half in HALVES]
    command = ["study", "all", *names, "--out", str(out)]
    command += ["--by", "control_type", "--control", "negcon"]
    print("attributome", *command, flush=True)
    if (code := run_cli(command)) not in (0, 4):
        return code
    print(f"{(time.monotonic() - started) / 60:.0f} minutes in this call")
    return tell_all(read_json(out / "summary.json"))


def train_all(data: Path, runs: Path) -> int:
    """The four trainings, two at a time; the first exit code that is not 0."""
    asked = [(stain, half) for stain in STAINS for half in HALVES]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), mp_context=context) as pool:
        left = {pool.submit(train, data, runs, *pair): pair for pair in asked}
        for done, future in enumerate(as_completed(left), start=1):
            stain, half = left[future]
            print(f"trained {done} of {len(asked)}: {stain}-{half}", flush=True)
            if code := future.result():
                return code
    return 0


def tell_all(summary: dict[str, Any]) -> int:
    """Where the learned mask is above each rival on test fields, and where not."""
    missed = 0
    curves = summary["methods"]["method_comparison"]
    for stain, told in curves.items():
        for rival in RIVALS:
            behind = [v for v in VOLUMES if not told["learned_mask"][v] > told[rival][v]]
            missed += len(behind)
            words = f"not at {', '.join(behind)}" if behind else f"at all of {VOLUMES}"
            print(f"  {'MISSED' if behind else 'kept':6}  {stain}, above {rival}: {words}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
