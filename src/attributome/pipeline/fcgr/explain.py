"""The verb that explains pairs: block by block, each written once, in any number of processes."""

import time
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from attributome.core.errors import DataError
from attributome.core.targets import describe
from attributome.pipeline.fcgr.blocks import block_of
from attributome.pipeline.fcgr.choosing import background_pairs, blocks, explained_pairs
from attributome.pipeline.fcgr.found import STAGE
from attributome.pipeline.fcgr.methods import (
    REFERENCE,
    TARGET,
    asked_methods,
    default_method,
    explained_by,
)
from attributome.pipeline.fcgr.network import network
from attributome.pipeline.fcgr.scoring import scored
from attributome.pipeline.fcgr.trust import believe
from attributome.pipeline.fcgr.work import PairWork
from attributome.sequence.alphabet import strands
from attributome.sequence.evidence.explainers import Explained, from_effects
from attributome.sequence.evidence.letters import hypothetical_here
from attributome.sequence.evidence.mutagenesis import mutagenesis
from attributome.sequence.findings.interaction import epistasis, mixed_derivative
from attributome.sequence.regions import seed_match
from attributome.sequence.tracks import BRANCHES, Branch, pixel_map
from attributome.store import shard


def explain(work: PairWork, *, part: tuple[int, int] = (1, 1)) -> dict[str, str]:
    """Explain the blocks of pairs that are not explained yet; returns the blocks that failed.

    `part` is (i, N) for shard i of N: the numbers are those of one process.
    """
    whole = blocks(explained_pairs(work))
    todo = [unit for unit in shard([*whole], *part) if not work.run.has(STAGE, unit)]
    failed: dict[str, str] = {}
    if not todo and (work.run.load("trust") or part != (1, 1)):
        return failed
    net, background = network(work), background_pairs(work)
    with work.timed(STAGE) as progress:
        for done, unit in enumerate(todo):
            progress(done / len(todo), f"{unit} ({done + 1} of {len(todo)})")
            try:
                explain_block(work, net, unit, whole[unit], background)
            except DataError as error:
                failed[unit] = str(error)
        if all(work.run.has(STAGE, unit) for unit in whole):
            believe(work, net)
        progress(1.0, f"{len(todo) - len(failed)} blocks of pairs explained")
    return failed


def explain_block(
    work: PairWork, net: nn.Module, unit: str, pairs: pd.DataFrame, background: pd.DataFrame
) -> None:
    """Every map and track of one block, what they are scored against, and how they score."""
    started, asked = time.monotonic(), work.job.explain
    block = block_of(work, net, pairs, background)
    mutants = mutagenesis(net, block.context.mirna, block.context.site, target=TARGET)
    exact: dict[Branch, np.ndarray] = {"site": mutants.site, "mirna": mutants.mirna}
    table = described(pairs, mutants.reference.astype(np.float64))
    arrays: dict[str, np.ndarray] = {f"mutants_{b}": exact[b].astype(np.float32) for b in BRANCHES}
    methods, made = asked_methods(asked.methods), dict[str, Explained]()
    for name, params in methods.items():
        if name == REFERENCE:
            made[name] = from_effects(exact, block.context)
        else:
            made[name] = explained_by(name, params, net, block, work.job.seed)
        for branch in BRANCHES:
            track, maps = made[name].tracks[branch], pixel_map(made[name].maps[branch])
            if not maps.isfinite().all():
                raise DataError(f"{name} gave numbers that are not finite for pairs of {unit}")
            arrays[f"track_{name}_{branch}"] = track.astype(np.float32)
            arrays[f"map_{name}_{branch}"] = maps.detach().cpu().numpy().astype(np.float32)
    foretold = made[default_method(methods)].effects
    if foretold is None or default_method(methods) == REFERENCE:
        images = block.images
        foretold = hypothetical_here(net, images["site"], images["mirna"], TARGET, block.context)
    arrays |= {f"hypothetical_{b}": foretold[b].astype(np.float32) for b in BRANCHES}
    doubles = pairs["doubles"].to_numpy(bool)
    arrays |= interactions(work, net, pairs[doubles])
    work.run.write(
        STAGE,
        unit,
        arrays=arrays,
        tables={"pairs": table, "scores": scored(net, block, table, made, methods)},
        note={
            "methods": methods,
            "default": default_method(methods),
            "target": describe(TARGET),
            "ids": pairs["id"].tolist(),
            "epistasis_ids": pairs.loc[doubles, "id"].tolist(),
            "seconds": round(time.monotonic() - started, 3),
        },
    )


def interactions(work: PairWork, net: nn.Module, pairs: pd.DataFrame) -> dict[str, np.ndarray]:
    """Maps of position by position, `(m, Lm, Ls)`, NaN behind the ends; nothing of no pairs.

    Pair by pair: one pair has thousands of double mutants, whose images fill the memory.
    """
    if pairs.empty:
        return {}
    size = (len(pairs), *(int(pairs[branch].str.len().max()) for branch in ("mirna", "site")))
    made = {name: np.full(size, np.nan, np.float32) for name in ("epistasis", "mixed")}
    words: dict[str, Any] = {"target": TARGET, "letters": work.job.explain.letters}
    for row, (mirna, site) in enumerate(zip(pairs["mirna"], pairs["site"], strict=True)):
        both, inside = (strands([mirna]), strands([site])), np.s_[row, : len(mirna), : len(site)]
        made["epistasis"][inside] = epistasis(net, *both, **words)[0]
        made["mixed"][inside] = mixed_derivative(net, *both, **words)[0]
    return made


def described(pairs: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:
    """The pairs of a block with what the network says of them, and where their seed matches."""
    both = zip(pairs["mirna"], pairs["site"], strict=True)
    matches = [seed_match(mirna, site) for mirna, site in both]
    ours: dict[str, Any] = {
        "logit": logits,
        "predicted": (logits > 0).astype(np.int64),
        "seed_kind": [match.kind for match in matches],
        "seed_start": np.array([match.start for match in matches], np.int64),
        "seed_stop": np.array([match.stop for match in matches], np.int64),
    }
    kept = pairs.drop(columns=[name for name in ours if name in pairs])
    return kept.drop(columns="doubles").assign(**ours)
