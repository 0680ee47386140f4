"""Where the training of masks begins: the best of some random generators and of their negatives.

A fresh generator ranks pixels somehow. Its gradient says how to improve on that ranking nearby, so
one that happens to rank the evidence last can stay there for ever. Which of some rankings keeps
most of the prediction is seen without training, and a ranking turned round costs nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from attributome.core.arrays import mix, top_share
from attributome.core.errors import UsageError
from attributome.core.fills import fill_batch
from attributome.core.probe import predict
from attributome.core.seeds import seed_of
from attributome.core.types import Images, Predictor, Target
from attributome.masks.condition import CONDITIONS
from attributome.masks.generator import Generator, generator_for
from attributome.masks.objective import Objective, agreement, comparable


def choose_start(
    generator: Generator,
    model: Predictor,
    target: Target,
    *,
    goal: Objective,
    images: Sequence[Images],
    starts: int,
    seed: int,
) -> float:
    """Give `generator` the weights of the best start in place; the agreement that it begins with.

    The generator as it is counts as the first of `starts`, the others are drawn from `seed`, and
    each is tried with both signs at the smallest and the largest mask size of `goal`.
    """
    if starts < 1:
        raise UsageError(f"{starts} starts were asked for; there is at least the generator itself")
    condition = CONDITIONS[generator.design.condition]
    wanted = [predict(model, x) for x in images]
    seen = [condition(model, x, out, target) for x, out in zip(images, wanted, strict=True)]
    fills = [
        fill_batch(x, goal.noise, scale=goal.noise_scale, seed=seed, step=number)
        for number, x in enumerate(images)
    ]

    def kept(logits: Sequence[Tensor]) -> float:
        scores = [
            agreement(
                goal,
                comparable(goal, predict(model, mix(x, top_share(one, size), fill))),
                comparable(goal, out),
            )
            for x, one, fill, out in zip(images, logits, fills, wanted, strict=True)
            for size in goal.areas
        ]
        return torch.cat(scores).mean().item()

    best, found = -torch.inf, generator.state_dict()
    first = {name: value.clone() for name, value in found.items()}
    for start in range(starts):
        if start == 0:
            weights = first
        else:
            fresh = generator_for(generator.design, seed=seed_of(seed, "start", start))
            weights = fresh.state_dict()
        generator.load_state_dict(weights)
        logits = [_logits(generator, one) for one in seen]
        for sign in (1, -1):
            value = kept([sign * one for one in logits])
            if value > best:
                best, found = value, _signed(weights, sign)
    generator.load_state_dict(found)
    return best


def _logits(generator: Generator, seen: Tensor) -> Tensor:
    """As a training step sees them: normalised over the batch."""
    generator.train()
    with torch.no_grad():
        return generator.logits(seen)


def _signed(weights: dict[str, Tensor], sign: int) -> dict[str, Tensor]:
    """The weights of a generator whose logits have this sign."""
    last = ("net.final_conv.weight", "net.final_conv.bias")
    return {name: sign * value if name in last else value for name, value in weights.items()}
