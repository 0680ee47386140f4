"""Predictors of several inputs, and several targets of one predictor, through any one method.

A method takes one tensor. `joint` lets all inputs vary together, `alone` one of them while the
others are held, and `per_cell` explains every segmented cell.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attributome.core.cells import CellMeans
from attributome.core.errors import UsageError
from attributome.core.inputs import Beside, Packed, pack, unpack
from attributome.core.probe import at_once
from attributome.core.targets import RegionMean
from attributome.core.types import Explainer, Images, Predictor, Target

Model = Callable[..., Tensor]
"""A predictor of several inputs: `model(a, b, …)`."""

POINTWISE = (
    "saliency",
    "input_x_gradient",
    "integrated_gradients",
    "smooth_grad",
    "var_grad",
    "expected_gradients",
    "guided_backprop",
    "deep_lift",
    "deep_shap",
    "lrp",
)
"""Methods of this package that treat pixels alike, wherever they lie; only they can be joint."""


def joint(
    explainer: Explainer, model: Model, inputs: Sequence[Tensor], target: Target
) -> tuple[Tensor, ...]:
    """Maps of all inputs, each in its own shape; the inputs vary together.

    The inputs may have any shapes, and lie in one row while the method works: a baseline is
    `pack(baselines)`, and a spread that a method takes from the image (`smooth_grad`) is that of
    all inputs together. A method that thinks in space is refused; see `one_by_one`.
    """
    name = _ours(explainer)
    if name and name not in POINTWISE:
        raise UsageError(
            f"{name} looks at neighbours in space, and inputs laid side by side have none: explain "
            f"them with one_by_one, or jointly with one of {sorted(POINTWISE)}"
        )
    shapes = tuple(tuple(one.shape[1:]) for one in inputs)
    return unpack(explainer(Packed(model, shapes), pack(inputs), target), shapes)


def alone(
    explainer: Explainer,
    model: Model,
    inputs: Sequence[Tensor],
    target: Target,
    *,
    which: int,
    held: float | Mapping[int, float | Tensor] | None = None,
) -> Tensor:
    """Maps of input `which`, while every other input is held.

    Inputs are held at their own values; at the number `held`; or, one by one, at the number or
    tensor (with or without a batch axis) that `held` gives for their index.
    """
    if not 0 <= which < len(inputs):
        raise UsageError(f"input {which} of {len(inputs)}; they count from 0")
    at = held if isinstance(held, Mapping) else {}
    if wrong := [i for i in at if i == which or not 0 <= i < len(inputs)]:
        raise UsageError(
            f"input {wrong[0]} cannot be held while input {which} of {len(inputs)} is explained"
        )
    default = None if isinstance(held, Mapping) else held
    others = [
        _held(one, at.get(index, default), index)
        for index, one in enumerate(inputs)
        if index != which
    ]
    if others and len(inputs[which]) != len(others[0]):
        raise UsageError(f"inputs of {[len(one) for one in inputs]} samples are not one batch")
    return explainer(Beside(model, which, tuple(others)), inputs[which], target)


def one_by_one(
    explainer: Explainer, model: Model, inputs: Sequence[Tensor], target: Target
) -> tuple[Tensor, ...]:
    """Maps of every input while the others keep their values: for methods that think in space.

    What only two inputs together do is counted for both of them, or for neither.
    """
    return tuple(alone(explainer, model, inputs, target, which=i) for i in range(len(inputs)))


def per_cell(
    explainer: Explainer,
    model: Predictor,
    x: Images,
    labels: Int[Tensor, "*labels"],
    *,
    together: int | None = None,
) -> Float[Tensor, "b n k *s"]:
    """A map for the mean output of each cell; cells are ordered as in `CellMeans`.

    The method sees `together` copies of the batch at once, whose targets are different cells: as
    many as are worth it, or 1 where the method was given one baseline or seed for each sample.
    Where a sample has fewer cells than another the map is NaN: there is nothing to explain.
    """
    cells = CellMeans(labels, x.ndim - 2)
    if cells.labels.ndim == x.ndim - 1 and len(labels) not in (1, len(x)):
        raise UsageError(f"{len(labels)} images of labels came for {len(x)} images")
    ids = cells.ids.expand(len(x), -1)
    total = ids.shape[1]
    group = together or at_once(x, total)
    found = []
    for first in range(0, total, group):
        columns = range(first, min(first + group, total))
        regions = [cells.cell(column).region.expand(len(x), *x.shape[2:]) for column in columns]
        copies = x.repeat(len(columns), *[1] * (x.ndim - 1))
        maps = explainer(model, copies, RegionMean(torch.cat(regions)))
        found.append(maps.unflatten(0, (len(columns), len(x))))
    maps = torch.cat(found).transpose(0, 1)
    there = (ids > 0).view(*ids.shape, *[1] * (x.ndim - 1)).to(maps.device)
    return torch.where(there, maps, torch.nan)


def _held(one: Tensor, at: float | Tensor | None, index: int) -> Tensor:
    if at is None:
        return one
    value = torch.as_tensor(at, dtype=one.dtype, device=one.device)
    if value.ndim and tuple(value.shape) not in (tuple(one.shape), tuple(one.shape[1:])):
        raise UsageError(
            f"input {index} of shape {tuple(one.shape)} cannot be held at a tensor of shape "
            f"{tuple(value.shape)}"
        )
    return value.expand_as(one)


def _ours(explainer: object) -> str:
    """The name of a method of this package, whatever parameters are filled in; else nothing."""
    while isinstance(explainer, partial):
        explainer = explainer.func
    home = getattr(explainer, "__module__", "") or ""
    return str(getattr(explainer, "__name__", "")) if home.startswith(f"{__package__}.") else ""
