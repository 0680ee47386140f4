"""The knobs, chosen as the specification does by hand: noise scale, threshold, guarantee."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attributome.core.arrays import mask_size, pearson
from attributome.core.errors import DataError
from attributome.core.types import Predictor
from attributome.masks.choose import choose_noise, choose_threshold
from attributome.masks.fit import mask_explainer
from attributome.masks.generator import Generator
from attributome.masks.guarantee import fields_needed, guarantee_threshold
from attributome.masks.objective import Objective
from attributome.masks.signature import signature
from attributome.metrics.faithfulness import efficacy
from attributome.pipeline.looking import agreement_of, explainer_over, fill_of, predictor_over
from attributome.pipeline.work import Subject, Work

GRID = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.88, 0.9, 0.92, 0.94, 0.96, 0.98)
"""Thresholds of the map that are tried; fixed before any field is looked at."""


def choose_noise_scale(work: Work, study: Subject) -> float:
    """The smallest scale at which noise added to a whole field hides it from the predictor."""
    chosen = work.run.load("choices") or {}
    if "noise" in chosen:
        return float(chosen["noise"]["scale"])
    names = work.fields.to_choose()
    goal = Objective(noise=work.job.masks.noise)
    with work.timed("choose_noise") as progress:

        @cache
        def efficacy_at(scale: float) -> np.ndarray:
            progress(0.0, f"noise {scale:.2f}")
            scores = []
            for name in names:
                field = work.fields.load(name)
                f = predictor_over(work, study, field)
                noisy = field.x + fill_of(field, goal, scale=scale) if scale else field.x
                scores.append(pearson(f(noisy), f(field.x)).item())
            return np.array(scores)

        efficacy_at(0.0)  # a field that cannot be used is not a matter of noise
        try:
            found = choose_noise(efficacy_at, floor=work.job.masks.noise_floor, seed=work.job.seed)
        except DataError as error:
            raise DataError(f"{error}, or set masks.noise_scale yourself") from error
    noted = {**found.to_dict(), "scale": found.value, "kind": goal.noise}
    work.run.save("choices", {**chosen, "noise": noted})
    return found.value


def choose_threshold_and_guarantee(
    work: Work, study: Subject, generator: Generator, goal: Objective
) -> None:
    """The threshold on fields that chose the generator, the guarantee on fields nothing saw."""
    asked, chosen = work.job.masks, work.run.load("choices") or {}
    chosen.setdefault("noise", {"scale": goal.noise_scale, "kind": goal.noise, "curve": []})
    chosen["spread"] = _spread(work, study)
    names = work.fields.to_choose()
    calibrate = work.fields.splits.get("calibrate", [])
    with work.timed("choose_threshold") as progress:
        measured = _Measured(work, study, generator, goal, chosen["spread"])
        total = len(names) + len(calibrate)
        for done, name in enumerate([*names, *calibrate]):
            measured.look_at(name)
            progress(done / total, f"field {name}")
        if asked.threshold is None:
            found = choose_threshold(
                lambda t: measured.efficacies(names, t),
                lambda t: measured.sizes(names, t),
                floor=asked.target,
                thresholds=GRID,
                seed=work.job.seed,
            )
            chosen["threshold"] = {**found.to_dict(), "target": asked.target, "chosen_on": names}
        else:
            chosen["threshold"] = {
                "value": asked.threshold, "target": asked.target, "met": True, "fields": 0,
                "curve": [], "chosen_on": [],
            }  # fmt: skip
        chosen["guarantee"] = _guarantee(measured, calibrate, asked)
        chosen["threshold"]["per"] = asked.per
    work.run.save("choices", chosen)


def _guarantee(measured: "_Measured", calibrate: list[str], asked: Any) -> dict[str, Any]:
    if not calibrate:
        needed = fields_needed(asked.share, asked.confidence)
        reason = f"it needs at least {needed} calibration fields, there are 0"
        return {
            "given": False, "sentence": f"No guarantee: {reason}.", "reason": reason,
            "confidence": asked.confidence, "share": asked.share, "floor": asked.floor,
            "threshold": None, "fields": 0, "needed": needed, "curve": [],
        }  # fmt: skip
    efficacies = np.stack([measured.efficacies(calibrate, t) for t in GRID], axis=1)
    promised = guarantee_threshold(
        efficacies, GRID, floor=asked.floor, share=asked.share, confidence=asked.confidence
    )
    sizes = None
    if promised.threshold is not None:
        sizes = float(np.median(measured.sizes(calibrate, promised.threshold)))
    return {**promised.to_dict(), "mask_size_median": sizes}


class _Measured:
    """Efficacies of binary masks on some fields, measured once each; it owns their cache."""

    def __init__(
        self, work: Work, study: Subject, generator: Generator, goal: Objective, spread: float
    ) -> None:
        self.work, self.study, self.goal = work, study, goal
        self.explainer = mask_explainer(generator)
        self.agreement = agreement_of(study, spread)
        self.known: dict[tuple[str, float], tuple[float, float]] = {}
        self.held: tuple[str, Tensor, Tensor, Tensor, Tensor, Predictor] | None = None

    def look_at(self, name: str) -> None:
        """Measure every threshold of the grid while the field is at hand."""
        for threshold in GRID:
            self._at(name, threshold)

    def efficacies(self, names: list[str], threshold: float) -> np.ndarray:
        """One efficacy per field."""
        return np.array([self._at(name, threshold)[0] for name in names])

    def sizes(self, names: list[str], threshold: float) -> np.ndarray:
        """One mask size per field."""
        return np.array([self._at(name, threshold)[1] for name in names])

    def _at(self, name: str, threshold: float) -> tuple[float, float]:
        key = (name, threshold)
        if key not in self.known:
            if self.held is None or self.held[0] != name:
                self.held = self._hold(name)
            _, x, maps, fill, wanted, f = self.held
            mask = signature(maps, threshold, per=self.work.job.masks.per)
            score = efficacy(f, x, mask, fill, reference=wanted, agreement=self.agreement)
            self.known[key] = (score.item(), mask_size(mask).item())
        return self.known[key]

    def _hold(self, name: str) -> tuple[str, Tensor, Tensor, Tensor, Tensor, Predictor]:
        field = self.work.fields.load(name)
        f = predictor_over(self.work, self.study, field)
        over = explainer_over(self.work, self.study, field, self.explainer, self.study.target)
        maps = over(field.x)
        return name, field.x, maps, fill_of(field, self.goal), f(field.x), f


def _spread(work: Work, study: Subject) -> float:
    """Standard deviation of a scalar predictor's answers, in which differences are counted."""
    if study.inspection.output == "image":
        return 1.0
    outs = []
    for name in work.fields.to_choose(at_least=50):
        field = work.fields.load(name)
        outs.append(predictor_over(work, study, field)(field.x))
    return max(1e-12, float(torch.cat(outs).std())) if len(outs) > 1 else 1.0
