"""The smallest mask of a linear image-to-image network is known: whether a fitted mask finds it.

y = K x with a kernel of compact support, scored on a region R. Pixels outside R dilated by the
kernel have exactly zero effect; where the output must stay as it is (tau → 1), those inside are the
smallest mask. For tau < 1 it is smaller, and on at most 16 blocks all masks can be tried.
"""

from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from attributome.benchmark.networks import Support, linear_network, linear_support
from attributome.core.arrays import mix, pearson
from attributome.core.fills import fill_batch
from attributome.core.probe import predict, run, still
from attributome.core.seeds import rng, seed_of
from attributome.core.types import Images, Masks, Predictor
from attributome.masks.objective import Objective, loss_terms

SIDE = {2: 32, 3: 12}
BLOCKS = {2: (4, 4), 3: (2, 2, 4)}
TAU = 0.9
SCALE = 1.0
EXACT = Objective(
    form="soft",
    fidelity=1.0,
    size=1e-4,
    agreement=1.0,
    enough=1.0,
    pool="sample",
    noise_scale=SCALE,
)
"""tau → 1. The weight of the size is below the effect that the least pixel has on the region."""


class Problem(NamedTuple):
    """A linear network, an image, and the region that its output is scored on."""

    kernel: Tensor
    model: Predictor
    x: Images
    region: Support


def linear_problem(dims: int, *, seed: int = 0) -> Problem:
    """A kernel of 5 pixels without a zero, white noise as image, and a region off its centre."""
    draw = rng(seed, "benchmark", "linear", dims)
    kernel = torch.from_numpy(
        draw.uniform(0.5, 1.5, (5,) * dims) * draw.choice([-1, 1], (5,) * dims)
    )
    kernel = kernel / kernel.norm()
    space = (SIDE[dims],) * dims
    x = torch.from_numpy(draw.standard_normal((1, 1, *space)))
    region = torch.zeros(1, 1, *space, dtype=torch.bool)
    low, high = {2: (8, 20), 3: (3, 8)}[dims]
    region[(slice(None), slice(None), *[slice(low, high)] * dims)] = True
    return Problem(kernel, linear_network(kernel), x, region)


def fitted_mask(
    problem: Problem, goal: Objective = EXACT, *, steps: int = 200, seed: int = 0
) -> Masks:
    """The mask of one image by gradient descent on the masks' own loss, scored on the region.

    Adam on one logit per pixel that starts undecided, with new noise in every step; in [0, 1].
    """
    model, x, region = problem.model, problem.x, problem.region
    wanted, weight = predict(model, x), region.to(x)
    logits = torch.zeros_like(x).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    share = weight.mean()
    with still(model), torch.enable_grad():
        for step in range(steps):
            masks = logits.sigmoid()
            fill = fill_batch(x, goal.noise, scale=goal.noise_scale, seed=seed, step=step)
            got = run(model, mix(x, masks, fill))
            # the score sees the region alone, and so does the squared error
            seen = (got * weight, wanted * weight)
            loss = loss_terms(goal, *seen, masks, weight)["loss"] / share
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return logits.detach().sigmoid()


def best_blocks(
    problem: Problem, blocks: tuple[int, ...], *, tau: float = TAU, draws: int = 8, seed: int = 0
) -> tuple[int, Float[np.ndarray, " n"]]:
    """Fewest blocks that keep a mean correlation of `tau` on the region, and every mask's value.

    All 2^n masks are tried, by brute force: what a linear network gives is the sum of what its
    blocks give. Mask number m keeps block i where bit i of m is set.
    """
    count = int(np.prod(blocks))
    kept = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    values = np.zeros(len(kept))
    wanted = _on_region(problem, problem.x)
    for draw in range(draws):
        fill = _fill(problem.x, seed, draw)
        parts = _block_parts(problem, fill, blocks)
        base = _on_region(problem, fill)
        values += _correlations(kept.astype(np.float64), parts, base, wanted) / draws
    enough = values >= tau
    return int(kept.sum(1)[enough].min()), values


