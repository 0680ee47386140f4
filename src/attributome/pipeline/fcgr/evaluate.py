"""The verb that says how good the network is on pairs it has not seen, beside what is trivial."""

from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError
from attributome.pipeline.fcgr.network import network
from attributome.pipeline.fcgr.tables import records, write_table
from attributome.pipeline.fcgr.work import PairWork
from attributome.sequence.networks.fit import predict_pairs
from attributome.sequence.networks.scores import METRICS, compare, score
from attributome.sequence.pairs.reading import labels_of
from attributome.sequence.pairs.trivial import trivial_scores

NAME = "network"
RANKS = ("auc", "ap")
"""What a trivial predictor is measured by: its scores have no threshold of their own."""
UNTRAINED = ("seed_rule", "seed_kind", "rc_product")


def evaluate(work: PairWork) -> dict[str, Any]:
    """Write `evaluation.json` and `predictions.parquet`; what is there already stays."""
    if done := work.run.load("evaluation"):
        return done
    asked, seed = work.job.evaluate, work.job.seed
    pairs = work.part(asked.part)
    if pairs.empty:
        raise DataError(f"the part {asked.part!r} has no pairs to evaluate on")
    labels, groups = labels_of(pairs), pairs["mirna"].to_numpy()
    net = network(work)
    with work.timed("evaluate") as progress:
        logits = predict_pairs(net, pairs, compute=work.compute, progress=progress)
    ranked = {NAME: logits.astype(np.float64)} | _trivial(work, pairs)
    tables = [
        score(
            labels,
            values,
            groups,
            draws=asked.draws,
            seed=seed,
            metrics=METRICS if name == NAME else RANKS,
        )
        for name, values in ranked.items()
    ]
    for name, table in zip(ranked, tables, strict=True):
        table.insert(0, "predictor", name)
    against = compare(labels, ranked, groups, draws=asked.draws, seed=seed)
    against = against[against["a"] == NAME]
    done = {
        "part": asked.part,
        "scores": records(pd.concat(tables, ignore_index=True)),
        "comparisons": records(against),
    }
    done["words"] = spoken(done, work.job.data.split)
    write_table(work.run.root / "predictions.parquet", pairs[["id"]].assign(label=labels, **ranked))
    work.run.save("evaluation", done)
    return done


def _trivial(work: PairWork, pairs: pd.DataFrame) -> dict[str, np.ndarray]:
    """Scores of every trivial predictor; without pairs to learn from, of those that learn none."""
    train = work.part("train")
    if work.job.evaluate.part in ("train", "all"):
        train = train[:0]
    table = trivial_scores(train, pairs, k=work.job.data.k)
    table = table[[*UNTRAINED]] if train.empty else table.drop(columns="id")
    return {str(name): table[name].to_numpy(np.float64) for name in table}


def spoken(found: dict[str, Any], split: str) -> list[str]:
    """What a person reads of an evaluation."""
    rows = {(row["predictor"], row["metric"]): row for row in found["scores"]}
    said = []
    for metric, name in (("auc", "AUC"), ("ap", "average precision")):
        row = rows[NAME, metric]
        if row["value"] is None:
            said.append(f"{name} is undefined: {row['reason']}")
            continue
        said.append(f"{name} of the network {interval(row)} on {count(row)}, split {split}")
        best = [r for (who, what), r in rows.items() if who != NAME and what == metric]
        best = [r for r in best if r["value"] is not None]
        if best:
            top = max(best, key=lambda r: float(r["value"]))
            said.append(f"best trivial predictor: {top['predictor']} with {name} {interval(top)}")
    return said


def interval(row: dict[str, Any]) -> str:
    """A value with its interval."""
    ends = f" ({row['low']:.3f} to {row['high']:.3f})" if row["low"] is not None else ""
    return f"{row['value']:.3f}{ends}"


def count(row: dict[str, Any]) -> str:
    """How many pairs and miRNAs a value is about."""
    return f"{row['n']} pairs of {row['groups']} miRNAs"
