"""Claimed errors of single cells: what a cell is, its true numbers, and a head that ranks cells."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng
from attributome.core.training import Plan
from attributome.predictors.cell_confidence import (
    cell_parts,
    cell_size,
    cell_table,
    claimed_errors,
    judge_cells,
)
from attributome.predictors.confidence import confidence_head, fit_confidence, judged

CPU = Compute()
MARGIN, SIZE = 3, (13, 13)


def planted_field(i, side=4):
    """Discs on a grid, one texture over all of it; each cell is predicted badly by its own share.

    The texture is smooth and what spoils it is not, so that a wrong cell looks wrong.
    """
    draw = rng(0, "cells", i)
    space = (20 * side, 20 * side)
    y, x = np.indices(space)
    truth = ndimage.gaussian_filter(draw.standard_normal(space), 2)
    truth /= truth.std()
    labels = np.zeros(space, np.int32)
    wrong = np.zeros(space)
    for cell, (row, column) in enumerate(np.ndindex(side, side)):
        middle = 20 * np.array([row, column]) + 10 + draw.integers(-2, 3, 2)
        inside = (y - middle[0]) ** 2 + (x - middle[1]) ** 2 <= draw.integers(4, 7) ** 2
        labels[inside] = 7 * (cell + 1)  # labels need not be dense
        wrong[inside] = draw.uniform(0, 1)
    prediction = np.sqrt(1 - wrong**2) * truth + wrong * draw.standard_normal(space)
    mask = draw.uniform(size=space)
    return prediction[None], mask[None], truth[None], labels


def cells_of(i, **more):
    one = planted_field(i)
    return judge_cells(*one, unit=f"f{i}", margin=MARGIN, size=SIZE, **more)


@pytest.mark.parametrize("size", [(40, 44), (6, 30, 32)], ids=["2d", "3d"])
@pytest.mark.parametrize("channels", [1, 2])
def test_errors_and_scores_are_those_of_a_loop_over_cells(random, size, channels):
    prediction, truth = random.standard_normal((2, channels, *size))
    labels = random.integers(0, 5, size) * 3
    table = cell_table(prediction, truth, labels, unit="w", field="f", threshold=0.2)
    assert table["id"].tolist() == ["f:3", "f:6", "f:9", "f:12"]
    planes = [
        structural_similarity(
            p, t, data_range=np.ptp(b), gaussian_weights=True, use_sample_covariance=False,
            full=True,
        )[1]
        for a, b in zip(prediction, truth, strict=True)
        for p, t in zip(a.reshape(-1, *size[-2:]), b.reshape(-1, *size[-2:]), strict=True)
    ]  # fmt: skip
    similar = np.reshape(planes, truth.shape)
    for row in table.itertuples():
        mine = labels == row.label
        p, t = prediction[:, mine], truth[:, mine]
        assert row.volume == mine.sum()
        wanted = 1 - abs(np.corrcoef(p.ravel(), t.ravel())[0, 1])
        assert row.error == pytest.approx(wanted, abs=1e-12)
        assert row.ssim == pytest.approx(similar[:, mine].mean(), abs=1e-12)
        p, t = p > 0.2, t > 0.2
        assert row.iou == pytest.approx((p & t).sum() / (p | t).sum())
        assert row.dice == pytest.approx(2 * (p & t).sum() / (p.sum() + t.sum()))
    cells = judge_cells(prediction, truth[:1], truth, labels, unit="w", margin=1, field="f")
    assert [cell.id for cell in cells] == table["id"].tolist()
    assert [cell.error for cell in cells] == table["error"].tolist()


def test_a_threshold_that_is_not_said_is_that_of_each_image():
    prediction, _, truth, labels = planted_field(0)
    told = cell_table(prediction, truth, labels, unit="w")
    scaled = cell_table(5 + 0.1 * prediction, truth, labels, unit="w")
    assert scaled["iou"].tolist() == told["iou"].tolist()
    perfect = cell_table(5 + 0.1 * truth, truth, labels, unit="w")
    assert (perfect["dice"].dropna() == 1).all()


def test_a_cell_is_its_box_with_context_and_its_own_voxels(random):
    shown = random.standard_normal((3, 1, 24, 24))
    labels = np.zeros((24, 24), int)
    labels[8:11, 6:11] = 2
    labels[12:15, 7:10] = 5
    labels[0:2, 20:24] = 9  # its box leaves the field
    prediction, mask, image = shown
    cells = judge_cells(prediction, mask, prediction, labels, unit="w", margin=2, image=image)
    assert [cell.id for cell in cells] == ["w:2", "w:5", "w:9"]
    assert {cell.inputs.shape for cell in cells} == {(4, 3 + 4, 5 + 4)}  # the widest, and context
    first = cells[0].inputs
    assert np.array_equal(first[:3], shown[:, 0, 6:13, 4:13].astype(np.float32))
    assert np.array_equal(first[3], labels[6:13, 4:13] == 2)  # and not the neighbour's
    corner = cells[2].inputs
    assert corner[3].sum() == 8
    assert (corner[0, 0] == prediction.min().astype(np.float32)).all()
    assert cells[0].inputs.dtype == np.float32
    assert cell_size([labels, labels[5:12]]) == (3, 5)


def test_a_cell_that_fills_the_field_is_the_field(random):
    """The field's own error, by the other function that makes one."""
    prediction, truth, mask = random.standard_normal((3, 1, 15, 13))
    labels = np.ones((15, 13), np.int32)
    (cell,) = judge_cells(prediction, mask, truth, labels, unit="w", margin=0)
    whole = judged(prediction, mask, truth, unit="w")
    assert cell.error == pytest.approx(whole.error, abs=1e-12)
    assert np.array_equal(cell.inputs[:2], whole.inputs)


