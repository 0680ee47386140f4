"""The fields of a job: opened, split, normalised, and known by a fingerprint."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attributome.config import Data
from attributome.core.errors import DataError, UsageError
from attributome.core.records import Sample
from attributome.core.seeds import rng
from attributome.data.intensity import Scaling, measure
from attributome.data.manifest import Manifest, open_images
from attributome.data.patches import FieldCache
from attributome.data.small_images import Scaled, SmallImages, open_small_images, training_scaling
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
    """All fields of a job by id, and which of them serve for what.

    `scaling` is that of the training fields, where every field is normalised by it.
    """

    manifest: Manifest | SmallImages
    places: dict[str, int]
    splits: dict[str, list[str]]
    data: Data
    scaling: Scaling | None = None

    def load(self, name: str) -> Field:
        """Read and normalise one field."""
        sample = self.manifest[self.places[name]]
        x = self._scaling(sample).apply(sample.image)
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
        if self.data.normalise == "training":
            raise UsageError(
                f"data.normalise is 'training', but the target of sample {sample.id!r} is an "
                f"image: this is for targets that are numbers or classes"
            )
        where = f"the target of sample {sample.id!r}"
        return measure(sample.target, self.data.normalise, where=where)

    def cache(self, part: str) -> FieldCache:
        """The fields of one part, for drawing patches."""
        rows = [self.places[name] for name in self.part(part)]
        samples, kind = self.manifest.subset(rows), self.data.normalise
        if kind == "training":
            ready = Scaled(samples=samples, scaling=self._scaling(samples[0]))
            return FieldCache(samples=ready, scale="none", target_scale="none")
        return FieldCache(samples=samples, scale=kind, target_scale=kind)

    def _scaling(self, sample: Sample) -> Scaling:
        if self.data.normalise != "training":
            return measure(sample.image, self.data.normalise, where=f"sample {sample.id!r}")
        if self.scaling is None:
            raise UsageError(
                "data.normalise is 'training', but no fields are for training: choose another one"
            )
        return self.scaling

    @property
    def dims(self) -> int:
        """2 or 3, from the metadata of the first image."""
        return self.manifest.dims

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


def open_fields(data: Data, seed: int, *, scaling: Scaling | None = None) -> Fields:
    """Open the images of a job and split them; a column `split` of the table goes first.

    `scaling` is that of the images which a predictor from elsewhere was trained on, where these are
    normalised by the training; without it, it is measured on the training fields here.
    """
    manifest = _opened(data)
    table, group = manifest.table, data.group or None
    rows = (
        split_from_column(table, group=group)
        if "split" in table
        else split(table, group=group, fractions=data.split, seed=seed)
    )
    for part, most in data.most.items():
        if part not in rows:
            raise UsageError(f"data.most names {part!r}; the split has {', '.join(rows)}")
        order = rng(seed, "most", part).permutation(len(rows[part]))
        rows[part] = [rows[part][place] for place in sorted(order[:most])]
    ids = manifest.ids
    if data.normalise == "training" and scaling is None and rows.get("train"):
        scaling = training_scaling(manifest.subset(rows["train"]), seed=seed)
    return Fields(
        manifest=manifest,
        places={name: row for row, name in enumerate(ids)},
        splits={part: [ids[row] for row in members] for part, members in rows.items()},
        data=data,
        scaling=scaling if data.normalise == "training" else None,
    )


def _opened(data: Data) -> Manifest | SmallImages:
    """A folder in a layout of its own, or images in the formats of microscopes."""
    folder = Path(data.source)
    if folder.is_dir():
        known = open_small_images(folder, inputs=data.inputs, target=data.targets)
        if known is not None:
            return known
    return open_images(
        data.source,
        inputs=data.inputs or None,
        target=data.targets or None,
        axes=data.axes or None,
        root=data.root or None,
    )


def fingerprint(manifest: Manifest | SmallImages) -> str:
    """SHA-256 over ids, file names, sizes and both ends of every file.

    Not over every byte: a screen of terabytes must not be read to be recognised.
    """
    total = hashlib.sha256()
    for name, files in manifest.sources():
        total.update(name.encode())
        for path in files:
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    total.update(f"{file.name}\0{file.stat().st_size}\0".encode())
                    total.update(_ends(file))
    return total.hexdigest()


def _ends(path: Path) -> bytes:
    with path.open("rb") as file:
        head = file.read(ENDS)
        file.seek(max(0, path.stat().st_size - ENDS))
        return head + file.read(ENDS)
