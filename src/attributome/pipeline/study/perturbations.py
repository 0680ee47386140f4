"""Whether predictions change as the truth does, from a control to each treatment."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer
from scipy.stats import rankdata

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng
from attributome.pipeline.study.groups import with_columns
from attributome.pipeline.study.looked import look
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies
from attributome.pipeline.study.saving import shared
from attributome.pipeline.study.spatial import channels_of
from attributome.studies.found import Found
from attributome.studies.paired import corrected
from attributome.studies.perturbations import change_agreement, changes, overlap

FEATURES = ("skewness", "bright", "grain", "coarse")
COARSE = 8
"""Pixels of the side of a square within which `coarse` averages."""
DRAWS = 999


def perturbations(studies: Studies) -> Found:
    """Features of predictions and of truths, compared between treatments and the control.

    Treatments are the groups of the first column of `groups.by`, blocks those of `groups.within`.
    Brightness and contrast of an image change none of its features (`features`), as images are
    normalised. What is asked is whether the changes of the prediction (Hedges' g of each treatment
    and feature) rise and fall with those of the truth; chance deals the groups of the predictions
    anew to whole units. Of several predictors the overlap of their signatures is compared too.

    Raises `UsageError` without `groups.by` and `groups.control`, and `DataError` where no field
    has a target image or there is no treatment.
    """
    asked = studies.job.groups
    if len(asked.within) > 1:
        raise UsageError(
            f"blocks of treatments are those of one column, and groups.within names "
            f"{[*asked.within]}"
        )
    table = with_columns(studies, _features(studies), [*asked.by, *asked.within])
    by = asked.by[0]
    if asked.control not in set(table[by]):
        there = sorted(table[by].dropna().unique())
        raise UsageError(f"groups.control is {asked.control!r}, and {by} has {there}")
    block = asked.within[0] if asked.within else None
    values = [str(column) for column in table if str(column).startswith(FEATURES)]
    moved, agreed = [], []
    for name, rows in table.groupby("predictor", sort=False):
        found = changes(
            rows, values, by=by, control=asked.control, unit="unit", block=block, predictor="of",
            seed=studies.job.seed,
        ).rename(columns={"predictor": "of"})  # fmt: skip
        moved.append(found.assign(predictor=name))
        told = change_agreement(found, between="of", over=("first", "value"), draws=1)
        row: dict[str, Any] = {"predictor": name, "treatments": found["first"].nunique()}
        row |= {key: told[key].iloc[0] for key in ("n", "undefined", "rank", "same_sign")}
        agreed.append(row | _chance(rows, values, (by, asked.control, block), studies.job.seed))
    means = corrected(pd.DataFrame(agreed))
    overlaps = _overlaps(studies, [*asked.by, *asked.within])
    apart = _overlap_changes(overlaps, by, asked.control, block, studies.job.seed)
    return Found(
        numbers={str(row["predictor"]): row for row in means.to_dict("records")},
        n=shared(table) + f", {asked.control} and {_many(table[by].nunique() - 1)}",
        test=f"Spearman's correlation of changes against {DRAWS} dealings of the predictions' "
        "groups to whole units" + (f" within {block}" if block else "") + ", Holm over predictors",
        words=(
            *map(_said, means.to_dict("records")),
            *_overlapping(overlaps, apart),
        ),
        tables={
            key: part
            for key, part in {
                "fields": table,
                "changes": pd.concat(moved, ignore_index=True),
                "means": means,
                "overlaps": overlaps,
                "overlap_changes": apart,
            }.items()
            if len(part)
        },
    )


def features(image: Float[np.ndarray, "*s"]) -> dict[str, float]:
    """What can be said of a plane or stack without its brightness and contrast; NaN if constant.

    Of the image's deviations from its mean, over their standard deviation: `skewness`; `bright`,
    the share of voxels above 1; `grain`, half the mean squared difference of neighbours in a plane
    (1 for noise, 0 for what is smooth); `coarse`, the variance of the means of squares of 8 pixels
    (NaN in a smaller plane).
    """
    centred = np.asarray(image, np.float64) - image.mean(dtype=np.float64)
    spread = float(np.sqrt((centred**2).mean()))
    if spread <= 1e-12 * float(np.abs(image).max()):
        return dict.fromkeys(FEATURES, np.nan)
    z = centred / spread
    steps = [np.diff(z, axis=axis) ** 2 for axis in (-2, -1)]
    whole = [size // COARSE for size in z.shape[-2:]]
    squares = z[..., : whole[0] * COARSE, : whole[1] * COARSE].reshape(
        *z.shape[:-2], whole[0], COARSE, whole[1], COARSE
    )
    means = squares.mean((-3, -1))
    return {
        "skewness": float((z**3).mean()),
        "bright": float((z > 1).mean()),
        "grain": float(sum(one.sum() for one in steps) / sum(one.size for one in steps) / 2),
        "coarse": float(means.var()) if means.size else np.nan,
    }


def _features(studies: Studies) -> pd.DataFrame:
    def ask(one: Opened, field: str) -> Rows:
        seen = look(studies, one, field)
        names = channels_of(seen)
        rows = []
        for of, images in (("prediction", seen.prediction), ("truth", seen.truth)):
            row: dict[str, Any] = {"of": of, "image": images is not None and seen.truth is not None}
            for at, channel in enumerate(names):
                told = dict.fromkeys(FEATURES, np.nan)
                if images is not None and seen.truth is not None:
                    told = features(images[at])
                row |= {f"{key}, {channel}" if channel else key: told[key] for key in FEATURES}
            rows.append(row)
        return rows

    table = measured(studies, "perturbations", ask, options={})
    table = table[table["image"]].drop(columns="image").reset_index(drop=True)
    if table.empty:
        raise DataError("no field has a target image, so that no change of the truth is known")
    return table


def _chance(
    rows: pd.DataFrame, values: Sequence[str], how: tuple[str, str, str | None], seed: int
) -> dict[str, float]:
    """Agreement with predictions whose groups were dealt anew to whole units, inside blocks."""
    by, control, block = how
    keys = ["unit", by, *([block] if block else [])]
    wide = rows.groupby([*keys, "of"])[[*values]].mean().unstack("of").dropna().sort_index()
    known = wide.index.to_frame(index=False)
    treated = known[by].to_numpy()
    where = pd.factorize(known[block])[0] if block else np.zeros(len(known), np.int64)
    truth, prediction = (
        np.stack([wide[value, of].to_numpy(float) for value in values], axis=1)
        for of in ("truth", "prediction")
    )
    generator = rng(seed, "groups dealt anew to predictions")
    draws = np.argsort(generator.random((DRAWS, len(known))) + where, axis=1)
    order = np.argsort(where, kind="stable")
    dealt = np.empty_like(draws)
    dealt[:, order] = draws  # place by place of its own block
    versions = np.concatenate([prediction[None], prediction[dealt]])
    changed, target = [], []
    for name in sorted(set(treated) - {control}):
        part = np.isin(treated, (name, control))
        first = treated[part] == name
        moved = versions[:, part].transpose(1, 0, 2).reshape(int(part.sum()), -1)
        changed.append(hedges(moved, first, where[part]).reshape(len(versions), -1))
        target.append(hedges(truth[part], first, where[part]))
    found = np.concatenate(changed, axis=1) if changed else np.empty((1 + DRAWS, 0))
    goal = np.concatenate(target) if target else np.empty(0)
    kept = np.isfinite(goal) & np.isfinite(found).all(axis=0)
    if kept.sum() < 3:
        return {"chance": np.nan, "p": np.nan}
    ranks = rankdata(found[:, kept], axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    aim = rankdata(goal[kept]) - (kept.sum() + 1) / 2
    agreement = ranks @ aim / np.sqrt((ranks**2).sum(1) * (aim @ aim))
    as_high = int((agreement[1:] >= agreement[0] - 1e-9).sum())
    return {"chance": float(agreement[1:].mean()), "p": (1 + as_high) / (1 + DRAWS)}


def hedges(
    values: Float[np.ndarray, "u m"],
    first: Bool[np.ndarray, " u"],
    blocks: Integer[np.ndarray, " u"],
) -> Float[np.ndarray, " m"]:
    """Hedges' g of many values at once, as `studies.effects` has it; NaN where none is defined."""
    both = [block for block in np.unique(blocks) if len(set(first[blocks == block])) == 2]
    kept = np.isin(blocks, both)
    freedom = int(kept.sum()) - len(both) - 1
    if not both or freedom < 1:
        return np.full(values.shape[1], np.nan)
    levels = blocks[kept, None] == np.array(both)
    design = np.column_stack([first[kept], levels]).astype(float)
    fitted = np.linalg.lstsq(design, values[kept], rcond=None)[0]
    power = ((values[kept] - design @ fitted) ** 2).sum(0)
    told = np.full(values.shape[1], np.nan)
    some = power > 1e-24 * (values[kept] ** 2).sum(0)
    told[some] = fitted[0, some] / np.sqrt(power[some] / freedom)
    return told * (1 - 3 / (4 * freedom - 1))


