"""What a run says of how far its explanations can be believed: `trust.json`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from attributome.core.files import plain
from attributome.core.seeds import seed_of
from attributome.pipeline.fcgr.blocks import block_of
from attributome.pipeline.fcgr.choosing import background_pairs, drawn, explained_pairs
from attributome.pipeline.fcgr.found import STAGE, Found, found
from attributome.pipeline.fcgr.methods import RANDOM, REFERENCE, asked_methods, explained_by
from attributome.pipeline.fcgr.work import PairWork
from attributome.sequence.alphabet import strands
from attributome.sequence.evidence.trust import (
    agreement,
    over_groups,
    parameter_randomisation,
    permuted,
    seed_enrichment,
)
from attributome.sequence.findings.complementarity import agreement as pairing_agreement
from attributome.sequence.findings.complementarity import pairings
from attributome.sequence.tracks import BRANCHES

RANDOMISED = 16
"""Pairs whose maps a random network makes again."""
EXACT, ALIKE, CHANGED = 0.05, 0.8, 0.5
"""Completeness below the first, agreement with mutagenesis from the second, and agreement with a
random network below the third pass."""

Row = dict[str, Any]


def believe(work: PairWork, net: nn.Module) -> Path:
    """Write `trust.json`: medians over pairs with intervals over miRNAs, and what passes."""
    path = work.run.root / "trust.json"
    if not path.is_file():
        whole = found(work)
        checks = [*_of_methods(work, whole), *_of_default(work, whole, net)]
        checks += _of_interactions(work, whole)
        work.run.save("trust", plain({"method": whole.method, "checks": checks}))
    return path


def _of_methods(work: PairWork, whole: Found) -> Iterator[Row]:
    """What the scores of every method say."""
    scores = work.run.table(STAGE, "scores")
    mirnas = dict(zip(whole.pairs["id"], whole.pairs["mirna"], strict=True))
    blind = scores[(scores["method"] == RANDOM) & (scores["branch"] == "site")]
    chance = {
        check: float(blind[check].median()) if blind[check].notna().any() else 0.0
        for check in ("deletion", "insertion")
    }
    for name in asked_methods(work.job.explain.methods):
        for branch in BRANCHES:
            rows = scores[(scores["method"] == name) & (scores["branch"] == branch)]
            groups = rows["id"].map(mirnas).to_numpy(str)
            columns = {
                "completeness": "completeness_error",
                "off_support": "off_support",
                "agreement": "rank_mutagenesis",
            }
            if branch == "site":  # of both sequences together
                columns |= {"deletion": "deletion", "insertion": "insertion"}
            values = {check: rows[c].to_numpy(np.float64) for check, c in columns.items()}
            for row in _told(values, groups, work):
                check = row["check"]
                if not row["n"] or (name == REFERENCE and check == "agreement"):
                    continue
                row |= {"method": name, "branch": branch}
                if name != RANDOM:  # which is there to be compared with
                    row["chance"] = chance.get(check)
                    row["passed"] = {
                        "completeness": row["value"] < EXACT,
                        "agreement": row["value"] >= ALIKE,
                        "deletion": row["low"] > chance["deletion"],
                        "insertion": row["low"] > chance["insertion"],
                    }.get(check)
                yield row


def _of_default(work: PairWork, whole: Found, net: nn.Module) -> Iterator[Row]:
    """Seeds, a random attribution, and a network of random weights, for the default method."""
    groups = whole.pairs["mirna"].to_numpy(str)
    tracks = {branch: whole.tracks(branch) for branch in BRANCHES}
    exact = {branch: whole.tracks(branch, REFERENCE) for branch in BRANCHES}
    seeds = [seed_of(work.job.seed, id_, "permuted") for id_ in whole.pairs["id"]]
    chance = permuted(tracks, seeds)
    ends = [whole.pairs[c].to_numpy(np.int64) for c in ("seed_start", "seed_stop")]
    shares = seed_enrichment(tracks["site"], *ends)
    about = {"method": whole.method, "branch": "site"}
    for row in _told({"seed_enrichment": shares["absolute"].to_numpy()}, groups, work):
        if row["n"]:
            length = float(np.nanmedian(shares["length"]))
            yield {**row, **about, "chance": length, "passed": row["low"] > length}
    for branch in BRANCHES:
        value = {"random_control": agreement(chance[branch], exact[branch])}
        for row in _told(value, groups, work):
            yield {**row, "method": whole.method, "branch": branch, "chance": 0.0}
    pairs = explained_pairs(work)
    rows = drawn(pairs, RANDOMISED, work.job.seed, "randomised")
    pairs = pairs.iloc[rows].reset_index(drop=True)
    block = block_of(work, net, pairs, background_pairs(work))
    params = asked_methods(work.job.explain.methods)[whole.method]

    def explain(network: nn.Module) -> dict[Any, np.ndarray]:
        return explained_by(whole.method, params, network, block, work.job.seed).tracks

    table = parameter_randomisation(net, explain, seed=work.job.seed)
    for branch in BRANCHES:
        kept = table[table["branch"] == branch].sort_values("pair")
        value = {"randomisation": kept["agreement"].to_numpy(np.float64)}
        for row in _told(value, pairs["mirna"].to_numpy(str), work):
            passed = row["value"] < CHANGED if row["n"] else None
            yield {**row, "method": whole.method, "branch": branch, "passed": passed}


def _of_interactions(work: PairWork, whole: Found) -> Iterator[Row]:
    """Whether letters that act together are letters that can pair."""
    by_id = whole.pairs.set_index("id")
    maps, rows = [], []
    for unit in whole.units:
        if ids := work.run.note(STAGE, unit)["epistasis_ids"]:
            maps += list(work.run.array(STAGE, unit, "epistasis"))
            rows += ids
    if not rows:
        return
    few = by_id.loc[rows]
    mirna, site = strands(few["mirna"].tolist()), strands(few["site"].tolist())
    together = np.full((len(rows), mirna.codes.shape[1], site.codes.shape[1]), np.nan)
    for row, one in enumerate(maps):
        together[row, : one.shape[0], : one.shape[1]] = one
    told = pairing_agreement(
        together, pairings(mirna, site), few["mirna"].to_numpy(str), seed=work.job.seed
    )
    yield {
        "check": "interaction",
        "title": "Interaction and base pairing",
        "words": "How well the size of the interaction of two letters tells those that can pair "
        "(Watson-Crick) from those that cannot: the AUC over all cells, and with the site's "
        "letters shuffled.",
        "value": told.auc,
        "low": told.low,
        "high": told.high,
        "chance": told.null,
        "p": told.p,
        "n": told.n,
        "groups": told.groups,
    }


def _told(values: dict[str, np.ndarray], groups: np.ndarray, work: PairWork) -> list[Row]:
    table: pd.DataFrame = over_groups(values, groups, seed=work.job.seed)
    named = table.rename(columns={"name": "check", "median": "value"})
    return [{str(k): v for k, v in row.items()} for row in named.to_dict("records")]
