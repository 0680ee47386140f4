"""Whether profiles of wells find their replicates, their mechanism, and their batch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from attributome.core.errors import DataError, Refusal
from attributome.pipeline.profile.wells import BY, CONTROL, WELL
from attributome.pipeline.profile.work import ProfileWork
from attributome.profiles.formats import METADATA, feature_names
from attributome.profiles.neighbours import protocols
from attributome.profiles.wells.batches import batch_predictability, silhouettes
from attributome.profiles.wells.matching import match_mechanisms
from attributome.profiles.wells.retrieval import average_precision, mean_precision, retrieved
from attributome.profiles.wells.tables import consensus

Profiles = Mapping[str, pd.DataFrame]
Row = dict[str, Any]


def retrieval(work: ProfileWork, profiles: Profiles) -> tuple[list[Row], list[Row]]:
    """Mean average precision of each set of profiles, and that of each label."""
    asked, label = work.job.evaluate, work.job.data.label
    rules = {
        "pos_sameby": asked.pos_sameby or (label,),
        "pos_diffby": asked.pos_diffby,
        "neg_sameby": asked.neg_sameby,
        "neg_diffby": asked.neg_diffby or (label,),
    }
    pairs = {key: [f"{METADATA}{name}" for name in some] for key, some in rules.items()}
    found: list[Row] = []
    groups: list[Row] = []
    for stage, table in profiles.items():
        try:
            known = labelled(table, label)
            about = known[[n for n in map(str, known) if n.startswith(METADATA)]]
            scores = average_precision(
                about,
                values_of(known),
                pos_sameby=pairs["pos_sameby"],
                pos_diffby=pairs["pos_diffby"],
                neg_sameby=pairs["neg_sameby"],
                neg_diffby=pairs["neg_diffby"],
            )
            of = mean_precision(
                scores[~scores[CONTROL]],
                [f"{METADATA}{label}"],
                draws=asked.null,
                seed=work.job.seed,
            )
            whole = retrieved(of, draws=asked.draws, seed=work.job.seed)
        except Refusal as refusal:
            found.append({"profiles": stage, "reason": str(refusal)})
            continue
        found.append(
            {
                "profiles": stage,
                "map": whole["mean"],
                "low": whole["mean_low"],
                "high": whole["mean_high"],
                "p_share": whole["share"],
                "p_share_low": whole["share_low"],
                "p_share_high": whole["share_high"],
                "n": whole["n"],
                "wells": int((~scores[CONTROL]).sum()),
                "undefined": whole["undefined"],
                "chance": whole["chance"],
                "reason": "",
            }
        )
        groups += [
            {
                "profiles": stage,
                "label": str(row[f"{METADATA}{label}"]),
                "map": row["mean_average_precision"],
                **{name: row[name] for name in ("low", "high", "chance", "p", "q", "n")},
            }
            for row in of.to_dict("records")
        ]
    return found, groups


def matching_rows(work: ProfileWork, profiles: Profiles) -> list[Row]:
    """NSC and NSCB of each set of profiles, where mechanisms are named."""
    mechanism, label = work.job.data.mechanism, work.job.data.label
    if not mechanism:
        return []
    rows: list[Row] = []
    names = [f"{METADATA}{label}", f"{METADATA}{mechanism}"]
    for stage, table in profiles.items():
        for kind, more in (("NSC", []), ("NSCB", [BY[0]])):
            try:
                if names[1] not in table:
                    raise DataError(f"no well has one {mechanism} throughout")
                known = labelled(table, label)
                known = known[~known[CONTROL] & known[names[1]].notna()]
                some = consensus(known.reset_index(drop=True), [*names, *more])
                found = match_mechanisms(
                    values_of(some),
                    some[names[0]].to_numpy(str),
                    some[names[1]].to_numpy(str),
                    batches=some[BY[0]].to_numpy(str) if more else None,
                    draws=work.job.evaluate.draws,
                    seed=work.job.seed,
                )
            except Refusal as error:
                rows.append({"profiles": stage, "kind": kind, "reason": str(error)})
                continue
            told = ("accuracy", "low", "high", "chance", "p", "n", "compounds", "impossible")
            rows.append(
                {"profiles": stage, "kind": kind, "reason": ""}
                | {name: getattr(found, name) for name in told}
                | {"skipped": [*found.skipped]}
            )
    return rows


def neighbour_rows(work: ProfileWork, profiles: Profiles) -> list[Row]:
    """Labels told by nearest and linear neighbours, well by well and plate by plate."""
    label, rows = work.job.data.label, []
    for stage, table in profiles.items():
        try:
            known = labelled(table, label)
            groups = {"well": known[WELL], "plate": known[BY[0]]}
            found = protocols(
                values_of(known),
                known[f"{METADATA}{label}"].to_numpy(str),
                {name: of.to_numpy(str) for name, of in groups.items()},
                k=work.job.evaluate.k,
                draws=work.job.evaluate.draws,
                seed=work.job.seed,
            )
        except Refusal as refusal:
            rows.append({"profiles": stage, "reason": str(refusal)})
            continue
        kept = found[found["protocol"] != "leave one cell out"]
        rows += [{"profiles": stage, **_row(row)} for row in kept.to_dict("records")]
    return rows


def batch_rows(work: ProfileWork, profiles: Profiles) -> list[Row]:
    """How well the plate is told from profiles: of controls, where they are named."""
    rows: list[Row] = []
    for stage, table in profiles.items():
        of = "controls" if table[CONTROL].any() else "all wells"
        some = table[table[CONTROL]] if of == "controls" else table
        try:
            found = batch_predictability(
                values_of(some),
                some[BY[0]].to_numpy(str),
                some[WELL].to_numpy(str),
                k=work.job.evaluate.k,
                draws=work.job.evaluate.draws,
                seed=work.job.seed,
            )
        except Refusal as refusal:
            rows.append({"profiles": stage, "of": of, "reason": str(refusal)})
            continue
        rows += [{"profiles": stage, "of": of, **_row(row)} for row in found.to_dict("records")]
    return rows


def comparison(work: ProfileWork, profiles: Profiles, done: Mapping[str, Any]) -> list[Row]:
    """One row for each set of profiles: what stays of the treatment, and what of the plate."""
    label = work.job.data.label
    rows: list[Row] = []
    for stage, table in profiles.items():
        row: Row = {"profiles": stage, "wells": len(table), "features": len(feature_names(table))}
        maps: Row = next((r for r in done["retrieval"] if r["profiles"] == stage), {})
        row |= {f"map{end}": maps.get(name) for end, name in MAP}
        batch: Row = next(
            (
                r
                for r in done["batches"]
                if r["profiles"] == stage and r.get("protocol") == "linear, well folds"
            ),
            {},
        )
        row |= {f"batch{end}": batch.get(name) for end, name in BATCH}
        try:
            known = labelled(table, label)
            found = silhouettes(
                values_of(known),
                {
                    "treatment": known[f"{METADATA}{label}"].to_numpy(str),
                    "plate": known[BY[0]].to_numpy(str),
                },
                draws=work.job.evaluate.draws,
                seed=work.job.seed,
            )
            for one in found.to_dict("records"):
                row[f"silhouette_{one['label']}"] = one["silhouette"]
                row |= {f"silhouette_{one['label']}_{e}": one[e] for e in ("low", "high")}
            row["reason"] = ""
        except Refusal as refusal:
            row["reason"] = str(refusal)
        rows.append(row)
    return rows


MAP = (("", "map"), ("_low", "low"), ("_high", "high"), ("_chance", "chance"))
BATCH = (("", "balanced"), ("_low", "low"), ("_high", "high"), ("_chance", "chance"))


def labelled(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """The wells with a label."""
    return table[table[f"{METADATA}{label}"].notna()].reset_index(drop=True)


def values_of(table: pd.DataFrame) -> Float[np.ndarray, "n f"]:
    """The features of wells."""
    values: np.ndarray = table[feature_names(table)].to_numpy(np.float64)
    return values


def _row(row: Mapping[Any, Any]) -> Row:
    return {str(key): value for key, value in row.items()}
