"""Measure speed and memory against their floors, into results.json; exit 1 if a bound is broken."""

import argparse
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from memory import peak_in_child
from speed import mask_step, small_batches, whole_field
from subject import QUICK, Scale

from attributome import __version__
from attributome.core.compute import Compute, choose
from attributome.core.files import write_json

BOUNDS = {
    "mask_step_over_floor": 1.25,
    "field_over_floor": 1.35,
    "field_peak_over_arrays": 4.0,
    "predict_over_bare": None,
}
RESULTS = Path(__file__).with_name("results.json")


def settings(device: str) -> list[Compute]:
    """float32 on a CPU; on an accelerator with and without autocast and compilation."""
    best = choose(device)
    if not best.device.startswith("cuda"):
        return [choose(best.device, "fp32")]
    return [
        choose(best.device, precision, compile)
        for compile in (False, True)
        for precision in (best.precision, "fp32")
    ]


def measure(compute: Compute, scale: Scale, threads: int) -> dict[str, Any]:
    """Every figure under one setting."""
    found = {
        "mask_step_over_floor": mask_step(compute, scale),
        "field_over_floor": whole_field(compute, scale),
        "field_peak_over_arrays": peak_in_child(compute, scale, threads),
        "predict_over_bare": small_batches(compute, scale),
    }
    return {**asdict(compute), "figures": found}


def machine() -> dict[str, Any]:
    """What the numbers were measured on, and how busy it was with other things."""
    cpus = Path("/proc/cpuinfo")
    names = [
        line.split(":")[1].strip()
        for line in (cpus.read_text().splitlines() if cpus.exists() else [])
        if line.startswith("model name")
    ]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
    }


def table(run: dict[str, Any]) -> str:
    """One line per figure with its bound beside it."""
    kind = f"{run['device']}, {run['precision']}, {'compiled' if run['compile'] else 'eager'}"
    lines = [kind, f"  {'figure':24} {'ratio':>6} {'bound':>6}"]
    for name, found in run["figures"].items():
        bound = BOUNDS[name]
        says = "" if bound is None else f"{bound:6.2f}  {'ok' if holds(name, found) else 'BROKEN'}"
        lines.append(f"  {name:24} {found['ratio']:6.2f} {says}")
    return "\n".join(lines)


def holds(name: str, found: dict[str, float]) -> bool:
    """Whether a figure keeps its bound."""
    bound = BOUNDS[name]
    return bound is None or found["ratio"] <= bound


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller fields")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    where, started = machine(), time.monotonic()
    scale = QUICK if asked.quick else Scale()
    runs = []
    for compute in settings(asked.device):
        runs.append(measure(compute, scale, asked.threads))
        print(table(runs[-1]), flush=True)
    broken = [(r, n) for r in runs for n, found in r["figures"].items() if not holds(n, found)]
    write_json(
        asked.out,
        {
            **{name: found["ratio"] for name, found in runs[0]["figures"].items()},
            "bounds": {name: bound for name, bound in BOUNDS.items() if bound is not None},
            "kept": not broken,
            "quick": asked.quick,
            "seconds": round(time.monotonic() - started, 1),
            "attributome": __version__,
            "machine": where,
            "runs": runs,
        },
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
