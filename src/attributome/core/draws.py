"""Random tensors whose sample i does not depend on the rest of the batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attributome.core.errors import UsageError

Seeds = int | Sequence[int]
"""One seed for every sample alike, or one per sample."""


def each(x: Tensor, seeds: Seeds, draw: Callable[[Tensor, torch.Generator], Tensor]) -> Tensor:
    """`draw(x[i : i + 1], generator_i)` for each sample; generators live on the host."""
    per = [seeds] * len(x) if isinstance(seeds, int) else list(seeds)
    if len(per) != len(x):
        raise UsageError(f"{len(per)} seeds were given for {len(x)} samples")
    return torch.cat(
        [draw(x[i : i + 1], torch.Generator().manual_seed(seed)) for i, seed in enumerate(per)]
    )


def normal(x: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise like `x`."""
    return torch.randn(x.shape, generator=generator).to(x)
