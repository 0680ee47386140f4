"""The benchmark's trained parts: networks on planted fields, and mask generators for both kinds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from attributome.benchmark.scenes import Edit, Task, field
from attributome.core.arrays import mix, top_share
from attributome.core.compute import Compute
from attributome.core.fills import blur, fill_batch
from attributome.core.seeds import rng, seed_of
from attributome.core.training import Plan
from attributome.core.types import Predictor, Progress, Target, silent
from attributome.masks.fit import fit_masks
from attributome.masks.generator import Design, Generator, generator_for
from attributome.masks.objective import PRESETS, Objective
from attributome.predictors.fit import fit_predictor
from attributome.predictors.networks import small_cnn, unet

BATCH, HELD_OUT = 8, 12
FILLS: dict[Task, str] = {"image": "gaussian", "classification": "gaussian", "regression": "mean"}
SCALE = 0.5
"""What stands where a mask takes pixels away: noise, its scale in granules' brightness.

For an amount it is the empty medium: what a regression answers to noise is an accident.
"""

COMPUTE = Compute()
WIDTHS = (8, 8, 16, 16, 16, 8)
NETWORK_WIDTHS = (6, 8, 8, 12, 12, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is trained: fields to train on, and epochs of `steps` batches."""

    fields: int
    epochs: int
    steps: int


@dataclass(frozen=True)
class Preferred:
    """The largest score, whichever class it is: what a mask generator learns for a classifier."""

    def __call__(self, out: Tensor) -> Tensor:
        return out.flatten(1).amax(1)

    def words(self) -> str:
        return "the score of the class the model prefers"


def trained_network(
    task: Task,
    size: Sequence[int],
    *,
    effort: Effort,
    seed: int,
    folder: Path | None = None,
    progress: Progress = silent,
) -> nn.Module:
    """A U-Net (image) or small CNN that has learned the task from fields of its own.

    With a `folder` it goes on from there, or reads what is finished.
    """
    net = _fresh(task, len(size), seed_of(seed, "network", task))
    x, y = _drawn(task, size, effort.fields + HELD_OUT, seed_of(seed, "train"))

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        drawn = _batches(x[HELD_OUT:], y[HELD_OUT:], effort.steps, seed, epoch)
        return _undecided(drawn, seed, epoch) if task == "classification" else drawn

    fit_predictor(
        net,
        batches=batches,
        steps=effort.steps,
        validation=[(x[:HELD_OUT], y[:HELD_OUT])],
        task=task,
        # one number per field teaches less than an image of them, and costs less
        plan=Plan(lr=5e-3, epochs=effort.epochs * (1 if task == "image" else 2)),
        compute=COMPUTE,
        folder=folder,
        identity={"task": task, "size": list(size), "seed": seed, "fields": effort.fields},
        progress=progress,
    )
    return net.eval()


def trained_masks(
    model: Predictor,
    target: Target,
    task: Task,
    size: Sequence[int],
    *,
    effort: Effort,
    seed: int,
    mark: str,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Generator:
    """A mask generator for `model`, trained on fields that neither it nor the benchmark sees."""
    x, y = _drawn(task, size, effort.fields + HELD_OUT, seed_of(seed, "masks"))
    condition = "prediction" if task == "image" else "gradient"
    design = Design(
        channels=4, dims=len(size), condition=condition, predictor=mark, features=WIDTHS
    )
    generator = COMPUTE.place(generator_for(design, seed=seed), len(size))
    fit_masks(
        generator,
        model,
        target,
        goal=goal(task),
        # what a class is worth shows over a whole batch only, so it takes longer to learn
        plan=Plan(lr=5e-3, epochs=effort.epochs * (3 if task == "classification" else 1)),
        batches=lambda epoch: (
            part for part, _ in _batches(x[HELD_OUT:], y[HELD_OUT:], effort.steps, seed, epoch)
        ),
        steps=effort.steps,
        validation=[COMPUTE.move(x[:HELD_OUT])],
        compute=COMPUTE,
        seed=seed,
        starts=1,  # as the published table was made
        folder=folder,
        identity={"size": list(size), "fields": effort.fields},
        progress=progress,
    )
    return generator.eval()


def goal(task: Task) -> Objective:
    """What masks are trained for: the evidence covers 3 to 10 % of a field."""
    return replace(PRESETS[task], areas=(0.02, 0.3), noise=FILLS[task], noise_scale=SCALE)


def _fresh(task: Task, dims: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if task == "image":
            return unet(3, 1, dims, features=NETWORK_WIDTHS)
        return small_cnn(3, 2 if task == "classification" else 1, dims, width=8)


def _drawn(task: Task, size: Sequence[int], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Fields and their answers.

    In half of them the decoy is at the other end of its range, so that it goes with nothing: the
    network that judges methods must not have learned to use it. An amount must be learned from
    nothing upwards, so a quarter of its fields have no evidence, as its counterfactuals have.
    """
    fields = [field(task, size, seed=seed, index=i, changed=_change(task, i)) for i in range(count)]
    x = torch.stack([torch.from_numpy(one.image) for one in fields])
    if task == "image":
        return x, torch.stack([torch.as_tensor(one.target) for one in fields])
    answers = torch.tensor([float(one.target) for one in fields])
    return x, answers.long() if task == "classification" else answers[:, None]


def _change(task: Task, index: int) -> Edit | None:
    if task == "regression" and index % 4 == 1:
        return "evidence"
    return "decoy" if index // 2 % 2 else None


def _batches(
    x: Tensor, y: Tensor, steps: int, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Fields in random order, mirrored at random along each axis together with their stain."""
    draw = rng(seed, "benchmark", "batches", epoch)
    for _ in range(steps):
        chosen = torch.from_numpy(draw.choice(len(x), BATCH, replace=len(x) < BATCH))
        axes = [axis for axis in range(2, x.ndim) if draw.random() < 0.5]
        image, answer = x[chosen].flip(axes), y[chosen]
        yield COMPUTE.move(image), answer.flip(axes) if answer.ndim == x.ndim else answer


def _undecided(
    batches: Iterator[tuple[Tensor, Tensor]], seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """With every batch its fields half in noise, and an image of noise once for either class.

    Or a classifier makes one class its answer to whatever shows nothing; such an answer has no
    evidence, and nothing could be planted for it.
    """
    for step, (x, y) in enumerate(batches):
        words = ("benchmark", "noise", epoch, step)
        draw = torch.Generator().manual_seed(seed_of(seed, *words))
        noise = fill_batch(
            x, FILLS["classification"], scale=SCALE, seed=seed_of(seed, *words), step=0
        )
        blobs = blur(torch.randn(x[:, :1].shape, generator=draw), draw, 1.0)
        shares = torch.rand(len(x), generator=draw)
        partly = mix(x, top_share(blobs, shares), noise)
        both = torch.arange(2).to(y)
        seen = torch.cat([x, partly, noise[:1], noise[:1]])
        yield COMPUTE.move(seen), torch.cat([y, y, both])
