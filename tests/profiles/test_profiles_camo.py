"""Grad-CAMO of a class is that of the plain formula, and finds what a hand-made network reads."""

from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from torch import nn

from attributome.core.arrays import resize
from attributome.core.errors import DataError, UsageError
from attributome.core.targets import Difference, Logit, LogProbability
from attributome.profiles.camo.classes import class_camo, class_maps
from attributome.profiles.camo.controls import (
    CONTROLS,
    controlled,
    neighbour,
    random_weights,
    rolled,
)
from attributome.profiles.camo.scores import Overlap

CLASSES = torch.tensor([1, 0, 2])
NAMES = tuple(Overlap.__dataclass_fields__)


def conv(dims, *args, **options):
    return (nn.Conv2d if dims == 2 else nn.Conv3d)(*args, **options)


class Net(nn.Module):
    """Half the size, then either a global mean and a linear head, or something not linear."""

    def __init__(self, dims, linear):
        super().__init__()
        self.body = nn.Sequential(conv(dims, 2, 5, 3, stride=2, padding=1), nn.Tanh())
        self.linear = linear
        self.head = nn.Linear(5, 3)
        self.double()

    def forward(self, x):
        a = self.body(x).flatten(2)
        return self.head(a.mean(2) if self.linear else a.exp().amax(2) * a.square().mean(2))


@pytest.fixture
def x(dims):
    size = (12, 8) if dims == 2 else (8, 12, 8)
    return torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def labels(x):
    found = torch.zeros(3, *x.shape[2:], dtype=torch.int32)
    found[:, 2:6, 2:7] = 3
    found[:2, 6:, :4] = 1
    found[:1, 7:, 5:] = 2
    return found


OWN = torch.tensor([3, 3, 3], dtype=torch.int32)


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize(
    ("method", "oracle"), [("grad_cam", LayerGradCam), ("hires_cam", LayerGradientXActivation)]
)
def test_it_is_the_share_of_captums_map(method, oracle, linear, x, labels, dims):
    net = Net(dims, linear)
    maps = oracle(net, net.body).attribute(x, target=CLASSES).detach()
    raw = maps.sum(1, keepdim=True).relu()
    found = class_maps(net, x, layer="body", target=Logit(CLASSES), method=method)
    torch.testing.assert_close(found, raw)
    large, cell = resize(raw, x), (labels == 3)[:, None]
    share = (large * cell).flatten(1).sum(1) / large.flatten(1).sum(1)
    scores = class_camo(
        net, x, labels, OWN, layer="body", target=Logit(CLASSES), method=method
    ).scores
    torch.testing.assert_close(scores.cell[:, 0], share)


def test_behind_a_global_mean_it_is_the_weights_of_the_head(x, labels, dims):
    net = Net(dims, linear=True)
    wanted = torch.einsum("bf,bf...->b...", net.head.weight[CLASSES], net.body(x)).relu()
    wanted = wanted[:, None].detach() / wanted[0].numel()
    for method in ("grad_cam", "hires_cam"):
        found = class_maps(net, x, layer="body", target=Logit(CLASSES), method=method)
        torch.testing.assert_close(found, wanted)


def reader(dims, what):
    """Hears stains of cell, neighbours and background (channels 0 to 2), and speaks of one."""
    net = nn.Sequential(
        conv(dims, 3, 3, 1, bias=False),
        nn.ReLU(),
        (nn.AdaptiveAvgPool2d if dims == 2 else nn.AdaptiveAvgPool3d)(1),
        nn.Flatten(),
        nn.Linear(3, 2, bias=False),
    ).double()
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3).view(3, 3, *[1] * dims))
        net[4].weight.zero_()
        net[4].weight[1, what] = 1
    return net


def stained(labels, own):
    cell = labels == own.view(-1, *[1] * (labels.ndim - 1))
    parts = [cell, (labels > 0) & ~cell, labels == 0]
    noise = torch.rand(3, 3, *labels.shape[1:], generator=torch.Generator().manual_seed(2))
    return torch.stack(parts, 1) * (noise.double() + 0.5)


@pytest.mark.parametrize("what", [0, 1, 2])
def test_a_network_that_reads_one_thing_is_seen_to(what, labels, dims):
    x = stained(labels, OWN)
    scores = class_camo(reader(dims, what), x, labels, OWN, layer="1", target=Logit(1)).scores
    found = torch.stack([scores.cell, scores.neighbours, scores.background], 2)[:, 0]
    kept = [0, 1] if what == 1 else [0, 1, 2]  # the last crop has no neighbours to read
    assert torch.equal(found[kept], torch.eye(3).double()[what].expand(len(kept), 3))
    assert scores.pointing[kept, 0].tolist() == [float(what == 0)] * len(kept)
    assert scores.undefined[:, 0].tolist() == [False, False, what == 1]
    assert scores.cell.isnan().equal(scores.undefined)


def test_the_table_says_how_each_score_was_made(x, labels, dims):
    found = class_camo(
        Net(dims, True), x, labels, OWN, layer="body", target=Logit(CLASSES), dilate=1, level=0.3
    )
    table = found.table(["a", "b", "c"])
    assert list(table) == [
        "cell_id", "target", "layer", "grid", "method", "score_cell", "score_neighbour",
        "score_background", "mask_fraction", "enrichment", "corrected", "iou", "dice", "pointing",
        "undefined", "formula",
    ]  # fmt: skip
    assert table["cell_id"].tolist() == ["a", "b", "c"]
    assert set(table["target"]) == {"each sample's class"}
    assert set(table["grid"]) == {"6x4" if dims == 2 else "4x6x4"}
    crop, grown = ("12x8", "1x1") if dims == 2 else ("8x12x8", "1x1x1")
    assert set(table["formula"]) == {
        f"camo-1; linear, half-pixel centres; crop {crop}; dilated by {grown}; level 0.3 on the "
        f"enlarged map"
    }
    np.testing.assert_array_equal(table["score_cell"], found.scores.cell[:, 0])
    np.testing.assert_array_equal(table["score_neighbour"], found.scores.neighbours[:, 0])
    assert table["undefined"].dtype == bool
    with pytest.raises(UsageError, match="2 ids for the scores of 3 cells"):
        found.table(["a", "b"])


