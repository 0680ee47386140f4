"""What a run on pairs comes to: the headline numbers, each with its n and its interval."""

from typing import Any

import numpy as np
import pandas as pd

from attributome.core.bootstrap import cluster_bootstrap
from attributome.core.files import plain
from attributome.pipeline.fcgr.evaluate import NAME
from attributome.pipeline.fcgr.found import STAGE
from attributome.pipeline.fcgr.methods import RANDOM, REFERENCE, asked_methods, default_method
from attributome.pipeline.fcgr.work import PairWork
from attributome.sequence.tracks import BRANCHES

RANKS = "rank_mutagenesis"


def sum_up(work: PairWork) -> dict[str, Any]:
    """Write `summary.json` from what is there so far; returns it."""
    summary: dict[str, Any] = {"pairs": len(work.pairs), "split": work.job.data.split}
    words: list[str] = []
    if audited := work.run.load("audit"):
        flags = [flag["title"] for flag in audited["flags"] if flag["level"] == "red"]
        summary["red_flags"] = flags
        words += [f"red flag: {title}" for title in flags]
    if evaluated := work.run.load("evaluation"):
        summary |= _evaluated(evaluated)
        words += evaluated["words"]
    summary["pairs_explained"] = 0
    if work.run.units(STAGE):
        explained = _explained(work)
        summary |= explained
        words += _said(explained)
    if motifs := work.run.load("motifs"):
        top = motifs["motifs"][0] if motifs["motifs"] else None
        frame = motifs["frame"]
        summary["motifs"] = len(motifs["motifs"])
        summary["top_motif"] = top["consensus"] if top else None
        summary["frame"] = {key: frame[key] for key in ("first", "last")}
        summary["stability"] = {one["of"]: one["stable"] for one in motifs["stability"]}
        words.append(
            f"site evidence is strongest opposite nt {frame['first']} to {frame['last']} of the "
            f"miRNA"
        )
    times = sorted((work.run.root / "times").glob("*.json"))
    seconds = [float((work.run.load(f"times/{path.stem}") or {})["seconds"]) for path in times]
    summary |= {"words": words, "seconds": round(sum(seconds), 1)}
    summary = plain(summary)
    work.run.save("summary", summary)
    return summary


def _evaluated(found: dict[str, Any]) -> dict[str, Any]:
    """AUC and average precision of the network, and of every trivial predictor beside it."""
    summary: dict[str, Any] = {"part": found["part"], "trivial": {}}
    for row in found["scores"]:
        name, metric = row["predictor"], row["metric"]
        if name == NAME and metric in ("auc", "ap"):
            summary[metric] = row["value"]
            summary |= {f"{metric}_{end}": row[end] for end in ("low", "high")}
            summary |= {"pairs_evaluated": row["n"], "mirnas_evaluated": row["groups"]}
        elif name != NAME:
            summary["trivial"].setdefault(name, {})[metric] = row["value"]
    return summary


def _explained(work: PairWork) -> dict[str, Any]:
    """Agreement with mutagenesis of each method, and where the default puts its evidence."""
    pairs, scores = (work.run.table(STAGE, name) for name in ("pairs", "scores"))
    groups = scores["id"].map(dict(zip(pairs["id"], pairs["mirna"], strict=True)))
    methods = asked_methods(work.job.explain.methods)
    default = default_method(methods)
    ranks: dict[str, Any] = {}
    for name in methods:
        for branch in BRANCHES:
            rows = ((scores["method"] == name) & (scores["branch"] == branch)).to_numpy()
            ranks.setdefault(name, {})[branch] = _mean(scores[rows], RANKS, groups[rows], work)
    site = ((scores["method"] == default) & (scores["branch"] == "site")).to_numpy()
    share = _mean(scores[site], "seed_share", groups[site], work)
    return {
        "pairs_explained": len(pairs),
        "mirnas_explained": pairs["mirna"].nunique(),
        "default_method": default,
        RANKS: ranks,
        "seed_share": share,
        "seed_length_share": float(np.nanmean([*scores.loc[site, "seed_length_share"], np.nan]))
        if scores.loc[site, "seed_length_share"].notna().any()
        else None,
    }


def _mean(
    rows: pd.DataFrame, column: str, groups: pd.Series, work: PairWork
) -> dict[str, float | int]:
    """A mean over pairs, its interval over miRNAs, and how many pairs have no value."""
    values = rows[[column]].to_numpy(np.float64)
    found = cluster_bootstrap(values, groups.to_numpy(str), seed=work.job.seed).iloc[0]
    return {
        "mean": float(found["mean"]),
        "low": float(found["low"]),
        "high": float(found["high"]),
        "n": int(found["n"]),
        "mirnas": int(found["groups"]),
        "undefined": int(np.isnan(values).sum()),
    }


def _said(found: dict[str, Any]) -> list[str]:
    """What a person reads of the explained pairs."""
    default = found["default_method"]
    said = [
        f"{found['pairs_explained']} pairs of {found['mirnas_explained']} miRNAs explained; the "
        f"default method is {default}"
    ]
    shown = [name for name in (default, RANDOM) if name in found[RANKS] and name != REFERENCE]
    for name in shown:
        row = found[RANKS][name]["site"]
        if np.isfinite(row["mean"]):
            said.append(f"rank correlation with mutagenesis on sites, {name}: {row['mean']:.2f}")
    share = found["seed_share"]
    if np.isfinite(share["mean"]):
        said.append(
            f"seed matches hold {share['mean']:.0%} of the site evidence in "
            f"{found['seed_length_share']:.0%} of the letters (n = {share['n']})"
        )
    return said
