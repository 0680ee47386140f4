"""Which shapes a predictor takes: read where it says so, and asked where it does not."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attributome.core.errors import DataError
from attributome.core.probe import predict
from attributome.predictors.sizes import SizeRule, by

SIZES = (2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32, 48, 64, 96, 100, 112, 128, 160, 192, 224, 256)
SIZES_2D = (299, 320, 384, 448, 512)
Declared = tuple[int | None, ...]
REFUSALS = (RuntimeError, ValueError, AssertionError, IndexError, torch.jit.Error)


class Asker:
    """Runs the predictor on random images and remembers why it last refused one."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.refusal = ""

    def image(self, batch: int, channels: int, size: Sequence[int]) -> Tensor:
        """The same random image for the same shape, on the device of the predictor."""
        draw = torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(0))
        weight = next(self.net.parameters(), None)
        return draw if weight is None else draw.to(weight)

    def takes(self, batch: int, channels: int, size: Sequence[int]) -> bool:
        """Whether this shape is accepted and answered with something that can be explained."""
        x = self.image(batch, channels, size)
        try:
            out = predict(self.net, x)
        except REFUSALS as error:
            self.refusal = in_a_line(error)
            return False
        if out.ndim == 2 or (out.ndim == x.ndim and out.shape[2:] == x.shape[2:]):
            return True
        self.refusal = (
            f"it answers {tuple(x.shape)} with {tuple(out.shape)}, which is neither (batch, "
            f"outputs) nor an image of the same size"
        )
        return False


def in_a_line(error: Exception) -> str:
    """What a program says, without its trace: TorchScript says it last, all others first."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1 if isinstance(error, torch.jit.Error) else 0]


def declared_shape(net: nn.Module) -> Declared | None:
    """`(b, c, *s)` as an exported program declares it, None along an axis that is free."""
    graph = getattr(net, "graph", None)
    if not isinstance(graph, torch.fx.Graph):
        return None
    values = [node.meta.get("val") for node in graph.nodes if node.op == "placeholder"]
    if len(values) != 1 or not isinstance(values[0], Tensor):
        return None
    return tuple(n if isinstance(n, int) else None for n in values[0].shape)


def first_accepted(
    ask: Asker,
    dims: int,
    channels: int | None,
    size: Sequence[int] | None,
    declared: Declared | None,
) -> tuple[int, tuple[int, ...]]:
    """The channels, and the smallest of the usual sizes (at last `size`), that are accepted."""
    batch, named, *space = declared or (None, None, *[None] * dims)
    kernel = next((w for w in ask.net.parameters() if w.ndim == dims + 2), None)
    guesses = [channels, named, *([] if kernel is None else [kernel.shape[1], kernel.shape[0]])]
    options = dict.fromkeys([c for c in guesses if c] + list(range(1, 9)))
    squares = [(n,) * dims for n in (*SIZES, *(SIZES_2D if dims == 2 else ()))]
    asked = squares + ([tuple(size)] if size else [])
    sizes = dict.fromkeys(
        tuple(only or n for only, n in zip(space, one, strict=True)) for one in asked
    )
    why = ""
    for option in options:
        for one in sizes:
            if ask.takes(batch or 1, option, one):
                if channels not in (None, option):
                    raise DataError(
                        f"the images have {channels} channels, but the predictor takes {option}"
                    )
                return option, one
        why = why or ask.refusal
    raise DataError(
        f"the predictor accepted none of the {dims}-D sizes from {by(asked[0])} to {by(asked[-1])}"
        f" (if it takes another, say which): {why}"
    )


def size_rule(
    ask: Asker, channels: int, start: tuple[int, ...], declared: Declared | None
) -> SizeRule:
    """What is accepted besides `start`, asked along one axis at a time."""
    batch = declared[0] if declared else None if ask.takes(2, channels, start) else 1

    def takes(axis: int, length: int) -> bool:
        return ask.takes(batch or 1, channels, (*start[:axis], length, *start[axis + 1 :]))

    def step(axis: int) -> int | None:
        if declared and declared[axis + 2] is not None:
            return None
        most = max(64, start[axis])
        powers = [2**n for n in range(most.bit_length()) if 2**n <= most]
        tried = dict.fromkeys([*powers, *range(3, most + 1)])
        return next((n for n in tried if takes(axis, start[axis] + n)), None)

    def least(axis: int, by: int) -> int:
        length = start[axis]
        while length > by and takes(axis, length - by):
            length -= by
        return length

    steps = [step(axis) for axis in range(len(start))]
    minimum = tuple(start[axis] if by is None else least(axis, by) for axis, by in enumerate(steps))
    if not ask.takes(batch or 1, channels, minimum):  # small along one axis, but not along all
        minimum = start
    fixed = tuple(only if by is None else None for only, by in zip(start, steps, strict=True))
    return SizeRule(
        minimum=minimum,
        multiple=tuple(by or 1 for by in steps),
        fixed=fixed if any(only is not None for only in fixed) else None,
        batch=batch,
    )
