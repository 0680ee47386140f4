"""A job of studies: which finished runs, and what each study is asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from attributome.config import Section, checked, put, read_as
from attributome.core.errors import UsageError


class Noise(Section):
    """The scale at which noise hides a field."""

    scales: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    floor: float = Field(0.2, description="the efficacy below which a field counts as hidden")


class Threshold(Section):
    """The threshold that makes a map a signature."""

    values: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    floor: float = Field(0.87, description="the efficacy that the chosen threshold keeps")


class Groups(Section):
    """Fields grouped by columns of their table."""

    by: tuple[str, ...] = Field((), description="columns whose values are the groups")
    control: str = Field("", description="the group that others are compared with; empty: all")
    within: tuple[str, ...] = Field((), description="columns inside which groups are compared")


class Methods(Section):
    """The learned mask beside other methods, at equal noised volume."""

    methods: dict[str, dict[str, Any]] = Field(
        {"saliency": {}, "integrated_gradients": {}, "grad_cam": {}}
    )
    volumes: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Regions(Section):
    """Noise in a region that a person would draw."""

    region: str = Field(
        "beyond", description="beyond (signature minus segmentation), or one drawn by flags"
    )
    labels: str = Field("", description="column with a label image; empty: the target segmented")
    diameter: float = Field(
        40, gt=0, description="pixels across an object, where the target is segmented"
    )
    smallest: int = Field(100, ge=0, description="objects with fewer pixels are dropped")
    close: int = Field(3, ge=1, description="pixels of the square that closes gaps of beyond")
    first: int = Field(7, ge=1, description="pixels of the square that erodes beyond at the start")
    erode: int = Field(11, ge=1, description="pixels of the square of one erosion step")
    steps: int = Field(3, ge=0)
    placements: int = Field(5, ge=1, description="places elsewhere that a region is moved to")
    cells: int = Field(8, ge=0, description="cells of a field that are judged one by one; 0: none")
    around: int = Field(32, ge=1, description="pixels around a cell that its own image holds")
    dilate: int = Field(
        17, ge=1, description="pixels of the square that widens labels to the weights of a PCC"
    )
    methods: dict[str, dict[str, Any]] = Field(
        {}, description="methods that explain the output inside the region alone"
    )


class Spatial(Section):
    """Correlation in windows that move over a field."""

    window: int = Field(32, ge=2)
    step: int = Field(16, ge=1)
    depth: int = Field(1, ge=1, description="planes of a window, where fields have depth")


class Dremi(Section):
    """How much efficacy knows of accuracy."""

    of: Literal["windows", "fields"] = "windows"
    estimator: Literal["knn", "kde"] = "knn"
    draws: int = Field(199, ge=19, description="permutations of whole units that chance is of")


class Ablation(Section):
    """Mask generators trained with other weights of the loss, as short sweeps."""

    agreement: tuple[float, ...] = (0.0, 6.0)
    fidelity: tuple[float, ...] = (0.0, 1.0)
    size: tuple[float, ...] = (0.0, 1.0)
    grid: bool = Field(
        False, description="every combination; false: one weight at a time around the preset"
    )
    preset: str = Field("", description="empty: the published one of the predictor's task")
    runs: Literal["first", "all"] = Field("first", description="for which runs masks are trained")
    epochs: int = Field(4, ge=1)
    steps: int = Field(25, ge=1)
    seeds: int = Field(1, ge=1, description="trainings of each setting")


class Gallery(Section):
    """Pictures of fields."""

    fields: int = Field(4, ge=1, description="fields of each predictor")
    slices: int = Field(4, ge=1, description="planes of one field, where fields have depth")


class Confidence(Section):
    """A second network that says how wrong a prediction is."""

    folds: int = Field(4, ge=2)
    epochs: int = Field(10, ge=1)
    steps: int = Field(20, ge=1)
    patch: int = Field(64, ge=8, description="pixels of a patch that the head is trained on")
    patches: int = Field(64, ge=1, description="patches of a field, of those that tile it")


class Correctness(Section):
    """Whether a classifier is right where its mask says so."""

    data: tuple[str, ...] = Field(
        (), description="further folders of images, such as CIFAR-10-C, all of them for testing"
    )
    most: int = Field(2000, ge=1, description="images of each part, corruption and severity")


class StudyJob(Section):
    """Everything that studies of some runs are asked for."""

    name: str = "studies"
    seed: int = 0
    runs: tuple[str, ...] = Field(
        (), description="finished runs, each NAME=FOLDER or FOLDER; a name may come again"
    )
    split: str = Field("test", description="which fields are judged; all is every field")
    table: str = Field(
        "", description="another table of fields, all of which every run judges; empty: its own"
    )
    truth: bool = Field(True, description="whether that table has the target images")
    unit: str = Field("", description="column of what is independent, such as well; empty: fields")
    noise: Noise = Noise()
    threshold: Threshold = Threshold()
    groups: Groups = Groups()
    methods: Methods = Methods()
    regions: Regions = Regions()
    spatial: Spatial = Spatial()
    dremi: Dremi = Dremi()
    ablation: Ablation = Ablation()
    gallery: Gallery = Gallery()
    confidence: Confidence = Confidence()
    correctness: Correctness = Correctness()


def read_job(path: Path | None, changes: Mapping[str, Any] | None = None) -> StudyJob:
    """A job from a TOML file and from `section.key` changes, which go first."""
    return read_as(StudyJob, path, changes)


def job_from(values: Mapping[str, Any], where: str) -> StudyJob:
    """Check plain values, and say in one sentence what the first mistake is."""
    return checked(StudyJob, values, where)


def changed(job: StudyJob, changes: Mapping[str, Any]) -> StudyJob:
    """The job with other values for some of its keys."""
    values = job.model_dump(mode="json")
    put(values, changes)
    return job_from(values, "--set")


def named_runs(texts: tuple[str, ...]) -> list[tuple[str, Path]]:
    """Name (empty: that of its job) and folder of each run."""
    found = []
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (folder if equals else name).strip():
            raise UsageError(f"{text!r} names no run: write NAME=FOLDER, or FOLDER")
        found.append((name.strip(), Path(folder)) if equals else ("", Path(name)))
    return found
