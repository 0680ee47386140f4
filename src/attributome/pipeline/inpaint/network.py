"""The verb that trains an inpainter, and the network that the other verbs ask."""

from pathlib import Path
from typing import Any, Literal

from attributome.core.errors import DataError, UsageError
from attributome.core.parallel import team_of
from attributome.core.training import Plan, Story
from attributome.core.weights import CARD
from attributome.inpainting.cells import Cells
from attributome.inpainting.fit import fit_inpainter
from attributome.inpainting.keras_weights import import_keras
from attributome.inpainting.network import Inpainter
from attributome.inpainting.pretext import need_fit
from attributome.inpainting.saving import load_inpainter, save_inpainter
from attributome.pipeline.inpaint.job import TrainJob
from attributome.pipeline.inpaint.prepare import prepare
from attributome.pipeline.inpaint.work import NETWORK, CellWork, digest_of


def train(work: CellWork) -> Path:
    """Train the network of the job on its own cells; a finished one is left as it is.

    Under `torchrun` each process takes its share, and the first one saves.
    """
    if source := work.job.network.source:
        raise UsageError(
            f"network.source names {source}, so there is nothing to train; leave it empty to train "
            f"a network here"
        )
    folder, how = work.run.root / NETWORK, work.job.train
    if (folder / CARD).is_file():
        return folder
    cells = prepare(work)
    ids = cells.table["id"].to_numpy()
    parts = {part: ids[work.rows(cells, part)].tolist() for part in ("train", "validate")}
    plan, net = plan_of(how), new_network(work, cells, seed=work.job.seed)
    with work.timed("train") as progress:
        story = fit_inpainter(
            net,
            cells,
            parts,
            plan=plan,
            batch=how.batch,
            seed=work.job.seed,
            compute=work.compute,
            folder=folder,
            progress=progress,
            loss=how.loss,
            augment=how.augment,
            ema=how.ema,
            workers=how.workers,
            examples=how.examples,
            balanced=how.balanced,
            lonely=work.job.data.lonely,
        )
        if team_of(work.compute).rank == 0:
            save_inpainter(folder, net, _told(work, cells, story))
    return folder


def plan_of(how: TrainJob) -> Plan:
    """How long and how fast."""
    return Plan(
        lr=how.lr,
        betas=how.betas,
        weight_decay=how.weight_decay,
        epochs=how.epochs,
        patience=how.patience,
        minutes=how.minutes,
        schedule=how.schedule,
        warmup=how.warmup,
        clip=how.clip,
    )


def new_network(work: CellWork, cells: Cells, *, seed: int) -> Inpainter:
    """A network of the job's kind for these cells, untrained."""
    asked = work.job.network
    norm: Literal["batch", "group"] = "group"
    if asked.norm == "batch" or (asked.norm == "auto" and work.job.train.preset == "published"):
        norm = "batch"
    return Inpainter(
        len(cells.targets),
        len(cells.markers),
        widths=asked.widths,
        marker_width=asked.marker_width,
        marker_depth=asked.marker_depth,
        norm=norm,
        residual=asked.residual,
        summary=asked.summary,
        seed=seed,
    )


def network(work: CellWork, cells: Cells) -> tuple[Inpainter, str]:
    """The network that is asked, ready to compute, and the SHA-256 of its weights."""
    asked = work.job.network
    source = Path(asked.source) if asked.source else work.run.root / NETWORK
    if not asked.source and not (source / CARD).is_file():
        raise DataError(
            f"{work.run.root} has no trained network yet: run `attributome inpaint train` first, "
            f"or name one with --checkpoint"
        )
    if source.is_dir():
        net, _ = load_inpainter(source)
    else:
        net = import_keras(source, widths=asked.widths, marker_width=asked.marker_width)
    need_fit(net, cells)
    return work.compute.place(net, 2).eval(), digest_of(source)


def _told(work: CellWork, cells: Cells, story: Story) -> dict[str, Any]:
    """What the card of the network says about its making."""
    best = story.rows[story.best_epoch]
    return {
        "channels": [*cells.channels],
        "targets": [*cells.targets],
        "markers": [*cells.markers],
        "size": [*cells.size],
        "prepared": dict(cells.about).get("prepared"),
        "trained": {
            **work.job.train.model_dump(mode="json"),
            "seed": work.job.seed,
            "epochs_done": len(story.rows),
            "best_epoch": story.best_epoch + 1,
            "seconds": round(story.seconds, 1),
            **best,
        },
        "data": work.run.asked["data"],
    }
