"""How each method does on each pair: against exact mutagenesis, and by what it claims of itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from attributome.pipeline.fcgr.gaps import Numbers, gaps
from attributome.pipeline.fcgr.methods import REFERENCE, TARGET, Block
from attributome.sequence.evidence.explainers import LETTER_METHODS, Explained
from attributome.sequence.evidence.replacing import replacement
from attributome.sequence.evidence.trust import agreement, completeness, seed_enrichment
from attributome.sequence.tracks import BRANCHES, Branch, off_support_share

STEPS, DRAWS, ORDERS = 5, 2, 2
"""How finely deletion and insertion are asked of a pair; many pairs make up for it."""


def scored(
    net: nn.Module,
    block: Block,
    table: pd.DataFrame,
    made: Mapping[str, Explained],
    methods: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """One row per pair, method and branch; what is undefined is NaN.

    `completeness_error` and `off_support` are of maps; where a method promises a sum over both
    branches, both rows have the same. `deletion` and `insertion` are gains over random orders of
    the letters of both sequences together, in units of the target, and the same in both rows.
    `seed_share` is the share of |evidence| of a site that lies in its seed match.
    """
    own = table["logit"].to_numpy(np.float64)
    starts, stops = (table[c].to_numpy(np.int64) for c in ("seed_start", "seed_stop"))
    rows = []
    for name, found in made.items():
        sums = {b: _sums(found, b) for b in BRANCHES}
        promised = gaps(name, methods[name], net, block, own)
        curves = replacement(
            net, block.context, found.tracks, TARGET, steps=STEPS, draws=DRAWS, orders=ORDERS
        )
        for branch in BRANCHES:
            track = found.tracks[branch]
            error = np.full(len(table), np.nan)
            if isinstance(promised, dict):
                error = completeness(sums[branch], promised[branch])
            elif promised is not None:
                error = completeness(sums["site"] + sums["mirna"], promised)
            seeds = seed_enrichment(track, starts, stops) if branch == "site" else None
            rows.append(
                pd.DataFrame(
                    {
                        "id": table["id"],
                        "method": name,
                        "branch": branch,
                        "completeness_error": error,
                        "off_support": _off(name, found, block, branch),
                        "rank_mutagenesis": agreement(track, made[REFERENCE].tracks[branch]),
                        "seed_share": np.nan if seeds is None else seeds["absolute"],
                        "seed_length_share": np.nan if seeds is None else seeds["length"],
                        "deletion": curves["deletion_gain"],
                        "insertion": curves["insertion_gain"],
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def _sums(found: Explained, branch: Branch) -> Numbers:
    total: np.ndarray = found.maps[branch].detach().double().flatten(1).sum(1).cpu().numpy()
    return total


def _off(name: str, found: Explained, block: Block, branch: Branch) -> Numbers:
    """The share of |map| at k-mers that the sequence lacks; none where there is only a track."""
    if name in LETTER_METHODS:
        return np.zeros(len(block.ids))
    context = block.context
    return off_support_share(found.maps[branch], context.strands(branch), context.encoding.k)
