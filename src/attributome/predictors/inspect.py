"""What a predictor takes, gives and allows, found by asking it with small random images."""

from collections.abc import Mapping, Sequence
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
NEEDS: Mapping[str, Literal["gradient", "layer", "nothing"]] = {
    "saliency": "gradient",
    "input_x_gradient": "gradient",
    "integrated_gradients": "gradient",
    "smooth_grad": "gradient",
    "grad_cam": "layer",
    "hires_cam": "layer",
    "layer_cam": "layer",
    "occlusion": "nothing",
    "masks": "gradient",
}
OWN_STATISTICS = ("InstanceNorm", "GroupNorm", "LayerNorm", "instance_norm", "group_norm")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFact:
    """One layer as it ran on the example: its grid is None where its output is no image."""

    name: str
    type: str
    channels: int | None
    grid: tuple[int, ...] | None
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is known about a predictor; `possible` holds the reason why a method is not, or None.

    `norms` says where its normalisation or randomness breaks what explanations rest on.
    """

    dims: int
    channels: int
    output: Output
    outputs: int
    sizes: SizeRule
    example: tuple[int, ...]
    layers: tuple[LayerFact, ...]
    possible: dict[str, str | None]
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
    return Inspection(
        dims=dims,
        channels=channels,
        output=_kind(out, x, card),
        outputs=out.shape[1],
        sizes=rule,
        example=example,
        layers=layers,
        possible=_possible(net, x, layers, without),
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
    return LayerFact(
        name=name,
        type=_type(module),
        channels=out.shape[1] if image else None,
        grid=tuple(out.shape[2:]) if image else None,
        runs=len(outs),
    )


def _possible(
    net: nn.Module, x: Tensor, layers: Sequence[LayerFact], without: str | None
) -> dict[str, str | None]:
    reasons = {"nothing": None, "gradient": _no_gradient(net, x)}
    reasons["layer"] = without or reasons["gradient"] or _no_layer(net, x, layers)
    return {name: reasons[need] for name, need in NEEDS.items()}


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


def _no_layer(net: nn.Module, x: Tensor, layers: Sequence[LayerFact]) -> str | None:
    """Why no convolution can be explained; one that can is enough."""
    usable = [fact for fact in layers if fact.grid and max(fact.grid) > 1 and "Conv" in fact.type]
    if not usable:
        return "the predictor has no named convolution whose output is an image"
    reason = None
    for fact in reversed(usable):
        try:
            layer_gradient(net, fact.name, x, _mixed)
            return None
        except (UsageError, RuntimeError) as error:
            reason = in_a_line(error)
    return reason


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
