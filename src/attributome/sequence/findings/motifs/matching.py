"""Is a motif a seed match? In letters against any miRNA, and seqlet by seqlet against its own."""

from collections.abc import Sequence
from functools import reduce

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from attributome.core.bootstrap import cluster_bootstrap
from attributome.core.errors import UsageError
from attributome.core.multiplicity import benjamini_hochberg
from attributome.sequence.alphabet import LETTERS, reverse_complement
from attributome.sequence.findings.motifs.patterns import Motif, probabilities
from attributome.sequence.regions import seed_words

OVERLAP = 4
"""Positions of a word that lie on the motif at least."""


def match_to_seeds(
    motifs: Sequence[Motif], mirnas: Sequence[str], *, pseudo: float = 1.0
) -> pd.DataFrame:
    """Each motif against each kind of seed match of each miRNA, the best matches first.

    Columns `motif`, `mirna`, `kind` (see `regions.KINDS`), `word`, `offset` (where the word starts
    in the motif; it may hang over), `score` (log-odds in bits, best offset), `p` (the exact share
    of all words of that length that match the motif as well) and `q` (over all rows). A miRNA
    named twice is matched once; one of fewer than 8 letters has no seed.
    """
    rows = []
    for motif in motifs:
        odds = np.log2(4 * probabilities(motif.counts, pseudo=pseudo))
        chance = {length: np.sort(_all_words(odds, length)) for length in (6, 7, 8)}
        for mirna in dict.fromkeys(mirnas):
            for kind, word in seed_words(mirna).items():
                if not word or "N" in word:
                    continue
                score, offset = _best(odds, word)
                null = chance[len(word)]
                above = len(null) - int(np.searchsorted(null, score - 1e-9))
                rows.append((motif.name, mirna, kind, word, offset, score, above / len(null)))
    table = pd.DataFrame(
        rows, columns=["motif", "mirna", "kind", "word", "offset", "score", "p"]
    ).astype({"score": float, "p": float})
    table["q"] = benjamini_hochberg(table["p"].to_numpy())
    return table.sort_values(["p", "score"], ascending=[True, False], kind="stable").reset_index(
        drop=True
    )


def own_seeds(
    motifs: Sequence[Motif],
    seqlets: pd.DataFrame,
    sites: Sequence[str],
    mirnas: Sequence[str],
    groups: Shaped[np.ndarray, " n"],
    *,
    flank: int = 2,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How often a motif's seqlets hold the partner of nt 2-7 of the miRNA of their own pair.

    One row per motif: `motif`, `n` (its seqlets), `groups`, `share` with its interval over groups
    (`low`, `high`), and `chance`: the share of all windows as long, in the same sites, that hold
    it. Seqlets are read with their flanks.
    """
    frames = []
    for motif in motifs:
        chosen = seqlets.iloc[motif.members]
        held, chance = [], []
        for pair, start, stop in chosen[["pair", "start", "stop"]].itertuples(index=False):
            site, word = sites[pair], reverse_complement(mirnas[pair][1:7])
            width = stop - start + 2 * flank
            held.append(float(word in site[max(0, start - flank) : stop + flank]))
            count = max(1, len(site) - width + 1)
            chance.append(np.mean([word in site[i : i + width] for i in range(count)]))
        both = np.stack([held, chance], 1)
        told = cluster_bootstrap(both, groups[chosen["pair"].to_numpy()], draws=draws, seed=seed)
        row = told.iloc[[0]].rename(columns={"mean": "share"}).assign(chance=told["mean"][1])
        frames.append(row.assign(motif=motif.name))
    columns = ["motif", "n", "groups", "share", "low", "high", "chance"]
    if not frames:
        return pd.DataFrame(columns=columns)
    return pd.concat(frames, ignore_index=True)[columns]


def _best(odds: Float[np.ndarray, "w 4"], word: str) -> tuple[float, int]:
    codes = [LETTERS.index(letter) for letter in word]
    scores = {
        offset: sum(
            float(odds[offset + i, code])
            for i, code in enumerate(codes)
            if 0 <= offset + i < len(odds)
        )
        for offset in _offsets(len(odds), len(word))
    }
    best = max(scores, key=lambda offset: scores[offset])
    return scores[best], best


def _all_words(odds: Float[np.ndarray, "w 4"], length: int) -> Float[np.ndarray, " words"]:
    """Best score of every word of a length."""
    best = np.full(4**length, -np.inf)
    for offset in _offsets(len(odds), length):
        columns = [
            odds[offset + i] if 0 <= offset + i < len(odds) else np.zeros(4) for i in range(length)
        ]
        best = np.maximum(best, reduce(lambda a, b: np.add.outer(a, b).ravel(), columns))
    return best


def _offsets(width: int, length: int) -> range:
    if not width:
        raise UsageError("a motif of no positions matches nothing")
    overlap = min(OVERLAP, width, length)
    return range(overlap - length, width - overlap + 1)
