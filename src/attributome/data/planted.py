"""Simulated label-free microscopy with a known answer: the evidence is in region 1 (nuclei).

Region 2 is a decoy: a conspicuous cluster of vesicles beside each nucleus, whose contrast
correlates with the nuclear stain over cells (r about 0.65) and does not enter the target.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args, overload

import numpy as np
import pandas as pd

from attributome.core.errors import UsageError
from attributome.core.files import write_text
from attributome.core.records import Sample
from attributome.core.seeds import rng
from attributome.data.images import write_tiff
from attributome.data.optics import bright_field, nuclear_stain
from attributome.data.scenes import NUCLEUS, Task, class_of, scene
from attributome.data.splits import split

PIXEL = 0.29  # micrometres; planes of a stack are 0.58 apart
CHANNELS, TARGET_CHANNELS = ("bright field",), ("nucleus stain",)
SHARES = {"train": 0.44, "validate": 0.08, "calibrate": 0.36, "test": 0.12}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted(Sequence):
    """Simulated samples, made when asked for; sample i is a function of (seed, i)."""

    task: Task
    indices: range
    size: tuple[int, ...]
    seed: int
    decoy: bool

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Planted": ...
    def __getitem__(self, index: int | slice) -> "Sample | Planted":
        if isinstance(index, slice):
            return replace(self, indices=self.indices[index])
        return self._simulate(self.indices[index])

    def __iter__(self) -> Iterator[Sample]:
        return map(self._simulate, self.indices)

    def _simulate(self, i: int) -> Sample:
        return simulate(self.task, self.size, seed=self.seed, i=i, decoy=self.decoy)


def planted(
    task: Task = "image",
    *,
    fields: int,
    size: tuple[int, ...] = (128, 128),
    seed: int = 0,
    decoy: bool = True,
) -> Planted:
    """Simulated samples `(1, *size)` with `regions`: 1 nuclei (the evidence), 2 the decoy.

    `image`: the target is the nuclear stain, which at each nuclear pixel follows the chromatin
    that is seen there. `regression`: the mean chromatin of the nuclei, about 0 to 1.
    `classification`: smooth (0) or punctate (1) chromatin. One nucleus per 74 x 74 pixels.
    """
    if task not in get_args(Task):
        raise UsageError(f"no planted task {task!r}: there are {', '.join(get_args(Task))}")
    if fields < 1:
        raise UsageError(f"{fields} fields are none: ask for at least 1")
    if len(size) not in (2, 3) or min(size[-2:]) < 48 or (len(size) == 3 and size[0] < 8):
        raise UsageError(
            f"a planted field cannot have the size {size}: (y, x) of at least 48, or (z, y, x) "
            f"with at least 8 planes"
        )
    return Planted(task=task, indices=range(fields), size=tuple(size), seed=seed, decoy=decoy)


def simulate(
    task: Task,
    size: tuple[int, ...],
    *,
    seed: int,
    i: int,
    decoy: bool = True,
    surroundings: int | None = None,
) -> Sample:
    """Field i; with another number for `surroundings`, the same nuclei and target in it."""
    flat = len(size) == 2
    space = (1, *size) if flat else size
    assert len(space) == 3  # planted() has looked
    truth = scene(task, space, seed=seed, index=i, decoy=decoy, surroundings=surroundings)
    words = ("planted", task, "camera", i if surroundings is None else surroundings)
    image = bright_field(truth, rng(seed, *words))
    target: np.ndarray | float
    if task == "image":
        stain = nuclear_stain(truth, rng(seed, "planted", task, "stain", i))
        target = stain if flat else stain[None]
    elif task == "regression":
        target = float((truth.chromatin[truth.labels == NUCLEUS].mean() - 0.3) / 0.6)
    else:
        target = float(class_of(seed, i))
    return Sample(
        id=f"field{i:04d}",
        image=image if flat else image[None],
        channels=CHANNELS,
        target=target,
        target_channels=TARGET_CHANNELS if task == "image" else (),
        regions=truth.labels[0] if flat else truth.labels,
        pixel_size=(PIXEL, PIXEL) if flat else (2 * PIXEL, PIXEL, PIXEL),
        meta={"cells": len(truth.level)},
    )


def write_planted(
    folder: str | Path,
    task: Task = "image",
    *,
    fields: int,
    size: tuple[int, ...] = (128, 128),
    seed: int = 0,
    decoy: bool = True,
) -> Path:
    """Write the samples as OME-TIFFs and `fields.csv`, which names well and split; its path."""
    home = Path(folder)
    samples = planted(task, fields=fields, size=size, seed=seed, decoy=decoy)
    in_well = max(-(-fields // 96), 2 if fields >= 6 else 1)
    rows = []
    for i, sample in enumerate(samples):
        files = {"image": f"images/{sample.id}.ome.tif", "regions": f"regions/{sample.id}.ome.tif"}
        image = sample.image.astype(np.uint16)
        write_tiff(home / files["image"], image, sample.channels, sample.pixel_size)
        assert sample.regions is not None  # every planted sample has them
        labels = sample.regions[None].astype(np.uint8)
        write_tiff(home / files["regions"], labels, ("regions",), sample.pixel_size)
        shown: str | float | None = None
        if isinstance(sample.target, np.ndarray):
            shown = f"targets/{sample.id}.ome.tif"
            stain = sample.target.astype(np.uint16)
            write_tiff(home / shown, stain, sample.target_channels, sample.pixel_size)
        elif sample.target is not None:
            shown = sample.target
        row, column = divmod(i // in_well, 12)
        well = f"{'ABCDEFGH'[row]}{column + 1:02d}"
        rows.append({"id": sample.id, **files, "target": shown, "well": well, **sample.meta})
    table = pd.DataFrame(rows)
    parts = split(table, group="well", fractions=SHARES, seed=seed)
    part_of = {i: part for part, members in parts.items() for i in members}
    table["split"] = [part_of[i] for i in range(len(table))]
    write_text(home / "fields.csv", table.to_csv(index=False))
    return home / "fields.csv"
