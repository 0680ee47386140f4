"""A job of paired cell inpainting: one screen of TOML, checked before anything is computed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from attributome.config import Section, checked, put, read_as

Share = Annotated[float, Field(gt=0, le=1)]
Part = Literal["train", "validate", "test"]
Kind = Literal["auto", "layout", "manifest", "fields", "cells", "chong", "hpa"]
Pool = Literal["max", "mean", "masked_max", "masked_mean"]
Decay = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1)]

PUBLISHED: Mapping[str, Any] = {
    "lr": 1e-4,
    "betas": (0.5, 0.999),
    "schedule": "constant",
    "warmup": 0.0,
    "weight_decay": 0.0,
    "clip": None,
    "epochs": 30,
    "patience": None,
    "batch": 64,
    "ema": None,
}
"""How Lu et al. (2019) trained; who names this preset may still say otherwise, key by key."""


class NucleiJob(Section):
    """How nuclei are found in fields that come without an image of labels."""

    channel: str = Field("", description="channel of the nuclei; empty: fields bring labels")
    sigma: float = Field(5.0, ge=0, description="pixels of blur before the threshold")
    otsu: Literal["smoothed", "raw"] = "smoothed"
    threshold: float | None = Field(None, description="None: Otsu's")
    holes: int = Field(300, ge=0, description="pixels up to which an enclosed hole is filled")
    smallest: int = Field(100, ge=0, description="pieces of so many pixels or fewer are dropped")
    largest: int | None = Field(None, ge=1)
    border: Literal["drop", "keep"] = "drop"
    split: bool = Field(True, description="cut nuclei that touch; published: false")
    neck: float = Field(1.5, ge=0)


class YeastJob(Section):
    """How whole yeast cells are found in bright-field light; lengths are pixels of the field."""

    channel: str = Field("", description="bright-field channel; empty: not looked in")
    rim: float = Field(2.0, gt=0, description="width of a cell's dark or bright rim")
    background: float = Field(40.0, gt=0, description="blur that is the uneven light")
    contrast: float = Field(3.0, gt=0, description="of a cell, in deviations of an empty field")
    holes: int = Field(400, ge=0)
    smallest: int = Field(150, ge=0)
    largest: int | None = Field(2500, ge=1)
    border: Literal["drop", "keep"] = "drop"
    split: bool = True
    neck: float = Field(1.5, ge=0)


class CellData(Section):
    """Which cells, what their channels are called, and which fields serve for what."""

    source: str = Field("", description="a folder, or a table of crops, of fields or of proteins")
    kind: Kind = Field("auto", description="what the source is; auto looks")
    channels: dict[str, str] = Field(
        {}, description="end of a file's name, column or plane, and the name of its channel"
    )
    targets: tuple[str, ...] = Field((), description="channels to predict; () is the first")
    group: tuple[str, ...] = Field((), description="columns that the cells of a pair share")
    field: str = Field("field", description="manifest: the column of the field of view")
    mask: str = Field("", description="manifest: the column of masks of the own cell")
    names: str = Field("", description="layout: yeast, human or a pattern of the cells' names")
    axes: str = Field("", description="fields: axes of files that do not say, such as CYX")
    root: str = Field("", description="folder that the paths in a table must stay in")
    size: int | None = Field(None, ge=4, description="pixels of a crop; None: what suits the kind")
    recipe: str = Field("auto", description="how crops are scaled: yeast, human, none")
    border: Literal["drop", "pad"] = Field("drop", description="boxes that leave their field")
    nuclei: NucleiJob = NucleiJob()
    yeast: YeastJob = YeastJob()
    drop: tuple[str, ...] = Field((), description="chong: classes that are left out")
    lonely: Literal["drop", "refuse"] = Field(
        "drop", description="cells that are alone in their group within a part"
    )
    least: int = Field(2, ge=1, description="groups of fewer cells are left out and listed")
    limit: int | None = Field(None, ge=1, description="the first so many groups; hpa: genes")
    site: str = Field("", description="hpa: address of the Atlas")
    downloads: str = Field("", description="hpa: folder of the images; empty: in the run")
    shares: dict[Part, Share] = Field(
        {"train": 0.7, "validate": 0.15, "test": 0.15}, description="of whole fields"
    )


class NetworkJob(Section):
    """The network to train, or one that exists."""

    source: str = Field("", description="folder of a network, or Keras weights (.h5)")
    widths: Annotated[tuple[Width, ...], Field(min_length=5, max_length=5)] = Field(
        (96, 256, 384, 384, 256), description="of the five source layers"
    )
    marker_width: int = Field(16, ge=1)
    marker_depth: int = Field(3, ge=1, description="layers of the marker branch")
    norm: Literal["auto", "batch", "group"] = Field(
        "auto", description="auto: batch with the published preset, else group"
    )
    residual: bool = Field(False, description="two convolutions and a shortcut per layer")
    summary: bool = Field(False, description="the decoder is told a mean over the source cell")


class TrainJob(Section):
    """How long and how fast to train."""

    preset: Literal["", "published"] = Field("", description="published: as Lu et al. trained")
    lr: float = Field(1e-3, gt=0)
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    clip: float | None = Field(1.0, gt=0, description="largest norm of a gradient")
    epochs: int = Field(30, ge=1)
    patience: int | None = Field(5, ge=1, description="epochs without gain before stopping")
    minutes: float | None = Field(None, gt=0, description="stop after this many minutes")
    batch: int = Field(64, ge=2)
    loss: Literal["mse", "l1", "ms_ssim"] = "mse"
    ema: float | None = Field(None, gt=0, lt=1, description="running mean of the weights")
    augment: bool = Field(True, description="flip source and target")
    balanced: bool = Field(False, description="as many pairs of each group")
    workers: int = Field(2, ge=0, description="threads that read ahead")
    examples: int = Field(4, ge=0, description="validation pairs drawn after every epoch")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("preset") == "published":
            return {**PUBLISHED, **values}
        return values


class FeaturesJob(Section):
    """Which features of the cells."""

    layers: tuple[str, ...] = Field((), description="() is conv1_1 to conv5_1")
    pools: tuple[Pool, ...] = Field(("max", "mean"), min_length=1)
    block: int = Field(4096, ge=1, description="cells of a part")
    batch: int = Field(256, ge=1)
    average: str = Field("", description="column of whose values averages are made")
    through: tuple[str, ...] = Field(("field",), description="means of these first; () is cells")
    forms: tuple[Literal["parquet", "anndata", "text"], ...] = ("parquet",)


class EvaluateJob(Section):
    """How well the features tell labels apart, and beside what."""

    label: str = Field("group", description="column of what is told apart")
    groups: tuple[str, ...] = Field(("field", "plate"), description="columns to hold out by")
    k: int = Field(11, ge=1, description="neighbours")
    folds: int = Field(4, ge=2)
    draws: int = Field(1000, ge=10, description="bootstrap draws of fields")
    cells: int = Field(10000, ge=1, description="at most so many, drawn by whole fields")
    part: Literal["all", "train", "validate", "test"] = Field(
        "all", description="whose cells are told apart"
    )
    layer: str = Field("conv3_1", description="layer of the findings")
    pool: Pool = Field("max", description="pool of the findings")
    imagenet: str = Field("", description="weights of a VGG16; empty: not compared")
    sets: str = Field("", description="GMT or CSV of protein sets to look for in clusters")
    umap: bool | None = Field(None, description="None: where umap-learn is installed")


class PredictJob(Section):
    """Which pairs are predicted for a person to look at."""

    part: Literal["test", "validate", "train", "all"] = "test"
    pairs: int = Field(24, ge=1, description="pairs whose images are kept")


class InpaintJob(Section):
    """Everything one run of paired cell inpainting is asked for."""

    name: str = "inpaint"
    seed: int = 0
    data: CellData = CellData()
    network: NetworkJob = NetworkJob()
    train: TrainJob = TrainJob()
    features: FeaturesJob = FeaturesJob()
    evaluate: EvaluateJob = EvaluateJob()
    predict: PredictJob = PredictJob()


def read_job(path: Path | None, changes: Mapping[str, Any] | None = None) -> InpaintJob:
    """A job from a TOML file and from `section.key` changes, which go first."""
    return read_as(InpaintJob, path, changes)


def job_from(values: Mapping[str, Any], where: str) -> InpaintJob:
    """Check plain values, and say in one sentence what the first mistake is."""
    return checked(InpaintJob, values, where)


def changed(job: InpaintJob, changes: Mapping[str, Any]) -> InpaintJob:
    """The job with other values for some of its keys; another preset begins its section anew."""
    values = job.model_dump(mode="json")
    if changes.get("train.preset", job.train.preset) != job.train.preset:
        values["train"] = {}
    put(values, changes)
    return job_from(values, "the flags")
