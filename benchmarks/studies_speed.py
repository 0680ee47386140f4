"""Correlation maps and DREMI beside their definitions in plain loops; exit 1 where one is not kept.

"loops" is the definition number by number in Python, and "windows" calls `numpy.corrcoef` for each
window (for DREMI: one sum or sort in NumPy for each grid point), as the published scripts do. All
take turns in one process with one thread; a ratio is the median over rounds of the processor time
over ours. The bound holds for "loops"; the other is told, and is smallest where windows are large
and far apart.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from attributome.core.seeds import rng
from attributome.studies.dremi import dremi
from attributome.studies.spatial import spatial_pcc

BOUND = 50.0
EQUAL = 1e-8
LEAST = 0.05
"""Seconds of processor time that ours is repeated for, within a round."""

Work = Callable[[], np.ndarray]


def images(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = rng(seed, "benchmark", "spatial")
    a = draw.standard_normal(shape)
    return a, a + draw.standard_normal(shape)


def scores(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = rng(seed, "benchmark", "dremi")
    x = draw.standard_normal(n)
    return x, x**2 + 0.5 * draw.standard_normal(n)


def corners(shape: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    axes = []
    for size, w, step in zip(shape, window, stride, strict=True):
        at = [*range(0, size - w + 1, step)]
        axes.append(at if at[-1] + w == size else [*at, size - w])
    for place in np.ndindex(*map(len, axes)):
        yield tuple(slice(at[i], at[i] + w) for at, i, w in zip(axes, place, window, strict=True))


def plain(x: list[float], y: list[float]) -> float:
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    xx = yy = xy = 0.0
    for u, v in zip(x, y, strict=True):
        u, v = u - mean_x, v - mean_y
        xx, yy, xy = xx + u * u, yy + v * v, xy + u * v
    return xy / math.sqrt(xx * yy)


def map_by(
    one: Callable[[np.ndarray, np.ndarray], float],
    a: np.ndarray,
    b: np.ndarray,
    window: tuple[int, ...],
    stride: tuple[int, ...],
) -> np.ndarray:
    total, count = np.zeros(a.shape), np.zeros(a.shape)
    for at in corners(a.shape, window, stride):
        total[at] += one(a[at].ravel(), b[at].ravel())
        count[at] += 1
    return total / count


def spatial_versions(
    shape: tuple[int, ...], window: tuple[int, ...], stride: tuple[int, ...]
) -> dict[str, Work]:
    a, b = images(shape)
    return {
        "ours": lambda: spatial_pcc(a, b, window=window, stride=stride).map,
        "loops": lambda: map_by(lambda x, y: plain(x.tolist(), y.tolist()), a, b, window, stride),
        "windows": lambda: map_by(
            lambda x, y: float(np.corrcoef(x, y)[0, 1]), a, b, window, stride
        ),
    }


def density(
    x: np.ndarray, y: np.ndarray, method: str, bins: int, mesh: int, plainly: bool
) -> np.ndarray:
    """DREVI point by point: Gaussians of width 0.5, or 5 nearest neighbours."""
    step = mesh + 1
    a, b = ((v - v.mean()) / v.std() for v in (x, y))
    grid = [np.linspace(v.min(), v.max(), step * bins + 1) for v in (a, b)]
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    joint = np.zeros((bins, bins))
    for i, gy in enumerate(grid[1].tolist()):
        for j, gx in enumerate(grid[0].tolist()):
            if method == "knn" and (i % step == 0 or j % step == 0):
                continue
            if plainly:
                squares = [(gx - u) ** 2 + (gy - v) ** 2 for u, v in pairs]
                if method == "kde":
                    height = sum(math.exp(-2 * s) for s in squares)
                else:
                    height = 5 / (math.pi * sorted(squares)[4] + 1e-10)
            else:
                far = (gx - a) ** 2 + (gy - b) ** 2
                if method == "kde":
                    height = float(np.exp(-2 * far).sum())
                else:
                    height = 5 / (math.pi * float(np.partition(far, 4)[4]) + 1e-10)
            joint[min(i // step, bins - 1), min(j // step, bins - 1)] += height
    found: np.ndarray = joint / joint.sum(0)
    return found


def dremi_versions(n: int, method: str, bins: int, mesh: int) -> dict[str, Work]:
    x, y = scores(n)
    one = np.zeros(n, int)  # one unit has no interval, which the definition does not have either
    return {
        "ours": lambda: dremi(x, y, method=method, bins=bins, mesh=mesh, units=one, draws=0).drevi,
        "loops": lambda: density(x, y, method, bins, mesh, True),
        "windows": lambda: density(x, y, method, bins, mesh, False),
    }


def measure(versions: dict[str, Work], rounds: int) -> dict[str, Any]:
    took: dict[str, list[float]] = {name: [] for name in versions}
    gave: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for name, work in versions.items():
            start, calls = time.process_time(), 0
            while not calls or (name == "ours" and time.process_time() - start < LEAST):
                gave[name] = work()
                calls += 1
            took[name].append((time.process_time() - start) / calls)
    row: dict[str, Any] = {
        "difference": max(float(np.abs(gave["ours"] - gave[k]).max()) for k in took if k != "ours")
    }
    for name in versions:
        row[f"{name}_cpu_s"] = float(f"{median(took[name]):.4g}")
    for name in ("loops", "windows"):
        ratios = [p / o for p, o in zip(took[name], took["ours"], strict=True)]
        row[f"{name}_over_ours"] = round(median(ratios), 1)
    return row | {"load": round(os.getloadavg()[0], 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of little, no bound")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    field, part, stack, n = (96, 130), (96, 130), (8, 64, 96), 40
    grid = {"bins": 5, "mesh": 3}
    if not asked.quick:
        field, part, stack = (624, 924), (312, 462), (16, 208, 308)
        n, grid = 300, {"bins": 20, "mesh": 5}
    works = {
        "spatial 32 / 16": spatial_versions(field, (32, 32), (16, 16)),
        "spatial 32 / 4": spatial_versions(part, (32, 32), (4, 4)),
        "spatial 3-D": spatial_versions(stack, (8, 32, 32), (4, 16, 16)),
        "dremi kde": dremi_versions(n, "kde", **grid),
        "dremi knn": dremi_versions(n, "knn", **grid),
    }
    found = {
        name: measure(versions, 1 if asked.quick else asked.rounds)
        for name, versions in works.items()
    }
    print(json.dumps(found, indent=2))
    wrong = [name for name, row in found.items() if row["difference"] > EQUAL]
    slow = [name for name, row in found.items() if row["loops_over_ours"] < BOUND]
    if wrong or (slow and not asked.quick):
        print("not kept:", ", ".join(wrong + slow))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
