"""Letters of RNA and DNA: one spelling for everybody, and a reason for each text that is refused.

A sequence is upper-case A, C, G, T and N after `clean`: white space around it goes, U becomes T.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Literal

import numpy as np
from jaxtyping import Int, UInt8

LETTERS = "ACGT"
UNKNOWN = 4
"""The code of N, and of what lies behind the end of a shorter sequence in a batch."""

Unknown = Literal["skip", "refuse"]
"""What becomes of a sequence with N: windows with one are skipped, or the sequence is refused."""

_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
_CODES = bytearray(b"\xff" * 256)
for _code, _letter in enumerate(b"ACGTN"):
    _CODES[_letter] = _code


@dataclass(frozen=True, slots=True, eq=False)
class Strands:
    """Sequences of one batch as codes (A 0, C 1, G 2, T 3, N and padding 4), 5' to 3'."""

    codes: UInt8[np.ndarray, "b length"]
    lengths: Int[np.ndarray, " b"]

    def __len__(self) -> int:
        return len(self.codes)


def clean(text: str) -> str:
    """The sequence as it is meant: no white space around it, upper case, T for U."""
    return text.strip().upper().replace("U", "T")


def fault(text: object, *, k: int, unknown: Unknown = "skip") -> str:
    """Why a text cannot be a sequence with at least one window of `k` letters; "" where it can."""
    if not isinstance(text, str) or not text.strip():
        return "it is empty"
    letters = clean(text)
    for place, letter in enumerate(letters, start=1):
        if letter not in "ACGTN":
            return f"letter {letter!r} at position {place} is not one of A, C, G, T, U, N"
    if unknown == "refuse" and "N" in letters:
        return f"position {letters.index('N') + 1} is N"
    if len(letters) < k:
        return f"it has {len(letters)} letters, fewer than k = {k}"
    if all(len(run) < k for run in letters.split("N")):
        return f"every window of {k} letters holds an N"
    return ""


def strands(sequences: Sequence[str]) -> Strands:
    """Codes of clean sequences, padded behind their ends."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    longest = int(lengths.max(initial=0))
    text = "".join(map(str.ljust, sequences, repeat(longest), repeat("N")))  # N is 4, as padding is
    codes = np.frombuffer(bytearray(text.encode("ascii")).translate(_CODES), np.uint8)
    codes = codes.reshape(len(sequences), longest)
    if codes.max(initial=0) > UNKNOWN:
        row = int((codes > UNKNOWN).any(1).argmax())
        raise ValueError(f"sequence {row} ({sequences[row]!r}) is not clean")
    return Strands(codes, lengths)


def text_of(batch: Strands) -> list[str]:
    """The sequences of a batch as text."""
    letters = np.frombuffer(b"ACGTN", np.uint8)[batch.codes]
    return [
        row[:length].tobytes().decode()
        for row, length in zip(letters, batch.lengths.tolist(), strict=True)
    ]


def reverse_complement(sequence: str) -> str:
    """The other strand of a clean sequence, 5' to 3'."""
    return sequence.translate(_COMPLEMENT)[::-1]
