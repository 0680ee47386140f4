"""The verb that asks whether features without labels would do as well as the classifier's."""

from pathlib import Path
from typing import Any

import pandas as pd

from attributome.core.errors import Refusal, UsageError
from attributome.core.files import plain, read_json
from attributome.core.weights import CARD
from attributome.pipeline.profile.checking import has_umap
from attributome.pipeline.profile.features import need_features
from attributome.pipeline.profile.learning import (
    contrastive,
    followed,
    home,
    inpainting,
    no_inpainting,
    untrained,
)
from attributome.pipeline.profile.network import network, trained_of
from attributome.pipeline.profile.replicates import (
    batch_rows,
    comparison,
    neighbour_rows,
    retrieval,
)
from attributome.pipeline.profile.splitting import HELD_OUT
from attributome.pipeline.profile.telling import alike
from attributome.pipeline.profile.wells import BY, WELL, normalised_wells, wells_of_cells
from attributome.pipeline.profile.work import ProfileWork, open_cells
from attributome.profiles.formats import feature_names
from attributome.profiles.learning.contrastive import FRAMES
from attributome.profiles.learning.trajectory import How, read_frames, trajectory, write_animation
from attributome.profiles.single_cells import SingleCells

GIF = "trajectory.gif"
Row = dict[str, Any]


def alternatives(work: ProfileWork) -> dict[str, Any]:
    """Learn features without labels, and write `alternatives.json` and `trajectory.gif`.

    All features become profiles of wells in one way, normalised as those of the run, and are judged
    on all wells and on those that nobody trained on (`of`): a classifier has seen the labels of the
    wells that it was trained on, and features without labels have not.
    """
    done = work.run.load("alternatives")
    if done is not None:
        return done
    cells = open_cells(work)
    classifier = need_features(work)
    asked = network(work, cells)
    paths, reasons = {"classifier": classifier}, {}
    try:
        paths["untrained"] = untrained(work, cells, asked)
    except UsageError as refusal:  # a program has no weights before its training
        reasons["untrained"] = str(refusal)
    for name in work.job.alternatives.which:
        if name == "contrastive":
            paths[name] = contrastive(work, cells)
        elif reason := no_inpainting(cells):
            reasons[name] = reason
        else:
            paths[name] = inpainting(work, cells)
    with work.timed("alternatives") as progress:
        progress(0.0, "cells become wells")
        profiles, more = _profiles(work, paths)
        told: Row = {"features": _about(work, profiles), "reasons": reasons | more}
        progress(0.3, "looking for replicates")
        told |= _judged(work, profiles)
        progress(0.8, "features over epochs")
        told["trajectory"] = _trajectory(work, cells)
        told = plain(told)
        told["words"] = alike(told)
        progress(1.0, f"{len(profiles)} kinds of features compared")
    work.run.save("alternatives", told)
    return told


def _profiles(
    work: ProfileWork, paths: dict[str, Path]
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Wells of each kind of features in units of their plates; why there are none of others."""
    tables, reasons = {}, {}
    for name, path in paths.items():
        try:
            made = normalised_wells(work, wells_of_cells(work, path)).table
            feature_names(made)
        except Refusal as refusal:
            reasons[name] = str(refusal)
            continue
        tables[name] = made
    return tables, reasons


def _about(work: ProfileWork, profiles: dict[str, pd.DataFrame]) -> list[Row]:
    rows = []
    for name, table in profiles.items():
        row: Row = {"profiles": name, "wells": len(table), "features": len(feature_names(table))}
        trained: Row = trained_of(work) if name == "classifier" else {}
        if name in work.job.alternatives.which:
            trained = read_json(home(work, name) / CARD)["trained"]
        rows.append(row | {key: trained.get(key) for key in ("epochs_done", "seconds")})
    return rows


def _judged(work: ProfileWork, profiles: dict[str, pd.DataFrame]) -> Row:
    """The rows of the run's evaluation, of all wells and of those that nobody trained on."""
    whole, _ = retrieval(work, profiles)
    batches = batch_rows(work, profiles)
    told: Row = {"batches": batches}
    found = {"retrieval": whole, "batches": batches}
    told["before_after"] = comparison(work, profiles, found)
    told["retrieval"] = [{**row, "of": "all wells"} for row in whole]
    told["neighbours"] = [{**r, "of": "all wells"} for r in neighbour_rows(work, profiles)]
    unseen = {name: _unseen(work, table) for name, table in profiles.items()}
    again, _ = retrieval(work, unseen)
    told["retrieval"] += [{**row, "of": "unseen wells"} for row in again]
    told["neighbours"] += [{**r, "of": "unseen wells"} for r in neighbour_rows(work, unseen)]
    return told


def _unseen(work: ProfileWork, table: pd.DataFrame) -> pd.DataFrame:
    """The wells of no training: of the part `test`, and of plates that are held out."""
    splits = work.splits
    kept = table[WELL].isin(splits["test"]) | table[BY[0]].astype(str).isin(splits[HELD_OUT])
    return table[kept].reset_index(drop=True)


def _trajectory(work: ProfileWork, cells: SingleCells) -> Row:
    """How cells move apart over the epochs of the contrastive training, as an animation."""
    frames = home(work, "contrastive") / FRAMES
    if "contrastive" not in work.job.alternatives.which:
        return {"reason": "no contrastive training was asked for"}
    if not frames.is_dir():
        return {"reason": "no cells were followed (alternatives.followed)"}
    wanted = work.job.evaluate.umap
    how: How = "pca" if wanted is False or (wanted is None and not has_umap()) else "umap"
    ids = followed(work, cells)
    label = work.job.data.label
    of = cells.table.set_index("id").loc[ids, label].astype(str).tolist()
    try:
        held = read_frames(frames)
        near = max(2, min(15, len(ids) - 1))
        places = trajectory(held, how=how, neighbours=near, seed=work.job.seed)
        titles = [f"epoch {n} of {len(held)}" for n in range(1, len(held) + 1)]
        write_animation(work.run.root / GIF, places, of, titles)
    except Refusal as refusal:
        if wanted:
            raise
        return {"reason": str(refusal)}
    return {"file": GIF, "how": how, "epochs": len(held), "cells": len(ids), "reason": ""}
