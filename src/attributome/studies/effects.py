"""How far apart two groups of units are: difference, Hedges' g and Cliff's delta, with intervals.

With blocks (plates) both are of units in one block: a plate that is higher changes neither.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import chi2
from scipy.stats import t as student

Values = Float[np.ndarray, " n"]
First = Bool[np.ndarray, " n"]
Blocks = Integer[np.ndarray, " n"]
"""The number of each unit's block, from 0."""

LEAST = 3
"""Units that each group must have for an interval."""
QUANTILES = 2000
NAMES = (
    *("difference", "difference_low", "difference_high"),
    *("hedges_g", "hedges_low", "hedges_high"),
    *("cliffs_delta", "cliffs_low", "cliffs_high"),
)


def effects(
    values: Values, first: First, blocks: Blocks, *, confidence: float = 0.95
) -> dict[str, float | int]:
    """The first group minus the second: `blocks` that hold both, and three effects with ends.

    `difference` is of the means, fitted beside a level for each block, with Student's interval.
    `hedges_g` is it over the standard deviation that the fit leaves, times Hedges' (1981)
    correction for few units, with the interval from noncentral t, which takes units as normal.
    `cliffs_delta` is P(first above second) − P(below) in one block, averaged with the weights
    n1 n2 / (n1 + n2 + 1) (van Elteren 1960); its interval is Feng and Cliff's (2004), with the
    variance by leaving out each unit in turn and Student's quantiles. All NaN without a block that
    holds both; the ends NaN where a group has fewer than three units in such blocks.
    """
    none = dict.fromkeys(NAMES, math.nan)
    sizes = _sizes(first, blocks)
    both = np.logical_and(sizes[0] > 0, sizes[1] > 0)
    keep = both[blocks] if len(blocks) else np.zeros(0, bool)
    found: dict[str, float | int] = {"blocks": int(both.sum())} | none
    if not both.any():
        return found
    values, first = values[keep], first[keep]
    blocks = np.unique(blocks[keep], return_inverse=True)[1]
    enough = min(int(first.sum()), int((~first).sum())) >= LEAST
    return (
        found
        | _means(values, first, blocks, confidence, enough)
        | _cliff(values, first, blocks, confidence, enough)
    )


def _sizes(first: First, blocks: Blocks) -> Integer[np.ndarray, "2 _"]:
    most = int(blocks.max(initial=-1)) + 1
    return np.stack([np.bincount(blocks[rows], minlength=most) for rows in (first, ~first)])


def _means(
    values: Values, first: First, blocks: Blocks, confidence: float, enough: bool
) -> dict[str, float]:
    n1, n2 = _sizes(first, blocks)
    weight = n1 * n2 / (n1 + n2)
    means = [np.bincount(blocks[rows], weights=values[rows]) for rows in (first, ~first)]
    gap = float((weight * (means[0] / n1 - means[1] / n2)).sum() / weight.sum())
    fitted = values - gap * first
    level = np.bincount(blocks, weights=fitted) / np.bincount(blocks)
    freedom = len(values) - len(n1) - 1
    told = {"difference": gap}
    power = float(((fitted - level[blocks]) ** 2).sum())
    # what rounding leaves of equal values is no spread
    if freedom < 1 or power <= 1e-24 * float((values**2).sum()):
        return told
    sd, root = math.sqrt(power / freedom), math.sqrt(float(weight.sum()))
    told["hedges_g"] = gap / sd * (1 - 3 / (4 * freedom - 1))
    if enough:
        reach = float(student.ppf((1 + confidence) / 2, freedom)) * sd / root
        told |= {"difference_low": gap - reach, "difference_high": gap + reach}
        ends = _noncentral(gap / sd * root, freedom, confidence)
        told |= {"hedges_low": ends[0] / root, "hedges_high": ends[1] / root}
    return told


def _noncentral(t: float, freedom: int, confidence: float) -> tuple[float, float]:
    """The noncentralities for which t is just as high, and just as low, as is still believed.

    The chance of a lower t is a mean over deviations, at so many of their quantiles; SciPy's has no
    value where it is small.
    """
    tail = (1 - confidence) / 2
    share = (np.arange(QUANTILES) + 0.5) / QUANTILES
    middles = t * np.sqrt(chi2.ppf(share, freedom) / freedom)

    def end(target: float) -> float:
        ends = float(middles.min()) - 9, float(middles.max()) + 9
        return float(brentq(lambda ncp: float(ndtr(middles - ncp).mean()) - target, *ends))

    return end(1 - tail), end(tail)


def _cliff(
    values: Values, first: First, blocks: Blocks, confidence: float, enough: bool
) -> dict[str, float]:
    above = [np.zeros((0, 0))] * (int(blocks.max()) + 1)
    for block in range(len(above)):
        inside = blocks == block
        one, two = values[inside & first], values[inside & ~first]
        above[block] = np.sign(one[:, None] - two)
    delta = _weighed([(float(m.sum()), *m.shape) for m in above])
    told = {"cliffs_delta": delta}
    if not enough:
        return told
    error = math.sqrt(_jackknifed(above))
    freedom = len(values) - len(above) - 1
    z = float(student.ppf((1 + confidence) / 2, max(1, freedom)))
    if error == 0 and abs(delta) == 1:
        # Feng and Cliff (2004), for groups that do not overlap
        n = min(int(first.sum()), int((~first).sum()))
        inner = (n - z * z) / (n + z * z)
        ends = (inner, 1.0) if delta > 0 else (-1.0, -inner)
    else:
        middle = delta - delta**3
        reach = z * error * math.sqrt((1 - delta**2) ** 2 + (z * error) ** 2)
        bottom = 1 - delta**2 + (z * error) ** 2
        ends = max(-1.0, (middle - reach) / bottom), min(1.0, (middle + reach) / bottom)
    return told | {"cliffs_low": ends[0], "cliffs_high": ends[1]}


def _weighed(parts: list[tuple[float, int, int]]) -> float:
    """Mean over blocks of the sum of signs over n1 n2, by van Elteren's weights."""
    total = sum(n1 * n2 / (n1 + n2 + 1) for _, n1, n2 in parts)
    return sum(signs / (n1 + n2 + 1) for signs, n1, n2 in parts) / total


def _jackknifed(above: list[np.ndarray]) -> float:
    """Variance of Cliff's delta: units of either group left out in turn, both added."""
    whole = [(float(m.sum()), *m.shape) for m in above]
    variance = 0.0
    for axis in (0, 1):
        without = []
        for block, signs in enumerate(above):
            n1, n2 = signs.shape[0] - (axis == 0), signs.shape[1] - (axis == 1)
            for lost in signs.sum(1 - axis):
                rest = (whole[block][0] - float(lost), n1, n2)
                without.append(_weighed([*whole[:block], rest, *whole[block + 1 :]]))
        n = len(without)
        variance += (n - 1) / n * float(((np.array(without) - np.mean(without)) ** 2).sum())
    return variance
