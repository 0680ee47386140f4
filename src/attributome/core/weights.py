"""Weights into a network: all of them, or none and a reason."""

from collections.abc import Mapping

from torch import Tensor, nn

from attributome.core.errors import DataError

NAMED = 3
"""How many of the weights that do not fit are named."""


def fill(net: nn.Module, weights: Mapping[str, Tensor], complaint: str) -> None:
    """Put the weights into the network; `complaint` is what is said before those that do not fit.

    Such as "weights.safetensors is a checkpoint of another network than PairNet".
    """
    needed = net.state_dict()
    common = [name for name in needed if name in weights]
    wrong = [f"{name} is missing" for name in needed if name not in weights]
    wrong += [f"{name} is unknown" for name in weights if name not in needed]
    wrong += [
        f"{name} is {tuple(weights[name].shape)} and not {tuple(needed[name].shape)}"
        for name in common
        if weights[name].shape != needed[name].shape
    ]
    wrong += [f"{name} holds what is not finite" for name in common if not _finite(weights[name])]
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise DataError(f"{complaint}: {', '.join(wrong[:NAMED])}{more}")
    net.load_state_dict(weights)


def _finite(weight: Tensor) -> bool:
    return bool(weight.isfinite().all())
