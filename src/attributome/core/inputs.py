"""Predictors of several inputs, seen as predictors of one, so that every method takes them.

`Beside` lets one input vary while the others stay with their samples; `Packed` lays all inputs
side by side in one long row, so that methods which treat pixels alike vary them jointly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.types import Predictor

Rows = Float[Tensor, "b 1 n"]


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """`model(*inputs)` as a function of input `which`; `others` are the rest, in their order.

    Row r of what it is called with meets row r % b of the others, b being their batch: a method
    may stack whole copies of the batch, and a door may run it in parts.
    """

    model: Callable[..., Tensor]
    which: int
    others: tuple[Tensor, ...]

    def __call__(self, x: Tensor) -> Tensor:
        return self.at(x, slice(0, len(x)))

    def at(self, x: Tensor, rows: slice) -> Tensor:
        """The outputs of rows `rows` of a batch, or of copies of it; `x` is those rows."""
        batch = len(self.others[0]) if self.others else len(x)
        start = rows.start or 0
        index = torch.arange(start, start + len(x)) % batch
        beside = [other[index.to(other.device)] for other in self.others]
        beside.insert(self.which, x)
        return self.model(*beside)


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """`model(*inputs)` as a function of all inputs in one row, `(b, 1, n)`; see `pack`."""

    model: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]

    def __call__(self, rows: Rows) -> Tensor:
        return self.model(*unpack(rows, self.shapes))


def network(model: object) -> nn.Module | None:
    """The module behind a predictor, or None where it is a plain function."""
    inner = model.model if isinstance(model, Beside | Packed) else model
    return inner if isinstance(inner, nn.Module) else None


def for_rows(model: Predictor, x: Tensor, rows: slice | None) -> Predictor:
    """The predictor for these rows of a batch; only `Beside` tells rows apart."""
    if not isinstance(model, Beside):
        return model
    if rows is None and model.others and len(x) % len(model.others[0]):
        raise UsageError(
            f"{len(x)} images came for a predictor whose other inputs hold {len(model.others[0])} "
            f"samples: give whole batches"
        )
    return lambda part: model.at(part, rows or slice(0, len(x)))


def pack(inputs: Sequence[Tensor]) -> Rows:
    """All inputs of each sample in one row, whatever their shapes."""
    return torch.cat([one.flatten(1) for one in inputs], 1)[:, None]


def unpack(rows: Tensor, shapes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
    """The inputs that `pack` laid in a row; `shapes` are theirs, without the batch."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    parts = rows.flatten(1).split(sizes, 1)
    return tuple(part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True))
