"""The verb that makes profiles of wells: raw, normalised, sphered, selected, and by Grad-CAMO."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from attributome.core.errors import DataError, Refusal
from attributome.core.files import plain, write_whole
from attributome.pipeline.profile.features import need_features
from attributome.pipeline.profile.work import (
    CAMO,
    CAMO_FEATURES,
    PROFILES,
    ProfileWork,
)
from attributome.profiles.formats import METADATA, feature_names, read_about, read_blocks
from attributome.profiles.wells.normalise import normalise as normalised
from attributome.profiles.wells.selection import select
from attributome.profiles.wells.sphering import align_plates, fit_sphering, save_sphering, sphere
from attributome.profiles.wells.tables import aggregate

STAGES = ("raw", "normalised", "sphered", "aligned", "selected", "camo")
WELL, CONTROL, SCORE = f"{METADATA}id", f"{METADATA}control", f"{METADATA}camo"
BY = (f"{METADATA}plate", f"{METADATA}well")
Mask = Bool[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """A table of wells, what was left out of it, and what is said of it."""

    table: pd.DataFrame
    dropped: pd.DataFrame
    told: dict[str, Any]


def normalise(work: ProfileWork) -> dict[str, Any]:
    """Write the profiles of wells and `profiles/profiles.json`; what is there already stays.

    A stage that these wells do not allow (no controls, too few of them on a plate) has its reason
    there and no table.
    """
    root = work.run.root
    if (root / PROFILES).is_file():
        return work.run.load(PROFILES.removesuffix(".json")) or {}
    path = need_features(work)
    with work.timed("normalise") as progress:
        progress(0.0, "cells become wells")
        tables: dict[str, pd.DataFrame] = {}
        told: dict[str, Any] = {}
        dropped: list[pd.DataFrame] = []
        makers: dict[str, Callable[[], Made]] = {
            "raw": lambda: Made(table=wells_of_cells(work, path), dropped=pd.DataFrame(), told={}),
            "normalised": lambda: normalised_wells(work, tables["raw"]),
            "sphered": lambda: _sphered(work, _need(tables, "normalised", told)),
            "aligned": lambda: _aligned(work, _need(tables, "sphered", told)),
            "selected": lambda: _selected(work, _need(tables, "normalised", told)),
            "camo": lambda: _by_camo(work, path),
        }
        for done, (stage, make) in enumerate(makers.items()):
            progress(done / len(makers), f"{stage} profiles")
            reason = _not_asked(work, stage)
            try:
                made = None if reason else make()
            except Refusal as refusal:
                if stage == "raw":
                    raise
                made, reason = None, str(refusal)
            if made is None:
                told[stage] = {"reason": reason}
                continue
            tables[stage] = made.table
            if len(made.dropped):
                dropped.append(made.dropped.assign(stage=stage))
            features = feature_names(made.table)
            told[stage] = {"wells": len(made.table), "features": len(features), "reason": ""}
            told[stage] |= {"dropped": len(made.dropped), **made.told}
            _write(table_path(root, stage), made.table)
        if dropped:
            _write(root / "profiles" / "dropped.parquet", pd.concat(dropped, ignore_index=True))
        progress(1.0, f"{len(tables)} tables of {len(tables['raw'])} wells")
    told = plain({"reference": _reference_name(work), "stages": told})
    work.run.save(PROFILES.removesuffix(".json"), told)
    return told


def table_path(root: Path, stage: str) -> Path:
    """Where the profiles of a stage are."""
    return root / "profiles" / f"wells_{stage}.parquet"


def read_profiles(root: Path) -> dict[str, pd.DataFrame]:
    """The profiles that there are, by their stage."""
    there = {stage: table_path(root, stage) for stage in STAGES}
    return {stage: pd.read_parquet(path) for stage, path in there.items() if path.is_file()}


def wells_of_cells(work: ProfileWork, path: Path, **how: Any) -> pd.DataFrame:
    """A row for each well, with whether it is a control."""
    known = [*BY, *_of_wells(work)]
    blocks = _blocks(work, path, known, scored=bool(how))
    table = aggregate(blocks, BY, way=work.job.profiles.aggregate, **how)
    table.insert(0, WELL, table[BY[0]].astype(str) + "/" + table[BY[1]].astype(str))
    label = table[f"{METADATA}{work.job.data.label}"]
    table.insert(3, CONTROL, label.isin(work.job.data.control).to_numpy(bool))
    names = feature_names(table)
    return pd.concat([table.drop(columns=names), table[names].astype(np.float64)], axis=1)


def _of_wells(work: ProfileWork) -> list[str]:
    """Columns that are known of fields, which a well may have throughout."""
    less = {"field", "plate", "well", "site", "control", "images", "labels", "locations"}
    return [f"{METADATA}{name}" for name in work.fields if name not in less]


def _blocks(
    work: ProfileWork, path: Path, known: list[str], *, scored: bool
) -> Iterator[pd.DataFrame]:
    asked, scores = work.job.profiles, pd.Series(dtype=np.float64)
    if scored:
        names = ["cell_id", "score_cell", "mask_fraction"]
        camo = pd.read_parquet(work.run.root / CAMO, columns=names).set_index("cell_id")
        scores = camo["score_cell"]
        if asked.camo == "filter" and asked.camo_least is None:
            scores = scores - camo["mask_fraction"]
    for block in read_blocks(path):
        features = feature_names(block)
        kept = block[[n for n in known if n in block]].copy()
        if scored:
            kept[SCORE] = scores.reindex(block[f"{METADATA}id"]).to_numpy(np.float64)
        yield pd.concat([kept, block[features]], axis=1)


def _not_asked(work: ProfileWork, stage: str) -> str:
    asked = work.job.profiles
    named = bool(work.job.data.control)
    if stage == "sphered" and asked.sphering == "none":
        return "not asked for"
    if stage in ("sphered", "aligned") and not named:
        return "no negative controls are named (data.control), and sphering is fitted on them"
    off = {"aligned": not asked.align, "selected": not asked.select, "camo": asked.camo == "none"}
    return "not asked for" if off.get(stage) else ""


def _need(tables: dict[str, pd.DataFrame], stage: str, told: dict[str, Any]) -> pd.DataFrame:
    if stage not in tables:
        raise DataError(f"there are no {stage} profiles: {told[stage]['reason']}")
    return tables[stage]


def _reference_name(work: ProfileWork) -> str:
    asked = work.job.profiles.reference
    if asked == "auto":
        return "controls" if work.job.data.control else "all"
    return asked


def normalised_wells(work: ProfileWork, raw: pd.DataFrame) -> Made:
    """In units of the spread of the reference wells of each plate."""
    asked = work.job.profiles
    everyone = _reference_name(work) == "all"
    reference = np.ones(len(raw), bool) if everyone else raw[CONTROL].to_numpy(bool)
    made = normalised(raw, reference, method=asked.normalise, least=asked.least)
    references = {str(k): int(n) for k, n in made.references[["plate", "n"]].to_numpy()}
    return Made(table=made.table, dropped=made.dropped, told={"references": references})


def _training_controls(work: ProfileWork, table: pd.DataFrame) -> Mask:
    """Negative controls in wells that train: neither of other parts nor of held-out plates."""
    training = table[WELL].isin(work.splits["train"])
    marks: np.ndarray = (training & table[CONTROL]).to_numpy(bool)
    return marks


def _sphered(work: ProfileWork, table: pd.DataFrame) -> Made:
    """Sphering that is fitted on the negative controls of the training side alone."""
    asked, names = work.job.profiles, feature_names(table)
    controls = _training_controls(work, table)
    values = table[names].to_numpy(np.float64)
    fitted = fit_sphering(
        values[controls],
        lam=asked.regularisation,
        relative=asked.relative,
        method=asked.sphering,
        wells=table[WELL][controls].tolist(),
    )
    save_sphering(fitted, work.run.root / "profiles" / "sphering")
    told = {"method": fitted.method, "regularisation": fitted.regularisation, "lambda": fitted.lam}
    told |= {"controls": fitted.n, "rank": fitted.rank, "shrinkage": fitted.shrinkage}
    return Made(
        table=_with_values(table, sphere(fitted, values)), dropped=pd.DataFrame(), told=told
    )


def _aligned(work: ProfileWork, table: pd.DataFrame) -> Made:
    """The controls of each plate alike; a held-out plate brings its own, the others training's."""
    plates = table[BY[0]].astype(str)
    outside = plates.isin(work.splits["held_out_plates"]) & table[CONTROL]
    marks = _training_controls(work, table) | outside.to_numpy(bool)
    values = align_plates(
        table[feature_names(table)].to_numpy(np.float64), plates.to_numpy(str), marks
    )
    return Made(
        table=_with_values(table, values),
        dropped=pd.DataFrame(),
        told={"controls": int(marks.sum())},
    )


