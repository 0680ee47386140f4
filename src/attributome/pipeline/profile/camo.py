"""The verb that asks where the network looks: in every cell and every feature, block by block."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64

from attributome.core.errors import DataError
from attributome.core.seeds import rng
from attributome.core.targets import Logit
from attributome.core.types import Images, Predictor
from attributome.pipeline.profile.looking import summarise_camo
from attributome.pipeline.profile.network import Asked, need_layers, network
from attributome.pipeline.profile.work import CAMO, ProfileWork, Rows, open_cells, unit_names
from attributome.profiles.camo.classes import Camo, class_camo, class_maps
from attributome.profiles.camo.controls import Labels, Own, Score, controlled
from attributome.profiles.camo.features import feature_camo
from attributome.profiles.features import named
from attributome.profiles.formats import read_about, write_parquet
from attributome.profiles.learning.classifier import Crops, predicted, read_crops, shown
from attributome.profiles.single_cells import SingleCells
from attributome.store import shard

STAGE, WORST = "camo", "worst"
Codes = Int64[np.ndarray, "_"]


def camo(work: ProfileWork, *, part: tuple[int, int] = (1, 1)) -> int:
    """Score the blocks of cells that have no scores yet; how many are still missing.

    `part` is (i, N) for shard i of N: the numbers are those of one process. Who finishes the last
    block joins all of them into `camo.parquet` and sums them up in `camo.json`. Everything is
    computed in single precision: shares of a map are long sums.
    """
    cells, root = open_cells(work), work.run.root
    units = unit_names(len(cells), work.job.camo.block)
    todo = [unit for unit in shard([*units], *part) if not work.run.has(STAGE, unit)]
    if todo and not (root / CAMO).is_file():
        asked = network(work, cells)
        need_layers(asked, (work.job.camo.layer,), "camo.layer")
        controls = _controls(work, cells, asked)
        with work.timed(STAGE) as progress:
            for done, unit in enumerate(todo):
                progress(done / len(todo), f"cells {unit} ({done + 1} of {len(todo)})")
                _block(work, asked, cells, unit, units[unit], controls)
            progress(1.0, f"{len(todo)} blocks of cells looked at")
    whole = (root / CAMO).is_file()
    missing = 0 if whole else sum(not work.run.has(STAGE, unit) for unit in units)
    if not missing:
        _join(work, cells, units)
    return missing


def codes_of(work: ProfileWork, asked: Asked, cells: SingleCells, rows: Rows) -> Codes:
    """The class that each cell's map is about; −1: the network knows none for it."""
    if work.job.camo.target == "predicted":
        batch = work.job.camo.batch
        return predicted(
            asked.net, cells, rows, batch=batch, compute=work.compute, erase=asked.erase
        )
    number = {name: code for code, name in enumerate(asked.classes)}
    found = cells.table[asked.label].iloc[rows]
    return np.array([-1 if pd.isna(v) else number.get(str(v), -1) for v in found], np.int64)


def _controls(work: ProfileWork, cells: SingleCells, asked: Asked) -> Rows:
    """The cells that are also asked with other masks and of a network that has learnt nothing."""
    if work.job.camo.target == "label":
        known = codes_of(work, asked, cells, np.arange(len(cells), dtype=np.int64)) >= 0
        rows = np.flatnonzero(known)
    else:
        rows = np.arange(len(cells))
    draw = rng(work.job.seed, "controls of Grad-CAMO").permutation(len(rows))
    return np.sort(rows[draw[: work.job.camo.controls]]).astype(np.int64)


