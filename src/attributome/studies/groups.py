"""Do groups of wells differ: tests that know of plates, effect sizes, and many comparisons at once.

Cells of a field and fields of a well share all that happened to it, and a test that counts them as
independent finds differences everywhere. Values are therefore averaged to units (wells), and what
is permuted is the groups of whole units within their plate: a plate that is brighter than another
then changes nothing. Nothing is assumed of the distribution of the values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from scipy.stats import rankdata

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import benjamini_hochberg, holm
from attributome.core.seeds import rng, seed_of
from attributome.metrics.intervals import median_interval
from attributome.studies.effects import effects

Values = Float[np.ndarray, " _"]
Codes = Integer[np.ndarray, " _"]

BLOCK = 2**22
"""Numbers of permuted places that are held at once."""
TIE = 1e-9
"""Statistics closer than this are the same, added up in another order."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Groups:
    """What differs: three tables, a row for each level of `within`, each group and each pair.

    `levels`: the columns `within`, `groups`, `units`, `blocks`, `statistic` and `p` of the test
    that any group differs (`permutation_test`), with `holm` and `q` over the levels.
    `groups`: `within`, `group`, `units`, `fields` (rows averaged), `undefined` (rows without a
    value, left out), `mean` of units, `median` with `low` and `high` (units drawn again, whatever
    their block).
    `pairs`: `within`, `first`, `second`, `n1`, `n2` units, `blocks` that hold both, `fold`
    (median of the first over that of the second), the effects of `effects.effects`, `p`, `holm`
    and `q` (Benjamini and Hochberg 1995), over all pairs of all levels. A pair that no block holds
    together has no test and no effect (NaN), and does not count in `holm` and `q`.
    A group below three units has no interval (NaN).
    """

    levels: pd.DataFrame
    groups: pd.DataFrame
    pairs: pd.DataFrame


