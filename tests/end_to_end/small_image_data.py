"""Planted data in the layouts of the originals: CIFAR-10 batches, and videos of single cells."""

from pathlib import Path

import numpy as np

from attributome.data.sources.cifar import TEST, TRAIN


def plant_cifar10(folder: Path, each: int = 20, seed: int = 0) -> Path:
    """Three classes of images in 6 files: the colour of a patch somewhere is the class."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for name in (*TRAIN, *TEST):
        labels = np.arange(each, dtype=np.uint8) % 3
        images = draw.normal(110, 25, (each, 3, 32, 32))
        for image, label in zip(images, labels, strict=True):
            y, x = draw.integers(0, 22, 2)
            image[label, y : y + 10, x : x + 10] += 120
        flat = images.clip(0, 255).astype(np.uint8).reshape(each, -1)
        (folder / name).write_bytes(np.column_stack([labels, flat]).tobytes())
    return folder


def plant_cell_cycle(folder: Path, times: int = 6, seed: int = 0) -> Path:
    """Videos of a disc whose brightness is Cdt1; Geminin is what is left to 1."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    for split, videos in (("train", 8), ("val", 3), ("test", 3)):
        for kind in ("images", "labels"):
            (folder / split / kind).mkdir(parents=True)
        for video in range(videos):
            marker = draw.uniform(0, 1, times)
            disc = (y - draw.integers(10, 22)) ** 2 + (x - draw.integers(10, 22)) ** 2 < 49
            images = (
                draw.normal(900, 20, (times, 1, 32, 32)) + 300 * marker[:, None, None, None] * disc
            )
            labels = np.stack([marker, 1 - marker])[..., None]
            np.save(folder / split / "images" / f"v{video}.npy", images.astype(np.float32))
            np.save(folder / split / "labels" / f"v{video}.npy", labels.astype(np.float16))
    return folder
