"""Ways of running a study's networks over whole fields, shared by choosing and explaining."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from attributome.core.arrays import pearson
from attributome.core.compute import Compute
from attributome.core.fills import fill_for
from attributome.core.probe import predict
from attributome.core.types import Explainer, Predictor, Target
from attributome.core.windows import windowed
from attributome.masks.objective import Objective
from attributome.metrics.faithfulness import Agreement, same_probabilities, same_value
from attributome.pipeline.fields import Field
from attributome.pipeline.work import Subject, Work

MOST_AT_ONCE = 2**20  # voxels; a U-Net holds some 100 numbers for each
DRAW_SEED = 1  # another noise than any that the generator was trained with


def predictor_over(work: Work, study: Subject, field: Field) -> Predictor:
    """The predictor for fields of this size: by windows where it answers with images."""
    return _over(work, study, field, lambda x: predict(study.model, x), work.compute)


def explainer_over(
    work: Work,
    study: Subject,
    field: Field,
    explainer: Explainer,
    target: Target,
    *,
    half: bool = True,
) -> Predictor:
    """A method for fields of this size, by windows where that is possible.

    With `half` off in float32, whatever precision the job runs in.
    """
    compute = work.compute if half else replace(work.compute, precision="fp32")
    return _over(work, study, field, lambda x: explainer(study.model, x, target), compute)


def fill_of(field: Field, goal: Objective, *, scale: float | None = None) -> Tensor:
    """The one noise draw of a field, which every window and every mask sees."""
    return fill_for(
        field.x,
        [field.sample.id],
        goal.noise,
        scale=goal.noise_scale if scale is None else scale,
        seed=DRAW_SEED,
    )


def seen_at_once(work: Work, study: Subject, field: Field) -> tuple[int, ...]:
    """The size at which the predictor sees a field: the field, or the window that was asked for."""
    size, window = field.sample.space, work.job.explain.window
    if study.inspection.output == "image" and not window:
        return window_that_fits(size)
    if study.inspection.output != "image":
        return size
    return tuple(min(pair) for pair in zip(window, size, strict=True))


def agreement_of(study: Subject, spread: float) -> Agreement:
    """How outputs are compared for this task."""
    if study.inspection.output == "image":
        return pearson
    return same_probabilities if study.card.task == "classification" else same_value(spread)


def window_that_fits(size: Sequence[int], most: int = MOST_AT_ONCE) -> tuple[int, ...]:
    """The whole field where one pass can hold it, else its longest axes halved until it can."""
    window = list(size)
    while math.prod(window) > most:
        axis = window.index(max(window))
        window[axis] = -(-window[axis] // 32) * 16  # a half that most U-Nets take
    return tuple(window)


def _over(
    work: Work,
    study: Subject,
    field: Field,
    call: Callable[[Tensor], Tensor],
    compute: Compute,
) -> Predictor:
    asked = work.job.explain
    if study.inspection.output == "image":
        window = seen_at_once(work, study, field)
        return windowed(
            call, window=window, overlap=asked.overlap, batch=asked.batch, compute=compute
        )

    def whole(x: Tensor) -> Tensor:
        with compute.autocast():
            return call(compute.move(x)).detach().float().cpu()

    return whole


def as_ranking(maps: Tensor) -> Tensor:
    """A signed map of k channels as one channel of importance, `(b, 1, *s)`."""
    return maps if maps.shape[1] == 1 and bool((maps >= 0).all()) else maps.abs().sum(1, True)
