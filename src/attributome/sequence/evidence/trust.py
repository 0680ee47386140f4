"""Whether tracks of pairs can be believed: each check gives one number per pair, and says its n.

What is undefined for a pair is NaN, to be counted and not averaged; `over_groups` counts it, and
gives the median with an interval over miRNAs, since pairs of one miRNA are no independent pairs.
Every check can be asked of `permuted` tracks as well: what a random attribution of the same values
reaches is what nothing reaches. Curves that replace letters are in `replacing`.
"""

import copy
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from attributome.core.bootstrap import group_weights
from attributome.core.draws import Seeds, normal
from attributome.core.errors import UsageError
from attributome.core.seeds import rng, seed_of
from attributome.sequence.tracks import BRANCHES, Branch, Track, varies

Numbers = Float[np.ndarray, " b"]
Tracks = Mapping[Branch, np.ndarray]


def completeness(total: Numbers, gap: Numbers) -> Numbers:
    """How far the sum of the maps is from what it should be, as a share of that (NaN where 0).

    `total` is the sum over both maps and `gap` the target of the pair minus that of the method's
    reference: the empty image, or the mean over its shuffles.
    """
    found: np.ndarray = np.full(len(gap), np.nan)
    np.divide(np.abs(total - gap), np.abs(gap), out=found, where=gap != 0)
    return found


def agreement(tracks: Track, reference: Track) -> Numbers:
    """Spearman's correlation of two tracks of each pair, such as a method's and mutagenesis's.

    Over the letters at which both are defined; NaN where fewer than 3 are, or one track is
    constant.
    """
    from scipy.stats import rankdata

    found = np.full(len(tracks), np.nan)
    for i, (one, other) in enumerate(zip(tracks, reference, strict=True)):
        there = np.isfinite(one) & np.isfinite(other)
        a, b = rankdata(one[there]), rankdata(other[there])
        if there.sum() >= 3 and np.ptp(a) and np.ptp(b):
            found[i] = np.corrcoef(a, b)[0, 1]
    return found


def agreement_of_pairs(tracks: Tracks, reference: Tracks) -> pd.DataFrame:
    """`agreement` of each branch, and of all letters of both together, as columns."""
    found = pd.DataFrame()
    for branch in BRANCHES:
        found[branch] = agreement(tracks[branch], reference[branch])
    whole = [np.concatenate([one[branch] for branch in BRANCHES], 1) for one in (tracks, reference)]
    return found.assign(both=agreement(*whole))


def seed_enrichment(
    tracks: Float[np.ndarray, "b length"],
    starts: Int[np.ndarray, " b"],
    stops: Int[np.ndarray, " b"],
) -> pd.DataFrame:
    """The share of a site's attribution in its seed match, beside the match's share of letters.

    Columns `positive` and `absolute` (shares of the positive and of the absolute attribution),
    `length`, and both over `length` as `positive_fold` and `absolute_fold`: 1 is chance. All NaN
    for pairs without a match; a share is NaN where there is nothing to share.
    """
    place = np.arange(tracks.shape[1])
    inside = (place >= starts[:, None]) & (place < stops[:, None])
    defined = np.isfinite(tracks)
    matched = stops > starts
    table = {}
    for name, weight in {
        "positive": np.where(defined, np.maximum(tracks, 0), 0),
        "absolute": np.where(defined, np.abs(tracks), 0),
        "length": defined.astype(np.float64),
    }.items():
        total = weight.sum(1, dtype=np.float64)
        share = np.full(len(tracks), np.nan)
        held = np.where(inside, weight, 0).sum(1, dtype=np.float64)
        np.divide(held, total, out=share, where=(total > 0) & matched)
        table[name] = share
    found = pd.DataFrame(table)
    for name in ("positive", "absolute"):
        found[f"{name}_fold"] = found[name] / found["length"]
    return found


