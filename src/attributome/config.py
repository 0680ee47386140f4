"""A job: one screen of TOML, checked before anything is computed. Config stops at the pipeline."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attributome.core.errors import UsageError
from attributome.core.files import write_text

Channel = str | int
Share = float
Pixels = Annotated[int, Field(ge=1)]
Widths = Annotated[tuple[Pixels, ...], Field(min_length=6, max_length=6)]


class Section(BaseModel):
    """A part of a job. Unknown keys are refused; values are not converted behind one's back."""

    model_config = ConfigDict(extra="forbid", frozen=True)


AnyJob = TypeVar("AnyJob", bound=Section)


class Data(Section):
    """Which images, and which of them serve for what."""

    source: str = Field("", description="a folder, a glob, or a CSV/Parquet table of fields")
    inputs: tuple[Channel, ...] = Field((), description="channels the predictor sees; () is all")
    targets: tuple[Channel, ...] = Field((), description="channels it predicts")
    axes: str = Field("", description="axes of files that do not say, such as CYX")
    normalise: Literal["zscore", "percentile", "none", "training"] = Field(
        "zscore",
        description="each field by itself; training: all by mean and spread of the training ones",
    )
    group: str = Field("", description="column whose groups (well, plate) are never split")
    split: dict[str, Share] = Field(
        {"train": 0.5, "validate": 0.1, "calibrate": 0.2, "test": 0.2},
        description="shares of the groups; a column named split in the table goes first",
    )
    most: dict[str, Pixels] = Field(
        {}, description="at most so many fields of a part, drawn by the seed, as {test = 500}"
    )
    root: str = Field("", description="folder that the paths in a table must stay in")


class Training(Section):
    """How long and how fast to train."""

    lr: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    epochs: int = Field(20, ge=1)
    steps: int = Field(50, ge=1, description="batches per epoch")
    batch: int = Field(8, ge=1)
    patch: tuple[Pixels, ...] = Field((128, 128), description="pixels per axis of a training patch")
    augment: bool = Field(True, description="flip training patches, and turn them by quarters")
    patience: int | None = Field(None, ge=1, description="epochs without gain before stopping")
    minutes: float | None = Field(None, gt=0, description="stop after this many minutes")


class PredictorJob(Training):
    """A predictor to train (`source` empty), or one that exists."""

    source: str = Field("", description="predictor folder, .safetensors, TorchScript or .pt2")
    factory: str = Field("", description="module:function that builds the network for weights")
    kwargs: dict[str, Any] = Field({}, description="keywords of that function")
    task: Literal["image", "regression", "classification"] = "image"
    network: str = Field("", description="unet, cnn, vgg or resnet; empty is what suits the task")
    features: Widths = Field((16, 16, 32, 64, 128, 16), description="widths of the U-Net")
    sizes: dict[str, Pixels] = Field(
        {}, description="of cnn, vgg or resnet: {width = 16}, of vgg depth, too"
    )
    classes: int = Field(2, ge=2, description="number of classes of a classifier")


class MasksJob(Training):
    """The mask generator and the two knobs."""

    lr: float = Field(2e-3, gt=0)
    preset: str = Field("", description="empty: that of the predictor's task; see docs/masks.md")
    form: Literal["", "rank", "soft", "bernoulli", "concrete"] = ""
    noise: str = Field("gaussian", description="what replaces pixels that are masked out")
    noise_scale: float | None = Field(None, gt=0, description="None: searched")
    noise_floor: float = Field(0.2, description="the search wants the predictor's PCC below this")
    starts: int = Field(8, ge=1, description="random generators of which the best is trained")
    grain: int = Field(4, ge=1, le=16, description="smallest detail of a mask in pixels")
    areas: tuple[float, float] | None = Field(
        None, description="smallest and largest mask size that training draws; None: the preset's"
    )
    per: Literal["field", "data"] = Field("field", description="what a threshold ranks pixels of")
    threshold: float | None = Field(None, ge=0, le=1, description="None: searched")
    target: float = Field(0.92, description="median efficacy that the searched threshold keeps")
    floor: float = Field(0.9, description="the efficacy that the guarantee is about")
    share: float = Field(0.9, gt=0, lt=1, description="share of new fields it promises this for")
    confidence: float = Field(0.9, gt=0, lt=1)
    features: Widths = Field((8, 16, 32, 64, 64, 8), description="widths of the U-Net")


