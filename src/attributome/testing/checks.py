"""What every method promises, one function for each promise; `CHECKS` lists them."""

import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attributome.core.errors import Refusal
from attributome.core.targets import Logit
from attributome.core.types import Target
from attributome.testing.faults import faults
from attributome.testing.networks import SIZES, mixed_cnn
from attributome.testing.state import changed, state_of

CLASSES = (1, 4, 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One method on networks and images of one dimensionality.

    `shape` says in a sentence what is wrong with a result for these images, or nothing.
    """

    call: Callable[[nn.Module, Tensor, Target], Tensor]
    shape: Callable[[Tensor, Tensor], str]
    dims: int
    channels: int
    tolerance: float
    zero: bool
    calls: int
    images_out: bool = False

    def model(self, seed: int = 0) -> nn.Sequential:
        return mixed_cnn(self.dims, self.channels, seed=seed, images_out=self.images_out)

    def images(self, seed: int = 0) -> Tensor:
        """Three images of different contrast, in double precision."""
        draw = torch.Generator().manual_seed(seed)
        size = (len(CLASSES), self.channels, *SIZES[self.dims])
        strength = torch.tensor([1.0, 3.0, 0.5], dtype=torch.double)
        noise = torch.randn(size, generator=draw, dtype=torch.double)
        return noise * strength.view(-1, *[1] * (self.dims + 1))

    def differ(self, a: Tensor, b: Tensor) -> bool:
        """Whether two results are further apart than rounding, each sample by its own scale."""
        if a.shape != b.shape:
            return True
        scale = b.flatten(1).abs() if b.ndim > 1 else b.abs()[:, None]
        most = scale.nan_to_num().amax(1).view(-1, *[1] * (b.ndim - 1))
        return not bool((((a - b).abs() <= self.tolerance * most) | (a.isnan() & b.isnan())).all())


def gives_what_it_should(case: Case) -> None:
    """One tensor of the right shape, finite, without a graph."""
    x = case.images()
    out: object = case.call(case.model(), x, _classes())
    if not isinstance(out, Tensor):
        raise AssertionError(f"it returned a {type(out).__name__} and not a tensor")
    _need(out.is_floating_point(), f"its result is of {out.dtype}, which is no floating type")
    wrong = case.shape(x, out)
    _need(not wrong, wrong)
    _need(not out.requires_grad, "its result still carries a graph, which keeps the memory")


def says_the_same_twice(case: Case) -> None:
    """Also where the caller has switched gradients off."""
    model, x = case.model(), case.images()
    first, second = (case.call(model, x, _classes()) for _ in range(2))
    same = first.shape == second.shape and torch.allclose(first, second, 0, 0, equal_nan=True)
    _need(same, "the same call gave other numbers the second time")
    with torch.no_grad():
        again = case.call(model, x, _classes())
    _need(not case.differ(again, first), "it gives other numbers where the caller has no gradients")


def keeps_samples_apart(case: Case) -> None:
    """A sample alone, or elsewhere in the batch, has the same result."""
    model, x = case.model(), case.images()
    together = case.call(model, x, _classes())
    for i, index in enumerate(CLASSES):
        alone = case.call(model, x[i : i + 1], Pooled(index))
        _need(
            not case.differ(alone, together[i : i + 1]),
            "the result of a sample depends on the samples beside it",
        )
    order = [2, 0, 1]
    moved = case.call(model, x[order], Pooled(torch.tensor(CLASSES)[order]))
    _need(not case.differ(moved, together[order]), "the result depends on the order of the batch")


def leaves_no_trace(case: Case) -> None:
    """Also where the images came with `requires_grad`."""
    for wanted in (False, True):
        model, x = case.model(), case.images().requires_grad_(wanted)
        before = state_of(model, x)
        case.call(model, x, _classes())
        _same(before, state_of(model, x), "a call")


def leaves_no_trace_of_failures(case: Case) -> int:
    """How many of the failures happened; one that is swallowed would be a silent wrong result."""
    met, model, x = 0, case.model(), case.images()
    before = state_of(model, x)
    for fault in faults(model, _classes()):
        passed = False
        try:
            with fault.inside:
                case.call(model, x, fault.target)
            passed = True
        except AssertionError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if not fault.met:
                raise AssertionError(f"it raised {error!r} where nothing was wrong") from error
        _same(before, state_of(model, x), fault.words)
        _need(not (passed and fault.met), f"it went on after {fault.words} as if nothing had been")
        met += bool(fault.met)
    return met


def is_the_same_in_little_memory(case: Case) -> None:
    """A model without room for the batch may be asked in parts, but not with other numbers."""
    x = case.images()
    wanted = case.call(case.model(), x, _classes())
    model = case.model()

    def full(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if len(args[0]) > 2:
            raise torch.OutOfMemoryError("out of memory (the suite plays the device)")

    model.register_forward_pre_hook(full)
    try:
        found = case.call(model, x, _classes())
    except (torch.OutOfMemoryError, Refusal):
        return
    _need(not case.differ(found, wanted), "it gives other numbers where memory is short")


def finds_nothing_in_a_constant(case: Case) -> None:
    """A model that ignores its input has no importance in it."""
    if not case.zero:
        return
    model, x = case.model(), case.images()
    with torch.no_grad():
        for parameter in model[-1].parameters():
            parameter.zero_()
    out = case.call(model, x, _classes())
    _need(bool((out.abs() < 1e-12).all()), "it finds importance in a model that ignores its input")


def works_in_two_threads(case: Case) -> None:
    """Each forward pass waits for that of the other thread, so that the two calls interleave."""
    jobs = [(case.model(seed), case.images(seed)) for seed in (1, 2)]
    wanted = [case.call(model, x, _classes()) for model, x in jobs]
    barrier = threading.Barrier(2)
    found: dict[int, Tensor | Exception] = {}

    def meet(*_: object) -> None:
        try:
            barrier.wait(0.2)
        except threading.BrokenBarrierError:
            return  # the other one has finished

    def work(index: int) -> None:
        model, x = jobs[index]
        model.register_forward_pre_hook(meet)
        try:
            found[index] = case.call(model, x, _classes())
        except Exception as error:  # told below, in the thread that may raise
            found[index] = error

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, right in enumerate(wanted):
        got = found[index]
        if isinstance(got, Exception):
            raise AssertionError(f"in one of two threads it raised {got!r}") from got
        _need(not case.differ(got, right), "two threads on two models disturb each other")


def keeps_no_memory(case: Case) -> None:
    """No tensor more for every call; what is kept once is no leak."""
    if not case.calls:
        return
    model, x = case.model(), case.images()
    for _ in range(2):
        case.call(model, x, _classes())
    before = _alive()
    for _ in range(case.calls):
        case.call(model, x, _classes())
    grown = _alive() - before
    _need(grown < case.calls, f"{grown} more tensors are alive after {case.calls} calls")


CHECKS: tuple[Callable[[Case], int | None], ...] = (
    leaves_no_trace,  # first: what a method sets for good, it sets in its first call
    gives_what_it_should,
    says_the_same_twice,
    keeps_samples_apart,
    leaves_no_trace_of_failures,
    is_the_same_in_little_memory,
    finds_nothing_in_a_constant,
    works_in_two_threads,
    keeps_no_memory,
)


@dataclass(frozen=True)
class Pooled:
    """The score of a class, or the mean of a channel of an image."""

    index: int | Tensor

    def __call__(self, out: Tensor) -> Tensor:
        return Logit(self.index)(out.flatten(2).mean(2) if out.ndim > 2 else out)


def _classes() -> Pooled:
    return Pooled(torch.tensor(CLASSES))


def _need(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)


def _same(before: dict[str, object], after: dict[str, object], what: str) -> None:
    if lost := changed(before, after):
        more = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise AssertionError(f"after {what}, {lost[0]} is not what it was{more}")


def _alive() -> int:
    gc.collect()
    return sum(issubclass(type(one), Tensor) for one in gc.get_objects())