def test_cells_are_independent_and_run_in_parts(x, labels, dims):
    net = Net(dims, linear=False)
    run = partial(class_camo, net, layer="body")
    whole = run(x, labels, OWN, target=Logit(CLASSES)).scores
    parts = run(x, labels, OWN, target=Logit(CLASSES), chunk=2).scores
    for i in range(3):
        alone = run(
            x[i : i + 1], labels[i : i + 1], OWN[i : i + 1], target=Logit(int(CLASSES[i]))
        ).scores
        for name in NAMES:
            torch.testing.assert_close(getattr(alone, name)[0], getattr(whole, name)[i])
            torch.testing.assert_close(getattr(parts, name)[i], getattr(whole, name)[i])


def test_the_target_counts(x, labels, dims):
    run = partial(class_camo, Net(dims, False), x, labels, OWN, layer="body")
    found = [run(target=t).scores.cell for t in (Logit(0), LogProbability(0), Difference(0, 1))]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[1], found[2])


def test_a_grid_that_is_too_coarse_is_refused():
    net = nn.Sequential(
        nn.Conv3d(1, 2, 1), nn.AvgPool3d((1, 4, 4)), nn.Flatten(2), nn.AdaptiveAvgPool1d(1),
        nn.Flatten(), nn.Linear(2, 2),
    )  # fmt: skip
    labels = torch.ones(1, 2, 16, 12).int()
    run = partial(class_camo, net, labels=labels, own=OWN[:1] * 0 + 1, target=Logit(0))
    x = torch.rand(1, 1, 2, 16, 12)
    with pytest.raises(UsageError, match="layer '1' has a grid of 2x4x3 for crops of 2x16x12"):
        run(x=x, layer="1")
    assert run(x=x, layer="1", least=3).grid == (2, 4, 3)
    assert run(x=x, layer="0").grid == (2, 16, 12)  # two slices are all there are
    with pytest.raises(UsageError, match="no grid of 3 spatial axes"):
        run(x=x, layer="5")
    with pytest.raises(DataError, match="label 4"):
        class_camo(net, x, labels, torch.tensor([4]), layer="0", target=Logit(0))


def test_labels_of_other_crops_are_refused(x, labels, dims):
    run = partial(class_camo, Net(dims, True), x, layer="body", target=Logit(0))
    for wrong in ((labels[:2], OWN), (labels[..., 1:], OWN), (labels, OWN[:1])):
        with pytest.raises(UsageError, match="give a label image of the same size"):
            run(*wrong)


def score(net, x, labels, own):
    return class_camo(net, x, labels, own, layer="1", target=Logit(1))


def test_controls_take_the_score_of_a_looking_network_away(labels, dims):
    x, net = stained(labels, OWN), reader(dims, 0)
    table = controlled(net, x, labels, OWN, ["a", "b", "c"], score, seed=1)
    counts = table.groupby("control")["cell_id"].agg("".join).to_dict()
    assert counts == dict.fromkeys(CONTROLS, "abc") | {"neighbour's mask": "ab"}
    cells = table.groupby("control")["score_cell"].mean()
    assert cells["none"] == 1
    assert cells["neighbour's mask"] == 0
    assert cells["rolled mask"] < 0.5
    assert cells["random weights"] != 1
    chance = table.groupby("control")["mask_fraction"].mean()
    assert chance["rolled mask"] == pytest.approx(chance["none"])
    again = controlled(net, x, labels, OWN, ["a", "b", "c"], score, seed=1)
    assert again.equals(table)


def test_without_neighbours_their_control_is_empty(labels, dims):
    alone = torch.where(labels == 3, 3, 0).int()
    found = controlled(reader(dims, 0), stained(alone, OWN), alone, OWN, [1, 2, 3], score)
    assert "neighbour's mask" not in set(found["control"])
    assert len(found) == 9


def test_the_neighbour_is_the_largest(labels):
    kept, found = neighbour(labels, OWN)
    sizes = [[(image == name).sum() for name in (1, 2)] for image in labels]
    assert kept.tolist() == [True, True, False]
    assert found.tolist() == [1 + int(sizes[0][1] > sizes[0][0]), 1, 0]
    assert neighbour(labels, torch.ones_like(OWN))[1].tolist() == [3, 3, 3]


def test_rolling_keeps_sizes_and_moves_the_centre(labels, dims):
    moved = rolled(labels)
    assert torch.equal(rolled(moved), labels)  # the sizes are even
    assert torch.equal(
        moved[0].unique(return_counts=True)[1], labels[0].unique(return_counts=True)[1]
    )
    centre = tuple(size // 2 for size in labels.shape[1:])
    assert moved[(0, *[0] * dims)] == labels[(0, *centre)]


def test_random_weights_leave_the_network_alone(dims):
    net = reader(dims, 0)
    before = [p.clone() for p in net.parameters()]
    twin = random_weights(net, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before, twin.parameters(), strict=True))
