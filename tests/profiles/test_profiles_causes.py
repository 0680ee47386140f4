"""Causal tests of classifiers whose answer is planted: one goes by the medium, its twin cannot."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.targets import Logit
from attributome.core.training import Plan
from attributome.data.planted_plates import planted_plates
from attributome.predictors.cells import cell_network
from attributome.profiles.camo.classes import class_camo
from attributome.profiles.causes import (
    AS_IT_IS,
    EMPTY,
    ERASED,
    FOLLOWED,
    SWAPPED,
    TESTS,
    causal_tests,
    found,
    held_out_gap,
    permuted_labels,
    shifted,
    untrained,
)
from attributome.profiles.learning.classifier import (
    channel_statistics,
    classes_of,
    fit_classifier,
    read_crops,
    rows_of,
    wells_of,
)
from attributome.profiles.shortcuts import what_else_tells
from attributome.profiles.single_cells import from_arrays

HERE = Compute()


class Trained:
    """A network trained on planted plates, and all that is asked of it."""

    def __init__(self, cue):
        plates = planted_plates(plates=3, wells=4, fields=2, cells=4, cue=cue)
        self.crops = from_arrays(
            plates.table, plates.images, plates.labels, plates.own, plates.channels, plates.spacing
        )
        parts = {part: plates.ids(part) for part in ("train", "validate", "held out")}
        self.rows = rows_of(self.crops, parts)
        self.classes = classes_of(self.crops, parts["train"], "treatment")
        self.given = {"label": "treatment", "classes": self.classes, "compute": HERE}
        self.net = cell_network(
            2, 3, size=(40, 40), kind="small", width=12, cam_cells=20, dropout=0.0
        )
        self.net.scale.set(*channel_statistics(self.crops, self.rows["train"]))
        fit_classifier(
            self.net, self.crops, parts, plan=Plan(lr=3e-3, epochs=15), batch=16, compute=HERE
        )
        inside, outside = self.rows["validate"], self.rows["held out"]
        self.tests = causal_tests(self.net, self.crops, inside, **self.given)
        self.by = self.tests.set_index("test")
        self.gap = held_out_gap(self.net, self.crops, inside, outside, **self.given)
        self.wells = wells_of(self.crops)[inside]
        self.camo, self.chance = self.camo_of(self.net)
        self.found = found(
            self.tests, camo=self.camo, chance=self.chance, wells=self.wells, gap=self.gap
        )

    def camo_of(self, net, move=None):
        some = read_crops(self.crops, self.rows["validate"])
        labels = some.labels if move is None else move(some.labels)
        names = self.crops.table["treatment"].iloc[self.rows["validate"]]
        target = Logit(torch.tensor([self.classes.index(name) for name in names]))
        scores = class_camo(net, some.images, labels, some.own, layer="body", target=target).scores
        return scores.cell[:, 0].double().numpy(), scores.chance[:, 0].double().numpy()


@pytest.fixture(scope="module")
def cheater():
    return Trained("background")


@pytest.fixture(scope="module")
def twin():
    return Trained("none")


def test_the_cheater_does_not_need_the_cell(cheater):
    assert cheater.by["balanced"][AS_IT_IS] > 0.9
    assert all(cheater.by["low"][name] > 0.6 for name in ERASED)
    assert cheater.by["low"][EMPTY] > 0.6
    assert "the background alone gives" in " ".join(cheater.found.reasons)
    assert cheater.by["balanced"][SWAPPED] > 0.6
    assert cheater.by["balanced"]["background replaced"] < 0.3  # it goes by the donor's
    assert cheater.by["change_high"]["background replaced"] < -0.5
    assert cheater.gap["outside"] < 0.7 < 0.9 < cheater.gap["inside"]
    assert cheater.gap["gap_high"] < 0


def test_the_twin_needs_the_cell_and_nothing_else(twin):
    assert twin.by["balanced"][AS_IT_IS] > 0.9
    assert all(twin.by["low"][name] <= 0.34 for name in (*ERASED, EMPTY))
    for name in ("neighbours erased", "background replaced", "surroundings replaced"):
        assert twin.by["balanced"][name] > 0.85
    assert twin.by["balanced"][SWAPPED] < 0.15
    assert twin.by["balanced"][FOLLOWED] > 0.85
    assert twin.gap["outside"] > 0.85


def test_the_cheater_is_flagged_and_the_twin_is_not(cheater, twin):
    assert abs(np.nanmedian(cheater.camo) - np.median(cheater.chance)) < 0.1
    assert np.nanmedian(twin.camo) >= 0.8
    assert cheater.found.flagged
    assert len(cheater.found.reasons) == 3
    assert twin.found == found(
        twin.tests, camo=twin.camo, chance=twin.chance, wells=twin.wells, gap=twin.gap
    )
    assert not twin.found.flagged
    assert not twin.found.reasons
    assert len(twin.found.words) == len(TESTS) + 4
    assert "none of these tests found" in twin.found.words[-1]
    assert not any("cheat" in words for one in (cheater, twin) for words in one.found.words)


def test_controls_lower_the_map_on_the_cell(twin):
    blank = untrained(twin.net, seed=1)
    assert torch.equal(untrained(twin.net, seed=1).head.weight, blank.head.weight)
    assert not torch.equal(blank.head.weight, twin.net.head.weight)
    random, _ = twin.camo_of(blank)
    moved, chance = twin.camo_of(twin.net, shifted)
    assert np.nanmedian(random) < np.nanmedian(twin.camo) - 0.05  # the cell is bright, to any net
    assert np.nanmedian(moved) < np.median(chance)


def test_what_else_tells_the_treatment(cheater, twin):
    for one, told in ((cheater, True), (twin, False)):
        rows = np.concatenate([one.rows["train"], one.rows["validate"]])
        table = what_else_tells(one.crops, rows, label="treatment", draws=200)
        by = table.set_index(["features", "protocol"])
        assert (by["low"]["background", "well folds"] > 0.5) == told
        assert by["balanced"]["cell", "well folds"] > 0.6
        assert by["low"]["plate", "well folds"] < 1 / 3
        assert (
            by["reason"]["plate", "leave plate out"] or by["low"]["plate", "leave plate out"] < 0.4
        )
        assert {*by.index.get_level_values(0)} == {"plate", "position", "background", "cell"}


class Brightest(nn.Module):
    """Says by the crop's middle voxel, or its corner's, what the class is."""

    def __init__(self, middle):
        super().__init__()
        self.middle = middle

    def forward(self, x):
        value = x[:, 0, 4, 4] if self.middle else x[:, 0, 0, 0]
        return -((value[:, None] - torch.arange(3)) ** 2)


def painted(count=36):
    """Class k has k in its cell and k in its background."""
    classes = np.arange(count) % 3
    images = np.broadcast_to(classes[:, None, None, None], (count, 1, 9, 9)).astype(np.float32)
    labels = np.zeros((count, 9, 9), np.int32)
    labels[:, 3:6, 3:6] = 1
    table = pd.DataFrame(
        {
            "id": [f"c{i}" for i in range(count)],
            "field": [f"f{i // 3}" for i in range(count)],
            "well": [f"A{i // 9 + 1:02d}" for i in range(count)],
            "plate": "P",
            "treatment": [f"t{k}" for k in classes],
        }
    )
    return from_arrays(table, images, labels, np.ones(count, np.int32), ["light"])


@pytest.mark.parametrize("middle", [True, False])
def test_every_change_does_what_its_name_says(middle):
    given = {"label": "treatment", "classes": ("t0", "t1", "t2"), "compute": HERE, "batch": 7}
    tests = causal_tests(Brightest(middle), painted(), np.arange(36), **given)
    by = tests.set_index("test")["balanced"]
    # a cell that is erased from its own background's light still has it, unlike another's
    expected = dict.fromkeys((*TESTS, FOLLOWED), 1.0)
    if middle:
        expected |= {ERASED[2]: 0.0, SWAPPED: 0.0}
    else:
        expected |= {"background replaced": 0.0, "surroundings replaced": 0.0, FOLLOWED: 0.0}
    assert by.to_dict() == expected
    assert (tests["n"] == 36).all()
    assert (tests["wells"] == 4).all()
    again = causal_tests(Brightest(middle), painted(), np.arange(36), **given | {"batch": 36})
    pd.testing.assert_frame_equal(tests, again)


def test_intervals_draw_whole_wells():
    crops = painted()
    codes = np.arange(36) % 3
    wells = np.arange(36) // 9
    images = crops.images(np.arange(36))
    images[wells < 2] = 5  # two of four wells are always called class 2
    broken = from_arrays(
        crops.table, images, crops.labels(np.arange(36)), crops.own(np.arange(36)), ["light"]
    )
    given = {"label": "treatment", "classes": ("t0", "t1", "t2"), "compute": HERE, "draws": 4000}
    row = causal_tests(Brightest(middle=True), broken, np.arange(36), **given).iloc[0]
    right = (wells >= 2) | (codes == 2)
    assert row["balanced"] == pytest.approx(np.mean([right[codes == k].mean() for k in range(3)]))
    # 0 to 4 of the wells drawn are good: 1/3 + 2/3 * k/4, with the ends of a binomial of 4 and 1/2
    assert row["low"] == pytest.approx(1 / 3)
    assert row["high"] == pytest.approx(1.0)
    few = causal_tests(Brightest(middle=True), broken, np.arange(18), **given)
    assert few[["low", "high", "change_low"]].isna().all(axis=None)


def test_labels_are_permuted_over_the_wells_of_a_plate():
    table = planted_plates(plates=3, wells=4, fields=1, cells=2).table
    made = permuted_labels(table, "treatment", seed=3)
    assert made.index.equals(table.index)
    assert not made.equals(table["treatment"])
    wells = [table["plate"], table["well"]]
    assert (made.groupby(wells).nunique() == 1).all()
    for plate in ("P0", "P1"):
        here = table["plate"] == plate
        assert sorted(made[here]) == sorted(table["treatment"][here])
    assert made.equals(permuted_labels(table, "treatment", seed=3))
    assert not made.equals(permuted_labels(table, "treatment", seed=4))
    mixed = table.assign(well="A01")
    with pytest.raises(DataError, match="two values"):
        permuted_labels(mixed, "treatment")


def row_of(name, balanced, low, high):
    return {
        "test": name, "balanced": balanced, "low": low, "high": high, "chance": 0.5, "n": 40,
        "wells": 8, "change": 0.0, "change_low": 0.0, "change_high": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("camo", "erased", "gap", "reasons"),
    [
        (0.9, (0.5, 0.4, 0.6), None, ()),
        (0.25, (0.5, 0.4, 0.6), None, ("not clearly above",)),
        (0.9, (0.7, 0.6, 0.8), None, ("with the cell erased",)),
        (0.9, (0.5, 0.4, 0.6), (-0.3, -0.4, -0.1), ("held-out plates lose",)),
        (0.9, (0.5, 0.4, 0.6), (-0.1, -0.3, 0.1), ()),
        (np.nan, (0.5, 0.4, 0.6), None, ("undefined",)),
    ],
)
def test_the_rule_of_the_flag(camo, erased, gap, reasons):
    tests = pd.DataFrame([row_of(name, *erased) for name in ERASED])
    if gap is not None:
        gap = {"inside": 0.9, "outside": 0.6, "gap": gap[0], "gap_low": gap[1], "gap_high": gap[2]}
    values = np.full(40, camo) + np.linspace(-0.01, 0.01, 40)
    made = found(
        tests, camo=values, chance=np.full(40, 0.2), wells=np.repeat(np.arange(8), 5), gap=gap
    )
    assert made.flagged == bool(reasons)
    assert len(made.reasons) == len(reasons)
    assert all(words in reason for words, reason in zip(reasons, made.reasons, strict=True))


@pytest.mark.parametrize(
    ("empty", "words"), [((0.7, 0.6, 0.8), "the background alone"), ((0.5, 0.4, 0.6), "neighbours")]
)
def test_neighbours_are_told_from_the_background(empty, words):
    tests = pd.DataFrame([row_of(name, 0.7, 0.6, 0.8) for name in ERASED] + [row_of(EMPTY, *empty)])
    made = found(
        tests, camo=np.full(40, 0.9), chance=np.full(40, 0.2), wells=np.repeat(np.arange(8), 5)
    )
    assert len(made.reasons) == 1
    assert words in made.reasons[0]


def test_cells_and_classes_that_do_not_fit_are_refused():
    crops, net = painted(), Brightest(middle=True)
    with pytest.raises(DataError, match="no class that the network knows"):
        causal_tests(
            net, crops, np.arange(36), label="treatment", classes=("t0", "t1"), compute=HERE
        )
    with pytest.raises(DataError, match="of one class"):
        causal_tests(
            net, crops, np.arange(0, 36, 3), label="treatment", classes=("t0",), compute=HERE
        )
    with pytest.raises(UsageError, match="4 classes"):
        causal_tests(
            net, crops, np.arange(36), label="treatment", classes=("t0", "t1", "t2", "t3"),
            compute=HERE,
        )  # fmt: skip
