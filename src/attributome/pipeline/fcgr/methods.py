"""A method of the job on a block of pairs: composed of what `explain` and `sequence` have.

Methods that treat pixels alike explain both branches jointly, so that their maps together say what
the pair does. `<method>_alone` explains each branch while the other keeps its own image, and so do
methods that look at neighbours in an image.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.inputs import pack
from attributome.core.seeds import seed_of
from attributome.core.targets import Difference
from attributome.core.types import Target
from attributome.explain import LAYER, METHODS, method, parameters
from attributome.explain.several import POINTWISE, alone, joint
from attributome.sequence.evidence.explainers import (
    DEFAULT,
    LETTER_METHODS,
    PAIR_METHODS,
    Explained,
    from_effects,
    from_maps,
)
from attributome.sequence.evidence.references import Context
from attributome.sequence.tracks import BRANCHES, Branch

TARGET: Target = Difference(1, 0)
"""What is explained of every pair, so that signs mean the same: what speaks for interaction."""
REFERENCE = "mutagenesis"
RANDOM = "random"
ALONE = "_alone"
ALWAYS = (DEFAULT, "integrated_gradients", "input_x_gradient", RANDOM)
"""What is made where the job names no method; mutagenesis is made in any case."""
OF_PAIRS: dict[str, Callable[..., Any]] = {**PAIR_METHODS, **LETTER_METHODS}
GIVEN = ("seed", "background")
"""Parameters that come from the pair itself and from the training pairs."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Some pairs as a network takes them, and what methods may compare them with."""

    ids: Sequence[str]
    images: Mapping[Branch, Tensor]
    background: Mapping[Branch, Tensor]
    context: Context


def asked_methods(methods: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The methods of a job with their parameters, the reference first."""
    named = {name: dict(params) for name, params in methods.items()} or {n: {} for n in ALWAYS}
    return {REFERENCE: named.pop(REFERENCE, {}), **named}


def default_method(methods: Mapping[str, object]) -> str:
    """The method that motifs, comparisons and the report show where nobody says otherwise."""
    return DEFAULT if DEFAULT in methods else next(n for n in (*methods, REFERENCE) if n != RANDOM)


def check_method(name: str, params: Mapping[str, Any]) -> None:
    """Refuse a name that nothing answers to, and parameters that the method does not take."""
    base = name.removesuffix(ALONE)
    if base in LAYER:
        raise UsageError(
            f"{name} needs a layer, and the branches have different ones: see "
            f"sequence.evidence.cam for class activation maps of pairs"
        )
    if name in OF_PAIRS:
        words = inspect.signature(OF_PAIRS[name]).parameters.values()
        known = {one.name for one in words if one.kind is one.KEYWORD_ONLY}
        if lost := set(params) - known:
            raise UsageError(f"{name} has no parameter {sorted(lost)}; it takes {sorted(known)}")
        return
    if base not in METHODS or (name.endswith(ALONE) and base not in POINTWISE):
        names = sorted({*OF_PAIRS, *METHODS, *(n + ALONE for n in POINTWISE)} - {*LAYER})
        raise UsageError(f"explain.methods: there is no {name!r}; choose from {names}")
    method(base, **{key: None for key in GIVEN if key in parameters(base)} | dict(params))


def explained_by(
    name: str, params: Mapping[str, Any], net: nn.Module, block: Block, seed: int
) -> Explained:
    """What a method says of a block, as maps and as tracks."""
    inputs = [block.images[branch] for branch in BRANCHES]
    if name in PAIR_METHODS:
        found = PAIR_METHODS[name](net, *inputs, TARGET, block.context, **params)
        return from_maps(found, block.context)
    if name in LETTER_METHODS:
        effects = LETTER_METHODS[name](net, *inputs, TARGET, block.context, **params)
        return from_effects(effects, block.context)
    base = name.removesuffix(ALONE)
    seeds = [seed_of(seed, id_, name) for id_ in block.ids]
    grounds = [block.background[branch] for branch in BRANCHES]
    if name in POINTWISE:
        explainer = method(name, **_filled(base, params, seeds, pack(grounds)))
        site, mirna = joint(explainer, net, inputs, TARGET)
    else:
        site, mirna = (
            alone(
                method(base, **_filled(base, params, seeds, ground)), net, inputs, TARGET, which=i
            )
            for i, ground in enumerate(grounds)
        )
    return from_maps((site, mirna), block.context)


def _filled(
    base: str, params: Mapping[str, Any], seeds: Sequence[int], background: Tensor
) -> dict[str, Any]:
    """The job's parameters of a method, and those that it leaves to us."""
    ours = {"seed": seeds, "background": background}
    return {key: ours[key] for key in GIVEN if key in parameters(base)} | dict(params)
