"""What the maps of a method should sum to: the target of the pair minus that of its reference."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.inputs import Packed, pack
from attributome.core.probe import values
from attributome.pipeline.fcgr.methods import ALONE, TARGET, Block
from attributome.sequence.alphabet import Strands
from attributome.sequence.evidence.explainers import PAIR_METHODS
from attributome.sequence.evidence.references import real, shuffled
from attributome.sequence.tracks import BRANCHES, Branch

Numbers = Float[np.ndarray, " b"]
Images = Mapping[Branch, Tensor]
FROM_EMPTY = ("integrated_gradients", "deep_lift", "kmer_shapley")
FROM_BACKGROUND = ("expected_gradients", "deep_shap")
EACH = "integrated_gradients_by_branch"
DRAWN = {"expected_gradients_shuffled": shuffled, "expected_gradients_real": real}


def gaps(
    name: str, params: Mapping[str, Any], net: nn.Module, block: Block, own: Numbers
) -> dict[Branch, Numbers] | Numbers | None:
    """What both maps sum to together, or each of them; None where a method promises nothing.

    `own` is the target of each pair. A method whose reference the job has changed promises
    nothing that is known here.
    """
    base = name.removesuffix(ALONE)
    if "baseline" in params or "background" in params:
        return None
    if name == EACH or (name != base and base in FROM_EMPTY):
        return {b: own - _asked(net, {**block.images, b: _empty(block, b)}) for b in BRANCHES}
    if name in DRAWN:
        default = signature(PAIR_METHODS[name]).parameters["draws"].default
        count = int(params.get("draws", default))
        reference = _over_drawn(net, block, DRAWN[name](block.context, count), count)
    elif base in FROM_EMPTY:
        reference = _asked(net, {b: _empty(block, b) for b in BRANCHES})
    elif name in FROM_BACKGROUND:
        reference = _over_background(net, block, BRANCHES)
    elif base in FROM_BACKGROUND:
        return {b: own - _over_background(net, block, (b,)) for b in BRANCHES}
    else:
        return None
    together: np.ndarray = own - reference
    return together


def _asked(net: nn.Module, images: Images) -> Numbers:
    inputs = [images[branch] for branch in BRANCHES]
    shapes = tuple(tuple(one.shape[1:]) for one in inputs)
    found: np.ndarray = values(Packed(net, shapes), pack(inputs), TARGET)[0].cpu().numpy()
    return found.astype(np.float64)


def _empty(block: Block, branch: Branch) -> Tensor:
    return torch.zeros_like(block.images[branch])


def _over_background(net: nn.Module, block: Block, branches: tuple[Branch, ...]) -> Numbers:
    """The mean target where these branches have the images of background pairs."""
    count = len(block.background["site"])
    each = []
    for row in range(count):
        put = {
            branch: block.background[branch][row].expand_as(block.images[branch])
            for branch in branches
        }
        each.append(_asked(net, {**block.images, **put}))
    mean: np.ndarray = np.mean(each, 0)
    return mean


def _over_drawn(
    net: nn.Module, block: Block, drawn: Mapping[Branch, Strands], count: int
) -> Numbers:
    """The mean target over references of each pair's own, which come in copies of the batch."""
    size, each = len(block.ids), []
    for copy in range(count):
        rows = slice(copy * size, (copy + 1) * size)
        put = {
            branch: block.context.encode(
                branch, Strands(batch.codes[rows], batch.lengths[rows]), block.images[branch]
            )
            for branch, batch in drawn.items()
        }
        each.append(_asked(net, put))
    mean: np.ndarray = np.mean(each, 0)
    return mean
