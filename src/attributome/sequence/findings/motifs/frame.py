"""Site tracks seen from their miRNA: what counts where each of its nucleotides would pair.

Each miRNA has a seed of its own, so a seed match is no motif in letters across miRNAs. Here each
site is laid against its miRNA at the best ungapped match of the reverse complement, and the track
is read nucleotide by nucleotide of the miRNA. The control lays the same sites against the miRNAs
of other groups: what a network sees in letters alone is then seen as well.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from attributome.core.bootstrap import cluster_bootstrap
from attributome.core.errors import DataError
from attributome.core.seeds import rng
from attributome.sequence.alphabet import UNKNOWN, Strands

Rows = Float[np.ndarray, "n nucleotides"]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The profile over nucleotides of the miRNA, and where it is strongest.

    `profile` has a row per `nucleotide` (from 1): `mean`, `low`, `high` (the track there, with its
    interval over groups), `n`, `groups`, `control` (the mean with foreign miRNAs), `excess`,
    `excess_low`, `excess_high` (own minus foreign, pair by pair). `first` to `last` are the
    nucleotides, both included, of the `window` in a row with the largest sum of `excess` (of `mean`
    where there is one group and so no control).
    """

    profile: pd.DataFrame
    first: int
    last: int


def seed_frame(
    tracks: Float[np.ndarray, "n length"],
    sites: Strands,
    mirnas: Strands,
    groups: Shaped[np.ndarray, " l"],
    *,
    window: int = 7,
    controls: int = 5,
    draws: int = 1000,
    seed: int = 0,
) -> Frame:
    """Profile of site tracks over the nucleotides of the miRNA that they would pair with."""
    if not len(tracks) == len(sites) == len(mirnas) == len(groups) or not len(tracks):
        raise DataError(
            f"{len(tracks)} tracks, {len(sites)} sites, {len(mirnas)} miRNAs and {len(groups)} "
            f"groups are no pairs: give one of each for each pair, and at least one pair"
        )
    own = in_frame(tracks, sites, mirnas)
    others = [
        in_frame(tracks, sites, foreign(mirnas, groups, seed=seed, turn=turn))
        for turn in range(controls if len(np.unique(groups)) > 1 else 0)
    ]
    width = own.shape[1]
    told = cluster_bootstrap(own, groups, draws=draws, seed=seed)
    told.insert(0, "nucleotide", np.arange(1, width + 1))
    control = _mean(np.stack(others)) if others else np.full(own.shape, np.nan)
    told["control"] = _mean(control)
    excess = cluster_bootstrap(own - control, groups, draws=draws, seed=seed)
    for name, column in (("excess", "mean"), ("excess_low", "low"), ("excess_high", "high")):
        told[name] = excess[column]
    signal = np.nan_to_num(told["excess" if others else "mean"].to_numpy())
    sums = np.convolve(signal, np.ones(min(window, width)), "valid")
    first = int(sums.argmax()) + 1
    return Frame(told, first, first + min(window, width) - 1)


def in_frame(tracks: Float[np.ndarray, "n length"], sites: Strands, mirnas: Strands) -> Rows:
    """The track where each nucleotide of the miRNA would pair; NaN beside the site."""
    return read_at(tracks, partners(sites, mirnas))


def partners(sites: Strands, mirnas: Strands) -> Int[np.ndarray, "n nucleotides"]:
    """Position of the site across each nucleotide of the miRNA; -1 beside the site."""
    nucleotide = np.arange(mirnas.codes.shape[1])
    anchor = anchors(sites, mirnas)[:, None]
    at = anchor - nucleotide
    inside = (
        (anchor >= 0)
        & (at >= 0)
        & (at < sites.lengths[:, None])
        & (nucleotide < mirnas.lengths[:, None])
    )
    found: np.ndarray = np.where(inside, at, -1)
    return found


def read_at(
    tracks: Float[np.ndarray, "n length"], places: Int[np.ndarray, "n nucleotides"]
) -> Rows:
    """A track at these places, NaN at -1."""
    values = np.take_along_axis(tracks, np.maximum(places, 0), 1)
    found: np.ndarray = np.where(places >= 0, values, np.nan).astype(np.float64)
    return found


def anchors(sites: Strands, mirnas: Strands) -> Int[np.ndarray, " n"]:
    """For each pair the sum of positions (from 0) of miRNA and site that pair at the best match.

    Strands pair antiparallel, so position i of a miRNA lies against position `anchor - i` of the
    site. The best match is the ungapped stretch with the most Watson-Crick pairs, less one for
    each mismatch; of equals (the shortest on each diagonal) the one that starts nearest to the 5'
    end of the miRNA, and then the rightmost in the site. -1 where nothing pairs.
    """
    length, width = mirnas.codes.shape[1], sites.codes.shape[1]
    diagonal = np.arange(length + width - 1)
    run = np.zeros((len(sites), len(diagonal)), np.int64)
    begin = np.zeros_like(run)
    best = np.zeros(len(sites), np.int64)
    anchor = np.full(len(sites), -1, np.int64)
    start = np.full(len(sites), length, np.int64)
    for i in range(length):
        at = diagonal - i
        inside = (at >= 0) & (at < width)
        letter = sites.codes[:, np.where(inside, at, 0)]
        own = mirnas.codes[:, i : i + 1]
        both = (letter < UNKNOWN) & (own < UNKNOWN) & inside
        pays = np.where(both, np.where(letter + own == 3, 1, -1), -length - width)
        begin = np.where(run <= 0, i, begin)
        run = np.maximum(run, 0) + pays
        # most pairs, then nearest to the 5' end, then rightmost
        rank = (run * (length + 1) - begin) * (len(diagonal) + 1) + diagonal
        place = rank.argmax(1)
        rows = np.arange(len(sites))
        score, first = run[rows, place], begin[rows, place]
        better = (score > best) | (
            (score == best) & ((first < start) | ((first == start) & (place > anchor)))
        )
        best = np.where(better, score, best)
        start = np.where(better, first, start)
        anchor = np.where(better, place, anchor)
    return anchor


def foreign(
    mirnas: Strands, groups: Shaped[np.ndarray, " n"], *, seed: int, turn: int = 0
) -> Strands:
    """For each pair a miRNA of another group; all pairs of a group get the same group's."""
    names, first, index = np.unique(groups, return_index=True, return_inverse=True)
    generator = rng(seed, "foreign miRNAs", turn)
    order = generator.permutation(len(names))
    after = np.empty(len(names), np.int64)
    after[order] = np.roll(order, -1)  # one round over all groups: none meets itself
    chosen = first[after[index]]
    return Strands(mirnas.codes[chosen], mirnas.lengths[chosen])


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of the values that exist."""
    there = (~np.isnan(values)).sum(0)
    out: np.ndarray = np.full(there.shape, np.nan)
    np.divide(np.nan_to_num(values).sum(0), there, out=out, where=there > 0)
    return out
