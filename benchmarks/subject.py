"""What is measured: the default networks, and how much of it."""

from dataclasses import dataclass

import torch
from torch import nn

from attributome.config import MasksJob
from attributome.core.compute import Compute
from attributome.masks.generator import Design, Generator, generator_for
from attributome.predictors.networks import unet

WINDOW, OVERLAP = 256, 0.25
BATCH, PATCH = 8, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured; `peak_` is about memory, where the windows are a share of the field.

    Windows that do not overlap save time there and hold the same.
    """

    warm: int = 4
    steps: int = 24
    field: int = 1024
    rounds: int = 7
    calls: int = 200
    peak_field: int = 2048
    peak_window: int = 256
    peak_at_once: int = 2


QUICK = Scale(warm=1, steps=4, field=512, rounds=3, calls=60, peak_field=1024, peak_window=128)


def networks(compute: Compute) -> tuple[nn.Module, Generator]:
    """The default predictor and generator, untrained: how long they take does not depend on it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = unet(1, 1, 2)
    design = Design(
        channels=2,
        dims=2,
        condition="prediction",
        predictor="benchmark",
        features=MasksJob().features,
        grain=MasksJob().grain,
    )
    generator = generator_for(design, seed=0)
    return compute.place(net, 2).eval(), compute.place(generator, 2)
