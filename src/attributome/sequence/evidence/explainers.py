"""Methods that are of sequences: what exists for any network is called from `explain`.

Two tables. `PAIR_METHODS` give an attribution image per branch (`tracks.to_positions` brings it
back to the letters); `LETTER_METHODS` give the effect of every substitution, (b, L, 4) per branch,
whose negative mean over the three other letters is the importance of a letter. `explained` runs
either and gives both views. All are in units of the target, and signed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.types import Target
from attributome.sequence.evidence.branches import images_of
from attributome.sequence.evidence.kmers import kmer_shapley, occlusion_kmers
from attributome.sequence.evidence.letters import (
    exact_mutagenesis,
    hypothetical_here,
    hypothetical_shuffled,
    hypothetical_spaced,
)
from attributome.sequence.evidence.mutagenesis import positions_of
from attributome.sequence.evidence.pair_gradients import (
    expected_gradients_real,
    expected_gradients_shuffled,
    integrated_gradients_by_branch,
    smooth_grad_sequence,
    smooth_grad_simplex,
)
from attributome.sequence.evidence.references import Context
from attributome.sequence.tracks import BRANCHES, Branch, to_maps, to_positions


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """One method's answer in both views; `off_support` is what a map says of absent words.

    A method in sequence space has no map of its own: its maps are pictures (`tracks.to_maps`), and
    its `effects` hold every substitution, (b, L, 4); methods on images have none.
    """

    maps: dict[Branch, Tensor]
    tracks: dict[Branch, np.ndarray]
    off_support: dict[Branch, np.ndarray]
    effects: dict[Branch, np.ndarray] | None = None


PairMethod = Callable[..., tuple[Tensor, Tensor]]
"""`(net, site_images, mirna_images, target, context, **options)` to maps of site and miRNA."""

LetterMethod = Callable[..., dict[Branch, np.ndarray]]
"""The same arguments to the effects of substitutions in each branch."""

PAIR_METHODS: dict[str, PairMethod] = {
    one.__name__: one
    for one in (
        integrated_gradients_by_branch,
        expected_gradients_shuffled,
        expected_gradients_real,
        smooth_grad_simplex,
        smooth_grad_sequence,
        occlusion_kmers,
        kmer_shapley,
    )
}

LETTER_METHODS: dict[str, LetterMethod] = {
    "hypothetical_here": hypothetical_here,
    "hypothetical_shuffled": hypothetical_shuffled,
    "hypothetical_spaced": hypothetical_spaced,
    "mutagenesis": exact_mutagenesis,
}

DEFAULT = "hypothetical_spaced"


def explained(
    name: str, net: nn.Module, target: Target, context: Context, **options: object
) -> Explained:
    """Run a method of either table on a batch of pairs."""
    if name not in (known := [*PAIR_METHODS, *LETTER_METHODS]):
        raise UsageError(f"no method {name!r} for pairs; there are {sorted(known)}")
    images = images_of(net, context.mirna, context.site)
    asked = (net, images["site"], images["mirna"], target, context)
    if name in PAIR_METHODS:
        return from_maps(PAIR_METHODS[name](*asked, **options), context)
    return from_effects(LETTER_METHODS[name](*asked, **options), context)


def from_maps(maps: tuple[Tensor, Tensor], context: Context) -> Explained:
    """Maps of site and miRNA, of any method on images, with their tracks."""
    named: dict[Branch, Tensor] = dict(zip(BRANCHES, maps, strict=True))
    both = {
        branch: to_positions(one, context.strands(branch), context.encoding.k)
        for branch, one in named.items()
    }
    return Explained(
        named,
        {branch: tracks for branch, (tracks, _) in both.items()},
        {branch: off for branch, (_, off) in both.items()},
    )


def from_effects(effects: dict[Branch, np.ndarray], context: Context) -> Explained:
    """Effects of substitutions, as importance of letters and as pictures of that."""
    tracks = {branch: positions_of(one) for branch, one in effects.items()}
    maps = {
        branch: to_maps(one, context.strands(branch), context.encoding.k, context.bins(branch))
        for branch, one in tracks.items()
    }
    none = np.zeros(len(context.site), np.float32)
    return Explained(maps, tracks, dict.fromkeys(BRANCHES, none), effects)
