"""Shapley and Owen values of groups of pixels: each map sums to F(x) - F(baseline).

A feature's value is spread evenly over its pixels, so the sum over pixels is the sum over features.
"""

from math import comb

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attributome.core.draws import Seeds
from attributome.core.errors import UsageError
from attributome.core.types import Images, Maps, Predictor, Target
from attributome.explain.segments import (
    Baseline,
    Labels,
    coalition_values,
    compact,
    halves,
    painted,
    sizes_of,
    usual_blocks,
)

Coalitions = Bool[Tensor, "m n"]
Values = Float[Tensor, "m b"]


def kernel_shap(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    features: Labels | None = None,
    evaluations: int = 512,
    baseline: Baseline = 0.0,
    seed: Seeds = 0,
) -> Maps:
    """Shapley values by weighted least squares over coalitions of features (Lundberg & Lee 2017).

    `evaluations` counts versions of each image, those with all and with no features included. If
    that is enough for every coalition, all are taken and the values are exact; otherwise coalitions
    are drawn in pairs with their complements (Covert & Lee 2021). `features` are label images, such
    as `superpixels`; without them about 64 blocks. Samples with as many features and the same seed
    share their coalitions.
    """
    labels = usual_blocks(x) if features is None else compact(features, x)
    counts = (sizes_of(labels) > 0).sum(1).tolist()
    seeds = [seed] * len(x) if isinstance(seed, int) else list(seed)
    if len(seeds) != len(x):
        raise UsageError(f"{len(seeds)} seeds were given for {len(x)} samples")
    games = list(zip(counts, seeds, strict=True))
    drawn = {game: coalitions(game[0], evaluations, game[1]) for game in dict.fromkeys(games)}
    # a game's own rows come first, padded where another sample's game is larger
    rows, width = max(len(kept) for kept, _ in drawn.values()), max(counts)
    table = torch.ones(rows + 2, len(x) if len(drawn) > 1 else 1, width, dtype=torch.bool)
    for sample, game in enumerate(games[: table.shape[1]]):
        kept = drawn[game][0]
        table[: len(kept), sample, : kept.shape[1]] = kept
    table[rows] = False
    # the regression is small: in double on the host, whatever the device
    found = coalition_values(model, x, target, table, labels, baseline)
    numbers = found.double().cpu()
    phi = numbers.new_zeros(len(x), width)
    for game, (kept, weight) in drawn.items():
        those = [sample for sample, other in enumerate(games) if other == game]
        some = numbers[:, those]
        phi[those, : game[0]] = regression(
            kept, weight, some[: len(kept)], some[rows], some[rows + 1]
        )
    return _spread(phi.to(found), labels).to(x)


def coalitions(n: int, evaluations: int, seed: int) -> tuple[Coalitions, Float[Tensor, " m"]]:
    """Coalitions of n players between none and all, and the weight of each in the regression."""
    if 2**n <= evaluations:
        numbers = torch.arange(1, 2**n - 1)
        kept = (numbers[:, None] >> torch.arange(n)) & 1 == 1
        by_size = [(n - 1) / (comb(n, s) * s * (n - s)) for s in range(1, n)]
        sizes = kept.sum(1) - 1
        return kept, torch.tensor(by_size, dtype=torch.double)[sizes]
    pairs = (evaluations - 2) // 2
    if pairs < n - 1:
        raise UsageError(
            f"{evaluations} evaluations cannot tell {n} features apart: it takes at least {2 * n}"
        )
    size = torch.arange(1, n, dtype=torch.double)
    share = (1 / (size * (n - size))).cumsum(0)
    # sizes at even steps through their distribution: the right share of each, without chance
    at = (torch.arange(pairs, dtype=torch.double) + 0.5) / pairs * share[-1]
    sizes = torch.searchsorted(share, at) + 1
    generator = torch.Generator().manual_seed(seed)
    rank = torch.rand(pairs, n, generator=generator).argsort(1).argsort(1)
    kept = rank < sizes[:, None]
    return torch.cat([kept, ~kept]), torch.ones(2 * pairs, dtype=torch.double)


