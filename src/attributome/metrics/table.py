"""The table of metrics: what each needs, and which end of its scale is good."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from attributome.core.types import Scores
from attributome.metrics.agreement import (
    feature_agreement,
    iou_at_share,
    pairwise_rank_agreement,
    rank_agreement,
    sign_agreement,
    signed_rank_agreement,
)
from attributome.metrics.complexity import effective_voxels, entropy, gini, mask_area
from attributome.metrics.faithfulness import efficacy, efficacy_area, smallest_size
from attributome.metrics.fidelity import (
    completeness,
    infidelity,
    scaled_infidelity,
    sensitivity_n,
)
from attributome.metrics.localisation import (
    average_precision,
    iou_at_area,
    mean_inside,
    pointing_game,
    precision,
    recall,
    relevance_mass,
    relevance_rank,
)
from attributome.metrics.orders import (
    abpc,
    deletion,
    deletion_over_random,
    insertion,
    insertion_over_random,
)
from attributome.metrics.randomisation import emprt, mprt, smprt
from attributome.metrics.ranking import rank_correlation
from attributome.metrics.road import road
from attributome.metrics.robustness import (
    equivariance,
    max_sensitivity,
    mean_sensitivity,
    seed_stability,
)

Group = Literal[
    "fidelity", "robustness", "localisation", "complexity", "randomisation", "agreement"
]
UNBOUNDED = math.inf


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and how to read it.

    `perfect` and `worst` are the ends of its scale; an end is infinite where there is none, or
    where it depends on the size of the image or the units of the target.
    """

    function: Callable[..., Scores]
    group: Group
    better: Literal["higher", "lower"]
    perfect: float
    worst: float

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of what it must be given, in order; all else has a default."""
        given = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in given if p.default is inspect.Parameter.empty)


def _up(group: Group, function: Callable[..., Scores], worst: float = 0.0) -> Metric:
    return Metric(function, group, "higher", 1.0, worst)


def _down(group: Group, function: Callable[..., Scores], worst: float = UNBOUNDED) -> Metric:
    return Metric(function, group, "lower", 0.0, worst)


METRICS: dict[str, Metric] = {
    metric.function.__name__: metric
    for metric in (
        _up("fidelity", efficacy, -1.0),
        _up("fidelity", efficacy_area, -1.0),
        _down("fidelity", smallest_size, 1.0),
        _down("fidelity", deletion, 1.0),
        _up("fidelity", insertion),
        _up("fidelity", abpc, -1.0),
        _up("fidelity", deletion_over_random, -UNBOUNDED),
        _up("fidelity", insertion_over_random, -UNBOUNDED),
        _up("fidelity", road, -1.0),
        _down("fidelity", infidelity),
        _down("fidelity", scaled_infidelity),
        _up("fidelity", sensitivity_n, -1.0),
        _down("fidelity", completeness),
        _down("robustness", max_sensitivity),
        _down("robustness", mean_sensitivity),
        _up("robustness", seed_stability, -1.0),
        _up("robustness", equivariance, -1.0),
        _up("localisation", recall),
        _up("localisation", precision),
        _up("localisation", mean_inside),
        _up("localisation", pointing_game),
        _up("localisation", relevance_mass),
        _up("localisation", relevance_rank),
        _up("localisation", iou_at_area),
        _up("localisation", average_precision),
        _up("complexity", gini),
        _down("complexity", entropy),
        Metric(effective_voxels, "complexity", "lower", 1.0, UNBOUNDED),
        _down("complexity", mask_area),
        _down("randomisation", mprt, 1.0),
        _down("randomisation", smprt, 1.0),
        Metric(emprt, "randomisation", "higher", UNBOUNDED, -1.0),
        _up("agreement", rank_correlation, -1.0),
        _up("agreement", pairwise_rank_agreement),
        _up("agreement", feature_agreement),
        _up("agreement", sign_agreement),
        _up("agreement", rank_agreement),
        _up("agreement", signed_rank_agreement),
        _up("agreement", iou_at_share),
    )
}
"""Every metric that gives one number per sample."""
