"""Whole fields of view on their way to crops: from a table of images, or from the Atlas."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from attributome.core.errors import DataError, UsageError
from attributome.core.records import Sample
from attributome.core.types import Progress
from attributome.data.images import read_labels
from attributome.data.manifest import open_images, side_axes
from attributome.inpainting.cells import Refused
from attributome.inpainting.crops import Field
from attributome.inpainting.layout import HUMAN, grouped
from attributome.inpainting.nuclei import segment_nuclei
from attributome.inpainting.preprocess import central
from attributome.inpainting.yeast import yeast_labels
from attributome.pipeline.inpaint.job import CellData, NucleiJob, YeastJob

KNOWN = ("id", "group", "field", "labels")
"""Columns of a table of fields that cells get by other ways."""

ATLAS = {"green": 1, "blue": 2, "red": 0}
"""Planes of a picture of the Atlas, in the order of `HUMAN`."""

SHRUNK = 4
"""How much smaller pictures of the Atlas are looked at, as published."""


def fields_of(
    data: CellData, rejected: list[Refused], progress: Progress
) -> tuple[list[str], Iterator[Field]]:
    """The channels of a table of fields, and its fields, one in memory at a time.

    The table has images, an image of labels for each (`regions` or `labels`) or a channel to find
    cells in, and columns to group by. A field in which none can be looked for goes into `rejected`.
    """
    path = Path(data.source)
    root = Path(data.root) if data.root else None
    wanted = [int(name) if name.isdecimal() else name for name in data.channels] or None
    images = open_images(path, inputs=wanted, axes=data.axes or None, root=root)
    table = pd.DataFrame([{"id": row.id, **row.meta} for row in images.rows])
    groups = grouped(table, data.group or ("group",))
    names = [*data.channels.values()] or [*images[0].channels]
    how, section = _how(data)
    if how.channel and how.channel not in names:
        raise UsageError(
            f"data.{section}.channel is {how.channel!r}; the channels are {', '.join(names)}"
        )
    limit = (root or path.parent).resolve()

    def made() -> Iterator[Field]:
        for i, (sample, group) in enumerate(zip(images, groups, strict=True)):
            progress(i / len(images), f"{sample.id} ({i + 1} of {len(images)})")
            if sample.image.ndim != 3:
                raise DataError(
                    f"the field {sample.id!r} has the shape {sample.image.shape}; crops are cut "
                    f"from planes (c, y, x)"
                )
            labels = _labels(sample, path.parent, limit, data.axes)
            if labels is None:
                if not how.channel:
                    raise DataError(
                        f"the field {sample.id!r} has no image of labels: give a column `regions`, "
                        f"or the channel to find nuclei in as data.nuclei.channel, or yeast cells "
                        f"as data.yeast.channel"
                    )
                plane = sample.image[names.index(how.channel)]
                labels = _found(plane, how, sample.id, rejected)
            if labels is not None:
                meta = {name: value for name, value in sample.meta.items() if name not in KNOWN}
                yield Field(id=sample.id, group=group, image=sample.image, labels=labels, meta=meta)

    return names, made()


def atlas_fields(
    images: pd.DataFrame,
    folder: Path,
    nuclei: NucleiJob,
    rejected: list[Refused],
    progress: Progress,
) -> Iterator[Field]:
    """Fields of the Atlas, a quarter of their size, with the nuclei that are found in them.

    `images` are rows of its manifest; those that were not fetched go into `rejected`.
    """
    for i, row in enumerate(images.to_dict("records")):
        progress(i / len(images), f"{row['path'] or row['gene']} ({i + 1} of {len(images)})")
        if row["status"] != "fetched":
            rejected.append((row["gene"], row["url"], row["reason"]))
            continue
        picture = _picture(folder / row["path"], rejected)
        if picture is None:
            continue
        blue = picture[[*HUMAN].index("blue")]
        labels = _found(blue, nuclei, row["path"], rejected)
        if labels is not None:
            some = ("gene", "ensembl", "symbol", "antibody", "cell_line", "plate", "well")
            yield Field(
                id=row["path"].removesuffix(".jpg").removesuffix(f"_{row['channels']}"),
                group=str(row["group"]),
                image=picture,
                labels=labels,
                meta={name: str(row[name]) for name in some},
            )


def _picture(path: Path, rejected: list[Refused]) -> np.ndarray | None:
    """The planes of a JPEG as shares of 255, a quarter of its size."""
    try:
        with Image.open(path, formats=["JPEG"]) as file:
            pixels = np.asarray(file.convert("RGB"), np.float64) / 255
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        rejected.append((path.name, "", f"it cannot be read: {error}"))
        return None
    height, width = (side - side % SHRUNK for side in pixels.shape[:2])
    planes = np.moveaxis(pixels[:height, :width], 2, 0)
    if not planes.size:
        rejected.append((path.name, "", f"it has {pixels.shape[0]} x {pixels.shape[1]} pixels"))
        return None
    return central(np.ascontiguousarray(planes[[ATLAS[end] for end in HUMAN]]))


def _how(data: CellData) -> tuple[NucleiJob | YeastJob, str]:
    """How cells are found where there are no labels, and the section of the job that says so."""
    if data.nuclei.channel and data.yeast.channel:
        raise UsageError(
            f"data.nuclei.channel is {data.nuclei.channel!r} and data.yeast.channel is "
            f"{data.yeast.channel!r}; cells are found in one way"
        )
    return (data.yeast, "yeast") if data.yeast.channel else (data.nuclei, "nuclei")


def _found(
    plane: np.ndarray, how: NucleiJob | YeastJob, name: str, rejected: list[Refused]
) -> np.ndarray | None:
    """The cells of a field; None, and a line in `rejected`, where none can be looked for."""
    try:
        if isinstance(how, YeastJob):
            return yeast_labels(
                plane,
                rim=how.rim,
                background=how.background,
                contrast=how.contrast,
                holes=how.holes,
                smallest=how.smallest,
                largest=how.largest,
                border=how.border,
                split=how.split,
                neck=how.neck,
            )
        return segment_nuclei(
            plane,
            sigma=how.sigma,
            otsu=how.otsu,
            threshold=how.threshold,
            holes=how.holes,
            smallest=how.smallest,
            largest=how.largest,
            border=how.border,
            split=how.split,
            neck=how.neck,
        )
    except DataError as error:
        rejected.append((name, "", f"no cells can be looked for: {error}"))
        return None


def _labels(sample: Sample, folder: Path, limit: Path, axes: str) -> np.ndarray | None:
    if sample.regions is not None:
        return sample.regions
    named = sample.meta.get("labels")
    if named is None:
        return None
    path = folder / str(named)
    if not path.resolve().is_relative_to(limit):
        raise DataError(f"labels of the field {sample.id!r} are {named}, which is outside {limit}")
    labels = read_labels(path, axes=side_axes(path, axes or None))
    if labels.shape != sample.image.shape[1:]:
        raise DataError(
            f"{path} has shape {labels.shape}, and the image of the field {sample.id!r} has "
            f"{sample.image.shape}: the sizes must be equal"
        )
    return labels
