"""The effect of every substitution, foretold from few gradients or asked one by one.

A gradient image gives a hypothetical matrix (see `mutagenesis.hypothetical`); where the gradient is
taken decides how well that foretells mutagenesis. For an early `PairNet` (k = 5) and the Hejret
pairs, the rank correlation with mutagenesis over the letters of a pair was, as the median of 40
validation pairs with its 95 % interval over their 18 miRNAs, 0.93 (0.92 to 0.94) half way to
mutants whose substitutions lie 8 apart, 0.83 (0.73 to 0.90) at the pair itself, and 0.68 (0.58 to
0.71) on the lines to its shuffles, far from the pair. For upstream's network (k = 4, trained for 3
epochs, 24 pairs) the first two were 0.88 and 0.72. So `hypothetical_spaced` is the default.
"""

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from attributome.core.probe import at_once, gradient
from attributome.core.types import Predictor, Target
from attributome.sequence.alphabet import UNKNOWN, Strands
from attributome.sequence.evidence.branches import beside
from attributome.sequence.evidence.mutagenesis import Effects, hypothetical, mutagenesis
from attributome.sequence.evidence.references import Context, shuffled
from attributome.sequence.evidence.slopes import (
    Images,
    at_least,
    between,
    both,
    mean_slope,
    slopes_of,
)
from attributome.sequence.tracks import BRANCHES, Branch, ImageMaps, MirnaImages, SiteImages


def hypothetical_here(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    context: Context,
) -> dict[Branch, Effects]:
    """The effect of each substitution from the gradient at the pair."""
    images = both(site_images, mirna_images)
    return _foretold(slopes_of(net, target, images, 1), context)


def hypothetical_shuffled(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    context: Context,
    *,
    draws: int = 16,
) -> dict[Branch, Effects]:
    """The same from the mean gradient on the lines from the pair to its dinucleotide shuffles."""
    at_least(draws, "draws")
    images = both(site_images, mirna_images)
    points = between(shuffled(context, draws), context, images, draws)
    return _foretold(mean_slope(net, target, points, draws, len(site_images)), context)


def hypothetical_spaced(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    context: Context,
    *,
    spacing: int = 8,
) -> dict[Branch, Effects]:
    """Each substitution from the gradient half way to a mutant that has it, and others far from it.

    Letters `spacing` apart are substituted at once, so 3 · `spacing` gradients of a branch meet
    every substitution, where mutagenesis asks 3 L times. The slope half way along a line is the
    effect to second order, and those of letters far apart hardly mix; with a spacing of k or more
    no window holds two. The other branch is kept as it is.
    """
    at_least(spacing, "spacing")
    images = both(site_images, mirna_images)
    found = dict[Branch, Effects]()
    for branch in BRANCHES:
        model = beside(net, branch, site_images, mirna_images)
        found[branch] = _spaced(model, branch, images[branch], target, context, spacing)
    return found


def exact_mutagenesis(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    context: Context,
) -> dict[Branch, Effects]:
    """`mutagenesis` itself: the network is asked about every substitution."""
    found = mutagenesis(net, context.mirna, context.site, target=target)
    return {"site": found.site, "mirna": found.mirna}


def _foretold(slopes: Images, context: Context) -> dict[Branch, Effects]:
    return {
        branch: hypothetical(slopes[branch], context.strands(branch), context.encoding.k)
        for branch in BRANCHES
    }


def _spaced(
    model: Predictor,
    branch: Branch,
    x: ImageMaps,
    target: Target,
    context: Context,
    spacing: int,
) -> np.ndarray:
    """The substitutions of one branch, as many of its mutants at once as are worth it."""
    batch, k = context.strands(branch), context.encoding.k
    found = np.full((*batch.codes.shape, 4), np.nan, x.detach().cpu().numpy().dtype)
    row, place = np.nonzero(batch.codes < UNKNOWN)
    found[row, place, batch.codes[row, place]] = 0
    mutants = [(first, turn) for first in range(spacing) for turn in (1, 2, 3)]
    group = at_once(x, len(mutants))
    for begin in range(0, len(mutants), group):
        some = mutants[begin : begin + group]
        codes = [_mutated(batch.codes, first, turn, spacing) for first, turn in some]
        new = [context.encode(branch, Strands(one, batch.lengths), x) for one in codes]
        points = torch.cat([(x + one) / 2 for one in new])
        slopes = gradient(model, points, target, copies=len(some)).view(len(some), *x.shape)
        for mutated, slope in zip(codes, slopes, strict=True):
            effects = hypothetical(slope, batch, k)
            row, place = np.nonzero(mutated != batch.codes)
            letter = mutated[row, place]
            found[row, place, letter] = effects[row, place, letter]
    return found


def _mutated(
    codes: UInt8[np.ndarray, "b length"], first: int, turn: int, spacing: int
) -> UInt8[np.ndarray, "b length"]:
    """Another letter at `first` and at every `spacing`-th place from there, where there is one."""
    new = codes.copy()
    own = codes[:, first::spacing]
    new[:, first::spacing] = np.where(own < UNKNOWN, (own + turn) % 4, own)
    return new
