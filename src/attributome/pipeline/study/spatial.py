"""Where in a field a prediction is right, and whether the signature suffices in the same places."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError
from attributome.core.seeds import rng
from attributome.pipeline.study.looked import Looked, look
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies
from attributome.pipeline.study.saving import shared
from attributome.studies.found import Found
from attributome.studies.paired import corrected, paired, unit_mean
from attributome.studies.spatial import SpatialPcc, map_agreement, pearson, spatial_pcc

OTHERS = 8
"""Fields whose maps are laid over the map of one, to see what chance gives."""
SHOWN = 512
"""Pixels of a picture's longer side, at most."""
UNKNOWN = ("agreement", "local", "local_noised", "pixels")


def spatial(studies: Studies) -> Found:
    """Whether the maps of two correlations agree: with the truth, and with what the mask leaves.

    Chance is the same agreement where the second map is of another field of the same predictor
    and shape, for up to 8 of them. In fields with depth windows lie in one plane, or span
    `spatial.depth` of them. Raises `DataError` where no field has a target image.
    """
    told = _with_chance(studies, _own(studies))
    rows = []
    for (name, channel), part in told.groupby(["predictor", "channel"], sort=False):
        units = part["unit"].to_numpy()
        seed = studies.job.seed
        agreement = part["agreement"].to_numpy(float)
        rows.append(
            {"predictor": name, "channel": channel}
            | unit_mean(agreement, units)
            | {"chance": unit_mean(part["chance"].to_numpy(float), units)["mean"]}
            | _above(paired(agreement, part["chance"].to_numpy(float), units, seed=seed))
            | {key: unit_mean(part[key].to_numpy(float), units)["mean"] for key in UNKNOWN[1:3]}
            | {key: int(part[key].sum()) for key in ("windows", "no_truth", "no_noised")}
        )
    means = corrected(pd.DataFrame(rows))
    example, arrays = _example(studies, told)
    return Found(
        numbers={label_of(row): row for row in means.to_dict("records")},
        n=shared(told),
        test="agreement against that with maps of other fields: signs of whole units' differences "
        "flipped, Holm over predictors; Student's intervals of means over units",
        words=tuple(map(_said, means.to_dict("records"))),
        tables={"fields": told, "means": means, "example": example},
        arrays=arrays,
    )


def label_of(row: Mapping[Hashable, Any]) -> str:
    """How a predictor, or a channel of one that paints several, is called."""
    return ", ".join(str(row[key]) for key in ("predictor", "channel") if row[key])


def channels_of(seen: Looked) -> list[str]:
    """The names of the channels that are painted; one alone needs none."""
    if seen.truth is None or len(seen.truth) == 1:
        return [""]
    names = seen.note["target_channels"]
    return [str(names[at]) if at < len(names) else str(at) for at in range(len(seen.truth))]


def _own(studies: Studies) -> pd.DataFrame:
    def ask(one: Opened, field: str) -> Rows:
        seen = look(studies, one, field)
        rows = []
        for at, channel in enumerate(channels_of(seen)):
            row: dict[str, Any] = {"channel": channel} | dict.fromkeys(UNKNOWN, np.nan)
            row |= dict.fromkeys(("windows", "no_truth", "no_noised"), 0)
            if seen.truth is not None:
                first, second = (_map(studies, seen, at, of) for of in ("truth", "noised"))
                row["agreement"], row["pixels"] = _agreement(first.map, second.map)
                row["local"], row["local_noised"] = _mean(first.windows), _mean(second.windows)
                row["windows"] = first.n
                row["no_truth"], row["no_noised"] = first.undefined, second.undefined
            rows.append(row)
        return rows

    table = measured(studies, "spatial", ask, options=_options(studies))
    table = table[table["windows"] > 0].reset_index(drop=True)
    if table.empty:
        raise DataError("no field has a target image, so that nothing can be said of places")
    return table


def _with_chance(studies: Studies, table: pd.DataFrame) -> pd.DataFrame:
    def ask(one: Opened, field: str) -> Rows:
        seen = look(studies, one, field)
        others = _others(studies, one, field, seen)
        rows = []
        for at, channel in enumerate(channels_of(seen)):
            found = []
            if others:
                own = _map(studies, seen, at, "truth").map
                found = [_agreement(own, _map(studies, one, at, "noised").map)[0] for one in others]
            rows.append({"channel": channel, "chance": _mean(found), "others": len(found)})
        return rows

    known = set(zip(table["predictor"], table["field"], strict=True))
    fields = [(one, field) for one, field in studies.fields() if (one.name, field) in known]
    options = _options(studies) | {"others": OTHERS}
    chance = measured(studies, "spatial_chance", ask, options=options, fields=fields)
    keys = ["predictor", "field", "unit", "channel"]
    return table.merge(chance, on=keys, how="left", validate="one_to_one")


