"""Several methods on one field: whether they agree, add up, and where their evidence lies."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from attributome.core.arrays import top_share
from attributome.core.types import Target
from attributome.explain import COMPLETE
from attributome.metrics.agreement import rank_correlation
from attributome.metrics.fidelity import completeness
from attributome.metrics.localisation import relevance_mass
from attributome.pipeline.fields import Field
from attributome.pipeline.looking import seen_at_once
from attributome.pipeline.work import Subject, Work

Row = dict[str, Any]


def agreements(ranks: Mapping[str, Tensor], area: float) -> list[Row]:
    """Every pair of methods: rank correlation of all pixels, and overlap of the top ones."""
    tops = {name: top_share(maps, area).bool() for name, maps in ranks.items()}
    rows = []
    for a, b in combinations(sorted(ranks), 2):
        both, either = (tops[a] & tops[b]).sum().item(), (tops[a] | tops[b]).sum().item()
        rows.append(
            {
                "a": a,
                "b": b,
                "rank": rank_correlation(ranks[a], ranks[b]).item(),
                "overlap": both / either if either else float("nan"),
            }
        )
    return rows


def disagreement(ranks: Mapping[str, Tensor]) -> Tensor:
    """Where methods differ: the spread of each pixel's rank over methods, 0 to 1, `(1, *s)`.

    The ranks of a map run evenly from 0 to 1; the spread is twice their standard deviation.
    """
    shares = []
    for maps in ranks.values():
        flat = maps.flatten()
        order = flat.argsort(stable=True)
        rank = torch.empty(len(flat))
        rank[order] = torch.linspace(0, 1, len(flat))
        shares.append(rank.view_as(maps[0]))
    return (2 * torch.stack(shares).std(0, correction=0)).clamp_max(1)


def evidence(maps: Mapping[str, Tensor], labels: Tensor, regions: Mapping[str, int]) -> list[Row]:
    """How much of the positive evidence of each signed map lies in each region."""
    rows = []
    for region, label in regions.items():
        inside = labels == label
        covers = inside.float().mean().item()
        for name, signed in maps.items():
            share = relevance_mass(signed, inside).item()
            rows.append({"method": name, "region": region, "share": share, "area": covers})
    return rows


def checks(
    work: Work, study: Subject, field: Field, target: Target, maps: Mapping[str, Tensor]
) -> list[Row]:
    """Completeness of the methods that promise to add up, from the baseline that they have.

    A field that was seen in windows has no one sum to compare with, so it gives no row.
    """
    if seen_at_once(work, study, field) != field.sample.space:
        return []
    x, rows = work.compute.move(field.x), []
    for name, params in work.job.explain.methods.items():
        if name not in COMPLETE:
            continue
        baseline = params.get("baseline", 0.0)
        error = completeness(work.compute.move(maps[name]), study.model, x, target, baseline)
        rows.append({"method": name, "completeness_error": error.item()})
    return rows
