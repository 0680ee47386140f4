"""DeepLIFT's rescale rule on any network that calls functions with known differences.

The model runs once on x, and what meets each nonlinear call is kept in order. It then runs on the
references, with gradients, and the n-th call meets the n-th record: slopes are taken between the
two, so that multipliers times (x − x0) sum to F(x) − F(x0), the target's own arithmetic included.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.probe import gradient, out_of_memory, run, still
from attributome.core.rules import ACTIVATIONS, Call, Rules, active, instead, parts, with_slope
from attributome.core.secants import EXACT, Pair, facing, secant, spread
from attributome.core.tangents import TANGENTS
from attributome.core.types import Images, Predictor, Scores, Target

_KINKED = """
relu relu6 leaky_relu prelu hardtanh hardshrink softshrink threshold abs hardsigmoid
clamp clamp_min clamp_max
"""
KINKED = frozenset(_KINKED.split())
"""Functions of one number made of straight pieces."""

_SMOOTH = """
exp expm1 exp2 log log1p log2 log10 sqrt rsqrt reciprocal square pow rpow sin cos erf arctan
atan asinh
"""
SMOOTH = frozenset(_SMOOTH.split()) | (ACTIVATIONS - KINKED)

PRODUCTS = frozenset(("mul", "matmul", "vecdot", "einsum", "div"))
"""Linear in one factor while the other is constant."""

POWERS = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}


class _TooLarge(Exception):  # noqa: N818 (a message between two functions of this file)
    """The references did not fit into memory all at once."""


class Rescale(Rules):
    """Multipliers of a model between one batch and its references."""

    def __init__(self, model: Predictor, purpose: str) -> None:
        names = [*KINKED, *SMOOTH, *TANGENTS]
        super().__init__(model, dict.fromkeys(names, self._meet), purpose)
        self._met: list[tuple[str, list[Tensor]]] = []
        self._body = self._at = 0
        self._recording = True

    def record(self, x: Images, target: Target) -> Scores:
        """Run on the batch that is explained; returns the target's values."""
        try:
            with still(self.model), torch.no_grad(), self:
                out = run(self.model, x)
                self._body = len(self._met)
                found = target(out)
        except RuntimeError as error:
            if out_of_memory(error):
                raise UsageError(
                    f"{len(x)} images do not fit into memory at once, and {self.purpose} keeps "
                    f"what meets each layer: give fewer images at a time"
                ) from error
            raise
        self._recording = False
        return found.detach()

    def multipliers(
        self, starts: Images, target: Target, copies: int
    ) -> tuple[Images, Float[Tensor, "copies samples"]]:
        """Multipliers for `copies` whole batches of references, and the target's values there.

        Where they do not fit into memory together they are taken in two halves.
        """
        seen: list[Tensor] = []
        entered: list[int] = []

        def noting(out: Tensor) -> Tensor:
            seen.append(target(out))
            return seen[-1]

        @contextmanager
        def once() -> Iterator[None]:
            if entered:
                raise _TooLarge
            entered.append(copies)
            self._at = 0
            with self:
                yield
            if self._at != len(self._met):
                raise self._changed("fewer")

        try:
            found = gradient(self.model, starts, noting, copies=copies, under=once)
        except _TooLarge:
            if copies == 1:
                raise UsageError(
                    f"{len(starts)} images and their references do not fit into memory at once: "
                    f"give fewer images at a time"
                ) from None
        else:
            return found, torch.stack(seen).detach()
        half = copies // 2
        cut = half * (len(starts) // copies)
        first = self.multipliers(starts[:cut], target, half)
        second = self.multipliers(starts[cut:], target, copies - half)
        return torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]])

    def _changed(self, what: str) -> UsageError:
        return UsageError(
            f"{self.purpose} cannot explain this model: it called {what} functions on the "
            f"reference than on the input, so that its course depends on the data; {self.instead}"
        )

    def _meet(self, call: Call) -> object:
        with torch.no_grad():
            out = call.value() if call.inplace else call.func(*call.args, **call.kwargs)
        tensors = _tensors(call)
        if self._recording:
            keep = [t if isinstance(t, nn.Parameter) else t.clone() for t in tensors]
            self._met.append((call.name, keep))
            return out
        there = self._next(call.name)
        if not any(map(active, tensors)):
            return out
        value = parts(out)[0]
        if not isinstance(value, Tensor):
            raise self.refusal(call.name, "gives no tensor")
        try:
            new = self._differentiable(call, value, tensors, there)
        except ValueError as error:
            raise self.refusal(call.name, f"is {error}") from error
        return type(out)((new, *out[1:])) if isinstance(out, tuple) else new

    def _next(self, name: str) -> list[Tensor]:
        if self._at == len(self._met) > self._body:
            self._at = self._body  # the target sees one copy of the batch after the other
        if self._at == len(self._met) or self._met[self._at][0] != name:
            raise self._changed("other")
        self._at += 1
        return self._met[self._at - 1][1]

    def _differentiable(
        self, call: Call, value: Tensor, tensors: Sequence[Tensor], there: Sequence[Tensor]
    ) -> Tensor:
        """The value at the reference, with the slopes between it and the input."""
        if len(tensors) != len(there):
            raise self._changed("other")
        if call.name in KINKED or call.name in SMOOTH:
            if any(map(active, tensors[1:])) or not active(tensors[0]):
                raise UsageError("a function of more than one value that depends on the input")
            at = tensors[0].detach()
            return with_slope(tensors[0], value, _slope(call, there[0], at, value))
        pairs = [self._pair(*two) for two in zip(there, tensors, strict=True)]
        if call.name in PRODUCTS and sum(map(active, tensors)) == 1:
            first = call.args and call.args[0] is tensors[0] and active(tensors[0])
            if call.name != "div" or first:
                self._check_constants(pairs)
                return instead(value, _with_graph(call))
        if call.name not in ("where", "masked_fill"):
            self._check_constants(pairs)
        tangent = TANGENTS[call.name](call, pairs)
        if tangent is None:
            return value
        return instead(value, tangent)

    @staticmethod
    def _pair(x: Tensor, x0: Tensor) -> Pair:
        return Pair(spread(x, x0), x0.detach(), x0 if active(x0) else None)

    @staticmethod
    def _check_constants(pairs: Sequence[Pair]) -> None:
        for p in pairs:
            if p.tangent is None and not torch.equal(p.x, p.x0):
                raise UsageError("given a value that depends on the input but has no gradient")


