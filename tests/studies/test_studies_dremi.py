"""DREMI is that of plain loops and of closed forms; its null and interval keep what they say."""

import math

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.studies.dremi import dremi


def loops(x, y, *, method="kde", bandwidth=0.5, k=5, bins=20, mesh=20):
    """The definition, point by point."""
    n, step = len(x), mesh + 1
    axes = []
    for values in (x, y):
        mean = sum(values) / n
        sd = math.sqrt(sum((v - mean) ** 2 for v in values) / n)
        z = [(v - mean) / sd for v in values]
        low, high, count = min(z), max(z), step * bins
        axes.append((z, [low + i * (high - low) / count for i in range(count + 1)]))
    (a, grid_x), (b, grid_y) = axes
    joint = [[0.0] * bins for _ in range(bins)]
    for i, gy in enumerate(grid_y):
        for j, gx in enumerate(grid_x):
            if method == "knn" and (i % step == 0 or j % step == 0):
                continue
            squares = [(gx - u) ** 2 + (gy - v) ** 2 for u, v in zip(a, b, strict=True)]
            if method == "kde":
                height = sum(math.exp(-s / (2 * bandwidth**2)) for s in squares)
            else:
                height = k / (math.pi * sorted(squares)[k - 1] + 1e-10)
            joint[min(i // step, bins - 1)][min(j // step, bins - 1)] += height
    total = sum(map(sum, joint))
    joint = [[v / total for v in row] for row in joint]
    shares = [sum(row[j] for row in joint) for j in range(bins)]
    drevi = [[row[j] / shares[j] for j in range(bins)] for row in joint]

    def entropy(p):
        return -sum(v * math.log2(v) for v in p if v > 0)

    entropies = [entropy([row[j] for row in drevi]) for j in range(bins)]
    mi = entropy([sum(row) for row in joint]) - sum(
        s * h for s, h in zip(shares, entropies, strict=True)
    )
    mean = sum(map(sum, drevi)) / bins**2
    even = [sum(row) / bins for row in drevi]
    return entropy(even) - mean * sum(entropies), mi, drevi


def scores(n, kind="bent", seed=0):
    draw = np.random.default_rng(seed)
    x = draw.standard_normal(n)
    signal = {"bent": x**2, "none": np.zeros(n), "line": x}[kind]
    return x, signal + 0.5 * draw.standard_normal(n)


@pytest.mark.parametrize("method", ["kde", "knn"])
@pytest.mark.parametrize(("bins", "mesh", "k"), [(5, 3, 5), (8, 2, 1), (3, 1, 7)])
def test_dremi_is_that_of_plain_loops(method, bins, mesh, k):
    x, y = scores(40)
    found = dremi(x, y, method=method, k=k, bins=bins, mesh=mesh, draws=0)
    value, mi, drevi = loops(x.tolist(), y.tolist(), method=method, k=k, bins=bins, mesh=mesh)
    assert found.dremi == pytest.approx(value, abs=1e-10)
    assert found.mi == pytest.approx(mi, abs=1e-10)
    np.testing.assert_allclose(found.drevi, drevi, atol=1e-10)
    np.testing.assert_allclose(found.drevi.sum(0), 1.0)
    assert found.joint.sum() == pytest.approx(1.0)


def test_points_in_clear_steps_have_the_information_of_the_steps():
    """Four levels of x, each with its own y, hold two bits; y that ignore x hold none."""
    levels = np.repeat(np.arange(4.0), 30)
    same = dremi(levels, levels, bandwidth=1e-2, bins=4, mesh=9, draws=0)
    assert same.dremi == pytest.approx(2.0, abs=1e-6)
    free = dremi(np.repeat(np.arange(4.0), 4), np.tile(np.arange(4.0), 4), bins=4, draws=0)
    assert free.dremi == pytest.approx(0.0, abs=1e-12)
    assert free.mi == pytest.approx(0.0, abs=1e-12)


def test_rare_values_count_as_much_as_common_ones():
    """Only the few high x say anything of y: mutual information overlooks it."""
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.uniform(0, 1, 400), draw.uniform(1, 4, 60)])
    y = np.where(x < 1, 0.0, x) + 0.2 * draw.standard_normal(460)
    found = dremi(x, y, bandwidth=0.1, draws=0)
    assert found.dremi > 1.5 * found.mi


