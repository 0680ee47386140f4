"""A method of the job with all that it needs: what is explained, its layer, background and seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng, seed_of
from attributome.core.targets import Logit, target_named
from attributome.core.types import Explainer, Target
from attributome.explain import METHODS, method, need, parameters
from attributome.pipeline.checking import PREDICTED
from attributome.pipeline.fields import Field
from attributome.pipeline.looking import seen_at_once
from attributome.pipeline.work import Subject, Work

IN_WINDOWS = ("sum", "channel")
"""Targets that mean the same in a window as in the whole field."""


@dataclass(frozen=True, slots=True)
class Backgrounds:
    """Crops of training fields, which stand for the average image; read once per size."""

    work: Work
    crops: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    def of(self, size: Sequence[int]) -> Tensor:
        """`(n, c, *size)`, each crop at a random place of its own field."""
        size = tuple(size)
        if size not in self.crops:
            names = self.work.fields.part("train")[: self.work.job.explain.background]
            self.crops[size] = torch.cat([self._crop(name, size) for name in names])
        return self.crops[size]

    def _crop(self, name: str, size: tuple[int, ...]) -> Tensor:
        x = self.work.fields.load(name).x
        room = [have - want for have, want in zip(x.shape[2:], size, strict=True)]
        if min(room) < 0:
            raise DataError(
                f"training field {name!r} of {tuple(x.shape[2:])} is smaller than the {size} that "
                f"is explained, so it cannot be a background: set explain.window to a size that "
                f"every field has"
            )
        draw = rng(self.work.job.seed, name, "background")
        corner = [int(draw.integers(free + 1)) for free in room]
        box = tuple(slice(at, at + want) for at, want in zip(corner, size, strict=True))
        return x[(slice(None), slice(None), *box)]


def explained_target(work: Work, study: Subject, field: Field, prediction: Tensor) -> Target:
    """What is explained of one field, fixed from its prediction before any map is made.

    A classifier's preferred class is fixed here: a perturbed image must not change the question.
    """
    asked = work.job.explain.target
    if not asked:
        if study.card.task != "classification":
            return study.target
        asked = PREDICTED
    if asked == PREDICTED:
        if prediction.ndim != 2:
            raise UsageError(
                f"explain.target is {PREDICTED!r}, the class that a classifier prefers, but this "
                f"predictor answers with shape {tuple(prediction.shape[1:])}; ask for sum"
            )
        return Logit(int(prediction[0].argmax()))
    whole = seen_at_once(work, study, field) == field.sample.space
    if not whole and asked.partition(":")[0] not in IN_WINDOWS:
        raise UsageError(
            f"explain.target {asked!r} is about one place of a field, but this field is seen in "
            f"windows: ask for sum or channel, or make explain.window as large as the field"
        )
    labels = field.sample.regions
    regions = None if labels is None else torch.from_numpy(labels.astype("int64"))
    return target_named(asked, regions=regions)


def explainer_for(
    work: Work,
    study: Subject,
    backgrounds: Backgrounds,
    name: str,
    params: dict[str, Any],
    field: Field,
) -> Explainer:
    """A method of the table with every parameter that the job leaves to us."""
    return method(name, **given_parameters(work, study, backgrounds, name, params, field))


def given_parameters(
    work: Work,
    study: Subject,
    backgrounds: Backgrounds,
    name: str,
    params: dict[str, Any],
    field: Field,
) -> dict[str, Any]:
    """The job's parameters of a method; what it draws comes from the sample's own seed."""
    takes, given = parameters(name), dict(params)
    if "seed" in takes and "seed" not in given:
        given["seed"] = seed_of(work.job.seed, field.sample.id, name)
    if "layer" in takes and "layer" not in given:
        given["layer"] = layer_of(work, study)
    if "background" in takes and "background" not in given:
        crops = backgrounds.of(seen_at_once(work, study, field))
        given["background"] = work.compute.move(crops)
    return given


def layer_of(work: Work, study: Subject) -> str:
    """The layer of the Grad-CAM family: the job's, or the deepest with a grid worth a map."""
    if work.job.explain.layer:
        return work.job.explain.layer
    if not study.inspection.usable_layers:
        raise UsageError(
            "no layer of this predictor suits a class activation map; `attributome inspect` lists "
            "them: name one in explain.layer"
        )
    return study.inspection.usable_layers[-1]


def refuse_impossible(work: Work, study: Subject) -> None:
    """Say before the run which method of the job this predictor does not allow, and why."""
    possible = study.inspection.possible
    able = sorted(n for n in METHODS if possible.get(need(n)) is None)
    for name in work.job.explain.methods:
        reason = possible.get(need(name)) if name in METHODS else possible.get("gradient")
        if reason is not None:
            raise UsageError(f"{name} cannot explain this predictor: {reason}; these can: {able}")
    if any("layer" in parameters(n) for n in work.job.explain.methods if n in METHODS):
        named = {layer.name for layer in study.inspection.layers}
        if work.job.explain.layer and work.job.explain.layer not in named:
            raise UsageError(
                f"explain.layer is {work.job.explain.layer!r}; this predictor has {sorted(named)}"
            )
