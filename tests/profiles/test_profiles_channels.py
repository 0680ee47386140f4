"""Correlations are NumPy's, averages Fisher's, and what is constant is counted."""

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.profiles.wells.channels import correlate_channels, mean_correlation


def image(dims=2, seed=0, shared=1.0):
    draw = np.random.default_rng(seed)
    common = draw.standard_normal([12] * dims)
    return np.stack([common * s + draw.standard_normal([12] * dims) for s in (0, shared, -2)])


def test_correlations_are_those_of_numpy(dims):
    x = (image(dims) * 1000 + 30000).astype(np.float32)
    r = np.corrcoef(x.reshape(3, -1).astype(np.float64))
    np.testing.assert_allclose(correlate_channels(x), r, atol=1e-9)
    mask = np.random.default_rng(1).random(x.shape[1:]) > 0.7
    r = np.corrcoef(x[:, mask].astype(np.float64))
    np.testing.assert_allclose(correlate_channels(x, mask), r, atol=1e-9)


def test_a_constant_channel_and_an_empty_mask_are_undefined():
    x = image()
    x[1] = 0.1
    r = correlate_channels(x)
    assert np.isnan(r).tolist() == [[False, True, False], [True] * 3, [False, True, False]]
    assert np.isnan(correlate_channels(x, np.zeros((12, 12), bool))).all()
    x[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="1 pixels are undefined"):
        correlate_channels(x)


def test_the_mean_is_fishers_and_fields_are_drawn_with_all_their_images():
    each = np.stack([correlate_channels(image(seed=i)) for i in range(40)])
    fields = np.arange(40) // 4
    found = mean_correlation(each, [*"abc"], fields=fields)
    off = ~np.eye(3, dtype=bool)
    wanted = np.tanh(np.mean([np.arctanh(r[off]) for r in each], axis=0))
    np.testing.assert_allclose(found.mean[off], wanted, atol=1e-12)
    assert (np.diag(found.mean) == 1).all()
    assert ((found.low < found.mean) & (found.mean < found.high))[off].all()
    assert (found.n == 40).all()
    assert not found.undefined.any()
    assert found.fields == 10
    table = found.table()
    assert table[["first", "second"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    assert table["mean"][2] == found.mean[1, 2] < -0.5
    # images of a field that are copies of each other tell no more than one
    copies = mean_correlation(each[::4].repeat(4, 0), [*"abc"], fields=fields)
    single = mean_correlation(each[::4], [*"abc"])
    np.testing.assert_allclose(copies.low, single.low, atol=1e-12)
    alone = mean_correlation(each[::4].repeat(4, 0), [*"abc"])
    assert (alone.high - alone.low)[0, 1] < 0.8 * (single.high - single.low)[0, 1]


def test_undefined_correlations_are_counted_and_not_averaged():
    each = np.stack([correlate_channels(image(seed=i)) for i in range(6)])
    lost = each.copy()
    lost[0, :, 1] = lost[0, 1, :] = np.nan
    found = mean_correlation(lost, [*"abc"])
    assert found.undefined[0].tolist() == [0, 1, 0]
    assert found.n[0, 1] == 5
    rest = mean_correlation(each[1:], [*"abc"])
    np.testing.assert_allclose(found.mean[0, 1], rest.mean[0, 1], atol=1e-12)
    lost[:, :, 1] = lost[:, 1, :] = np.nan
    found = mean_correlation(lost, [*"abc"])
    assert np.isnan([found.mean[0, 1], found.low[1, 1], found.mean[1, 1]]).all()
    assert np.isnan(mean_correlation(each[:2], [*"abc"]).low[0, 1])


def test_perfect_correlation_stays_one():
    x = image()
    x[1], x[2] = 2 * x[0], -x[0]
    each = np.stack([correlate_channels(x)] * 4)
    found = mean_correlation(each, [*"abc"])
    np.testing.assert_allclose(found.mean[0], [1, 1, -1], atol=1e-12)


def test_what_cannot_be_averaged_is_refused():
    each = np.stack([correlate_channels(image())] * 3)
    with pytest.raises(DataError, match="3 images of 3 channels came with 2 names"):
        mean_correlation(each, ["a", "b"])
    with pytest.raises(DataError, match="3 images came with 2 fields"):
        mean_correlation(each, [*"abc"], fields=np.array([0, 1]))
    with pytest.raises(DataError, match="beyond 1"):
        mean_correlation(2 * each, [*"abc"])
    with pytest.raises(UsageError, match="confidence 0"):
        mean_correlation(each, [*"abc"], confidence=0.0)
