"""Maps are those of plain loops; what has no correlation is NaN and counted."""

import math

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.studies.spatial import map_agreement, pearson, spatial_pcc


def loops(a, b, window, stride, cover=True):
    """The definition: every window by `corrcoef`, every pixel the mean of what covers it."""
    starts = []
    for size, w, step in zip(a.shape, window, stride, strict=True):
        at = [*range(0, size - w + 1, step)]
        if cover and at[-1] + w < size:
            at.append(size - w)
        starts.append(at)
    total, count = np.zeros(a.shape), np.zeros(a.shape)
    undefined = 0
    for index in np.ndindex(*map(len, starts)):
        at = tuple(slice(starts[d][i], starts[d][i] + window[d]) for d, i in enumerate(index))
        x, y = a[at].ravel(), b[at].ravel()
        if np.isnan(x).any() or np.isnan(y).any() or np.ptp(x) == 0 or np.ptp(y) == 0:
            undefined += 1
            continue
        total[at] += np.corrcoef(x, y)[0, 1]
        count[at] += 1
    with np.errstate(invalid="ignore"):
        return total / count, undefined


def images(shape, seed=0):
    draw = np.random.default_rng(seed)
    a = draw.standard_normal(shape)
    return a, 0.6 * a + draw.standard_normal(shape)


@pytest.mark.parametrize("cover", [True, False])
@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [
        ((40, 53), (8, 8), (4, 4)),
        ((40, 53), (7, 9), (3, 4)),
        ((24, 30), (5, 11), (1, 1)),
        ((24, 30), (4, 6), (9, 6)),
        ((9, 20, 23), (4, 8, 6), (2, 4, 3)),
        ((5, 20, 23), (1, 8, 8), (1, 4, 4)),
        ((6, 11, 10), (3, 5, 4), (1, 1, 1)),
    ],
)
def test_the_map_is_that_of_plain_loops(shape, window, stride, cover):
    a, b = images(shape)
    found = spatial_pcc(a, b, window=window, stride=stride, edges="cover" if cover else "leave")
    expected, undefined = loops(a, b, window, stride, cover)
    np.testing.assert_allclose(found.map, expected, atol=1e-12)
    assert found.undefined == undefined == 0
    assert found.lost == np.isnan(expected).sum()
    assert (
        not (cover and all(s <= w for s, w in zip(stride, window, strict=True))) or not found.lost
    )


def test_a_stack_and_one_number_is_each_slice_alone():
    a, b = images((3, 40, 50))
    found = spatial_pcc(a, b, window=16)
    for z in range(3):
        np.testing.assert_allclose(found.map[z], spatial_pcc(a[z], b[z], window=16).map, atol=1e-14)
    np.testing.assert_allclose(found.map, loops(a, b, (1, 16, 16), (1, 8, 8))[0], atol=1e-12)


@pytest.mark.parametrize("level", [0.0, 1e6])
def test_a_faint_background_beside_bright_objects_keeps_its_digits(level):
    """A difference of running sums would lose all of them."""
    a, b = images((64, 64))
    a, b = level + 1e-3 * a, level + 1e-3 * b
    a[:20, :20] += 1e4
    b[:20, :20] += 1e4
    found = spatial_pcc(a, b, window=16)
    np.testing.assert_allclose(found.map, loops(a, b, (16, 16), (8, 8))[0], atol=1e-8)
    exact = math.fsum(((a - a.mean()) * (b - b.mean())).ravel()) / math.sqrt(
        math.fsum(((a - a.mean()) ** 2).ravel()) * math.fsum(((b - b.mean()) ** 2).ravel())
    )
    assert pearson(a, b) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("flat", [0.0, 0.1, -1e9, 1 / 3])
def test_constant_windows_are_counted_and_not_averaged(flat):
    a, b = images((48, 48))
    b[:30, :30] = flat
    found = spatial_pcc(a, b, window=16, stride=8)
    expected, undefined = loops(a, b, (16, 16), (8, 8))
    np.testing.assert_allclose(found.map, expected, atol=1e-12)
    assert found.undefined == undefined == 4
    assert found.n == 25
    assert found.lost == np.isnan(expected).sum() == 256  # the corner that no other window covers
    assert np.isnan(found.windows[:2, :2]).all()
    np.testing.assert_allclose(spatial_pcc(b, a, window=16, stride=8).map, expected, atol=1e-12)
    assert np.isnan(pearson(a, np.full_like(a, flat)))


