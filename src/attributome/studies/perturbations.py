"""What a drug does to masks and efficacies, and whether several predictors agree on it.

Tables in, tables out: rows are fields, with the well and plate of each. A field cannot be compared
with itself without the drug, so that changes are between wells of one plate; masks can be laid over
each other where they are of one grid: of two predictors, or of one field before and after.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import norm, rankdata

from attributome.core.errors import DataError, UsageError
from attributome.core.multiplicity import benjamini_hochberg, holm
from attributome.core.seeds import rng, seed_of
from attributome.studies.groups import compare_groups

Mask = Bool[np.ndarray, "..."]


def overlap(first: Mask, second: Mask) -> dict[str, float]:
    """How far two binary masks of one grid are the same, beside what their sizes alone would give.

    `size_first` and `size_second` are shares of the field; `iou` is what both hold over what either
    holds (Jaccard), `dice` twice that over the sum of sizes; `of_first` is the share of the first
    that lies in the second, and `of_second` the other way. `iou_chance` is the IoU of two masks of
    these sizes that know nothing of each other. NaN where nothing is held.
    """
    if first.shape != second.shape or not first.size:
        raise DataError(f"masks of {first.shape} and {second.shape} are not of one field")
    a, b = float(first.mean()), float(second.mean())
    both = float((first & second).mean())
    return {
        "size_first": a,
        "size_second": b,
        "iou": _over(both, a + b - both),
        "dice": _over(2 * both, a + b),
        "of_first": _over(both, a),
        "of_second": _over(both, b),
        "iou_chance": _over(a * b, a + b - a * b),
    }


def overlaps(first: Mapping[str, Mask], second: Mapping[str, Mask]) -> pd.DataFrame:
    """A row of `overlap` for each field, which both must name; further columns are the caller's."""
    if apart := sorted(first.keys() ^ second.keys()):
        raise DataError(
            f"{len(apart)} fields have one mask and not the other, such as {apart[0]!r}"
        )
    rows = [{"field": name, **overlap(mask, second[name])} for name, mask in first.items()]
    return pd.DataFrame(rows)


def changes(
    table: pd.DataFrame,
    values: Sequence[str],
    *,
    by: str | Sequence[str],
    control: str,
    unit: str | Sequence[str],
    block: str | None = None,
    within: Sequence[str] = (),
    predictor: str = "predictor",
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """How far each treatment moves each value from the control, for each predictor.

    `table` has a row for each field and predictor. Columns of the result: `predictor`, `value`, and
    those of the pairs of `groups.compare_groups` (`first` is the treatment), with `holm` and `q`
    over all rows. Values are of any kind: mask size, efficacy, overlap.
    """
    if predictor not in table or not values:
        raise UsageError(
            f"changes need a column {predictor!r} and one or more values; there are the columns "
            f"{[*map(str, table.columns)]}"
        )
    found = []
    for name, rows in table.groupby(predictor, sort=True, observed=True):
        for value in values:
            pairs = compare_groups(
                rows,
                value,
                by,
                unit=unit,
                block=block,
                within=within,
                control=control,
                confidence=confidence,
                draws=draws,
                seed=seed_of(seed, str(name), value),
            ).pairs
            pairs.insert(0, "predictor", name)
            pairs.insert(1, "value", value)
            found.append(pairs)
    told = pd.concat(found, ignore_index=True)
    if not len(told):
        raise DataError(f"there is no group beside {control!r} that could have changed")
    p = told["p"].to_numpy(np.float64)
    adjusted = np.full(len(p), np.nan)
    adjusted[~np.isnan(p)] = holm(p[~np.isnan(p)].tolist())
    return told.assign(holm=adjusted, q=benjamini_hochberg(p))


def change_agreement(
    found: pd.DataFrame,
    *,
    between: str = "predictor",
    effect: str = "hedges_g",
    over: Sequence[str] = ("first",),
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether the treatments that move one predictor's masks move another's too.

    `found` is a table of `changes`, of one value for `between="predictor"`, and of one predictor
    for `between="value"`: does efficacy fall where masks grow? A row for each pair: `first`,
    `second`, `n` treatments (combinations of `over`) that both know, `undefined` ones, `rank`
    (Spearman), with `low` and `high` (Bonett and Wright 2000; NaN below four treatments or where
    ranks agree whole), `same_sign` (share of treatments that move both up or both down; NaN effects
    are left out, and none is both), `p` = (1 + as far from 0) / (1 + draws) over treatments dealt
    anew to the second, `holm` and `q`. Below three treatments there is no rank.

    Where both predictors saw the same wells they share what is odd about these: agreement then says
    that they see the same in the wells, and not yet that the drugs did it.
    """
    lost = [name for name in (between, effect, *over) if name not in found]
    if lost or not over:
        raise UsageError(f"no column {lost[0] if lost else ''!r}; give a table of `changes`")
    if draws < 1 or not 0 < confidence < 1:
        raise UsageError(f"confidence {confidence} and {draws} draws; such as 0.95 and 2000")
    if found.duplicated([between, *over]).any():
        other = "value" if between == "predictor" else "predictor"
        raise DataError(
            f"some treatments come more than once for one {between}: choose one {other}, or name "
            f"all columns that tell treatments apart in `over`"
        )
    wide = found.pivot(index=[*over], columns=between, values=effect)
    if len(wide.columns) < 2:
        raise DataError(f"one {between} agrees with nobody: give two or more")
    rows = []
    for a, b in combinations(wide.columns, 2):
        both = wide[[a, b]].dropna()
        row: dict[str, Any] = {"first": a, "second": b, "n": len(both)}
        row["undefined"] = len(wide) - len(both)
        x, y = both[a].to_numpy(np.float64), both[b].to_numpy(np.float64)
        row |= _ranked(x, y, confidence, draws, seed_of(seed, str(a), str(b)))
        row["same_sign"] = float((x * y > 0).mean()) if len(x) else math.nan
        rows.append(row)
    told = pd.DataFrame(rows)
    p = told["p"].to_numpy(np.float64)
    adjusted = np.full(len(p), np.nan)
    adjusted[~np.isnan(p)] = holm(p[~np.isnan(p)].tolist())
    return told.assign(holm=adjusted, q=benjamini_hochberg(p))


def _ranked(
    x: Float[np.ndarray, " n"],
    y: Float[np.ndarray, " n"],
    confidence: float,
    draws: int,
    seed: int,
) -> dict[str, float]:
    told = dict.fromkeys(("rank", "low", "high", "p"), math.nan)
    n = len(x)
    if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return told
    a, b = (rankdata(values) - (n + 1) / 2 for values in (x, y))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    rank = float(a @ b) / scale
    dealt = rng(seed, "treatments dealt anew").permuted(np.tile(b, (draws, 1)), axis=1)
    as_far = np.abs(dealt @ a / scale) >= abs(rank) - 1e-9
    told |= {"rank": rank, "p": float((1 + as_far.sum()) / (1 + draws))}
    if n > 3 and abs(rank) < 1 - 1e-12:
        reach = float(norm.ppf((1 + confidence) / 2)) * math.sqrt((1 + rank**2 / 2) / (n - 3))
        told |= {
            "low": math.tanh(math.atanh(rank) - reach),
            "high": math.tanh(math.atanh(rank) + reach),
        }
    return told


def _over(above: float, below: float) -> float:
    return above / below if below else math.nan
