"""One row per k-mer: what it contributes where it occurs, and whether that follows the label."""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from attributome.core.bootstrap import cluster_bootstrap
from attributome.core.errors import DataError, UsageError
from attributome.sequence.fcgr import kmers
from attributome.sequence.findings.contrasts import contrast


def kmer_table(
    maps: Float[np.ndarray, "n pixels"],
    counts: Shaped[np.ndarray, "n pixels"],
    labels: Int[np.ndarray, " n"] | None,
    groups: Shaped[np.ndarray, " n"],
    *,
    k: int,
    least: int = 10,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """K-mers that at least `least` pairs hold (`counts` is how often, or the FCGR), largest first.

    `n` and `groups` hold it; `mean` and `median` are over the pairs that do, `low` and `high` the
    interval of the mean over groups. `effect` (Cliff's delta, 1 against 0, among pairs that hold
    the k-mer), `p` and `q` come from `contrasts.contrast`, within groups; they are NaN without
    labels, and where no group holds the k-mer under both. Rows go by |mean|.
    """
    if maps.shape[1] != 4**k:
        raise UsageError(f"maps of {maps.shape[1]} pixels are none of {k}-mers, which have {4**k}")
    if not np.isfinite(maps).all():
        raise DataError("a map holds values that are not finite; its k-mers cannot be told apart")
    chosen = np.flatnonzero((counts > 0).sum(0) >= least)
    held = np.where(counts[:, chosen] > 0, maps[:, chosen], np.nan)
    names = [kmers(k)[place] for place in chosen]
    table = cluster_bootstrap(held, groups, draws=draws, seed=seed)
    table.insert(0, "kmer", names)
    table.insert(2, "median", np.nanmedian(held, 0) if len(chosen) else np.empty(0))
    effects = pd.DataFrame({"name": names}).assign(effect=np.nan, p=np.nan, q=np.nan)
    if labels is not None:
        # a k-mer that is held and counts for nothing is a carrier all the same, so least=0
        found = contrast(held, names, labels, groups, draws=draws, seed=seed, least=0)
        found = found.set_index("name").reindex(names)
        effects = effects.assign(
            effect=found["cliffs_delta"].to_numpy(),
            p=found["p"].to_numpy(),
            q=found["q"].to_numpy(),
        )
    table = pd.concat([table, effects.drop(columns="name")], axis=1)
    order = np.argsort(-table["mean"].abs().to_numpy(), kind="stable")
    table = table.iloc[order].reset_index(drop=True)
    return table[["kmer", "n", "groups", "mean", "median", "low", "high", "effect", "p", "q"]]
