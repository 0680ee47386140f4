"""Train a mask generator against a frozen predictor, and use it as an explainer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from attributome.core.arrays import mix, top_share
from attributome.core.compute import Compute
from attributome.core.fills import fill_batch
from attributome.core.probe import predict, still
from attributome.core.seeds import seed_of
from attributome.core.training import Plan, Story, fit
from attributome.core.types import Explainer, Images, Maps, Predictor, Progress, Target, silent
from attributome.masks.condition import CONDITIONS
from attributome.masks.generator import Generator
from attributome.masks.objective import Objective, agreement, as_mask, comparable, loss_terms
from attributome.masks.start import choose_start

TRIED = 2
"""Batches on which starts are compared."""

SIZES = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Mask sizes at which held-out efficacy is measured; its mean decides which epoch is best."""


def fit_masks(
    generator: Generator,
    model: Predictor,
    target: Target,
    *,
    goal: Objective,
    plan: Plan,
    batches: Callable[[int], Iterable[Images | tuple[Images, Tensor]]],
    steps: int,
    validation: Sequence[Tensor],
    compute: Compute,
    seed: int = 0,
    starts: int = 8,
    folder: Path | None = None,
    identity: Mapping[str, object] | None = None,
    progress: Progress = silent,
) -> Story:
    """Train `generator` in place; the predictor is evaluated, never changed.

    `batches(epoch)` yields `steps` batches of images, or pairs of images and a weight that says
    inside which region the outputs must agree. What is best is judged on `validation` by the
    binary masks, for every form alike: 1 − mean efficacy over `SIZES`. Training begins from the
    best of `starts` random generators and their negatives (see `start.py`).
    """
    condition = CONDITIONS[generator.design.condition]

    def step(batch: Images | tuple[Images, Tensor], number: int, done: float) -> dict[str, Tensor]:
        x, weight = batch if isinstance(batch, tuple) else (batch, None)
        wanted = predict(model, x)
        logits = generator.logits(condition(model, x, wanted, target))
        draws = torch.Generator(x.device).manual_seed(seed_of(seed, "mask", number))
        masks = as_mask(goal, logits, done, draws)
        fill = fill_batch(x, goal.noise, scale=goal.noise_scale, seed=seed, step=number)
        got = model(mix(x, masks, fill))
        return loss_terms(goal, got.float(), wanted, masks, weight)

    def validate() -> dict[str, float]:
        curve = _held_out(generator, model, target, goal, validation)
        return {"loss": 1 - sum(curve.values()) / len(curve), "pcc": curve[0.1]}

    with still(model), torch.no_grad(), compute.autocast():
        some = [x[0] if isinstance(x, tuple) else x for x in islice(batches(0), TRIED)]
        begun = choose_start(
            generator, model, target, goal=goal, images=some, starts=starts, seed=seed
        )
        progress(0.0, f"best of {starts} starts: agreement {begun:.3f}")
    with still(model):
        story = fit(
            generator,
            plan,
            batches=batches,
            steps=steps,
            step=step,
            validate=validate,
            compute=compute,
            folder=folder,
            identity={
                "goal": asdict(goal),
                "design": asdict(generator.design),
                **(identity or {}),
            },
            progress=progress,
        )
        generator.eval()
        with torch.no_grad(), compute.autocast():
            seen = [condition(model, x, predict(model, x), target) for x in validation]
            generator.settle(torch.cat([generator.logits(s).flatten() for s in seen]))
    return story


def mask_explainer(generator: Generator) -> Explainer:
    """The trained generator as an explainer: one map in [0, 1] per sample (k = 1)."""

    def learned_mask(model: Predictor, x: Images, target: Target) -> Maps:
        seen = CONDITIONS[generator.design.condition](model, x, predict(model, x), target)
        return predict(generator, seen)

    return learned_mask


def _held_out(
    generator: Generator,
    model: Predictor,
    target: Target,
    goal: Objective,
    validation: Sequence[Tensor],
) -> dict[float, float]:
    """Mean agreement over held-out images when the top share of each is kept, per mask size."""
    scores: dict[float, list[Tensor]] = {size: [] for size in SIZES}
    for number, x in enumerate(validation):
        wanted = predict(model, x)
        logits = generator.logits(CONDITIONS[generator.design.condition](model, x, wanted, target))
        fill = fill_batch(x, goal.noise, scale=goal.noise_scale, seed=1, step=number)
        for size, found in scores.items():
            got = predict(model, mix(x, top_share(logits, size), fill))
            found.append(agreement(goal, comparable(goal, got), comparable(goal, wanted)))
    return {size: torch.cat(found).mean().item() for size, found in scores.items()}