def regression(
    kept: Coalitions,
    weight: Float[Tensor, " m"],
    seen: Values,
    nothing: Float[Tensor, " b"],
    everything: Float[Tensor, " b"],
) -> Float[Tensor, "b n"]:
    """The additive game nearest to the values seen, among those with the right total.

    An even share of the total is taken away from the values. What is left has total 0, which
    centred rows keep: the solution of smallest norm is then the constrained one.
    """
    n = kept.shape[1]
    total = everything - nothing
    even = (total / n).expand(n, -1)
    if n == 1:
        return even.T
    rows = kept.to(seen)
    size = rows.sum(1, keepdim=True)
    left = seen - nothing - size / n * total
    root = weight.sqrt()[:, None].to(seen)
    rows = root * (rows - size / n)
    found: Tensor = torch.linalg.lstsq(rows, root * left, driver="gelsd").solution
    return (found + even).T


def owen(
    model: Predictor,
    x: Images,
    target: Target,
    *,
    depth: int = 4,
    baseline: Baseline = 0.0,
) -> Maps:
    """Owen values of `2**depth` regions, exact for the tree that halves the field (Winter 1989).

    A region joins its sibling before both join their parent's sibling, and so on upwards, so what
    lies together is weighed together. It takes `2 * (4**depth - 1) / 3 + 2` versions of each image.
    """
    labels = halves(x, depth)
    levels = [_contexts(level, depth) for level in range(depth)]
    ends = torch.stack([torch.zeros(2**depth), torch.ones(2**depth)]).bool()
    table = torch.cat([ends, *(level.flatten(0, 2) for level in levels)])
    found = coalition_values(model, x, target, table[:, None], labels, baseline)
    sides, *new = found.split([2, *(level[..., 0].numel() for level in levels)])
    now = sides[None, None]  # node, context, without and with the node, sample
    for level, fresh in enumerate(new):
        child = fresh.view(2**level, 2**level, 2, -1).transpose(1, 2)  # node, side, context
        below = now.new_empty(2**level, 2, 2**level, 2, 2, len(x))  # …, sibling, itself
        below[:, :, :, 0, 0] = now[:, None, :, 0]
        below[:, :, :, 1, 1] = now[:, None, :, 1]
        below[:, :, :, 0, 1] = child
        below[:, :, :, 1, 0] = child.flip(1)
        now = below.reshape(2 ** (level + 1), 2 ** (level + 1), 2, -1)
    return _spread((now[:, :, 1] - now[:, :, 0]).mean(1).T, labels).to(x)


def _contexts(level: int, depth: int) -> Bool[Tensor, "v v 2 p"]:
    """For each node of a level, context and side: the leaves of the context and of that child.

    A context says for each ancestor, the root's child first, whether its sibling is in.
    """
    nodes, leaves = torch.arange(2**level), torch.arange(2**depth)
    apart = nodes[:, None] ^ (leaves >> (depth - level))
    # where the paths part, counted from the root; `level` if the leaf lies below the node
    parts = level - torch.frexp(apart.double()).exponent.long()
    context = (nodes[:, None] >> torch.arange(level - 1, -1, -1)) & 1 == 1
    outside = torch.cat([context, torch.zeros(2**level, 1, dtype=torch.bool)], 1)[:, parts]
    side = (leaves >> (depth - level - 1)) & 1 == torch.arange(2)[:, None]
    child = (apart == 0)[:, None] & side
    return outside.transpose(0, 1)[:, :, None] | child[:, None]


def _spread(phi: Float[Tensor, "b p"], labels: Labels) -> Maps:
    """Each feature's value shared out evenly among its pixels."""
    return painted(phi / sizes_of(labels).clamp_min(1), labels)
