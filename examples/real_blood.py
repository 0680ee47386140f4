"""What does a classifier of blood cells use: the cell, or what lies around it?

660 single cells of 11 kinds, from peripheral blood smears (Acevedo et al. 2020). A small network is
trained, six methods and the learned mask explain it on held-out files, all are scored beside the
controls, and the report says how much of the evidence lies on the cell. Needs the folder of real
data in ATTRIBUTOME_DATA; `make real-blood` runs it into runs/blood.
"""

import os
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from scipy import ndimage
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import convex_hull_image, disk

from attributome.cli import run_cli
from attributome.config import job_from, write_example

CELL = 1
JOB = {
    "name": "blood",
    "data": {"inputs": ["red", "green", "blue"]},
    "predictor": {
        "task": "classification", "classes": 11,
        "lr": 5e-3, "epochs": 16, "steps": 60, "batch": 16, "patch": [64, 64], "patience": 6,
    },
    "masks": {
        "lr": 5e-3, "epochs": 6, "steps": 40, "batch": 16, "patch": [64, 64],
        # white noise changes the answer wherever it lies, also beside the cell: nothing but the
        # whole crop would keep it, so what a mask takes away is blurred instead
        "noise": "blur", "noise_scale": 1.5, "grain": 4,
    },
    "explain": {
        "methods": {
            "learned_mask": {},
            "integrated_gradients": {},
            "deep_lift": {},
            "grad_cam": {"layer": "relu4"},
            "smooth_grad": {},
            "occlusion": {"window": 8, "stride": 4},
            "kernel_shap": {},
        },
    },
    "score": {"regions": {"cell": CELL, "background": 0}, "panels": 6},
}  # fmt: skip


def cell(image: np.ndarray) -> np.ndarray:
    """Where the cell in the middle of a crop lies, with a margin, as a 0/1 image.

    Nuclei take up green light; the pale cytoplasm around one often does not differ from the red
    cells beside it, so the convex hull of the nucleus grows by a sixteenth of the crop.
    """
    green = gaussian(image[..., 1].astype(float), 1.5)
    dark = ndimage.binary_opening(green < threshold_otsu(green), disk(3))
    parts, count = ndimage.label(dark)
    if not count:
        return np.zeros(green.shape, np.uint8)
    y, x = np.indices(green.shape) - (np.array(green.shape)[:, None, None] - 1) / 2
    weight = np.exp(-(y**2 + x**2) / (2 * (green.shape[0] / 5) ** 2))
    central = 1 + np.argmax(ndimage.sum_labels(weight, parts, np.arange(1, count + 1)))
    hull = convex_hull_image(parts == central)
    return ndimage.binary_dilation(hull, disk(green.shape[0] // 16)).astype(np.uint8)


def table(archive: Path, folder: Path) -> Path:
    """The cells as files, with their kind, their region, and a split that goes by file."""
    data = np.load(archive)
    images = folder / "data"
    images.mkdir(parents=True, exist_ok=True)
    draw, rows = np.random.default_rng(0), []
    for part in ("train", "test"):
        cells, kinds = data[f"x_{part}"], data[f"y_{part}"]
        # of the files for training, one in eight validates and one in eight calibrates
        order = draw.permutation(len(cells))
        role = np.where(order % 8 == 0, "validate", np.where(order % 8 == 1, "calibrate", "train"))
        for number, (image, kind) in enumerate(zip(cells, kinds, strict=True)):
            name = f"{Path(data[f'file_{part}'][number]).stem}_{part}"
            axes = {"axes": "CYX", "Channel": {"Name": ["red", "green", "blue"]}}
            for suffix, pixels, known in (
                ("", np.moveaxis(image, -1, 0), axes),
                ("_cell", cell(image), {"axes": "YX"}),
            ):
                path = images / f"{name}{suffix}.ome.tif"
                if not path.exists():
                    tifffile.imwrite(path, pixels, metadata=known, ome=True)
            rows.append(
                {
                    "id": name,
                    "image": f"{name}.ome.tif",
                    "regions": f"{name}_cell.ome.tif",
                    "target": int(kind),
                    "kind": str(data["classes"][kind]),
                    "split": role[number] if part == "train" else "test",
                }
            )
    path = images / "cells.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def main() -> int:
    data = Path(os.environ.get("ATTRIBUTOME_DATA", "../shared/data")).resolve()
    archive = data / "blood_cells" / "blood11.npz"
    if not archive.is_file():
        print(f"no real data at {archive}: set ATTRIBUTOME_DATA", file=sys.stderr)
        return 3
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/blood")
    values = {**JOB, "data": {**JOB["data"], "source": str(table(archive, out))}}
    job = out / "job.toml"
    if not job.exists():
        write_example(job, job_from(values, "this example"))
    command = ["run", str(job), "--out", str(out)]
    print("attributome", shlex.join(command))
    return run_cli(command)


if __name__ == "__main__":
    sys.exit(main())