def _overlaps(studies: Studies, columns: Sequence[str]) -> pd.DataFrame:
    """How far the signatures of two predictors overlap in each field that both judge."""
    judges: dict[str, list[Opened]] = {}
    for one, field in studies.fields():
        judges.setdefault(field, []).append(one)

    def ask(one: Opened, field: str) -> Rows:
        own = look(studies, one, field).mask
        later = judges[field][judges[field].index(one) + 1 :]
        return [
            {"other": other.name} | overlap(own, look(studies, other, field).mask)
            for other in later
        ]

    todo = [(one, field) for field, those in judges.items() for one in those[:-1]]
    if not todo:
        return pd.DataFrame()
    table = measured(
        studies, "overlaps", ask, options={"predictors": list(studies.names)}, fields=todo
    )
    table.insert(0, "pair", table["predictor"] + " and " + table["other"])
    told = with_columns(studies, table, columns)
    return told.assign(group=told[columns[0]])


def _overlap_changes(
    overlaps: pd.DataFrame, by: str, control: str, block: str | None, seed: int
) -> pd.DataFrame:
    if overlaps.empty or control not in set(overlaps[by]) or overlaps[by].nunique() < 2:
        return pd.DataFrame()
    return changes(
        overlaps, ["iou"], by=by, control=control, unit="unit", block=block, predictor="pair",
        seed=seed,
    )  # fmt: skip


