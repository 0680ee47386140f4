"""What methods at equal noised volume say: where the learned mask is ahead, and where it is not."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from attributome.explain import CONTROLS
from attributome.pipeline.checking import LEARNED
from attributome.pipeline.study.opening import Studies, marked
from attributome.pipeline.study.saving import shared
from attributome.studies.found import POOLED, Found
from attributome.studies.methods import MethodComparison, efficacies_at, method_comparison

SHOWN = "methods_shown"
DRAWS = 2000  # flips of signs in a test
LEVEL = 0.05
FAR = 0.15  # measured volumes further apart than this are told


def compared(studies: Studies, table: pd.DataFrame, options: Mapping[str, Any]) -> Found:
    """Each predictor by itself, and the mean over predictors of each field."""
    volumes = studies.job.methods.volumes
    groups = {name: table[table["predictor"] == name] for name in studies.names}
    groups[POOLED] = _pooled(table, volumes)
    names = [*dict.fromkeys(table["method"])]
    numbers: dict[str, Any] = {
        key: {} for key in ("method_comparison", "areas", "area_pairs", "learned_wins", "friedman")
    }
    frames: dict[str, list[pd.DataFrame]] = {}
    words: list[str] = []
    for name, part in groups.items():
        found = method_comparison(
            part[["field", "unit", "method", "volume", "efficacy"]].reset_index(drop=True),
            learned=LEARNED,
            unit="unit",
            volumes=volumes,
            draws=DRAWS,
            seed=studies.job.seed,
        )
        wins = _wins(found)
        numbers["method_comparison"][name] = found.summary()
        numbers["areas"][name] = found.areas.set_index("method").to_dict("index")
        numbers["area_pairs"][name] = found.area_pairs.set_index("second").to_dict("index")
        numbers["learned_wins"][name] = _nested(wins)
        numbers["friedman"][name] = {"p": found.friedman_p, "units": found.complete}
        tables = {
            "efficacies": found.efficacies,
            "curves": found.curves,
            "pairs": found.pairs,
            "areas": found.areas,
            "area_pairs": found.area_pairs,
            "wins": wins,
        }
        for key, frame in tables.items():
            frames.setdefault(key, []).append(frame.assign(predictor=name))
        if name != POOLED or len(studies.names) > 1:
            words += _words(name, found, wins)
    words += _trained(studies)
    words.append(_limits(table["unit"].nunique(), len(names) - 1, len(volumes)))
    arrays, numbers["shown"] = _pictures(studies, options)
    return Found(
        numbers=numbers,
        n=shared(table),
        test=(
            "areas under the curves, learned mask against each other method: signs of the "
            "differences of whole units flipped, two-sided, Holm over methods; single volumes: "
            "the same, Holm over volumes and methods"
        ),
        words=tuple(words),
        tables={"fields": table} | {key: pd.concat(each) for key, each in frames.items()},
        arrays=arrays,
    )


def _pooled(table: pd.DataFrame, volumes: tuple[float, ...]) -> pd.DataFrame:
    """Efficacy of each field at each volume, the mean over the predictors that judge it.

    Undefined where it is for one of them: a mean over fewer would be of something else.
    """
    parts = []
    for name, part in table.groupby("predictor", sort=False):
        at = efficacies_at(part.reset_index(drop=True), volumes)
        units = dict(zip(part["field"], part["unit"], strict=True))
        parts.append(at.assign(unit=at["field"].map(units), predictor=name))
    rows = pd.concat(parts, ignore_index=True)
    by = rows.groupby(["field", "unit", "method", "volume"], sort=False)["efficacy"]
    return by.agg(lambda values: values.mean(skipna=False)).reset_index()


def _wins(found: MethodComparison) -> pd.DataFrame:
    """Per method and volume: is the mean of the learned mask above, and in how many fields is it.

    `of` counts the fields in which both have an efficacy.
    """
    rows = []
    for volume in sorted({float(each) for each in found.efficacies["volume"]}):
        part = found.efficacies[found.efficacies["volume"] == volume]
        curves = found.curves[found.curves["volume"] == volume]
        means = dict(zip(curves["method"], curves["mean"], strict=True))
        wide = part.pivot(index="field", columns="method", values="efficacy")
        for other in [name for name in means if name != LEARNED]:
            gaps = (wide[LEARNED] - wide[other]).dropna()
            apart = float(means[LEARNED] - means[other])
            rows.append(
                {
                    "method": other,
                    "volume": volume,
                    "above": apart > 0,
                    "difference": apart,
                    "fields": int((gaps > 0).sum()),
                    "of": len(gaps),
                }
            )
    return pd.DataFrame(rows)


def _nested(wins: pd.DataFrame) -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = {}
    for row in wins.to_dict("records"):
        kept = {key: row[key] for key in ("above", "fields", "of")}
        told.setdefault(str(row["method"]), {})[f"{row['volume']:g}"] = kept
    return told


def _words(name: str, found: MethodComparison, wins: pd.DataFrame) -> list[str]:
    """Where the learned mask keeps more than others, where it does not, and by how much."""
    areas = dict(zip(found.areas["method"], found.areas["mean"], strict=True))
    everywhere, said = [], []
    for other, part in wins.groupby("method", sort=False):
        lost = part.loc[~part["above"], "volume"]
        if lost.empty:
            everywhere.append(_said(other))
        else:
            listed = "every noised volume" if len(lost) == len(part) else _listed(lost.tolist())
            said.append(f"{_said(other)} ({listed})")
    words = []
    if everywhere:
        words.append(
            f"{name}: the learned mask keeps more of the prediction than {_and(everywhere)} at "
            f"every noised volume, on average over fields."
        )
    if said:
        words.append(f"{name}: the learned mask does not keep more than {_and(said)}.")
    pairs = found.area_pairs.dropna(subset="difference")
    if not pairs.empty and not math.isnan(areas[LEARNED]):
        near = pairs.sort_values("difference").iloc[0]
        p = f", Holm p {near['holm']:.2g}" if near["holm"] == near["holm"] else ""
        knows = ", which knows nothing of the predictor," if near["second"] in CONTROLS else ""
        other = f"{_said(near['second'])}{knows}"
        comes = "comes next" if near["difference"] > 0 else "is not below it"
        words.append(
            f"{name}: the mean efficacy over these volumes is {areas[LEARNED]:.3f} for the "
            f"learned mask; {other} {comes} with {areas[near['second']]:.3f} "
            f"(difference {near['difference']:+.3f}, above in {near['wins']} of {near['units']} "
            f"units{p})."
        )
    wide = found.efficacies.groupby("method")["gap"].max()
    tied = [f"{_said(other)} (up to {gap:.2f})" for other, gap in wide.items() if gap > FAR]
    if tied:
        words.append(
            f"{name}: maps with many equal values leave gaps between the volumes that they can "
            f"reach, over which efficacy is drawn straight: {_and(tied)}."
        )
    return words


def _trained(studies: Studies) -> list[str]:
    """The volumes that masks were trained for: below them, their order was never asked for."""
    words = []
    for name in studies.names:
        goals = [one.goal for one in studies.opened if one.name == name]
        ranked = [1 - goal.areas[1] for goal in goals if goal.form == "rank"]
        least = max(ranked, default=0.0)
        if any(volume < least - 1e-9 for volume in studies.job.methods.volumes):
            words.append(
                f"{name}: its masks were trained at noised volumes from {least:.2f}; below, they "
                f"go by an order that nothing has trained."
            )
    return words


def _limits(units: int, others: int, volumes: int) -> str:
    """How small a p can be with so many units, however large the effect."""
    if units < 2:
        return "With one unit nothing can be tested: the differences are of these fields only."
    least = 2 / 2**units if 2**units <= DRAWS else 1 / (1 + DRAWS)
    points = others * volumes
    areas, single = min(1.0, others * least), min(1.0, points * least)
    end = "the areas are what such a study can test" if areas <= LEVEL else "nothing can be told"
    return (
        f"With {units} units no p is below {least:.2g}; after Holm none of {points} single "
        f"volumes can go below {single:.2g}, and none of {others} areas below {areas:.2g}: {end}."
    )


def _pictures(
    studies: Studies, options: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """The arrays of the shown field of each predictor, by its number, and what they are of."""
    stage, arrays, told = marked(SHOWN, options), {}, []
    for at, name in enumerate(studies.names):
        note = studies.run.note(stage, name)
        for key in studies.run.arrays(stage, name):
            arrays[f"shown_{at}_{key}"] = np.array(studies.run.array(stage, name, key))
        told.append({key: note[key] for key in ("predictor", "field", "methods", "pixel_size")})
    return arrays, told


def _said(name: object) -> str:
    return str(name).replace("_", " ")


def _listed(volumes: list[float]) -> str:
    return "at " + ", ".join(f"{volume:g}" for volume in volumes)


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
