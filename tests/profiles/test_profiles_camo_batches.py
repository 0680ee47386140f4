"""Scores of cells in batches are those of all cells at once, and fit a profile's files."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from attributome.core.errors import UsageError
from attributome.core.targets import Logit
from attributome.profiles.camo.batches import camo_over, crops_of, feature_blocks
from attributome.profiles.camo.classes import class_camo
from attributome.profiles.camo.features import feature_camo
from attributome.profiles.formats import read_blocks, write_parquet
from attributome.profiles.single_cells import from_arrays

CLASSES = np.array([0, 1, 0, 2, 2, 1, 0])


@pytest.fixture
def cells(dims, random):
    size = (8, 6) if dims == 2 else (4, 8, 6)
    labels = np.zeros((7, *size), np.int32)
    labels[..., 1:4, 2:5] = 2
    labels[3:, ..., 5:, :3] = 1
    images = random.random((7, 2, *size), np.float32)
    table = pd.DataFrame({"id": [f"c{i}" for i in range(7)], "field": "f", "well": "A01"})
    return from_arrays(table, images, labels, np.full(7, 2), ["DNA", "ER"])


@pytest.fixture
def net(dims):
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[dims]
    return nn.Sequential(conv(2, 5, 3, padding=1), pool(1), nn.Flatten(), nn.Linear(5, 3))


def by_class(net):
    def score(crops):
        target = Logit(torch.from_numpy(CLASSES[crops.rows]))
        return class_camo(net, crops.images, crops.labels, crops.own, layer="0", target=target)

    return score


def by_feature(net):
    return lambda crops: feature_camo(
        net, crops.images, crops.labels, crops.own, layer="0", pool="mean"
    )


def test_batches_are_the_whole(cells, net):
    told = []
    parts = camo_over(
        crops_of(cells, batch=3), by_class(net), total=7, progress=lambda *said: told.append(said)
    )
    tables = list(parts)
    assert [len(one) for one in tables] == [3, 3, 1]
    (whole,) = camo_over(crops_of(cells, batch=7), by_class(net))
    together = pd.concat(tables, ignore_index=True)
    pd.testing.assert_frame_equal(together, whole, rtol=1e-5, atol=1e-6)
    assert whole["cell_id"].tolist() == cells.table["id"].tolist()
    zeros = int(whole["undefined"].sum())
    assert [done for done, _ in told] == [3 / 7, 6 / 7, 1]
    assert told[-1][1] == f"7 cells, {zeros} of 7 maps undefined"


def test_some_rows_come_in_their_order(cells, net):
    rows = np.array([5, 0, 3])
    (some,) = camo_over(crops_of(cells, rows=rows), by_class(net))
    (whole,) = camo_over(crops_of(cells), by_class(net))
    wanted = whole.iloc[rows].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, wanted, rtol=1e-5, atol=1e-6)


def test_features_are_columns_beside_the_profile(cells, net, tmp_path):
    write_parquet(
        tmp_path / "camo.parquet", feature_blocks(crops_of(cells, batch=4), by_feature(net))
    )
    found = pd.concat(read_blocks(tmp_path / "camo.parquet"), ignore_index=True)
    names = [f"0_mean_{j:03d}" for j in range(5)]
    assert list(found) == ["Metadata_id", "Metadata_mask_share", *names]
    (crops,) = crops_of(cells)
    wanted = by_feature(net)(crops).scores
    np.testing.assert_allclose(found[names].to_numpy(), wanted.cell, rtol=1e-5)
    np.testing.assert_allclose(found["Metadata_mask_share"], wanted.chance[:, 0], rtol=1e-6)
    assert {str(found[name].dtype) for name in names} == {"float32"}


def test_only_one_batch_is_asked_for_at_a_time(cells, net):
    asked = []

    def score(crops):
        asked.append(len(crops.ids))
        return by_class(net)(crops)

    tables = camo_over(crops_of(cells, batch=2), score)
    next(tables)
    assert asked == [2]


def test_what_cannot_be_meant_is_refused(cells, net):
    with pytest.raises(UsageError, match="at least one"):
        next(crops_of(cells, batch=0))
    first, *_ = (by_class(net)(crops) for crops in crops_of(cells, batch=3))
    with pytest.raises(UsageError, match="a batch of 2 ids has scores of 3 cells"):
        list(camo_over(crops_of(cells, batch=2), lambda _: first))
