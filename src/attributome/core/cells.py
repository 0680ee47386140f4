"""One target per segmented cell, from an image of labels."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attributome.core.errors import DataError, UsageError
from attributome.core.targets import RegionMean


@dataclass(frozen=True, eq=False)
class CellMeans:
    """The mean of an image output in every cell: `(b, c, *s)` → `(b, n)`, channels averaged.

    `labels` is `(*s)` for all samples or `(b, *s)`, 0 where there is no cell. Column j is the cell
    with the j-th smallest label of its sample, `ids[i, j]`; a sample with fewer cells than another
    has NaN there, and 0 in `ids`.
    """

    labels: Int[Tensor, "*labels"]
    dims: int
    ids: Int[Tensor, "rows n"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.labels.ndim not in (self.dims, self.dims + 1):
            raise UsageError(
                f"labels of shape {tuple(self.labels.shape)} for {self.dims}-D images: give one "
                f"image of labels, or one for each sample"
            )
        if (self.labels < 0).any():
            raise DataError("an image of labels holds negative numbers; 0 is where no cell is")
        found = [row.unique() for row in self._rows()]
        found = [row[row > 0] for row in found]
        if not (most := max(len(row) for row in found)):
            raise DataError("an image of labels holds no cell: every pixel is 0")
        ids = torch.stack([torch.nn.functional.pad(row, (0, most - len(row))) for row in found])
        object.__setattr__(self, "ids", ids)

    def __call__(self, out: Tensor) -> Float[Tensor, "b n"]:
        size = tuple(out.shape[2:])
        if tuple(self.labels.shape) not in (size, (1, *size), (len(out), *size)):
            raise UsageError(
                f"labels of shape {tuple(self.labels.shape)} for outputs of shape "
                f"{tuple(out.shape)}: give {size} for all samples, or {(len(out), *size)}"
            )
        # sums of sorted runs and not scattered ones, whose order is left to chance on a GPU
        rows = self._rows().to(out.device)
        ordered, order = rows.sort(dim=1, stable=True)
        ids = self.ids.to(out.device)
        ends, starts = (torch.searchsorted(ordered, ids, right=right) for right in (True, False))
        counts = (ends - starts) * (ids > 0)
        none = rows.shape[1] - counts.sum(1, keepdim=True)
        lengths = torch.cat([none, counts], 1).expand(len(out), -1)
        values = out.mean(1).flatten(1).gather(1, order.expand(len(out), -1))
        sums = torch.segment_reduce(values, "sum", lengths=lengths.contiguous(), axis=1)[:, 1:]
        counts = counts.expand(len(out), -1)
        return torch.where(counts > 0, sums / counts.clamp_min(1), torch.nan)

    def cell(self, column: int) -> RegionMean:
        """The target of one column; where a sample has no such cell, the mean of its image."""
        ids = self.ids[:, column].view(-1, *[1] * self.dims)
        labels = self.labels.view(-1, *self.labels.shape[-self.dims :])
        return RegionMean((labels == ids) | (ids == 0))

    def words(self) -> str:
        return f"the mean of the model's output in each of {self.ids.shape[1]} cells"

    def _rows(self) -> Tensor:
        """Labels as `(rows, pixels)`, one row where all samples share them."""
        return self.labels.reshape(-1, self.labels.shape[-self.dims :].numel())
