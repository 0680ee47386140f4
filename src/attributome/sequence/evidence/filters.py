"""What the first layers of a branch look for: their weights, where and on which words they fire."""

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor, nn

from attributome.core.errors import UsageError
from attributome.core.inputs import Packed, pack
from attributome.core.probe import layer_output
from attributome.sequence.evidence.cam import suffix_labels
from attributome.sequence.tracks import Branch, MirnaImages, SiteImages

UPSTREAM_FILTERS: dict[Branch, str] = {
    "site": "m_rna_model.conv1.0",
    "mirna": "mi_rna_model.conv1.0",
}
UPSTREAM_BLOCKS: dict[Branch, str] = {"site": "m_rna_model.conv1", "mirna": "mi_rna_model.conv1"}
"""Upstream's first convolution of each branch, and the block behind its ReLU."""


def filters(net: nn.Module, layer: str) -> Float[np.ndarray, "f c h w"]:
    """The weights of a convolution."""
    modules = dict(net.named_modules())
    if not isinstance(found := modules.get(layer), nn.Conv2d):
        named = [name for name, module in modules.items() if isinstance(module, nn.Conv2d)]
        raise UsageError(f"no convolution {layer!r}; this network has {named}")
    weights: np.ndarray = found.weight.detach().cpu().numpy().copy()
    return weights


def activations(
    net: nn.Module, site_images: SiteImages, mirna_images: MirnaImages, *, layer: str
) -> Float[Tensor, "b f m m"]:
    """What a layer of either branch gives for each pair."""
    inputs = [site_images, mirna_images]
    model = Packed(net, tuple(tuple(one.shape[1:]) for one in inputs))
    return layer_output(model, layer, pack(inputs))


def strongest_words(maps: Float[Tensor, "b f m m"], k: int, *, most: int = 5) -> pd.DataFrame:
    """For each filter the cells with the highest mean activation, by their words.

    Columns `filter`, `word` (the common suffix of the cell's k-mers, a whole k-mer where the grid
    is the image's), `mean`, `n` (pairs in which the cell is above that filter's median cell).
    """
    labels = suffix_labels(k, maps.shape[2])
    flat = maps.detach().flatten(2).double().cpu().numpy()
    means, typical = flat.mean(0), np.median(flat, axis=2)
    rows = [
        (number, labels[cell], mean[cell], int((flat[:, number, cell] > typical[:, number]).sum()))
        for number, mean in enumerate(means)
        for cell in np.argsort(-mean, kind="stable")[:most]
    ]
    return pd.DataFrame(rows, columns=["filter", "word", "mean", "n"])
