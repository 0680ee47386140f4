"""The planted answer is in the images: the protein tells the class, the markers do not."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import kruskal
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsClassifier

from attributome.core.errors import UsageError
from attributome.inpainting.pairs import partners
from attributome.inpainting.planted import CLASSES, planted
from attributome.inpainting.preprocess import prepare


@pytest.fixture(scope="module")
def cells():
    return planted(groups=2, fields=3, cells=12, seed=5)


def classes_of(cells):
    return cells.table["class"].to_numpy()


def test_the_table_and_the_shapes(cells):
    assert len(cells) == 4 * 2 * 3 * 12
    assert cells.crops.shape == (288, 3, 64, 64)
    assert cells.crops.dtype == np.float32
    assert (cells.targets, cells.markers) == (("protein",), ("nucleus", "body"))
    assert cells.crops.min() >= 0
    assert cells.table["id"].is_unique
    for column, other, count in (("group", "class", 8), ("field", "group", 24)):
        assert cells.table[column].nunique() == count
        assert (cells.table.groupby(column)[other].nunique() == 1).all()
    source, target = partners(cells.table["group"], seed=0, epoch=0)
    assert (classes_of(cells)[source] == classes_of(cells)[target]).all()


def test_a_mask_is_one_cell_near_the_middle(cells):
    centers = []
    for mask in cells.masks:
        assert ndimage.label(mask)[1] == 1
        centers.append(ndimage.center_of_mass(mask))
    off = np.array(centers) - 32
    assert np.abs(off).max() < 8
    assert off.std(0).min() > 0.5
    areas = cells.masks.sum((1, 2))
    assert np.percentile(areas, 90) > 1.3 * np.percentile(areas, 10)


def test_the_protein_is_where_its_class_says(cells):
    protein = cells.crops[:, 0] - cells.crops[:, 0].min((1, 2), keepdims=True)
    shares = []
    for row, mask in zip(protein, cells.masks, strict=True):
        deep = ndimage.distance_transform_edt(mask)
        ring = mask & (deep <= 3)
        shares.append((row[ring].mean() / row[mask].mean(), row[mask].max() / row[mask].mean()))
    ring, peak = np.array(shares).T
    kinds = classes_of(cells)
    assert ring[kinds == "membrane"].min() > 1.3 > ring[kinds != "membrane"].max()
    assert np.median(peak[kinds == "spots"]) > 5 > peak[kinds == "cytoplasm"].max()
    core = [row[m].mean() for row, m in zip(cells.crops[:, 0], nuclei(cells), strict=True)]
    rest = [row[m].mean() for row, m in zip(cells.crops[:, 0], cells.masks, strict=True)]
    over = np.array(core) / rest
    assert over[kinds == "nuclear"].min() > 2
    assert over[kinds != "nuclear"].max() < 1


def nuclei(cells):
    """The brighter half of the nuclear stain in the own cell."""
    stain = cells.crops[:, 1]
    for row, mask in zip(stain, cells.masks, strict=True):
        yield mask & (row > (row[mask].max() + row[mask].min()) / 2)


def accuracy(images, cells):
    """Nearest cells of other groups, on blurred and shrunk images turned about nothing."""
    seen = np.stack([ndimage.zoom(image, (1, 0.25, 0.25), order=1).ravel() for image in images])
    kinds, groups = classes_of(cells), cells.table["group"].str[-1].to_numpy()
    right = []
    for held in np.unique(groups):
        model = KNeighborsClassifier(11).fit(seen[groups != held], kinds[groups != held])
        right.append(model.predict(seen[groups == held]) == kinds[groups == held])
    return np.concatenate(right).mean()


def test_the_protein_tells_the_class_and_the_markers_do_not(cells):
    made = prepare(cells, "yeast").crops
    assert accuracy(made[:, :1], cells) > 0.8
    assert 0.17 < accuracy(made[:, 1:], cells) < 0.33  # 1 of 4; 0.025 is one standard error
    areas = cells.masks.sum((1, 2))
    assert kruskal(*(areas[classes_of(cells) == name] for name in CLASSES)).pvalue > 0.01


def test_how_much_protein_a_cell_has_does_not_tell_the_class():
    cells = planted(groups=2, fields=3, cells=12, field_effect=0, noise=0, seed=1)
    means = np.array(
        [row[mask].mean() for row, mask in zip(cells.crops[:, 0], cells.masks, strict=True)]
    )
    medians = np.array([np.median(means[classes_of(cells) == name]) for name in CLASSES])
    assert medians.max() / medians.min() < 1.2


def test_who_knows_the_class_predicts_better_from_the_markers(cells):
    made = prepare(cells, "yeast").crops
    blurred = ndimage.gaussian_filter(made[:, 1:], (0, 0, 2, 2))
    seen = np.concatenate([made[:, 1:], blurred, made[:, 1:] * blurred], 1)

    def residual(rows):
        x = np.moveaxis(seen[rows], 1, -1).reshape(-1, seen.shape[1])
        y = made[rows, 0].ravel()
        return ((LinearRegression().fit(x, y).predict(x) - y) ** 2).mean()

    known = np.mean([residual(np.flatnonzero(classes_of(cells) == name)) for name in CLASSES])
    assert known < 0.75 * residual(np.arange(len(cells)))


def test_fields_differ_as_much_as_is_asked_for():
    def spread(effect):
        cells = planted(
            groups=1, fields=12, cells=6, classes=["cytoplasm"], field_effect=effect, size=32
        )
        pairs = zip(cells.crops[:, 2], cells.masks, strict=True)
        logs = np.log([row[mask].mean() for row, mask in pairs])
        return logs.reshape(12, 6).mean(1).std()

    assert spread(1.0) > 3 * spread(0.0)


def test_a_cell_is_a_function_of_its_names_and_the_seed():
    options = {"classes": ["spots", "membrane"], "size": 32}
    few = planted(groups=1, fields=2, cells=2, seed=3, **options)
    more = planted(groups=2, fields=3, cells=4, seed=3, **options)
    at = [more.table["id"].tolist().index(name) for name in few.table["id"]]
    np.testing.assert_array_equal(more.crops[at], few.crops)
    np.testing.assert_array_equal(more.masks[at], few.masks)
    again = planted(groups=1, fields=2, cells=2, seed=3, **options)
    np.testing.assert_array_equal(again.crops, few.crops)
    other = planted(groups=1, fields=2, cells=2, seed=4, **options)
    assert (other.crops != few.crops).any((1, 2, 3)).all()
    assert len(np.unique(few.crops.reshape(8, -1), axis=0)) == 8


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": ["nuclear", "golgi"]},
        {"classes": []},
        {"classes": ["spots", "spots"]},
        {"cells": 0},
        {"size": 16},
        {"noise": -1.0},
    ],
)
def test_what_cannot_be_planted(wrong):
    with pytest.raises(UsageError, match="cannot be planted"):
        planted(**wrong)
