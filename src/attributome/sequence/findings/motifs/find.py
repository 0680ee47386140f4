"""From site tracks to motifs: in letters, in the frame of the miRNA, and how sure both are.

Letters and frame answer different questions. A motif in letters is a word that many sites share:
with one miRNA or few it can be their seed match, across many it cannot. The seed frame asks which
nucleotides of its own miRNA the important letters of each site would pair with.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from attributome.core.errors import DataError
from attributome.sequence.alphabet import Strands, text_of
from attributome.sequence.findings.motifs.clustering import Parts, cluster, cut
from attributome.sequence.findings.motifs.frame import Frame, partners, read_at, seed_frame
from attributome.sequence.findings.motifs.matching import match_to_seeds, own_seeds
from attributome.sequence.findings.motifs.patterns import (
    Motif,
    consensus,
    patterns,
    probabilities,
    similarity,
)
from attributome.sequence.findings.motifs.seqlets import peaks, seqlets
from attributome.sequence.findings.motifs.stability import Stability, correlation, stability

Tracks = Float[np.ndarray, "n length"]
HALF = 200
"""Seqlets of each half, the strongest, that stability is asked of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How motifs are looked for: what is right for sequences of 20 to 50 letters.

    `smooth` is k for tracks that were made of windows of k letters ("conserve" edges), else 1.
    `most` seqlets are clustered, the strongest; `least` make a motif.
    """

    window: int = 7
    flank: int = 2
    fdr: float = 0.1
    smooth: int = 1
    shift: int = 3
    alike: float = 0.6
    least: int = 10
    most: int = 2000
    cuts: int = 4
    nulls: int = 39
    draws: int = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Motifs:
    """What was found. `seqlets` has, beside its own columns, `motif` ("" where in none)."""

    motifs: list[Motif]
    seqlets: pd.DataFrame
    matches: pd.DataFrame
    own: pd.DataFrame
    frame: Frame
    letters_stability: Stability
    frame_stability: Stability


def find_motifs(
    tracks: Tracks,
    hypothetical: Float[np.ndarray, "n length 4"] | None,
    sites: Strands,
    mirnas: Strands,
    groups: Shaped[np.ndarray, " l"],
    *,
    null: Float[np.ndarray, "m other"] | None = None,
    settings: Settings = Settings(),
    seed: int = 0,
) -> Motifs:
    """Motifs of site tracks, the largest first, with the seed frame and two stability statements.

    `null` are tracks where nothing is to be found; without them positions are shuffled (see
    `seqlets`). `hypothetical` is only averaged into the motifs, for logos.
    """
    if not len(tracks) == len(sites) == len(mirnas) == len(groups) or not len(tracks):
        raise DataError(
            f"{len(tracks)} tracks, {len(sites)} sites, {len(mirnas)} miRNAs and {len(groups)} "
            f"groups are no pairs: give one of each for each pair, and at least one pair"
        )
    if tracks.shape != sites.codes.shape:
        raise DataError(
            f"tracks of shape {tracks.shape} came with sites of shape {sites.codes.shape}"
        )
    chosen = seqlets(
        tracks,
        window=settings.window,
        fdr=settings.fdr,
        smooth=settings.smooth,
        null=null,
        seed=seed,
    ).head(settings.most)
    index = np.unique(groups, return_inverse=True)[1]
    motifs = _motifs(tracks, hypothetical, sites, index, chosen, settings)
    chosen["motif"] = ""
    for motif in motifs:
        chosen.loc[motif.members, "motif"] = motif.name
    texts, names = text_of(sites), text_of(mirnas)
    matched = match_to_seeds(motifs, names)
    own = own_seeds(
        motifs,
        chosen,
        texts,
        names,
        groups,
        flank=settings.flank,
        draws=settings.draws,
        seed=seed,
    )
    frame = seed_frame(
        tracks,
        sites,
        mirnas,
        groups,
        window=settings.window,
        draws=settings.draws,
        seed=seed,
    )
    ask = partial(
        stability, cuts=settings.cuts, nulls=settings.nulls, seed=seed, tracks=tracks, groups=groups
    )
    return Motifs(
        motifs,
        chosen,
        matched,
        own,
        frame,
        ask(
            "motifs in letters",
            find=partial(_top, sites=sites, index=index, settings=settings),
            likeness=similarity,
        ),
        ask(
            "the seed frame",
            find=partial(_profile, places=partners(sites, mirnas)),
            likeness=correlation,
        ),
    )


def record(found: Motifs, *, matches: int = 5) -> dict[str, Any]:
    """What was found as plain numbers and words, for JSON; undefined numbers are None."""
    return {
        "motifs": [
            {
                "name": motif.name,
                "consensus": consensus(motif.counts),
                "n": len(motif.members),
                "mirnas": motif.mirnas,
                "counts": motif.counts.tolist(),
                "probabilities": probabilities(motif.counts).tolist(),
                "contributions": motif.contributions.tolist(),
                "hypothetical": None if motif.hypothetical is None else motif.hypothetical.tolist(),
                "matches": _rows(found.matches[found.matches["motif"] == motif.name].head(matches)),
                "own": _rows(found.own[found.own["motif"] == motif.name]),
            }
            for motif in found.motifs
        ],
        "seqlets": len(found.seqlets),
        "frame": {
            "first": found.frame.first,
            "last": found.frame.last,
            "profile": _rows(found.frame.profile),
        },
        "stability": [
            {**asdict(one), "words": one.words()}
            for one in (found.letters_stability, found.frame_stability)
        ],
    }


def _motifs(
    tracks: Tracks,
    hypothetical: Float[np.ndarray, "n length 4"] | None,
    sites: Strands,
    index: Int[np.ndarray, " n"],
    chosen: pd.DataFrame,
    settings: Settings,
    most: int | None = None,
) -> list[Motif]:
    if chosen.empty:
        return []
    letters, parts = cut(chosen, tracks, sites.codes, flank=settings.flank)
    other = None
    if hypothetical is not None:
        other = _cut_all(chosen, hypothetical, flank=settings.flank)
    return patterns(
        cluster(parts, shift=settings.shift, alike=settings.alike),
        letters,
        parts,
        chosen["start"].to_numpy() - settings.flank,
        index[chosen["pair"].to_numpy()],
        hypothetical=other,
        least=settings.least,
        longest=settings.window + settings.flank,
        most=most,
    )


def _cut_all(chosen: pd.DataFrame, values: Float[np.ndarray, "n length 4"], *, flank: int) -> Parts:
    """Rows of a (length, 4) matrix under seqlets and flanks; 0 beside the sequence."""
    width = int((chosen["stop"] - chosen["start"]).max()) + 2 * flank
    place = chosen["start"].to_numpy()[:, None] - flank + np.arange(width)
    inside = (place >= 0) & (place < values.shape[1])
    taken = values[chosen["pair"].to_numpy()[:, None], np.where(inside, place, 0)]
    found: np.ndarray = np.where(inside[..., None], np.nan_to_num(taken), 0.0).astype(np.float64)
    return found


def _top(
    tracks: Tracks,
    rows: Int[np.ndarray, " half"],
    *,
    sites: Strands,
    index: Int[np.ndarray, " n"],
    settings: Settings,
) -> list[np.ndarray]:
    """Contributions of the three largest motifs of some pairs, however small.

    The strongest window of each pair is taken without a test, and two seqlets make a motif, so
    that turned tracks bring as many of both as the true ones.
    """
    half = Strands(sites.codes[rows], sites.lengths[rows])
    pair, start, score = peaks(tracks[rows].astype(np.float64), settings.window, 1)
    chosen = np.argsort(-score, kind="stable")[:HALF]
    start = start[chosen]
    table = pd.DataFrame({"pair": pair[chosen], "start": start, "stop": start + settings.window})
    small = replace(settings, least=2)
    found = _motifs(tracks[rows], None, half, index[rows], table, small, most=3)
    return [motif.contributions for motif in found]


def _profile(
    tracks: Tracks,
    rows: Int[np.ndarray, " half"],
    *,
    places: Int[np.ndarray, "n nucleotides"],
) -> list[np.ndarray]:
    """Mean profile of some pairs in the frame of their miRNAs, of nucleotides that most have."""
    framed = read_at(tracks[rows], places[rows])
    there = (~np.isnan(framed)).sum(0)
    mean = np.full(framed.shape[1], np.nan)
    np.divide(np.nan_to_num(framed).sum(0), there, out=mean, where=there >= len(rows) / 4)
    return [mean]


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    plain = table.astype(object).where(table.notna(), None)
    return [
        {
            str(name): value.item() if isinstance(value, np.generic) else value
            for name, value in row.items()
        }
        for row in plain.to_dict("records")
    ]
