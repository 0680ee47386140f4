"""The processes that train one network together, each on its share of every batch."""

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from attributome.core.compute import Compute

Rows = Integer[np.ndarray, "_"]
Pairs = tuple[Rows, Rows]
"""Source and target rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """The processes that train together; one by itself is a team too."""

    compute: Compute
    rank: int = 0
    world: int = 1

    def parallel(self, net: nn.Module) -> nn.Module:
        """The network whose backward pass averages the gradients of all processes."""
        return DistributedDataParallel(net) if self.world > 1 else net

    def logged(self, loss: Tensor, weight: float) -> Tensor:
        """The mean loss of the whole batch, with a slope whose mean over processes is its own."""
        if self.world == 1:
            return loss
        mine = loss * weight
        total = mine.detach().clone()
        torch.distributed.all_reduce(total)
        return total / self.world + (mine - mine.detach())

    def agree(self, net: nn.Module) -> None:
        """Give every process the running statistics of the first."""
        if self.world > 1:
            for each in net.buffers():
                torch.distributed.broadcast(each, 0)

    def together(self, work: Callable[[Pairs], np.ndarray], pairs: Pairs) -> np.ndarray:
        """`work` gives a row of numbers per pair; each process does its share of the pairs."""
        if self.world == 1:
            return work(pairs)
        mine = np.arange(self.rank, len(pairs[0]), self.world)
        some = work((pairs[0][mine], pairs[1][mine]))
        found = torch.zeros(len(pairs[0]), 2, dtype=torch.float64, device=self.compute.device)
        found[torch.from_numpy(mine).to(found.device)] = torch.from_numpy(some).to(found.device)
        torch.distributed.all_reduce(found)
        whole: np.ndarray = found.cpu().numpy()
        return whole


def team_of(compute: Compute) -> Team:
    """The team that `torchrun` or the caller has made of the processes."""
    group = torch.distributed
    if not group.is_available():
        return Team(compute=compute)
    here = os.environ.get("LOCAL_RANK")
    if compute.device == "cuda" and here is not None:
        compute = replace(compute, device=f"cuda:{here}")
        torch.cuda.set_device(int(here))
    if not group.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        group.init_process_group("nccl" if "cuda" in compute.device else "gloo")
        # not when this training ends: a second one of the same processes meets there again
        atexit.register(group.destroy_process_group)
    if not group.is_initialized():
        return Team(compute=compute)
    return Team(compute=compute, rank=group.get_rank(), world=group.get_world_size())
