"""What a job names, looked up before anything is written: a slip must not cost an hour."""

import difflib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from attributome.core.errors import UsageError
from attributome.inpainting.preprocess import RECIPES
from attributome.pipeline.profile.job import ProfileJob

SUM = 1e-6
LAYERS = tuple(f"conv{i}_1" for i in range(1, 6))


def check(job: ProfileJob) -> None:
    """Refuse what cannot be meant, whatever the fields and the network are."""
    data, crops = job.data, job.crops
    if not data.source:
        raise UsageError("no fields are named: give data.source in the job, or --data PATH")
    if bool(crops.size) == bool(crops.size_um):
        both = "both are given" if crops.size else "neither is given"
        raise UsageError(f"crops have a size in voxels or in micrometres (size_um), and {both}")
    if len(crops.size) > 3:
        raise UsageError(
            f"crops.size is {[*crops.size]}; give one for all axes, [y, x] or [z, y, x]"
        )
    _data(job)
    _features(job)
    if job.evaluate.umap and not has_umap():
        raise UsageError("evaluate.umap needs the package umap-learn: install attributome[umap]")
    if job.profiles.reference == "controls" and not data.control:
        raise UsageError(
            "profiles.reference is 'controls', and none are named: give data.control, or --control"
        )
    need_known("alternatives.layer", job.alternatives.layer, LAYERS)
    need_known("alternatives.recipe", job.alternatives.recipe, RECIPES)
    sphering = job.profiles.regularisation
    if isinstance(sphering, float | int) and sphering < 0:
        raise UsageError(f"profiles.regularisation is {sphering}; a number is 0 or more")


def need_known(key: str, value: str, known: Iterable[str]) -> None:
    """Refuse a name that is not among those there are."""
    names = [*known]
    if value not in names:
        near = difflib.get_close_matches(value, names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{key} has {value!r}; there are {', '.join(names)}{hint}")


def has_umap() -> bool:
    """Whether umap-learn is installed."""
    return find_spec("umap") is not None


def _data(job: ProfileJob) -> None:
    data = job.data
    if abs(sum(data.shares.values()) - 1) > SUM:
        raise UsageError(
            f"data.shares is {dict(data.shares)}: shares of train, validate and test sum to 1"
        )
    if not {"train", "validate"} <= set(data.shares) and not job.network.source:
        raise UsageError(
            f"data.shares is {dict(data.shares)}, which leaves no wells to train and validate on: "
            f"give them shares, or name a network in network.source"
        )
    if isinstance(data.held_out_plates, int) and data.held_out_plates < 0:
        raise UsageError(
            f"data.held_out_plates is {data.held_out_plates}; give names, or 0 or more"
        )
    names = [*data.channels.values()]
    if len(set(names)) < len(names):
        raise UsageError(f"data.channels gives one name twice: {', '.join(names)}")
    labels = data.labels
    if labels.kind in ("segment", "cellpose"):
        if not labels.channel:
            raise UsageError(f"data.labels.kind is {labels.kind!r}: name the channel in .channel")
        if names:
            need_known("data.labels.channel", labels.channel, names)
    if labels.kind == "segment" and labels.diameter is None:
        raise UsageError("data.labels.kind is 'segment': give the diameter of a nucleus")
    if data.about and not Path(data.about).is_file():
        raise UsageError(f"data.about is {data.about!r}, and there is no such file")


def _features(job: ProfileJob) -> None:
    asked = job.features
    for key, some in (("layers", asked.layers), ("pools", asked.pools)):
        if len(set(some)) < len(some):
            raise UsageError(f"features.{key} names one twice: {', '.join(some)}")
    if "anndata" in asked.forms and find_spec("anndata") is None:
        raise UsageError(
            "features.forms asks for anndata, and the package is not installed: install "
            "attributome[anndata]"
        )
    by_feature = job.profiles.camo != "none" and job.profiles.camo_features == "drop"
    known = job.camo.layer in asked.layers and "mean" in asked.pools
    if job.camo.features and by_feature and not known:
        raise UsageError(
            f"features are to be dropped by their Grad-CAMO, which is that of means of the layer "
            f"{job.camo.layer!r}, and features.layers and features.pools do not have those"
        )
