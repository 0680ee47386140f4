"""The contract suites: is it an explainer, or a metric, at all? For anyone's method.

    check_explainer(my_method)
    check_explainer(partial(my_cam, layer="3"))            # convolutions of `mixed_cnn`: "0", "3"
    check_metric(lambda model, x, maps, target: my_score(model, x, maps))

Both run the method on small networks in mixed mode, in 2-D and 3-D, and raise one AssertionError
that says in a sentence for each what is broken: a map that depends on its batch-mates, a hook that
stays, a mode or a random state that changes, also when the model, the target or a hook fails.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attributome.core.arrays import space
from attributome.core.types import Explainer, Images, Maps, Predictor, Scores, Target
from attributome.testing.checks import CHECKS, Case
from attributome.testing.networks import mixed_cnn
from attributome.testing.state import changed, state_of

__all__ = ["Report", "changed", "check_explainer", "check_metric", "mixed_cnn", "state_of"]

Metric = Callable[[Predictor, Images, Maps, Target], Scores]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was looked at: the names of the checks, and how many failures were put in and met."""

    checks: tuple[str, ...]
    faults: int


def check_explainer(
    explainer: Explainer,
    *,
    dims: Sequence[int] = (2, 3),
    channels: int = 2,
    zero_where_constant: bool = True,
    images_out: bool = False,
    tolerance: float = 1e-6,
    calls: int = 20,
) -> Report:
    """Raise AssertionError unless this is an explainer; see `Explainer` for what one promises.

    With `images_out` the networks answer with images instead of classes.
    `zero_where_constant=False` is for maps that do not only say what the model uses (controls).
    `tolerance` is the largest relative difference that batch-mates may make, `calls` how often the
    method runs while the memory is watched (in the first of `dims`).
    """

    def shape(x: Tensor, maps: Tensor) -> str:
        good = maps.ndim == x.ndim and maps.shape[1] in (1, x.shape[1])
        if not good or maps.shape[0] != x.shape[0] or maps.shape[2:] != x.shape[2:]:
            return f"maps of images {tuple(x.shape)} have shape {tuple(maps.shape)}"
        return "" if maps.isfinite().all() else "a map holds numbers that are not finite"

    return _report(
        Case(
            call=explainer, shape=shape, dims=d, channels=channels, tolerance=tolerance,
            zero=zero_where_constant, calls=calls if d == dims[0] else 0, images_out=images_out,
        )
        for d in dims
    )  # fmt: skip


def contrast(x: Images) -> Maps:
    """How far a pixel is from its channel's mean, averaged over channels."""
    return (x - x.mean(space(x), keepdim=True)).abs().mean(1, keepdim=True)


def check_metric(
    metric: Metric,
    *,
    dims: Sequence[int] = (2, 3),
    channels: int = 2,
    maps: Callable[[Images], Maps] = contrast,
    tolerance: float = 1e-6,
    calls: int = 20,
) -> Report:
    """Raise AssertionError unless `metric(model, x, maps, target)` gives one number per sample.

    `maps` makes the maps that are judged, each from its own image; NaN is allowed (undefined).
    """

    def call(model: Predictor, x: Tensor, target: Target) -> Any:
        judged = maps(x.detach())
        before = judged.clone()
        scores = metric(model, x, judged, target)
        if not torch.equal(judged, before):
            raise AssertionError("the metric changed the maps that it judges")
        return scores

    def shape(x: Tensor, scores: Tensor) -> str:
        if scores.shape != (len(x),):
            return f"scores of {len(x)} maps have shape {tuple(scores.shape)}"
        return "a score is infinite" if scores.isinf().any() else ""

    return _report(
        Case(
            call=call, shape=shape, dims=d, channels=channels, tolerance=tolerance,
            zero=False, calls=calls if d == dims[0] else 0,
        )
        for d in dims
    )  # fmt: skip


def _report(cases: Iterable[Case]) -> Report:
    broken: dict[str, Exception] = {}
    faults = 0
    for case in cases:
        for check in CHECKS:
            try:
                faults += check(case) or 0
            except AssertionError as error:
                broken[f"in {case.dims}-D, {error}"] = error
            except Exception as error:  # a report of all checks, with the first error as its cause
                broken[f"in {case.dims}-D, it raised {type(error).__name__}: {error}"] = error
    if broken:
        raise AssertionError("\n".join(broken)) from next(iter(broken.values()))
    return Report(checks=tuple(check.__name__ for check in CHECKS), faults=faults)
