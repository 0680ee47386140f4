"""What of a profile is its batch: predictability, replicates beside strangers, silhouettes."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import benjamini_hochberg
from attributome.core.seeds import rng
from attributome.profiles.neighbours import protocols
from attributome.profiles.wells.ranking import directions

Features = Float[np.ndarray, "n f"]
Names = Shaped[np.ndarray, " _"]


def batch_predictability(
    features: Features,
    batches: Names,
    wells: Names,
    *,
    k: int = 11,
    folds: int = 4,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How well the batch of a profile is told from it: rows of `neighbours.protocols`.

    A high balanced accuracy means that plates or batches are still in the profiles. `wells` names
    the well of each row, which a batch has many of: what judges a well are other wells, by
    neighbours and by a linear classifier, and intervals draw wells. `chance` is in each row. Give
    negative controls alone where treatments differ between batches, or the treatment is predicted.
    """
    pairs = pd.DataFrame({"well": wells, "batch": batches}).drop_duplicates()
    if pairs["well"].duplicated().any():
        well = pairs.loc[pairs["well"].duplicated(), "well"].iloc[0]
        raise DataError(f"well {str(well)!r} is in several batches; name wells with their plate")
    table = protocols(
        features, batches, {"well": wells}, k=k, folds=folds, confidence=confidence, draws=draws,
        seed=seed,
    )  # fmt: skip
    return table[table["protocol"] != "leave one cell out"].reset_index(drop=True)


def replicability(
    table: pd.DataFrame,
    features: Features,
    by: Sequence[str] = ("Metadata_treatment",),
    *,
    similarity: str = "correlation",
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How alike the replicates of each group are, beside as many rows of as many other groups.

    A row for each group of two or more: the columns `by`, `n`, `median` (of all its pairs'
    correlations, or cosines), `null_median` and `null_95` of random sets with every row from
    another group, `p` = (1 + as high) / (1 + draws), and `q` (Benjamini and Hochberg 1995). The
    share of groups above `null_95` is known as percent replicating. Rows are wells; replicates on
    one plate or in one position share more than their treatment.
    """
    if similarity not in ("correlation", "cosine"):
        raise UsageError(f"no similarity {similarity!r}; there are correlation and cosine")
    if draws < 1:
        raise UsageError(f"{draws} draws make no null; give some, such as 1000")
    lost = [name for name in by if name not in table]
    if lost or not by:
        raise UsageError(f"no column {lost[0] if lost else ''!r} to group rows by")
    if len(table) != len(features):
        raise DataError(f"{len(table)} rows came with {len(features)} profiles")
    if not np.isfinite(features).all():
        raise DataError("some profiles have undefined features: leave them out, and report it")
    points = directions(features, similarity)
    groups = {
        key if isinstance(key, tuple) else (key,): rows
        for key, rows in table.reset_index(drop=True).groupby([*by], sort=True).indices.items()
    }
    members = [np.asarray(rows) for rows in groups.values()]
    rows = []
    null = cache(lambda size: _strangers(points, members, size, draws, seed))
    for key, own in zip(groups, members, strict=True):
        if len(own) < 2:
            continue
        if len(own) > len(members):
            raise DataError(
                f"group {key} has {len(own)} rows, more than the {len(members)} groups that "
                f"strangers could come from"
            )
        middle = _median(points[own])
        drawn = null(len(own))
        rows.append(
            dict(zip(by, key, strict=True))
            | {
                "n": len(own),
                "median": middle,
                "null_median": float(np.median(drawn)),
                "null_95": float(np.quantile(drawn, 0.95)),
                "p": float((1 + (drawn >= middle - 1e-12).sum()) / (1 + draws)),
            }
        )
    if not rows:
        raise DataError(f"none of {len(members)} groups has two rows")
    found = pd.DataFrame(rows)
    return found.assign(q=benjamini_hochberg(found["p"].to_numpy()))


def silhouettes(
    features: Features,
    labels: Mapping[str, Names],
    *,
    metric: str = "cosine",
    units: Names | None = None,
    confidence: float = 0.95,
    draws: int = 1000,
    permutations: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean silhouette (Rousseeuw 1987) of rows by each label: 1 apart, 0 mixed, below 0 astray.

    Before and after a correction, that by batch should fall and that by treatment stay. A row for
    each label: `label`, `silhouette`, `low`, `high` (drawing `units`, or else rows, again; NaN
    below three), `chance` (the mean over permuted labels), `n`, `groups`. All distances are held
    at once: for wells, not for cells.
    """
    from sklearn.metrics import pairwise_distances, silhouette_samples

    if not 0 < confidence < 1 or draws < 1 or permutations < 1:
        raise UsageError(
            f"confidence {confidence}, {draws} draws and {permutations} permutations; such as "
            f"0.95, 1000 and 20"
        )
    if not np.isfinite(features).all():
        raise DataError("some profiles have undefined features: leave them out, and report it")
    apart = pairwise_distances(features.astype(np.float64), metric=metric)
    np.fill_diagonal(apart, 0.0)
    of = np.arange(len(features)) if units is None else np.unique(units, return_inverse=True)[1]
    rows = []
    for name, given in labels.items():
        if len(given) != len(features) or pd.isna(given).any():
            raise DataError(f"{len(features)} profiles came with {pd.notna(given).sum()} {name!r}")
        codes = np.unique(given, return_inverse=True)[1]
        count = int(codes.max()) + 1
        if not 2 <= count < len(features):
            raise DataError(f"{name!r} makes {count} groups of {len(features)} rows; 2 to n − 1")
        each = silhouette_samples(apart, codes, metric="precomputed")
        draw = rng(seed, "silhouette", name)
        chance = [
            silhouette_samples(apart, draw.permutation(codes), metric="precomputed").mean()
            for _ in range(permutations)
        ]
        low, high = _ends(each, of, confidence, draws, draw)
        rows.append(
            {
                "label": name,
                "silhouette": float(each.mean()),
                "low": low,
                "high": high,
                "chance": float(np.mean(chance)),
                "n": len(each),
                "groups": count,
            }
        )
    return pd.DataFrame(rows)


def _strangers(
    points: np.ndarray, members: list[np.ndarray], size: int, draws: int, seed: int
) -> np.ndarray:
    """Medians of sets with every row from another group."""
    draw = rng(seed, "strangers", size)
    found = np.empty(draws)
    for i in range(draws):
        chosen = draw.choice(len(members), size, replace=False)
        found[i] = _median(points[[members[g][draw.integers(len(members[g]))] for g in chosen]])
    return found


def _median(points: np.ndarray) -> float:
    pairs = np.triu_indices(len(points), 1)
    return float(np.median((points @ points.T)[pairs]))


def _ends(
    each: np.ndarray, of: np.ndarray, confidence: float, draws: int, draw: np.random.Generator
) -> tuple[float, float]:
    sums, counts = np.bincount(of, each), np.bincount(of)
    if len(counts) < 3:
        return float("nan"), float("nan")
    weights = draw.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=draws)
    tail = (1 - confidence) / 2
    low, high = np.quantile((weights @ sums) / (weights @ counts), [tail, 1 - tail])
    return float(low), float(high)