def _block(
    work: ProfileWork,
    asked: Asked,
    cells: SingleCells,
    unit: str,
    rows: Rows,
    controls: Rows,
) -> None:
    started, job = time.monotonic(), work.job.camo
    codes = codes_of(work, asked, cells, rows)
    tables: list[pd.DataFrame] = []
    again: list[pd.DataFrame] = []
    scores: list[np.ndarray] = []
    names: tuple[str, ...] = ()
    ids = cells.table["id"].to_numpy()
    for start in range(0, len(rows), job.batch):
        some, mine = rows[start : start + job.batch], codes[start : start + job.batch]
        crops = read_crops(cells, some).to(work.compute)
        images = shown(crops, asked.erase)
        known = np.flatnonzero(mine >= 0)
        if len(known):
            found = scored(work, asked, images, crops, mine, known)
            tables.append(found.table(ids[some[known]].tolist()))
        chosen = np.flatnonzero(np.isin(some, controls) & (mine >= 0))
        if len(chosen):
            again.append(_controlled(work, asked, images, crops, mine, chosen, ids[some[chosen]]))
        if job.features:
            each = feature_camo(
                asked.net,
                images,
                crops.labels,
                crops.own,
                layer=job.layer,
                pool="mean",
                least=job.least,
            )
            scores.append(each.scores.cell.to(torch.float32).cpu().numpy())
            names = tuple(named(f"Cells_{job.layer}_mean", len(each.targets)))
    written = {"camo": _about(tables, work), "controls": _about(again, work)}
    work.run.write(
        STAGE,
        unit,
        arrays={"features": np.concatenate(scores)} if scores else {},
        tables={name: table for name, table in written.items() if len(table)},
        note={
            "rows": [int(rows[0]), int(rows[-1])],
            "unknown": int((codes < 0).sum()),
            "features": [*names],
            "weights_sha256": asked.sha256,
            "seconds": round(time.monotonic() - started, 3),
        },
    )


def score_all(work: ProfileWork, asked: Asked, cells: SingleCells, path: Path) -> pd.DataFrame:
    """Grad-CAMO of every cell of a known class under any network, also as a table in a file."""
    if path.is_file() and read_about(path)["weights_sha256"] == asked.sha256:
        return pd.read_parquet(path)
    about = cells.table.set_index("id")
    columns = [n for n in ("field", "plate", "well", work.job.data.label) if n in about]
    ids, step = cells.table["id"].to_numpy(), work.job.camo.batch

    def blocks() -> Iterator[pd.DataFrame]:
        for start in range(0, len(cells), step):
            rows = np.arange(start, min(start + step, len(cells)), dtype=np.int64)
            codes = codes_of(work, asked, cells, rows)
            known = np.flatnonzero(codes >= 0)
            if len(known):
                crops = read_crops(cells, rows).to(work.compute)
                images = shown(crops, asked.erase)
                found = scored(work, asked, images, crops, codes, known)
                names = ids[rows[known]]
                more = about.loc[names, columns].reset_index(drop=True)
                yield pd.concat([_about([found.table(names.tolist())], work), more], axis=1)

    write_parquet(path, blocks(), {"weights_sha256": asked.sha256})
    return pd.read_parquet(path)


def _about(tables: list[pd.DataFrame], work: ProfileWork) -> pd.DataFrame:
    """Tables of batches as one; the target is named for what it is, however long a batch was."""
    if not tables:
        return pd.DataFrame()
    asked = work.job
    target = asked.data.label if asked.camo.target == "label" else "predicted"
    return pd.concat(tables, ignore_index=True).assign(target=target)


def scored(
    work: ProfileWork, asked: Asked, images: Images, crops: Crops, codes: Codes, at: Rows
) -> Camo:
    """Grad-CAMO of some crops of a batch, as the job asks for it."""
    where = torch.from_numpy(at).to(images.device)
    given = Crops(images[where], crops.labels[where], crops.own[where])
    return _class_camo(work, codes[at])(asked.net, given.images, given.labels, given.own)


def _class_camo(work: ProfileWork, codes: Codes) -> Score:
    """`class_camo` with all that it needs but network, images, labels and own labels."""
    job = work.job.camo
    target = Logit(torch.from_numpy(codes).to(work.compute.device))

    def score(net: Predictor, x: Images, labels: Labels, own: Own) -> Camo:
        return class_camo(
            net, x, labels, own,
            layer=job.layer, target=target, method=job.method, least=job.least,
        )  # fmt: skip

    return score