def _others(studies: Studies, one: Opened, field: str, seen: Looked) -> list[Looked]:
    """Other fields of the same predictor and shape, drawn."""
    if seen.truth is None:
        return []
    pairs = [pair for pair in studies.fields(one.name) if pair[1] != field]
    drawn = rng(studies.job.seed, "maps of other fields", one.name, field).permutation(len(pairs))
    found: list[Looked] = []
    for at in drawn:
        other = look(studies, *pairs[at])
        if other.truth is not None and other.truth.shape == seen.truth.shape:
            found.append(other)
        if len(found) == OTHERS:
            break
    return found


def _options(studies: Studies) -> dict[str, Any]:
    return studies.job.spatial.model_dump(mode="json")


def _map(studies: Studies, seen: Looked, at: int, of: str) -> SpatialPcc:
    """Correlation of the prediction with the truth, or with the prediction from the signature."""
    image, asked = seen.prediction[at], studies.job.spatial
    deep = image.ndim == 3
    assert seen.truth is not None  # who asks has looked
    return spatial_pcc(
        image,
        (seen.truth if of == "truth" else seen.noised)[at],
        window=(asked.depth, asked.window, asked.window) if deep else asked.window,
        stride=(max(1, asked.depth // 2), asked.step, asked.step) if deep else asked.step,
    )


def _agreement(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Correlation of two maps over the pixels where both are defined, and how many those are."""
    both = ~np.isnan(first) & ~np.isnan(second)
    return pearson(first[both], second[both]), float(both.sum())


def _mean(values: Any) -> float:
    """Of what is defined; NaN where nothing is."""
    kept = np.asarray(values, float)
    kept = kept[~np.isnan(kept)]
    return float(kept.mean()) if kept.size else float("nan")


def _above(told: dict[str, float | int]) -> dict[str, float | int]:
    keys = ("difference", "difference_low", "difference_high", "wins", "p")
    return {key: told[key] for key in keys}


def _example(studies: Studies, table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The field whose agreement is the median of the first predictor's: its middle plane."""
    part = table[table["predictor"] == table["predictor"].iloc[0]]
    part = part[part["channel"] == part["channel"].iloc[0]].sort_values("agreement")
    defined = part[part["agreement"].notna()]
    row = (defined if len(defined) else part).iloc[max(0, len(defined) - 1) // 2]
    [one] = [one for one, field in studies.fields(row["predictor"]) if field == row["field"]]
    seen = look(studies, one, row["field"])
    assert seen.truth is not None  # fields without one are not in the table
    maps = [_map(studies, seen, 0, of).map for of in ("truth", "noised")]
    asked, deep = studies.job.spatial, maps[0].ndim == 3
    plane = maps[0].shape[0] // 2 if deep else 0
    first, second = (one[plane] if deep else one for one in maps)
    again = map_agreement(first, second, window=asked.window, stride=asked.step)[2].map
    pictures = {
        "truth": seen.truth[0][plane] if deep else seen.truth[0],
        "prediction": seen.prediction[0][plane] if deep else seen.prediction[0],
        "map": first,
        "noised_map": second,
        "agreement": again,
    }
    thin = -(-max(first.shape) // SHOWN)
    told = {key: row[key] for key in ("predictor", "field", "unit", "channel", "agreement")}
    told |= {"plane": plane, "thinned": thin, "pixel": (seen.note["pixel_size"] or [np.nan])[-1]}
    return pd.DataFrame([told]), {
        key: np.ascontiguousarray(one[::thin, ::thin], np.float32) for key, one in pictures.items()
    }


def _said(row: Mapping[Hashable, Any]) -> str:
    ends = f" ({row['low']:.2f} to {row['high']:.2f})" if row["low"] == row["low"] else ""
    said = f"{label_of(row)}: the two maps agree with {row['mean']:.2f}{ends}"
    if row["p"] != row["p"]:
        said += "; there are too few other fields of this shape to say what chance gives"
    elif row["holm"] <= 0.05 and row["difference"] > 0:
        said += (
            f", against {row['chance']:.2f} with maps of other fields (Holm p = "
            f"{row['holm']:.2g}): where the signature suffices, the prediction is better"
        )
    else:
        said += (
            f", against {row['chance']:.2f} with maps of other fields; with {row['units']} units "
            f"that cannot be told from chance (Holm p = {row['holm']:.2g}; no p of so many falls "
            f"below {2 / 2 ** row['units']:.2g})"
        )
    lost = max(row["no_truth"], row["no_noised"])
    return f"{said}. {lost} of {row['windows']} windows have no correlation and are left out."