class ExplainJob(Section):
    """Which maps to make."""

    methods: dict[str, dict[str, Any]] = Field({"learned_mask": {}})
    target: str = Field(
        "", description="what of the output: sum, channel:1, class:3, ...; empty suits the task"
    )
    layer: str = Field(
        "", description="layer of the Grad-CAM family; empty: the deepest with a grid"
    )
    background: int = Field(8, ge=1, description="training fields that stand for the average image")
    window: tuple[Pixels, ...] = Field(
        (), description="pixels of a window; () is the field, or what fits"
    )
    overlap: float = Field(0.25, ge=0, lt=1)
    batch: int | None = Field(None, ge=1, description="windows at a time; None suits the device")
    split: str = Field("test", description="which fields are explained; all is every field")


class ScoreJob(Section):
    """What is measured on the maps."""

    controls: tuple[str, ...] = (
        "random",
        "translated",
        "flipped",
        "blurred_noise",
        "intensity",
        "edges",
    )
    sizes: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
    known: dict[str, int] = Field(
        {}, description="labels of the region image where the truth is known: evidence, decoy"
    )
    regions: dict[str, int] = Field(
        {}, description="labels of the region image to look for evidence in, by name"
    )
    panels: int = Field(3, ge=0, description="example fields in the report")


class Job(Section):
    """Everything one run is asked for."""

    name: str = "run"
    seed: int = 0
    data: Data = Data()
    predictor: PredictorJob = PredictorJob()
    masks: MasksJob = MasksJob()
    explain: ExplainJob = ExplainJob()
    score: ScoreJob = ScoreJob()


def read_job(path: Path | None, changes: Mapping[str, Any] | None = None) -> Job:
    """A job from a TOML file and from `section.key` changes, which go first."""
    return read_as(Job, path, changes)


def read_as(
    kind: type[AnyJob], path: Path | None, changes: Mapping[str, Any] | None = None
) -> AnyJob:
    """The same for a job of any kind."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the job {path}: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"the job {path} is not TOML: {error}") from error
    put(values, changes or {})
    return checked(kind, values, str(path) if path else "the flags")


def put(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put `section.key` changes into the plain values of a job."""
    for dotted, value in changes.items():
        place, keys = values, dotted.split(".")
        for key in keys[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise UsageError(f"{dotted!r} reaches into a value, not into a section")
        place[keys[-1]] = value


def job_from(values: Mapping[str, Any], where: str) -> Job:
    """Check plain values, and say in one sentence what the first mistake is."""
    return checked(Job, values, where)


def checked(kind: type[AnyJob], values: Mapping[str, Any], where: str) -> AnyJob:
    """The same for a job of any kind."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{where}: {_sentence(kind, error)}") from error


def example(job: Section) -> str:
    """A job of any kind as commented TOML that `read_as` reads back to the same."""
    lines = ["# A job of attributome. Every key may be left out; unknown keys are refused.", ""]
    lines += list(_rows(job))
    for name, value in job:
        if isinstance(value, Section):
            lines += ["", f"# {type(value).__doc__}", f"[{name}]"]
            lines += list(_rows(value))
    return "\n".join(lines) + "\n"


def write_example(path: Path, job: Section) -> None:
    """Write `example(job)`, never over a file that is there."""
    if path.exists():
        raise UsageError(f"{path} exists already; name another file")
    write_text(path, example(job))


def _rows(section: Section) -> Iterable[str]:
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, Section):
            continue
        says = f"  # {field.description}" if field.description else ""
        # TOML has no null: what is not set is shown, but commented out
        yield f"# {key} ={says}" if value is None else f"{key} = {as_toml(value)}{says}"


def as_toml(value: object) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{as_toml(k)} = {as_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return repr(value)


def _sentence(kind: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    dotted = ".".join(path)
    if first["type"] != "extra_forbidden":
        return f"{dotted} is {first['input']!r}, but {first['msg'][0].lower()}{first['msg'][1:]}"
    section = kind
    for name in path[:-1]:
        inner = section.model_fields[name].annotation
        section = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else section
    known = list(section.model_fields)
    near = difflib.get_close_matches(path[-1], known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"the keys here are {', '.join(known)}"
    return f"unknown key {dotted!r}; {hint}"
