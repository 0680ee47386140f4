"""How much one score says of another over its whole range: DREVI densities and DREMI.

A correlation asks for a line and follows where most fields lie. DREVI divides the joint density of
two scores by that of the first, so that rare values speak as loudly as common ones, and DREMI is
the mutual information of what results (Krishnaswamy et al. 2014; by nearest neighbours van Dijk et
al. 2018). It is above 0 for independent scores too, and the more so the fewer there are: judge it
by its null.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer, Real, Shaped
from scipy.spatial import cKDTree
from scipy.stats import t as student

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng

Scores = Real[np.ndarray, " _"]
Names = Shaped[np.ndarray, " _"]
Points = Float[np.ndarray, " _"]
Density = Callable[[Points, Points], Float[np.ndarray, "y x"]]

ROOM = 1e-10
"""Keeps the density finite where k scores are equal."""
MOST_PARTS = 50
"""Parts that are left out in turn for an interval: whole units are dealt to them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dremi:
    """What x says of y, in bits, over `n` pairs of which none is undefined.

    `dremi` is the mutual information of `drevi`, the density of y for each x `(y, x)`, every
    column a distribution; `mi` that of `joint`, the density itself. `edges_x` and `edges_y` are
    the edges of the bins in the units of the scores. `undefined` pairs were left out.

    `chance` is the mean of DREMI over `draws` permutations of y and `p` how often one is as high,
    (1 + as high) / (1 + draws); NaN without draws. `low` and `high` come from leaving out parts in
    turn, and never go below 0; NaN below three units.
    """

    dremi: float
    mi: float
    low: float
    high: float
    chance: float
    p: float
    n: int
    undefined: int
    units: int
    drevi: Float[np.ndarray, "y x"]
    joint: Float[np.ndarray, "y x"]
    edges_x: Float[np.ndarray, " _"]
    edges_y: Float[np.ndarray, " _"]

    def row(self) -> dict[str, float | int]:
        """The numbers of a table's row."""
        names = ("dremi", "mi", "low", "high", "chance", "p", "n", "undefined", "units")
        return {name: getattr(self, name) for name in names}


