"""What a Grad-CAMO would be if it meant nothing: other masks, and a network that learned nothing.

A score that stays where it was under a control does not come from the network's having looked at
the cell. The rolled mask and the neighbour's ask whether it is this cell and not what is around
it; random weights ask whether it is what was learned and not where a layer is bright anyway.
"""

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from attributome.core.types import Images, Predictor
from attributome.metrics.randomisation import layers, randomised
from attributome.profiles.camo.classes import Camo

Labels = Int[Tensor, "b *s"]
Own = Int[Tensor, " b"]
Score = Callable[[Predictor, Images, Labels, Own], Camo]
"""`class_camo` or `feature_camo` with all that it needs but these four."""

CONTROLS = ("none", "rolled mask", "neighbour's mask", "random weights")


def controlled(
    net: Predictor,
    x: Images,
    labels: Labels,
    own: Own,
    ids: Sequence[object],
    score: Score,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The table of a batch and of its three controls, told apart by the column `control`.

    A cell without a neighbour in its crop has no row under "neighbour's mask". The target is the
    same throughout, so that it must not be the class that the network prefers. Each batch of one
    seed meets the same random network.
    """
    kept, next_to = neighbour(labels, own)
    some = kept.nonzero().flatten()
    found = [
        score(net, x, labels, own).table(ids),
        score(net, x, rolled(labels), own).table(ids),
    ]
    names = [CONTROLS[0], CONTROLS[1]]
    if len(some):
        # the whole batch is asked, as the target may hold a class for each of its cells
        masks = torch.where(kept, next_to, own)
        table = score(net, x, labels, masks).table(ids)
        rows = kept.repeat_interleave(len(table) // len(kept)).cpu().numpy()
        found.append(table[rows])
        names.append(CONTROLS[2])
    found.append(score(random_weights(net, seed=seed), x, labels, own).table(ids))
    names.append(CONTROLS[3])
    told = [table.assign(control=name) for table, name in zip(found, names, strict=True)]
    return pd.concat(told, ignore_index=True)


def rolled(labels: Labels) -> Labels:
    """Label images rolled by half their size along every axis: the centre goes to the corners.

    Sizes of masks, and so chance, stay; which pixels they cover does not.
    """
    axes = tuple(range(1, labels.ndim))
    return labels.roll([labels.shape[axis] // 2 for axis in axes], axes)


def neighbour(labels: Labels, own: Own) -> tuple[Bool[Tensor, " b"], Own]:
    """Whether another cell is in the crop, and the label of the one that covers most of it.

    Of equally large ones the smallest label; 0 where there is none.
    """
    found = torch.zeros_like(own)
    for i, (image, mine) in enumerate(zip(labels, own, strict=True)):
        others = image[(image > 0) & (image != mine)]
        if len(others):
            names, sizes = others.unique(return_counts=True)
            found[i] = names[sizes == sizes.max()][0]
    return found > 0, found


def random_weights(net: Predictor, *, seed: int = 0) -> Predictor:
    """A copy of the network whose parameters are drawn anew, layer by layer.

    Each from a normal distribution with its own mean and standard deviation; see `randomised`.
    """
    *_, twin = randomised(net, layers(net), seed=seed)
    return twin
