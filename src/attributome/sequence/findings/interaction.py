"""Which positions of a miRNA and of its site act together: a map of position by position.

A network that only adds up what it sees in both strands has a map of zeros, however well it
predicts. So the map shows what a product of two importance maps cannot (see `outer_product`).
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Packed, pack
from attributome.core.probe import gradient, values
from attributome.core.types import Target
from attributome.sequence.alphabet import UNKNOWN, Strands
from attributome.sequence.evidence.branches import PARTS, beside, can_be_cut, encoded, features
from attributome.sequence.evidence.mutagenesis import hypothetical
from attributome.sequence.tracks import Branch

Letters = Literal["mean", "complement"]
"""What a letter is replaced by: each of the three others, averaged, or the one it pairs with."""

Epistasis = Float[np.ndarray, "b mirna site"]
AT_ONCE = 1024
"""Rows that run together where nobody says otherwise."""


def epistasis(
    net: nn.Module,
    mirna: Strands,
    site: Strands,
    *,
    target: Target,
    letters: Letters = "mean",
    batch: int = AT_ONCE,
) -> Epistasis:
    """z(pair) - z(p mutated) - z(q mutated) + z(both), for each position p of the miRNA, q of site.

    Positive where two letters are worth more together than each alone. With "mean" it is the
    mean over the 3 x 3 substitutions, 9 Lm Ls rows per pair; with "complement" both letters turn
    into what they pair with, Lm Ls rows. NaN where a letter is N, and behind an end. Each branch
    runs once per single mutant where the network can be cut (see `branches`).
    """
    _check(mirna, site, letters, batch)
    sizes = mirna.codes.shape[1], site.codes.shape[1]
    sites = _parts(net, "site", site, letters, batch)
    mirnas = _parts(net, "mirna", mirna, letters, batch)
    turns = 3 if letters == "mean" else 1
    both = _values(net, mirnas, sites, target, batch)  # (1 + Lm V, 1 + Ls V, b)
    together = both[1:, 1:].reshape(sizes[0], turns, sizes[1], turns, -1).mean((1, 3))
    one = both[1:, 0].reshape(sizes[0], 1, turns, -1).mean(2)
    other = both[0, 1:].reshape(1, sizes[1], turns, -1).mean(2)
    return _told(both[0, 0] - one - other + together, sites, mirna, site)


def mixed_derivative(
    net: nn.Module,
    mirna: Strands,
    site: Strands,
    *,
    target: Target,
    letters: Letters = "mean",
    batch: int = AT_ONCE,
) -> Epistasis:
    """`epistasis` to first order in the site: how a miRNA's mutation changes the site's gradient.

    The change of the gradient at the site's image, along the change of that image which the
    site's mutation makes. It equals `epistasis` where the target is linear in the site's image
    for every miRNA, and costs one gradient per mutant of the miRNA. The change in the miRNA stays
    finite: the second derivative proper is 0 almost everywhere for networks of ReLU and pooling.
    """
    _check(mirna, site, letters, batch)
    width, turns = mirna.codes.shape[1], 3 if letters == "mean" else 1
    image = encoded(net, "site", site)
    mutants = np.concatenate([mirna.codes[None], _mutants(mirna.codes, letters)])
    effects = []
    group = max(1, batch // max(1, len(site)))
    for start in range(0, len(mutants), group):
        some = mutants[start : start + group]
        copies = len(some)
        rows = Strands(some.reshape(-1, width), np.tile(mirna.lengths, copies))
        x = image.repeat(copies, 1, 1, 1)
        model = beside(net, "site", x, encoded(net, "mirna", rows))
        slopes = gradient(model, x, target, copies=copies, chunk=batch)
        again = Strands(np.tile(site.codes, (copies, 1)), np.tile(site.lengths, copies))
        told = hypothetical(slopes, again, slopes.shape[-1].bit_length() - 1)
        effects.append(_of_letters(told, again.codes, letters).reshape(copies, *site.codes.shape))
    change = np.concatenate(effects)
    per = (change[1:] - change[0]).reshape(width, turns, *site.codes.shape).mean(1)
    return _told(per.transpose(0, 2, 1), image, mirna, site)


def outer_product(
    site_map: Float[np.ndarray, "b pixels"],
    mirna_map: Float[np.ndarray, "b pixels"],
    *,
    blocks: int = 64,
) -> Float[np.ndarray, "b blocks blocks"]:
    """Upstream's "interaction heat map", miRNA down, site across: for comparison only.

    The outer product of both pixel maps, averaged in equal blocks. It is the outer product of the
    block means, so of rank 1, whatever the network does; a block is a run of pixels of the image
    (one row at k = 6) and no position of a sequence.
    """
    pixels = site_map.shape[1]
    if blocks < 1 or pixels % blocks:
        raise UsageError(f"{pixels} pixels cannot be cut into {blocks} equal blocks")
    rows, columns = (one.reshape(len(one), blocks, -1).mean(2) for one in (mirna_map, site_map))
    found: np.ndarray = rows[:, :, None] * columns[:, None, :]
    return found


class _Head(nn.Module):
    """The network from the features of both branches; a module, so that the doors freeze it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, site: Tensor, mirna: Tensor) -> Tensor:
        out: Tensor = getattr(self.net, PARTS[2])(site, mirna)
        return out