def _with_graph(call: Call) -> Tensor:
    """The function's own result, for calls that are linear."""
    if call.inplace:
        return call.on(call.tensor())
    out: Tensor = call.func(*call.args, **call.kwargs)
    return out


def _tensors(call: Call) -> list[Tensor]:
    """The tensor arguments, in order."""
    found: list[Tensor] = []
    for argument in (*call.args, *call.kwargs.values()):
        found.extend(part for part in parts(argument) if isinstance(part, Tensor))
    return found


def _slope(call: Call, x: Tensor, x0: Tensor, value: Tensor) -> Tensor:
    """The secant of a function of one number."""
    name = call.name
    if name == "pow":
        exponent = call.get(1, "exponent")
        name = POWERS.get(float(exponent), name)
    if name in EXACT:
        xs, x0s, join = facing(x, x0)
        return join(EXACT[name](xs, x0s))
    if name == "relu":
        return _relu_slope(x, x0, value)
    return secant(call.on, x, x0, smooth=call.name not in KINKED, y0=value)


def _relu_slope(x: Tensor, x0: Tensor, value: Tensor) -> Tensor:
    """Of the function that runs most: in few passes over the memory."""
    xs, x0s, join = facing(x, x0)
    values = value if x0s is x0 else value.reshape(x0s.shape)
    dx = xs - x0s
    slope = (xs.relu() - values).div_(dx)
    return join(torch.where(dx == 0, (x0s > 0).to(dx), slope))
