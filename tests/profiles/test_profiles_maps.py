"""A plane keeps neighbours, comes from the seed and the cells alone, and refuses what has none."""

import sys

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from attributome.core.errors import DataError, UsageError
from attributome.profiles.proteins.maps import umap_of


def clouds(n=60, f=8, apart=6.0):
    draw = np.random.default_rng(0)
    of = np.arange(n) % 3
    features = apart * draw.standard_normal((3, f))[of] + draw.standard_normal((n, f))
    return features.astype(np.float32), of


@pytest.mark.slow  # its first call compiles for half a minute
def test_clouds_stay_apart_and_the_seed_decides():
    features, of = clouds()
    # a feature of another scale, and one that is the same for all
    wide = np.concatenate([features * 10.0 ** np.arange(8), np.full((60, 1), 3.0)], 1)
    plane = umap_of(wide, seed=1)
    assert plane.shape == (60, 2)
    assert plane.dtype == np.float32
    assert silhouette_score(plane, of) > 0.6
    np.testing.assert_array_equal(plane, umap_of(wide, seed=1))
    np.testing.assert_array_equal(plane, umap_of(wide[:, :8], seed=1))
    assert np.abs(plane - umap_of(wide, seed=2)).max() > 0.01


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        (lambda x: x, {"neighbours": 60}, UsageError, "60 neighbours among 60 cells"),
        (lambda x: x, {"neighbours": 1}, UsageError, "from 2 to 59"),
        (lambda x: x, {"min_dist": -0.1}, UsageError, "min_dist"),
        (lambda x: np.where(np.arange(60)[:, None] == 7, np.nan, x), {}, DataError, "number 7"),
        (lambda x: np.where(np.arange(8) < 7, 1, x), {}, DataError, "1 of 8 features differ"),
    ],
)
def test_what_has_no_plane_is_refused(change, options, error, words):
    with pytest.raises(error, match=words):
        umap_of(change(clouds()[0]), **options)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UsageError, match=r"attributome\[umap\]"):
        umap_of(clouds()[0])
