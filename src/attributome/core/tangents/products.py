"""Tangents of products and quotients, and of choices that must not change."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.rules import Call
from attributome.core.secants import Pair, linear, power, smooth, times


def _mul(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    return times(pairs[0], pairs[1]).tangent


def _matmul(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    return times(pairs[0], pairs[1], torch.matmul).tangent


def _vecdot(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    axis = call.kwargs.get("dim", -1)
    return times(pairs[0], pairs[1], lambda a, b: (a * b).sum(axis)).tangent


def _einsum(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    if len(pairs) == 1:
        return linear(lambda t: torch.einsum(str(call.args[0]), t), pairs[0]).tangent
    if len(pairs) > 2:
        raise UsageError("an einsum of more than two tensors; multiply two at a time")
    first, second = pairs
    return times(first, second, lambda a, b: torch.einsum(str(call.args[0]), a, b)).tangent


def _div(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    if call.get(99, "rounding_mode") is not None:
        raise UsageError("a division that rounds")
    if len(pairs) == 1:  # by a number
        return linear(call.on, pairs[0]).tangent
    return times(pairs[0], power(pairs[1], "reciprocal")).tangent


def _rdiv(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    top = call.args[1]
    return linear(lambda t: t * top, power(pairs[0], "reciprocal")).tangent


def _half(axis: int, which: int, t: Tensor) -> Tensor:
    return t.chunk(2, axis)[which]


def _glu(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    axis = int(call.get(1, "dim", -1))
    value, gate = (linear(partial(_half, axis, which), pairs[0]) for which in (0, 1))
    return times(value, smooth(torch.sigmoid, gate)).tangent


def _chosen(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    """`where` and `masked_fill`, where x and the reference choose alike."""
    condition = pairs[0] if call.name == "where" else pairs[1]
    if not torch.equal(condition.x, condition.x0):
        raise UsageError("a choice between two values that differs between input and reference")
    rest = iter(pairs[1:] if call.name == "where" else (pairs[0], *pairs[2:]))
    choose = condition.x0.bool()
    if call.name == "masked_fill":
        kept, filled = next(rest).tangent, next(rest, None)
        sides = [filled.tangent if filled else None, kept]
    else:
        given = [call.get(1, "input"), call.get(2, "other")]
        sides = [next(rest).tangent if isinstance(one, Tensor) else None for one in given]
    zero = next(side for side in sides if side is not None).new_zeros(())
    first, second = (zero if side is None else side for side in sides)
    return torch.where(choose, first, second)


PRODUCTS = {
    "mul": _mul,
    "matmul": _matmul,
    "vecdot": _vecdot,
    "einsum": _einsum,
    "div": _div,
    "rdiv": _rdiv,
    "glu": _glu,
    "where": _chosen,
    "masked_fill": _chosen,
}
