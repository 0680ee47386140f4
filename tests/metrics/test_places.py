"""Scores of where a map lies against loops and scikit-learn, and at the ends of their scales."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from attributome.core.errors import UsageError
from attributome.metrics import localisation as places
from oracles import metrics as oracle

SCORES = (
    places.pointing_game,
    places.relevance_mass,
    places.relevance_rank,
    places.iou_at_area,
    places.average_precision,
)


@pytest.fixture
def small(dims):
    """Maps with ties, and a region of about a third of each field."""
    draw = torch.Generator().manual_seed(4)
    shape = (4, 1, *[5, 4, 2][:dims])
    maps = torch.randn(shape, generator=draw, dtype=torch.double).round(decimals=0)
    return maps, torch.rand(shape, generator=draw) < 0.35


@pytest.mark.parametrize("score", SCORES)
def test_inside_is_perfect_and_outside_is_worst(small, score):
    _, region = small
    inside = region.double()
    assert score(inside, region).tolist() == [1, 1, 1, 1]
    outside = 1 - inside
    if score is places.average_precision:  # the worst order has a precision above 0 at its end
        for i in range(4):
            wanted = oracle.average_precision(outside[i].numpy(), region[i].numpy())
            assert score(outside, region)[i].item() == pytest.approx(wanted)
    else:
        assert score(outside, region).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("score", SCORES)
def test_what_says_nothing_is_undefined(small, score):
    maps, region = small
    assert score(0 * maps + 2, region).isnan().all()
    assert score(maps, region & False).isnan().all()
    assert score(maps, region | True).isnan().all()


@pytest.mark.parametrize("score", SCORES)
def test_channels_are_summed(small, score):
    maps, region = small
    assert torch.equal(score(torch.cat([2 * maps, -maps], 1), region), score(maps, region))


def test_ranks_and_areas_are_those_of_the_loop(small):
    maps, region = small
    for i in range(4):
        hit = oracle.relevance_rank(maps[i].numpy(), region[i].numpy())
        assert places.relevance_rank(maps, region)[i].item() == pytest.approx(hit)
        assert places.iou_at_area(maps, region)[i].item() == pytest.approx(hit / (2 - hit))


def test_average_precision_is_that_of_scikit_learn(small):
    maps, region = small
    ours = places.average_precision(maps, region)
    for i in range(4):
        values, labels = maps[i].numpy(), region[i].numpy()
        assert ours[i].item() == pytest.approx(oracle.average_precision(values, labels))
        wanted = average_precision_score(labels.ravel(), values.ravel())
        assert ours[i].item() == pytest.approx(wanted)


def test_mass_splits_by_sign(small):
    maps, region = small
    for i in range(4):
        values, inside = maps[i].numpy(), region[i].numpy()
        for sign, part in (
            ("positive", np.maximum(values, 0)),
            ("negative", np.maximum(-values, 0)),
            ("both", np.abs(values)),
        ):
            told = places.relevance_mass(maps, region, sign=sign)[i].item()
            assert told == pytest.approx(part[inside].sum() / part.sum())
    assert places.relevance_mass(-maps.abs(), region).isnan().all()


@pytest.mark.parametrize("tolerance", [0.0, 0.4, 0.75, 1.0, 1.6])
def test_pointing_reaches_as_far_as_the_loop_says(small, tolerance):
    maps, region = small
    size = (0.5, 0.7, 0.3)[: maps.ndim - 2]
    ours = places.pointing_game(maps, region, tolerance_um=tolerance, pixel_size=size)
    for i in range(4):
        wanted = oracle.pointing(maps[i, 0].numpy(), region[i, 0].numpy(), tolerance, size)
        assert ours[i].item() == pytest.approx(wanted)


def test_pointing_tells_micrometres_from_pixels():
    """The largest value is two pixels off along an axis of 0.2 µm, or along one of 1 µm."""
    maps, region = torch.zeros(2, 1, 5, 5), torch.zeros(2, 1, 5, 5, dtype=torch.bool)
    region[:, 0, 2, 2] = True
    maps[0, 0, 2, 4] = maps[1, 0, 4, 2] = 1
    near = places.pointing_game(maps, region, tolerance_um=0.4, pixel_size=(1.0, 0.2))
    assert near.tolist() == [1, 0]
    with pytest.raises(UsageError, match="needs the pixel size along each of 2 axes"):
        places.pointing_game(maps, region, tolerance_um=0.4)
