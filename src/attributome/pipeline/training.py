"""The verbs that train: the predictor, and the mask generator with its two knobs."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attributome.config import Training
from attributome.core.errors import DataError, UsageError
from attributome.core.training import Plan
from attributome.data.intensity import Scaling
from attributome.data.patches import Batch, FieldCache, random_patches
from attributome.masks.fit import fit_masks
from attributome.masks.generator import (
    Design,
    Generator,
    generator_for,
    load_generator,
    save_generator,
)
from attributome.masks.objective import PRESETS, Objective
from attributome.pipeline.choosing import choose_noise_scale, choose_threshold_and_guarantee
from attributome.pipeline.fields import Fields
from attributome.pipeline.work import Subject, Work, subject
from attributome.predictors.card import Card
from attributome.predictors.fit import fit_predictor
from attributome.predictors.load import build, save_predictor
from attributome.predictors.networks import NETWORKS

MOST_VOXELS = 2**20
TOGETHER = 256
"""Small images that are asked together."""


def train_predictor(work: Work) -> Path:
    """Train the predictor of the job on its own data; a finished one is left as it is."""
    asked, fields = work.job.predictor, work.fields
    folder = work.run.root / "predictor"
    if asked.source:
        raise UsageError(
            f"predictor.source names {asked.source}, so there is nothing to train; leave it empty "
            f"to train a predictor here"
        )
    if (folder / "predictor.json").is_file():
        return folder
    first = fields.load(fields.part("train")[0])
    if first.y is None:
        raise DataError(
            f"sample {first.sample.id!r} has no target to train on: name the target channels in "
            f"data.targets, or give the table a column target"
        )
    card = _card(work, first.x.shape[1], first.y.shape[1], first.x.ndim - 2)
    net = build(card.factory, card.kwargs, seed=work.job.seed)
    cache = fields.cache("train")
    with work.timed("train_predictor") as progress:
        fit_predictor(
            net,
            batches=lambda epoch: _pairs(work, asked, cache, epoch),
            steps=asked.steps,
            validation=lambda: held_out(work, asked, together=asked.task != "image"),
            task=asked.task,
            plan=plan_of(asked),
            compute=work.compute,
            folder=folder,
            identity=work.run.asked,
            progress=progress,
        )
        save_predictor(folder, net, card)
    return folder


def train_masks(work: Work) -> Path:
    """Search the noise scale, train the mask generator, choose its threshold, calibrate it."""
    folder = work.run.root / "masks"
    chosen = work.run.load("choices") or {}
    if {"threshold", "guarantee"} <= chosen.keys():
        return folder
    study = subject(work)
    goal = objective(work, study)
    asked, dims = work.job.masks, study.inspection.dims
    if (folder / "generator.json").is_file():
        generator = load_generator(folder, predictor=study.mark)
    else:
        generator = generator_for(design_for(work, study), seed=work.job.seed)
        cache = work.fields.cache("train")
        with work.timed("train_masks") as progress:
            fit_masks(
                work.compute.place(generator, dims),
                study.model,
                study.target,
                goal=goal,
                plan=plan_of(asked),
                batches=lambda epoch: images(work, asked, cache, epoch),
                steps=asked.steps,
                validation=[
                    work.compute.move(x)
                    for x, _ in held_out(work, asked, together=study.inspection.output != "image")
                ],
                compute=work.compute,
                seed=work.job.seed,
                starts=asked.starts,
                folder=folder,
                identity=work.run.asked,
                progress=progress,
            )
            save_generator(folder, generator, {"noise": goal.noise, "scale": goal.noise_scale})
    choose_threshold_and_guarantee(work, study, _ready(work, generator, dims), goal)
    return folder


def objective(work: Work, study: Subject) -> Objective:
    """The preset of the task with what the job changes, and a noise scale that was searched."""
    asked = work.job.masks
    name = asked.preset or study.card.task or "image"
    preset = PRESETS[name]
    changes: dict[str, Any] = {"noise": asked.noise}
    if asked.form:
        changes["form"] = asked.form
    if asked.areas is not None:
        changes["areas"] = asked.areas
    if asked.noise_scale is not None:
        changes["noise_scale"] = asked.noise_scale
    elif study.inspection.output == "image":
        changes["noise_scale"] = choose_noise_scale(work, study)
    return Objective(**{**{f: getattr(preset, f) for f in preset.__slots__}, **changes})


def design_for(work: Work, study: Subject) -> Design:
    """What the job's generator is made of, for the predictor under study."""
    asked, seen = work.job.masks, study.inspection
    condition = "prediction" if seen.output == "image" else "gradient"
    extra = seen.outputs if condition == "prediction" else 1
    return Design(
        channels=seen.channels + extra,
        dims=seen.dims,
        condition=condition,
        predictor=study.mark,
        features=asked.features,
        grain=asked.grain,
    )


def _ready(work: Work, generator: Generator, dims: int) -> Generator:
    return work.compute.place(generator, dims).eval()


