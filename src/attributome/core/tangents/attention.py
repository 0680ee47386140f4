"""Tangents of softmax, log-softmax and attention."""

import inspect
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.rules import Call
from attributome.core.secants import Pair, exp_slope, linear, minus, of_one, power, times


def _exponentials(p: Pair, axis: int) -> Pair:
    """Exp of the values less a constant of each pair, which softmax does not see."""
    top = torch.maximum(p.x, p.x0).amax(axis, keepdim=True)
    top = torch.where(top.isfinite(), top, 0.0)
    return of_one(torch.exp, exp_slope, Pair(p.x - top, p.x0 - top, p.tangent))


def softmax(p: Pair, axis: int) -> Pair:
    """Exponentials times the reciprocal of their sum."""
    e = _exponentials(p, axis)
    total = linear(lambda t: t.sum(axis, keepdim=True), e)
    return times(e, power(total, "reciprocal"))


def _logsumexp(p: Pair, axis: int, keepdim: bool) -> Pair:
    return power(linear(lambda t: t.sum(axis, keepdim=keepdim), _exponentials(p, axis)), "log")


def _axis(call: Call) -> int:
    axis = call.get(1, "dim")
    if isinstance(axis, tuple | list) and len(axis) == 1:
        (axis,) = axis
    if not isinstance(axis, int):
        raise UsageError(f"a {call.name} over {axis!r}; give it one dim")
    return axis


def _softmax(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    return softmax(pairs[0], _axis(call)).tangent


def _log_softmax(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    return minus(pairs[0], _logsumexp(pairs[0], _axis(call), True)).tangent


def _log_sum_exp(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    return _logsumexp(pairs[0], _axis(call), bool(call.get(2, "keepdim", False))).tangent


def _attend(q: Pair, k: Pair, v: Pair, mask: Tensor | None, scale: float) -> Pair:
    scores = times(linear(lambda t: t * scale, q), linear(lambda t: t.mT, k), torch.matmul)
    if mask is not None:
        mask = torch.zeros_like(mask, dtype=q.x.dtype).masked_fill(~mask, -math.inf) \
            if mask.dtype == torch.bool else mask  # fmt: skip
        scores = Pair(scores.x + mask, scores.x0 + mask, scores.tangent)
    return times(softmax(scores, -1), v, torch.matmul)


def _sdpa(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    if (
        call.get(4, "dropout_p", 0.0)
        or call.get(5, "is_causal", False)
        or call.get(7, "enable_gqa")
    ):
        raise UsageError("attention with dropout, a causal flag or grouped heads")
    q, k, v = pairs[:3]
    mask, scale = call.get(3, "attn_mask"), call.get(6, "scale")
    if mask is not None and not isinstance(mask, Tensor):
        raise UsageError("attention with a mask that is no tensor")
    if len(pairs) > 3 and pairs[3].tangent is not None:
        raise UsageError("attention with a mask that depends on the input")
    return _attend(q, k, v, mask, float(scale or q.x.shape[-1] ** -0.5)).tangent


def _heads(call: Call, pairs: Sequence[Pair]) -> Tensor | None:
    """`nn.MultiheadAttention`: what comes is (length, batch, features)."""
    given = inspect.signature(F.multi_head_attention_forward).bind(*call.args, **call.kwargs)
    given.apply_defaults()
    a = given.arguments
    odd = ("bias_k", "bias_v", "static_k", "static_v", "key_padding_mask", "attn_mask")
    flags = ("add_zero_attn", "use_separate_proj_weight", "is_causal")
    if [n for n in odd if a[n] is not None] or [n for n in flags if a[n]]:
        raise UsageError("multi-head attention with masks, extra keys or separate projections")
    if a["training"] and a["dropout_p"]:
        raise UsageError("attention with dropout in training mode")
    heads, bias = a["num_heads"], a["in_proj_bias"]
    weights = a["in_proj_weight"].chunk(3)
    biases = bias.chunk(3) if bias is not None else (None,) * 3

    def project(p: Pair, weight: Tensor, bias: Tensor | None) -> Pair:
        p = linear(lambda t: F.linear(t, weight), p)
        p = p if bias is None else Pair(p.x + bias, p.x0 + bias, p.tangent)
        return linear(lambda t: t.unflatten(-1, (heads, -1)).movedim(0, -2), p)

    q, k, v = (project(*each) for each in zip(pairs[:3], weights, biases, strict=True))
    out = _attend(q, k, v, None, q.x.shape[-1] ** -0.5)
    joined = linear(lambda t: t.movedim(-2, 0).flatten(-2), out)
    return linear(lambda t: F.linear(t, a["out_proj_weight"]), joined).tangent


ATTENTION = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _log_sum_exp,
    "scaled_dot_product_attention": _sdpa,
    "multi_head_attention_forward": _heads,
}
