"""Planted plates: what tells the treatment, where, and what does not."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from attributome.core.errors import UsageError
from attributome.data.planted_plates import CHANNELS, PATTERNS, planted_plates

SMALL = {"plates": 2, "wells": 2, "fields": 1, "cells": 2}


def test_crops_have_their_own_cell_in_the_middle(dims):
    plates = planted_plates(dims=dims, **SMALL)
    size = (40, 40) if dims == 2 else (16, 40, 40)
    assert plates.images.shape == (24, len(CHANNELS), *size)
    assert plates.images.dtype == np.float32
    assert np.isfinite(plates.images).all()
    assert plates.labels.shape == (24, *size)
    assert len(plates.spacing) == dims
    own = plates.labels == plates.own.reshape(-1, *[1] * dims)
    middle = tuple(s // 2 for s in size)
    assert own[(slice(None), *middle)].all()
    assert all(ndimage.label(each)[1] == 1 for each in own)
    share = own.reshape(24, -1).mean(1)
    assert share.min() > 0.08
    assert share.max() < 0.32
    others = (plates.labels > 1).reshape(24, -1).any(1)
    assert others.any()
    assert not others.all()


def test_the_table_says_where_each_cell_is_from():
    plates = planted_plates(plates=3, held_out=1, wells=4, fields=2, cells=3)
    table = plates.table
    assert len(table) == 3 * 3 * 4 * 2 * 3
    assert table["id"].is_unique
    assert [*table.groupby("plate")["split"].unique().map(set)] == [
        {"train", "validate"},
        {"train", "validate"},
        {"held out"},
    ]
    assert (table.groupby(["plate", "well"])[["treatment", "split"]].nunique() == 1).all(axis=None)
    assert [*table["treatment"].unique()] == [*PATTERNS][:3]
    assert (table["well"] == table["row"] + table["column"].map("{:02d}".format)).all()
    assert plates.ids("held out") == [*table["id"][table["plate"] == "P2"]]
    # neither a row nor a column of the plate is of one treatment
    assert table.groupby("row")["treatment"].nunique().min() == 3
    assert table.groupby("column")["treatment"].nunique().min() == 3


def test_the_cue_tells_the_treatment_on_training_plates_alone():
    table = planted_plates(plates=3, wells=3, fields=1, cells=1, cue="background").table
    counts = pd.crosstab(table["treatment"], [table["split"] == "held out", table["cue"]])
    trained, held = counts[False].to_numpy(), counts[True].to_numpy()
    assert ((trained > 0).sum(0) == 1).all()
    assert ((trained > 0).sum(1) == 1).all()
    assert (held == 1).all()  # independent, exactly


def test_a_cue_is_outside_all_cells(dims):
    given = {**SMALL, "dims": dims, "noise": 0, "seed": 3}
    plain, cued = planted_plates(**given), planted_plates(**given, cue="background")
    assert np.array_equal(plain.labels, cued.labels)
    gap = np.abs(plain.images - cued.images)
    deep = np.stack([ndimage.binary_erosion(each > 0, iterations=4) for each in plain.labels])
    assert deep.any()
    assert gap[:, 1][deep].max() < 0.02 < 0.2 < gap[:, 1][plain.labels == 0].mean()
    assert gap[:, 0].max() == 0


def test_the_mean_light_of_a_cell_is_the_same_under_all_treatments():
    given = {"wells": 3, "fields": 2, "cells": 6, "noise": 0, "plate_effect": 0}
    plates = planted_plates(**given, plates=1, held_out=0, treatments=4)
    own = plates.labels == 1
    light = np.array(
        [image[1][mine].mean() for image, mine in zip(plates.images, own, strict=True)]
    )
    means = pd.Series(light).groupby(plates.table["treatment"]).mean()
    assert means.max() / means.min() < 1.12


def test_cells_are_as_large_as_asked(dims):
    shares = []
    for size in (1.0, 0.7):
        own = planted_plates(dims=dims, **SMALL, cell_size=size).labels == 1
        shares.append(own.reshape(len(own), -1).mean(1))
    assert np.median(shares[1] / shares[0]) == pytest.approx(0.7**dims, rel=0.1)


def test_neighbours_do_not_respond_unless_asked_to():
    given = {**SMALL, "noise": 0, "effect": 2.0}
    plain, treated = planted_plates(**given), planted_plates(**given, neighbours="treated")
    assert np.array_equal(plain.labels, treated.labels)
    gap = np.abs(plain.images - treated.images)[:, 1]
    with_them = (plain.labels > 1).reshape(len(gap), -1).sum(1) > 60
    assert all(gap[i][plain.labels[i] > 1].max() > 0.1 for i in np.flatnonzero(with_them))


def test_a_cell_is_a_function_of_its_names():
    few = planted_plates(plates=2, wells=2, fields=1, cells=2, seed=5)
    many = planted_plates(plates=3, held_out=2, wells=3, fields=2, cells=3, seed=5)
    at = pd.Index(many.table["id"]).get_indexer(few.table["id"])
    assert (at >= 0).all()
    assert np.array_equal(many.images[at], few.images)
    assert np.array_equal(many.labels[at], few.labels)
    assert not np.array_equal(
        planted_plates(**SMALL, seed=6).images, planted_plates(**SMALL).images
    )


def test_plates_differ_in_light_as_much_as_asked():
    spread = []
    for effect in (0, 2):
        made = planted_plates(**SMALL | {"plates": 4}, plate_effect=effect, noise=0)
        means = [made.images[made.table["plate"] == f"P{p}"][:, 1].min() for p in range(4)]
        spread.append(np.ptp(means))
    assert spread[0] < 0.02 < spread[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"dims": 4},
        {"size": (16, 32)},
        {"dims": 3, "size": (32, 32)},
        {"dims": 3, "size": (4, 32, 32)},
        {"treatments": 1},
        {"treatments": 5},
        {"held_out": 4},
        {"cells": 0},
        {"wells": 25},
        {"noise": -1.0},
        {"cell_size": 0.4},
        {"cell_size": 1.1},
    ],
    ids=str,
)
def test_what_cannot_be_planted_is_refused(wrong):
    with pytest.raises(UsageError):
        planted_plates(**wrong)
