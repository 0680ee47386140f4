"""Which pairs are looked at closely: drawn by the seed, evenly over the labels, in table order."""

import numpy as np
import pandas as pd
from jaxtyping import Int

from attributome.core.errors import DataError
from attributome.core.seeds import rng
from attributome.pipeline.fcgr.work import PairWork

BLOCK = 64
"""Pairs of one part of a run."""


def explained_pairs(work: PairWork) -> pd.DataFrame:
    """The pairs that are explained; column `doubles` says which also get double mutants."""
    asked = work.job.explain
    pairs = work.part(asked.part)
    if pairs.empty:
        raise DataError(f"the part {asked.part!r} has no pairs to explain")
    rows = drawn(pairs, asked.pairs or len(pairs), work.job.seed, "explained")
    chosen = pairs.iloc[rows].reset_index(drop=True)
    doubles = np.zeros(len(chosen), bool)
    doubles[drawn(chosen, asked.interactions, work.job.seed, "interactions")] = True
    return chosen.assign(doubles=doubles)


def background_pairs(work: PairWork) -> pd.DataFrame:
    """Training pairs that stand for the average pair; of a network from elsewhere, any pairs."""
    train = work.part("train")
    pairs = work.pairs if train.empty else train
    rows = drawn(pairs, work.job.explain.background, work.job.seed, "background")
    return pairs.iloc[rows].reset_index(drop=True)


def blocks(pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The pairs in parts of a run, by the name of the part."""
    starts = range(0, len(pairs), BLOCK)
    return {
        f"pairs-{start:06d}": pairs.iloc[start : start + BLOCK].reset_index(drop=True)
        for start in starts
    }


def drawn(pairs: pd.DataFrame, count: int, seed: int, use: str) -> Int[np.ndarray, " rows"]:
    """Rows of `count` pairs, or of all: the labels evenly, as far as the scarce one goes."""
    if count >= len(pairs):
        return np.arange(len(pairs))
    labels = pairs["label"].to_numpy() if "label" in pairs else np.zeros(len(pairs), np.int64)
    order = rng(seed, "pairs", use).permutation(len(pairs))
    by_label = [order[labels[order] == label] for label in np.unique(labels)]
    by_label.sort(key=len)
    found: list[np.ndarray] = []
    for left, rows in zip(range(len(by_label), 0, -1), by_label, strict=True):
        share = -(-(count - sum(map(len, found))) // left)
        found.append(rows[:share])
    return np.sort(np.concatenate(found)).astype(np.int64)