def compare_groups(
    table: pd.DataFrame,
    value: str,
    by: str | Sequence[str],
    *,
    unit: str | Sequence[str],
    block: str | None = None,
    within: Sequence[str] = (),
    control: str | None = None,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Groups:
    """Compare a value between groups of fields, given as the rows of a table.

    A group is one combination of the columns `by` (its values joined by " / "); `unit` are the
    columns that name what is independent, such as the well, and `block` one within which units may
    be compared, such as the plate. With `within`, such as the time point, groups are compared only
    inside each of its levels. Every pair of groups is compared, or with `control` every group with
    that one. A unit of two groups, two blocks or two levels is refused.
    """
    names = {"by": [by] if isinstance(by, str) else [*by]}
    names |= {"unit": [unit] if isinstance(unit, str) else [*unit], "within": [*within]}
    units = unit_means(
        table,
        value,
        by=names["by"],
        unit=names["unit"],
        keep=[*names["within"], *([block] if block is not None else [])],
    )
    if not 0 < confidence < 1 or draws < 1:
        raise UsageError(f"confidence {confidence} and {draws} draws; such as 0.95 and 2000")
    if control is not None and control not in set(units["group"]):
        raise UsageError(f"no group {control!r}; there are {sorted(set(units['group']))}")
    told: dict[str, list[dict[str, Any]]] = {"levels": [], "groups": [], "pairs": []}
    for key, level in _levels(units, names["within"]):
        here = level[level["value"].notna()]
        blocks = np.zeros(len(here), int) if block is None else _codes(here[block])
        label = "/".join(map(str, key.values()))
        told["groups"] += [key | row for row in _described(level, confidence, draws, seed)]
        told["levels"].append(key | _overall(here, blocks, draws, seed, label))
        told["pairs"] += [
            key | _pair(here, blocks, first, second, confidence, draws, seed, label)
            for first, second in _asked(sorted(set(level["group"])), control)
        ]
    return Groups(
        levels=_corrected(pd.DataFrame(told["levels"])),
        groups=pd.DataFrame(told["groups"]),
        pairs=_corrected(pd.DataFrame(told["pairs"])) if told["pairs"] else pd.DataFrame(),
    )


def unit_means(
    table: pd.DataFrame,
    value: str,
    *,
    by: Sequence[str],
    unit: Sequence[str],
    keep: Sequence[str] = (),
) -> pd.DataFrame:
    """The mean of the rows of each unit: a row for each, by the columns `unit`.

    Columns: `unit`, `keep`, `group`, `value` (NaN if all its rows are), `fields` that were averaged
    and `undefined` ones that were not.
    """
    asked = [value, *by, *unit, *keep]
    lost = [name for name in asked if name not in table]
    if lost or not by or not unit:
        raise UsageError(
            f"no column {lost[0] if lost else ''!r} among {[*map(str, table.columns)]}"
        )
    if not pd.api.types.is_numeric_dtype(table[value]):
        raise DataError(f"the values of {value!r} are not numbers")
    if np.isinf(table[value].to_numpy(np.float64)).any():
        raise DataError(f"some values of {value!r} are infinite: leave them out, and report it")
    for name in asked[1:]:
        if table[name].isna().any():
            raise DataError(
                f"{int(table[name].isna().sum())} rows have no {name!r}; each needs one"
            )
    if not len(table):
        raise DataError("a table without rows has no groups")
    rows = []
    joined = table[[*by]].astype(str).agg(" / ".join, axis=1)
    grouped = table.assign(**{"\0group": joined}).groupby([*unit], sort=True, observed=True)
    for key, part in grouped:
        row = dict(zip(unit, key if isinstance(key, tuple) else (key,), strict=True))
        for name in ("\0group", *keep):
            if part[name].nunique() > 1:
                what = ", ".join(by) if name == "\0group" else name
                raise DataError(f"unit {key} has several values of {what}: it must have one")
            row[name.replace("\0", "")] = part[name].iloc[0]
        defined = part[value].notna()
        row |= {"value": float(part.loc[defined, value].mean()) if defined.any() else np.nan}
        row |= {"fields": int(defined.sum()), "undefined": int((~defined).sum())}
        rows.append(row)
    return pd.DataFrame(rows)


def permutation_test(
    values: Values, groups: Codes, blocks: Codes | None = None, *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Whether units of any group lie higher than others of their block: a statistic and its p.

    The statistic is the generalised Cochran–Mantel–Haenszel one of the ranks within blocks over
    block size + 1 (van Elteren 1960): Kruskal and Wallis's of one block, Friedman's where each
    block has one unit of each group. p is (1 + as high) / (1 + draws) over permutations of groups
    within blocks: exact, however few units there are, and never above its level by chance more
    often than it says. NaN where no block holds two groups.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    where = (
        np.zeros(len(values), int) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    )
    _check(values, codes, where, draws)
    keep = _mixed(codes, where)
    if not keep.any():
        return float("nan"), float("nan")
    values, where = values[keep], np.unique(where[keep], return_inverse=True)[1]
    codes = np.unique(codes[keep], return_inverse=True)[1]
    scores, inverse = _scores(values, codes, where)
    one_hot = np.eye(int(codes.max()) + 1)[codes]
    sums = scores @ one_hot
    statistic = float(sums @ inverse @ sums)
    generator = rng(seed, "groups permuted within blocks")
    order = np.argsort(where, kind="stable")
    as_high, step = 0, max(1, BLOCK // len(values))
    for start in range(0, draws, step):
        size = (min(step, draws - start), len(values))
        # a block's own random order, block after block
        drawn = np.argsort(generator.random(size) + where[order], axis=1)
        mixed = np.empty(size)
        mixed[:, order] = scores[order][drawn]
        again = mixed @ one_hot
        as_high += int((((again @ inverse) * again).sum(1) >= statistic - TIE).sum())
    return statistic, (1 + as_high) / (1 + draws)


def rejections(
    groups: Codes,
    blocks: Codes | None = None,
    *,
    shift: float,
    spread: float = 1.0,
    level: float = 0.05,
    simulations: int = 1000,
    draws: int = 199,
    seed: int = 0,
) -> float:
    """How often the test finds a difference in a layout of units: its power before the experiment.

    Units are normal with standard deviation 1, blocks differ by a normal with `spread`, and units
    of the last group are higher by `shift`. With `shift=0` it is the rate of false positives.
    """
    if simulations < 1 or not 0 < level < 1:
        raise UsageError(f"{simulations} simulations at level {level}; such as 1000 and 0.05")
    codes = np.unique(groups, return_inverse=True)[1]
    where = (
        np.zeros(len(codes), int) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    )
    found = 0
    for turn in range(simulations):
        draw = rng(seed, "simulated units", turn)
        values = draw.standard_normal(len(codes)) + shift * (codes == codes.max())
        values = values + spread * draw.standard_normal(where.max() + 1)[where]
        found += permutation_test(values, codes, where, draws=draws, seed=turn)[1] <= level
    return found / simulations


def _scores(values: Values, codes: Codes, where: Codes) -> tuple[Values, np.ndarray]:
    """Centred ranks within blocks, and the inverse of the covariance of their sums over groups."""
    scores = np.empty(len(values))
    kinds = int(codes.max()) + 1
    covariance = np.zeros((kinds, kinds))
    for block in range(int(where.max()) + 1):
        rows = np.flatnonzero(where == block)
        n = len(rows)
        scores[rows] = (rankdata(values[rows]) - (n + 1) / 2) / (n + 1)
        counts = np.bincount(codes[rows], minlength=kinds).astype(np.float64)
        power = (scores[rows] ** 2).sum() / (n - 1)
        covariance += power * (np.diag(counts) - np.outer(counts, counts) / n)
    return scores, np.linalg.pinv(covariance, rcond=1e-10, hermitian=True)


def _mixed(codes: Codes, where: Codes) -> np.ndarray:
    """Units of blocks that hold two groups or more: no others can speak."""
    kinds = [len(np.unique(codes[where == block])) for block in range(int(where.max()) + 1)]
    found: np.ndarray = (np.array(kinds) > 1)[where]
    return found


def _overall(
    here: pd.DataFrame, blocks: np.ndarray, draws: int, seed: int, label: str
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "groups": here["group"].nunique(),
        "units": len(here),
        "blocks": len(np.unique(blocks)),
        "statistic": np.nan,
        "p": np.nan,
    }
    if row["groups"] > 1:
        own = seed_of(seed, label)
        row["statistic"], row["p"] = permutation_test(
            here["value"].to_numpy(), _codes(here["group"]), blocks, draws=draws, seed=own
        )
    return row


def _described(
    level: pd.DataFrame, confidence: float, draws: int, seed: int
) -> list[dict[str, Any]]:
    rows = []
    for name, part in level.groupby("group", sort=True, observed=True):
        values = part["value"].dropna().to_numpy()
        row = {"group": name, "units": len(values)}
        row |= {key: int(part[key].sum()) for key in ("fields", "undefined")}
        row |= dict.fromkeys(("mean", "median", "low", "high"), np.nan)
        if len(values):
            row |= {"mean": values.mean(), "median": np.median(values)}
        if len(values) > 2:
            told = median_interval(values, confidence=confidence, draws=draws, seed=seed)
            row |= {"low": told[1], "high": told[2]}
        rows.append(row)
    return rows


def _pair(
    here: pd.DataFrame,
    blocks: np.ndarray,
    first: str,
    second: str,
    confidence: float,
    draws: int,
    seed: int,
    label: str,
) -> dict[str, Any]:
    is_first, is_second = ((here["group"] == name).to_numpy() for name in (first, second))
    rows = is_first | is_second
    values, where = here["value"].to_numpy()[rows], blocks[rows]
    one = is_first[rows]
    n1, n2 = int(one.sum()), int((~one).sum())
    low = float(np.median(values[~one])) if n2 else 0.0
    fold = float(np.median(values[one])) / low if n1 and low else np.nan
    row: dict[str, Any] = {"first": first, "second": second, "n1": n1, "n2": n2, "fold": fold}
    row |= effects(values, one, where, confidence=confidence)
    row["p"] = np.nan
    if row["blocks"]:
        own = seed_of(seed, label, first, second)
        row["p"] = permutation_test(values, one.astype(int), where, draws=draws, seed=own)[1]
    return row


def _asked(names: list[str], control: str | None) -> list[tuple[str, str]]:
    if control is None:
        return list(combinations(names, 2))
    return [(name, control) for name in names if name != control]


def _levels(units: pd.DataFrame, within: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    if not within:
        return [({}, units)]
    return [
        (dict(zip(within, key, strict=True)), part)
        for key, part in units.groupby(within, sort=True, observed=True)
    ]


def _corrected(found: pd.DataFrame) -> pd.DataFrame:
    p = found["p"].to_numpy(np.float64)
    tested = ~np.isnan(p)
    adjusted = np.full(len(p), np.nan)
    adjusted[tested] = holm(p[tested].tolist())
    return found.assign(holm=adjusted, q=benjamini_hochberg(p))


def _codes(names: pd.Series) -> np.ndarray:
    found: np.ndarray = pd.factorize(names, sort=True)[0]
    return found


def _check(values: Values, groups: np.ndarray, blocks: np.ndarray, draws: int) -> None:
    if not len(values) == len(groups) == len(blocks) or not len(values):
        raise DataError(
            f"{len(values)} values came with {len(groups)} groups and {len(blocks)} blocks: each "
            f"needs one of both"
        )
    if not np.isfinite(values).all():
        raise DataError("some values are undefined: leave such units out, and report how many")
    if draws < 1:
        raise UsageError(f"{draws} permutations make no test: ask for at least 1")
