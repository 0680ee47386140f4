"""Boxes around cells, by hand and by loops."""

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.cells import read_cells
from attributome.inpainting.crops import Field, crop_fields, cut


@pytest.fixture
def field(random):
    """Three cells: 7 in the middle, 2 beside it, 300000 at the upper edge."""
    image = random.random((2, 20, 24)).astype(np.float32)
    labels = np.zeros((20, 24), np.int32)
    labels[8:12, 9:14] = 7
    labels[12:15, 8:10] = 2
    labels[0:2, 20:23] = 300000
    return image, labels


def test_a_box_by_hand(field):
    image, labels = field
    made = cut(image, labels, size=(6, 8))
    assert made.table["label"].tolist() == [2, 7]
    assert made.dropped.tolist() == [300000]
    assert made.table[["y", "x"]].to_numpy().tolist() == [[13.0, 8.5], [9.5, 11.0]]
    assert made.table["area"].tolist() == [6, 20]
    assert made.table["inside"].tolist() == [1.0, 1.0]
    assert made.table["neighbours"].tolist() == ["7", ""]
    assert made.table["at_edge"].tolist() == [False, False]
    # the centroids (13.0, 8.5) and (9.5, 11.0) are truncated
    np.testing.assert_array_equal(made.crops[0], image[:, 10:16, 4:12])
    np.testing.assert_array_equal(made.crops[1], image[:, 6:12, 7:15])
    np.testing.assert_array_equal(made.masks[1], labels[6:12, 7:15] == 7)


def test_a_cell_larger_than_its_box(field):
    made = cut(*field, size=3)
    assert made.table["inside"].tolist() == [1.0, 9 / 20]
    assert made.masks[1].all()
    assert made.table["neighbours"].tolist() == ["", ""]


@pytest.mark.parametrize("size", [1, 4, 5, (7, 30), 64])
def test_padding_by_loops(field, size):
    image, labels = field
    height, width = (size, size) if isinstance(size, int) else size
    made = cut(image, labels, size=size, border="pad")
    assert made.table["label"].tolist() == [2, 7, 300000]
    assert made.table["at_edge"].tolist() == [False, False, True]
    assert not len(made.dropped)
    for row, label in enumerate((2, 7, 300000)):
        y, x = (int(at.mean()) for at in np.nonzero(labels == label))
        seen = set()
        for i in range(height):
            for j in range(width):
                v, u = y - height // 2 + i, x - width // 2 + j
                real = 0 <= v < 20 and 0 <= u < 24
                wanted = image[:, v, u] if real else image.min((1, 2))
                np.testing.assert_array_equal(made.crops[row, :, i, j], wanted)
                assert made.masks[row, i, j] == (real and labels[v, u] == label)
                seen |= {int(labels[v, u])} if real else set()
        others = sorted(seen - {0, label})
        assert made.table["neighbours"].iloc[row] == " ".join(map(str, others))
        assert made.table["inside"].iloc[row] == made.masks[row].sum() / (labels == label).sum()


def test_dropping_and_padding_agree_where_a_box_fits(field):
    dropped, padded = (cut(*field, size=6, border=border) for border in ("drop", "pad"))
    np.testing.assert_array_equal(dropped.crops, padded.crops[:2])
    np.testing.assert_array_equal(dropped.masks, padded.masks[:2])


@pytest.mark.parametrize("on_disk", [False, True])
def test_fields_become_cells_one_after_the_other(tmp_path, field, on_disk):
    image, labels = field
    alive = []

    def fields():
        for i in range(3):
            alive.append(i)
            some = labels * (i != 1)
            yield Field(id=f"f{i}", group="g", image=image + i, labels=some, meta={"well": f"A{i}"})

    cells = crop_fields(
        fields(),
        channels=("p", "m"),
        targets=["p"],
        size=6,
        folder=tmp_path / "cells" if on_disk else None,
    )
    assert cells.table["id"].tolist() == ["f0_2", "f0_7", "f2_2", "f2_7"]
    assert cells.table["field"].tolist() == ["f0", "f0", "f2", "f2"]
    assert cells.table["well"].tolist() == ["A0", "A0", "A2", "A2"]
    assert (cells.targets, cells.markers) == (("p",), ("m",))
    np.testing.assert_array_equal(cells.crops[2:], cut(image + 2, labels, size=6).crops)
    np.testing.assert_array_equal(cells.masks[:2], cut(image, labels, size=6).masks)
    assert cells.about == {"box": [6, 6], "border": "drop"}
    assert cells.rejected.to_numpy().tolist() == [
        ["f0_300000", "300000", "its box leaves the field"],
        ["f1", "", "the field has no cell"],
        ["f2_300000", "300000", "its box leaves the field"],
    ]
    if on_disk:
        assert len(read_cells(tmp_path / "cells")) == 4


def test_what_cannot_be_cut(field):
    image, labels = field
    with pytest.raises(UsageError, match="0 x 4 pixels are none"):
        cut(image, labels, size=(0, 4))
    with pytest.raises(DataError, match="do not fit an image"):
        cut(image, labels[:, 1:], size=4)
    with pytest.raises(DataError, match="no pixels"):
        cut(image[:, :0], labels[:0], size=4)
    with pytest.raises(DataError, match="negative"):
        cut(image, -labels, size=4)
    with pytest.raises(DataError, match="48 pixels are NaN"):
        cut(_spoiled(image), labels, size=4)
    one = Field(id="f", group="g", image=image, labels=labels)
    options = {"targets": ["p"], "size": 4}
    with pytest.raises(DataError, match="the field 'f' has 2 channels and not 3"):
        crop_fields([one], channels=("p", "m", "n"), **options)
    with pytest.raises(DataError, match="there are no cells to keep"):
        crop_fields([], channels=("p", "m"), **options)
    with pytest.raises(DataError, match="no cell can be used: 3 were refused, the first, f_2"):
        crop_fields([one], channels=("p", "m"), targets=["p"], size=64)
    wrong = Field(id="f", group="g", image=image, labels=labels, meta={"area": 3})
    with pytest.raises(UsageError, match="has a meta 'area'"):
        crop_fields([wrong], channels=("p", "m"), **options)
    with pytest.raises(DataError, match="the field 'f' cannot be cut: labels of shape"):
        crop_fields(
            [Field(id="f", group="g", image=image, labels=labels[1:])],
            channels=("p", "m"),
            **options,
        )


def _spoiled(image):
    bad = image.copy()
    bad[0, :2] = np.nan
    return bad
