"""What the features say about proteins: which are alike, which vary, and a map of single cells."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, Refusal
from attributome.core.files import plain, write_whole
from attributome.inpainting.cells import Cells
from attributome.pipeline.inpaint.checking import has_umap
from attributome.pipeline.inpaint.chosen import Rows, blocks_of, labels_of, lead, ours
from attributome.pipeline.inpaint.work import CellWork
from attributome.profiles.proteins.averages import average
from attributome.profiles.proteins.clusters import Clustering, cluster
from attributome.profiles.proteins.enrichment import enrich, read_sets
from attributome.profiles.proteins.maps import umap_of
from attributome.profiles.proteins.variability import variability

DISTANCES = 200
"""Labels up to which all distances between them are written out."""


def find(work: CellWork, cells: Cells, rows: Rows) -> dict[str, Any]:
    """Write `findings.json`, and `umap.parquet` where it can be had."""
    asked, (layer, pool) = work.job.evaluate, lead(work)
    label = asked.label
    with work.timed("findings") as progress:
        progress(0.0, "averages of labels")
        table = pd.concat(
            list(blocks_of(work, layer, pool, rows=rows, metadata=("field", label))),
            ignore_index=True,
        )
        features = [name for name in table.columns if not str(name).startswith("Metadata_")]
        table = table[np.isfinite(table[features].to_numpy()).all(1)].reset_index(drop=True)
        tree, reason = _clustered(table, label)
        found: dict[str, Any] = {
            "layer": layer,
            "pool": pool,
            "n": len(table),
            "label": label,
            "proteins": _told(tree) if tree else None,
            "reason": reason,
            "enrichment": None,
            "variability": _varied(work, table, label),
        }
        if asked.sets and tree:
            found["enrichment"], found["enrichment_reason"] = _enriched(asked.sets, tree.clusters)
        progress(0.5, "a map of single cells")
        found["umap"] = _map(work, cells, rows, layer, pool)
        progress(1.0, "findings are written")
    found = plain(found)
    work.run.save("findings", found)
    return found


def _clustered(table: pd.DataFrame, label: str) -> tuple[Clustering | None, str]:
    """The tree of the labels' averages, field by field first; or why there is none."""
    try:
        through = () if label == "field" else ("field",)
        return cluster(average([table], label, through=through), label), ""
    except DataError as error:
        return None, str(error)


def _told(tree: Clustering) -> dict[str, Any]:
    n = len(tree.labels)
    return {
        "n": n,
        "labels": [*tree.labels],
        "order": tree.order.tolist(),
        "merges": tree.merges.tolist(),
        "clusters": [{"label": name, "cluster": c} for name, c in tree.clusters.items()],
        "silhouettes": {str(k): value for k, value in tree.silhouettes.items()},
        "distances": tree.distances.tolist() if n <= DISTANCES else None,
    }


def _enriched(path: str, clusters: Mapping[str, int]) -> tuple[list[dict[str, Any]] | None, str]:
    """Sets that clusters hold more of, or why nothing can be tested; infinite odds become null."""
    sets = read_sets(Path(path))
    try:
        return plain(enrich(clusters, sets).to_dict("records")), ""
    except DataError as error:
        return None, str(error)


def _varied(work: CellWork, table: pd.DataFrame, label: str) -> list[dict[str, Any]]:
    """How unlike the cells of each label are; nothing where it cannot be said."""
    if label == "field":
        return []
    try:
        found = variability(table, label, draws=work.job.evaluate.draws, seed=work.job.seed)
    except DataError:
        return []
    return [{str(k): v for k, v in row.items()} for row in found.to_dict("records")]


def _map(work: CellWork, cells: Cells, rows: Rows, layer: str, pool: str) -> str:
    """Write `umap.parquet`; where nobody asked for it, say instead why there is none."""
    asked = work.job.evaluate.umap
    if asked is False or (asked is None and not has_umap()):
        return "not asked for" if asked is False else "umap-learn is not installed"
    values = ours(work, rows, layer, pool)
    whole = np.isfinite(values).all(1)
    try:
        places = umap_of(values[whole], seed=work.job.seed)
    except Refusal as refusal:
        if asked:
            raise
        return str(refusal)
    table = pd.DataFrame(
        {
            "id": cells.table["id"].to_numpy()[rows][whole],
            "label": labels_of(work, cells, rows)[whole],
            "field": cells.table["field"].astype(str).to_numpy()[rows][whole],
            "x": places[:, 0],
            "y": places[:, 1],
        }
    )
    path = work.run.root / "umap.parquet"
    write_whole(path, lambda part: table.to_parquet(part, index=False))
    return ""
