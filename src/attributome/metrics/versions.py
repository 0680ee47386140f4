"""The target of many versions of one batch, as many at once as are worth it."""

from collections.abc import Iterable
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.probe import at_once, values
from attributome.core.types import Images, Predictor, Target


def each_version(
    model: Predictor, x: Images, target: Target, versions: Iterable[Images], count: int
) -> Float[Tensor, "n b"]:
    """The target of `count` versions, each a whole batch like `x`.

    A version is copied before the next is asked for, so that one tensor may become them all.
    """
    size, coming, found = at_once(x, count), iter(versions), []
    room = x.detach().new_empty((size, *x.shape))
    for start in range(0, count, size):
        group = room[: min(size, count - start)]
        for slot, version in zip(group, islice(coming, len(group)), strict=True):
            slot.copy_(version.detach())
        found.append(values(model, group.flatten(0, 1), target, copies=len(group)))
    return torch.cat(found)
