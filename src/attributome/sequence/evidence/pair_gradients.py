"""Attribution images of pairs from gradients: with references and noise that are of sequences.

Integrated gradients of both branches together, DeepLIFT and the like are in `explain`, which takes
networks of two inputs; all here are in units of the target, signed.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from attributome.core.draws import each, normal
from attributome.core.probe import at_once, gradient
from attributome.core.types import Target
from attributome.sequence.evidence.branches import beside
from attributome.sequence.evidence.references import Context, Pairs, real, shuffled, substituted
from attributome.sequence.evidence.slopes import (
    Images,
    Points,
    at_least,
    between,
    both,
    copies,
    mean_slope,
    slopes_at,
)
from attributome.sequence.fcgr import window_counts
from attributome.sequence.tracks import Branch, MirnaImages, SiteImages

WIDER = 4
"""How many times fewer images run together than elsewhere: branches widen theirs to hundreds of
channels, and 8 of upstream's at k = 6 took seven eighths of the time of 32 on a CPU."""


def integrated_gradients_by_branch(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    context: Context,
    *,
    steps: int = 50,
) -> tuple[Tensor, Tensor]:
    """Integrated gradients of each branch from the empty image, the other branch as it is.

    Gauss-Legendre (Sundararajan et al. 2017), so a map sums to z(pair) - z(that image empty); the
    two do not add up to a joint difference. The branch that is kept is computed once where the
    network can be cut. Words that a sequence lacks get exactly 0.
    """
    at_least(steps, "steps")
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    images: Images = {"site": site_images, "mirna": mirna_images}
    found = []
    for branch, x in images.items():
        model = beside(net, branch, site_images, mirna_images, near=True)
        total, group = torch.zeros_like(x), max(1, at_once(x, steps) // WIDER)
        for first in range(0, steps, group):
            some = nodes[first : first + group]
            points = torch.cat([float(node + 1) / 2 * x for node in some])
            slopes = gradient(model, points, target, copies=len(some)).view(len(some), *x.shape)
            share = torch.from_numpy(weights[first : first + group] / 2).to(slopes)
            total += torch.einsum("n,n...->...", share, slopes)
        found.append(x * total)
    return found[0], found[1]


def expected_gradients_shuffled(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    context: Context,
    *,
    draws: int = 32,
) -> tuple[Tensor, Tensor]:
    """Expected gradients of both branches together, from dinucleotide shuffles of the own pair.

    Each draw takes another shuffle of both sequences and one gradient between it and the pair
    (Erion et al. 2021); the maps sum to z(pair) minus the mean z of the shuffles, up to the error
    of the draws. What a shuffle holds and the pair does not counts with it, off the support.
    """
    return _expected(net, both(site_images, mirna_images), target, context, shuffled, draws)


def expected_gradients_real(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    context: Context,
    *,
    draws: int = 32,
) -> tuple[Tensor, Tensor]:
    """As `expected_gradients_shuffled`, from the real pairs of the context's background."""
    return _expected(net, both(site_images, mirna_images), target, context, real, draws)


def smooth_grad_simplex(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    context: Context,
    *,
    noise: float = 0.1,
    draws: int = 16,
) -> tuple[Tensor, Tensor]:
    """Image times mean gradient under noise that leaves it an image (Smilkov et al. 2017).

    Each word of the sequence gets Gaussian noise of `noise` windows, `noise / (L - k + 1)`, less
    its mean, so that the image keeps its sum; it never falls below 0, and absent words stay absent.
    """
    at_least(draws, "draws")
    images = both(site_images, mirna_images)

    def points() -> Points:
        for draw in range(draws):
            yield {
                branch: _jittered(x, context, branch, noise, draw) for branch, x in images.items()
            }

    return _times(images, mean_slope(net, target, points(), draws, len(site_images)))


def smooth_grad_sequence(
    net: nn.Module,
    site_images: SiteImages,
    mirna_images: MirnaImages,
    target: Target,
    context: Context,
    *,
    share: float = 0.1,
    draws: int = 16,
) -> tuple[Tensor, Tensor]:
    """Image times mean gradient over near mutants: SmoothGrad whose noise stays among sequences.

    Each letter is substituted with probability `share`.
    """
    at_least(draws, "draws")
    images = both(site_images, mirna_images)
    near = substituted(context, draws, share)
    points = copies(near, context, images, draws)
    return _times(images, mean_slope(net, target, points, draws, len(site_images)))


def _expected(
    net: nn.Module,
    images: Images,
    target: Target,
    context: Context,
    draw: Callable[[Context, int], Pairs],
    draws: int,
) -> tuple[Tensor, Tensor]:
    at_least(draws, "draws")
    rows = draw(context, draws)
    points = between(rows, context, images, draws)
    total = {branch: torch.zeros_like(x) for branch, x in images.items()}
    slopes = slopes_at(net, target, points, draws, len(context.site))
    references = copies(rows, context, images, draws)  # made again: all of them would fill memory
    for reference, slope in zip(references, slopes, strict=True):
        for branch, x in images.items():
            total[branch] += (x - reference[branch]) * slope[branch] / draws
    return total["site"], total["mirna"]


def _jittered(x: Tensor, context: Context, branch: Branch, noise: float, draw: int) -> Tensor:
    """Noise on the words that are there, which leaves the sum of the image."""
    held = (x > 0).to(x)
    jitter = held * each(x, context.seeds("noise", branch, draw), normal)
    jitter -= held * (_total(jitter) / _total(held).clamp(min=1))
    counts = torch.from_numpy(window_counts(context.strands(branch), context.encoding.k)).to(x)
    moved = (x + noise / counts.clamp(min=1).view(-1, 1, 1, 1) * jitter).clamp(min=0)
    return moved * (_total(x) / _total(moved).clamp(min=torch.finfo(x.dtype).tiny))


def _total(x: Tensor) -> Tensor:
    """Sum of each image, to multiply it by."""
    return x.flatten(1).sum(1).view(-1, 1, 1, 1)


def _times(images: Images, slopes: Images) -> tuple[Tensor, Tensor]:
    return images["site"] * slopes["site"], images["mirna"] * slopes["mirna"]
