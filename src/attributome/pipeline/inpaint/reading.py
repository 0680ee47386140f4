"""Cells as they are read, whatever they come from: crops, fields, HDF5, or the Atlas."""

from pathlib import Path

import pandas as pd

from attributome.core.errors import UsageError
from attributome.data.sources import hpa
from attributome.inpainting.cells import Cells, Refused
from attributome.inpainting.crops import crop_fields
from attributome.inpainting.layout import HUMAN, read_layout
from attributome.inpainting.manifest import read_manifest
from attributome.pipeline.inpaint.fields import atlas_fields, fields_of
from attributome.pipeline.inpaint.sources import (
    channels_of,
    hdf5_of,
    kind_of,
    names_of,
    targets_of,
)
from attributome.pipeline.inpaint.work import CellWork

BOX = {"fields": 64, "hpa": 128}
"""Pixels of the crops that are cut out of fields, where the job does not say."""


def read(work: CellWork, folder: Path, refused: list[Refused]) -> Cells:
    """The cells of the job's source, written to a folder; `refused` are what never became cells."""
    data, kind = work.job.data, kind_of(work.job.data)
    source, channels = Path(data.source), channels_of(data)
    size = None if data.size is None else (data.size, data.size)
    if kind == "layout":
        return read_layout(
            source,
            channels=channels,
            targets=targets_of(data, channels.values()),
            names=data.names or names_of(source, channels),
            group=data.group or ("folder",),
            size=size,
            folder=folder,
        )
    if kind == "chong":
        from attributome.inpainting.chong import read_chong

        return read_chong(
            hdf5_of(source),
            drop=data.drop,
            targets=data.targets or ("protein",),
            folder=folder,
        )
    if kind == "manifest":
        if not channels:
            raise UsageError(
                "a table of crops needs its channels: give --channel NAME=COLUMN for each file, or "
                "--channel NAME=0 and on for the planes of the files in `image`"
            )
        planes = [str(i) for i in range(len(channels))]
        return read_manifest(
            source,
            channels=[channels[i] for i in planes] if {*channels} == {*planes} else channels,
            targets=targets_of(data, channels.values()),
            mask=data.mask or None,
            group=data.group or ("group",),
            field=data.field,
            root=Path(data.root) if data.root else None,
            size=size,
            folder=folder,
        )
    progress = work.bars("cut cells")
    box = data.size or BOX[kind]
    if kind == "fields":
        names, fields = fields_of(data, refused, progress)
        targets = targets_of(data, names)
    else:
        names = [*HUMAN.values()]
        fields = atlas_fields(*_atlas(work), data.nuclei, refused, progress)
        targets = data.targets or ("protein",)
    made = crop_fields(
        fields, channels=names, targets=targets, size=box, border=data.border, folder=folder
    )
    progress(1.0, f"{len(made)} cells are cut")
    return made


def _atlas(work: CellWork) -> tuple[pd.DataFrame, Path]:
    """The images of the job's proteins, fetched as far as they are not here yet."""
    data = work.job.data
    folder = Path(data.downloads) if data.downloads else work.run.root / "downloads"
    progress = work.bars("download")
    images = hpa.download(
        Path(data.source),
        folder,
        site=data.site or hpa.SITE,
        limit=data.limit,
        progress=lambda done, whole: progress(done / whole, f"{done} of {whole} genes"),
    )
    work.tell(f"licence of these images: read {folder / 'LICENCE.txt'} before you pass them on")
    return images, folder