def test_undefined_cells_are_counted_and_train_nothing(random):
    prediction, mask, truth, labels = planted_field(0)
    truth[0][labels == 7] = 0.1  # a mean of it is not exactly 0.1
    prediction[0][labels == 14] = 0.3
    cells = judge_cells(prediction, mask, truth, labels, unit="w", margin=1)
    assert np.isnan([cell.error for cell in cells]).tolist() == [True] + [False] * 15
    assert cells[1].error == 1
    table = cell_table(prediction, truth, labels, unit="w")
    assert table["error"].isna().sum() == 1
    assert cell_parts(cells, {"train": ["w"], "test": []}) == {"train": [*range(1, 16)], "test": []}


def test_labels_in_another_order_and_many_cells_change_nothing(monkeypatch):
    one = planted_field(3)
    net = confidence_head(3, 2, width=4)
    whole = claimed_errors(net, *one[:2], one[3], margin=MARGIN, size=SIZE, compute=CPU)
    cells = cells_of(3)
    monkeypatch.setattr("attributome.predictors.cell_confidence.AT_ONCE", 5)
    parts = claimed_errors(net, *one[:2], one[3], margin=MARGIN, size=SIZE, compute=CPU)
    assert parts["label"].tolist() == whole["label"].tolist() == [*range(7, 113, 7)]
    assert parts["claimed"].to_numpy() == pytest.approx(whole["claimed"].to_numpy(), abs=1e-6)
    again = cells_of(3)
    assert [cell.id for cell in again] == [cell.id for cell in cells]
    assert all(np.array_equal(a.inputs, b.inputs) for a, b in zip(again, cells, strict=True))
    turned = np.where(one[3] > 0, 200 - one[3], 0)
    other = claimed_errors(net, *one[:2], turned, margin=MARGIN, size=SIZE, compute=CPU)
    assert other["claimed"].to_numpy()[::-1] == pytest.approx(whole["claimed"], abs=1e-6)


def test_a_field_without_cells_has_no_rows(random):
    one = random.standard_normal((1, 12, 12))
    none = np.zeros((12, 12), int)
    assert judge_cells(one, one, one, none, unit="w", margin=1) == []
    net = confidence_head(3, 2, width=4)
    found = claimed_errors(net, one, one, none, margin=1, compute=CPU)
    assert (len(found), found.columns[0]) == (0, "label")
    assert len(cell_table(one, one, none, unit="w")) == 0
    with pytest.raises(DataError, match="no field has a labelled cell"):
        cell_size([none])


def test_the_head_ranks_cells_of_new_fields_by_their_true_error():
    fields = range(28)
    cells = [cell for i in fields for cell in cells_of(i)]
    units = {"train": [f"f{i}" for i in fields[:16]], "validate": [f"f{i}" for i in fields[16:20]]}
    parts = cell_parts(cells, units)
    assert [len(rows) for rows in parts.values()] == [256, 64]
    net = confidence_head(3, 2)
    plan = Plan(lr=0.01, epochs=12)
    story = fit_confidence(net, cells, parts, plan=plan, compute=CPU)
    best = story.rows[story.best_epoch]
    assert best["val_loss"] < 0.5 * best["val_constant"]
    ranks = {"fitted": [], "untrained": []}
    untrained = [confidence_head(3, 2, width=4, seed=seed) for seed in range(5)]
    for i in fields[20:]:
        prediction, mask, truth, labels = planted_field(i)
        error = cell_table(prediction, truth, labels, unit=f"f{i}").set_index("label")["error"]
        for name, heads in (("fitted", [net]), ("untrained", untrained)):
            for head in heads:
                told = claimed_errors(
                    head, prediction, mask, labels, margin=MARGIN, size=SIZE, compute=CPU
                )
                ranks[name].append(spearmanr(told["claimed"], error.loc[told["label"]])[0])
    within = np.array(ranks["fitted"])  # a field is the unit: one number for each
    assert within.mean() > 0.7
    assert within.min() > 0.4
    assert abs(np.mean(ranks["untrained"])) < 0.35


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"margin": -1}, UsageError, "a margin of -1"),
        ({"size": (3,)}, UsageError, r"a size of \(3,\)"),
        ({"labels": np.zeros((5, 6), int)}, DataError, r"labels of \(5, 6\)"),
        ({"labels": np.full((8, 8), -1)}, DataError, "negative"),
        ({"truth": np.zeros((2, 8, 8))}, DataError, r"a truth of \(2, 8, 8\)"),
        ({"truth": np.full((1, 8, 8), np.nan)}, DataError, "not finite"),
        ({"mask": np.zeros((1, 8, 9))}, DataError, r"shape \(1, 8, 9\) is not registered"),
    ],
)
def test_what_cannot_be_judged_is_refused(random, change, kind, message):
    one = random.standard_normal((1, 8, 8))
    given = {"prediction": one, "mask": one, "truth": one, "labels": np.ones((8, 8), int)}
    with pytest.raises(kind, match=message):
        judge_cells(**(given | {"unit": "w", "margin": 1} | change))


def test_a_head_for_other_channels_and_units_in_two_parts_are_refused(random):
    one = random.standard_normal((1, 8, 8))
    labels = np.ones((8, 8), int)
    net = confidence_head(4, 2, width=4)
    with pytest.raises(DataError, match="a head of 4 channels"):
        claimed_errors(net, one, one, labels, margin=1, compute=CPU)
    with pytest.raises(DataError, match="unit 'a' stands in 'train' and in 'test'"):
        cell_parts([], {"train": ["a"], "test": ["a"]})
