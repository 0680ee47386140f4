"""From the amortised mask to the best for one image: a few steps on the loss of the training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from attributome.core.arrays import mix, pearson, resize, top_share
from attributome.core.draws import Seeds, each
from attributome.core.errors import UsageError
from attributome.core.fills import fill_named
from attributome.core.probe import gradient, predict, values
from attributome.core.seeds import seed_of
from attributome.core.types import Images, Masks, Predictor, Scores, Target
from attributome.masks.objective import Objective, as_mask, comparable

Agreement = Callable[[Tensor, Tensor], Scores]
"""(outputs, outputs for the whole image) → one number per sample, 1 where they are the same."""

MOST = 50
SIZES = (0.02, 0.05, 0.1, 0.2, 0.3)


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """The better maps, and what every further step would have bought (the anytime curve).

    `scores[i, j]` is the mean efficacy of sample i over the mask sizes after `steps[j]` steps, and
    `evaluations[j]` how many versions of each image the model had seen by then, one that is
    differentiated counting twice. Step 0 is the map that was given.
    """

    maps: Masks
    steps: tuple[int, ...]
    scores: Float[Tensor, "b n"]
    evaluations: tuple[int, ...]


def refine(
    model: Predictor,
    x: Images,
    maps: Masks,
    *,
    goal: Objective,
    agree: Agreement | None = None,
    steps: int = MOST,
    every: int = 5,
    draws: int = 2,
    rate: float = 0.1,
    grain: int = 1,
    sizes: Sequence[float] = SIZES,
    seed: Seeds = 0,
) -> Refined:
    """Improve the map of each image by itself; by the score it is never worse than it was.

    The loss is that of `goal`, taken per sample whatever its `pool`; a step of Adam averages it
    over `draws` masks and noises. Every `every` steps the map is scored by its efficacy under a
    noise that no step has seen, and the best is kept. As it was chosen, its score is a little
    optimistic: measure it anew. A refined map has the values of its start in another order, so a
    threshold keeps its meaning, and a constant map stays as it is. `agree` says how outputs compare
    where they have no correlation within a sample, as those of a model with a single output.
    `grain` is the smallest detail that a step can change, in pixels, as in `Design`.
    """
    seeds = [seed] * len(x) if isinstance(seed, int) else list(seed)
    _check(x, maps, seeds, steps, min(every, draws, grain))
    wanted = predict(model, x)
    judge = _judge(goal, wanted, agree)
    loss = _loss(goal, wanted, judge)

    def noise(*words: str | int) -> Images:
        named = [seed_of(one, "refine", *words) for one in seeds]
        return each(x, named, lambda one, g: fill_named(goal.noise)(one, g, goal.noise_scale))

    held_out = noise("held out")

    def score(now: Masks) -> Scores:
        kept = torch.cat([mix(x, top_share(now, size), held_out) for size in sizes])
        return values(model, kept, judge, copies=len(sizes)).mean(0)

    start = _standard(maps)
    knots = [max(1, size // grain) for size in x.shape[2:]]
    change = torch.zeros(len(x), 1, *knots, dtype=start.dtype, device=x.device, requires_grad=True)
    walk = torch.optim.Adam([change], lr=rate)
    best, most = maps, score(maps)
    taken, curve = [0], [most]
    for step in range(1, steps + 1):
        with torch.enable_grad():
            logits = start + (resize(change, x) if grain > 1 else change)
            masks = torch.cat([_drawn(goal, logits, step, steps, d, seeds) for d in range(draws)])
            size = masks.abs().pow(goal.size_power).flatten(1).mean(1).sum()
        fills = torch.cat([noise(step, draw) for draw in range(draws)])
        many = x.repeat(draws, *[1] * (x.ndim - 1))
        slope = gradient(model, mix(many, masks.detach(), fills), loss, copies=draws)
        pull = (slope * (many - fills)).sum(1, keepdim=True).to(masks)
        weights = [pull, size.new_tensor(goal.size)]
        (change.grad,) = torch.autograd.grad([masks, size], change, weights)
        walk.step()
        if step % every == 0 or step == steps:
            moved = change.detach()
            now = _in_order_of(maps, start + (resize(moved, x) if grain > 1 else moved))
            found = score(now)
            better = (found > most).view(-1, *[1] * (maps.ndim - 1))
            best = torch.where(better, now, best)
            most = torch.maximum(found, most)
            taken.append(step)
            curve.append(found)
    spent = (1 + len(sizes) * (i + 1) + 2 * draws * step for i, step in enumerate(taken))
    return Refined(best, tuple(taken), torch.stack(curve, 1), tuple(spent))


def _judge(goal: Objective, wanted: Tensor, agree: Agreement | None) -> Target:
    """Agreement with the outputs for the whole image, as a target."""
    full = comparable(goal, wanted)
    if agree is not None:
        return lambda out: agree(out, wanted)
    if full[0].numel() == 1:
        raise UsageError(
            "a model with one output has no correlation within a sample: say with `agree` how its "
            "outputs compare"
        )
    return lambda out: pearson(comparable(goal, out), full)


def _loss(goal: Objective, wanted: Tensor, judge: Target) -> Target:
    """The loss of the training less its term on the mask's size, per sample, as a target."""
    full = comparable(goal, wanted)

    def loss(out: Tensor) -> Scores:
        short = goal.enough - judge(out)
        short = short.abs() if goal.two_sided else short.clamp_min(0)
        apart = (comparable(goal, out) - full).square().flatten(1).mean(1)
        return goal.fidelity * apart + goal.agreement * short

    return loss


def _drawn(
    goal: Objective, logits: Masks, step: int, steps: int, draw: int, seeds: Sequence[int]
) -> Masks:
    """The mask of each sample in this step: a batch of its own, from its own generator."""
    masks = []
    for one, seed in zip(logits.split(1), seeds, strict=True):
        generator = torch.Generator(logits.device)
        generator.manual_seed(seed_of(seed, "refine", "mask", step, draw))
        masks.append(as_mask(goal, one, step / steps, generator))
    return torch.cat(masks)


def _standard(maps: Masks) -> Masks:
    """Maps in units in which a step of Adam is neither large nor small."""
    rows = maps.detach().flatten(1)
    rows = (rows - rows.mean(1, keepdim=True)) / rows.std(1, keepdim=True).clamp_min(1e-6)
    return rows.view_as(maps)


def _in_order_of(maps: Masks, logits: Masks) -> Masks:
    """The values of each map, laid where the logits rank them."""
    ranked = logits.flatten(1).argsort(dim=1, stable=True)
    return (
        torch.empty_like(ranked, dtype=maps.dtype)
        .scatter_(1, ranked, maps.flatten(1).sort(1).values)
        .view_as(maps)
    )


def _check(x: Images, maps: Masks, seeds: Sequence[int], steps: int, smallest: int) -> None:
    if maps.shape != x[:, :1].shape:
        raise UsageError(
            f"maps of shape {tuple(maps.shape)} for images of shape {tuple(x.shape)}: refinement "
            f"takes one map per image, on its grid"
        )
    if not 0 <= steps <= MOST or smallest < 1:
        raise UsageError(
            f"{steps} steps were asked for: give at most {MOST}, and `every`, `draws` and `grain` "
            f"of at least 1"
        )
    if len(seeds) != len(x):
        raise UsageError(f"{len(seeds)} seeds were given for {len(x)} samples")
