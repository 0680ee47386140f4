"""The verb that compares the run's own training with trainings against looking beside the cell."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.files import plain, read_json, write_json
from attributome.core.weights import CARD
from attributome.metrics.intervals import grouped_interval
from attributome.pipeline.profile.camo import score_all
from attributome.pipeline.profile.causes import changed, gap_of, judged, said_of
from attributome.pipeline.profile.judging import Answers, answers, balanced, gained
from attributome.pipeline.profile.looking import UNIT
from attributome.pipeline.profile.network import Asked, network, opened, train_into
from attributome.pipeline.profile.splitting import HELD_OUT
from attributome.pipeline.profile.telling import compared
from attributome.pipeline.profile.work import CAMO, REMEDIES, ProfileWork, need_note, open_cells
from attributome.profiles.camo.summary import summarise
from attributome.profiles.formats import read_about
from attributome.profiles.single_cells import SingleCells

Row = dict[str, Any]
JUDGED = {"test": "test", HELD_OUT: "held_out"}
"""Parts that accuracy is of, and what its keys end with."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A training, the Grad-CAMO of its cells, what it says of cells that it never saw, its flag."""

    name: str
    asked: Asked
    camo: pd.DataFrame
    answers: dict[str, Answers | None]
    found: Row


def remedies(work: ProfileWork) -> dict[str, Any]:
    """Train with each remedy into `remedies/<name>`, and write `remedies.json`.

    What is there already stays; a training that was interrupted goes on. The first row is the run's
    own network; where that has a remedy itself, a training without one is compared as well.
    """
    done = work.run.load("remedies")
    if done is not None:
        return done
    if source := work.job.network.source:
        raise UsageError(
            f"network.source names {source}, and remedies are compared with the run's own "
            f"training; leave it empty"
        )
    root = work.run.root
    need_note(root / "causes.json", "camo")
    cells = open_cells(work)
    own = _own(work, cells)
    first = work.job.train.remedy
    others = [name for name in ("none", *work.job.remedies.which) if name != first]
    rows = [_row(work, own, own)]
    for name in others:
        train_into(work, root / REMEDIES / name, work.job.train.model_copy(update={"remedy": name}))
        rows.append(_row(work, own, _other(work, cells, name)))
    told: dict[str, Any] = plain({"remedies": rows, "label": work.job.data.label})
    told["words"] = compared(told["remedies"])
    work.run.save("remedies", told)
    return told


def _own(work: ProfileWork, cells: SingleCells) -> Trained:
    root, asked = work.run.root, network(work, cells)
    if read_about(root / CAMO)["weights_sha256"] != asked.sha256:
        raise DataError(f"the Grad-CAMO of {root} was made with other weights than its network's")
    return Trained(
        name=work.job.train.remedy,
        asked=asked,
        camo=pd.read_parquet(root / CAMO),
        answers={part: answers(work, cells, asked, part) for part in JUDGED},
        found=read_json(root / "causes.json"),
    )


def _other(work: ProfileWork, cells: SingleCells, name: str) -> Trained:
    """A training of the folder of remedies, looked at and tested as the run's own is."""
    folder = work.run.root / REMEDIES / name
    asked = opened(work, cells, folder)
    with work.timed(f"camo_{name}") as progress:
        progress(0.0, f"where the network of {name!r} looks")
        camo = score_all(work, asked, cells, folder / CAMO)
        progress(0.7, f"what the network of {name!r} goes by")
        return Trained(
            name=name,
            asked=asked,
            camo=camo,
            answers={part: answers(work, cells, asked, part) for part in JUDGED},
            found=_found(work, cells, asked, camo, folder / "causes.json"),
        )


def _found(
    work: ProfileWork, cells: SingleCells, asked: Asked, camo: pd.DataFrame, path: Path
) -> Row:
    """What the tests find, as `causes.json` has it; kept beside the network."""
    if path.is_file() and (done := read_json(path)).get("weights_sha256") == asked.sha256:
        return done
    part, rows = judged(work, cells, asked)
    tests, reason = changed(work, cells, asked, rows)
    gap, gap_reason = gap_of(work, cells, asked)
    told: Row = {"part": part, "cells": len(rows), "tests": tests.to_dict("records")}
    told |= {"gap": gap, "gap_reason": gap_reason, "reason": reason}
    told |= {**said_of(work, camo, tests, gap), "weights_sha256": asked.sha256}
    told = plain(told)
    write_json(path, told)
    return told


def _row(work: ProfileWork, own: Trained, one: Trained) -> Row:
    """What a training comes to, and what it gains against the run's own."""
    draws, seed = work.job.evaluate.draws, work.job.seed
    looked = summarise(one.camo, unit=UNIT, draws=draws, seed=seed).iloc[0]
    row: Row = {
        "remedy": one.name,
        "own": one is own,
        "camo_median": looked["median"],
        "camo_low": looked["median_low"],
        "camo_high": looked["median_high"],
        "chance": looked["chance"],
        "excess": looked["excess"],
        "cells": looked["cells"],
        "wells": looked["units"],
        "undefined": looked["undefined"] / len(one.camo),
    }
    for part, name in JUDGED.items():
        row |= _accuracy(one.answers[part], name, draws, seed)
    row |= {"low": row["low_held_out"], "high": row["high_held_out"]}
    row |= {"flagged": one.found["flagged"], "reasons": one.found["reasons"]}
    if one is not own:
        row["camo_gain"], row["camo_gain_low"], row["camo_gain_high"] = _moved(
            own, one, draws, seed
        )
        for part, name in JUDGED.items():
            before, after = own.answers[part], one.answers[part]
            gain: Row = {"gain": None, "low": None, "high": None}
            if before is not None and after is not None:
                gain |= gained(before, after, draws=draws, seed=seed)
            row |= {
                f"gain_{name}": gain["gain"],
                f"gain_low_{name}": gain["low"],
                f"gain_high_{name}": gain["high"],
            }
    folder = work.run.root / ("network" if one is own else f"{REMEDIES}/{one.name}")
    trained = read_json(folder / CARD)["trained"]
    row |= {"epochs": trained["epochs_done"], "seconds": trained["seconds"]}
    return row | {"weights_sha256": one.asked.sha256}


def _accuracy(found: Answers | None, name: str, draws: int, seed: int) -> Row:
    told: Row = (
        {}
        if found is None
        else balanced(found.truth, found.said, found.wells, draws=draws, seed=seed)
    )
    keys = {"accuracy": "balanced", "low": "low", "high": "high", "guessing": "chance", "n": "n"}
    return {f"{key}_{name}": told.get(of) for key, of in (keys | {"wells": "wells"}).items()}


def _moved(own: Trained, one: Trained, draws: int, seed: int) -> tuple[float, float, float]:
    """The median over cells of what Grad-CAMO gains, and its interval over wells.

    Cells count that have a map under both networks; undefined below three wells.
    """
    both = own.camo.merge(one.camo[["cell_id", "score_cell"]], on="cell_id", suffixes=("", "_new"))
    gain = (both["score_cell_new"] - both["score_cell"]).to_numpy(np.float64)
    held = np.isfinite(gain)
    wells = (both["plate"].astype(str) + "/" + both["well"].astype(str)).to_numpy(str)[held]
    if not held.any():
        return np.nan, np.nan, np.nan
    if len(np.unique(wells)) < 3:
        return float(np.median(gain[held])), np.nan, np.nan
    return grouped_interval(gain[held], wells, draws=draws, seed=seed)
