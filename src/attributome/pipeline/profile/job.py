"""A job of single-cell profiles: one screen of TOML, checked before anything is computed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from attributome.config import Section, checked, put, read_as

Share = Annotated[float, Field(gt=0, le=1)]
Voxels = Annotated[int, Field(ge=1)]
Step = Annotated[float, Field(gt=0)]
Part = Literal["train", "validate", "test"]
Kind = Literal["auto", "table", "ngff", "jump", "deepprofiler"]
Pool = Literal["mean", "max", "masked_mean"]
CausalTest = Literal["tests", "predictors"]
Stage = Literal["raw", "normalised", "sphered", "selected", "camo"]
Remedy = Literal["penalty", "mask", "background"]
Alternative = Literal["contrastive", "inpainting"]
Width = Annotated[int, Field(ge=1)]


class LabelsJob(Section):
    """Where the label images of the fields come from."""

    kind: Literal["auto", "column", "beside", "segment", "cellpose"] = Field(
        "auto", description="auto: the table's column, else beside the image, else segment"
    )
    column: str = Field("labels", description="table: column with the label images")
    name: str = Field("", description="ending or label group, where there are several")
    channel: str = Field("", description="channel that is segmented; jump: beside whose files")
    diameter: float | None = Field(None, gt=0, description="of a nucleus, in units of the spacing")
    method: Literal["otsu", "log"] = "otsu"
    scale: Literal["linear", "log"] = "linear"
    border: Literal["keep", "drop"] = "keep"
    model: str = Field("cpsam", description="cellpose: a model that it knows, or weights")


class ProfileData(Section):
    """Which fields of which plates, and which wells serve for what."""

    source: str = Field("", description="a table of fields, or the folder of plates")
    kind: Kind = Field("auto", description="what the source is; auto looks")
    about: str = Field("", description="a table with more of wells, such as treatments")
    channels: dict[str, str] = Field(
        {}, description="channel as the source calls it, and what we call it; {} is all"
    )
    label: str = Field("treatment", description="column of what is told apart")
    control: tuple[str, ...] = Field((), description="labels that are negative controls")
    mechanism: str = Field("", description="column of mechanisms of action; empty: none")
    plate: str = Field("plate", description="table: the column of the plate")
    well: str = Field("well", description="table: the column of the well")
    site: str = Field("site", description="table: the column of the site, if there is one")
    axes: str = Field("", description="axes of files that do not say, such as CZYX")
    root: str = Field("", description="folder that the paths in a table must stay in")
    spacing: tuple[Step, ...] = Field((), description="micrometres per axis; () is the file's")
    labels: LabelsJob = LabelsJob()
    incomplete: Literal["refuse", "drop"] = Field("refuse", description="jump: fields with gaps")
    limit: int | None = Field(None, ge=1, description="the first so many fields")
    shares: dict[Part, Share] = Field(
        {"train": 0.6, "validate": 0.2, "test": 0.2}, description="of the wells of each label"
    )
    held_out_plates: int | tuple[str, ...] = Field(
        0, description="plates that no training sees: their names, or how many are drawn"
    )


class CropsJob(Section):
    """The box around each cell."""

    size: tuple[Voxels, ...] = Field((), description="voxels per axis, or one for all axes")
    size_um: tuple[Step, ...] = Field((), description="micrometres instead; one for all axes")
    border: Literal["drop", "pad"] = Field("drop", description="boxes that leave their field")
    illumination: str = Field(
        "", description="files to divide by, such as illum/{plate}_{channel}.npy"
    )


class NetworkJob(Section):
    """The network to train, or one that such a run has trained."""

    source: str = Field("", description="a network or a predictor, which is then not trained")
    classes: tuple[str, ...] = Field(
        (), description="of a predictor from elsewhere: its outputs in their order; () is its card"
    )
    kind: Literal["small", "resnet", "efficientnet"] = "efficientnet"
    version: str = Field("", description="b0 to b7, or 10, 18, 34, 50; empty: the usual")
    width: int = Field(16, ge=1, description="small: channels of the first layer")
    dropout: float = Field(0.2, ge=0, lt=1)
    cam_cells: int = Field(4, ge=4, description="least places of the maps along each axis")


class TrainJob(Section):
    """How long and how fast to train, and against what."""

    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    clip: float | None = Field(1.0, gt=0, description="largest norm of a gradient")
    epochs: int = Field(30, ge=1)
    patience: int | None = Field(5, ge=1, description="epochs without gain before stopping")
    minutes: float | None = Field(None, gt=0, description="stop after this many minutes")
    batch: int = Field(64, ge=2)
    watch: Literal["loss", "error"] = Field("error", description="what of validation must fall")
    smoothing: float = Field(0.1, ge=0, lt=1, description="of the labels")
    balance: bool = Field(True, description="each label weighs alike")
    augment: bool = Field(True, description="flip, turn, zoom, brighten")
    ema: float | None = Field(None, gt=0, lt=1, description="running mean of the weights")
    remedy: Literal["none", "penalty", "mask", "background"] = Field(
        "none", description="against looking beside the cell"
    )
    beta: float = Field(
        1.0, gt=0, description="penalty: weight of the share of the map that is beside the cell"
    )


class FeaturesJob(Section):
    """Which features of the cells."""

    layers: tuple[str, ...] = Field(("body",), min_length=1)
    pools: tuple[Pool, ...] = Field(("mean",), min_length=1)
    block: int = Field(4096, ge=1, description="cells of a part")
    batch: int = Field(128, ge=1)
    forms: tuple[Literal["parquet", "anndata", "workspace_dl"], ...] = ("parquet",)


class CamoJob(Section):
    """Where the network looks in each cell, and each feature."""

    layer: str = "body"
    method: Literal["grad_cam", "hires_cam"] = "grad_cam"
    target: Literal["label", "predicted"] = Field("label", description="class of the map")
    features: bool = Field(True, description="also of every feature that is a mean of the layer")
    least: int = Field(4, ge=1, description="places of the grid per axis below which is refused")
    controls: int = Field(500, ge=0, description="cells that random weights and masks are asked of")
    block: int = Field(2048, ge=1, description="cells of a part")
    batch: int = Field(32, ge=1)
    worst: int = Field(12, ge=0, description="lowest and highest cells whose images are kept")


class CausesJob(Section):
    """What is done to crops to see what the network goes by."""

    which: tuple[CausalTest, ...] = ("tests", "predictors")
    cells: int = Field(5000, ge=2, description="at most so many, drawn by whole wells")


class WellsJob(Section):
    """From cells to profiles of wells."""

    aggregate: Literal["mean", "median"] = "mean"
    normalise: Literal["robust", "standard"] = "robust"
    reference: Literal["auto", "controls", "all"] = Field(
        "auto", description="wells that units are taken from; auto: controls where named"
    )
    least: int = Field(4, ge=2, description="reference wells that each plate needs")
    sphering: Literal["none", "ZCA", "PCA", "ZCA-cor", "PCA-cor"] = "ZCA"
    regularisation: Literal["relative", "ledoit_wolf", "oas"] | float = "relative"
    relative: float = Field(0.01, gt=0, description="share of the mean eigenvalue")
    align: bool = Field(False, description="after sphering: the plates' controls made alike (TVN)")
    select: bool = Field(True, description="drop features that say nothing, or nothing more")
    correlation: float = Field(0.9, gt=0, le=1)
    camo: Literal["none", "filter", "weight"] = Field("filter", description="cells by Grad-CAMO")
    camo_least: float | None = Field(
        None, ge=0, le=1, description="filter: least Grad-CAMO; None: the cell's own chance"
    )
    camo_features: Literal["keep", "drop"] = Field(
        "drop", description="features whose Grad-CAMO is not above chance"
    )


class RemediesJob(Section):
    """What is compared with the run's own training, each trained as `train` says but for this."""

    which: tuple[Remedy, ...] = Field(("penalty", "mask", "background"), min_length=1)


