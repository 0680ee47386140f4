"""Failures of models, hooks and targets, each put in for one call and taken out again."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from attributome.core.targets import Logit
from attributome.core.types import Target

Act = Callable[..., None]


class InjectedError(Exception):
    """Nobody's error: it is put in."""


@dataclass(slots=True, eq=False)
class Fault:
    """A failure in words, the target to ask for, and the context in which the model has it.

    `met` is filled once the failure has happened.
    """

    words: str
    target: Target
    inside: AbstractContextManager[object] = field(default_factory=nullcontext)
    met: list[bool] = field(default_factory=list)

    def fail(self, kind: type[BaseException], calls: int) -> Act:
        """A function that raises when it is called for the so-many-th time."""
        left = [calls]

        def fail(*_: object) -> None:
            left[0] -= 1
            if not left[0]:
                self.met.append(True)
                raise kind("put in")

        return fail

    def note(self, *_: object) -> None:
        """The failure happens now, without an exception of ours."""
        self.met.append(True)


def faults(model: nn.Module, target: Target) -> Iterator[Fault]:
    """Every failure, one by one."""
    for name, module in list(model.named_modules()):
        where = f"layer {name!r}" if name else "the model"
        for place, kind, calls in PLACES:
            fault = Fault(f"{kind.__name__} in {place} of {where} (call {calls})", target)
            fault.inside = PUT[place](module, fault.fail(kind, calls))
            yield fault
    for kind, calls in ((InjectedError, 1), (InjectedError, 2), (KeyboardInterrupt, 1)):
        fault = Fault(f"{kind.__name__} in the target (call {calls})", target)
        fault.target = _after(fault.fail(kind, calls), target)
        yield fault
    for wrong in (Logit(99), Logit(-1), Logit(torch.tensor([0, 1])), OfWrongShape()):
        fault = Fault(f"the wrong target {wrong}", wrong)
        fault.target = _after(fault.note, wrong)
        yield fault
    for what, change in WRONG.items():
        fault = Fault(f"a model that returns {what}", target)
        fault.inside = _answering(model, fault.note, change)
        yield fault


@dataclass(frozen=True)
class OfWrongShape:
    """A target of two numbers per sample."""

    def __call__(self, out: Tensor) -> Tensor:
        return out[:, :2]


def _after(act: Act, target: Target) -> Target:
    def both(out: Tensor) -> Tensor:
        act()
        return target(out)

    return both


@contextmanager
def _answering(
    module: nn.Module, act: Act, change: Callable[[Tensor], object] = lambda out: out
) -> Iterator[None]:
    inner = module.forward

    def forward(x: Tensor) -> object:
        act()
        return change(inner(x))

    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]


def _in_backward(module: nn.Module, act: Act) -> AbstractContextManager[object]:
    def watch(_module: nn.Module, _args: object, out: Tensor) -> None:
        if out.requires_grad:
            out.register_hook(act)

    return module.register_forward_hook(watch)


PUT: dict[str, Callable[[nn.Module, Act], AbstractContextManager[object]]] = {
    "the forward pass": _answering,
    "the backward pass": _in_backward,
    "a forward hook": lambda module, act: module.register_forward_hook(act),
    "a forward pre-hook": lambda module, act: module.register_forward_pre_hook(act),
}
PLACES = (
    ("the forward pass", InjectedError, 1),
    ("the forward pass", InjectedError, 2),
    ("the forward pass", KeyboardInterrupt, 1),
    ("the backward pass", InjectedError, 1),
    ("a forward hook", InjectedError, 1),
    ("a forward hook", InjectedError, 3),
    ("a forward pre-hook", InjectedError, 1),
)
WRONG: dict[str, Callable[[Tensor], object]] = {
    "a tuple": lambda out: (out, out),
    "nothing": lambda out: None,
    "too few rows": lambda out: out[:-1],
}