def fitted_blocks(
    problem: Problem, blocks: tuple[int, ...], *, tau: float = TAU, draws: int = 8, seed: int = 0
) -> tuple[int, float]:
    """Blocks that a fitted mask needs for `tau`, and what they keep.

    The pixel mask at tau → 1 ranks pixels by nothing but whether they matter, so the size is made
    dearer until blocks must go: the weights rise, and each gives an order of blocks. Of all orders
    the one that needs fewest blocks counts.
    """
    best = (int(np.prod(blocks)), 1.0)
    for size in (0.03, 0.1, 0.3, 1.0):
        goal = Objective(
            form="soft", fidelity=1.0, size=size, agreement=0.0, pool="sample", noise_scale=SCALE
        )
        masks = fitted_mask(problem, goal, steps=100, seed=seed)
        height = torch.stack([masks[0, 0][box].mean() for box in _boxes(masks, blocks)])
        order = height.argsort(descending=True).tolist()
        for count in range(1, len(order) + 1):
            value = _kept(problem, blocks, order[:count], draws, seed)
            if value >= tau:
                if count < best[0]:
                    best = (count, value)
                break
    return best


def linear_optimum(dims: int, *, seed: int = 0) -> pd.DataFrame:
    """One row: areas of the exact support and of the fitted mask, and blocks for tau < 1."""
    problem = linear_problem(dims, seed=seed)
    exact = linear_support(problem.kernel, problem.region)
    mask = fitted_mask(problem, seed=seed) > 0.5
    fewest, _ = best_blocks(problem, BLOCKS[dims], seed=seed)
    found, value = fitted_blocks(problem, BLOCKS[dims], seed=seed)
    area, mine = int(exact.sum()), int(mask.sum())
    return pd.DataFrame(
        [
            {
                "dims": dims,
                "exact_pixels": area,
                "mask_pixels": mine,
                "area_error": abs(mine - area) / area,
                "outside": float((mask & ~exact).sum()) / max(1, mine),
                "tau": TAU,
                "fewest_blocks": fewest,
                "mask_blocks": found,
                "kept": value,
            }
        ]
    )


def _kept(
    problem: Problem, blocks: tuple[int, ...], chosen: list[int], draws: int, seed: int
) -> float:
    """Mean correlation on the region when these blocks stay: asked of the network itself."""
    masks = torch.zeros_like(problem.x)
    for i, box in enumerate(_boxes(masks, blocks)):
        if i in chosen:
            masks[0, 0][box] = 1
    wanted, weight = predict(problem.model, problem.x), problem.region.to(problem.x)
    values = [
        pearson(predict(problem.model, mix(problem.x, masks, fill)), wanted, weight).item()
        for fill in (_fill(problem.x, seed, draw) for draw in range(draws))
    ]
    return float(np.mean(values))


def _fill(x: Images, seed: int, draw: int) -> Images:
    """Noise that no step of the fit has seen."""
    return fill_batch(x, "gaussian", scale=SCALE, seed=seed_of(seed, "judge"), step=draw)


def _boxes(masks: Masks, blocks: tuple[int, ...]) -> list[tuple[slice, ...]]:
    edges = [
        np.linspace(0, s, n + 1).astype(int) for s, n in zip(masks.shape[2:], blocks, strict=True)
    ]
    sides = [[slice(a, b) for a, b in pairwise(e)] for e in edges]
    return list(product(*sides))


def _block_parts(problem: Problem, fill: Images, blocks: tuple[int, ...]) -> np.ndarray:
    """What each block changes on the region when it shows the image and not the fill."""
    gap = problem.x - fill
    parts = []
    for box in _boxes(gap, blocks):
        one = torch.zeros_like(gap)
        one[0, 0][box] = gap[0, 0][box]
        parts.append(_on_region(problem, one))
    return np.stack(parts)


def _on_region(problem: Problem, x: Images) -> np.ndarray:
    return predict(problem.model, x)[problem.region].numpy()


def _correlations(
    kept: np.ndarray, parts: np.ndarray, base: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Pearson's r of `base + kept @ parts` with `wanted`, by their inner products."""
    parts, base, wanted = (v - v.mean(-1, keepdims=True) for v in (parts, base, wanted))
    across = base @ wanted + kept @ (parts @ wanted)
    gram = parts @ parts.T
    power = base @ base + 2 * kept @ (parts @ base) + ((kept @ gram) * kept).sum(1)
    return np.asarray(across / np.sqrt(power * (wanted @ wanted)))
