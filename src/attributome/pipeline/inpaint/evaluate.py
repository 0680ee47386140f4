"""The verb that says what the features are worth on cells of other fields, and beside what."""

from typing import Any

import numpy as np

from attributome.core.errors import DataError
from attributome.core.files import plain
from attributome.inpainting.cells import Cells
from attributome.inpainting.network import Inpainter
from attributome.pipeline.inpaint.chosen import (
    UNTRAINED,
    Rows,
    Set,
    evaluated,
    labels_of,
    lead,
    sets,
    weights_of,
)
from attributome.pipeline.inpaint.features import chosen_layers, need_features
from attributome.pipeline.inpaint.findings import find
from attributome.pipeline.inpaint.judging import HELD_OUT, Judge, Judged
from attributome.pipeline.inpaint.network import network
from attributome.pipeline.inpaint.prepare import prepare
from attributome.pipeline.inpaint.pretext import held_out
from attributome.pipeline.inpaint.telling import spoken
from attributome.pipeline.inpaint.work import CellWork
from attributome.profiles.features import argmax_in_mask

Key = tuple[str, str, str]
"""Features, layer and pool."""


def evaluate(work: CellWork) -> dict[str, Any]:
    """Write `evaluation.json` and the findings; what is there already stays."""
    cells = prepare(work)
    done = work.run.load("evaluation")
    if done is None:
        need_features(work)
        net, mark = network(work, cells)
        _check_mark(work, mark)
        rows = evaluated(work, cells)
        with work.timed("evaluate") as progress:
            progress(0.0, "predicting held-out pairs")
            done = _evaluated(work, net, cells, rows)
            progress(1.0, f"{len(rows)} cells are told apart")
        work.run.save("evaluation", done)
    if work.run.load("findings") is None:
        find(work, cells, evaluated(work, cells))
    return done


def _evaluated(work: CellWork, net: Inpainter, cells: Cells, rows: Rows) -> dict[str, Any]:
    asked, labels = work.job.evaluate, labels_of(work, cells, rows)
    fields = cells.table["field"].astype(str).to_numpy(str)[rows]
    done: dict[str, Any] = {
        "label": asked.label,
        "classes": np.unique(labels).tolist(),
        "part": asked.part,
        "cells": len(rows),
        "cells_in_all": len(work.rows(cells, asked.part)),
        "fields": len(np.unique(fields)),
        "pretext": held_out(work, net, cells),
        "accuracy": [],
        "recalls": [],
        "confusion": None,
        "looking": _looking(work, net, cells, rows),
        "differences": [],
    }
    if len(done["classes"]) > 1:
        done |= _accuracies(work, cells, rows, labels)
    done = plain(done)
    done["words"] = spoken(done, lead(work))
    return done


def _accuracies(work: CellWork, cells: Cells, rows: Rows, labels: np.ndarray) -> dict[str, Any]:
    """Every protocol on every set of features, and what can be said of the lead alone."""
    asked = work.job.evaluate
    judge = Judge(
        labels=labels,
        groups={
            name: cells.table[name].astype(str).to_numpy(str)[rows]
            for name in dict.fromkeys(("field", *asked.groups))
            if name in cells.table
        },
        k=asked.k,
        folds=asked.folds,
        draws=asked.draws,
        seed=work.job.seed,
    )
    kept: dict[Key, dict[str, Judged]] = {}
    accuracy: list[dict[str, Any]] = []
    progress = work.bars("tell cells apart")
    layers, pools = chosen_layers(work), work.job.features.pools
    count = 2 * len(layers) * len(pools) + 2
    for done, one in enumerate(sets(work, cells, rows)):
        progress(min(0.99, done / count), f"{one.features} {one.layer} {one.pool}")
        found = judge.judged(one.values, fully=_worth_fitting(work, one))
        kept[one.features, one.layer, one.pool] = found
        name = {"features": one.features, "layer": one.layer, "pool": one.pool}
        accuracy += [{**name, "protocol": p, **each.row()} for p, each in found.items()]
    progress(1.0, f"{len(kept)} sets of features")
    layer, pool = lead(work)
    ours = kept["ours", layer, pool]
    protocol = next((p for p in HELD_OUT if ours[p].accuracy is not None), None)
    told: dict[str, Any] = {"accuracy": accuracy, "differences": _differences(judge, kept)}
    if protocol is not None and (best := ours[protocol].accuracy) is not None:
        about = {"layer": layer, "pool": pool, "protocol": protocol}
        told["recalls"] = [
            {"label": row["label"], "recall": row["recall"], "n": row["n"], "features": "ours"}
            | about
            for row in best.classes.to_dict("records")
        ]
        names, counts = judge.confusion(ours[protocol])
        told["confusion"] = {"labels": names, "counts": counts, **about}
    return told


def _differences(judge: Judge, kept: dict[Key, dict[str, Judged]]) -> list[dict[str, Any]]:
    """Ours less each rival, by every protocol that judged both, with the same draws of fields."""
    rows = []
    for (features, layer, pool), found in kept.items():
        if features != "ours":
            continue
        rivals = [(UNTRAINED, layer, pool), ("raw_intensity", "raw", "")]
        for key in rivals:
            for protocol, one in found.items():
                other = kept.get(key, {}).get(protocol)
                if other is None or one.accuracy is None or other.accuracy is None:
                    continue
                if gap := judge.difference(one, other):
                    about = {"layer": layer, "pool": pool, "protocol": protocol}
                    rows.append({**about, "against": key[0], **gap})
    return rows


def _worth_fitting(work: CellWork, one: Set) -> bool:
    """Whether what must be fitted is worth its time: for the lead, and for intensities."""
    return one.features.endswith("intensity") or (one.layer, one.pool) == lead(work)


def _looking(
    work: CellWork, net: Inpainter, cells: Cells, rows: Rows
) -> list[dict[str, Any]] | None:
    """Whether features look at their own cell; None where cells have no masks."""
    if cells.masks is None:
        return None
    found = argmax_in_mask(
        net,
        cells,
        rows=rows,
        layers=chosen_layers(work),
        batch=work.job.features.batch,
        draws=work.job.evaluate.draws,
        seed=work.job.seed,
        compute=work.compute,
    )
    return [{str(k): v for k, v in row.items()} for row in found.layers.to_dict("records")]


def _check_mark(work: CellWork, mark: str) -> None:
    if weights_of(work) != mark:
        raise DataError(
            f"the features of {work.run.root} were made with other weights than those of the "
            f"network: delete features.parquet and parts/features to make them again"
        )
