"""Times against the bare networks, in one process and in turns: A B A B … A."""

import copy
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import median, quantiles

import numpy as np
import torch
from subject import BATCH, OVERLAP, PATCH, WINDOW, Scale, networks
from torch import Tensor, nn

from attributome.core.compute import Compute
from attributome.core.probe import predict, still
from attributome.core.targets import OutputSum
from attributome.core.training import Plan
from attributome.core.windows import over_field
from attributome.data.patches import FieldCache, random_patches
from attributome.data.planted import planted
from attributome.masks.fit import fit_masks
from attributome.masks.generator import Generator
from attributome.masks.objective import PRESETS


def now(compute: Compute) -> float:
    """Seconds, after everything that was asked of the device is done."""
    if compute.device.startswith("cuda"):
        torch.cuda.synchronize()
    elif compute.device.startswith("mps"):
        torch.mps.synchronize()
    return time.perf_counter()


def against(floors: list[float], works: list[float]) -> dict[str, float]:
    """Each `work` over the mean of the floors before and after it, which cancels a drift."""
    ratios = [w / ((a + b) / 2) for w, (a, b) in zip(works, pairwise(floors), strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return {
        "ratio": median(ratios),
        "quarter": low,
        "three_quarters": high,
        "rounds": len(ratios),
        "seconds": median(works),
        "floor_seconds": median(floors),
    }


def in_turns(
    floor: Callable[[], object], work: Callable[[], object], rounds: int, compute: Compute
) -> dict[str, float]:
    """A B A B … A, after one of each to warm up."""
    floor(), work()
    marks = [now(compute)]
    for turn in range(2 * rounds + 1):
        (work if turn % 2 else floor)()
        marks.append(now(compute))
    spans = [b - a for a, b in pairwise(marks)]
    return against(spans[::2], spans[1::2])


def mask_step(compute: Compute, scale: Scale) -> dict[str, float]:
    """A step inside `fit_masks`, from drawing its patches to its progress report."""
    net, generator = networks(compute)
    floor = step_floor(net, generator, compute)
    cache = FieldCache(samples=planted(fields=4, size=(256, 256)))
    total = scale.warm + scale.steps
    floors: list[float] = []
    works: list[float] = []

    def batches(_epoch: int) -> Iterator[Tensor]:
        # fit_masks comes back here when a step is done, so floors and steps take turns; it comes
        # first for a few images to begin from, which are no steps
        floors.clear()
        works.clear()
        patches = random_patches(
            cache, size=(PATCH, PATCH), batch=BATCH, steps=total, seed=0, epoch=0
        )
        next_batch = iter(patches)
        for _ in range(total):
            floors.append(floor())
            started = now(compute)
            yield compute.move(torch.from_numpy(next(next_batch)[0]))
            works.append(now(compute) - started)
        floors.append(floor())

    fit_masks(
        generator,
        net,
        OutputSum(),
        goal=PRESETS["image"],
        plan=Plan(lr=2e-3, weight_decay=0.01, epochs=1),
        batches=batches,
        steps=total,
        validation=[compute.move(torch.from_numpy(cache.get(0)[0])[None, :, :64, :64])],
        compute=compute,
        starts=1,
    )
    return against(floors[scale.warm :], works[scale.warm :])


def step_floor(net: nn.Module, generator: Generator, compute: Compute) -> Callable[[], float]:
    """The forwards and backwards of one step, alone; returns the seconds they took."""
    twin = compute.place(copy.deepcopy(generator), 2).train()
    draws = torch.Generator().manual_seed(0)
    x = compute.move(torch.randn(BATCH, 1, PATCH, PATCH, generator=draws))
    seen = compute.move(torch.randn(BATCH, 2, PATCH, PATCH, generator=draws))
    ones = torch.ones_like(x)

    def floor() -> float:
        twin.zero_grad(set_to_none=True)
        leaf = x.detach().requires_grad_()
        started = now(compute)
        with still(net), torch.enable_grad():
            with compute.autocast():
                with torch.no_grad():
                    net(x)
                scores, out = twin.logits(seen), net(leaf)
            scores.backward(ones)
            torch.autograd.grad(out, leaf, ones.to(out))
        return now(compute) - started

    return floor


def whole_field(compute: Compute, scale: Scale) -> dict[str, float]:
    """`over_field` with the predictor against its forwards on the same windows, on the device."""
    net, _ = networks(compute)
    draws = np.random.default_rng(0)
    field = draws.normal(size=(1, scale.field, scale.field)).astype(np.float32)
    seen: list[Tensor] = []

    def look(x: Tensor) -> Tensor:
        seen.append(x.clone(memory_format=torch.preserve_format))
        return x

    over_field(look, field, window=(WINDOW, WINDOW), overlap=OVERLAP, compute=compute)

    def floor() -> None:
        with torch.no_grad(), compute.autocast():
            for x in seen:
                net(x)

    def work() -> None:
        over_field(
            lambda x: predict(net, x),
            field,
            window=(WINDOW, WINDOW),
            overlap=OVERLAP,
            compute=compute,
        )

    found = in_turns(floor, work, scale.rounds, compute)
    return found | {"windows": sum(map(len, seen)), "at_once": len(seen[0])}


def small_batches(compute: Compute, scale: Scale) -> dict[str, float]:
    """The door `predict` against the bare call, on one patch of 64 x 64."""
    net, _ = networks(compute)
    x = compute.move(torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)))

    def floor() -> None:
        with torch.no_grad(), compute.autocast():
            net(x)

    def work() -> None:
        with compute.autocast():
            predict(net, x)

    return in_turns(floor, work, scale.calls, compute)
