"""The verb that compares pairs that interact with those that do not, within each miRNA."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from attributome.pipeline.fcgr.found import Found, found
from attributome.pipeline.fcgr.tables import write_table
from attributome.pipeline.fcgr.work import PairWork
from attributome.sequence.findings.contrasts import Outcome, contrast, outcome_groups, versus
from attributome.sequence.findings.features import (
    by_kmer,
    by_match,
    by_pixel,
    by_position,
    by_region,
)
from attributome.sequence.pairs.reading import labels_of
from attributome.sequence.tracks import BRANCHES

NAMES = {"site": "site", "mirna": "miRNA"}
OUTCOMES: tuple[tuple[Outcome, Outcome], ...] = (
    ("TP", "TN"),
    ("TP", "FP"),
    ("TP", "FN"),
    ("FP", "TN"),
)
Features = dict[str, tuple[Float[np.ndarray, "n f"], list[str]]]


def compare(work: PairWork) -> Path:
    """Write `contrasts.parquet` (label 1 against 0) and `outcome_contrasts.parquet`; once.

    Each feature is the evidence of a method by pixel, k-mer, position or region; see
    `sequence.findings.contrasts` for the columns and the test, and `features` beside it for the
    features.
    """
    path = work.run.root / "contrasts.parquet"
    if path.is_file():
        return path
    all_pairs = found(work, work.job.compare.method)
    labels = labels_of(all_pairs.pairs)
    groups = all_pairs.pairs["mirna"].to_numpy()
    outcomes = outcome_groups(labels, all_pairs.pairs["logit"].to_numpy(np.float64))
    with work.timed("compare") as progress:
        features = features_of(all_pairs, work.job.data.k)
        tables, by_outcome = [], []
        words = {"draws": work.job.compare.draws, "seed": work.job.seed}
        for done, (kind, (values, names)) in enumerate(features.items()):
            progress(done / len(features), f"evidence by {kind}")
            values = values.astype(np.float64)
            tables.append(contrast(values, names, labels, groups, **words).assign(kind=kind))
            for ones, zeros in OUTCOMES:
                rows, binary = versus(outcomes, ones, zeros)
                if len(rows):
                    table = contrast(values[rows], names, binary, groups[rows], **words)
                    by_outcome.append(table.assign(kind=kind, ones=ones, zeros=zeros))
        more = [table for table in by_outcome if len(table)]
        if more:
            together = pd.concat(more, ignore_index=True).assign(method=all_pairs.method)
            write_table(work.run.root / "outcome_contrasts.parquet", together)
        whole = pd.concat(tables, ignore_index=True).assign(method=all_pairs.method)
        write_table(path, whole)
        progress(1.0, f"{len(whole)} features compared")
    return path


def features_of(explained: Found, k: int) -> Features:
    """Every way in which evidence is summed up, by name."""
    made: Features = {}
    for branch in BRANCHES:
        tracks, name = explained.tracks(branch), NAMES[branch]
        values, names = by_pixel(explained.maps(branch), k)
        made[f"{branch} pixel"] = values, [f"{name} pixel {word}" for word in names]
        values, names = by_kmer(tracks, explained.strands(branch), k)
        made[f"{branch} k-mer"] = values, [f"{name} k-mer {word}" for word in names]
        made[f"{branch} position"] = by_position(tracks, name)
    values, names = by_region(explained.tracks("mirna"))
    made["mirna region"] = values, [f"miRNA {region}" for region in names]
    starts, stops = (explained.pairs[c].to_numpy(np.int64) for c in ("seed_start", "seed_stop"))
    values, names = by_match(explained.tracks("site"), starts, stops)
    made["site region"] = values, [f"site: {region}" for region in names]
    return made