class AlternativesJob(Section):
    """Features that are learnt without labels, to compare with those of the classifier."""

    which: tuple[Alternative, ...] = Field(("contrastive", "inpainting"), min_length=1)
    temperature: float = Field(0.2, gt=0, description="contrastive")
    followed: int = Field(
        500, ge=0, description="contrastive: cells beside training whose features are animated"
    )
    marker: tuple[str, ...] = Field(
        (), description="inpainting: channels known of both cells; () is the segmented or the first"
    )
    recipe: str = Field("yeast", description="inpainting: how crops are scaled: yeast, human, none")
    widths: Annotated[tuple[Width, ...], Field(min_length=5, max_length=5)] = Field(
        (96, 256, 384, 384, 256), description="inpainting: of the five source layers"
    )
    layer: str = Field("conv3_1", description="inpainting: layer of the features")
    pool: Literal["max", "mean", "masked_max", "masked_mean"] = Field(
        "max", description="inpainting: pool of the features"
    )


class EvaluateJob(Section):
    """What the network and the profiles are worth."""

    pos_sameby: tuple[str, ...] = Field((), description="() is the label")
    pos_diffby: tuple[str, ...] = ()
    neg_sameby: tuple[str, ...] = ("plate",)
    neg_diffby: tuple[str, ...] = Field((), description="() is the label")
    k: int = Field(5, ge=1, description="neighbours")
    draws: int = Field(1000, ge=10, description="bootstrap draws of wells")
    null: int = Field(10000, ge=10, description="random orders that a precision is held against")
    fields: int = Field(200, ge=0, description="fields whose channels are correlated, drawn")
    umap: bool | None = Field(None, description="None: where umap-learn is installed")


class ProfileJob(Section):
    """Everything one run of single-cell profiles is asked for."""

    name: str = "profile"
    seed: int = 0
    data: ProfileData = ProfileData()
    crops: CropsJob = CropsJob()
    network: NetworkJob = NetworkJob()
    train: TrainJob = TrainJob()
    features: FeaturesJob = FeaturesJob()
    camo: CamoJob = CamoJob()
    causes: CausesJob = CausesJob()
    profiles: WellsJob = WellsJob()
    evaluate: EvaluateJob = EvaluateJob()
    remedies: RemediesJob = RemediesJob()
    alternatives: AlternativesJob = AlternativesJob()


def read_job(path: Path | None, changes: Mapping[str, Any] | None = None) -> ProfileJob:
    """A job from a TOML file and from `section.key` changes, which go first."""
    return read_as(ProfileJob, path, changes)


def job_from(values: Mapping[str, Any], where: str) -> ProfileJob:
    """Check plain values, and say in one sentence what the first mistake is."""
    return checked(ProfileJob, values, where)


def changed(job: ProfileJob, changes: Mapping[str, Any]) -> ProfileJob:
    """The job with other values for some of its keys."""
    values = job.model_dump(mode="json")
    put(values, changes)
    return job_from(values, "the flags")
