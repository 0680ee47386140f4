"""Pairs of cells as batches of images: flipped, shared out among processes, read ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from attributome.core.compute import Compute
from attributome.core.parallel import Team
from attributome.core.seeds import rng
from attributome.inpainting.cells import Cells

T = TypeVar("T")
R = TypeVar("R")
Rows = Integer[np.ndarray, "_"]
Pairs = tuple[Rows, Rows]
"""Source and target rows."""

Flips = Bool[np.ndarray, "_ 2 2"]
"""Of source and target: up-down and left-right."""

Images = tuple[Float[Tensor, "b s h w"], Float[Tensor, "b m h w"], Float[Tensor, "b t h w"]]
"""Source, marker, and the truth."""


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """What one process is given of a batch, and how much its mean counts in that of all."""

    images: Images
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """The pairs of every epoch as images; `seed` is that of the flips, None for no flips."""

    cells: Cells
    rows: Rows
    draw: Callable[..., Pairs]
    seed: int | None
    compute: Compute
    team: Team
    workers: int

    def batches(self, epoch: int, steps: int) -> Iterator[Share]:
        """The epoch's pairs in `steps` batches of equal size, one more in some."""
        sources, targets = (self.rows[at] for at in self.draw(epoch=epoch))
        flips = None
        if self.seed is not None:
            flips = rng(self.seed, "flips", epoch).random((len(sources), 2, 2)) < 0.5

        def read(rows: Rows) -> Share:
            mine, weight = self.team.share(rows)
            turned = None if flips is None else flips[mine]
            images = images_of(self.cells, (sources[mine], targets[mine]), turned, self.compute)
            return Share(images, weight)

        return ahead(read, np.array_split(np.arange(len(sources)), steps), self.workers)


def images_of(
    cells: Cells, pairs: Pairs, flips: Flips | None = None, compute: Compute | None = None
) -> Images:
    """What the network is given and what it must say, on the host."""
    both = [cells.source(rows) for rows in pairs]
    if flips is not None:
        for i, images in enumerate(both):
            for j, axis in enumerate((-2, -1)):
                which = flips[:, i, j]
                images[which] = np.flip(images[which], axis)
    count = len(cells.targets)
    # each for itself: a view of one channel has odd strides, and its gradients would have them too
    arrays = both[0], *(np.ascontiguousarray(x) for x in np.split(both[1], [count], axis=1))
    source, truth, marker = map(torch.from_numpy, arrays)
    if compute is not None and "cuda" in compute.device:
        return source.pin_memory(), marker.pin_memory(), truth.pin_memory()
    return source, marker, truth


def ahead(read: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map` with threads that read ahead; NumPy and the disk let Python go on meanwhile."""
    if not workers:
        yield from map(read, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