def _parts(
    net: nn.Module, branch: Branch, strands: Strands, letters: Letters, batch: int
) -> Float[Tensor, "mutants b ..."]:
    """Images of a branch as it is and of all its mutants; features where the network can be cut."""
    codes = np.concatenate([strands.codes[None], _mutants(strands.codes, letters)])
    group, found = max(1, batch // max(1, len(strands))), []
    for start in range(0, len(codes), group):
        some = codes[start : start + group]
        rows = Strands(some.reshape(-1, codes.shape[2]), np.tile(strands.lengths, len(some)))
        images = encoded(net, branch, rows)
        made = features(net, branch, images) if can_be_cut(net) else images
        found.append(made.unflatten(0, some.shape[:2]))
    return torch.cat(found)


def _values(
    net: nn.Module,
    mirna: Float[Tensor, "m b *f"],
    site: Float[Tensor, "s b *g"],
    target: Target,
    batch: int,
) -> Float[np.ndarray, "m s b"]:
    """The target of every miRNA with every site of the same pair, in float64."""
    model = Packed(
        _Head(net) if can_be_cut(net) else net, (tuple(site.shape[2:]), tuple(mirna.shape[2:]))
    )
    total, group = len(mirna) * len(site), max(1, batch // max(1, mirna.shape[1]))
    found = []
    for start in range(0, total, group):
        row = torch.arange(start, min(start + group, total), device=site.device)
        parts = site[row % len(site)], mirna[row // len(site)]
        rows = pack([part.flatten(0, 1) for part in parts])
        asked = values(model, rows, target, copies=len(row), chunk=batch)
        found.append(asked.double().cpu().numpy())
    together: np.ndarray = np.concatenate(found).reshape(len(mirna), len(site), -1)
    return together


def _mutants(
    codes: UInt8[np.ndarray, "b length"], letters: Letters
) -> UInt8[np.ndarray, "mutants b length"]:
    """Every position in turn with another letter, its substitutions one after the other."""
    turns = (1, 2, 3) if letters == "mean" else (0,)
    found = np.repeat(codes[None], codes.shape[1] * len(turns), 0)
    for place in range(codes.shape[1]):
        own = codes[:, place]
        for i, turn in enumerate(turns):
            new = (own + turn) % 4 if turn else 3 - np.minimum(own, 3)
            found[place * len(turns) + i, :, place] = np.where(own < UNKNOWN, new, own)
    return found


def _of_letters(
    effects: Float[np.ndarray, "b length 4"],
    codes: UInt8[np.ndarray, "b length"],
    letters: Letters,
) -> Float[np.ndarray, "b length"]:
    """The effect of what `letters` puts in each place."""
    if letters == "mean":
        mean: np.ndarray = effects.sum(2, dtype=np.float64) / 3  # the letter itself has 0
        return mean
    partner = 3 - np.minimum(codes, 3).astype(np.int64)
    found: np.ndarray = np.take_along_axis(effects, partner[..., None], 2)[..., 0]
    return found.astype(np.float64)


def _told(
    found: Float[np.ndarray, "mirna site b"], like: Tensor, mirna: Strands, site: Strands
) -> Epistasis:
    known = (mirna.codes < UNKNOWN)[:, :, None] & (site.codes < UNKNOWN)[:, None, :]
    kind = np.float64 if like.dtype == torch.float64 else np.float32
    return np.where(known, found.transpose(2, 0, 1), np.nan).astype(kind)


def _check(mirna: Strands, site: Strands, letters: str, batch: int) -> None:
    if len(mirna) != len(site):
        raise UsageError(f"{len(mirna)} miRNAs and {len(site)} sites are no pairs")
    if not len(mirna):
        raise UsageError("there are no pairs: give at least one")
    if letters not in ("mean", "complement"):
        raise UsageError(f'no letters {letters!r}: they are "mean" or "complement"')
    if batch < 1:
        raise UsageError(f"batch is {batch}; at least 1 row runs at a time")
