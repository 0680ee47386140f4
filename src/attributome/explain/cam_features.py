"""Class activation maps of all outputs of a model at once, such as the features of a profile."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attributome.core.arrays import resize
from attributome.core.errors import UsageError
from attributome.core.probe import (
    at_once,
    in_chunks,
    layer_output,
    out_of_memory,
    predict_with,
    still,
)
from attributome.core.types import Images, Layer, Predictor
from attributome.explain.cam import need_grid

KINDS = ("grad", "hires")


def feature_cams(
    model: Predictor,
    x: Images,
    *,
    layer: str,
    features: Sequence[int] | None = None,
    kind: Literal["grad", "hires"] = "grad",
    chunk: int | None = None,
) -> Float[Tensor, "b f *s"]:
    """Map f explains output `features[f]` of every sample; without `features`, every output.

    It equals `grad_cam` (or `hires_cam`) of `Logit(features[f])`, at the cost of a few: the model
    runs forwards twice, and then only what lies above the layer is differentiated, for `chunk`
    outputs at once. They bound the memory; where nobody says, there are as many as are worth it.
    """
    return resize(
        feature_terms(model, x, layer=layer, features=features, kind=kind, chunk=chunk), x
    )


def feature_terms(
    model: Predictor,
    x: Images,
    *,
    layer: str,
    features: Sequence[int] | None = None,
    kind: Literal["grad", "hires"] = "grad",
    chunk: int | None = None,
) -> Float[Tensor, "b f *t"]:
    """The same maps on the grid of the layer, as they are before they are enlarged."""
    act = layer_output(model, layer, x)
    need_grid(act, x, layer)
    out, leaf = from_layer(model, x, act, layer=layer)
    return terms_of(out, leaf, outputs_asked(out, features), kind=kind, chunk=chunk)


def from_layer(model: Predictor, x: Images, act: Layer, *, layer: str) -> tuple[Tensor, Layer]:
    """Outputs of the model as a function of a layer's activation, and the leaf of their graph.

    `terms_of` may then be asked for some features after others, and the model runs once.
    """
    with still(model), torch.enable_grad():
        leaf = act.detach().clone().requires_grad_()
        return predict_with(model, layer, x, leaf), leaf


def terms_of(
    out: Float[Tensor, "b o"],
    leaf: Layer,
    features: Int[Tensor, " n"],
    *,
    kind: Literal["grad", "hires"] = "grad",
    chunk: int | None = None,
) -> Float[Tensor, "b n *t"]:
    """Maps of some outputs, on the grid of the activation that they were computed from."""
    if kind not in KINDS:
        raise UsageError(f"no kind {kind!r} of feature maps; choose one of {sorted(KINDS)}")
    plain = leaf.detach()

    def part(rows: slice) -> Float[Tensor, "b m ..."]:
        grads = feature_gradients(out, leaf, features[rows])
        if kind == "hires":
            return torch.einsum("nbc...,bc...->bn...", grads, plain)
        return grads.flatten(3).mean(3).transpose(0, 1)

    most = chunk or at_once(plain, len(features))
    found = torch.cat(in_chunks(part, len(features), most), 1)
    return torch.einsum("bnc,bc...->bn...", found, plain) if kind == "grad" else found


def outputs_asked(out: Tensor, features: Sequence[int] | None) -> Int[Tensor, " n"]:
    """Valid indices of outputs `(b, f)`; without `features`, all of them."""
    if out.ndim != 2:
        raise UsageError(
            f"outputs of shape {tuple(out.shape)} are no row of features per sample, shape (batch, "
            f"features), of which each could have a map"
        )
    asked = range(out.shape[1]) if features is None else features
    if not asked or not all(0 <= feature < out.shape[1] for feature in asked):
        raise UsageError(
            f"features {list(asked)} asked of a model with {out.shape[1]} outputs; give at least "
            f"one, and count from 0"
        )
    return torch.as_tensor(list(asked), device=out.device)


def feature_gradients(
    out: Float[Tensor, "b o"], act: Layer, features: Int[Tensor, " n"]
) -> Float[Tensor, "n b f *t"]:
    """Gradient of each feature with respect to the activation, sample by sample."""
    each = out.new_zeros(len(features), *out.shape)
    each[torch.arange(len(features), device=out.device), :, features] = 1

    def pulled(one: Tensor) -> Tensor:
        return torch.autograd.grad(out, act, one, retain_graph=True)[0]

    try:
        return torch.vmap(pulled)(each)  # `is_grads_batched` would loop over convolutions
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        # an operation whose backward pass cannot be vectorised, such as a custom one; whatever
        # else is wrong comes up again here
        return torch.stack([pulled(one) for one in each])
