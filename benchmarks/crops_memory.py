"""Crops of many cells in fixed memory: write them field by field, read each once in batches.

    python benchmarks/crops_memory.py --count 100000

Prints one JSON object: seconds and peak memory (resident, MiB) after the imports, after writing
and after reading. Nothing is kept; crops go to a temporary folder (`--folder` says where).
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from attributome.core.seeds import rng
from attributome.profiles.single_cells import crop_field, open_single_cells, write_part

CHANNELS = ("DNA", "RNA", "ER", "AGP", "Mito")
SIDE, STEP, BOX = 720, 60, 64


def field(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Five channels of noise and 121 discs on a jittered grid, each with a label."""
    random = rng(0, "field", number)
    image = random.integers(100, 4000, (len(CHANNELS), SIDE, SIDE), np.uint16)
    labels = np.zeros((SIDE, SIDE), np.int32)
    grid = np.arange(STEP, SIDE, STEP)
    y, x = np.ogrid[-15:16, -15:16]
    disc = y * y + x * x <= 200
    for label, (row, column) in enumerate(np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2), 1):
        top, left = np.array([row, column]) - 15 + random.integers(-8, 8, 2)
        labels[top : top + 31, left : left + 31][disc] = label
    return image, labels


def peak() -> float:
    """The most memory that was ever resident, in MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def measure(count: int, batch: int, home: Path) -> dict[str, float | int]:
    said: dict[str, float | int] = {"count": count, "batch": batch, "peak_start": peak()}
    start = time.perf_counter()
    folders: list[Path] = []
    written, size, total = 0, 0, 0.0
    while written < count:
        image, labels = field(len(folders))
        labels[labels > count - written] = 0
        part = crop_field(
            image,
            labels,
            field=f"f{len(folders):05d}",
            channels=CHANNELS,
            size=(BOX, BOX),
            border="pad",
            meta={"plate": "P1", "well": f"W{len(folders) // 9}"},
        )
        folders.append(home / f"{len(folders):05d}")
        write_part(folders[-1], part)
        written += len(part.tables["cells"])
        size += sum(array.nbytes for array in part.arrays.values())
        total += float(part.arrays["images"].sum(dtype=np.uint64))
    said |= {"parts": len(folders), "bytes": size, "seconds_written": time.perf_counter() - start}
    said["peak_written"] = peak()
    start = time.perf_counter()
    cells = open_single_cells(folders)
    read = 0.0
    for first in range(0, len(cells), batch):
        rows = np.arange(first, min(first + batch, len(cells)))
        read += float(cells.images(rows).sum(dtype=np.float64))
        mine = cells.labels(rows) == cells.own(rows)[:, None, None]
        if not mine.any((1, 2)).all():
            raise RuntimeError(f"a crop from {first} on lacks its own cell")
    if (read, len(cells)) != (total, count):
        raise RuntimeError(f"{len(cells)} crops of sum {read} were read, not {count} of {total}")
    said |= {"seconds_read": time.perf_counter() - start, "peak_read": peak()}
    return {key: round(value, 2) for key, value in said.items()}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--count", type=int, default=100_000)
    words.add_argument("--batch", type=int, default=256)
    words.add_argument("--folder", type=Path, help="where the temporary folder is made")
    asked = words.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as home:
        print(json.dumps(measure(asked.count, asked.batch, Path(home)), indent=2))


if __name__ == "__main__":
    main()
