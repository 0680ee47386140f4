"""The peak of memory while one large field is explained and scored, in a process of its own."""

import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from subject import Scale, networks
from torch import Tensor

from attributome.core.arrays import mix, pearson
from attributome.core.compute import Compute
from attributome.core.fills import fill_for
from attributome.core.probe import predict
from attributome.core.targets import OutputSum
from attributome.core.windows import windowed
from attributome.masks.fit import mask_explainer
from attributome.masks.signature import signature

STATUS = Path("/proc/self/status")
MEBI = 2**20


def peak_in_child(compute: Compute, scale: Scale, threads: int) -> dict[str, Any]:
    """`peak` in a fresh process, whose high-water mark nothing else has raised.

    glibc keeps freed blocks below a size that it raises as it goes: fixed low, freed arrays go
    back at once, and the mark tells what was held and not what might be used again.
    """
    told = json.dumps({"compute": asdict(compute), "scale": asdict(scale), "threads": threads})
    done = subprocess.run(
        [sys.executable, __file__, told],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak(compute: Compute, scale: Scale) -> dict[str, Any]:
    """What explaining and scoring one large field holds beyond what was there before.

    Before: the networks, warmed up, and the field. The field's own arrays: input, prediction, map.
    """
    net, generator = networks(compute)
    window = (scale.peak_window, scale.peak_window)
    at_once = scale.peak_at_once if compute.device == "cpu" else None
    explainer = mask_explainer(generator.eval())
    f, g = (
        windowed(call, window=window, overlap=0.0, batch=at_once, compute=compute)
        for call in (lambda x: predict(net, x), lambda x: explainer(net, x, OutputSum()))
    )
    small = torch.zeros(1, 1, scale.peak_at_once * window[0], window[1])
    f(small), g(small)
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, scale.peak_field, scale.peak_field, generator=draws)
    gc.collect()
    on_device = compute.device.startswith("cuda")
    if on_device:
        torch.cuda.reset_peak_memory_stats()
        device_before = torch.cuda.memory_allocated()
    before = resident()
    peaks: dict[str, float] = {}

    def stage(name: str, result: Tensor) -> Tensor:
        peaks[name] = (resident_peak() - before) / MEBI
        forget_peak()
        return result

    forget_peak()
    wanted = stage("predict", f(x))
    maps = stage("map", g(x))
    fill = stage("noise", fill_for(x, ["field"], "gaussian", scale=1.5, seed=1))
    kept = stage("signature", signature(maps, 0.9))
    noisy = stage("mix", mix(x, kept, fill))
    got = stage("predict_again", f(noisy))
    stage("agreement", pearson(got, wanted))
    arrays = (x.nbytes + wanted.nbytes + maps.nbytes) / MEBI
    found = {"ratio": max(peaks.values()) / arrays, "arrays_mib": arrays, "peaks_mib": peaks}
    if on_device:
        device = torch.cuda.max_memory_allocated() - device_before
        found["device_extra_mib"] = device / MEBI
    return found


def resident() -> int:
    """Bytes of memory that the process holds."""
    return _status("VmRSS") if STATUS.exists() else resident_peak()


def resident_peak() -> int:
    """The most bytes it has held since `forget_peak` (or ever, off Linux: an upper bound)."""
    if STATUS.exists():
        return _status("VmHWM")
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """Let the high-water mark start from what is held now, where Linux allows it."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    torch.set_num_threads(told["threads"])
    print(json.dumps(peak(Compute(**told["compute"]), Scale(**told["scale"]))))
