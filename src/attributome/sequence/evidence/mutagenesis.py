"""Exact in-silico mutagenesis: every letter of a pair replaced by every other one, and asked.

The mutants are sequences, so their images are images that the network may meet, and what they say
is the reference that other methods are scored against. Only the branch that changes runs anew
where a network can be cut (see `branches`). `hypothetical` says what the slope of an image would
foretell instead.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.probe import at_once, values
from attributome.core.types import Predictor, Target
from attributome.sequence.alphabet import LETTERS, UNKNOWN, Strands
from attributome.sequence.evidence.branches import beside, encoded, images_of
from attributome.sequence.fcgr import pixel_of, window_counts
from attributome.sequence.images import cells_of
from attributome.sequence.tracks import BRANCHES, Branch, ImageMaps

AT_ONCE = 512
"""Mutants that are asked about together where nobody says otherwise: those of any one pair are."""

LEAST = 64
"""How many of them run at once on a CPU, whose caches overflow with more: half the time of 512."""

Effects = Float[np.ndarray, "b length 4"]

_ROW, _COLUMN = np.array([pixel_of(letter) for letter in LETTERS]).T


@dataclass(frozen=True, slots=True, eq=False)
class Mutants:
    """What each substitution does to the target: z(mutant) - z(pair), letters in order A, C, G, T.

    0 at a letter itself; NaN where it is N, and behind the end. `reference` is z(pair).
    """

    mirna: Float[np.ndarray, "b lm 4"]
    site: Float[np.ndarray, "b ls 4"]
    reference: Float[np.ndarray, " b"]


def mutagenesis(
    net: nn.Module, mirna: Strands, site: Strands, *, target: Target, batch: int = AT_ONCE
) -> Mutants:
    """All 3L single mutants of each branch, those of one pair in one batch of at most `batch`."""
    if batch < 1:
        raise UsageError(f"batch is {batch}; at least 1 mutant runs at a time")
    strands: dict[Branch, Strands] = {"site": site, "mirna": mirna}
    images = images_of(net, mirna, site)
    found, before = dict[Branch, np.ndarray](), dict[Branch, Tensor]()
    for branch in BRANCHES:
        model = beside(net, branch, images["site"], images["mirna"])
        before[branch] = values(model, images[branch], target, chunk=batch)[0]
        found[branch] = _effects(
            net, model, branch, strands[branch], before[branch], target, batch=batch
        )
    return Mutants(found["mirna"], found["site"], before["site"].cpu().numpy())


def positions_of(effects: Effects) -> Float[np.ndarray, "b length"]:
    """Importance of each letter: what the pair loses, on average, if another one stands there.

    Minus the mean over the three others, of `Mutants` or of `hypothetical`; NaN where they are.
    """
    lost: np.ndarray = -effects.sum(2) / 3  # the letter itself has 0
    return lost


def hypothetical(
    slopes: ImageMaps, batch: Strands, k: int, bins: int | None = None
) -> Float[np.ndarray, "b length 4"]:
    """The effect of each substitution to first order, from the gradient at the image.

    A substitution takes one window from up to k cells and gives it to others, each worth
    1 / (L - k + 1). Exact for a linear network; layout and NaN as in `Mutants`.
    """
    if slopes.shape[1] != (bins or slopes.shape[1]) or slopes.shape[2:] != (1 << k, 1 << k):
        raise UsageError(
            f"slopes of shape {tuple(slopes.shape)} are none of images at k = {k}"
            + (f" with {bins} position channels" if bins else "")
        )
    flat = slopes.detach().double().cpu().flatten(1)
    codes = torch.from_numpy(batch.codes.astype(np.int64))
    cells = cells_of(batch, k, slopes.shape[1])
    own = flat.gather(1, cells.clamp(min=0))
    found = torch.zeros(*codes.shape, 4, dtype=torch.double)
    count = cells.shape[1]
    for i in range(k if count else 0):  # the letter is the i-th of its window
        letters = codes[:, i : i + count].clamp(max=3)
        for letter in range(4):
            moved = cells + ((_step(letter) - _step(letters)) << i) @ torch.tensor([1 << k, 1])
            other = flat.gather(1, torch.where(cells >= 0, moved, 0))
            found[:, i : i + count, letter] += torch.where(cells >= 0, other - own, 0)
    found /= torch.from_numpy(window_counts(batch, k)).clamp(min=1)[:, None, None]
    found[codes == UNKNOWN] = torch.nan
    return found.to(slopes.dtype).numpy()


def _effects(
    net: nn.Module,
    model: Predictor,
    branch: Branch,
    strands: Strands,
    before: Float[Tensor, " b"],
    target: Target,
    *,
    batch: int,
) -> np.ndarray:
    """Mutant by mutant, each of all pairs: copies of the batch, as the doors take them."""
    codes, width = strands.codes, strands.codes.shape[1]
    found = np.zeros((*codes.shape, 4), before.cpu().numpy().dtype)
    found[codes == UNKNOWN] = np.nan
    mutants = [(place, turn) for place in range(width) for turn in (1, 2, 3)]
    group = max(1, batch // max(1, len(codes)))
    for first in range(0, len(mutants), group):
        some = mutants[first : first + group]
        mutated = np.stack([_mutated(codes, place, turn) for place, turn in some])
        rows = Strands(mutated.reshape(-1, width), np.tile(strands.lengths, len(some)))
        images = encoded(net, branch, rows)
        chunk = min(batch, max(LEAST, at_once(images[:1], len(images))))
        asked = values(model, images, target, copies=len(some), chunk=chunk)
        effects = (asked - before).cpu().numpy()
        for (place, _), effect, new in zip(some, effects, mutated[:, :, :], strict=True):
            at = np.flatnonzero(codes[:, place] < UNKNOWN)
            found[at, place, new[at, place]] = effect[at]
    return found


def _mutated(
    codes: UInt8[np.ndarray, "b length"], place: int, turn: int
) -> UInt8[np.ndarray, "b length"]:
    """Another letter at one place of each sequence that has a letter there."""
    new = codes.copy()
    own = codes[:, place]
    new[:, place] = np.where(own < UNKNOWN, (own + turn) % 4, own)
    return new


def _step(letters: int | Tensor) -> Tensor:
    """(row, column) of letters at k = 1."""
    places = torch.from_numpy(np.stack([_ROW, _COLUMN], 1))
    return places[letters]
