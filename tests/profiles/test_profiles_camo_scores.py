"""Shares of a map are those of the enlarged map and the whole masks, without enlarging it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation

from attributome.core.errors import DataError, UsageError
from attributome.profiles.camo.scores import (
    Overlap,
    at_maximum,
    covered_shares,
    onto_grid,
    overlap,
    regions,
)

CROP = {2: (12, 8), 3: (6, 8, 4)}
GRIDS = {
    2: {"the crop's": (12, 8), "half": (6, 4), "no whole number": (5, 3), "finer": (30, 17)},
    3: {
        "the crop's": (6, 8, 4),
        "half": (3, 4, 2),
        "no whole number": (4, 3, 3),
        "finer": (7, 9, 9),
    },
}
NAMES = tuple(Overlap.__dataclass_fields__)


def crops(dims, count=3, seed=0):
    """Three blocks of different labels per crop, own the middle one."""
    labels = torch.zeros(count, *CROP[dims], dtype=torch.int32)
    labels[:, :3] = 4
    labels[:, 3:5, 1:5] = 7
    labels[:, 5:, 6:] = 9
    labels[1, 3:5, 1:3] = 0
    return labels, torch.tensor([7, 7, 4][:count], dtype=torch.int32)


def maps_on(grid, count=3, k=4, seed=0):
    drawn = torch.randn(count, k, *grid, generator=torch.Generator().manual_seed(seed))
    return drawn.double().relu()


def enlarged(maps, size):
    mode = {2: "bilinear", 3: "trilinear"}[len(size)]
    return F.interpolate(maps, size=size, mode=mode, align_corners=False)


def slowly(maps, cell, others, level):
    """Scores of one enlarged map by the book."""
    total, peak = maps.sum(), maps.max()
    on, top = maps >= level * peak, maps == peak
    share = maps[cell].sum() / total
    chance = cell.sum() / cell.size
    return {
        "cell": share,
        "neighbours": maps[others].sum() / total,
        "background": maps[~cell & ~others].sum() / total,
        "chance": chance,
        "enrichment": share / chance,
        "corrected": (share - chance) / (1 - chance),
        "iou": (on & cell).sum() / (on | cell).sum(),
        "dice": 2 * (on & cell).sum() / (on.sum() + cell.sum()),
        "pointing": (top & cell).sum() / top.sum(),
        "undefined": False,
    }


@pytest.mark.parametrize("where", GRIDS[2])
def test_it_is_the_mass_of_the_enlarged_map(dims, where):
    labels, own = crops(dims)
    maps = maps_on(GRIDS[dims][where])
    found = overlap(maps, labels, own, level=0.4)
    large = enlarged(maps, CROP[dims]).numpy()
    for i in range(3):
        cell = labels[i].numpy() == own[i].item()
        others = (labels[i].numpy() > 0) & ~cell
        for j in range(4):
            wanted = slowly(large[i, j], cell, others, 0.4)
            assert {name: getattr(found, name)[i, j].item() for name in NAMES} == pytest.approx(
                wanted, rel=1e-11, abs=1e-13
            )


@pytest.mark.parametrize("where", GRIDS[2])
def test_masks_on_the_grid_are_the_transpose_of_enlarging(dims, where):
    grid = GRIDS[dims][where]
    masks = torch.rand(2, 3, *CROP[dims], generator=torch.Generator().manual_seed(3)).double()
    leaf = torch.zeros(2, 3, *grid).double().requires_grad_()
    wanted = torch.autograd.grad((enlarged(leaf, CROP[dims]) * masks).sum(), leaf)[0]
    torch.testing.assert_close(onto_grid(masks, grid), wanted, rtol=1e-11, atol=1e-13)


def test_shares_sum_to_one_and_are_the_same_on_the_grid(dims):
    labels, own = crops(dims)
    maps = maps_on(GRIDS[dims]["half"]).float()
    fine, coarse = (overlap(maps, labels, own, fine=fine) for fine in (True, False))
    torch.testing.assert_close(
        fine.cell + fine.neighbours + fine.background, torch.ones(3, 4), rtol=0, atol=1e-6
    )
    for name in ("cell", "neighbours", "background", "chance", "enrichment", "corrected"):
        assert torch.equal(getattr(fine, name), getattr(coarse, name))


def test_on_the_grid_places_are_boxes(dims):
    """There the thresholded scores are those of the map enlarged to blocks."""
    labels, own = crops(dims)
    maps = maps_on(GRIDS[dims]["half"])
    found = overlap(maps, labels, own, fine=False)
    blocks = F.interpolate(maps, size=CROP[dims], mode="nearest")
    wanted = overlap(blocks, labels, own)
    for name in ("iou", "dice", "pointing"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name))


def test_a_box_that_holds_no_whole_pixels_is_covered_in_part():
    mask = torch.tensor([0.0, 1, 0, 0, 1])[None, None].double()
    box = 5 / 3  # pixels
    wanted = torch.tensor([(box - 1) / box, (2 - box) / box, 1 / box]).double()
    torch.testing.assert_close(covered_shares(mask, (3,))[0, 0], wanted)
    torch.testing.assert_close(covered_shares(mask, (3,)).mean(), mask.mean())


@pytest.mark.parametrize("factor", [1e-30, 1e-3, 7.0, 1e30])
def test_the_size_of_a_map_does_not_matter(dims, factor):
    labels, own = crops(dims)
    maps = maps_on(GRIDS[dims]["half"]).float()
    plain, scaled = overlap(maps, labels, own), overlap(maps * factor, labels, own)
    for name in NAMES:
        torch.testing.assert_close(getattr(plain, name), getattr(scaled, name))


def test_its_minimum_does():
    labels = torch.zeros(1, 4, 4, dtype=torch.int32)
    labels[:, :2] = 1
    maps = torch.where(labels == 1, 3.0, 1.0)[:, None]
    own = torch.tensor([1])
    assert overlap(maps, labels, own).cell.item() == pytest.approx(0.75)
    assert overlap(maps - maps.min(), labels, own).cell.item() == 1.0


@pytest.mark.parametrize("where", ["the crop's", "half", "no whole number"])
def test_a_uniform_map_scores_chance(dims, where):
    labels, own = crops(dims)
    found = overlap(torch.full((3, 1, *GRIDS[dims][where]), 0.3).double(), labels, own)
    share = (labels == own.view(-1, *[1] * dims)).double().flatten(1).mean(1)
    for name in ("cell", "chance", "iou", "pointing"):
        torch.testing.assert_close(getattr(found, name)[:, 0], share)
    torch.testing.assert_close(found.enrichment, torch.ones(3, 1).double())
    torch.testing.assert_close(found.corrected, torch.zeros(3, 1).double(), rtol=0, atol=1e-12)


def test_a_map_of_zeros_is_undefined_and_spoils_no_other(dims):
    labels, own = crops(dims)
    maps = maps_on(GRIDS[dims]["half"])
    maps[1, 2] = 0
    found, without = overlap(maps, labels, own), overlap(maps[:, [0, 1, 3]], labels, own)
    assert found.undefined.nonzero().tolist() == [[1, 2]]
    for name in set(NAMES) - {"chance", "undefined"}:
        assert getattr(found, name).isnan().nonzero().tolist() == [[1, 2]]
        torch.testing.assert_close(getattr(found, name)[:, [0, 1, 3]], getattr(without, name))


def test_a_mask_that_fills_its_crop_cannot_be_corrected_for():
    found = overlap(torch.rand(1, 1, 4, 4), torch.ones(1, 8, 8).int(), torch.tensor([1]))
    assert found.corrected.isnan().item()
    assert (found.cell.item(), found.enrichment.item()) == (1.0, 1.0)


@pytest.mark.parametrize("by", [1, (2, 0)])
def test_a_mask_may_be_grown_and_chance_with_it(by):
    labels, own = crops(2)
    found = regions(labels, own, dilate=by).numpy()
    reach = (by, by) if isinstance(by, int) else by
    box = np.ones([2 * r + 1 for r in reach], bool)
    for one, image, mine in zip(found, labels.numpy(), own.tolist(), strict=True):
        grown = binary_dilation(image == mine, box)
        np.testing.assert_array_equal(one[0], grown)
        np.testing.assert_array_equal(one[1], (image > 0) & ~grown)
        assert (one.sum(0) == 1).all()
    scores = overlap(maps_on((6, 4)), labels, own, dilate=by)
    torch.testing.assert_close(
        scores.chance[:, 0], torch.from_numpy(found[:, 0]).double().flatten(1).mean(1)
    )


def test_a_sample_does_not_see_the_others(dims):
    labels, own = crops(dims)
    maps = maps_on(GRIDS[dims]["no whole number"])
    together = overlap(maps, labels, own)
    for i in range(3):
        alone = overlap(maps[i : i + 1], labels[i : i + 1], own[i : i + 1])
        for name in NAMES:
            torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[i])


def test_shares_have_a_gradient_also_beside_an_undefined_map(dims):
    labels, own = crops(dims)
    maps = (maps_on(GRIDS[dims]["half"], k=2) + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m: overlap(m, labels, own).corrected, maps, fast_mode=True
    )
    empty = torch.zeros_like(maps).requires_grad_()
    score = overlap(torch.cat([maps, empty], 1), labels, own).cell.nan_to_num(0).sum()
    assert all(g.isfinite().all() for g in torch.autograd.grad(score, [maps, empty]))


def test_the_place_of_the_maximum(dims):
    labels, own = crops(dims)
    maps = torch.randn(
        3, 4, *GRIDS[dims]["half"], generator=torch.Generator().manual_seed(5)
    ).double()
    maps[0, 0] = -1.5  # constant: no maximum
    maps[1, 1].flatten()[[0, -1]] = 9.0  # two maxima
    found = at_maximum(maps, regions(labels, own))
    parts = regions(labels, own).numpy()
    blocks = F.interpolate(maps, size=CROP[dims], mode="nearest").numpy()
    for i in range(3):
        for j in range(4):
            if (i, j) == (0, 0):
                continue
            top = blocks[i, j] == blocks[i, j].max()
            wanted = [(top & part).sum() / top.sum() for part in parts[i]]
            got = [getattr(found, n)[i, j].item() for n in ("cell", "neighbours", "background")]
            assert got == pytest.approx(wanted)
    assert found.undefined.nonzero().tolist() == [[0, 0]]
    assert found.cell.isnan().nonzero().tolist() == [[0, 0]]
    assert found.iou.isnan().all()
    assert torch.equal(found.pointing.nan_to_num(-1), found.cell.nan_to_num(-1))


def test_what_is_no_map_of_this_crop_is_refused(dims):
    labels, own = crops(dims)
    maps = maps_on(GRIDS[dims]["half"])
    below, nan = maps.clone(), maps.clone()
    below[2, 1].flatten()[3] = -0.1
    nan[1, 3].flatten()[0] = torch.nan
    with pytest.raises(DataError, match="map 1 of sample 2 reaches from -0.1"):
        overlap(below, labels, own)
    with pytest.raises(DataError, match="map 3 of sample 1 .* finite"):
        overlap(nan, labels, own)
    with pytest.raises(DataError, match="map 3 of sample 1 holds"):
        at_maximum(nan, regions(labels, own))
    with pytest.raises(DataError, match="sample 1 of the batch .* label 5"):
        overlap(maps, labels, torch.tensor([7, 5, 4]))
    with pytest.raises(DataError, match="sample 0 of the batch .* label 0"):
        overlap(maps, labels, torch.tensor([0, 7, 4]))
    with pytest.raises(DataError, match="negative numbers"):
        overlap(maps, labels - 1, own)
    with pytest.raises(UsageError, match="as many axes"):
        overlap(maps[..., 0], labels, own)
    for level in (0.0, 1.5):
        with pytest.raises(UsageError, match="level"):
            overlap(maps, labels, own, level=level)
    for by in (-1, (1,) * (dims + 1)):
        with pytest.raises(UsageError, match="dilation"):
            overlap(maps, labels, own, dilate=by)
