"""Tangents of normalisation by statistics of the sample itself, and of lengths."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.rules import Call
from attributome.core.secants import (
    Pair,
    linear,
    of_one,
    plus,
    power,
    rsqrt_slope,
    sqrt_slope,
    times,
)


def _spread_of(p: Pair, dims: tuple[int, ...]) -> tuple[Pair, Pair]:
    """What is left when the mean is taken away, and the mean of its squares."""
    centred = linear(lambda t: t - t.mean(dims, keepdim=True), p)
    return centred, linear(lambda t: t.mean(dims, keepdim=True), times(centred, centred))


def _standard(p: Pair, dims: tuple[int, ...], eps: float) -> Pair:
    centred, variance = _spread_of(p, dims)
    return times(centred, power(plus(variance, eps), "rsqrt"))


def _by_channel(p: Pair, weight: Tensor | None) -> Tensor | None:
    if weight is None or p.tangent is None:
        return p.tangent
    return p.tangent * weight.view(1, -1, *[1] * (p.tangent.ndim - 2))


def _weight(call: Call, position: int) -> Tensor | None:
    found = call.get(position, "weight")
    return found if isinstance(found, Tensor) else None


def _last(call: Call) -> tuple[int, ...]:
    shape = call.get(1, "normalized_shape")
    return tuple(range(-len(shape), 0)) if isinstance(shape, tuple | list | torch.Size) else (-1,)


def _layer_norm(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    eps = float(call.get(4, "eps", 1e-5))
    out, weight = _standard(pairs[0], _last(call), eps).tangent, _weight(call, 2)
    return out if weight is None or out is None else out * weight


def _rms_norm(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    p, dims, eps = pairs[0], _last(call), call.get(3, "eps")
    eps = torch.finfo(p.x.dtype).eps if eps is None else eps
    square = linear(lambda t: t.mean(dims, keepdim=True), times(p, p))
    out, weight = times(p, power(plus(square, float(eps)), "rsqrt")).tangent, _weight(call, 2)
    return out if weight is None or out is None else out * weight


def _group_norm(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    groups, eps = int(call.get(1, "num_groups")), float(call.get(4, "eps", 1e-5))
    grouped = linear(lambda t: t.unflatten(1, (groups, -1)), pairs[0])
    out = _standard(grouped, tuple(range(2, grouped.x.ndim)), eps)
    return _by_channel(linear(lambda t: t.flatten(1, 2), out), _weight(call, 2))


def _instance_norm(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    if call.func is not F.instance_norm:
        raise UsageError("an instance norm that is not the one of torch.nn.functional")
    p, weight = pairs[0], _weight(call, 3)
    eps = float(call.get(7, "eps", 1e-5))
    if call.get(5, "use_input_stats", True):
        return _by_channel(_standard(p, tuple(range(2, p.x.ndim)), eps), weight)
    variance = call.tensor(2, "running_var")
    scale = (variance + eps).rsqrt().view(1, -1, *[1] * (p.x.ndim - 2))
    return _by_channel(linear(lambda t: t * scale, p), weight)


def _variance(call: Call, pairs: Sequence[Pair]) -> Pair:
    p, dims = pairs[0], call.get(1, "dim")
    if isinstance(dims, bool) or len(call.args) > 2 or "unbiased" in call.kwargs:
        raise UsageError(f"a {call.name} with a flag by position; give dim and correction by name")
    axes = (dims,) if isinstance(dims, int) else tuple(dims or range(p.x.ndim))
    count = math.prod(p.x.shape[axis] for axis in axes)
    correction = float(call.kwargs.get("correction", 1))
    _, mean_square = _spread_of(p, axes)
    scaled = linear(lambda t: t * (count / (count - correction)), mean_square)
    whole = dims is None and not call.kwargs.get("keepdim")
    keep = bool(call.kwargs.get("keepdim", False))
    return scaled if keep else linear(lambda t: t.sum() if whole else t.sum(axes), scaled)


def _var(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    return _variance(call, pairs).tangent


def _std(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    return power(_variance(call, pairs), "sqrt").tangent


def _normalize(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    if call.get(1, "p", 2.0) not in (2, 2.0):
        raise UsageError("a normalisation by another length than the Euclidean one")
    axis, eps = call.get(2, "dim", 1), float(call.get(3, "eps", 1e-12))
    square = linear(lambda t: t.sum(axis, keepdim=True), times(pairs[0], pairs[0]))

    def inverse(t: Tensor) -> Tensor:
        return t.clamp_min(eps**2).rsqrt()

    def slope(x: Tensor, x0: Tensor) -> Tensor:
        held, held0 = x.clamp_min(eps**2), x0.clamp_min(eps**2)
        d = torch.where(x == x0, 1.0, (held - held0) / (x - x0))
        return rsqrt_slope(held, held0) * d

    return times(pairs[0], of_one(inverse, slope, square)).tangent


def _length(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    if {call.get(1, "p"), call.kwargs.get("ord")} - {None, 2, "fro"}:
        raise UsageError("a norm other than the Euclidean one")
    axis, keep = call.get(2, "dim"), bool(call.get(3, "keepdim", False))
    axes = tuple(range(pairs[0].x.ndim)) if axis is None else axis
    square = linear(lambda t: t.sum(axes, keepdim=keep), times(pairs[0], pairs[0]))
    return of_one(torch.sqrt, sqrt_slope, square).tangent


NORMS = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "var": _var,
    "std": _std,
    "normalize": _normalize,
    "norm": _length,
}
