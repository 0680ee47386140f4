"""Exact differences: what a change of the input does, divided among its causes without remainder.

Every quantity is known at two points, x and the reference x0. A `Pair` also carries a tangent, a
linear function of the input with T(x) − T(x0) = f(x) − f(x0): slopes of secants for functions of
one number, the midpoint rule for products (exact, since they are quadratic). Differentiating the
tangent gives the multipliers of DeepLIFT's rescale rule (Shrikumar et al. 2017).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


class Pair(NamedTuple):
    """A value at x and at x0, and the tangent; None where it does not depend on the input."""

    x: Tensor
    x0: Tensor
    tangent: Tensor | None


def linear(f: Function, p: Pair) -> Pair:
    """A function without a constant part, such as a mean."""
    return Pair(f(p.x), f(p.x0), None if p.tangent is None else f(p.tangent))


def plus(p: Pair, q: Pair | float) -> Pair:
    """The sum of two quantities, or of one and a constant, which no tangent needs."""
    if not isinstance(q, Pair):
        return Pair(p.x + q, p.x0 + q, p.tangent)
    both = [t for t in (p.tangent, q.tangent) if t is not None]
    return Pair(p.x + q.x, p.x0 + q.x0, sum(both[1:], both[0]) if both else None)


def minus(p: Pair, q: Pair) -> Pair:
    """The difference of two quantities."""
    return plus(p, linear(torch.neg, q))


def times(p: Pair, q: Pair, product: Callable[[Tensor, Tensor], Tensor] = torch.mul) -> Pair:
    """A product of any kind that is linear in either factor."""
    both = []
    if p.tangent is not None:
        both.append(product(p.tangent, (q.x + q.x0) / 2))
    if q.tangent is not None:
        both.append(product((p.x + p.x0) / 2, q.tangent))
    return Pair(product(p.x, q.x), product(p.x0, q.x0), sum(both[1:], both[0]) if both else None)


def of_one(f: Function, slope: Callable[[Tensor, Tensor], Tensor], p: Pair) -> Pair:
    """A function of one number, with its secant slope."""
    if p.tangent is None:
        return Pair(f(p.x), f(p.x0), None)
    return Pair(f(p.x), f(p.x0), slope(p.x, p.x0) * p.tangent)


# Secant slopes without cancellation -----------------------------------------------------------


def sqrt_slope(x: Tensor, x0: Tensor) -> Tensor:
    """Of the square root; 0 where both are 0, as nothing changes there."""
    total = x.sqrt() + x0.sqrt()
    return torch.where(total == 0, 0.0, 1 / total)


def rsqrt_slope(x: Tensor, x0: Tensor) -> Tensor:
    """Of 1 / √x."""
    r, r0 = x.rsqrt(), x0.rsqrt()
    return -(r * r0) * (r * r0) / (r + r0)


def reciprocal_slope(x: Tensor, x0: Tensor) -> Tensor:
    """Of 1 / x."""
    return -1 / (x * x0)


def square_slope(x: Tensor, x0: Tensor) -> Tensor:
    """Of x²."""
    return x + x0


def exp_slope(x: Tensor, x0: Tensor) -> Tensor:
    """Of exp."""
    d = x - x0
    close = x0.exp() * torch.where(d == 0, 1.0, torch.expm1(d) / d)
    return torch.where(d.abs() < 1, close, (x.exp() - x0.exp()) / d)


def log_slope(x: Tensor, x0: Tensor) -> Tensor:
    """Of the natural logarithm."""
    d = x - x0
    return torch.where(d == 0, 1 / x0, torch.log1p(d / x0) / d)


EXACT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sqrt": sqrt_slope,
    "rsqrt": rsqrt_slope,
    "reciprocal": reciprocal_slope,
    "square": square_slope,
    "exp": exp_slope,
    "log": log_slope,
}


POWERS: dict[str, Function] = {
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "exp": torch.exp,
    "log": torch.log,
}


def power(p: Pair, name: str) -> Pair:
    """One of `POWERS`, with its exact slope."""
    return of_one(POWERS[name], EXACT[name], p)


def smooth(f: Function, p: Pair) -> Pair:
    """Any smooth function of one number."""
    return of_one(f, lambda x, x0: secant(f, x, x0, smooth=True), p)


def secant(f: Function, x: Tensor, x0: Tensor, *, smooth: bool, y0: Tensor | None = None) -> Tensor:
    """Slope of any function of one number between `x` and `x0`; `x` may be shared by copies.

    Its derivative where the two meet: only there for functions made of straight pieces, whose
    differences are exact; as soon as rounding shows for `smooth` ones.
    """
    y, y0 = f(x), f(x0) if y0 is None else y0
    xs, x0s, join = facing(x, x0)
    ys, y0s, _ = facing(y, y0)
    dx = xs - x0s
    room = torch.finfo(x0.dtype).eps ** 0.5
    near = join(dx.abs() <= room * (1 + x0s.abs())) if smooth else join(dx == 0)
    slope = join((ys - y0s).div_(dx))
    if near.any():
        slope = torch.where(near, derivative(f, join(x0s + dx / 2)), slope)
    return slope


def derivative(f: Function, at: Tensor) -> Tensor:
    """Of a function of one number, element by element."""
    with torch.enable_grad():
        leaf = at.detach().requires_grad_()
        return torch.autograd.grad(f(leaf).sum(), leaf)[0]


# Two points of unequal number: b samples, n copies of the reference -------------------------------


def facing(x: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Function]:
    """`x` (b samples) and `like` (n copies of b) as tensors that broadcast; and the way back.

    The axis that holds the samples is the one where the shapes differ, wherever a model moved it.
    Raises ValueError where that is no single axis.
    """
    axis = sample_axis(x.shape, like.shape)
    if axis is None:
        return x, like, lambda t: t
    size = x.shape[axis]
    return x.unsqueeze(axis), like.unflatten(axis, (-1, size)), lambda t: t.flatten(axis, axis + 1)


def spread(x: Tensor, like: Tensor) -> Tensor:
    """`x` repeated for every copy in `like`."""
    xs, likes, join = facing(x, like)
    return x if xs is x else join(xs.expand_as(likes))


def sample_axis(shape: Sequence[int], like: Sequence[int]) -> int | None:
    """The axis where `like` holds more; None where the shapes are equal."""
    differ = [i for i, (a, b) in enumerate(zip(shape, like, strict=False)) if a != b]
    if not differ and len(shape) == len(like):
        return None
    if len(shape) != len(like) or len(differ) > 1 or like[differ[0]] % max(1, shape[differ[0]]):
        raise ValueError(f"{tuple(shape)} and {tuple(like)} differ in more than copies of a batch")
    return differ[0]
