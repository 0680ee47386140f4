"""The only three doors to a model: `predict`, `gradient`, `layer_gradient`.

Explainers and metrics are built from these, so "the user's model is never changed" is one
context manager here and not a rule that forty functions must remember. The doors also own the
memory: `chunk` bounds how many samples run at once, and a chunk that does not fit is halved.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.types import Images, Layer, Predictor, Target

T = TypeVar("T")


@contextmanager
def still(model: Predictor) -> Iterator[None]:
    """Evaluate with frozen parameters, then restore every submodule's own mode and flag."""
    if not isinstance(model, nn.Module):
        yield
        return
    modes = {module: module.training for module in model.modules()}
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
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
    with still(model), torch.no_grad():
        return torch.cat(in_chunks(lambda rows: run(model, x[rows]), len(x), chunk))


def gradient(model: Predictor, x: Images, target: Target, *, chunk: int | None = None) -> Images:
    """Gradient of the target with respect to the pixels."""

    def whole() -> Images:
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(target(run(model, leaf)).sum(), leaf)[0]

    def part(rows: slice, weight: Tensor) -> Images:
        leaf = x[rows].detach().requires_grad_()
        return torch.autograd.grad(run(model, leaf), leaf, weight[rows])[0]

    with still(model), torch.enable_grad():
        return _whole_or_parts(model, x, target, whole, part, torch.cat, chunk)


def layer_gradient(
    model: Predictor, layer: str, x: Images, target: Target, *, chunk: int | None = None
) -> tuple[Layer, Layer]:
    """Activation of a named layer, and the gradient of the target with respect to it.

    The graph begins at the layer, so nothing that only the layers below need is kept.
    """

    def whole() -> tuple[Tensor, Tensor]:
        out, activation = _from_layer(model, layer, x)
        return activation.detach(), torch.autograd.grad(target(out).sum(), activation)[0]

    def part(rows: slice, weight: Tensor) -> tuple[Tensor, Tensor]:
        out, activation = _from_layer(model, layer, x[rows])
        return activation.detach(), torch.autograd.grad(out, activation, weight[rows])[0]

    def join(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        activations, gradients = zip(*parts, strict=True)
        return torch.cat(activations), torch.cat(gradients)

    with still(model), torch.enable_grad():
        return _whole_or_parts(model, x, target, whole, part, join, chunk)


def run(model: Predictor, x: Images) -> Tensor:
    """Call the model as it stands; refuse what is not one tensor with a row per image."""
    out = model(x)
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


def _from_layer(model: Predictor, layer: str, x: Images) -> tuple[Tensor, Tensor]:
    """Outputs, and the layer's activation as the leaf of their graph."""
    modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
    if not layer or layer not in modules:
        raise UsageError(f"no layer {layer!r}; this model has {[name for name in modules if name]}")
    kept: list[Tensor] = []

    def start_here(_module: nn.Module, _args: object, out: object) -> Tensor:
        if not isinstance(out, Tensor) or kept:
            what = "ran more than once" if kept else f"returns a {type(out).__name__}, not a tensor"
            raise UsageError(f"layer {layer!r} cannot be explained: in one forward pass it {what}")
        kept.append(out.detach().requires_grad_())
        return kept[0].clone()  # a following in-place ReLU must not overwrite what we kept

    handle = modules[layer].register_forward_hook(start_here)
    try:
        out = run(model, x.detach())
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
    weight = torch.autograd.grad(target(out).sum(), out)[0]
    return join(in_chunks(lambda rows: part(rows, weight), len(x), chunk))
