"""The only three doors to a model: `predict`, `gradient`, `layer_gradient`.

Explainers and metrics are built from these, so "the user's model is never changed" is one
context manager here and not a rule that forty functions must remember. The doors also own the
memory: `chunk` bounds how many images run at once, and a chunk that does not fit is halved.

A method that asks about many versions of a batch stacks them with `copies=n`: `x` then holds n
whole batches one after the other, row r belongs to sample r % b, and the target sees each batch by
itself, so that it may couple samples or hold one index per sample. `at_once` says how many fit.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.inputs import for_rows, network
from attributome.core.types import Images, Layer, Predictor, Target

T = TypeVar("T")
Under = Callable[[], AbstractContextManager[object]]
"""Makes a context in which the model runs, such as other rules for its backward pass."""

AT_ONCE = {"cpu": 2**17, "cuda": 2**25, "mps": 2**22}
"""Numbers of input that run together where nobody says otherwise: beyond 2^17 a CPU's caches
overflow, and five of six small networks were 1.8 to 2.1 times slower per image at 2^20."""


@contextmanager
def still(model: Predictor) -> Iterator[None]:
    """Evaluate with frozen parameters, then restore every submodule's own mode and flag."""
    net = network(model)
    if net is None:
        yield
        return
    modes = {module: module.training for module in net.modules()}
    flags = {parameter: parameter.requires_grad for parameter in net.parameters()}
    try:
        for module in modes:  # not `eval()`: exported programs refuse it and users override it
            module.training = False
        for parameter in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, required in flags.items():
            parameter.requires_grad_(required)


def predict(model: Predictor, x: Images, *, chunk: int | None = None) -> Tensor:
    """Outputs of the model, without a graph."""
    for_rows(model, x, None)  # a part of a batch would meet the wrong other inputs
    with still(model), torch.no_grad():
        return torch.cat(in_chunks(lambda rows: run(model, x[rows], rows), len(x), chunk))


def values(
    model: Predictor, x: Images, target: Target, *, copies: int = 1, chunk: int | None = None
) -> Float[Tensor, "copies samples"]:
    """The target's number for each sample, in each of the n copies of the batch."""
    with torch.no_grad():
        return each_copy(target, predict(model, x, chunk=chunk), copies)


def gradient(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    copies: int = 1,
    chunk: int | None = None,
    under: Under = nullcontext,
) -> Images:
    """Gradient of the target with respect to the pixels."""

    def whole() -> Images:
        leaf = x.detach().requires_grad_()
        with under():
            total = each_copy(target, run(model, leaf), copies).sum()
        return torch.autograd.grad(total, leaf)[0]

    def part(rows: slice, weight: Tensor) -> Images:
        leaf = x[rows].detach().requires_grad_()
        with under():
            out = run(model, leaf, rows)
        return torch.autograd.grad(out, leaf, weight[rows])[0]

    with still(model), torch.enable_grad():
        return _whole_or_parts(model, x, target, whole, part, torch.cat, copies, chunk)