@pytest.mark.parametrize("method", ["kde", "knn"])
def test_scores_that_move_as_one_are_found_and_units_do_not_care_for_scale(method):
    x, y = scores(150)
    setting = {"method": method, "bins": 8, "mesh": 3, "draws": 60}
    found = dremi(x, y, **setting)
    assert found.p == pytest.approx(1 / 61)
    assert found.low < found.dremi < found.high
    assert found.chance < found.low
    again = dremi(3 * x + 1e3, y / 7, **setting)
    assert again.row() == pytest.approx(found.row(), abs=1e-7)
    assert again.edges_x == pytest.approx(3 * found.edges_x + 1e3)


def test_the_null_is_kept():
    """Independent scores have p below 0.1 in no more than a tenth of simulations."""
    p = []
    for seed in range(120):
        draw = np.random.default_rng(seed)
        x, y = draw.standard_normal(20), draw.exponential(size=20)
        p.append(dremi(x, y, bins=6, mesh=2, draws=19, seed=seed).p)
    below = np.mean(np.array(p) <= 0.1)
    assert below <= 0.1 + 3 * math.sqrt(0.09 / 120)
    assert below > 0.02


def test_the_interval_covers_what_many_samples_give():
    found = [dremi(*scores(40, seed=seed), bins=6, mesh=2, draws=0) for seed in range(100)]
    middle = np.mean([one.dremi for one in found])
    covers = [one.low <= middle <= one.high for one in found]
    assert 0.85 <= np.mean(covers) <= 1.0


def test_pairs_of_one_unit_are_no_evidence():
    """Ten fields whose twenty cells share both scores: cells look certain, fields do not."""
    draw = np.random.default_rng(3)
    x, y = np.repeat(draw.standard_normal((2, 10)), 20, axis=1) + 0.01 * draw.standard_normal(
        (2, 200)
    )
    field = np.repeat(np.arange(10), 20)
    cells = dremi(x, y, bins=6, mesh=3, draws=99)
    fields = dremi(x, y, bins=6, mesh=3, draws=99, units=field)
    assert cells.p == pytest.approx(0.01)
    assert fields.p > 0.05
    assert fields.units == 10
    assert fields.high - fields.low > 2 * (cells.high - cells.low)
    mixed = np.random.default_rng(0).permutation(200)
    again = dremi(x[mixed], y[mixed], bins=6, mesh=3, draws=0, units=field[mixed])
    assert again.dremi == pytest.approx(fields.dremi)
    assert again.low == pytest.approx(fields.low)


def test_undefined_pairs_are_left_out_and_counted():
    x, y = scores(50)
    again = [np.append(v, extra) for v, extra in ((x, [np.nan, 1.0]), (y, [0.0, np.nan]))]
    kept, all_of_them = dremi(x, y), dremi(*again)
    assert all_of_them.undefined == 2
    assert all_of_them.row() | {"undefined": 0} == kept.row()


def test_few_units_have_no_interval():
    x, y = scores(20)
    found = dremi(x, y, units=np.repeat(["a", "b"], 10), draws=0, bins=4)
    assert np.isnan([found.low, found.high, found.chance, found.p]).all()
    assert not np.isnan(found.dremi)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"y": np.zeros(9)}, DataError, "10 scores x came with 9"),
        ({"y": np.zeros(10)}, DataError, "10 scores y that are defined do not vary"),
        ({"x": np.full(10, np.nan)}, DataError, "0 scores x"),
        ({"x": np.array([np.inf, *range(9)])}, DataError, "infinite"),
        ({"method": "spline"}, UsageError, "no method 'spline'"),
        ({"method": "knn", "k": 10}, UsageError, "the 10 nearest of 10"),
        ({"bandwidth": 0.0}, UsageError, "bandwidth of 0"),
        ({"bins": 1}, UsageError, "1 bins"),
        ({"draws": -1}, UsageError, "-1 draws"),
        ({"units": np.array([0, 0, *range(1, 9)])}, DataError, "hold 1 to 2 pairs"),
        ({"units": np.zeros(3)}, DataError, "10 pairs came with 3 units"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, error, words):
    asked = {"x": np.arange(10.0), "y": np.arange(10.0) ** 2} | change
    with pytest.raises(error, match=words):
        dremi(asked.pop("x"), asked.pop("y"), **asked)
