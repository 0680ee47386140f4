"""The fields of a job: opened, split, normalised, and known by a fingerprint."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attributome.config import Data
from attributome.core.errors import DataError
from attributome.core.records import Sample
from attributome.data.images import probe_image
from attributome.data.intensity import Scaling, measure
from attributome.data.manifest import Manifest, open_images
from attributome.data.patches import FieldCache
from attributome.data.splits import split, split_from_column

ENDS = 2**16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """One field in the units that networks see: `x` is `(1, c, *s)`, `y` its target or None."""

    sample: Sample
    x: Tensor
    y: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """All fields of a job by id, and which of them serve for what."""

    manifest: Manifest
    places: dict[str, int]
    splits: dict[str, list[str]]
    data: Data

    def load(self, name: str) -> Field:
        """Read and normalise one field."""
        sample = self.manifest[self.places[name]]
        where = f"sample {name!r}"
        x = measure(sample.image, self.data.normalise, where=where).apply(sample.image)
        y: Tensor | None = None
        if isinstance(sample.target, np.ndarray):
            scaling = self.target_scaling(sample)
            y = torch.from_numpy(scaling.apply(sample.target))[None]
        elif sample.target is not None:
            y = torch.tensor([[sample.target]])
        return Field(sample=sample, x=torch.from_numpy(x)[None], y=y)

    def target_scaling(self, sample: Sample) -> Scaling:
        """How the target image of a sample is normalised."""
        if not isinstance(sample.target, np.ndarray):
            raise DataError(f"sample {sample.id!r} has no target image to normalise")
        where = f"the target of sample {sample.id!r}"
        return measure(sample.target, self.data.normalise, where=where)

    def cache(self, part: str) -> FieldCache:
        """The fields of one part, for drawing patches."""
        rows = [self.places[name] for name in self.part(part)]
        kind = self.data.normalise
        return FieldCache(samples=self.manifest.subset(rows), scale=kind, target_scale=kind)

    @property
    def dims(self) -> int:
        """2 or 3, from the metadata of the first image."""
        _, path = self.manifest.rows[0].images[0]
        return len(probe_image(path, axes=self.manifest.axes)[0]) - 1

    def part(self, part: str) -> list[str]:
        """Ids of one part, or of every field for "all"."""
        if part == "all":
            return list(self.places)
        if not self.splits.get(part):
            raise DataError(
                f"there are no {part} fields; the split gave "
                f"{ {name: len(ids) for name, ids in self.splits.items()} }"
            )
        return self.splits[part]

    def to_choose(self, at_least: int = 6) -> list[str]:
        """Fields on which the knobs are chosen: those that validate, topped up by training ones."""
        names = [*self.splits.get("validate", []), *self.splits.get("train", [])]
        return names[: max(at_least, len(self.splits.get("validate", [])))]


def open_fields(data: Data, seed: int) -> Fields:
    """Open the images of a job and split them; a column `split` of the table goes first."""
    manifest = open_images(
        data.source,
        inputs=data.inputs or None,
        target=data.targets or None,
        axes=data.axes or None,
        root=data.root or None,
    )
    table, group = manifest.table, data.group or None
    rows = (
        split_from_column(table, group=group)
        if "split" in table
        else split(table, group=group, fractions=data.split, seed=seed)
    )
    ids = manifest.ids
    return Fields(
        manifest=manifest,
        places={name: row for row, name in enumerate(ids)},
        splits={part: [ids[row] for row in members] for part, members in rows.items()},
        data=data,
    )


def fingerprint(manifest: Manifest) -> str:
    """SHA-256 over ids, file names, sizes and both ends of every file.

    Not over every byte: a screen of terabytes must not be read to be recognised.
    """
    total = hashlib.sha256()
    for row in manifest.rows:
        total.update(row.id.encode())
        for path in _files(row):
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    total.update(f"{file.name}\0{file.stat().st_size}\0".encode())
                    total.update(_ends(file))
    return total.hexdigest()


def _files(row: Any) -> list[Path]:
    named = [path for _, path in row.images] + [row.target, row.regions]
    return [path for path in named if isinstance(path, Path)]


def _ends(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(ENDS)
        file.seek(max(0, path.stat().st_size - ENDS))
        return head + file.read(ENDS)
