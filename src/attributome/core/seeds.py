"""Every draw has a name: the same (seed, words) gives the same numbers, however work is split."""

import hashlib

import numpy as np


def seed_of(seed: int, *words: str | int) -> int:
    """A 63-bit seed for the draw that `words` name, such as (seed, sample id, "noise")."""
    text = "\x1f".join([str(seed), *map(str, words)]).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def rng(seed: int, *words: str | int) -> np.random.Generator:
    """A NumPy generator for the draw that `words` name."""
    return np.random.default_rng(seed_of(seed, *words))