def _selected(work: ProfileWork, table: pd.DataFrame) -> Made:
    """Without features that say nothing or nothing more, judged on wells that train."""
    rows = table[WELL].isin(work.splits["train"]).to_numpy(bool)
    judged = rows if rows.sum() > 1 else None
    made = select(table, rows=judged, correlation=work.job.profiles.correlation)
    return Made(table=made.table, dropped=made.dropped, told={"judged": made.n})


def _by_camo(work: ProfileWork, path: Path) -> Made:
    """Normalised profiles of cells, and in features, in which the network looks at the cell."""
    asked, root = work.job.profiles, work.run.root
    if not (root / CAMO).is_file():
        raise DataError("there is no Grad-CAMO yet: run `attributome profile camo` first")
    mark = read_about(path)["weights_sha256"]
    if read_about(root / CAMO)["weights_sha256"] != mark:
        raise DataError("features and Grad-CAMO were made with other weights than one another")
    how: dict[str, Any] = {"filter_by": SCORE, "least": asked.camo_least or 0.0}
    if asked.camo == "weight":
        how = {"weight": SCORE}
    raw = wells_of_cells(work, path, **how)
    left_out = int(raw[f"{METADATA}left_out"].sum())
    told: dict[str, Any] = {"cells": int(raw[f"{METADATA}cells"].sum()), "left_out": left_out}
    names = feature_names(raw)
    gone = _unseen(root) if asked.camo_features == "drop" else pd.DataFrame()
    if len(gone):
        lost = [name for name in gone["feature"] if name in names]
        if len(lost) == len(names):
            raise DataError(f"none of {len(names)} features has a Grad-CAMO above chance")
        raw = raw.drop(columns=lost)
        names = feature_names(raw)
    whole = np.isfinite(raw[names].to_numpy()).all(1)
    told["wells_lost"] = int((~whole).sum())
    if not whole.any():
        raise DataError(f"no well keeps a cell: {left_out} cells are left out by their Grad-CAMO")
    made = normalised_wells(work, raw[whole].reset_index(drop=True))
    return Made(
        table=made.table,
        dropped=pd.concat([gone, made.dropped], ignore_index=True),
        told={**told, **made.told},
    )


def _unseen(root: Path) -> pd.DataFrame:
    """Features whose Grad-CAMO is not above chance, by its interval, or undefined throughout."""
    if not (root / CAMO_FEATURES).is_file():
        return pd.DataFrame()
    table = pd.read_parquet(root / CAMO_FEATURES)
    low = table[~(table["low"] > table["chance"])]
    return pd.DataFrame(
        {
            "feature": low["feature"].to_numpy(),
            "reason": "its Grad-CAMO is not above chance",
            "value": low["median"].to_numpy(),
        }
    )


def _with_values(table: pd.DataFrame, values: np.ndarray) -> pd.DataFrame:
    names = feature_names(table)
    made = pd.DataFrame(values, columns=names)
    return pd.concat([table.drop(columns=names).reset_index(drop=True), made], axis=1)


def _write(path: Path, table: pd.DataFrame) -> None:
    write_whole(path, lambda part: table.to_parquet(part, index=False))
