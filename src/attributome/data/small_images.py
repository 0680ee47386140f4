"""CIFAR-10, CIFAR-10-C and cell-cycle videos as data sets of a job: small images, few files.

A folder is known by what lies in it; `data/sources/` reads the pixels. Each layout brings its own
split. What is shared by all images, the mean and spread of the training ones, is measured here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd
from jaxtyping import Int64

from attributome.core.errors import DataError, UsageError
from attributome.core.records import Sample
from attributome.core.seeds import rng
from attributome.data.intensity import Scaling
from attributome.data.samples import Samples
from attributome.data.sources.cell_cycle import MARKERS, SPLITS, Frames, open_cell_cycle
from attributome.data.sources.cifar import (
    CLASSES,
    CORRUPTIONS,
    SEVERITIES,
    TEST,
    TRAIN,
    Labelled,
    read_cifar10,
    read_cifar10c,
)

Meta = dict[str, str | float | int]

COLOURS = ("red", "green", "blue")
PARTS = {"train": "train", "val": "validate", "test": "test", "perturbations": "perturbations"}
"""What a folder of the cell-cycle layout is called in a job."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SmallImages(Sequence):
    """Images that lie together in few files, in a fixed order; each is a sample when asked for.

    `table` has a row for each: `id`, `split` and what else its layout tells. `read` makes the
    sample at a place in all of them, and `places` are those of the rows here.
    """

    table: pd.DataFrame
    read: Callable[[int], Sample]
    places: Int64[np.ndarray, " n"]
    files: tuple[Path, ...]
    dims: int = 2

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "SmallImages": ...
    def __getitem__(self, index: int | slice) -> "Sample | SmallImages":
        if isinstance(index, slice):
            return self.subset(range(len(self))[index])
        return self.read(int(self.places[index]))

    def __iter__(self) -> Iterator[Sample]:
        return map(self.read, map(int, self.places))

    @property
    def ids(self) -> list[str]:
        """Sample ids, in order, without reading an image."""
        return [str(name) for name in self.table["id"]]

    def subset(self, indices: Sequence[int]) -> "SmallImages":
        """Some of the images, in the given order."""
        rows = np.asarray(indices, np.int64)
        table = self.table.iloc[rows].reset_index(drop=True)
        return replace(self, table=table, places=self.places[rows])

    def sources(self) -> Iterator[tuple[str, Sequence[Path]]]:
        """What makes it these images and no others: every id, and the files that all are in."""
        yield from ((name, ()) for name in self.ids)
        yield "", self.files


def open_small_images(
    folder: Path, *, inputs: Sequence[str | int] = (), target: Sequence[str | int] = ()
) -> SmallImages | None:
    """The images of a folder in one of the three layouts; None where it is in none of them.

    CIFAR-10 (`data_batch_1.bin` ...): a tenth of the training images validates, the same ones
    every time, and the class is the target. CIFAR-10-C (`labels.npy` beside a corruption): all are
    `test`, with columns `corruption`, `severity` and `image`, the number of the test image that was
    corrupted. Cell cycle (`train/images/*.npy` ...): every frame of every video, in the parts that
    the folders say (`val` validates); `target` names the marker. All channels are the input.
    """
    if any((folder / name).is_file() for name in (*TRAIN, *TEST)):
        found = _cifar10(folder)
    elif (folder / "labels.npy").is_file() and any(map(Path.is_file, _corrupted(folder))):
        found = _cifar10c(folder)
    elif any((folder / split / "images").is_dir() for split in SPLITS):
        return _cell_cycle(folder, inputs, target)
    else:
        return None
    if target:
        raise UsageError(f"the target of {folder} is the class, and not the channels {[*target]}")
    if inputs and tuple(inputs) not in (COLOURS, tuple(range(3))):
        raise UsageError(f"the input of {folder} is {', '.join(COLOURS)}, and not {[*inputs]}")
    return found


def training_scaling(samples: Samples, *, most: int = 10_000, seed: int = 0) -> Scaling:
    """Mean and population standard deviation of each channel over all pixels of `most` samples.

    They are drawn without return. Given the training images it is what other images are scaled by,
    too: one that is brighter than those stays brighter.
    """
    if most < 1 or not len(samples):
        raise UsageError(f"there are {len(samples)} images, and {most} are asked for; 1 or more")
    chosen = rng(seed, "training scaling").permutation(len(samples))[:most]
    first = samples[int(chosen[0])].image.astype(np.float64)
    near = first.mean(axis=tuple(range(1, first.ndim)))  # around it, squares do not cancel
    count, total, squares = 0, np.zeros(len(first)), np.zeros(len(first))
    for index in sorted(map(int, chosen)):
        sample = samples[index]
        if len(sample.image) != len(near):
            raise DataError(
                f"sample {sample.id!r} has {len(sample.image)} channels and another has "
                f"{len(near)}: one scaling needs the same channels everywhere"
            )
        pixels = sample.image.reshape(len(near), -1).astype(np.float64) - near[:, None]
        count += pixels.shape[1]
        total += pixels.sum(1)
        squares += (pixels**2).sum(1)
    mean = total / count
    spread = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    if not spread.all():
        number = int((spread == 0).argmax())
        raise DataError(f"channel {number} is constant over {len(chosen)} training images")
    return Scaling(
        kind="zscore", center=tuple((near + mean).tolist()), scale=tuple(spread.tolist())
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaled:
    """Samples whose images are normalised by one scaling."""

    samples: Samples
    scaling: Scaling

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int, /) -> Sample:
        sample = self.samples[index]
        return replace(sample, image=self.scaling.apply(sample.image))