def permuted(tracks: Tracks, seeds: Seeds) -> dict[Branch, np.ndarray]:
    """The same values at random letters of the same sequence: an attribution that knows nothing."""
    found = dict[Branch, np.ndarray]()
    for branch, values in tracks.items():
        each = [seeds] * len(values) if isinstance(seeds, int) else list(seeds)
        if len(each) != len(values):
            raise UsageError(f"{len(each)} seeds were given for {len(values)} pairs")
        found[branch] = values.copy()
        for one, seed in zip(found[branch], each, strict=True):
            there = np.isfinite(one)
            one[there] = rng(seed, "permuted", branch).permutation(one[there])
    return found


def parameter_randomisation(
    net: nn.Module,
    explain: Callable[[nn.Module], Tracks],
    *,
    stepwise: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Agreement of the tracks with those of a copy of the network whose weights are random.

    Each parameter gets normal values of its own mean and spread; one of equal values and running
    statistics stay. Layers go from the output down (Adebayo et al. 2018): all at once, or
    `stepwise`, one more after the other. Columns `layers` (how many are random), `layer` (the
    last), `pair`, `branch` and `agreement`, 1 where nothing changed; a random network's constant
    track has agreement 0, and NaN stands where the track itself is constant.
    """
    names = [name for name, module in net.named_modules() if _own(module)][::-1]
    if not names:
        raise UsageError(f"a {type(net).__name__} has no parameters to randomise")
    before, twin = explain(net), copy.deepcopy(net)
    modules, parts = dict(twin.named_modules()), list[pd.DataFrame]()
    for done, name in enumerate(names, start=1):
        generator = torch.Generator().manual_seed(seed_of(seed, "randomise", name))
        with torch.no_grad():
            for parameter in _own(modules[name]):
                spread, mean = torch.std_mean(parameter, correction=0)
                parameter.copy_(mean + spread * normal(parameter, generator))
        if stepwise or done == len(names):
            after = explain(twin)
            parts += [
                _step(done, name, branch, before[branch], after[branch]) for branch in BRANCHES
            ]
    return pd.concat(parts, ignore_index=True)


def over_groups(
    values: Mapping[str, Numbers],
    groups: Shaped[np.ndarray, " b"],
    *,
    draws: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Median over pairs of each number, with its percentile interval over groups drawn again.

    Columns `name`, `median`, `low`, `high`, `n` (pairs with a value), `undefined` (pairs without)
    and `groups` (those with a value). Ends are NaN with fewer than 2 groups.
    """
    index, weights = group_weights(groups, draws=draws, seed=seed)
    rows = []
    for name, numbers in values.items():
        there = np.isfinite(numbers)
        some, count = numbers[there], len(np.unique(groups[there]))
        median, ends = np.nan, np.full(2, np.nan)
        if len(some):
            median = float(np.median(some))
        if count >= 2:
            again = _medians(some, weights[:, index[there]])
            tail = (1 - confidence) / 2
            ends = np.nanquantile(again, [tail, 1 - tail])
        rows.append((name, median, *ends, int(there.sum()), int((~there).sum()), count))
    columns = ["name", "median", "low", "high", "n", "undefined", "groups"]
    return pd.DataFrame(rows, columns=columns)


def _medians(
    values: Float[np.ndarray, " n"], weights: Int[np.ndarray, "draws n"]
) -> Float[np.ndarray, " draws"]:
    """The median of values that each draw holds so many times; NaN for a draw that holds none."""
    order = np.argsort(values, kind="stable")
    ordered, upto = values[order], weights[:, order].cumsum(1)
    total = upto[:, -1:]
    low = (upto > (total - 1) // 2).argmax(1)
    high = (upto > total // 2).argmax(1)
    return np.where(total[:, 0] > 0, (ordered[low] + ordered[high]) / 2, np.nan)


def _step(
    done: int, name: str, branch: Branch, before: np.ndarray, after: np.ndarray
) -> pd.DataFrame:
    kept = agreement(before, after)
    return pd.DataFrame(
        {
            "layers": done,
            "layer": name,
            "pair": np.arange(len(before)),
            "branch": branch,
            "agreement": np.where(varies(before) & ~varies(after), 0.0, kept),
        }
    )


def _own(module: nn.Module) -> Sequence[Tensor]:
    return list(module.parameters(recurse=False))
