"""Pairs as a network and the methods take them."""

import pandas as pd
from torch import nn

from attributome.core.seeds import seed_of
from attributome.pipeline.fcgr.methods import Block
from attributome.pipeline.fcgr.network import encoding_of
from attributome.pipeline.fcgr.work import PairWork
from attributome.sequence.alphabet import strands
from attributome.sequence.evidence.branches import images_of
from attributome.sequence.evidence.references import Context
from attributome.sequence.tracks import BRANCHES


def block_of(
    work: PairWork, net: nn.Module, pairs: pd.DataFrame, background: pd.DataFrame
) -> Block:
    """Pairs as images and strands, with what they may be compared with."""
    mirna, site = strands(pairs["mirna"].tolist()), strands(pairs["site"].tolist())
    others = {branch: strands(background[branch].tolist()) for branch in BRANCHES}
    return Block(
        ids=pairs["id"].tolist(),
        images=images_of(net, mirna, site),
        background=images_of(net, others["mirna"], others["site"]),
        context=Context(
            mirna=mirna,
            site=site,
            encoding=encoding_of(net),
            background=others,
            seed=[seed_of(work.job.seed, id_, "explain") for id_ in pairs["id"]],
        ),
    )
