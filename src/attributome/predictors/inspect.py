"""What a predictor takes, gives and allows, found by asking it with small random images."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from attributome.core.errors import DataError, UsageError
from attributome.core.probe import gradient, layer_gradient, predict, still
from attributome.predictors.card import Card
from attributome.predictors.probing import (
    Asker,
    declared_shape,
    first_accepted,
    in_a_line,
    size_rule,
)
from attributome.predictors.sizes import SizeRule, by, fit_size

Output = Literal["image", "scalar", "classes"]
CELLS = 4
"""A grid of fewer cells along an axis says little about where."""
OWN_STATISTICS = ("InstanceNorm", "GroupNorm", "LayerNorm", "instance_norm", "group_norm")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFact:
    """One layer as it ran on the example: its grid is None where its output is no image.

    `reason` says why no class activation map can be made of it, or is None.
    """

    name: str
    type: str
    channels: int | None
    grid: tuple[int, ...] | None
    runs: int
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is known about a predictor.

    `possible` holds, for what a method may need of it ("nothing", "gradient", "layer"), the reason
    why it is not to be had, or None. `usable_layers` are the convolutions that suit a class
    activation map, the best last: the latest of those whose grid is smallest but still has four
    cells along every axis, or where there is none, of the largest grid. `norms` says where
    normalisation or randomness breaks what explanations rest on.
    """

    dims: int
    channels: int
    output: Output
    outputs: int
    sizes: SizeRule
    example: tuple[int, ...]
    layers: tuple[LayerFact, ...]
    possible: dict[str, str | None]
    usable_layers: tuple[str, ...]
    norms: tuple[str, ...]


def inspect_predictor(
    net: nn.Module,
    card: Card | None = None,
    *,
    channels: int | None = None,
    dims: int | None = None,
    size: Sequence[int] | None = None,
) -> Inspection:
    """Ask the predictor; `channels`, `dims` and `size` are those of the images, where known.

    Only predictors of a fixed size that is neither square nor usual need `size`.
    """
    declared = declared_shape(net)
    dims = dims or (card.dims if card else None) or _dims(net, declared)
    channels = channels or (len(card.inputs) if card else 0) or None
    if size is not None and len(size) != dims:
        raise DataError(f"images of {by(size)} are {len(size)}-D; the predictor takes {dims}-D")
    ask = Asker(net)
    channels, accepted = first_accepted(ask, dims, channels, size, declared)
    rule = size_rule(ask, channels, accepted, declared)
    # one image in which the grids of deep layers can be told apart, and one that is quick
    example, small = (
        fit_size(rule, [max(least, wanted) for least in rule.minimum])
        for wanted in ({2: 64, 3: 32}[dims], 16)
    )
    layers, without = _layers(net, ask.image(rule.batch or 1, channels, example))
    x = ask.image(rule.batch or 1, channels, small)
    out = predict(net, x)
    gradient_reason = _no_gradient(net, x)
    usable, layer_reason = _usable(net, x, layers, without or gradient_reason)
    return Inspection(
        dims=dims,
        channels=channels,
        output=_kind(out, x, card),
        outputs=out.shape[1],
        sizes=rule,
        example=example,
        layers=layers,
        possible={"nothing": None, "gradient": gradient_reason, "layer": layer_reason},
        usable_layers=usable,
        norms=(*_norms(net), *_repeats(net, x, rule)),
    )


def _dims(net: nn.Module, declared: tuple[int | None, ...] | None) -> int:
    if declared:
        return len(declared) - 2
    ranks = [weight.ndim - 2 for weight in net.parameters() if weight.ndim in (4, 5)]
    if not ranks:
        raise UsageError(
            "the predictor has no convolution that tells whether its images are 2-D or 3-D; say "
            "dims=2 or dims=3"
        )
    return ranks[0]


def _kind(out: Tensor, x: Tensor, card: Card | None) -> Output:
    image = out.ndim == x.ndim
    if card and card.task and image != (card.task == "image"):
        raise DataError(
            f"the predictor's card says {card.task!r}, but it answers {tuple(x.shape)} with "
            f"{tuple(out.shape)}"
        )
    if image:
        return "image"
    return "scalar" if out.shape[1] == 1 or (card and card.task == "regression") else "classes"


