"""Frequency images of the chaos game representation: each pixel is one k-mer (Almeida et al. 2001).

Corners are A top left, C top right, G bottom right, T bottom left; a k-mer's pixel has

    column = Σ bx(s_i) 2^(i-1),  row = Σ by(s_i) 2^(i-1),  i = 1 … k,

with bx = 1 for C and G, by = 1 for G and T,

so that the last letter picks the quadrant and pixels that share a quadrant share a suffix. The
value is the share of the windows that are this k-mer. A flat pixel is row · 2^k + column.
"""

from functools import cache

import numpy as np
from jaxtyping import Float32, Int, Int32

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import LETTERS, Strands

LARGEST = 8
X = np.array([0, 1, 1, 0], np.int32)  # of A, C, G, T
Y = np.array([0, 0, 1, 1], np.int32)


def check_k(k: int) -> None:
    """Refuse a word length without an image."""
    if not 1 <= k <= LARGEST:
        raise UsageError(f"k is {k}; words of 1 to {LARGEST} letters have an image here")


def pixel_of(kmer: str) -> tuple[int, int]:
    """(row, column) of a k-mer."""
    check_k(len(kmer))
    if not set(kmer) <= set(LETTERS):
        raise UsageError(f"{kmer!r} is no k-mer: its letters must be of {LETTERS}")
    codes = [LETTERS.index(letter) for letter in kmer]
    return (
        sum(int(Y[code]) << i for i, code in enumerate(codes)),
        sum(int(X[code]) << i for i, code in enumerate(codes)),
    )


@cache
def kmers(k: int) -> tuple[str, ...]:
    """All k-mers in the order of flat pixels."""
    check_k(k)
    size = 1 << k
    found = []
    for row in range(size):
        for column in range(size):
            bits = [((row >> i) & 1, (column >> i) & 1) for i in range(k)]
            found.append("".join(_AT[bit] for bit in bits))
    return tuple(found)


_AT = {(int(Y[code]), int(X[code])): letter for code, letter in enumerate(LETTERS)}


@cache
def reverse_complement_pixels(k: int) -> Int[np.ndarray, " pixels"]:
    """For each flat pixel, that of the reverse complement; its own inverse."""
    check_k(k)
    size = 1 << k
    flipped = np.array([int(f"{i:0{k}b}"[::-1], 2) for i in range(size)])  # bits the other way
    rows, columns = np.divmod(np.arange(size * size), size)
    table: np.ndarray = flipped[size - 1 - rows] * size + flipped[columns]
    table.setflags(write=False)
    return table


def windows(batch: Strands, k: int) -> Int32[np.ndarray, "b windows"]:
    """Flat pixel of each window of `k` letters, by where it starts; -1 where one has no image.

    Those are windows with an N, and windows behind the end of a shorter sequence.
    """
    check_k(k)
    rows, length = batch.codes.shape
    if not rows or length < k:
        return np.empty((rows, max(length - k + 1, 0)), np.int32)
    found = np.empty(rows * length, np.int32)  # as one long sequence, which is faster; then the
    found[: rows * length - k + 1] = _words(_letters(k).take(batch.codes.reshape(-1)), k)
    found = found.reshape(rows, length)[:, : length - k + 1]  # windows over two rows are dropped
    return np.where(found < 4**k, found, np.int32(-1))


@cache
def _letters(k: int) -> Int32[np.ndarray, " letters"]:
    """What a letter adds to the pixel of a word that it begins; N, more than any word has."""
    table = np.append((Y << k) + X, np.int32(4**k))
    table.setflags(write=False)
    return table


def _words(letters: Int32[np.ndarray, " length"], k: int) -> Int32[np.ndarray, " words"]:
    """Σ letter_i 2^(i-1) of each window: words of half the length twice, and the odd letter."""
    if k == 1:
        return letters
    half, count = k // 2, len(letters) - k + 1
    halves = _words(letters, half)
    found: np.ndarray = halves[half : half + count] << half
    found += halves[:count]
    if k % 2:
        found += letters[k - 1 :] << (k - 1)
    return found


def window_counts(batch: Strands, k: int) -> Int[np.ndarray, " b"]:
    """L - k + 1 for each sequence: what its windows' weights are divided by, with N or without."""
    counts: np.ndarray = np.maximum(batch.lengths - k + 1, 0)
    return counts


def fcgr(batch: Strands, k: int) -> Float32[np.ndarray, "b 1 n n"]:
    """Images in float32. They sum to 1, and to less where windows with N were left out."""
    shares = shares_of(windows(batch, k), window_counts(batch, k), 4**k)
    return shares.reshape(len(batch), 1, 1 << k, 1 << k)


def shares_of(
    cells: Int32[np.ndarray, "b windows"], totals: Int[np.ndarray, " b"], size: int
) -> Float32[np.ndarray, "b size"]:
    """How many windows have each cell, over the total of the sequence; those at -1 are left out.

    Nearly all cells are 0 and come from the system as such: only the others are touched. Whole
    numbers are added up and divided once, so nothing depends on the order of the windows.
    """
    flat = np.zeros(len(cells) * size, np.float32)
    there = cells >= 0
    at = (cells + np.arange(0, len(flat), size)[:, None])[there]
    np.add.at(flat, at, np.float32(1))
    of = np.broadcast_to(totals.astype(np.float32)[:, None], cells.shape)[there]
    flat[at] = flat[at] / of  # a cell of several windows gets the same number several times
    return flat.reshape(len(cells), size)
