"""Grad-CAMO of every feature of a batch at once: one map per cell and feature, one score each.

What a feature is decides what it costs, so the caller says how it comes from the layer. Where it is
the mean of a channel over the grid, its Grad-CAM is that channel's own ReLU(Aʲ), up to a factor
that no score sees; where it is a function g of all these means, the weights of its map are the
gradient of g, for which the network need not be differentiated; where it is a channel's maximum,
the place of the maximum is all that it depends on. Anything else is differentiated from the output
down to the layer, many features at a time. Scores then come from one product of all maps with the
masks, at the size of the grid.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attributome.core.errors import UsageError
from attributome.core.probe import at_once, in_chunks, layer_output, predict, run, still
from attributome.core.types import Images, Layer, Predictor
from attributome.explain.cam_features import (
    feature_gradients,
    from_layer,
    outputs_asked,
    terms_of,
)
from attributome.profiles.camo.classes import (
    LEAST,
    Camo,
    Method,
    need_labels,
    need_method,
    need_places,
    record,
    single,
)
from attributome.profiles.camo.scores import Overlap, at_maximum, overlap_in, regions
from attributome.profiles.features import named

Pool = Literal["mean", "max"]
Part = Callable[[slice, slice], Float[Tensor, "b n *t"]]
"""Signed maps of some of the cells and features, on the grid of the layer."""

AT_A_TIME = 2**24
"""Numbers of maps of some features that are held at once."""
FEW = 2**21
"""Numbers of maps of some cells at once: of 2^17 to 2^24, the fastest for means and for an MLP."""


def feature_camo(
    net: Predictor,
    x: Images,
    labels: Int[Tensor, "n *z"],
    own: Int[Tensor, " m"],
    *,
    layer: str,
    pool: Pool | None = None,
    head: Predictor | None = None,
    features: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    values: Float[Tensor, "k f"] | None = None,
    method: Method = "grad_cam",
    level: float = 0.5,
    dilate: int | Sequence[int] = 0,
    fine: bool = False,
    least: int = LEAST,
    chunk: int | None = None,
) -> Camo:
    """Grad-CAMO of each feature of each cell; `features` says which (all of them).

    `pool` says what a feature is. `"mean"` and `"max"`: feature j is the global mean or maximum of
    channel j of the layer; with `"mean"` and a `head`, it is output j of the head, a predictor from
    those means `(b, channels)`, linear or not. Without a `pool` it is output j of `net`, whatever
    lies between. `values` are the features as they are known from elsewhere, all of them: where
    they are not what `pool` and `head` make of this layer, they are refused (UsageError), which is
    how a wrong `pool` is found out.

    The method `argmax` is for `pool="max"`: the share of the maximum's place that the cell covers.
    With `pool="mean"` Grad-CAM and HiResCAM are the same map. Scores follow `overlap`; without
    `fine`, `iou`, `dice` and `pointing` are those of the grid. Maps are made for some features at a
    time, and gradients for `chunk` of them, so that memory is bounded.
    """
    need_method(method)
    need_labels(x, labels, own)
    _fits(pool, head, method)
    act = single(layer_output(net, layer, x))
    need_places(act, x, layer, least)
    parts = regions(labels.to(act.device), own.to(act.device), dilate=dilate)
    made, leaf = _features(net, x, act, layer, pool, head)
    if values is not None:
        _need_same(values, made.detach(), pool, head)
    asked = outputs_asked(made, features)
    part = _maps(act, pool, head, made, leaf, asked, method, chunk)

    def scored(rows: slice, some: slice) -> Overlap:
        maps, first = part(rows, some), (rows.start, some.start)
        if method == "argmax":
            return at_maximum(maps, parts[rows], first=first)
        return overlap_in(maps.relu(), parts[rows], level=level, fine=fine, first=first)

    def columns(rows: slice) -> Overlap:
        places = act[rows, 0].numel()
        step = max(1, AT_A_TIME // places)
        return _joined(in_chunks(lambda some: scored(rows, some), len(asked), step), 1)

    # few cells at a time stay in the processor's caches; a graph of all cells cannot be cut so
    most = len(x) if leaf is not None else max(1, FEW // (act[0, 0].numel() * len(asked)))
    stem = f"{layer}_{pool}" if pool and head is None else "feature"
    known = named(stem, made.shape[1]) if names is None else [*names]
    if len(known) != made.shape[1]:
        raise UsageError(f"{len(known)} names for {made.shape[1]} features: give one for each")
    scores = _joined(in_chunks(columns, len(x), most), 0)
    return record(
        scores, tuple(known[j] for j in asked.tolist()), act, x,
        layer=layer, method=method, level=level, dilate=dilate, finely=fine and method != "argmax",
    )  # fmt: skip


def _fits(pool: Pool | None, head: Predictor | None, method: Method) -> None:
    if pool not in (None, "mean", "max"):
        raise UsageError(f"no pool {pool!r}; it is 'mean', 'max', or None for outputs of `net`")
    if head is not None and pool != "mean":
        raise UsageError(
            f"a head came with pool={pool!r}; it is a function of the means of the layer's "
            f"channels, so pool='mean' belongs to it (without one, features are outputs of `net`)"
        )
    if method == "argmax" and pool != "max":
        raise UsageError(f"the method 'argmax' is for pool='max', and this is pool={pool!r}")
    if method == "hires_cam" and pool == "max":
        raise UsageError(
            "the HiResCAM of a maximum is its place alone: use the method 'argmax', which asks how "
            "much of that place the cell covers"
        )


def _features(
    net: Predictor, x: Images, act: Layer, layer: str, pool: Pool | None, head: Predictor | None
) -> tuple[Tensor, Tensor | None]:
    """The features of the batch; without a pool, also the leaf of the graph from layer to them."""
    if pool is None:
        return from_layer(net, x, act, layer=layer)
    pooled = act.flatten(2).amax(2) if pool == "max" else act.flatten(2).mean(2)
    return (pooled if head is None else predict(head, pooled)), None


def _need_same(
    values: Float[Tensor, "k f"], made: Tensor, pool: Pool | None, head: Predictor | None
) -> None:
    """Refuse values that are not the features, within 1e-4 of the largest."""
    what = "outputs of the network" if pool is None else f"features of pool={pool!r}"
    if head is not None:
        what += " and this head"
    if values.shape != made.shape:
        raise UsageError(
            f"values of shape {tuple(values.shape)} for {what}, which are {tuple(made.shape)}"
        )
    gap = (made - values.to(made)).abs().nan_to_num(torch.inf)
    if bool((gap > 1e-4 * made.abs().amax()).any()):
        sample, feature = divmod(int(gap.argmax()), made.shape[1])
        raise UsageError(
            f"the {what} are not the values given: feature {feature} of sample {sample} is "
            f"{float(made[sample, feature]):g} here and {float(values[sample, feature]):g} there"
        )


def _maps(
    act: Layer,
    pool: Pool | None,
    head: Predictor | None,
    made: Tensor,
    leaf: Tensor | None,
    asked: Int[Tensor, " n"],
    method: Method,
    chunk: int | None,
) -> Part:
    """How the maps of some cells and of some of the features asked for are made."""
    if leaf is not None:
        kind: Literal["grad", "hires"] = "hires" if method == "hires_cam" else "grad"
        return lambda rows, some: single(
            terms_of(made, leaf, asked[some], kind=kind, chunk=chunk)[rows]
        )
    if head is None:  # feature j is channel j, pooled
        everything = len(asked) == act.shape[1] and bool((asked.diff() == 1).all())
        return lambda rows, some: act[rows, some] if everything else act[rows][:, asked[some]]

    def weighted(rows: slice, some: slice) -> Float[Tensor, "b n *t"]:
        weights = _head_weights(head, act[rows], rows, asked[some], chunk)
        return torch.einsum("bnc,bc...->bn...", weights, act[rows])

    return weighted


def _head_weights(
    head: Predictor, act: Layer, rows: slice, asked: Int[Tensor, " n"], chunk: int | None
) -> Float[Tensor, "b n c"]:
    """Gradient of each feature with respect to the means of the channels."""
    with still(head), torch.enable_grad():
        pooled = act.flatten(2).mean(2).requires_grad_()
        out = run(head, pooled, rows)

        def part(some: slice) -> Float[Tensor, "b m c"]:
            return feature_gradients(out, pooled, asked[some]).transpose(0, 1)

        most = chunk or at_once(pooled, len(asked))
        return torch.cat(in_chunks(part, len(asked), most), 1)


def _joined(parts: Sequence[Overlap], axis: int) -> Overlap:
    """Scores of some features, or cells, after the other."""
    fields = Overlap.__dataclass_fields__
    return Overlap(**{name: torch.cat([getattr(p, name) for p in parts], axis) for name in fields})
