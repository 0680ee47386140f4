"""One row per small image: whether its answer is right, and survives where only the mask is left.

Images go through in batches, and only the table stays: a test set under ninety corruptions needs no
more memory than one batch of it. `studies/correctness.py` judges the table.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from attributome.core.arrays import mask_size, mix, pearson
from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.fills import fill_for
from attributome.core.probe import predict
from attributome.core.records import Sample
from attributome.core.types import Explainer, Predictor
from attributome.data.intensity import Scaling
from attributome.masks.objective import Objective
from attributome.masks.signature import Per, signature
from attributome.metrics.outputs import same_value
from attributome.pipeline.looking import DRAW_SEED
from attributome.pipeline.work import TARGETS


def measure_correctness(
    model: Predictor,
    mask: Explainer,
    samples: Iterable[Sample],
    goal: Objective,
    *,
    task: Literal["classification", "regression"],
    scaling: Scaling,
    threshold: float | None = None,
    per: Per = "field",
    spread: float | None = None,
    batch: int = 64,
    compute: Compute | None = None,
    seed: int = DRAW_SEED,
) -> pd.DataFrame:
    """A row for each sample, in order: `id`, what `meta` says, and what was measured.

    Of a classifier: `truth` and `top` (classes), the `probability` of `top`, `correct` (0 or 1),
    and `efficacy`, the PCC of the class probabilities with and without what the mask leaves out. It
    saturates where one class has all of the probability. Of a regressor, which has one output and
    so no PCC: `truth`, `prediction`, `error` (absolute), and `efficacy`, 1 - |change| / `spread`,
    not below 0, where `spread` is that of its predictions (`choices.json` of a run has it). Both:
    `mask_size`.

    `mask` is `mask_explainer(generator)`, or another method whose maps are ranks from 0 to 1. With
    a `threshold` (`per` as of `masks.signature`) the mask is binary; without, it is the map itself,
    which lets the image through and proves little. The noise is that of `goal`, one draw for each
    sample by its id: the same in every batch, and in every channel where the kind says so.
    `scaling` is that of the predictor's training images (`input_scaling` of its card), whatever
    images these are. The model must be on the device of `compute`.
    """
    if batch < 1 or (threshold is not None and not 0 <= threshold <= 1):
        raise UsageError(f"batches of {batch} and threshold {threshold}: such as 64 and 0.9")
    if task == "regression" and (spread is None or spread <= 0):
        raise UsageError(
            f"the spread of the predictions is {spread}: a regressor's efficacy counts in units of "
            f"it, above 0"
        )
    compute = compute or Compute()
    rows: list[dict[str, Any]] = []
    for some in _batches(samples, batch):
        images = [scaling.apply(one.image) for one in some]
        x = compute.move(torch.from_numpy(np.stack(images)))
        fill = fill_for(x, [one.id for one in some], goal.noise, scale=goal.noise_scale, seed=seed)
        with compute.autocast():
            out = predict(model, x).float()
            maps = mask(model, x, TARGETS[task]).float()
            kept = maps if threshold is None else signature(maps, threshold, per=per)
            noised = predict(model, mix(x, kept, fill)).float()
        told = _classes(some, out, noised) if task == "classification" else _numbers(
            some, out, noised, spread or 1.0
        )  # fmt: skip
        sizes = mask_size(kept).tolist()
        for one, measured, size in zip(some, told, sizes, strict=True):
            rows.append({**one.meta, "id": one.id, **measured, "mask_size": size})
    if not rows:
        raise DataError("there are no samples: nothing can be right or wrong")
    table = pd.DataFrame(rows)
    return table[["id", *(name for name in table if name != "id")]]


def _batches(samples: Iterable[Sample], most: int) -> Iterator[list[Sample]]:
    """Samples of one shape, at most so many at a time; each needs a number as its target."""
    left = iter(samples)
    while some := list(islice(left, most)):
        for one in some:
            if not isinstance(one.target, float | int):
                raise DataError(f"sample {one.id!r} has no class and no number as its target")
            if one.image.shape != some[0].image.shape:
                raise DataError(
                    f"sample {one.id!r} has shape {one.image.shape} and {some[0].id!r} "
                    f"{some[0].image.shape}: images of one size are needed"
                )
        yield some


def _classes(some: list[Sample], out: Tensor, noised: Tensor) -> Iterator[dict[str, Any]]:
    if out.ndim != 2 or out.shape[1] < 2:
        raise DataError(
            f"the predictor answers with shape {tuple(out.shape)}: no scores of classes"
        )
    before, after = out.softmax(1), noised.softmax(1)
    agreement = pearson(after, before).tolist()
    chances, tops = (part.tolist() for part in before.max(1))
    for one, chance, top, efficacy in zip(some, chances, tops, agreement, strict=True):
        truth = int(_number(one))
        if truth != one.target or not 0 <= truth < out.shape[1]:
            raise DataError(
                f"sample {one.id!r} is of class {one.target}, but the predictor has "
                f"{out.shape[1]} classes, counted from 0"
            )
        told = {"truth": truth, "top": top, "probability": chance, "correct": int(top == truth)}
        yield told | {"efficacy": efficacy}


def _numbers(
    some: list[Sample], out: Tensor, noised: Tensor, spread: float
) -> Iterator[dict[str, Any]]:
    if out.shape != (len(some), 1):
        raise DataError(
            f"the predictor answers with shape {tuple(out.shape)}: one number is needed"
        )
    agreement = same_value(spread)(noised, out).tolist()
    for one, found, efficacy in zip(some, out[:, 0].tolist(), agreement, strict=True):
        truth = _number(one)
        told = {"truth": truth, "prediction": found, "error": abs(found - truth)}
        yield told | {"efficacy": efficacy}


def _number(one: Sample) -> float:
    assert isinstance(one.target, float | int)  # `_batches` has looked
    return float(one.target)