def _cifar10(folder: Path) -> SmallImages:
    """All images in memory: they are 184 MB of bytes."""
    both = {"train": read_cifar10(folder, "train"), "test": read_cifar10(folder, "test")}
    images = np.concatenate([one.images for one in both.values()])
    labels = np.concatenate([one.labels for one in both.values()])
    many = len(both["train"].labels)
    split = np.array(["train"] * many + ["test"] * (len(labels) - many), dtype=object)
    split[rng(0, "CIFAR-10", "validate").permutation(many)[: max(1, many // 10)]] = "validate"
    ids = [f"{part}_{i:05d}" for part, one in both.items() for i in range(len(one.labels))]
    table = pd.DataFrame({"id": ids, "split": split, "class": [CLASSES[i] for i in labels]})

    def read(place: int) -> Sample:
        # the number by which CIFAR-10-C knows a test image, too
        known: Meta = {"image": place - many} if place >= many else {}
        return _coloured(ids[place], images[place], int(labels[place]), known)

    files = tuple(folder / name for name in (*TRAIN, *TEST))
    return _whole(table, read, files)


def _cifar10c(folder: Path) -> SmallImages:
    """Corruptions that are there, ten thousand images of one severity in memory at a time."""
    kinds = [path.stem for path in _corrupted(folder) if path.is_file()]
    many = len(read_cifar10c(folder, kinds[0], 1).labels)
    every = [(k, s, i) for k in kinds for s in SEVERITIES for i in range(many)]
    table = pd.DataFrame(every, columns=["corruption", "severity", "image"])
    ids = [f"{kind}_{severity}_{image:05d}" for kind, severity, image in every]
    table = table.assign(id=ids, split="test")

    @lru_cache(2)
    def loaded(corruption: str, severity: int) -> Labelled:
        return read_cifar10c(folder, corruption, severity)

    def read(place: int) -> Sample:
        corruption, severity, image = every[place]
        found = loaded(corruption, severity)
        known: Meta = {"corruption": corruption, "severity": severity, "image": image}
        return _coloured(ids[place], found.images[image], int(found.labels[image]), known)

    return _whole(table, read, (*(folder / f"{k}.npy" for k in kinds), folder / "labels.npy"))


def _cell_cycle(
    folder: Path, inputs: Sequence[str | int], target: Sequence[str | int]
) -> SmallImages:
    if len(target) > 1 or (target and target[0] not in MARKERS):
        raise UsageError(
            f"the targets are {[*target]}: a network is trained for one marker, "
            f"{' or '.join(MARKERS)}"
        )
    if inputs and tuple(inputs) not in (("bright_field",), (0,)):
        raise UsageError(f"the input of {folder} is bright_field, and not {[*inputs]}")
    marker = str(target[0]) if target else None
    parts: dict[str, Frames] = {}
    for split in SPLITS:
        if (folder / split / "images").is_dir():
            known = marker if (folder / split / "labels").is_dir() else None
            parts[split] = open_cell_cycle(folder, split, marker=known)
    tables = [
        one.table.assign(id=[f"{split}_{name}" for name in one.ids], split=PARTS[split])
        for split, one in parts.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    ends = np.cumsum([len(one) for one in parts.values()])
    named, frames = table["id"].to_numpy(), [*parts.values()]

    def read(place: int) -> Sample:
        part = int(np.searchsorted(ends, place, side="right"))
        sample = frames[part][place - (int(ends[part - 1]) if part else 0)]
        return replace(sample, id=str(named[place]))

    rows = [row for one in frames for row in one.rows]
    files = [path for row in rows for path in (row.images, row.labels) if path is not None]
    return _whole(table, read, tuple(dict.fromkeys(files)))


def _whole(
    table: pd.DataFrame, read: Callable[[int], Sample], files: tuple[Path, ...]
) -> SmallImages:
    places = np.arange(len(table), dtype=np.int64)
    return SmallImages(table=table, read=read, places=places, files=files)


def _corrupted(folder: Path) -> list[Path]:
    return [folder / f"{name}.npy" for name in CORRUPTIONS]


def _coloured(name: str, image: np.ndarray, label: int, known: Meta) -> Sample:
    return Sample(
        id=name,
        image=image.astype(np.float32),
        channels=COLOURS,
        target=float(label),
        meta={"class": CLASSES[label], **known},
    )
