"""Remedies as functions of tensors: the penalty's value and slopes, and what is pasted where."""

import torch
from torch import nn

from attributome.core.targets import Logit
from attributome.predictors.cells import cell_network
from attributome.profiles.camo.classes import class_camo
from attributome.profiles.camo.scores import overlap
from attributome.profiles.learning.remedies import (
    background_mean,
    erase_cell,
    erase_neighbours,
    masked,
    overlap_loss,
    overlap_penalty,
    own_cell,
    replace_background,
    replace_surroundings,
    swap_cell,
    without_cells,
)


def crops(dims, count=3, side=8, seed=0):
    """Noise, an own cell (7) in the middle, and a neighbour (9) in a corner."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 2, *[side] * dims, generator=draw, dtype=torch.float64)
    labels = torch.zeros(count, *[side] * dims, dtype=torch.long)
    labels[(slice(None), *[slice(3, 6)] * dims)] = 7
    labels[(slice(None), *[slice(0, 2)] * dims)] = 9
    return x, labels, torch.full((count,), 7)


def head(maps, weight):
    return maps.flatten(2).mean(2) @ weight


def test_the_loss_is_one_minus_the_score_of_the_map(dims):
    net = cell_network(2, 3, size=(8,) * dims, kind="small", width=2, dropout=0.0).double().eval()
    x, labels, own = crops(dims)
    classes = torch.tensor([0, 2, 1])
    maps = net.maps(x)
    scores = net.logits(maps).gather(1, classes[:, None])[:, 0]
    loss, defined = overlap_loss(scores, maps, labels, own)
    found = class_camo(net, x, labels, own, layer="body", target=Logit(classes)).scores.cell[:, 0]
    assert torch.equal(defined, ~found.isnan())
    assert defined.any()
    torch.testing.assert_close(loss[defined], (1 - found)[defined])


def test_slopes_of_second_order_are_those_of_the_loss(dims):
    draw = torch.Generator().manual_seed(1)
    given = torch.randn(2, 2, *[3] * dims, generator=draw, dtype=torch.float64)
    weight = torch.randn(2, generator=draw, dtype=torch.float64)
    _, labels, own = crops(dims, count=2)

    def loss(given, weight):
        maps = given * 1.0
        # not linear in the maps, so that the slope itself depends on them
        scores = (maps.tanh().flatten(2).mean(2) * weight).sum(1)
        return overlap_loss(scores, maps, labels, own)[0]

    assert torch.autograd.gradcheck(
        loss, (given.requires_grad_(), weight.requires_grad_()), atol=1e-6
    )


def test_a_map_that_is_zero_adds_nothing_and_is_counted():
    _, labels, own = crops(2, count=2)
    maps = torch.rand(2, 3, 4, 4, dtype=torch.float64).requires_grad_()
    weight = torch.ones(3, dtype=torch.float64).requires_grad_()
    sign = torch.tensor([1.0, -1.0], dtype=torch.float64)
    scores = sign * (maps.flatten(2).mean(2) * weight).sum(1)
    loss, defined = overlap_loss(scores, maps, labels, own)
    assert defined.tolist() == [True, False]
    assert loss[1] == 0
    slopes = torch.autograd.grad(loss.sum(), (maps, weight))
    assert all(each.isfinite().all() for each in slopes)
    assert slopes[0][0].abs().max() > 0
    assert slopes[0][1].abs().max() == 0


def test_the_loss_of_a_sample_is_its_own():
    _, labels, own = crops(2)
    maps = torch.rand(3, 3, 4, 4, dtype=torch.float64).requires_grad_()
    weight = torch.rand(3, dtype=torch.float64)
    whole = overlap_loss(head(maps, weight), maps, labels, own)[0]
    parts = [
        overlap_loss(head(one, weight), one, labels[i : i + 1], own[i : i + 1])[0]
        for i, one in enumerate(maps.split(1))
    ]
    torch.testing.assert_close(whole, torch.cat(parts))


def test_one_step_along_the_slope_moves_the_map_onto_the_cell():
    torch.manual_seed(0)
    net = nn.Conv2d(2, 4, 3, padding=1).double()
    weight = torch.rand(4, dtype=torch.float64)
    x, labels, own = crops(2)
    step = torch.optim.SGD(net.parameters(), lr=0.5)
    losses = []
    for _ in range(20):
        maps = net(x).relu()
        loss = overlap_loss(head(maps, weight), maps, labels, own)[0].mean()
        losses.append(loss.item())
        step.zero_grad()
        loss.backward()
        step.step()
    assert losses[-1] < losses[0] - 0.02


def test_evidence_against_other_classes_evades_the_map_of_the_class_and_not_the_contrast():
    """Map 0 lies on the cell and speaks for class 1; map 1 lies beside it, against 0 and 2."""
    _, labels, own = crops(2, count=2)
    mine = own_cell(labels, own).double()
    maps = torch.cat([mine, 1 - mine], 1).requires_grad_()
    weight = torch.tensor([[0.0, 1.0, 0.0], [-2.0, 0.0, -2.0]], dtype=torch.float64)
    classes = torch.ones(2, dtype=torch.long)
    given = (head(maps, weight), classes, maps, labels, own)
    assert overlap_penalty(*given, of="class")[0].abs().max() == 0
    loss, defined = overlap_penalty(*given)
    assert defined.all()
    # contrasts 1 - 0 and 0 + 2, where the masks are
    inside, outside = mine.flatten(1).sum(1), 2 * (1 - mine).flatten(1).sum(1)
    torch.testing.assert_close(loss, outside / (inside + outside))


def test_the_contrast_is_the_own_logit_minus_the_mean_of_the_others(dims):
    _, labels, own = crops(dims)
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 4, *[4] * dims, generator=draw, dtype=torch.float64).requires_grad_()
    weight = torch.randn(4, 3, generator=draw, dtype=torch.float64)
    classes = torch.tensor([2, 0, 1])
    loss, _ = overlap_penalty(head(maps, weight), classes, maps, labels, own)
    for i, c in enumerate(classes.tolist()):
        others = [weight[:, k] for k in range(3) if k != c]
        along = weight[:, c] - (others[0] + others[1]) / 2
        cam = torch.einsum("k,k...->...", along, maps[i].detach()).abs()
        score = overlap(cam[None, None], labels[i : i + 1], own[i : i + 1]).cell[0, 0]
        torch.testing.assert_close(loss[i], 1 - score)


def test_masked_crops_hold_the_own_cell_alone(dims):
    x, labels, own = crops(dims)
    mine = own_cell(labels, own).expand_as(x)
    for fill in ("zero", "mean", "around"):
        made = masked(x, labels, own, fill=fill)
        assert torch.equal(made[mine], x[mine])
    assert masked(x, labels, own)[~mine].abs().max() == 0
    outside = masked(x, labels, own, fill="mean")
    for i in range(len(x)):  # each crop's and each channel's own mean, over background alone
        for c in range(2):
            expected = x[i, c][labels[i] == 0].mean()
            assert torch.allclose(outside[i, c][labels[i] != 7], expected)
    ground = (labels == 0)[:, None].expand_as(x)
    assert torch.equal(masked(x, labels, own, fill="around")[ground], x[ground])


def test_what_is_erased_is_filled_from_the_same_crops_background(dims):
    x, labels, own = crops(dims)
    kept = (labels == 0)[:, None].expand_as(x)
    for fill in ("zero", "mean", "around"):
        plain = without_cells(x, labels, fill=fill)
        assert torch.equal(plain[kept], x[kept])
    plain = without_cells(x, labels)
    for i in range(len(x)):
        for c in range(2):
            values = set(x[i, c][labels[i] == 0].tolist()) | {
                background_mean(x, labels)[i, c].item()
            }
            assert set(plain[i, c].flatten().tolist()) <= values
    # the first of the shifts that shows background is half the crop along y and x
    expected = x[0, 0].roll([4, 4], (-2, -1))
    middle = (3,) * dims
    assert plain[(0, 0, *middle)] == expected[middle]
    cell, others = own_cell(labels, own).expand_as(x), (labels == 9)[:, None].expand_as(x)
    erased = erase_cell(x, labels, own)
    assert torch.equal(erased[~cell], x[~cell])
    assert torch.equal(erased[cell], plain[cell])
    alone = erase_neighbours(x, labels, own)
    assert torch.equal(alone[~others], x[~others])
    assert torch.equal(alone[others], plain[others])


def test_a_crop_that_is_all_cells_is_filled_with_its_mean():
    x = torch.rand(2, 1, 4, 4)
    labels = torch.ones(2, 4, 4, dtype=torch.long)
    labels[1, 0, 0] = 0
    made = without_cells(x, labels)
    torch.testing.assert_close(made[0], x[0].mean().expand(1, 4, 4))
    torch.testing.assert_close(made[1, 0, 1, 1], x[1, 0, 0, 0])


def test_backgrounds_surroundings_and_cells_come_from_the_donor(dims):
    x, labels, own = crops(dims)
    donors, theirs, their_own = crops(dims, seed=1)
    theirs = theirs.roll(1, -1).where(theirs.roll(1, -1) != 7, 2)  # other places, other numbers
    theirs = torch.where(theirs == 9, 7, theirs)  # its neighbour has the number of our own cell
    their_own = torch.full((3,), 2)
    cell, ground = own_cell(labels, own).expand_as(x), (labels == 0)[:, None].expand_as(x)

    made = replace_background(x, labels, donors, theirs)
    assert torch.equal(made[~ground], x[~ground])
    assert torch.equal(made[ground], without_cells(donors, theirs)[ground])

    made, new = replace_surroundings(x, labels, own, donors, theirs, their_own)
    assert torch.equal(made[cell], x[cell])
    kept = ~cell & (theirs != 2)[:, None]
    assert torch.equal(made[kept], donors[kept])  # the donor's neighbours among it
    mine = labels == 7
    assert torch.equal(new == 7, mine)
    assert new.dtype == labels.dtype
    assert torch.equal(new > 7, (theirs == 7) & ~mine)
    assert torch.equal(new == 0, ((theirs == 0) | (theirs == 2)) & ~mine)

    made, new, number = swap_cell(x, labels, own, donors, theirs, their_own)
    assert torch.equal(number, their_own)
    pasted = own_cell(theirs, their_own).expand_as(x)
    assert torch.equal(own_cell(new, number).expand_as(x), pasted)
    assert torch.equal(made[pasted], donors[pasted])
    assert not torch.equal(made[cell & ~pasted], x[cell & ~pasted])  # the old cell is gone