def layer_gradient(
    model: Predictor, layer: str, x: Images, target: Target, *, chunk: int | None = None
) -> tuple[Layer, Layer]:
    """Activation of a named layer, and the gradient of the target with respect to it.

    The graph begins at the layer, so nothing that only the layers below need is kept.
    """

    def whole() -> tuple[Tensor, Tensor]:
        out, activation = _from_layer(model, layer, x)
        total = each_copy(target, out, 1).sum()
        return activation.detach(), torch.autograd.grad(total, activation)[0]

    def part(rows: slice, weight: Tensor) -> tuple[Tensor, Tensor]:
        out, activation = _from_layer(model, layer, x[rows], rows)
        return activation.detach(), torch.autograd.grad(out, activation, weight[rows])[0]

    def join(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        activations, gradients = zip(*parts, strict=True)
        return torch.cat(activations), torch.cat(gradients)

    with still(model), torch.enable_grad():
        return _whole_or_parts(model, x, target, whole, part, join, 1, chunk)


def layer_output(model: Predictor, layer: str, x: Images, *, chunk: int | None = None) -> Layer:
    """Activation of a named layer, without a graph."""
    for_rows(model, x, None)
    with still(model), torch.no_grad():
        return torch.cat(
            in_chunks(lambda rows: _from_layer(model, layer, x[rows], rows)[1], len(x), chunk)
        )


def predict_with(model: Predictor, layer: str, x: Images, activation: Layer) -> Tensor:
    """Outputs when a named layer gives `activation` instead of its own.

    Differentiable with respect to `activation` where the caller has gradients on and the model
    is `still`; nothing below the layer is in that graph.
    """
    return _from_layer(model, layer, x, put=activation)[0]


def at_once(x: Images, copies: int) -> int:
    """How many of `copies` batches like `x` to run together: as many as are worth it, at least 1.

    It only groups work; the doors themselves halve what does not fit into memory.
    """
    return max(1, min(copies, AT_ONCE.get(x.device.type, AT_ONCE["cpu"]) // max(1, x.numel())))


def each_copy(target: Target, out: Tensor, copies: int) -> Float[Tensor, "copies samples"]:
    """The target of every copy of the batch by itself.

    A target that says it is `rowwise` (what it makes of a row depends on nothing else) is asked
    once for all copies, which saves half the time of a small network.
    """
    if len(out) % copies:
        raise UsageError(f"{len(out)} rows are no {copies} copies of one batch")
    rows = len(out) // copies
    if copies > 1 and getattr(target, "rowwise", False):
        together: Tensor = target(out).unflatten(0, (copies, rows))
        return together
    found = [target(part) for part in out.unflatten(0, (copies, rows))]
    if any(part.shape != (rows,) for part in found):
        raise UsageError(
            f"the target gave shape {tuple(found[0].shape)} for {rows} samples; it must give one "
            f"number per sample, shape ({rows},)"
        )
    return torch.stack(found)


def run(model: Predictor, x: Images, rows: slice | None = None) -> Tensor:
    """Call the model as it stands; refuse what is not one tensor with a row per image.

    `rows` says which rows of the batch `x` is, where it is a part of one.
    """
    out = for_rows(model, x, rows)(x)
    if not isinstance(out, Tensor):
        raise UsageError(
            f"the predictor returned a {type(out).__name__}; attributome explains one tensor: wrap "
            f"the predictor in a function that returns the output you mean"
        )
    if len(out) != len(x):
        raise UsageError(f"the predictor returned {len(out)} outputs for {len(x)} images")
    return out.float() if out.dtype in (torch.float16, torch.bfloat16) else out


def in_chunks(work: Callable[[slice], T], total: int, chunk: int | None = None) -> list[T]:
    """Do `work` on consecutive rows, at most `chunk` at a time; halve a chunk that does not fit."""
    done: list[T] = []
    start, size = 0, min(chunk or total, total)
    while start < total:
        try:
            done.append(work(slice(start, min(start + size, total))))
        except RuntimeError as error:
            if size == 1 or not out_of_memory(error):
                raise
            size = (size + 1) // 2
            continue
        start += size
    return done


def out_of_memory(error: RuntimeError) -> bool:
    """Whether a device (CUDA, MPS or the host) said that it has no room."""
    says = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError) or any(s in str(error).lower() for s in says)


def _from_layer(
    model: Predictor,
    layer: str,
    x: Images,
    rows: slice | None = None,
    put: Layer | None = None,
) -> tuple[Tensor, Tensor]:
    """Outputs, and the layer's activation (or what is `put` there) as the leaf of their graph."""
    net = network(model)
    modules = dict(net.named_modules()) if net is not None else {}
    if not layer or layer not in modules:
        raise UsageError(f"no layer {layer!r}; this model has {[name for name in modules if name]}")
    kept: list[Tensor] = []

    def start_here(_module: nn.Module, _args: object, out: object) -> Tensor:
        if not isinstance(out, Tensor) or kept:
            what = "ran more than once" if kept else f"returns a {type(out).__name__}, not a tensor"
            raise UsageError(f"layer {layer!r} cannot be explained: in one forward pass it {what}")
        if put is not None and put.shape != out.shape:
            raise UsageError(
                f"layer {layer!r} gives shape {tuple(out.shape)}, not {tuple(put.shape)}"
            )
        kept.append(out.detach().requires_grad_() if put is None else put)
        return kept[0].clone()  # a following in-place ReLU must not overwrite what we kept

    handle = modules[layer].register_forward_hook(start_here)
    try:
        out = run(model, x.detach(), rows)
    finally:
        handle.remove()
    if not kept:
        raise UsageError(f"layer {layer!r} did not run in the forward pass")
    return out, kept[0]


def _whole_or_parts(
    model: Predictor,
    x: Images,
    target: Target,
    whole: Callable[[], T],
    part: Callable[[slice, Tensor], T],
    join: Callable[[list[T]], T],
    copies: int,
    chunk: int | None,
) -> T:
    """Differentiate the whole batch at once, or chunk by chunk with the same result.

    A target may couple samples or hold one index per sample, so it cannot be cut. In parts the
    outputs come first, without a graph; the target of all of them gives the weight of each
    output; and each chunk is then pulled back with its own rows of that weight.
    """
    if chunk is None or chunk >= len(x):
        try:
            return whole()
        except RuntimeError as error:
            if len(x) == 1 or not out_of_memory(error):
                raise
            chunk = (len(x) + 1) // 2
    out = predict(model, x, chunk=chunk).requires_grad_()
    weight = torch.autograd.grad(each_copy(target, out, copies).sum(), out)[0]
    return join(in_chunks(lambda rows: part(rows, weight), len(x), chunk))
