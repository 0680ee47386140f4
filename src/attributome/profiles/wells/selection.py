"""Which features are worth keeping, and why each of the others went."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool

from attributome.core.errors import DataError, UsageError
from attributome.profiles.formats import feature_names

MOST_UNDEFINED = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """The table without the features in `dropped`: `feature`, `reason`, `value`, `partner`.

    `value` is what the reason is about (a share, a ratio, a correlation), and `partner` the feature
    that was kept instead where there is one.
    """

    table: pd.DataFrame
    dropped: pd.DataFrame
    n: int


def select(
    table: pd.DataFrame,
    *,
    rows: Bool[np.ndarray, " n"] | None = None,
    blocklist: Collection[str] = (),
    undefined: float = MOST_UNDEFINED,
    freq_cut: float = 0.05,
    unique_cut: float = 0.01,
    outlier: float = 500.0,
    correlation: float = 0.9,
) -> Selection:
    """Drop features in this order, judged on `rows` (training rows, say) or on all.

    `blocklist`: named there. `undefined`: a larger share of values is not finite. `constant`: one
    value only. `frequency`: the second most frequent value is less than `freq_cut` times as
    frequent as the first. `unique`: fewer than `unique_cut` different values per row. `outlier`: a
    value is further from 0 than that (which has a meaning for normalised features). `correlation`:
    |Pearson| above the bound with a feature that is kept.

    The cuts are those of pycytominer 1.7.1. Of correlated features, those with the least sum of
    |correlation| to all others are kept first, of equals the first column; a feature goes only if
    one that stays stands for it, also where the correlation is negative, while pycytominer
    keeps negative pairs, and drops from each pair even where the partner goes as well.
    """
    _check(undefined, freq_cut, unique_cut, outlier, correlation)
    names = feature_names(table)
    judged = np.ones(len(table), bool) if rows is None else rows
    if len(judged) != len(table) or judged.sum() < 2:
        raise DataError(f"{judged.sum()} rows of {len(table)} are to be judged; at least two")
    x = table.loc[judged, names].to_numpy(np.float64)
    gone: dict[str, tuple[str, float, str]] = {}
    for j, name in enumerate(names):
        why = (
            ("blocklist", np.nan)
            if name in blocklist
            else _alone(x[:, j], undefined, freq_cut, unique_cut, outlier)
        )
        if why is not None:
            gone[name] = (*why, "")
    left = [j for j, name in enumerate(names) if name not in gone]
    for j, (value, partner) in _doubled(x[:, left], correlation).items():
        gone[names[left[j]]] = ("correlation", value, names[left[partner]])
    if len(gone) == len(names):
        raise DataError(f"none of {len(names)} features is left")
    dropped = [(name, *gone[name]) for name in names if name in gone]
    return Selection(
        table=table.drop(columns=[*gone]).reset_index(drop=True),
        dropped=pd.DataFrame(dropped, columns=["feature", "reason", "value", "partner"]),
        n=int(judged.sum()),
    )


def _alone(
    x: np.ndarray, undefined: float, freq_cut: float, unique_cut: float, outlier: float
) -> tuple[str, float] | None:
    """Why a feature goes whatever the others are."""
    finite = np.isfinite(x)
    share = float(1 - finite.mean())
    if share > undefined or not finite.any():
        return "undefined", share
    counts = np.sort(np.unique(x[finite], return_counts=True)[1])[::-1]
    if len(counts) == 1:
        return "constant", float(x[finite][0])
    if counts[1] / counts[0] < freq_cut:
        return "frequency", float(counts[1] / counts[0])
    if len(counts) / len(x) < unique_cut:
        return "unique", float(len(counts) / len(x))
    far = float(np.abs(x[finite]).max())
    return ("outlier", far) if far > outlier else None


def _doubled(x: np.ndarray, bound: float) -> dict[int, tuple[float, int]]:
    """Columns for which another stands: their correlation with it, and which it is."""
    if x.shape[1] < 2:
        return {}
    finite = np.isfinite(x)
    if finite.all():
        r = np.corrcoef(x, rowvar=False)
    else:
        r = pd.DataFrame(np.where(finite, x, np.nan)).corr().fillna(0.0).to_numpy()
    kept: list[int] = []
    gone: dict[int, tuple[float, int]] = {}
    for j in np.argsort(np.abs(r).sum(0).round(9), kind="stable").tolist():
        near = np.abs(r[j, kept])
        if kept and near.max() > bound:
            partner = kept[int(near.argmax())]
            gone[j] = (float(r[j, partner]), partner)
        else:
            kept.append(j)
    return gone


def _check(
    undefined: float, freq_cut: float, unique_cut: float, outlier: float, correlation: float
) -> None:
    shares = {
        "undefined": undefined,
        "freq_cut": freq_cut,
        "unique_cut": unique_cut,
        "correlation": correlation,
    }
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} = {value}; give a number from 0 to 1")
    if not outlier > 0:
        raise UsageError(f"outlier = {outlier}; give a number above 0, or infinity for none")
