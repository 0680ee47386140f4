"""Counting pixels by hand."""

import pytest
import torch

from attributome.metrics.localisation import context, mean_inside, precision, recall


@pytest.fixture
def masks():
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, 0, :2, :2] = 1
    return masks


@pytest.fixture
def region():
    region = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    region[:, 0, 1, :] = True
    return region


def test_recall_precision_context(masks, region):
    assert recall(masks, region)[0] == pytest.approx(2 / 4)
    assert precision(masks, region)[0] == pytest.approx(2 / 4)
    assert context(masks, region)[0] == pytest.approx((4 / 16) / (2 / 4))
    assert mean_inside(0.5 * masks, region)[0] == pytest.approx(0.25)


def test_empty_signatures_and_regions_are_undefined(masks, region):
    assert precision(masks, region)[1].isnan()
    assert recall(masks, region)[1] == 0
    assert recall(masks, region & False).isnan().all()
    assert context(masks, region & False)[0].isinf()