def _controlled(
    work: ProfileWork,
    asked: Asked,
    images: Images,
    crops: Crops,
    codes: Codes,
    at: Rows,
    ids: np.ndarray,
) -> pd.DataFrame:
    where = torch.from_numpy(at).to(images.device)
    return controlled(
        asked.net,
        images[where],
        crops.labels[where],
        crops.own[where],
        ids.tolist(),
        _class_camo(work, codes[at]),
        seed=work.job.seed,
    )


def _join(work: ProfileWork, cells: SingleCells, units: dict[str, Rows]) -> None:
    """One table of all blocks, the images of the worst and best cells, and what it comes to."""
    root = work.run.root
    about = cells.table.set_index("id")
    columns = [n for n in ("field", "plate", "well", work.job.data.label) if n in about]
    if not (root / CAMO).is_file():
        paths = [root / "parts" / STAGE / unit / "camo.parquet" for unit in units]
        there = [path for path in paths if path.is_file()]
        if not there:
            raise DataError(
                f"no cell is of a class that the network knows, so that none has a Grad-CAMO of "
                f"its {work.job.data.label}; ask for camo.target = 'predicted'"
            )

        def blocks() -> Iterator[pd.DataFrame]:
            for path in there:
                table = pd.read_parquet(path)
                known = about.loc[table["cell_id"], columns].reset_index(drop=True)
                yield pd.concat([table, known], axis=1)

        note = work.run.note(STAGE, next(iter(units)))
        write_parquet(root / CAMO, blocks(), {"weights_sha256": note["weights_sha256"]})
    _extremes(work, cells)
    if work.run.load("camo") is None:
        summarise_camo(work, units, about[columns])


def _extremes(work: ProfileWork, cells: SingleCells) -> None:
    """Images, labels and enlarged maps of the cells with the lowest and the highest scores."""
    count = work.job.camo.worst
    if not count or all(work.run.has(WORST, name) for name in ("worst", "best")):
        return
    table = pd.read_parquet(work.run.root / CAMO, columns=["cell_id", "score_cell"])
    ranked = table.dropna().sort_values(["score_cell", "cell_id"])
    if not len(ranked):
        return
    asked = network(work, cells)
    index = pd.Index(cells.table["id"])
    for name, some in (("worst", ranked.head(count)), ("best", ranked.tail(count)[::-1])):
        rows = index.get_indexer(pd.Index(some["cell_id"])).astype(np.int64)
        maps = _maps(work, asked, cells, rows)
        about = cells.table.iloc[rows].rename(columns={"label": "own"})
        kept = about.reset_index(drop=True).assign(
            row=rows, score_cell=some["score_cell"].to_numpy()
        )
        work.run.write(
            WORST,
            name,
            arrays={"images": cells.images(rows), "labels": cells.labels(rows), "maps": maps},
            tables={"cells": kept},
            note={"channels": [*cells.channels], "spacing": cells.spacing},
        )


def _maps(
    work: ProfileWork, asked: Asked, cells: SingleCells, rows: Rows
) -> Float32[np.ndarray, "n *s"]:
    """The maps that were scored, enlarged linearly to the crops."""
    job = work.job.camo
    codes = codes_of(work, asked, cells, rows)
    found = []
    for start in range(0, len(rows), job.batch):
        some = slice(start, start + job.batch)
        crops = read_crops(cells, rows[some]).to(work.compute)
        target = Logit(torch.from_numpy(codes[some]).to(work.compute.device))
        ask = partial(class_maps, layer=job.layer, target=target, method=job.method)
        maps = ask(asked.net, shown(crops, asked.erase), least=job.least).float()
        mode = {4: "bilinear", 5: "trilinear"}[maps.ndim]
        large = F.interpolate(maps, size=cells.size, mode=mode, align_corners=False)
        found.append(large[:, 0].cpu().numpy())
    joined: np.ndarray = np.concatenate(found)
    return joined
