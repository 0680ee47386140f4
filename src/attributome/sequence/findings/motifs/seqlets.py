"""Seqlets: short windows of a track that stand out, more than chance would let them.

The score of a window is the sum of its track. Which scores stand out is told by a null: the same
tracks with their positions in another order, or tracks of pairs where nothing is to be found.
"""

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng

Tracks = Float[np.ndarray, "n length"]
Sign = Literal["positive", "negative"]
REPEATS = 20
"""Shuffles of each track that make the null."""


def seqlets(
    tracks: Tracks,
    *,
    window: int = 7,
    fdr: float = 0.1,
    most: int = 2,
    smooth: int = 1,
    sign: Sign = "positive",
    null: Float[np.ndarray, "m other"] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The strongest windows of each track, `most` of them and none overlapping, that are no chance.

    Columns `pair` (row of `tracks`), `start`, `stop`, `score` and `q`: of the windows that score
    as much, the share that the null would give too; at most `fdr`. The null is `null` (tracks of
    negatives, say), or each track `REPEATS` times with its positions shuffled. A track that was
    made of windows of k letters is smooth, which shuffled positions are not: with `smooth=k` the
    scores of its windows are shuffled instead and laid out again (for "conserve" edges). "negative"
    looks for windows that speak against the target; their scores stay negative. A window with a
    NaN, such as at an N, is none.
    """
    _check(tracks, window, fdr, most, smooth)
    turn = 1.0 if sign == "positive" else -1.0
    found = peaks(turn * tracks.astype(np.float64), window, most)
    if null is None:
        again = [
            peaks(turn * shuffled(tracks, smooth, rng(seed, "seqlets", i)), window, most)[2]
            for i in range(REPEATS)
        ]
        chance, share = np.concatenate(again), 1 / REPEATS
    else:
        if not len(null):
            raise DataError("the null has no tracks: give at least one, or none to shuffle")
        chance, share = (
            peaks(turn * null.astype(np.float64), window, most)[2],
            len(tracks) / len(null),
        )
    pair, start, score = found
    q = _q_values(score, chance, share)
    table = pd.DataFrame(
        {"pair": pair, "start": start, "stop": start + window, "score": turn * score, "q": q}
    )
    order = np.lexsort((start, pair, -score))
    return table.iloc[order][q[order] <= fdr].reset_index(drop=True)


def shuffled(tracks: Tracks, smooth: int, generator: np.random.Generator) -> Tracks:
    """Each track with its values (its windows' scores, with `smooth` above 1) in another order."""
    there = ~np.isnan(tracks)
    values = np.where(there, tracks, 0.0).astype(np.float64)
    if smooth > 1:
        values = _windows_of(values, smooth)
        inside = np.arange(values.shape[1]) < there.sum(1)[:, None] - smooth + 1
    else:
        inside = there
    order = np.argsort(np.where(inside, generator.random(values.shape), 2.0), axis=1)
    mixed = np.zeros_like(values)
    places = np.argsort(~inside, axis=1, kind="stable")  # those of values first
    np.put_along_axis(mixed, places, np.take_along_axis(values, order, 1), 1)
    mixed[~inside] = 0.0
    laid = np.zeros_like(tracks, dtype=np.float64)
    for i in range(smooth):
        laid[:, i : i + mixed.shape[1]] += mixed / smooth
    found: np.ndarray = np.where(there, laid, np.nan)
    return found


def rolled(tracks: Tracks, generator: np.random.Generator) -> Tracks:
    """Each track turned by a random number of places: as peaked as before, beside other letters."""
    place = np.arange(tracks.shape[1])
    lengths = np.where(~np.isnan(tracks), place + 1, 0).max(1, initial=0)
    turn = generator.integers(1, np.maximum(lengths, 2))
    source = (place - turn[:, None]) % np.maximum(lengths, 1)[:, None]
    found: np.ndarray = np.where(
        place < lengths[:, None], np.take_along_axis(tracks, source, 1), np.nan
    )
    return found


def _windows_of(tracks: Tracks, k: int) -> Float[np.ndarray, "n windows"]:
    """Scores of windows whose shares made a track: a(p) - a(p-1) = (s(p) - s(p-k)) / k."""
    steps = k * np.diff(tracks, axis=1, prepend=0.0)[:, : tracks.shape[1] - k + 1]
    if k == 1:
        return tracks
    padded = np.zeros((len(tracks), -(-steps.shape[1] // k) * k))
    padded[:, : steps.shape[1]] = steps
    summed = padded.reshape(len(tracks), -1, k).cumsum(1).reshape(len(tracks), -1)
    return summed[:, : steps.shape[1]]


def peaks(
    tracks: Tracks, window: int, most: int
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Pair, start and score of the best windows of each track with a sum above 0, greedily."""
    if tracks.shape[1] < window:
        nothing = np.empty(0, np.int64)
        return nothing, nothing, np.empty(0)
    view = np.lib.stride_tricks.sliding_window_view(tracks, window, axis=1)
    scores = np.nan_to_num(view.sum(-1), nan=-np.inf)  # a window that leaves the sequence is none
    place, rows, parts = np.arange(scores.shape[1]), np.arange(len(scores)), []
    for _ in range(most):
        best = scores.argmax(1)
        top = scores[rows, best]
        good = top > 0
        parts.append((rows[good], best[good], top[good]))
        scores[np.abs(place - best[:, None]) < window] = -np.inf
    pair, start, score = (np.concatenate(column) for column in zip(*parts, strict=True))
    return pair, start, score


def _q_values(
    scores: Float[np.ndarray, " m"], chance: Float[np.ndarray, " c"], share: float
) -> Float[np.ndarray, " m"]:
    """Expected share of chance among the windows that score at least as much."""
    rising = np.sort(scores)
    many = len(scores) - np.searchsorted(rising, scores, side="left")
    null = len(chance) - np.searchsorted(np.sort(chance), scores, side="left")
    rate = np.minimum(1.0, (null + 1) * share / many)  # + 1: a rate of 0 cannot be known
    order = np.argsort(scores, kind="stable")
    q = np.empty(len(scores))
    q[order] = np.minimum.accumulate(rate[order])
    return q


def _check(tracks: Tracks, window: int, fdr: float, most: int, smooth: int) -> None:
    if min(window, most, smooth) < 1:
        raise UsageError(
            f"window {window}, most {most} and smooth {smooth} cannot be: each is at least 1"
        )
    if not 0 < fdr <= 1:
        raise UsageError(f"a false discovery rate of {fdr} is not above 0 and up to 1, such as 0.1")
    if smooth > tracks.shape[1]:
        raise UsageError(f"tracks of {tracks.shape[1]} positions have no windows of {smooth}")
    if np.isinf(tracks).any():
        raise DataError(f"track {np.isinf(tracks).any(1).argmax()} holds an infinite value")
    there = ~np.isnan(tracks)
    if smooth > 1 and (there[:, 1:] & ~there[:, :-1]).any():
        raise DataError(
            "a track made of windows has a NaN before its end: such tracks have 0 at an N, and "
            "others are no sums of windows (smooth=1)"
        )
