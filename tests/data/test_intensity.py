"""Normalisation against its formula, recorded and undone."""

import json

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.data.intensity import Scaling, measure


@pytest.fixture
def image(random):
    return (random.random((2, 5, 40, 40)) * [[[[9]]], [[[900]]]] + 20000).astype(np.float32)


def test_zscore_uses_the_population_deviation_of_each_channel(image):
    scaled = measure(image, "zscore").apply(image)
    assert scaled.dtype == np.float32
    assert scaled.mean((1, 2, 3)) == pytest.approx([0, 0], abs=1e-4)
    assert scaled.std((1, 2, 3), ddof=0) == pytest.approx([1, 1], rel=1e-4)
    assert measure(image, "zscore").scale[0] == pytest.approx(image[0].astype(float).std(ddof=0))


def test_percentiles_become_0_and_1(image):
    scaling = measure(image, "percentile", low=2, high=90)
    assert np.percentile(scaling.apply(image)[1], [2, 90]) == pytest.approx([0, 1], abs=1e-4)


def test_none_changes_nothing(image):
    assert np.array_equal(measure(image, "none").apply(image), image)


@pytest.mark.parametrize("kind", ["zscore", "percentile", "none"])
def test_invert_undoes_apply_also_after_json(image, kind):
    scaling = measure(image, kind)
    again = Scaling.from_dict(json.loads(json.dumps(scaling.to_dict())))
    assert again == scaling
    assert again.invert(scaling.apply(image)) == pytest.approx(image, rel=1e-5)


@pytest.mark.parametrize("kind", ["zscore", "percentile", "none"])
def test_a_constant_channel_is_refused(image, kind):
    image[1] = 0.1  # whose float64 deviation is not exactly 0
    with pytest.raises(DataError, match=r"channel 1 of sample 'x' is constant \(value 0.1\)"):
        measure(image, kind, where="sample 'x'")


def test_a_channel_that_is_constant_between_its_percentiles_is_refused():
    image = np.zeros((1, 100, 100), np.float32)
    image[0, 0, 0] = 1
    with pytest.raises(DataError, match="is constant between its percentiles 0.1 and 99.9"):
        measure(image, "percentile")


def test_what_cannot_be_meant_is_refused(image):
    with pytest.raises(UsageError, match="no normalisation 'minmax': there are zscore, percentile"):
        Scaling.from_dict({"kind": "minmax", "center": [0], "scale": [1]})
    with pytest.raises(UsageError, match="percentiles 90 and 10 are not"):
        measure(image, "percentile", low=90, high=10)
    with pytest.raises(DataError, match="measured on 2 channels and the image has 1"):
        measure(image, "zscore").apply(image[:1])
    for said in ({"kind": "none"}, {"kind": "none", "center": [0, 0], "scale": [1]},
                 {"kind": "none", "center": [0], "scale": [0]}):  # fmt: skip
        with pytest.raises(DataError, match="a scaling needs"):
            Scaling.from_dict(said)
