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
from attributome.core.errors import DataError, UsageError
from attributome.core.training import Plan

Rows = Integer[np.ndarray, "_"]
LEAST = 2
"""Samples that a process needs in a step, so that norms see a spread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """The processes that train together; one by itself is a team too."""

    compute: Compute
    rank: int = 0
    world: int = 1

    def need(self, plan: Plan, batch: int, what: str) -> None:
        """Refuse a plan and a batch of `what` (such as pairs) that these processes cannot share."""
        if batch < LEAST * self.world:
            raise UsageError(
                f"a batch of {batch} {what} for {self.world} processes; each needs at least "
                f"{LEAST}, or its norms see no spread"
            )
        if self.world > 1 and plan.minutes is not None:
            raise UsageError(
                "several processes cannot share a plan of minutes, because their clocks decide "
                "when to stop: give epochs"
            )

    def steps(self, count: int, batch: int, what: str) -> int:
        """How many steps an epoch of `count` samples has, each with enough for every process."""
        least = LEAST * self.world
        if count < least:
            raise DataError(
                f"{count} training {what} for {self.world} processes; each needs at least {LEAST} "
                f"in a step"
            )
        return min(-(-count // batch), count // least)

    def share(self, rows: Rows) -> tuple[Rows, float]:
        """What this process has of a batch, and how much its mean counts in that of all."""
        mine = np.array_split(rows, self.world)[self.rank]
        return mine, len(mine) * self.world / len(rows)

    def parallel(self, net: nn.Module) -> nn.Module:
        """The network whose backward pass averages the gradients of all processes."""
        return DistributedDataParallel(net) if self.world > 1 else net

    def logged(self, loss: Tensor, weight: float) -> Tensor:
        """The mean loss of the whole batch, with a slope whose mean over processes is its own."""
        if self.world == 1:
            return loss
        mine = loss * weight
        return self.total(mine) / self.world + (mine - mine.detach())

    def total(self, mine: Tensor) -> Tensor:
        """The sum over all processes, without a slope."""
        found = mine.detach().clone()
        if self.world > 1:
            torch.distributed.all_reduce(found)
        return found

    def agree(self, net: nn.Module) -> None:
        """Give every process the running statistics of the first."""
        if self.world > 1:
            for each in net.buffers():
                torch.distributed.broadcast(each, 0)

    def together(
        self, work: Callable[[Rows], np.ndarray], count: int, *, columns: int
    ) -> np.ndarray:
        """A row of `columns` numbers for each of `count` samples; each process does its share.

        `work` gives the rows of the samples that it is given the numbers of.
        """
        if self.world == 1:
            return work(np.arange(count))
        mine = np.arange(self.rank, count, self.world)
        found = torch.zeros(count, columns, dtype=torch.float64, device=self.compute.device)
        if len(mine):
            some = torch.from_numpy(work(mine))
            found[torch.from_numpy(mine).to(found.device)] = some.to(found)
        torch.distributed.all_reduce(found)
        whole: np.ndarray = found.cpu().numpy()
        return whole

    def wait(self) -> None:
        """Go on when all processes have come here, so that what one has written is there."""
        self.total(torch.zeros(1, device=self.compute.device)).item()


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
