"""What the network goes by: crops that are changed and classified again, and what else tells."""

from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import Refusal
from attributome.core.files import plain
from attributome.core.seeds import rng
from attributome.pipeline.profile.looking import NO_TESTS
from attributome.pipeline.profile.network import Asked, network
from attributome.pipeline.profile.splitting import HELD_OUT
from attributome.pipeline.profile.work import CAMO, ProfileWork, Rows, open_cells
from attributome.profiles.causes import AS_IT_IS, causal_tests, found, held_out_gap
from attributome.profiles.learning.classifier import wells_of
from attributome.profiles.shortcuts import what_else_tells
from attributome.profiles.single_cells import SingleCells

JUDGED = ("test", "validate", HELD_OUT, "train")
"""Whose cells are changed: the first of these parts with cells.

Wells of the training plates that no training saw: there whatever the network learnt still works.
"""


def causes(work: ProfileWork) -> dict[str, Any]:
    """Write `causes.json`; what is there already stays."""
    done = work.run.load("causes")
    if done:
        return done
    cells = open_cells(work)
    asked = network(work, cells)
    with work.timed("causes") as progress:
        progress(0.0, "crops are changed and classified again")
        part, rows = judged(work, cells, asked)
        tests, reason = changed(work, cells, asked, rows)
        gap, gap_reason = gap_of(work, cells, asked)
        progress(0.5, "what else tells the label")
        predictors = _predictors(work, cells, asked, rows)
        done = {"part": part, "cells": len(rows), "tests": [], "predictors": predictors}
        done |= {"gap": gap, "gap_reason": gap_reason, "reason": reason}
        done["tests"] = _retained(tests)
        done |= said_of(work, pd.read_parquet(work.run.root / CAMO), tests, gap)
        progress(1.0, f"{len(tests)} tests of {len(rows)} cells")
    told: dict[str, Any] = plain(done)
    work.run.save("causes", told)
    return told


def judged(work: ProfileWork, cells: SingleCells, asked: Asked) -> tuple[str, Rows]:
    """The cells of known classes that are judged, whole wells of them if they are too many."""
    for part in JUDGED:
        rows = known(work, cells, asked, part)
        if len(rows):
            return part, _some(rows, wells_of(cells), work.job.causes.cells, work.job.seed)
    return "none", np.zeros(0, np.int64)


def known(work: ProfileWork, cells: SingleCells, asked: Asked, part: str) -> Rows:
    """The cells of a part whose class the network knows."""
    rows = work.rows(cells, part)
    names = cells.table[asked.label].iloc[rows].astype(str)
    return rows[names.isin(asked.classes).to_numpy()]


def _some(rows: Rows, wells: np.ndarray, most: int, seed: int) -> Rows:
    if len(rows) <= most:
        return rows
    names, counts = np.unique(wells[rows], return_counts=True)
    order = rng(seed, "wells of causes").permutation(len(names))
    taken = order[np.cumsum(counts[order]) <= most]
    kept = names[taken] if len(taken) else names[order[:1]]
    return rows[np.isin(wells[rows], kept)]


def changed(
    work: ProfileWork, cells: SingleCells, asked: Asked, rows: Rows
) -> tuple[pd.DataFrame, str]:
    """The causal tests of some cells, or why there are none."""
    if "tests" not in work.job.causes.which:
        return NO_TESTS, "not asked for"
    try:
        table = causal_tests(
            asked.net,
            cells,
            rows,
            label=asked.label,
            classes=asked.classes,
            batch=work.job.train.batch,
            compute=work.compute,
            erase=asked.erase,
            draws=work.job.evaluate.draws,
            seed=work.job.seed,
        )
    except Refusal as refusal:
        return NO_TESTS, str(refusal)
    return table, ""


def gap_of(
    work: ProfileWork, cells: SingleCells, asked: Asked
) -> tuple[dict[str, float] | None, str]:
    """Accuracy on other wells of the training plates and on held-out plates."""
    inside = next(
        (rows for part in JUDGED[:2] if len(rows := known(work, cells, asked, part))), None
    )
    outside = known(work, cells, asked, HELD_OUT)
    if inside is None or not len(outside):
        return None, "no plate is held out" if inside is not None else "no well is held out"
    try:
        found_ = held_out_gap(
            asked.net,
            cells,
            inside,
            outside,
            label=asked.label,
            classes=asked.classes,
            batch=work.job.train.batch,
            compute=work.compute,
            erase=asked.erase,
            draws=work.job.evaluate.draws,
            seed=work.job.seed,
        )
    except Refusal as refusal:
        return None, str(refusal)
    return found_, ""


def _predictors(
    work: ProfileWork, cells: SingleCells, asked: Asked, rows: Rows
) -> list[dict[str, Any]]:
    """What tells the label beside the network: of all labelled cells, or as many as are asked."""
    if "predictors" not in work.job.causes.which:
        return []
    everything = np.concatenate([known(work, cells, asked, part) for part in JUDGED])
    some = _some(np.sort(everything), wells_of(cells), work.job.causes.cells, work.job.seed)
    try:
        table = what_else_tells(
            cells, some, label=asked.label, draws=work.job.evaluate.draws, seed=work.job.seed
        )
    except Refusal as refusal:
        return [{"what": "background, plate, position", "reason": str(refusal)}]
    return [
        {
            "what": row["features"],
            "protocol": row["protocol"],
            **{name: row.get(name) for name in ("balanced", "low", "high", "chance", "n")},
            "wells": row.get("units"),
            "reason": row["reason"],
        }
        for row in table.to_dict("records")
    ]


def _retained(tests: pd.DataFrame) -> list[dict[str, Any]]:
    """Each test with the share of the accuracy above chance that is left, where there was any."""
    rows = [{str(k): v for k, v in row.items()} for row in tests.to_dict("records")]
    whole = next((row for row in rows if row["test"] == AS_IT_IS), None)
    for row in rows:
        above = 0.0 if whole is None else whole["balanced"] - whole["chance"]
        row["retained"] = (row["balanced"] - row["chance"]) / above if above > 0 else None
    return rows


def said_of(
    work: ProfileWork, camo: pd.DataFrame, tests: pd.DataFrame, gap: dict[str, float] | None
) -> dict[str, Any]:
    """The flag and the sentences of all that was found."""
    said = found(
        tests,
        camo=camo["score_cell"].to_numpy(np.float64),
        chance=camo["mask_fraction"].to_numpy(np.float64),
        wells=(camo["plate"].astype(str) + "/" + camo["well"].astype(str)).to_numpy(str),
        gap=gap,
        seed=work.job.seed,
    )
    return {"flagged": said.flagged, "reasons": [*said.reasons], "words": [*said.words]}