def _layers(net: nn.Module, x: Tensor) -> tuple[tuple[LayerFact, ...], str | None]:
    """The layers that gave a tensor in one forward pass, or why there are none."""
    seen: dict[str, list[Tensor]] = {}

    def note(name: str, out: object) -> None:
        if isinstance(out, Tensor):
            seen.setdefault(name, []).append(out)

    modules = {name: module for name, module in net.named_modules() if name}
    with still(net), torch.no_grad(), ExitStack() as stack:
        for name, module in modules.items():
            try:
                handle = module.register_forward_hook(lambda _m, _x, out, n=name: note(n, out))
            except RuntimeError:
                return (), "the layers of a TorchScript program cannot be watched"
            stack.callback(handle.remove)
        net(x)
    if not seen:
        return (), "no layer of this predictor runs as a module, so none can be watched"
    return tuple(_fact(name, modules[name], outs, x) for name, outs in seen.items()), None


def _fact(name: str, module: nn.Module, outs: list[Tensor], x: Tensor) -> LayerFact:
    out = outs[0]
    image = out.ndim == x.ndim
    reason = None
    if not image:
        reason = "its output is no image"
    elif len(outs) > 1:
        reason = f"it runs {len(outs)} times in one forward pass"
    elif max(out.shape[2:]) == 1:
        reason = "its grid is one voxel"
    return LayerFact(
        name=name,
        type=_type(module),
        channels=out.shape[1] if image else None,
        grid=tuple(out.shape[2:]) if image else None,
        runs=len(outs),
        reason=reason,
    )


def _mixed(out: Tensor) -> Tensor:
    """All outputs with weights of both signs: the plain sum of a softmax has no gradient."""
    flat = out.flatten(1)
    return flat @ torch.linspace(-1.0, 2.0, flat.shape[1], device=out.device, dtype=out.dtype)


def _no_gradient(net: nn.Module, x: Tensor) -> str | None:
    try:
        # of several strengths: a network may be silent, and rightly so, on faint noise
        found = [gradient(net, strength * x, _mixed) for strength in (1.0, 10.0, -10.0)]
    except (RuntimeError, torch.jit.Error) as error:
        return f"the predictor has no gradient: {in_a_line(error)}"
    if not all(maps.isfinite().all() for maps in found):
        return "the gradient of the predictor is not finite on a random image"
    if not any(maps.any() for maps in found):
        return "the gradient of the predictor is zero everywhere on random images"
    return None


def _usable(
    net: nn.Module, x: Tensor, layers: Sequence[LayerFact], without: str | None
) -> tuple[tuple[str, ...], str | None]:
    """The convolutions that can be explained, the best last, or why there is none."""
    if without:
        return (), without
    convolutions = [fact for fact in layers if fact.grid and "Conv" in fact.type]
    if not convolutions:
        return (), "the predictor has no named convolution whose output is an image"
    order = [fact for fact in convolutions if fact.reason is None]
    order.sort(key=lambda fact: _worth(fact.grid or ()))
    reason = f"layer {convolutions[-1].name!r} cannot be used: {convolutions[-1].reason}"
    while order:
        try:
            layer_gradient(net, order[-1].name, x, _mixed)
            break
        except (UsageError, RuntimeError) as error:
            reason = in_a_line(error)
            order.pop()
    return tuple(fact.name for fact in order), None if order else reason


def _worth(grid: tuple[int, ...]) -> tuple[bool, int]:
    """Deep layers are better than early ones, as long as their grid still says where."""
    enough = min(grid) >= CELLS
    return enough, -math.prod(grid) if enough else math.prod(grid)


def _norms(net: nn.Module) -> tuple[str, ...]:
    kinds = {name or "the predictor": _type(module) for name, module in net.named_modules()}
    graph = getattr(net, "graph", None)
    if isinstance(graph, torch.fx.Graph):
        kinds |= {node.name: str(node.target) for node in graph.nodes}
    found = [name for name, kind in kinds.items() if any(word in kind for word in OWN_STATISTICS)]
    if not found:
        return ()
    return (
        f"{len(found)} layers (first: {found[0]}) normalise an image by its own spread, which is 0 "
        f"at a constant baseline: integrated gradients do not add up there, so read their "
        f"completeness error",
    )


def _repeats(net: nn.Module, x: Tensor, rule: SizeRule) -> tuple[str, ...]:
    """Whether the same image gets the same answer again, and beside other images."""
    once = predict(net, x)
    if not torch.equal(once, predict(net, x)):
        return ("the predictor answers the same image differently each time: save it after eval()",)
    if rule.batch is not None:
        return ()
    beside = predict(net, torch.cat([x, 3 * x.flip(-1) + 1]))[: len(x)]
    if (beside - once).abs().max() > 1e-3 * once.abs().max():
        return (
            "the answer for an image depends on the other images of its batch, as batch norm in "
            "training mode does: save the predictor after eval()",
        )
    return ()


def _type(module: nn.Module) -> str:
    return str(getattr(module, "original_name", type(module).__name__))