def _said(row: Mapping[Hashable, Any]) -> str:
    many = _many(row["treatments"])
    said = f"{row['predictor']}: of {many}, {row['n']} changes of features are known"
    if row["rank"] != row["rank"] or row["p"] != row["p"]:
        return f"{said}; so few units cannot say whether predictions change as the truth does."
    return (
        f"{said}, {row['same_sign']:.0%} of them in the direction of the truth; their rank "
        f"correlation is {row['rank']:.2f}, by chance {row['chance']:.2f} (Holm p = "
        f"{row['holm']:.2g}), so that predictions "
        + ("change as the truth does." if row["holm"] <= 0.05 else "are not shown to follow.")
    )


def _many(treatments: int) -> str:
    return f"{treatments} treatment{'s' * (treatments != 1)}"


def _overlapping(overlaps: pd.DataFrame, apart: pd.DataFrame) -> list[str]:
    if overlaps.empty:
        return []
    said = []
    for pair, part in overlaps.groupby("pair", sort=False):
        told = (
            f"Signatures of {pair} share {part['iou'].median():.2f} of what either keeps (median "
            f"of {len(part)} fields; {part['iou_chance'].median():.2f} by their sizes alone)"
        )
        rows = apart[apart["predictor"] == pair] if len(apart) else apart
        known = rows[rows["p"].notna()] if len(rows) else rows
        if len(known):
            least = known.sort_values("holm").iloc[0]
            told += (
                f"; from the control to {least['first']} it changes by {least['difference']:+.2f} "
                f"(Holm p = {least['holm']:.2g})"
            )
        said.append(told + ".")
    return said
