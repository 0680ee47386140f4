"""What the upstream's interpretability script is asked for, and what its documented tree shows.

Its maps are of one branch while the other keeps its image, and so are these; the target is z1 - z0
for every pair, and noise stays among images.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attributome.pipeline.fcgr.choosing import background_pairs
from attributome.pipeline.fcgr.found import found
from attributome.pipeline.fcgr.methods import REFERENCE, TARGET, asked_methods
from attributome.pipeline.fcgr.network import network
from attributome.pipeline.fcgr.work import NETWORK, PairWork
from attributome.sequence.evidence.branches import images_of
from attributome.sequence.evidence.cam import UPSTREAM_LAYERS, pair_cam
from attributome.sequence.evidence.corrections import per_share
from attributome.sequence.evidence.filters import (
    UPSTREAM_BLOCKS,
    UPSTREAM_FILTERS,
    activations,
    filters,
)
from attributome.sequence.findings.clusters import regions
from attributome.sequence.findings.interaction import outer_product
from attributome.sequence.networks.upstream import TwoBranch
from attributome.sequence.tracks import Branch, pixel_map

NAMES = {
    "integrated_gradients_alone": "IntegratedGradients",
    "saliency_alone": "Saliency",
    "deep_lift_alone": "DeepLift",
    "expected_gradients_alone": "GradientSHAP",
    "smooth_grad_simplex": "SmoothGrad",
    "deep_shap_alone": "SHAP",
}
"""Ours, and what the upstream calls them."""
CORRECTED = "IG_Corrected"
ORDER: dict[Branch, str] = {"mirna": "mirna", "site": "mrna"}
"""Branches in the upstream's order, with its names."""


def as_upstream(samples: int | None, background: int | None) -> dict[str, Any]:
    """Changes of a job: pairs drawn from the whole table, and the upstream's methods."""
    samples = 5 if samples is None else samples
    return {
        "data.split": "none",
        "data.k": 6,
        "explain.part": "all",
        "explain.pairs": samples,
        "explain.interactions": samples,
        "explain.background": 20 if background is None else background,
        "explain.methods": {name: {} for name in NAMES},
    }


def upstream_tree_of(work: PairWork) -> dict[str, Any]:
    """The keywords of `report.fcgr.upstream.upstream_tree`; samples are keywords of its samples."""
    explained, k = found(work), work.job.data.k
    net = network(work)
    images = images_of(net, explained.strands("mirna"), explained.strands("site"))
    maps = {
        name: {branch: explained.maps(branch, name) for branch in ORDER}
        for name in asked_methods(work.job.explain.methods)
        if name != REFERENCE
    }
    shown: dict[str, dict[Branch, np.ndarray]] = {NAMES.get(n, n): maps[n] for n in maps}
    flat = {branch: pixel_map(images[branch]).cpu().numpy() for branch in ORDER}
    first = next(iter(NAMES))
    if first in maps:
        shown[CORRECTED] = {b: _corrected(maps[first][b], flat[b], k) for b in ORDER}
    cams = _cams(net, images) if isinstance(net, TwoBranch) else None
    place = {id_: row for row, id_ in enumerate(work.pairs["id"])}
    samples = [
        {
            "index": place[explained.pairs["id"][row]],
            "images": tuple(_square(flat[branch][row], k) for branch in ORDER),
            "maps": {
                name: tuple(_square(both[branch][row], k) for branch in ORDER)
                for name, both in shown.items()
            },
            "cams": cams and tuple(cams[branch][row] for branch in ORDER),
            "clusters": _clusters(next(iter(shown.values())), flat, row, k),
            "interaction": _rank_one(next(iter(shown.values())), row),
        }
        for row in range(len(explained.pairs))
    ]
    more = _first_layer(net, images) if isinstance(net, TwoBranch) else {}
    return {
        "samples": samples,
        "k": k,
        "checkpoint": work.job.network.source or str(work.run.root / NETWORK),
        "background": len(background_pairs(work)),
        **more,
    }


def _cams(net: TwoBranch, images: dict[Branch, Tensor]) -> dict[Branch, np.ndarray]:
    """What speaks for interaction, as a share of each map's maximum."""
    found = pair_cam(net, images["site"], images["mirna"], TARGET, layers=UPSTREAM_LAYERS)
    made = {}
    for branch, cells in found.items():
        positive = cells[:, 0].clamp(min=0)
        top = positive.flatten(1).amax(1).clamp(min=torch.finfo(positive.dtype).tiny)
        made[branch] = (positive / top[:, None, None]).cpu().numpy()
    return made


def _first_layer(net: TwoBranch, images: dict[Branch, Tensor]) -> dict[str, Any]:
    """Weights of the first convolutions, and what they give for the first pair."""
    one = [images[branch][:1] for branch in ("site", "mirna")]
    return {
        "filters": {n: filters(net, UPSTREAM_FILTERS[b])[:, 0] for b, n in ORDER.items()},
        "activations": {
            name: activations(net, *one, layer=UPSTREAM_BLOCKS[branch])[0].cpu().numpy()
            for branch, name in ORDER.items()
        },
    }


def _corrected(
    maps: Float[np.ndarray, "n pixels"], images: Float[np.ndarray, "n pixels"], k: int
) -> Float[np.ndarray, "n pixels"]:
    both = [torch.from_numpy(one).view(-1, 1, 1 << k, 1 << k) for one in (maps, images)]
    corrected: np.ndarray = per_share(both[0], both[1]).flatten(1).numpy()
    return corrected


def _clusters(
    maps: dict[Branch, np.ndarray], images: dict[Branch, np.ndarray], row: int, k: int
) -> tuple[Any, ...]:
    made = [regions(_square(maps[b][row], k), _square(images[b][row], k)) for b in ORDER]
    return tuple((one.labels, one.centres) for one in made)


def _rank_one(maps: dict[Branch, np.ndarray], row: int) -> Float[np.ndarray, "r s"]:
    one = slice(row, row + 1)
    blocks = min(64, maps["site"].shape[1])
    found: np.ndarray = outer_product(maps["site"][one], maps["mirna"][one], blocks=blocks)[0]
    return found


def _square(flat: np.ndarray, k: int) -> Float[np.ndarray, "n n"]:
    return flat.reshape(1 << k, 1 << k).astype(np.float64)
