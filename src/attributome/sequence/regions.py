"""Where a miRNA's seed pairs with a site, and the regions of a miRNA (Bartel 2009).

Nucleotides of a miRNA count from 1 at its 5' end; the seed is nt 2 to 8. A site is written 5' to
3', so the partner of nt 2 lies at the right end of a match.
"""

from dataclasses import dataclass
from typing import Literal

from attributome.sequence.alphabet import reverse_complement

Kind = Literal["8mer", "7mer-m8", "7mer-A1", "6mer", ""]
KINDS: tuple[Kind, ...] = ("8mer", "7mer-m8", "7mer-A1", "6mer")
"""From the strongest to the weakest."""

REGIONS = {"nt 1": (0, 1), "seed": (1, 8), "centre": (8, 12), "3' pairing": (12, 17)}
"""Regions of a miRNA as half-open ranges from 0; what follows is the tail."""


@dataclass(frozen=True, slots=True)
class SeedMatch:
    """The best match of a seed in a site; `kind` is "" and the range empty where there is none."""

    kind: Kind
    start: int
    stop: int


def seed_match(mirna: str, site: str) -> SeedMatch:
    """The strongest seed match, the rightmost where several are as strong."""
    for kind, word in seed_words(mirna).items():
        start = site.rfind(word) if word else -1
        if start >= 0:
            return SeedMatch(kind, start, start + len(word))
    return SeedMatch("", 0, 0)


def seed_words(mirna: str) -> dict[Kind, str]:
    """What each kind of site reads, 5' to 3': partners of nt 2-7 or 2-8, and an A across nt 1."""
    six, seven = reverse_complement(mirna[1:7]), reverse_complement(mirna[1:8])
    if len(mirna) < 8:
        return dict.fromkeys(KINDS, "")
    return {"8mer": f"{seven}A", "7mer-m8": seven, "7mer-A1": f"{six}A", "6mer": six}


def region_of(position: int) -> str:
    """Which region of a miRNA a position (from 0) lies in."""
    for name, (start, stop) in REGIONS.items():
        if start <= position < stop:
            return name
    return "tail"
