"""Is the nearest profile of another compound one of the same mechanism: NSC and NSCB.

Not the same compound (NSC), or not the same compound and not the same batch (NSCB), as in
Ljosa et al. (2013) and Ando et al. (2017): accuracy of the mechanism of action of the one nearest
neighbour by cosine.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer, Shaped

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng
from attributome.profiles.wells.ranking import BLOCK, directions, distances

Names = Shaped[np.ndarray, " _"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matching:
    """How often the nearest other profile has the same mechanism.

    `accuracy` is over `n` profiles of `compounds` compounds; `low` and `high` draw compounds again,
    with their profiles (NaN below three). `chance` is the mean accuracy when mechanisms are dealt
    anew to compounds, and `p` how often that does as well. `skipped` mechanisms have no profile
    that could be judged: all are of one compound, or with batches of one batch. `impossible` judged
    profiles had no candidate of their own mechanism, and count as wrong. `nearest` is the row of
    each profile's neighbour, −1 where there is no candidate. `classes` has a row for each
    mechanism that was judged: `moa`, `n`, `accuracy`.
    """

    accuracy: float
    low: float
    high: float
    chance: float
    p: float
    n: int
    compounds: int
    impossible: int
    skipped: tuple[str, ...]
    nearest: Integer[np.ndarray, " n"]
    classes: pd.DataFrame


def match_mechanisms(
    profiles: Float[np.ndarray, "n d"],
    compounds: Names,
    moas: Names,
    *,
    batches: Names | None = None,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Matching:
    """NSC of profiles of treatments (compound and dose), or NSCB where `batches` are given.

    Skipped mechanisms are not judged, but their profiles may be the neighbours of others. Of
    equally near profiles the first counts.
    """
    if not 0 < confidence < 1 or draws < 1:
        raise UsageError(f"confidence {confidence} and {draws} draws; such as 0.95 and 1000")
    of, mechanism, batch, names = _checked(profiles, compounds, moas, batches)
    apart = [of] if batch is None else [of, batch]
    alone = of if batch is None else batch
    spread = np.array([len(np.unique(alone[mechanism == m])) for m in range(len(names))])
    judged = (spread > 1)[mechanism]
    if batch is not None:  # two batches of one compound still have no other compound to match
        several = np.array([len(np.unique(of[mechanism == m])) for m in range(len(names))])
        judged &= (several > 1)[mechanism]
    if not judged.any():
        two = "two compounds" if batch is None else "two compounds and two batches"
        raise DataError(f"none of {len(names)} mechanisms is in {two}")
    nearest, possible = _nearest(profiles, apart, mechanism)
    hit = (nearest >= 0) & (mechanism[nearest] == mechanism)
    rows = np.flatnonzero(judged)
    low, high = _interval(hit[rows], of[rows], confidence, draws, seed)
    chance = _dealt(of, mechanism, nearest, rows, draws, seed)
    accuracy = float(hit[rows].mean())
    classes = pd.DataFrame({"moa": names[mechanism[rows]], "hit": hit[rows]})
    table = classes.groupby("moa")["hit"].agg(["size", "mean"]).reset_index()
    return Matching(
        accuracy=accuracy,
        low=low,
        high=high,
        chance=float(chance.mean()),
        p=float((1 + (chance >= accuracy - 1e-12).sum()) / (1 + draws)),
        n=len(rows),
        compounds=len(np.unique(of[rows])),
        impossible=int((~possible[rows]).sum()),
        skipped=tuple(str(name) for name in names if name not in {*table["moa"]}),
        nearest=nearest,
        classes=table.set_axis(["moa", "n", "accuracy"], axis=1),
    )


def _nearest(
    profiles: np.ndarray, apart: list[np.ndarray], mechanism: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest row that differs in all codes, −1 for none; whether one of the kind is there."""
    points = directions(profiles, "cosine")
    every = np.arange(len(points))
    nearest, possible = np.full(len(points), -1), np.zeros(len(points), bool)
    step = max(1, BLOCK // len(points))
    for start in range(0, len(points), step):
        rows = every[start : start + step]
        may = np.all([codes[rows, None] != codes for codes in apart], axis=0)
        far = distances(points, rows, every, "cosine")
        far[~may] = np.inf
        nearest[rows] = np.where(may.any(1), far.argmin(1), -1)
        possible[rows] = (may & (mechanism[rows, None] == mechanism)).any(1)
    return nearest, possible


def _dealt(
    of: np.ndarray,
    mechanism: np.ndarray,
    nearest: np.ndarray,
    rows: np.ndarray,
    draws: int,
    seed: int,
) -> np.ndarray:
    """Accuracies when the mechanisms of the compounds are dealt to them anew."""
    own = np.zeros(of.max() + 1, np.int64)
    own[of] = mechanism
    draw = rng(seed, "mechanisms dealt anew")
    found = np.empty(draws)
    for i in range(draws):
        dealt = draw.permutation(own)[of]
        found[i] = ((nearest[rows] >= 0) & (dealt[nearest[rows]] == dealt[rows])).mean()
    return found


def _interval(
    hit: np.ndarray, of: np.ndarray, confidence: float, draws: int, seed: int
) -> tuple[float, float]:
    units, codes = np.unique(of, return_inverse=True)
    if len(units) < 3:
        return float("nan"), float("nan")
    hits, counts = np.bincount(codes, hit), np.bincount(codes)
    draw = rng(seed, "bootstrap of compounds")
    weights = draw.multinomial(len(units), np.full(len(units), 1 / len(units)), size=draws)
    tail = (1 - confidence) / 2
    low, high = np.quantile((weights @ hits) / (weights @ counts), [tail, 1 - tail])
    return float(low), float(high)


def _checked(
    profiles: np.ndarray, compounds: Names, moas: Names, batches: Names | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Names]:
    for given, what in ((compounds, "compounds"), (moas, "mechanisms"), (batches, "batches")):
        if given is None:
            continue
        if len(given) != len(profiles):
            raise DataError(f"{len(profiles)} profiles came with {len(given)} {what}")
        if pd.isna(given).any():
            raise DataError(f"{pd.isna(given).sum()} of {len(profiles)} profiles lack {what}")
    if not np.isfinite(profiles).all():
        raise DataError(
            f"{(~np.isfinite(profiles).all(1)).sum()} of {len(profiles)} profiles have undefined "
            f"features: leave them out, and report how many"
        )
    drugs, of = np.unique(compounds, return_inverse=True)
    names, mechanism = np.unique(moas, return_inverse=True)
    pairs = np.unique(np.stack([of, mechanism]), axis=1)
    twice = np.flatnonzero(np.bincount(pairs[0]) > 1)
    if len(twice):
        raise DataError(
            f"{len(twice)} compounds have several mechanisms, such as {str(drugs[twice[0]])!r}"
        )
    batch = None if batches is None else np.unique(batches, return_inverse=True)[1]
    return of, mechanism, batch, names
