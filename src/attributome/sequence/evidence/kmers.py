"""The words of a pair as players: what the pair loses without each, and their Shapley values.

A player is a distinct k-mer of the site or of the miRNA, with all its windows. A sequence without
a word is one whose windows of that word could not be read, as with an N: their weight leaves the
image, and the others keep theirs.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Packed, pack
from attributome.core.probe import at_once, values
from attributome.core.seeds import rng
from attributome.core.types import Target
from attributome.sequence.evidence.branches import beside
from attributome.sequence.evidence.references import Context
from attributome.sequence.fcgr import kmers, window_counts, windows
from attributome.sequence.images import cells_of, scattered
from attributome.sequence.tracks import BRANCHES, Branch, MirnaImages, SiteImages

MOST_EXACT = 16
"""Players beyond which all coalitions are too many."""


@dataclass(frozen=True, slots=True, eq=False)
class Players:
    """Who plays in each pair: words of the site first, each by where it first stands.

    `windows` says for each window of a branch whose it is (-1: nobody's), `counts` how many
    players a pair has, and `names` who they are.
    """

    windows: dict[Branch, Int[np.ndarray, "_ _"]]
    counts: Int[np.ndarray, " b"]
    names: list[list[tuple[Branch, str]]]


@dataclass(frozen=True, slots=True, eq=False)
class Worths:
    """The share of each player, and its standard error; NaN behind a pair's last player."""

    players: Players
    shares: Float[np.ndarray, "b players"]
    errors: Float[np.ndarray, "b players"]


def players_of(context: Context) -> Players:
    """The words of each pair."""
    k = context.encoding.k
    pixels = {branch: windows(context.strands(branch), k) for branch in BRANCHES}
    owners = {branch: np.full(pixels[branch].shape, -1) for branch in BRANCHES}
    names = list[list[tuple[Branch, str]]]()
    for i in range(len(context.site)):
        mine = list[tuple[Branch, str]]()
        for branch in BRANCHES:
            first = dict[int, int]()
            for start, pixel in enumerate(pixels[branch][i].tolist()):
                if pixel >= 0:
                    if pixel not in first:
                        first[pixel] = len(mine)
                        mine.append((branch, kmers(k)[pixel]))
                    owners[branch][i, start] = first[pixel]
        names.append(mine)
    return Players(owners, np.array([len(mine) for mine in names]), names)


def occlusion_kmers(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    context: Context,
) -> tuple[Tensor, Tensor]:
    """What the pair loses without each of its words, the others kept (Zeiler & Fergus 2014)."""
    images: dict[Branch, Tensor] = {"site": site_images, "mirna": mirna_images}
    players = players_of(context)
    lost = np.zeros((len(context.site), int(players.counts.max(initial=0))))
    for branch in BRANCHES:
        owner = players.windows[branch]
        model = beside(net, branch, site_images, mirna_images)
        whole = values(model, images[branch], target)[0]
        named = sorted(set(owner[owner >= 0].tolist()))
        group = at_once(images[branch], len(named))
        for first in range(0, len(named), group):
            some = named[first : first + group]
            without = torch.cat([_image(context, branch, owner != p, images[branch]) for p in some])
            asked = values(model, without, target, copies=len(some))
            for player, difference in zip(some, (whole - asked).cpu().numpy(), strict=True):
                mine = (owner == player).any(1)
                lost[mine, player] = difference[mine]
    return _on_cells(lost, players, context, site_images, mirna_images)


def kmer_shapley(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    context: Context,
    *,
    pairs: int = 8,
) -> tuple[Tensor, Tensor]:
    """`shapley` as maps; both together sum to z(pair) - z(no word at all)."""
    worths = shapley(net, target, context, like=site_images, pairs=pairs)
    shares = np.nan_to_num(worths.shares)
    return _on_cells(shares, worths.players, context, site_images, mirna_images)


def shapley(
    net: nn.Module, target: Target, context: Context, *, like: Tensor, pairs: int = 8
) -> Worths:
    """Shapley values by permutations, each walked forwards and backwards (Mitchell et al. 2022).

    The mean over `pairs` antithetic pairs of what each player adds when it comes; every
    permutation sums to z(pair) - z(no word), and so does the mean. The errors are those of
    independent pairs of permutations, NaN where there is one. `like` is a tensor of the type that
    the network takes, on its device.
    """
    if pairs < 1:
        raise UsageError(f"{pairs} pairs of permutations; there is at least 1")
    players = players_of(context)
    most = int(players.counts.max(initial=0))
    found = np.zeros((pairs, len(context.site), most))
    for turn in range(pairs):
        ranks = np.full((len(context.site), most), most)
        for i, seed in enumerate(context.seeds("shapley", turn)):
            ranks[i, : players.counts[i]] = rng(seed).permutation(int(players.counts[i]))
        back = np.where(ranks < most, players.counts[:, None] - 1 - ranks, most)
        found[turn] = sum(_added(net, target, context, players, r, like) for r in (ranks, back)) / 2
    errors = (
        found.std(0, ddof=1) / math.sqrt(pairs) if pairs > 1 else np.full(found.shape[1:], np.nan)
    )
    return Worths(players, *_real_players(players, found.mean(0), errors))


def shapley_exact(net: nn.Module, target: Target, context: Context, *, like: Tensor) -> Worths:
    """Shapley values by all coalitions, for pairs of up to `MOST_EXACT` players (Shapley 1953)."""
    players = players_of(context)
    most = int(players.counts.max(initial=0))
    if most > MOST_EXACT:
        raise UsageError(
            f"{most} players have too many coalitions; at most {MOST_EXACT} are counted"
        )
    sets = [c for size in range(most + 1) for c in combinations(range(most), size)]
    member = np.zeros((len(sets), most), bool)
    for row, coalition in enumerate(sets):
        member[row, list(coalition)] = True
    present = np.repeat(member[:, None], len(context.site), 1)
    worth = _worth(net, target, context, players, present, like)
    at = {coalition: row for row, coalition in enumerate(sets)}
    shares = np.zeros((len(context.site), most))
    for i, count in enumerate(players.counts.tolist()):
        for coalition in sets:
            if any(p >= count for p in coalition):
                continue
            for player in set(range(count)) - set(coalition):
                joined = at[tuple(sorted((*coalition, player)))]
                weight = 1 / (count * math.comb(count - 1, len(coalition)))
                shares[i, player] += weight * (worth[joined, i] - worth[at[coalition], i])
    return Worths(players, *_real_players(players, shares, np.zeros_like(shares)))


def _added(
    net: nn.Module,
    target: Target,
    context: Context,
    players: Players,
    ranks: np.ndarray,
    like: Tensor,
) -> Float[np.ndarray, "b players"]:
    """What each player adds when it comes, for one order of each pair's players."""
    most = ranks.shape[1]
    present = ranks[None] < np.arange(most + 1)[:, None, None]
    steps = np.diff(_worth(net, target, context, players, present, like), axis=0)
    added: np.ndarray = np.take_along_axis(steps.T, np.minimum(ranks, max(most - 1, 0)), 1)
    return np.where(ranks < most, added, 0.0)


def _worth(
    net: nn.Module,
    target: Target,
    context: Context,
    players: Players,
    present: Bool[np.ndarray, "n b players"],
    like: Tensor,
) -> Float[np.ndarray, "n b"]:
    """The target of each pair with only some of its words, for n coalitions."""
    sides = {branch: (context.bins(branch), *[1 << context.encoding.k] * 2) for branch in BRANCHES}
    numbers = sum(math.prod(shape) for shape in sides.values())
    group = at_once(like.new_empty(len(context.site), numbers), len(present))
    model, found = Packed(net, tuple(sides.values())), list[np.ndarray]()
    rows = np.arange(len(context.site))[:, None]
    for first in range(0, len(present), group):
        some = present[first : first + group]
        images = []
        for branch in BRANCHES:
            owner = players.windows[branch]
            keep = [(owner >= 0) & chosen[rows, owner] for chosen in some]
            images.append(torch.cat([_image(context, branch, one, like) for one in keep]))
        found.append(values(model, pack(images), target, copies=len(some)).cpu().numpy())
    return np.concatenate(found).astype(np.float64)


def _image(context: Context, branch: Branch, keep: np.ndarray, like: Tensor) -> Tensor:
    """Images with some windows only, each of the weight that it has among all of them."""
    batch, k, bins = context.strands(branch), context.encoding.k, context.bins(branch)
    cells = torch.where(torch.from_numpy(keep), cells_of(batch, k, bins), -1)
    totals = torch.from_numpy(window_counts(batch, k)).clamp(min=1)
    return scattered(cells.to(like.device), totals.to(like.device), k, bins).to(like.dtype)


def _real_players(
    players: Players, shares: np.ndarray, errors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    there = np.arange(shares.shape[1]) < players.counts[:, None]
    return np.where(there, shares, np.nan), np.where(there, errors, np.nan)


def _on_cells(
    shares: Float[np.ndarray, "b players"], players: Players, context: Context, *like: Tensor
) -> tuple[Tensor, Tensor]:
    """Maps in which each window has the same part of its word's share."""
    maps = []
    for branch, image in zip(BRANCHES, like, strict=True):
        owner = players.windows[branch]
        cells = cells_of(context.strands(branch), context.encoding.k, context.bins(branch))
        part = np.zeros(owner.shape)
        for i, mine in enumerate(owner):
            alike = np.bincount(mine[mine >= 0], minlength=shares.shape[1])
            part[i] = np.where(mine >= 0, shares[i, mine] / np.maximum(alike[mine], 1), 0.0)
        flat = torch.zeros(image.flatten(1).shape, dtype=torch.double)
        flat.scatter_add_(1, cells.clamp(min=0), torch.from_numpy(part))
        maps.append(flat.to(image).view_as(image))
    return maps[0], maps[1]
