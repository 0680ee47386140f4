"""Shuffles that keep every dinucleotide: what a sequence would be without its order.

Altschul & Erickson (1985): a shuffle is an Euler path through the graph of letters, in which each
dinucleotide is an edge. A path is drawn by choosing the last edge out of each letter, such that
these form a tree that leads to the last letter, and any order of the other edges.
"""

from functools import cache
from itertools import product

import numpy as np
from jaxtyping import Int

from attributome.core.errors import UsageError
from attributome.core.seeds import rng
from attributome.sequence.alphabet import Strands, strands, text_of

_LETTERS = 5  # N is one as well


def dinucleotide_shuffle(sequence: str, *, count: int, seed: int) -> list[str]:
    """Shuffles of a clean sequence with the same first and last letter and all dinucleotide counts.

    Each is drawn evenly from all sequences that have these; a short or repetitive sequence may be
    the only one, and then comes back as it is. The draws depend on the seed and the sequence, and
    so not on what else is shuffled; the first of many equal those of few.
    """
    if count < 0:
        raise UsageError(f"{count} shuffles cannot be drawn")
    codes = strands([sequence]).codes[0].astype(np.int64)
    if len(codes) < 4 or not count:  # with both ends kept there is nothing to exchange
        return [sequence] * count
    source, target = codes[:-1], codes[1:]
    edges = np.zeros((_LETTERS, _LETTERS), np.int64)
    np.add.at(edges, (source, target), 1)
    last = _last_edges(edges, int(codes[-1]), rng(seed, "shuffle tree", sequence).random(count))
    keys = rng(seed, "shuffle order", sequence).random((count, len(source)))
    for letter in range(_LETTERS):
        if letter != codes[-1] and edges[letter].any():
            out = (source == letter) & (target == last[:, letter, None])
            keys[np.arange(count), out.argmax(1)] = 1.0  # one of them comes behind all others
    order = np.argsort(2.0 * source + keys, axis=1)
    walks = _walked(int(codes[0]), target[order], edges.sum(1))
    return text_of(Strands(walks.astype(np.uint8), np.full(count, len(codes))))


def _last_edges(
    edges: Int[np.ndarray, "n n"], end: int, lots: np.ndarray
) -> Int[np.ndarray, "draws n"]:
    """Where the last edge out of each letter leads: a tree to the end, drawn by its edges' number.

    Parallel edges are alike, so a tree of letters weighs as much as it has trees of edges.
    """
    trees = _trees(end)
    ways = edges.copy()
    absent = ways.sum(1) == 0
    ways[absent, end] = 1  # what does not occur hangs on the end and changes nothing
    ways[end] = 0
    ways[end, end] = 1
    weights = ways[np.arange(_LETTERS), trees].astype(np.float64).prod(1).cumsum()
    chosen: np.ndarray = trees[np.searchsorted(weights, lots * weights[-1], side="right")]
    return chosen


@cache
def _trees(end: int) -> Int[np.ndarray, "trees n"]:
    """All trees of letters that lead to the end: for each letter the next; the end's is itself."""
    found = []
    for nexts in product(range(_LETTERS), repeat=_LETTERS):
        at = list(range(_LETTERS))
        for _ in range(_LETTERS):
            at = [nexts[letter] for letter in at]
        if nexts[end] == end and set(at) == {end}:
            found.append(nexts)
    return np.array(found)


def _walked(
    start: int, nexts: Int[np.ndarray, "draws edges"], leaving: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "draws letters"]:
    """Follow each letter's edges in their order; `nexts` has them letter by letter."""
    draws = np.arange(len(nexts))
    used = np.tile(np.cumsum(leaving) - leaving, (len(nexts), 1))
    walks = np.full((len(nexts), nexts.shape[1] + 1), start)
    for step in range(nexts.shape[1]):
        here = walks[:, step]
        walks[:, step + 1] = nexts[draws, used[draws, here]]
        used[draws, here] += 1
    return walks
