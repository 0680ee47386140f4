"""Frequency images of the chaos game representation: each pixel is one k-mer (Almeida et al. 2001).

Corners are A top left, C top right, G bottom right, T bottom left; a k-mer's pixel has

    column = Σ bx(s_i) 2^(i-1),  row = Σ by(s_i) 2^(i-1),  i = 1 … k,

with bx = 1 for C and G, by = 1 for G and T,

so that the last letter picks the quadrant and pixels that share a quadrant share a suffix. The
value is the share of the windows that are this k-mer. A flat pixel is row · 2^k + column.
"""

from functools import cache

import numpy as np
from jaxtyping import Float, Int, Int32

from attributome.core.errors import UsageError
from attributome.sequence.alphabet import LETTERS, UNKNOWN, Strands

LARGEST = 8
_X = np.array([0, 1, 1, 0], np.int32)  # of A, C, G, T
_Y = np.array([0, 0, 1, 1], np.int32)


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
        sum(int(_Y[code]) << i for i, code in enumerate(codes)),
        sum(int(_X[code]) << i for i, code in enumerate(codes)),
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


_AT = {(int(_Y[code]), int(_X[code])): letter for code, letter in enumerate(LETTERS)}


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
    codes = batch.codes
    count = max(codes.shape[1] - k + 1, 0)
    x, y = np.append(_X, 0)[codes], np.append(_Y, 0)[codes]
    row = np.zeros((len(codes), count), np.int32)
    column = np.zeros_like(row)
    whole = np.ones(row.shape, bool)
    for i in range(k):
        there = slice(i, i + count)
        row += y[:, there] << i
        column += x[:, there] << i
        whole &= codes[:, there] < UNKNOWN
    found: np.ndarray = np.where(whole, (row << k) + column, np.int32(-1))
    return found


def window_counts(batch: Strands, k: int) -> Int[np.ndarray, " b"]:
    """L - k + 1 for each sequence: what its windows' weights are divided by, with N or without."""
    counts: np.ndarray = np.maximum(batch.lengths - k + 1, 0)
    return counts


def fcgr(batch: Strands, k: int) -> Float[np.ndarray, "b 1 n n"]:
    """Images in float32. They sum to 1, and to less where windows with N were left out."""
    at = windows(batch, k)
    row, start = np.nonzero(at >= 0)
    pixels = 4**k
    counts = np.bincount(row * pixels + at[row, start], minlength=len(batch) * pixels)
    shares = counts.reshape(len(batch), pixels) / np.maximum(window_counts(batch, k), 1)[:, None]
    size = 1 << k
    image: np.ndarray = shares.astype(np.float32).reshape(len(batch), 1, size, size)
    return image
