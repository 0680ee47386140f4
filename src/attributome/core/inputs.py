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

    def __post_init__(self) -> None:
        if not 0 <= self.which <= len(self.others):
            raise UsageError(
                f"input {self.which} of a predictor of {len(self.others) + 1}; they count from 0"
            )
        _one_batch(self.others)

    def __call__(self, x: Tensor) -> Tensor:
        return for_rows(self, x, None)(x)

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
    """All inputs of each sample in one row, whatever their shapes; of one type, on one device."""
    if not inputs:
        raise UsageError("there are no inputs to lay in a row")
    _one_batch(inputs)
    kinds = {f"{one.dtype} on {one.device}" for one in inputs}
    if len(kinds) > 1 or not inputs[0].is_floating_point():
        raise UsageError(
            f"inputs of {' and '.join(sorted(kinds))} cannot lie in one row: give all of them one "
            f"floating type on one device"
        )
    return torch.cat([one.flatten(1) for one in inputs], 1)[:, None]


def unpack(rows: Tensor, shapes: Sequence[tuple[int, ...]]) -> tuple[Tensor, ...]:
    """The inputs that `pack` laid in a row; `shapes` are theirs, without the batch."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    flat = rows.flatten(1)
    if flat.shape[1] != sum(sizes):
        raise UsageError(
            f"rows of {flat.shape[1]} numbers are no inputs of shapes {[*map(tuple, shapes)]}, "
            f"which take {sum(sizes)}"
        )
    parts = flat.split(sizes, 1)
    return tuple(part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True))


def _one_batch(inputs: Sequence[Tensor]) -> None:
    if any(one.ndim < 2 for one in inputs):
        raise UsageError("every input needs a batch axis and at least one more")
    if len({len(one) for one in inputs}) > 1:
        raise UsageError(f"inputs of {[len(one) for one in inputs]} samples are not one batch")
