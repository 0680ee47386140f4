"""Features of the same crops that owe nothing to labels, or nothing to any training."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError
from attributome.core.seeds import rng
from attributome.core.training import Story
from attributome.core.weights import CARD
from attributome.inpainting.cells import CARD as CELLS_CARD
from attributome.inpainting.cells import Cells, read_cells
from attributome.inpainting.fit import fit_inpainter
from attributome.inpainting.network import Inpainter
from attributome.inpainting.saving import load_inpainter, save_inpainter
from attributome.pipeline.profile.checking import need_known
from attributome.pipeline.profile.features import features_of
from attributome.pipeline.profile.network import (
    ERASE,
    Asked,
    new_network,
    plan_of,
    training_parts,
    untrained_net,
)
from attributome.pipeline.profile.saving import load_network, save_network
from attributome.pipeline.profile.splitting import HELD_OUT
from attributome.pipeline.profile.work import ALTERNATIVES, ProfileWork
from attributome.profiles.bridge import as_cells
from attributome.profiles.features import extract
from attributome.profiles.formats import metadata, read_about, write_parquet
from attributome.profiles.learning.contrastive import contrastive_features, fit_contrastive
from attributome.profiles.single_cells import SingleCells

FEATURES = "features.parquet"
CONTRASTIVE = "contrastive encoder"
"""The kind of such a network, which tells no classes."""
UNSEEN = ("test", HELD_OUT)
"""Parts that nobody trained or stopped on."""


def home(work: ProfileWork, name: str) -> Path:
    """The folder of an alternative."""
    return work.run.root / ALTERNATIVES / name


def untrained(work: ProfileWork, cells: SingleCells, asked: Asked) -> Path:
    """Features of the run's network as it was before it was trained, in the units of crops."""
    path = home(work, "untrained") / FEATURES
    if path.is_file() and read_about(path)["of"] == asked.sha256:
        return path
    net = untrained_net(work, asked)
    blank = replace(asked, net=work.compute.place(net, len(cells.size)).eval())
    step = work.job.features.batch

    def blocks() -> Iterator[pd.DataFrame]:
        for start in range(0, len(cells), step):
            rows = np.arange(start, min(start + step, len(cells)), dtype=np.int64)
            about = metadata(cells.table.iloc[rows])
            yield pd.concat([about, features_of(work, blank, cells, rows)], axis=1)

    with work.timed("untrained") as progress:
        progress(0.0, "features of a network that has learnt nothing")
        write_parquet(path, blocks(), {"of": asked.sha256})
    return path


def contrastive(work: ProfileWork, cells: SingleCells) -> Path:
    """Train by telling cells apart (Chen et al. 2020), and extract the mean maps of all cells."""
    folder, how = home(work, "contrastive"), work.job.train
    net, kwargs = new_network(work, cells, 2)
    erase = ERASE.get(how.remedy, "none")
    if not (folder / CARD).is_file():
        with work.timed("contrastive") as progress:
            story = fit_contrastive(
                net,
                cells,
                training_parts(work, cells),
                plan=replace(plan_of(how), watch="loss"),
                batch=how.batch,
                seed=work.job.seed,
                compute=work.compute,
                folder=folder,
                progress=progress,
                temperature=work.job.alternatives.temperature,
                erase=erase,
                followed=followed(work, cells),
            )
            told = _told(work, story) | {"channels": [*cells.channels], "size": [*cells.size]}
            save_network(folder, net, kwargs, told, kind=CONTRASTIVE)
    net, card = load_network(folder, kind=CONTRASTIVE)
    path = folder / FEATURES
    if not path.is_file() or read_about(path)["weights_sha256"] != card["weights_sha256"]:
        found = contrastive_features(
            net,
            cells,
            batch=work.job.features.batch,
            compute=work.compute,
            erase="mask" if erase == "mask" else "none",
        )
        write_parquet(path, found, {"weights_sha256": card["weights_sha256"]})
    return path


def followed(work: ProfileWork, cells: SingleCells) -> list[str]:
    """Cells whose features are kept after every epoch: drawn of those that do not train."""
    some = np.concatenate([work.rows(cells, part) for part in UNSEEN])
    if not len(some):
        some = work.rows(cells, "validate")
    order = rng(work.job.seed, "followed cells").permutation(len(some))
    rows = np.sort(some[order[: work.job.alternatives.followed]])
    ids: list[str] = cells.table["id"].to_numpy()[rows].tolist()
    return ids


def no_inpainting(cells: SingleCells) -> str:
    """Why no paired inpainting can be learnt from these crops; nothing where it can."""
    if len(cells.size) != 2:
        return "paired inpainting reads planes, and the crops are volumes"
    if len(cells.channels) < 2:
        return "paired inpainting predicts a channel from another, and there is one"
    return ""


def inpainting(work: ProfileWork, cells: SingleCells) -> Path:
    """Train by predicting a cell's channels from another of its well (Lu et al. 2019)."""
    folder, how, asked = home(work, "inpainting"), work.job.train, work.job.alternatives
    if not (folder / CARD).is_file():
        with work.timed("inpainting") as progress:
            progress(0.0, "crops are scaled")
            prepared = _prepared(work, cells, folder / "cells")
            net = Inpainter(
                len(prepared.targets),
                len(prepared.markers),
                widths=asked.widths,
                norm="group",
                seed=work.job.seed,
            )
            story = fit_inpainter(
                net,
                prepared,
                training_parts(work, cells),
                plan=replace(plan_of(how), watch="loss"),
                batch=how.batch,
                seed=work.job.seed,
                compute=work.compute,
                folder=folder,
                progress=progress,
                augment=how.augment,
                ema=how.ema,
                lonely="drop",
            )
            names = {"targets": [*prepared.targets], "markers": [*prepared.markers]}
            save_inpainter(folder, net, _told(work, story) | names)
    net, card = load_inpainter(folder)
    path = folder / FEATURES
    if not path.is_file() or read_about(path)["weights_sha256"] != card["weights_sha256"]:
        found = extract(
            net,
            _prepared(work, cells, folder / "cells"),
            layers=(asked.layer,),
            pools=(asked.pool,),
            batch=work.job.features.batch,
            compute=work.compute,
        )
        write_parquet(path, found, {"weights_sha256": card["weights_sha256"]})
    return path


def _prepared(work: ProfileWork, cells: SingleCells, folder: Path) -> Cells:
    """The crops as an inpainter reads them; pairs are drawn within a well."""
    if (folder / CELLS_CARD).is_file():
        return read_cells(folder)
    markers = work.job.alternatives.marker
    segmented = work.job.data.labels.channel
    if not markers:
        markers = (segmented if segmented in cells.channels else cells.channels[0],)
    for name in markers:
        need_known("alternatives.marker", name, cells.channels)
    targets = [name for name in cells.channels if name not in markers]
    if not targets:
        raise DataError(
            f"alternatives.marker names all channels ({', '.join(markers)}): none is left to "
            f"predict"
        )
    return as_cells(
        cells,
        targets=targets,
        markers=markers,
        group=("plate", "well"),
        recipe=work.job.alternatives.recipe,
        folder=folder,
    )


def _told(work: ProfileWork, story: Story) -> dict[str, Any]:
    trained = {
        **work.job.train.model_dump(mode="json"),
        "seed": work.job.seed,
        "epochs_done": len(story.rows),
        "best_epoch": story.best_epoch + 1,
        "seconds": round(story.seconds, 1),
    }
    return {"trained": trained, "data": work.run.asked["data"]}
