"""How much efficacy knows of accuracy, window by window or field by field."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng
from attributome.pipeline.study.looked import look
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies
from attributome.pipeline.study.saving import shared
from attributome.pipeline.study.spatial import channels_of, label_of
from attributome.studies.dremi import Dremi
from attributome.studies.dremi import dremi as information
from attributome.studies.found import Found
from attributome.studies.paired import corrected, unit_mean
from attributome.studies.spatial import pearson, spatial_pcc

LEAST_FIELDS = 20
LEAST_WINDOWS = 10
"""Windows that a unit needs; others are left out, and counted."""
MOST_WINDOWS = 400
"""Windows of one field, drawn where it has more."""


def dremi(studies: Studies) -> Found:
    """DREMI of accuracy given efficacy, beside Spearman's correlation.

    Efficacy is the correlation of the prediction with that from the signature, accuracy that with
    the truth: in windows side by side of `spatial.window` pixels, of one plane each, or of whole
    fields. Chance gives whole units the accuracy of other units, so that neighbouring windows are
    never taken for independent ones; units then give equally many windows, drawn.

    Raises `DataError` where no field has a target image, and `UsageError` where no predictor
    has 20 units of fields, or none 10 windows.
    """
    windows = studies.job.dremi.of == "windows"
    table = _windows(studies) if windows else _fields(studies)
    undefined = table[["efficacy", "accuracy"]].isna().any(axis=1)
    rows, kept, densities, poor = [], [], [], []
    for (name, channel), part in table[~undefined].groupby(["predictor", "channel"], sort=False):
        words = (str(name), str(channel))
        even = _even(part, studies.job.seed, words) if windows else _whole(part)
        units = even["unit"].nunique()
        if units < (1 if windows else LEAST_FIELDS):
            poor.append(_poor(words[0], windows, part["unit"].nunique()))
            continue
        row: dict[str, Any] = {"predictor": name, "channel": channel, "n": len(even)}
        row |= {"units": units, "left_out": part["unit"].nunique() - units}
        found = _information(studies, even, units)
        row |= found.row()
        row |= _ranks(even) if windows else _rank(even)
        rows.append(row)
        kept.append(even)
        densities.append(_density(found).assign(predictor=words[0], channel=words[1]))
    if not rows:
        if poor:
            raise UsageError(poor[0])
        raise DataError("no field has a target image, so that no accuracy is known")
    means = corrected(pd.DataFrame(rows))
    of = "windows" if windows else "units"
    return Found(
        numbers={label_of(row): row for row in means.to_dict("records")},
        n=f"{shared(table[~undefined])}, {sum(map(len, kept))} {of}; {int(undefined.sum())} "
        "without a correlation are left out",
        test=f"DREMI against {studies.job.dremi.draws} permutations of accuracy among whole "
        "units, Holm over predictors; intervals from leaving out units in turn, those of "
        "Spearman's correlation "
        + ("Student's over units" if windows else "by Bonett and Wright (2000)"),
        words=(
            *(_said(row, of) for row in means.to_dict("records")),
            *(f"{why[0].upper()}{why[1:]}." for why in poor),
        ),
        tables={
            "pairs": pd.concat(kept, ignore_index=True),
            "means": means,
            "drevi": pd.concat(densities, ignore_index=True),
        },
    )


def _windows(studies: Studies) -> pd.DataFrame:
    """Windows side by side, so that no pixel is counted twice."""
    wide = studies.job.spatial.window

    def ask(one: Opened, field: str) -> Rows:
        seen = look(studies, one, field)
        if seen.truth is None:
            return [{"channel": "", "efficacy": np.nan, "accuracy": np.nan}]
        rows = []
        for at, channel in enumerate(channels_of(seen)):
            pair = [
                spatial_pcc(
                    seen.prediction[at], image[at], window=wide, stride=wide, edges="leave"
                ).windows.ravel()
                for image in (seen.noised, seen.truth)
            ]
            draw = rng(studies.job.seed, "windows of a field", one.name, field)
            n = len(pair[0])
            chosen = np.sort(draw.permutation(n)[:MOST_WINDOWS])
            rows += [
                {"channel": channel, "efficacy": float(a), "accuracy": float(b)}
                for a, b in zip(pair[0][chosen], pair[1][chosen], strict=True)
            ]
        return rows

    return measured(studies, "dremi_windows", ask, options={"window": wide})


def _fields(studies: Studies) -> pd.DataFrame:
    def ask(one: Opened, field: str) -> Rows:
        note = look(studies, one, field).note
        pcc = np.nan if note["pcc"] is None else note["pcc"]
        return [{"channel": "", "efficacy": note["efficacy"], "accuracy": pcc}]

    return measured(studies, "dremi_fields", ask, options={})


def _even(part: pd.DataFrame, seed: int, words: tuple[str, ...]) -> pd.DataFrame:
    """As many windows of each unit as the poorest has, in their order; poor units are left out."""
    sizes = part.groupby("unit", sort=False).size()
    kept = sizes[sizes >= LEAST_WINDOWS]
    found = [part.iloc[:0]]
    for unit in kept.index:
        rows = part[part["unit"] == unit]
        drawn = rng(seed, "windows of a unit", *words, str(unit)).permutation(len(rows))
        found.append(rows.iloc[np.sort(drawn[: kept.min()])])
    return pd.concat(found, ignore_index=True)


def _poor(name: str, windows: bool, units: int) -> str:
    """Why nothing can be said of one predictor."""
    if windows:
        return (
            f"no unit of {name} has {LEAST_WINDOWS} windows with a correlation: ask for smaller "
            f"ones with spatial.window"
        )
    return (
        f"DREMI over fields needs {LEAST_FIELDS} or more that are independent, and {name} has "
        f"{units}: ask for dremi.of=windows"
    )


def _whole(part: pd.DataFrame) -> pd.DataFrame:
    """One pair for each unit: the means of its fields."""
    keys = ["predictor", "channel", "unit"]
    means: pd.DataFrame = part.groupby(keys, sort=False)[["efficacy", "accuracy"]].mean()
    return means.reset_index()


def _information(studies: Studies, even: pd.DataFrame, units: int) -> Dremi:
    return information(
        even["efficacy"].to_numpy(float),
        even["accuracy"].to_numpy(float),
        method=studies.job.dremi.estimator,
        units=even["unit"].to_numpy(),
        draws=studies.job.dremi.draws if units > 2 else 0,
        seed=studies.job.seed,
    )


def _ranks(even: pd.DataFrame) -> dict[str, float]:
    """Spearman's correlation inside each unit: its mean over units, with Student's interval."""
    parts = [part for _, part in even.groupby("unit", sort=False)]
    told = unit_mean(np.array([_spearman(part) for part in parts]), np.arange(len(parts)))
    return {"rank": told["mean"], "rank_low": told["low"], "rank_high": told["high"]}


def _rank(even: pd.DataFrame) -> dict[str, float]:
    """Spearman's correlation over units."""
    rank, n = _spearman(even), len(even)
    low = high = math.nan
    if abs(rank) < 1 - 1e-12:
        reach = float(norm.ppf(0.975)) * math.sqrt((1 + rank**2 / 2) / (n - 3))
        low, high = (math.tanh(math.atanh(rank) + end) for end in (-reach, reach))
    return {"rank": rank, "rank_low": low, "rank_high": high}