def plan_of(asked: Training) -> Plan:
    """How long and how fast a section of the job trains."""
    names = ("lr", "weight_decay", "epochs", "patience", "minutes")
    return Plan(**{name: getattr(asked, name) for name in names})


def _card(work: Work, channels: int, outputs: int, dims: int) -> Card:
    asked, fields = work.job.predictor, work.fields
    first = fields.load(fields.part("train")[0]).sample
    network = asked.network or ("unet" if asked.task == "image" else "cnn")
    if network == "resnet" and asked.task == "classification":
        raise UsageError(
            "predictor.network resnet answers with numbers from 0 to 1, which are no scores of "
            "classes: use vgg or cnn for classification"
        )
    if network == "unet":
        kwargs: dict[str, Any] = {"channels_out": outputs, "features": list(asked.features)}
    else:
        kwargs = {"outputs": asked.classes if asked.task == "classification" else outputs}
    return Card(
        factory=f"attributome.predictors.networks:{NETWORKS[network].__name__}",
        kwargs={**asked.sizes, "channels_in": channels, "dims": dims, **kwargs},
        task=asked.task,
        dims=2 if dims == 2 else 3,
        inputs=first.channels,
        outputs=first.target_channels,
        normalise=fields.data.normalise,
        input_scaling=fields.scaling.to_dict() if fields.scaling else None,
        target_scaling=_mean_scaling(fields) if asked.task == "image" else None,
        pixel_size=first.pixel_size,
    )


def _mean_scaling(fields: Fields) -> dict[str, Any]:
    """The target's scaling averaged over training fields: what a prediction is worth in counts."""
    all_of = [fields.target_scaling(fields.load(name).sample) for name in fields.part("train")]
    return Scaling(
        kind=all_of[0].kind,
        center=tuple(np.mean([s.center for s in all_of], axis=0).tolist()),
        scale=tuple(np.mean([s.scale for s in all_of], axis=0).tolist()),
    ).to_dict()


def _patches(work: Work, asked: Training, cache: FieldCache, epoch: int) -> Iterator[Batch]:
    """Training patches of one epoch."""
    return random_patches(
        cache,
        size=asked.patch,
        batch=asked.batch,
        steps=asked.steps,
        seed=work.job.seed,
        epoch=epoch,
        flips=asked.augment,
        rotations=asked.augment,
    )


def images(work: Work, asked: Training, cache: FieldCache, epoch: int) -> Iterator[Tensor]:
    """Patches without their targets, on the device."""
    for x, _ in _patches(work, asked, cache, epoch):
        yield work.compute.move(torch.from_numpy(x))


def _pairs(
    work: Work, asked: Training, cache: FieldCache, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Patches with their targets."""
    for x, y in _patches(work, asked, cache, epoch):
        if y is None:
            raise DataError("some training fields have no target; every one of them needs one")
        yield torch.from_numpy(x), _labels(work, torch.from_numpy(y))


def held_out(
    work: Work, asked: Training, *, together: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Validation fields whole, or their middle where a field is too large for one pass.

    `together` puts fields of one size into batches, for predictors of numbers and classes: one
    number has no correlation, so a mask of a regressor cannot be judged field by field.
    """
    fields = _each_held_out(work, asked)
    return _batched(fields) if together else fields


def _batched(pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    kept: list[tuple[Tensor, Tensor]] = []
    for x, y in pairs:
        full = len(kept) * x.numel() >= MOST_VOXELS or len(kept) >= TOGETHER
        if kept and (full or (x.shape, y.shape) != (kept[0][0].shape, kept[0][1].shape)):
            yield torch.cat([a for a, _ in kept]), torch.cat([b for _, b in kept])
            kept = []
        kept.append((x, y))
    if kept:
        yield torch.cat([a for a, _ in kept]), torch.cat([b for _, b in kept])


def _each_held_out(work: Work, asked: Training) -> Iterator[tuple[Tensor, Tensor]]:
    for name in work.fields.part("validate"):
        field = work.fields.load(name)
        box = middle(field.x.shape[2:], asked.patch)
        y = field.x if field.y is None else field.y
        image = y.ndim == field.x.ndim
        here = (slice(None), slice(None), *box)
        yield field.x[here], y[here] if image else _labels(work, y)


def middle(size: Sequence[int], patch: Sequence[int]) -> tuple[slice, ...]:
    """The middle of a field, halved along its longest axes until one pass can hold it."""
    keep = list(size)
    while math.prod(keep) > MOST_VOXELS:
        spare = [k / max(1, min(p, s)) for k, p, s in zip(keep, patch, size, strict=True)]
        axis = spare.index(max(spare))
        if spare[axis] < 2:
            break
        keep[axis] = -(-keep[axis] // 2)
    return tuple(slice((s - k) // 2, (s - k) // 2 + k) for s, k in zip(size, keep, strict=True))


def _labels(work: Work, y: Tensor) -> Tensor:
    return y.flatten().long() if work.job.predictor.task == "classification" else y
