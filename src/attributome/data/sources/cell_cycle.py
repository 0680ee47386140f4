"""Videos of single cells in bright field with two FUCCI markers, as folders of `.npy`.

A split (`train`, `val`, `test`, `perturbations`) has `images/<video>.npy` of `(t, c, y, x)`, bright
field first, and `labels/<video>.npy` of `(2, t, n)`: Cdt1 and Geminin from 0 to 1 at each time for
`n` cells, of which the first is the one in the middle. Every frame is a sample, and frames of one
video are alike: a split goes by video.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64

from attributome.core.errors import DataError, UsageError
from attributome.core.records import Sample
from attributome.core.seeds import rng

SPLITS = ("train", "val", "test", "perturbations")
MARKERS = ("Cdt1", "Geminin")
BRIGHT_FIELD = "bright_field"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame of one video, and the files that it is in."""

    video: str
    time: int
    images: Path
    labels: Path | None

    @property
    def id(self) -> str:
        """As the scripts name the files of a frame's masks."""
        return f"{self.video}_t{self.time:04d}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frames(Sequence):
    """Frames in the order of videos and time; only the one that is asked for is in memory."""

    rows: tuple[Frame, ...]
    marker: int | None
    channel: int
    cell: int

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Frames": ...
    def __getitem__(self, index: int | slice) -> "Sample | Frames":
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index])
        return self._read(self.rows[index])

    def __iter__(self) -> Iterator[Sample]:
        return map(self._read, self.rows)

    @property
    def ids(self) -> list[str]:
        """Sample ids, in order, without reading an image."""
        return [row.id for row in self.rows]

    def groups(self, column: str = "video") -> list[str]:
        """The video of each frame, which has to be whole in a split; or its `time`."""
        if column not in ("video", "time"):
            raise UsageError(f"frames have no {column!r}; they have video and time")
        return [str(getattr(row, column)) for row in self.rows]

    def subset(self, indices: Sequence[int]) -> "Frames":
        """Some of the frames, in the given order."""
        return replace(self, rows=tuple(self.rows[i] for i in indices))

    @property
    def table(self) -> pd.DataFrame:
        """One row per frame: id, video and time."""
        rows = [(row.id, row.video, row.time) for row in self.rows]
        return pd.DataFrame(rows, columns=["id", "video", "time"])

    def _read(self, row: Frame) -> Sample:
        image = np.asarray(_open(row.images, 4)[row.time, self.channel : self.channel + 1])
        image = np.ascontiguousarray(image, np.float32)
        if not np.isfinite(image).all():
            raise DataError(f"{row.images} has pixels at time {row.time} that are no numbers")
        return Sample(
            id=row.id,
            image=image,
            channels=(BRIGHT_FIELD,),
            target=self._target(row),
            meta={"video": row.video, "time": row.time, "file": row.images.name},
        )

    def _target(self, row: Frame) -> float | None:
        if self.marker is None or row.labels is None:
            return None
        value = float(_open(row.labels, 3)[self.marker, row.time, self.cell])
        if not 0 <= value <= 1:
            raise DataError(
                f"{row.labels} has {MARKERS[self.marker]} {value} at time {row.time}: it must be "
                f"from 0 to 1"
            )
        return value


def open_cell_cycle(
    folder: Path, split: str, *, marker: str | None, channel: int = 0, cell: int = 0
) -> Frames:
    """The frames of a split, with one marker as their target, or none.

    Raises `DataError` where an image file has no labels though a marker is asked for, or they do
    not fit each other; files are looked at, and pixels read when a frame is asked for.
    """
    if marker is not None and marker not in MARKERS:
        raise UsageError(f"the marker is {marker!r}; it is one of {', '.join(MARKERS)}")
    home = folder / split / "images"
    paths = sorted(home.glob("*.npy"))
    if not paths:
        raise DataError(f"{home} has no .npy: a split is one of {', '.join(SPLITS)}")
    rows: list[Frame] = []
    for path in paths:
        images = _open(path, 4)
        if not 0 <= channel < images.shape[1]:
            raise DataError(f"{path} has {images.shape[1]} channels, and {channel} is asked for")
        labels = None
        if marker is not None:
            labels = folder / split / "labels" / path.name
            shape = _open(labels, 3).shape
            if shape[:2] != (len(MARKERS), len(images)) or not 0 <= cell < shape[2]:
                raise DataError(
                    f"{labels} has shape {shape}, and {path.name} {len(images)} frames: labels of "
                    f"cell {cell} are (2, {len(images)}, more than {cell})"
                )
        rows += [
            Frame(video=path.stem, time=time, images=path, labels=labels)
            for time in range(len(images))
        ]
    number = None if marker is None else MARKERS.index(marker)
    return Frames(rows=tuple(rows), marker=number, channel=channel, cell=cell)


def mean_and_std(frames: Frames, *, most: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Mean and population standard deviation of the pixels of `most` frames, drawn without return.

    They are those of the training frames; others are normalised by them.
    """
    if most < 1 or not len(frames):
        raise UsageError(f"there are {len(frames)} frames, and {most} are asked for; 1 or more")
    chosen = rng(seed, "frames").permutation(len(frames))[:most]
    count, total, squares = 0, 0.0, 0.0
    first = float(frames[int(chosen[0])].image.mean())  # near it, squares do not cancel
    for index in sorted(map(int, chosen)):
        pixels: Float64[np.ndarray, ...] = frames[index].image.astype(np.float64) - first
        count += pixels.size
        total += float(pixels.sum())
        squares += float((pixels**2).sum())
    mean = total / count
    return first + mean, float(np.sqrt(max(squares / count - mean**2, 0.0)))


def read_mask(folder: Path, split: str, marker: str, frame: str) -> Float32[np.ndarray, "y x"]:
    """The scripts' own mask of a frame, named by its id: `<split>/predictions_marker<1|2>/`."""
    if marker not in MARKERS:
        raise UsageError(f"the marker is {marker!r}; it is one of {', '.join(MARKERS)}")
    path = folder / split / f"predictions_marker{MARKERS.index(marker) + 1}" / f"{frame}.npy"
    mask = np.array(_open(path, 2), np.float32)
    if not np.isfinite(mask).all():
        raise DataError(f"{path} has values that are no numbers")
    return mask


def _open(path: Path, ndim: int) -> np.ndarray:
    """An array of numbers on the disk; one of Python objects would be a pickle."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != ndim or array.dtype.kind not in "uif":
        raise DataError(f"{path} holds no numbers along {ndim} axes")
    return array