def dremi(
    x: Scores,
    y: Scores,
    *,
    method: str = "kde",
    bandwidth: float = 0.5,
    k: int = 5,
    bins: int = 20,
    mesh: int = 20,
    units: Names | None = None,
    draws: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> Dremi:
    """DREMI of y given x, with its null and its interval.

    Scores are z-scored, and their density is taken on a grid of (mesh + 1) bins + 1 points along
    each axis from the smallest to the largest score: by Gaussians of width `bandwidth`, or as
    k / (π r²) with r the distance to the k-th nearest score. Grid points are summed within each of
    bins × bins, by nearest neighbours without the points on an edge. DREMI is the entropy of the
    mean of the columns of DREVI minus the mean of their entropies.

    `units` names what is independent, such as the field or the well of each pair (else every pair).
    The null permutes y among whole units where all hold equally many pairs, in their order, and
    otherwise among pairs, which is refused where some unit holds several: aggregate first.
    The interval is dremi ± Student's t times the jackknife's standard error over units, dealt to
    at most 50 parts. It is of the mean estimate from so many pairs, chance included: for 12 to 150
    pairs of a bent line it covered that in 87 to 91 % of simulations by Gaussians, and in 97 to
    98 % by nearest neighbours, instead of 95 %.
    """
    _check(x, y, bins, mesh, draws, confidence)
    there = ~(np.isnan(x) | np.isnan(y))
    a, b = np.asarray(x[there], np.float64), np.asarray(y[there], np.float64)
    of = _codes(units, there)
    for name, values in (("x", a), ("y", b)):
        if len(values) < 2 or values.min() == values.max():
            raise DataError(f"{len(values)} scores {name} that are defined do not vary")
    if method == "kde":
        if not bandwidth > 0:
            raise UsageError(f"a bandwidth of {bandwidth} has no density: give one above 0")
        density: Density = _Gaussians(bandwidth, bins, mesh)
    elif method == "knn":
        if not 1 <= k < len(a):
            raise UsageError(
                f"the {k} nearest of {len(a)} pairs: k is from 1 to below their number"
            )
        density = _Neighbours(k, bins, mesh)
    else:
        raise UsageError(f"no method {method!r}; there are kde and knn")
    joint = density(a, b)
    value, mi, drevi = _information(joint)
    null = _null(a, b, of, density, draws, seed) if draws else np.array([])
    low, high = _interval(a, b, of, density, value, confidence, seed)
    return Dremi(
        dremi=value,
        mi=mi,
        low=low,
        high=high,
        chance=float(null.mean()) if draws else float("nan"),
        p=float((1 + (null >= value - 1e-12).sum()) / (1 + draws)) if draws else float("nan"),
        n=len(a),
        undefined=int((~there).sum()),
        units=int(of.max()) + 1,
        drevi=drevi,
        joint=joint,
        edges_x=np.linspace(a.min(), a.max(), bins + 1),
        edges_y=np.linspace(b.min(), b.max(), bins + 1),
    )


@dataclass(frozen=True, slots=True)
class _Gaussians:
    """A product of Gaussians summed over a grid is a product of what they sum to on each axis."""

    bandwidth: float
    bins: int
    mesh: int

    def __call__(self, x: Points, y: Points) -> Float[np.ndarray, "y x"]:
        return _shares(self.axis(y) @ self.axis(x).T)

    def axis(self, values: Points) -> Float[np.ndarray, "b n"]:
        z = _scores(values)
        step = self.mesh + 1
        grid = np.linspace(z.min(), z.max(), step * self.bins + 1)
        heights = np.exp(-0.5 * ((grid[:, None] - z) / self.bandwidth) ** 2)
        # bins are closed on the left, and the last on both sides
        sums: np.ndarray = np.add.reduceat(heights[:-1], np.arange(0, len(grid) - 1, step), axis=0)
        sums[-1] += heights[-1]
        return sums


@dataclass(frozen=True, slots=True)
class _Neighbours:
    k: int
    bins: int
    mesh: int

    def __call__(self, x: Points, y: Points) -> Float[np.ndarray, "y x"]:
        a, b = _scores(x), _scores(y)
        inner_x, inner_y = self.inner(a), self.inner(b)
        grid = np.stack(np.meshgrid(inner_x, inner_y), axis=-1).reshape(-1, 2)
        tree = cKDTree(np.stack([a, b], axis=1))
        far = tree.query(grid, k=[self.k])[0]
        heights = self.k / (np.pi * far**2 + ROOM)
        return _shares(heights.reshape(self.bins, self.mesh, self.bins, self.mesh).sum((1, 3)))

    def inner(self, z: Points) -> Points:
        """Grid points that are on no edge of a bin, told by their number and not by their value."""
        step = self.mesh + 1
        grid = np.linspace(z.min(), z.max(), step * self.bins + 1)
        found: np.ndarray = grid[np.arange(len(grid)) % step > 0]
        return found


def _information(joint: Float[np.ndarray, "y x"]) -> tuple[float, float, np.ndarray]:
    """DREMI, mutual information and DREVI of a joint distribution; base 2."""
    share = joint.sum(0)
    # a column whose density is too small for a number says nothing, and is no distribution
    some = share > 0
    drevi = np.full(joint.shape, np.nan)
    np.divide(joint, share, out=drevi, where=some)
    columns, inside = drevi[:, some], share[some]
    entropies = _entropy(columns)
    mi = float(_entropy(joint.sum(1)[:, None])[0] - inside @ entropies)
    even = float(_entropy(columns.mean(1)[:, None])[0] - entropies.mean())
    return max(0.0, even), max(0.0, mi), drevi


def _entropy(columns: Float[np.ndarray, "y x"]) -> Float[np.ndarray, " x"]:
    logs = np.zeros_like(columns)
    np.log2(columns, out=logs, where=columns > 0)
    found: np.ndarray = -(columns * logs).sum(0)
    return found


def _null(
    x: Points, y: Points, of: Integer[np.ndarray, " _"], density: Density, draws: int, seed: int
) -> Points:
    """DREMI of y that belong to other units."""
    order = np.argsort(of, kind="stable")
    units = int(of.max()) + 1
    if len(x) % units or (np.bincount(of) != len(x) // units).any():
        sizes = np.bincount(of)
        raise DataError(
            f"units hold {sizes.min()} to {sizes.max()} pairs, so that their scores cannot change "
            f"places: aggregate to one pair for each unit, or ask for no draws"
        )
    members = order.reshape(units, -1)
    generator = rng(seed, "DREMI of permuted units")
    found = np.empty(draws)
    kernels = (density.axis(x), density.axis(y)) if isinstance(density, _Gaussians) else None
    for draw in range(draws):
        other = np.empty(len(x), np.int64)
        other[members] = members[generator.permutation(units)]
        if kernels is None:
            joint = density(x, y[other])
        else:  # neither grid nor scores change when y are permuted
            joint = _shares(kernels[1][:, other] @ kernels[0].T)
        found[draw] = _information(joint)[0]
    return found


def _interval(
    x: Points,
    y: Points,
    of: Integer[np.ndarray, " _"],
    density: Density,
    value: float,
    confidence: float,
    seed: int,
) -> tuple[float, float]:
    units = int(of.max()) + 1
    if units < 3:
        return float("nan"), float("nan")
    parts = min(units, MOST_PARTS)
    dealt = (rng(seed, "parts left out").permutation(units) % parts)[of]
    without = []
    for part in range(parts):
        kept = dealt != part
        if any(len(np.unique(values[kept])) < 2 for values in (x, y)):
            return float("nan"), float("nan")  # one unit holds all that varies
        if isinstance(density, _Neighbours) and kept.sum() < density.k:
            return float("nan"), float("nan")
        without.append(_information(density(x[kept], y[kept]))[0])
    spread = np.array(without) - np.mean(without)
    error = np.sqrt((parts - 1) / parts * (spread**2).sum())
    reach = float(student.ppf((1 + confidence) / 2, parts - 1) * error)
    return max(0.0, value - reach), value + reach


def _scores(values: Points) -> Points:
    centred = values - values.mean()
    found: np.ndarray = centred / np.sqrt((centred**2).mean())
    return found


def _shares(density: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "y x"]:
    found: np.ndarray = density / density.sum()
    return found


def _codes(units: Names | None, there: np.ndarray) -> Integer[np.ndarray, " _"]:
    if units is None:
        return np.arange(int(there.sum()))
    if len(units) != len(there):
        raise DataError(f"{len(there)} pairs came with {len(units)} units: each needs one")
    return np.unique(units[there], return_inverse=True)[1]


def _check(
    x: Real[np.ndarray, "..."],
    y: Real[np.ndarray, "..."],
    bins: int,
    mesh: int,
    draws: int,
    confidence: float,
) -> None:
    if len(x) != len(y):
        raise DataError(f"{len(x)} scores x came with {len(y)} scores y: give pairs")
    if np.isinf(x).any() or np.isinf(y).any():
        raise DataError("some scores are infinite: leave such pairs out, and report how many")
    if bins < 2 or mesh < 1:
        raise UsageError(f"{bins} bins and {mesh} points between their edges; such as 20 and 20")
    if draws < 0 or not 0 < confidence < 1:
        raise UsageError(f"{draws} draws and confidence {confidence}; such as 200 and 0.95")
