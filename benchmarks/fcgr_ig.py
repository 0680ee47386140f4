"""Integrated gradients of a pair, both branches, beside Captum's; exit 1 if behind its bound.

Upstream's network at k = 6 with random weights: what it takes does not depend on them. Captum gets
the wrapper that upstream meant, the fixed branch expanded to the rows that vary, and a network
whose weights ask for no gradient. Ours computes the fixed branch once, runs as many steps together
as a processor's caches hold, and has the network as the pipeline places it (channels last). Both
take the same nodes, so the maps are the same. What Captum does with the network in that layout is
measured too (`ig_ratio_captum_channels_last`).

The two take turns; the judged ratio is the median over rounds of seconds of processor time, since
on a machine with other work the wall clock tells of that. The wall's stands beside it.
"""

import argparse
import copy
import json
import os
import sys
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from peers_turns import Scale, in_turns, quarters
from torch import Tensor, nn

from attributome.core.compute import Compute
from attributome.core.targets import Difference
from attributome.sequence.alphabet import strands
from attributome.sequence.evidence.branches import images_of
from attributome.sequence.evidence.pair_gradients import integrated_gradients_by_branch
from attributome.sequence.evidence.references import Context
from attributome.sequence.networks.upstream import TwoBranch
from attributome.sequence.tracks import BRANCHES

BOUNDS = {"ig_ratio_captum": 2.0}
CLOSE = 1e-4
"""How far maps may differ, as a share of the largest value."""

MIRNA, SITE = "TGAGGTAGTAGGTTGTATAGTT", "CAACTCTATACAACACACCTACTATCTCTTGATGCCCTATTGACAGTGAT"


def measure(*, k: int = 6, steps: int = 50, rounds: int = 5, seed: int = 0) -> dict[str, Any]:
    """Captum's seconds over ours, whether the maps agree, and what was measured. One thread."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    net = TwoBranch(k).eval().requires_grad_(False)
    placed = Compute().place(copy.deepcopy(net), 2)
    mirna, site = strands([MIRNA]), strands([SITE])
    images = images_of(net, mirna, site)
    context = Context(mirna=mirna, site=site, encoding=net.encoding)

    def ours() -> list[Tensor]:
        both = images["site"], images["mirna"]
        return [
            *integrated_gradients_by_branch(placed, *both, Difference(1, 0), context, steps=steps)
        ]

    def theirs(net: nn.Module) -> list[Tensor]:
        from captum.attr import IntegratedGradients

        made = []
        for index, branch in enumerate(BRANCHES):
            method = IntegratedGradients(Wrapper(net, index, images[BRANCHES[1 - index]]))
            made.append(method.attribute(images[branch], n_steps=steps))
        return made

    turns = in_turns(
        {
            "ours": ours,
            "captum": lambda: theirs(net),
            "captum_channels_last": lambda: theirs(placed),
        },
        Scale(least=rounds, most=rounds, seconds=0.0),
    )
    apart = [
        float((a - b).abs().max() / b.abs().max())
        for a, b in zip(turns.gave["ours"], turns.gave["captum"], strict=True)
    ]
    ratios = turns.ratios("captum", cpu=True)
    alike = turns.ratios("captum_channels_last", cpu=True)
    return {
        "ig_ratio_captum": round(median(ratios), 2),
        "ig_quartiles_captum": quarters(ratios),
        "ig_ratio_captum_channels_last": round(median(alike), 2),
        "ig_wall_ratio_captum": round(median(turns.ratios("captum")), 2),
        "ig_apart": max(apart),
        "ig_equal": max(apart) <= CLOSE,
        "ig_seconds": {name: round(median(took), 3) for name, took in turns.cpu.items()},
        "ig_setting": {"k": k, "steps": steps, "rounds": rounds, "threads": 1},
        "ig_versions": {name: version(name) for name in ("captum", "torch")},
        "ig_load": round(os.getloadavg()[0], 2),
    }


class Wrapper(nn.Module):
    """The logit difference as a function of one branch, the other expanded to its rows."""

    def __init__(self, net: nn.Module, which: int, fixed: Tensor) -> None:
        super().__init__()
        self.net, self.which, self.fixed = net, which, fixed

    def forward(self, x: Tensor) -> Tensor:
        both = [self.fixed.expand(len(x), -1, -1, -1)]
        both.insert(self.which, x)
        out: Tensor = self.net(*both)
        return out[:, 1] - out[:, 0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    found = measure(rounds=parser.parse_args().rounds)
    print(json.dumps(found, indent=1))
    behind = [name for name, bound in BOUNDS.items() if found[name] < bound]
    sys.exit(bool(behind) or not found["ig_equal"])
