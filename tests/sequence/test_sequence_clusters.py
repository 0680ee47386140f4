"""Regions lie on the support and follow the map; upstream's tile the square whatever it holds."""

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.sequence.alphabet import strands
from attributome.sequence.fcgr import fcgr, pixel_of
from attributome.sequence.findings.clusters import regions, upstream_clusters

SITE = "TGAGGTAGTAGGTTGTATAGTTACGGACCATTGCAGGACATTCAAAGC"


@pytest.fixture
def image():
    return fcgr(strands([SITE]), 5)[0, 0]


def test_two_corners_are_two_regions_the_heavier_first():
    image, map_ = np.zeros((16, 16)), np.zeros((16, 16))
    image[1:3, 1:3] = image[12:14, 13:15] = 0.1
    map_[1:3, 1:3], map_[12:14, 13:15] = -1.0, 3.0
    map_[12, 13] = 9.0
    map_[7, 7] = 50.0  # off the support: no k-mer of this sequence
    found = regions(map_, image, clusters=2, quantile=0)
    assert found.labels[1:3, 1:3].tolist() == [[2, 2], [2, 2]]
    assert found.labels[12:14, 13:15].tolist() == [[1, 1], [1, 1]]
    assert (found.labels > 0).sum() == 8
    assert found.weights.tolist() == [18, 4]
    weight, places = np.array([9, 3, 3, 3]), np.array([[12, 13], [12, 14], [13, 13], [13, 14]])
    assert found.centres == pytest.approx(np.stack([weight @ places / 18, [1.5, 1.5]]))


def test_only_the_strongest_quantile_of_the_support_counts(image, random):
    map_ = image * random.random(image.shape)
    found = regions(map_, image, quantile=0.75)
    support = np.abs(map_[image > 0])
    chosen = found.labels > 0
    assert chosen.sum() == (support >= np.quantile(support, 0.75)).sum() < 15
    assert (image[chosen] > 0).all()
    assert len(found.centres) == found.labels.max() == 5
    assert found.weights.sum() == pytest.approx(np.abs(map_[chosen]).sum())
    assert (np.diff(found.weights) <= 0).all()


def test_weights_pull_the_borders():
    """Five pixels in a row: heavy ends keep regions of their own."""
    image, map_ = np.zeros((8, 8)), np.zeros((8, 8))
    image[0, :5] = 1
    map_[0, :5] = [100, 1, 1, 1, 100]
    found = regions(map_, image, clusters=2, quantile=0)
    assert found.centres[:, 1] == pytest.approx([0.0, 4.0], abs=0.1)


def test_letters_bring_together_what_the_square_keeps_apart():
    """AAAC and CAAC differ in one letter; AAAC's neighbour across the border in all but one."""
    words = ["GATTA", "CATTA", "TATTA", "GCCGC", "ACCGC", "TCCGC"]
    image, map_ = np.zeros((32, 32)), np.zeros((32, 32))
    for word in words:
        image[pixel_of(word)] = map_[pixel_of(word)] = 1.0
    found = regions(map_, image, clusters=2, quantile=0, by="letters")
    labels = [found.labels[pixel_of(word)] for word in words]
    assert labels[:3] == [labels[0]] * 3
    assert labels[3:] == [3 - labels[0]] * 3


def test_fewer_pixels_than_clusters_and_none(image):
    one = np.zeros_like(image)
    row, column = np.argwhere(image > 0)[0]
    one[row, column] = -2.0
    found = regions(one, image)
    assert found.centres.tolist() == [[row, column]]
    assert found.weights.tolist() == [2.0]
    assert found.labels.sum() == 1
    nothing = regions(np.zeros_like(image), image)
    assert nothing.centres.shape == (0, 2)
    assert nothing.labels.sum() == 0


def test_upstreams_clusters_tile_the_square_whatever_the_map_holds(image):
    """Defect N1: one pixel gives what a whole map gives."""
    one = np.zeros_like(image)
    one[3, 5] = 1.0
    labels, centres = upstream_clusters(one)
    again, _ = upstream_clusters(image)
    assert (labels > 0).all()
    assert np.array_equal(labels, again)
    assert centres.shape == (5, 2)
    assert (regions(one, np.ones_like(image)).labels > 0).sum() == 1


def test_upstreams_clusters_of_a_dense_map_are_those_of_its_quarter(random):
    map_ = random.standard_normal((8, 8))
    labels, centres = upstream_clusters(map_)
    assert np.array_equal(labels > 0, np.abs(map_) >= np.percentile(np.abs(map_), 75))
    for label in range(5):
        assert centres[label] == pytest.approx(np.argwhere(labels == label + 1).mean(0))
    labels, centres = upstream_clusters(map_, percentile=99)
    assert labels.sum() == 0
    assert centres.shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"fcgr": np.ones((4, 4))}, DataError, "of shape"),
        ({"attribution": np.full((8, 8), np.nan)}, DataError, "not finite"),
        ({"clusters": 0}, UsageError, "0 clusters"),
        ({"quantile": 1.0}, UsageError, "quantile 1"),
    ],
)
def test_bad_input(change, error, says):
    asked = {"attribution": np.ones((8, 8)), "fcgr": np.ones((8, 8))}
    with pytest.raises(error, match=says):
        regions(**(asked | change))


def test_letters_need_an_image_of_kmers():
    with pytest.raises(DataError, match="no FCGR"):
        regions(np.ones((6, 6)), np.ones((6, 6)), by="letters")
