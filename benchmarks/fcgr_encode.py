"""Encode sequences as FCGR images beside complexcgr and NumPy's bincount; exit 1 if behind.

All three start from the same texts, batch by batch, and take turns; a ratio is the median over
rounds of their seconds over ours. The peer gives counts, mirrored and in double precision, and is
not charged for turning them into shares; bincount and attributome give the same float32 images.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np
from peers_turns import Scale, in_turns, quarters

from attributome.core.seeds import rng
from attributome.sequence.alphabet import strands
from attributome.sequence.fcgr import fcgr

BOUNDS = {"encode_ratio_complexcgr": 20.0, "encode_ratio_bincount": 3.0}
CHECKED = 2000
"""Sequences of which every value is compared."""

_CODES = np.full(256, -1, np.int64)
_CODES[list(b"ACGT")] = range(4)
_X, _Y = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1])

Encode = Callable[[Sequence[str]], Any]


def measure(
    *, count: int = 100_000, batch: int = 256, k: int = 6, rounds: int = 5, seed: int = 0
) -> dict[str, Any]:
    """Ratios, whether the values are the same to the bit, and what was measured.

    Needs complexcgr in the environment.
    """
    from complexcgr import FCGR

    texts = random_texts(count, seed)
    peer = FCGR(k=k)

    def ours(some: Sequence[str]) -> np.ndarray:
        return fcgr(strands(some), k)

    def theirs(some: Sequence[str]) -> list[np.ndarray]:
        return [peer(text) for text in some]

    few = texts[:CHECKED]
    images = ours(few)
    shares = [
        np.fliplr(one) / (len(text) - k + 1) for one, text in zip(theirs(few), few, strict=True)
    ]
    same = {
        "complexcgr": np.array_equal(images[:, 0], np.stack(shares).astype(np.float32)),
        "bincount": np.array_equal(images, by_bincount(few, k)),
    }
    versions = {
        "ours": lambda: in_batches(ours, texts, batch),
        "complexcgr": lambda: in_batches(theirs, texts, batch),
        "bincount": lambda: in_batches(lambda some: by_bincount(some, k), texts, batch),
    }
    turns = in_turns(versions, Scale(least=rounds, most=rounds, seconds=0.0))
    ratios = {name: turns.ratios(name) for name in ("complexcgr", "bincount")}
    return {
        **{f"encode_ratio_{name}": round(median(of), 2) for name, of in ratios.items()},
        **{f"encode_quartiles_{name}": quarters(of) for name, of in ratios.items()},
        **{f"encode_equal_{name}": bool(equal) for name, equal in same.items()},
        **{
            f"encode_per_second_{name}": round(count / median(turns.wall[name]))
            for name in versions
        },
        "encode_setting": {"count": count, "batch": batch, "k": k, "rounds": rounds},
        "encode_versions": {name: version(name) for name in ("complexcgr", "numpy")},
        "encode_load": round(os.getloadavg()[0], 2),
    }


def random_texts(count: int, seed: int) -> list[str]:
    """Sequences of 22 to 50 letters."""
    draw = rng(seed, "benchmark", "encode")
    lengths = draw.integers(22, 51, count)
    letters = np.frombuffer(b"ACGT", np.uint8)[draw.integers(0, 4, int(lengths.sum()))]
    parts = np.split(letters, np.cumsum(lengths)[:-1])
    return [part.tobytes().decode() for part in parts]


def in_batches(encode: Encode, texts: Sequence[str], batch: int) -> None:
    """Encode all texts and keep nothing."""
    for at in range(0, len(texts), batch):
        encode(texts[at : at + batch])


def by_bincount(texts: Sequence[str], k: int) -> np.ndarray:
    """The plain way in NumPy: one vector of windows, one dense count."""
    lengths = np.array([len(text) for text in texts])
    codes = _CODES[np.frombuffer("".join(texts).encode(), np.uint8)]
    count = len(codes) - k + 1
    x, y = _X[codes], _Y[codes]
    pixel = np.zeros(count, np.int64)
    for i in range(k):
        pixel += (x[i : i + count] << i) + (y[i : i + count] << (i + k))
    row = np.repeat(np.arange(len(texts)), lengths)
    inside = row[:count] == row[k - 1 :]  # a window ends in the sequence where it began
    flat = (row[:count] * 4**k + pixel)[inside]
    counts = np.bincount(flat, minlength=len(texts) * 4**k).reshape(len(texts), 1, 1 << k, 1 << k)
    shares: np.ndarray = counts / (lengths - k + 1)[:, None, None, None]
    return shares.astype(np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of little, no bounds")
    parser.add_argument("--k", type=int, default=6)
    parser.add_argument("--batch", type=int, default=256)
    asked = parser.parse_args()
    size = {"count": 2000, "rounds": 1} if asked.quick else {}
    found = measure(k=asked.k, batch=asked.batch, **size)
    print(json.dumps(found, indent=2))
    behind = [name for name, bound in BOUNDS.items() if found[name] < bound]
    wrong = [name for name in found if name.startswith("encode_equal") and not found[name]]
    if wrong or (behind and not asked.quick):
        print("not kept:", ", ".join(wrong + behind))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