def _spearman(part: pd.DataFrame) -> float:
    return pearson(*(rankdata(part[key].to_numpy(float)) for key in ("efficacy", "accuracy")))


def _density(found: Dremi) -> pd.DataFrame:
    """DREVI as rows: the density of accuracy `y` in the bin of efficacy `x`."""
    middles = [(edges[1:] + edges[:-1]) / 2 for edges in (found.edges_x, found.edges_y)]
    x, y = np.meshgrid(*middles)
    return pd.DataFrame({"x": x.ravel(), "y": y.ravel(), "density": found.drevi.ravel()})


def _said(row: Mapping[Hashable, Any], of: str) -> str:
    ends = f" ({row['low']:.2f} to {row['high']:.2f})" if row["low"] == row["low"] else ""
    said = f"{label_of(row)}: over {row['n']} {of}, efficacy knows {row['dremi']:.2f} bits{ends} "
    said += "of accuracy; "
    if row["p"] != row["p"]:
        said += f"{row['units']} units are too few to say what chance gives"
    else:
        said += f"chance gives {row['chance']:.2f} (Holm p = {row['holm']:.2g}), "
        said += (
            "so that efficacy says something of accuracy"
            if row["holm"] <= 0.05
            else "so that nothing is shown"
        )
    ends = (
        f" ({row['rank_low']:.2f} to {row['rank_high']:.2f})"
        if row["rank_low"] == row["rank_low"]
        else ""
    )
    where = " inside a unit" if of == "windows" else ""
    if row["rank"] == row["rank"]:
        said += f". Spearman's correlation{where} is {row['rank']:.2f}{ends}"
    left = row["left_out"]
    return said + (f"; {left} unit{'s' * (left != 1)} left out." if left else ".")