def test_a_missing_pixel_takes_its_windows_and_no_other():
    a, b = images((32, 32))
    a[3, 5] = np.nan
    found = spatial_pcc(a, b, window=8, stride=8)
    assert found.undefined == 1
    assert np.isnan(found.map[:8, :8]).all()
    assert found.lost == 64


def test_integers_and_signs():
    draw = np.random.default_rng(0)
    a = draw.integers(0, 65535, (40, 40)).astype(np.uint16)
    found = spatial_pcc(a, (65535 - a).astype(np.uint16), window=8)
    np.testing.assert_allclose(found.map, -1.0, atol=1e-12)
    assert spatial_pcc(a, a, window=8).map.max() <= 1.0


def test_binary_masks_correlate_by_their_four_counts():
    draw = np.random.default_rng(0)
    a, b = (draw.random((16, 16)) < 0.4 for _ in range(2))
    both, only_a, only_b = (a & b).sum(), (a & ~b).sum(), (b & ~a).sum()
    neither = 256 - both - only_a - only_b
    phi = (both * neither - only_a * only_b) / math.sqrt(
        float(both + only_a) * (both + only_b) * (neither + only_a) * (neither + only_b)
    )
    found = spatial_pcc(a, b, window=16, stride=16)
    assert found.windows.item() == pytest.approx(phi, abs=1e-14)


def test_two_maps_that_fall_in_the_same_place_agree():
    draw = np.random.default_rng(0)
    truth = draw.standard_normal((96, 96))
    noise = np.where(np.arange(96) < 48, 0.2, 3.0)
    maps = [
        spatial_pcc(truth, truth + noise * draw.standard_normal((96, 96)), window=16).map
        for _ in range(2)
    ]
    r, n, again = map_agreement(*maps, window=32)
    assert r > 0.9
    assert n == 96 * 96
    assert again.map.shape == (96, 96)
    maps[0][:4] = np.nan
    r, n, again = map_agreement(*maps, window=32)
    assert n == 92 * 96
    assert again.undefined > 0


def test_weights_select_and_ones_change_nothing():
    a, b = images((12, 12))
    where = np.zeros((12, 12))
    where[2:9, 3:8] = 1
    assert pearson(a, b, where) == pytest.approx(
        np.corrcoef(a[2:9, 3:8].ravel(), b[2:9, 3:8].ravel())[0, 1]
    )
    assert pearson(a, b, np.ones((12, 12))) == pytest.approx(pearson(a, b))
    assert np.isnan(pearson(a, b, np.zeros((12, 12))))
    weight = np.random.default_rng(1).integers(0, 4, (12, 12))
    many = [np.repeat(v.ravel(), weight.ravel()) for v in (a, b)]
    assert pearson(a, b, weight.astype(float)) == pytest.approx(np.corrcoef(*many)[0, 1])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"b": np.zeros((20, 21))}, DataError, "one grid"),
        ({"a": np.zeros(20), "b": np.zeros(20)}, DataError, "planes or stacks"),
        ({"window": 21}, UsageError, "does not fit into an axis of 20"),
        ({"window": (4, 4, 4)}, UsageError, "give one number, or 2"),
        ({"stride": 0}, UsageError, "stride of 0"),
        ({"window": 1}, UsageError, "one pixel"),
        ({"edges": "reflect"}, UsageError, "cover or leave"),
        ({"a": np.full((20, 20), np.inf)}, DataError, "infinite"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, error, words):
    asked = {"a": np.zeros((20, 20)), "b": np.zeros((20, 20)), "window": 8} | change
    with pytest.raises(error, match=words):
        spatial_pcc(asked.pop("a"), asked.pop("b"), **asked)


def test_weights_and_grids_of_one_number_are_checked():
    a, b = images((6, 6))
    with pytest.raises(DataError, match="one grid"):
        pearson(a, b[:5])
    with pytest.raises(DataError, match="0 or above"):
        pearson(a, b, -np.ones((6, 6)))
    with pytest.raises(DataError, match="one field"):
        map_agreement(a, b[:5])
