"""A data set as a sequence of samples that are read when they are asked for."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.records import Sample
from attributome.data.images import MAX_BYTES, Picture, find, probe_image, read_image, read_labels
from attributome.data.tables import Row, find_rows

Channels = Sequence[str | int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Manifest(Sequence):
    """Samples in a fixed order; only the one that is asked for is in memory.

    `inputs` and `target` choose channels of the image file by name or number (of the target file,
    where the table names one); without `inputs`, all that are not the target.
    """

    rows: tuple[Row, ...]
    inputs: tuple[str | int, ...] | None
    target: tuple[str | int, ...] | None
    axes: str | None = None
    max_bytes: int = MAX_BYTES

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Manifest": ...
    def __getitem__(self, index: int | slice) -> "Sample | Manifest":
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index])
        return self._read(self.rows[index])

    def __iter__(self) -> Iterator[Sample]:
        return map(self._read, self.rows)

    @property
    def ids(self) -> list[str]:
        """Sample ids, in order, without reading an image."""
        return [row.id for row in self.rows]

    def groups(self, column: str) -> list[str]:
        """The value of a metadata column for each sample; a row without one is refused."""
        for number, row in enumerate(self.rows):
            if column not in row.meta:
                has = sorted({name for row in self.rows for name in row.meta})
                raise DataError(
                    f"sample {row.id!r} (row {number + 1}) has no {column!r}; the columns are "
                    f"{', '.join(has) or 'none'}"
                )
        return [str(row.meta[column]) for row in self.rows]

    def subset(self, indices: Sequence[int]) -> "Manifest":
        """Some of the samples, in the given order."""
        return replace(self, rows=tuple(self.rows[i] for i in indices))

    @property
    def dims(self) -> int:
        """2 or 3, from the metadata of the first image."""
        return len(probe_image(self.rows[0].images[0][1], axes=self.axes)[0]) - 1

    def sources(self) -> Iterator[tuple[str, Sequence[Path]]]:
        """What makes it these samples and no others: every id with its files."""
        for row in self.rows:
            named = [path for _, path in row.images] + [row.target, row.regions]
            yield row.id, [path for path in named if isinstance(path, Path)]

    @property
    def table(self) -> pd.DataFrame:
        """One row per sample: id, files and metadata."""
        return pd.DataFrame([row.cells() for row in self.rows])

    def _read(self, row: Row) -> Sample:
        picture = _join(row, [self._picture(path, self.axes) for _, path in row.images])
        inputs, target_at = self._choose(row, picture.channels)
        target, target_channels = self._target(row, picture, target_at)
        regions = self._labels(row.regions) if row.regions else None
        for path, array in ((row.target, target), (row.regions, regions)):
            if isinstance(array, np.ndarray):
                _check_registered(row, picture, path, array)
        return Sample(
            id=row.id,
            image=np.ascontiguousarray(picture.array[inputs]),
            channels=tuple(picture.channels[i] for i in inputs),
            target=target,
            target_channels=target_channels,
            regions=regions,
            pixel_size=picture.pixel_size,
            meta=row.meta,
        )

    def _picture(self, path: Path, axes: str | None) -> Picture:
        return read_image(path, axes=axes, max_bytes=self.max_bytes)

    def _labels(self, path: Path) -> np.ndarray:
        return read_labels(path, axes=side_axes(path, self.axes), max_bytes=self.max_bytes)

    def _choose(self, row: Row, channels: tuple[str, ...]) -> tuple[list[int], list[int]]:
        """Channel numbers of the input and, where it comes from the same file, of the target."""
        target = None if isinstance(row.target, Path) else self.target
        target_at = [_place(row, channels, name) for name in target or ()]
        if self.inputs is not None:
            return [_place(row, channels, name) for name in self.inputs], target_at
        inputs = [i for i in range(len(channels)) if i not in target_at]
        if not inputs:
            raise UsageError(f"{row.source} has no channel left for the input: all are the target")
        return inputs, target_at

    def _target(
        self, row: Row, picture: Picture, target_at: list[int]
    ) -> tuple[np.ndarray | float | None, tuple[str, ...]]:
        if isinstance(row.target, float):
            return row.target, ()
        if isinstance(row.target, Path):
            picture = self._picture(row.target, side_axes(row.target, self.axes))
            target_at = (
                list(range(len(picture.channels)))
                if self.target is None
                else [_place(row, picture.channels, name) for name in self.target]
            )
        if not target_at:
            return None, ()
        names = tuple(picture.channels[i] for i in target_at)
        return np.ascontiguousarray(picture.array[target_at]), names


def open_images(
    source: str | Path,
    *,
    inputs: Channels | None = None,
    target: Channels | None = None,
    axes: str | None = None,
    root: str | Path | None = None,
    max_bytes: int = MAX_BYTES,
) -> Manifest:
    """Samples of a folder, a glob pattern, one image, or a CSV or Parquet table.

    A table has a column `image` (or `file`, `path_tiff`), or one column `image_<name>` per
    channel; `target` (an image, or a number), `regions` (a label image) and `id` are optional and
    every other column is metadata. Paths are relative to the table's folder and stay inside `root`
    (that folder, unless given). Metadata of the first image is looked at, so that a wrong channel
    is found now; pixels are read when a sample is asked for.
    """
    for name, chosen in (("inputs", inputs), ("target", target)):
        if isinstance(chosen, str) or (chosen is not None and not len(chosen)):
            raise UsageError(f"{name}={chosen!r} is not a list of channels: write [{chosen!r}]")
    rows = find_rows(source, root=Path(root) if root is not None else None)
    if target is not None and any(isinstance(row.target, float) for row in rows):
        raise UsageError(
            f"{source} has a numeric target column and target={list(target)!r} asks for channels: "
            f"drop one of the two"
        )
    manifest = Manifest(
        rows=tuple(rows),
        inputs=None if inputs is None else tuple(inputs),
        target=None if target is None else tuple(target),
        axes=axes,
        max_bytes=max_bytes,
    )
    _look(manifest)
    return manifest


def _look(manifest: Manifest) -> None:
    """Check the channels that are asked for against the first image, by metadata alone."""
    row = manifest.rows[0]
    name, path = row.images[0]
    channels = probe_image(path, axes=manifest.axes)[2]
    manifest._choose(row, channels if name is None else tuple(str(n) for n, _ in row.images))
    if isinstance(row.target, Path):
        channels = probe_image(row.target, axes=side_axes(row.target, manifest.axes))[2]
        for wanted in manifest.target or ():
            _place(row, channels, wanted)


def _check_registered(row: Row, picture: Picture, path: object, array: np.ndarray) -> None:
    space = picture.array.shape[1:]
    if array.shape[-len(space) :] != space:
        raise DataError(
            f"{path} has shape {array.shape}, which is not registered to {row.source} of shape "
            f"{picture.array.shape}: the spatial sizes must be equal"
        )


def side_axes(path: Path, axes: str | None) -> str | None:
    """The axes of an image, for its target or regions, which may have no channel axis."""
    if axes is None:
        return None
    count = len(find(path).shape)
    return next((a for a in (axes, axes.replace("C", "")) if len(a) == count), None)


def _join(row: Row, pictures: list[Picture]) -> Picture:
    """One picture from files of one channel each; one file as it is."""
    first = pictures[0]
    if row.images[0][0] is None:
        return first
    for (name, path), picture in zip(row.images, pictures, strict=True):
        if len(picture.channels) != 1:
            raise DataError(
                f"{path} has {len(picture.channels)} channels and stands in the column "
                f"image_{name} for one: put such files in a column `image`"
            )
        if picture.array.shape != first.array.shape or picture.pixel_size != first.pixel_size:
            raise DataError(
                f"the channels of sample {row.id!r} do not fit together: {path} has shape "
                f"{picture.array.shape[1:]} and pixel size {picture.pixel_size}, "
                f"{row.images[0][1]} has {first.array.shape[1:]} and {first.pixel_size}"
            )
    return replace(
        first,
        array=np.concatenate([p.array for p in pictures]),
        channels=tuple(str(name) for name, _ in row.images),
    )


def _place(row: Row, channels: tuple[str, ...], wanted: str | int) -> int:
    """The number of a channel that is named, or numbered from 0."""
    has = f"{row.source} has the {len(channels)} channels {', '.join(channels)}"
    if isinstance(wanted, int):
        if not 0 <= wanted < len(channels):
            raise DataError(f"there is no channel {wanted}: {has}, numbered from 0")
        return wanted
    if channels.count(wanted) > 1:
        raise DataError(f"the name {wanted!r} is not enough: {has}; give its number")
    if wanted not in channels:
        near = difflib.get_close_matches(wanted, channels, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"there is no channel {wanted!r}: {has}{hint}")
    return channels.index(wanted)
