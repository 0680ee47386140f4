"""Layer-wise relevance propagation (Bach et al. 2015), as multipliers: relevance / activation.

In this form most of a network keeps its gradient: sums, means and residuals hand relevance on in
proportion to what each part gives, ReLU and its kin as they are, maxima to the winner. Only
layers with weights have rules of their own.
"""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.probe import gradient
from attributome.core.rules import WEIGHTED, Call, Rules, active, instead, parts, with_slope
from attributome.core.secants import secant
from attributome.core.types import Images, Maps, Predictor, Target

Rule = Literal["epsilon_gamma", "epsilon", "gamma"]

AS_THEY_ARE = ("relu", "leaky_relu", "prelu", "amax", "max", "max_pool1d", "max_pool2d",
               "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
               "adaptive_max_pool3d")  # fmt: skip
THROUGH_ZERO = ("relu6", "elu", "selu", "celu", "gelu", "silu", "mish", "tanh", "softsign",
                "hardswish", "hardtanh", "hardshrink", "softshrink", "tanhshrink")  # fmt: skip
"""Zero at zero, so that what leaves them can be counted back to what came."""

CONSTANTS = ("mul", "div", "matmul", "einsum", "where", "masked_fill")
"""Linear while all but one of their tensors are constants."""

INSTEAD = "use deep_lift or integrated_gradients"


def lrp(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    rule: Rule = "epsilon_gamma",
    epsilon: float = 1e-6,
    gamma: float = 0.25,
) -> Maps:
    """Relevance of each pixel; sums to the target less what biases and `epsilon` absorb.

    `epsilon_gamma` is the usual composite: gamma for convolutions, epsilon for linear layers
    (Montavon et al. 2019). `gamma` favours what agrees with the sign of a layer's output;
    `epsilon` absorbs relevance of outputs that are small beside the mean magnitude over their
    channels, in shares of it. With `rule="epsilon"` and `epsilon` near 0, a ReLU network gives
    gradient times input. Batch norm is a linear step of its own. Softmax, gates, attention and
    norms by the sample's own statistics are refused.
    """
    if rule not in ("epsilon_gamma", "epsilon", "gamma") or epsilon < 0 or gamma < 0:
        raise UsageError(
            f"rule is {rule!r}, epsilon {epsilon} and gamma {gamma}; choose epsilon_gamma, epsilon "
            f"or gamma, and numbers that are not negative"
        )
    mode = Rules(model, {}, "lrp", INSTEAD)
    weighted = partial(_weighted, mode, rule, epsilon, gamma)
    mode.rules = {
        **dict.fromkeys(WEIGHTED, weighted),
        **dict.fromkeys(AS_THEY_ARE, _as_it_is),
        **dict.fromkeys(THROUGH_ZERO, _through_zero),
        **dict.fromkeys(CONSTANTS, partial(_constant, mode)),
    }
    return x * gradient(model, x, target, under=lambda: mode)


def _weighted(mode: Rules, rule: Rule, epsilon: float, gamma: float, call: Call) -> Tensor:
    weight, bias = call.tensor(1, "weight"), call.get(2, "bias")
    if active(weight):
        raise mode.refusal(call.name, "has a weight that depends on the input")
    if (call.name == "linear" and rule != "gamma") or rule == "epsilon":
        graph = call.on(call.tensor())
        out = graph.detach()
        return instead(out, graph * _kept(out, epsilon, -1 if call.name == "linear" else 1))
    return _gamma(call, weight, bias, gamma)


def _kept(out: Tensor, epsilon: float, channels: int) -> Tensor:
    """The share of each output's relevance that epsilon does not absorb: z / (z + ε sign z)."""
    size = out.abs()
    stabilised = size + epsilon * size.mean(channels, keepdim=True)
    return torch.where(stabilised == 0, 1.0, size / stabilised)


def _gamma(call: Call, weight: Tensor, bias: Tensor | None, gamma: float) -> Tensor:
    """Contributions of the output's own sign count 1 + gamma times."""
    x = call.tensor()
    rest = call.args[3:], {k: v for k, v in call.kwargs.items() if k not in ("weight", "bias")}
    rest[1].pop("input", None)

    def run(part: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        out: Tensor = call.func(part, w, b, *rest[0], **rest[1])
        return out

    def lean(w: Tensor, sign: int) -> Tensor:
        return w + sign * gamma * (sign * w).relu()

    with torch.no_grad():
        out = call.value()
        up, down = lean(weight, 1), lean(weight, -1)
        bias_up, bias_down = (None if bias is None else lean(bias, sign) for sign in (1, -1))
    positive = x * (x > 0)
    high, low = run(positive, up, bias_up), run(positive, down, bias_down)
    if bool((x < 0).any()):
        negative = x * (x < 0)
        high, low = high + run(negative, down, None), low + run(negative, up, None)
    share = [
        torch.where(own, out / torch.where(own, side.detach(), 1.0), 0.0)
        for own, side in ((out > 0, high), (out < 0, low))
    ]
    return instead(out, share[0] * high + share[1] * low)


def _as_it_is(call: Call) -> object:
    return call.on(call.tensor()) if call.inplace else call.func(*call.args, **call.kwargs)


def _through_zero(call: Call) -> Tensor:
    u = call.tensor()
    at, value = u.detach(), call.value()
    slope = secant(call.on, at, torch.zeros_like(at), smooth=True)
    return with_slope(u, value, slope) if active(u) else value


def _constant(mode: Rules, call: Call) -> object:
    given = [part for one in (*call.args, *call.kwargs.values()) for part in parts(one)]
    depends = [one for one in given if active(one)]
    if len(depends) > 1 or (call.name == "div" and depends and depends[0] is not given[0]):
        raise mode.refusal(call.name, "joins values that both depend on the input")
    return _as_it_is(call)
