"""Pairs with a known answer: they interact where the site holds the partner of the miRNA's seed."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from attributome.core.errors import UsageError
from attributome.core.files import write_text
from attributome.core.seeds import rng
from attributome.sequence.alphabet import LETTERS, reverse_complement
from attributome.sequence.pairs.reading import UPSTREAM

Rule = Literal["seed", "six", "none"]
"""`seed`: partners of nt 2-8; `six`: of nt 2-7; `none`: as `seed`, but labels are drawn by lot."""

TRIES = 1000


def planted_pairs(
    *,
    mirnas: int = 40,
    pairs_each: int = 20,
    rule: Rule = "seed",
    site_length: int = 40,
    decoys: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """A pair table with `planted_start` and `planted_stop`, the word's half-open range in the site.

    Each miRNA has as many positives as negatives, so neither it nor the site alone tells the
    label. A positive site holds the word once, anywhere; a negative site is one positive's letters
    in another order and does not hold even the partner of nt 2-7. With `decoys` it then holds the
    word of another miRNA, so that only the pair tells. Negatives have the empty range (0, 0).
    With the rule `none` half of each miRNA's labels are 1, whatever the site holds.
    """
    if rule not in get_args(Rule):
        raise UsageError(f"no planted rule {rule!r}: there are {', '.join(get_args(Rule))}")
    if mirnas < 2 or pairs_each < 2 or pairs_each % 2:
        raise UsageError(
            f"{mirnas} miRNAs with {pairs_each} pairs each cannot be: give at least 2 miRNAs and "
            f"an even number of pairs, half of them positive"
        )
    if site_length < 16:
        raise UsageError(f"sites of {site_length} letters leave no room: give at least 16")
    if mirnas > 1000:
        raise UsageError(f"{mirnas} miRNAs are too many for seeds that differ: give at most 1000")
    names = _mirnas(mirnas, seed)
    words = [reverse_complement(name[1 : 7 if rule == "six" else 8]) for name in names]
    rows = []
    for m, (mirna, word) in enumerate(zip(names, words, strict=True)):
        draw = rng(seed, "planted pairs", m)
        for _ in range(pairs_each // 2):
            site, start = _positive(draw, word, word[-6:], site_length)
            other = words[(m + 1 + int(draw.integers(mirnas - 1))) % mirnas] if decoys else ""
            rows.append((mirna, site, 1, start, start + len(word)))
            rows.append((mirna, _negative(draw, site, word[-6:], other), 0, 0, 0))
    table = pd.DataFrame(rows, columns=["mirna", "site", "label", "planted_start", "planted_stop"])
    if rule == "none":
        lots = [rng(seed, "planted labels", m).permutation(pairs_each) % 2 for m in range(mirnas)]
        table["label"] = np.concatenate(lots)
    table.insert(0, "id", [str(i) for i in range(1, len(table) + 1)])
    table.insert(4, "family", [mirna[1:8] for mirna in table["mirna"]])
    return table


def write_planted_pairs(
    path: Path,
    *,
    mirnas: int = 40,
    pairs_each: int = 20,
    rule: Rule = "seed",
    site_length: int = 40,
    decoys: bool = False,
    seed: int = 0,
) -> Path:
    """Write planted pairs as a CSV that `read_pairs` takes as it is; its path."""
    table = planted_pairs(
        mirnas=mirnas,
        pairs_each=pairs_each,
        rule=rule,
        site_length=site_length,
        decoys=decoys,
        seed=seed,
    )
    names = {
        "mirna": UPSTREAM.mirna,
        "site": UPSTREAM.site,
        "label": UPSTREAM.label,
        "family": UPSTREAM.family,
    }
    write_text(path, table.drop(columns="id").rename(columns=names).to_csv(index=False))
    return path


def _mirnas(count: int, seed: int) -> list[str]:
    """MiRNAs of 21 to 23 letters; no two share nt 2-7, and each seed has three letters or more."""
    draw = rng(seed, "planted miRNAs")
    found: dict[str, str] = {}
    while len(found) < count:
        name = _word(draw, int(draw.integers(21, 24)))
        if len(set(name[1:7])) > 2:
            found.setdefault(name[1:7], name)
    return list(found.values())


def _positive(draw: np.random.Generator, word: str, six: str, length: int) -> tuple[str, int]:
    """A site with the word once, its six letters nowhere else; and where it starts."""
    for _ in range(TRIES):
        around = _word(draw, length - len(word))
        start = int(draw.integers(len(around) + 1))
        site = around[:start] + word + around[start:]
        if _times(site, six) == 1:
            return site, start
    raise UsageError(f"no site of {length} letters holds {word} only once: give shorter sites")


def _negative(draw: np.random.Generator, site: str, six: str, other: str) -> str:
    """The letters of a site in an order without the six; with `other` written into it."""
    letters = np.array(list(site))
    for _ in range(TRIES):
        found = "".join(draw.permutation(letters))
        if other:
            start = int(draw.integers(len(found) - len(other) + 1))
            found = found[:start] + other + found[start + len(other) :]
        if six not in found:
            return found
    raise UsageError(f"no order of the letters of {site} is without {six}: give shorter sites")


def _times(text: str, word: str) -> int:
    """How often a word occurs, overlaps counted."""
    return sum(text.startswith(word, i) for i in range(len(text) - len(word) + 1))


def _word(draw: np.random.Generator, length: int) -> str:
    return "".join(LETTERS[i] for i in draw.integers(4, size=length))
