"""The verbs that train: the predictor, and the mask generator with its two knobs."""

import math
from collections.abc import Iterator, Sequence
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

MOST_VOXELS = 2**20


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
            validation=lambda: _held_out(work, asked),
            task=asked.task,
            plan=_plan(asked),
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
    condition = "prediction" if study.inspection.output == "image" else "gradient"
    extra = study.inspection.outputs if condition == "prediction" else 1
    if (folder / "generator.json").is_file():
        generator = load_generator(folder, predictor=study.mark)
    else:
        design = Design(
            channels=study.inspection.channels + extra,
            dims=dims,
            condition=condition,
            predictor=study.mark,
            features=asked.features,
            grain=asked.grain,
        )
        generator = generator_for(design, seed=work.job.seed)
        cache = work.fields.cache("train")
        with work.timed("train_masks") as progress:
            fit_masks(
                work.compute.place(generator, dims),
                study.model,
                study.target,
                goal=goal,
                plan=_plan(asked),
                batches=lambda epoch: _images(work, asked, cache, epoch),
                steps=asked.steps,
                validation=[work.compute.move(x) for x, _ in _held_out(work, asked)],
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


def _ready(work: Work, generator: Generator, dims: int) -> Generator:
    return work.compute.place(generator, dims).eval()


def _plan(asked: Training) -> Plan:
    names = ("lr", "weight_decay", "epochs", "patience", "minutes")
    return Plan(**{name: getattr(asked, name) for name in names})


def _card(work: Work, channels: int, outputs: int, dims: int) -> Card:
    asked, fields = work.job.predictor, work.fields
    first = fields.load(fields.part("train")[0]).sample
    network = asked.network or ("unet" if asked.task == "image" else "cnn")
    if network == "unet":
        kwargs: dict[str, Any] = {"channels_out": outputs, "features": list(asked.features)}
        factory = "attributome.predictors.networks:unet"
    else:
        kwargs = {"outputs": asked.classes if asked.task == "classification" else outputs}
        factory = "attributome.predictors.networks:small_cnn"
    return Card(
        factory=factory,
        kwargs={"channels_in": channels, "dims": dims, **kwargs},
        task=asked.task,
        dims=2 if dims == 2 else 3,
        inputs=first.channels,
        outputs=first.target_channels,
        normalise=fields.data.normalise,
        target_scaling=_mean_scaling(fields) if asked.task == "image" else None,
        pixel_size=first.pixel_size,
    )


def _mean_scaling(fields: Fields) -> dict[str, Any]:
    """The target's scaling averaged over training fields: what a prediction is worth in counts."""
    all_of = [fields.target_scaling(fields.load(name).sample) for name in fields.part("train")]
    return Scaling(
        kind=fields.data.normalise,
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
    )


def _images(work: Work, asked: Training, cache: FieldCache, epoch: int) -> Iterator[Tensor]:
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


def _held_out(work: Work, asked: Training) -> Iterator[tuple[Tensor, Tensor]]:
    """Validation fields whole, or their middle where a field is too large for one pass."""
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
