"""Run a network over a field that is larger than the device: overlapping windows, blended.

The weights of the windows are a partition of unity along every axis, so their sum needs no array
of its own: beside the field and its result, memory holds one batch of windows.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.compute import Compute
from attributome.core.errors import UsageError
from attributome.core.types import Predictor

T = TypeVar("T")
Field = Float[np.ndarray, "c *s"]

AT_ONCE = {"cpu": 2**17}
"""Pixels of windows run at once: beyond this a CPU's caches overflow, and more is slower."""


def over_field(
    work: Callable[[Tensor], Tensor],
    field: Field,
    *,
    window: Sequence[int],
    overlap: float = 0.25,
    batch: int | None = None,
    compute: Compute,
    out: Float[np.ndarray, "k *s"] | None = None,
) -> Float[np.ndarray, "k *s"]:
    """`work` on every window of a field `(c, *s)`, blended into `(k, *s)`.

    `work` maps `(b, c, *w)` to `(b, k, *w)`. `field` and `out` may be memory-mapped. A window
    that is larger than the field along an axis is cut to the field. `batch` counts windows run at
    once; None is what suits the device.
    """
    if not 0 <= overlap < 1:
        raise UsageError(f"overlap {overlap} is not a share: it must be at least 0 and below 1")
    size = tuple(min(w, s) for w, s in zip(window, field.shape[1:], strict=True))
    axes = [axis_weights(s, w, overlap) for s, w in zip(field.shape[1:], size, strict=True)]
    if batch is None:
        pixels = AT_ONCE.get(compute.device.split(":")[0], 2**18)
        batch = max(1, pixels // math.prod(size))
    for corners in batched(product(*axes), batch):
        boxes = [
            tuple(slice(start, start + w) for (start, _), w in zip(corner, size, strict=True))
            for corner in corners
        ]
        crops = torch.from_numpy(np.stack([field[(slice(None), *box)] for box in boxes]))
        with torch.no_grad(), compute.autocast():
            results = work(compute.move(crops.float())).float().cpu().numpy()
        if out is None:
            out = np.zeros((results.shape[1], *field.shape[1:]), np.float32)
        for corner, box, result in zip(corners, boxes, results, strict=True):
            for axis, (_, weight) in enumerate(corner):
                result *= weight.reshape(-1, *[1] * (len(size) - 1 - axis))
            out[(slice(None), *box)] += result
    assert out is not None  # product() of non-empty axes has at least one corner
    return out


def windowed(
    work: Callable[[Tensor], Tensor],
    *,
    window: Sequence[int],
    overlap: float = 0.25,
    batch: int | None = None,
    compute: Compute,
) -> Predictor:
    """`work` as a predictor of whole fields: `(b, c, *s)` on the host in, the same out."""

    def over_fields(x: Tensor) -> Tensor:
        fields = [
            over_field(work, f, window=window, overlap=overlap, batch=batch, compute=compute)
            for f in x.numpy()
        ]
        return torch.from_numpy(np.stack(fields))

    return over_fields


def axis_weights(
    size: int, window: int, overlap: float
) -> list[tuple[int, Float[np.ndarray, " w"]]]:
    """Where windows start along an axis, and their weights, which sum to 1 at every position.

    The last window is moved back to end at the border. Weights rise linearly over the overlap.
    """
    step = max(1, round(window * (1 - overlap)))
    starts = [*range(0, size - window, step), size - window]
    place = np.arange(window)
    ramp = np.minimum(place + 1, window - place).clip(max=max(1, window - step))
    profile = ramp.astype(np.float64)
    total = np.zeros(size)
    for start in starts:
        total[start : start + window] += profile
    return [(s, (profile / total[s : s + window]).astype(np.float32)) for s in starts]


def batched(items: Iterator[T], count: int) -> Iterator[list[T]]:
    """Lists of up to `count` items."""
    while group := list(islice(items, count)):
        yield group
