"""One planted field: every map of it, and how near each comes to the known answer."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attributome.benchmark.judging import METRICS
from attributome.benchmark.networks import Support, planted_support
from attributome.benchmark.scenes import PIXEL, Task, field
from attributome.benchmark.training import FILLS, SCALE
from attributome.core.arrays import pearson
from attributome.core.errors import Refusal
from attributome.core.fills import fill_for
from attributome.core.probe import predict
from attributome.core.seeds import seed_of
from attributome.core.targets import Logit, Output, OutputSum
from attributome.core.types import Explainer, Images, Maps, Masks, Target
from attributome.explain import COMPLETE, CONTROLS, METHODS, method, parameters
from attributome.metrics.faithfulness import efficacy_area
from attributome.metrics.localisation import (
    average_precision,
    iou_at_area,
    pointing_game,
    relevance_mass,
)
from attributome.metrics.outputs import Agreement, same_probabilities, same_value

LEARNED = "learned_mask"
SIZES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0)
SENSITIVITIES = ("saliency", "smooth_grad", "var_grad", "guided_backprop")
"""Their channels do not add up: one pixel's evidence is the length over channels, not the sum."""

SUITED: dict[str, dict[str, object]] = {
    "occlusion": {"window": 6},
    "extremal_perturbation": {"cells": 16},
    "rise": {"cells": 12},
}
"""What suits granules of 6 pixels in a field of 64."""

CHEAPER: dict[str, dict[str, object]] = {
    "kernel_shap": {"evaluations": 256},
    "rise": {"masks": 128, "cells": 12},
    "extremal_perturbation": {"steps": 12, "areas": (0.05, 0.1, 0.2), "cells": 16},
    "information_bottleneck": {"draws": 4},
}
"""What the small benchmark spends on the dearest methods, instead of their defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A network with all that its methods need; `masks` explains as every method does."""

    name: str
    task: Task
    exact: bool
    size: tuple[int, ...]
    model: nn.Module
    layer: str | None
    background: Images
    spread: float
    masks: Explainer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A field as its methods and metrics see it."""

    x: Images
    out: Tensor
    target: Target
    truth: Support


def case(subject: Subject, *, seed: int, index: int) -> Case:
    """Field `index`; the truth is what explains the answer that the network gives."""
    drawn = field(subject.task, subject.size, seed=seed, index=index)
    x = torch.from_numpy(drawn.image)[None]
    out = predict(subject.model, x)
    target: Target = OutputSum()
    chosen = 0
    if subject.task == "classification":
        chosen = int(out[0].argmax())
        target = Logit(chosen)
    elif subject.task == "regression":
        target = Output(0)
    if subject.exact:
        truth = planted_support(subject.model, x, chosen)
    else:
        right = subject.task != "classification" or chosen == drawn.target
        truth = torch.from_numpy(drawn.where["evidence" if right else "other"])[None, None]
    return Case(x=x, out=out, target=target, truth=truth)


def explainers(
    subject: Subject, names: Sequence[str], *, seed: int, index: int, cheaper: bool = False
) -> dict[str, Explainer | str]:
    """Every method by name, or why it cannot be called here."""
    found: dict[str, Explainer | str] = {}
    for name in names:
        takes = parameters(name)
        suited = SUITED.get(name, {}) | (CHEAPER.get(name, {}) if cheaper else {})
        given = {key: value for key, value in suited.items() if key in takes}
        if "seed" in takes:
            given["seed"] = seed_of(seed, name, index)
        if "background" in takes:
            given["background"] = subject.background
        if "layer" in takes and subject.layer is not None:
            given["layer"] = subject.layer
        try:
            found[name] = method(name, **given)
        except Refusal as error:
            found[name] = str(error)
    if subject.masks is not None:
        found[LEARNED] = subject.masks
    return found


def score_field(
    subject: Subject,
    case: Case,
    asked: Mapping[str, Explainer | str],
    *,
    seed: int,
    index: int,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """One row per method, with NaN where a score is undefined, and the maps `(*s)` by method.

    A method that refuses this network has a row with its `reason` and no score.
    """
    fill = fill_for(case.x, [f"field{index}"], FILLS[subject.task], scale=SCALE, seed=seed)
    rows, maps = [], {}
    for name, explainer in asked.items():
        row: dict[str, Any] = {"method": name, "role": role(name), "reason": None}
        if isinstance(explainer, str):
            rows.append({**row, "reason": explainer})
            continue
        started = time.perf_counter()
        try:
            made = explainer(subject.model, case.x, case.target)
        except Refusal as error:
            rows.append({**row, "reason": str(error)})
            continue
        row["seconds"] = time.perf_counter() - started
        one = in_one(name, made)
        maps[name] = one[0, 0].cpu().numpy().astype(np.float32)
        rows.append({**row, **_scores(subject, case, one, fill)})
    columns = ["method", "role", "reason", "seconds", *METRICS]
    return pd.DataFrame(rows, columns=columns), maps


def in_one(name: str, maps: Maps) -> Masks:
    """One map of evidence per sample, signed where the method's channels add up."""
    if maps.shape[1] > 1 and name in SENSITIVITIES and name not in COMPLETE:
        return maps.square().sum(1, keepdim=True).sqrt()
    return maps.sum(1, keepdim=True)


def role(name: str) -> str:
    """Controls know nothing of the network, or nothing of where in the image it looks."""
    return "control" if name in CONTROLS else "method"


def all_methods() -> tuple[str, ...]:
    """Every method of the table, whichever joins it."""
    return tuple(METHODS)


def _scores(subject: Subject, case: Case, one: Masks, fill: Images) -> dict[str, float]:
    agreements: dict[Task, Agreement] = {
        "image": pearson,
        "classification": same_probabilities,
        "regression": same_value(subject.spread),
    }
    found = {
        "iou_at_area": iou_at_area(one, case.truth),
        "average_precision": average_precision(one, case.truth),
        "relevance_mass": relevance_mass(one, case.truth),
        # one pixel beside a granule's rim is still on it
        "pointing_game": pointing_game(
            one, case.truth, tolerance_um=PIXEL, pixel_size=pixel_size(len(subject.size))
        ),
        "efficacy_area": efficacy_area(
            subject.model,
            case.x,
            one,
            fill,
            sizes=SIZES,
            reference=case.out,
            agreement=agreements[subject.task],
        ),
    }
    return {name: float(values.item()) for name, values in found.items()}


def pixel_size(dims: int) -> tuple[float, ...]:
    """Micrometres along each axis."""
    return (PIXEL, PIXEL) if dims == 2 else (2 * PIXEL, PIXEL, PIXEL)
