"""Tangents of maxima: pools, extremes over axes, and the larger of two."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.rules import Call
from attributome.core.secants import Pair, linear, minus, of_one, plus, secant


def _largest(p: Pair, at: Tensor, at0: Tensor) -> Tensor | None:
    """The tangent of a maximum along the last axis, reached at `at` in x and at `at0` in x0.

    Where x has the larger maximum, the whole change is put on its position, and otherwise on that
    of the reference: there the values of the two differ, so that the slope is defined.
    """
    if p.tangent is None:
        return None
    rise = p.x.gather(-1, at) - p.x0.gather(-1, at0)
    where = torch.where(rise > 0, at, at0)
    change = p.x.gather(-1, where) - p.x0.gather(-1, where)
    slope = torch.where(change == 0, 1.0, rise / change)
    return p.tangent.gather(-1, where) * slope


def _max_pool(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    if call.get(99, "return_indices"):
        raise UsageError("a max pool whose positions are used")
    p, space = pairs[0], int(call.name.removeprefix("adaptive_").removeprefix("max_pool")[0])
    name = call.name if call.name.startswith("adaptive") else f"max_pool{space}d"
    kwargs = {k: v for k, v in call.kwargs.items() if k not in ("input", "return_indices")}
    pool = getattr(F, f"{name}_with_indices")
    _, at = pool(p.x, *call.args[1:], **kwargs)
    value, at0 = pool(p.x0, *call.args[1:], **kwargs)
    flat = linear(lambda t: t.flatten(-space), p)
    found = _largest(flat, at.flatten(-space), at0.flatten(-space))
    return None if found is None else found.view_as(value)


def _over(p: Pair, axes: tuple[int, ...], keep: bool, sign: int) -> Tensor | None:
    ndim = p.x.ndim
    axes = tuple(axis % ndim for axis in axes)
    rest = [axis for axis in range(ndim) if axis not in axes]
    flat = linear(lambda t: sign * t.permute(*rest, *axes).flatten(len(rest)), p)
    at, at0 = flat.x.argmax(-1, keepdim=True), flat.x0.argmax(-1, keepdim=True)
    found = _largest(flat, at, at0)
    if found is None:
        return None
    found = sign * found.squeeze(-1)
    for axis in sorted(axes) if keep else ():
        found = found.unsqueeze(axis)
    return found


def _extreme(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    """`amax`, `amin`, and `max`, `min` in all their forms."""
    sign = -1 if call.name in ("amin", "min", "minimum") else 1
    if len(pairs) == 2:  # the larger of two: one of them, and what the other has more
        p, q = pairs
        gap = linear(lambda t: sign * t, minus(q, p))
        more = of_one(torch.relu, lambda x, x0: secant(torch.relu, x, x0, smooth=False), gap)
        return plus(p, linear(lambda t: sign * t, more)).tangent
    dims, keep = call.get(1, "dim"), bool(call.get(2, "keepdim", False))
    if dims is None or dims == ():
        axes = tuple(range(pairs[0].x.ndim))
    else:
        axes = (dims,) if isinstance(dims, int) else tuple(dims)
    return _over(pairs[0], axes, keep, sign)


MAXIMA = {
    **{f"{kind}max_pool{d}d": _max_pool for kind in ("", "adaptive_") for d in (1, 2, 3)},
    **dict.fromkeys(("amax", "amin", "max", "min", "maximum", "minimum"), _extreme),
}
