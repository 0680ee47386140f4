"""What makes a classifier look at the cell: a penalty, masked crops, other surroundings.

All are pure functions of a batch of crops `(b, c, *s)`, the labels of all cells in them
`(b, *s)` (0 is background) and which label is the own cell `(b,)`. They also make the images of
the causal tests: a cell erased, or another one in its place.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attributome.core.arrays import space
from attributome.core.errors import UsageError
from attributome.core.types import Images, Layer, Scores
from attributome.profiles.camo.scores import overlap

Labels = Int[Tensor, "b *s"]
Own = Int[Tensor, " b"]
Where = Bool[Tensor, "b 1 *s"]
Fill = Literal["zero", "mean", "around"]
FILLS = ("zero", "mean", "around")
Penalised = Literal["contrast", "class"]


def own_cell(labels: Labels, own: Own) -> Where:
    """Where the cell is that each crop is centred on."""
    found: Tensor = labels == own.view(-1, *[1] * (labels.ndim - 1))
    return found[:, None]


def overlap_loss(
    scores: Scores, maps: Layer, labels: Labels, own: Own, *, both_signs: bool = False
) -> tuple[Tensor, Bool[Tensor, " b"]]:
    """1 − Grad-CAMO of each sample `(b,)`, differentiable, and whether it is defined.

    `scores` (the logit of the class in question) come from `maps` in a graph; both stay in it, and
    the loss has gradients of second order. The map is ReLU(Σ mean gradient · activation), enlarged
    linearly to the crop, and its share inside the own cell is Grad-CAMO (Selvaraju et al. 2017 for
    the map). With `both_signs` it is the absolute value, |Σ mean gradient · activation|, so that
    evidence against counts where it lies as well. Where the map is zero everywhere there is no
    share: the loss is then 0 with zero gradient, and `defined` is False, to be counted. Scores must
    not depend on other samples' maps, so between `maps` and the scores no norm may look at the
    batch.
    """
    slope = torch.autograd.grad(scores.sum(), maps, create_graph=True)[0]
    cam = (slope.mean(space(maps), keepdim=True) * maps).sum(1, keepdim=True)
    found = overlap(cam.abs() if both_signs else cam.relu(), labels, own, fine=False)
    defined = ~found.undefined[:, 0]
    return torch.where(defined, 1 - found.cell[:, 0], 0.0), defined


def overlap_penalty(
    logits: Float[Tensor, "b k"],
    classes: Int[Tensor, " b"],
    maps: Layer,
    labels: Labels,
    own: Own,
    *,
    of: Penalised = "contrast",
) -> tuple[Tensor, Bool[Tensor, " b"]]:
    """`overlap_loss` of each sample's own class in one of two forms.

    `"class"` is 1 − Grad-CAMO of the logit of the own class. A network can satisfy it and still go
    by what is beside the cell: evidence there *against the other classes* leaves the map of the own
    class alone, and what is negative is cut off by the ReLU. `"contrast"` therefore takes
    the own logit minus the mean of the others', and the absolute value of its map.
    """
    mine = logits.gather(1, classes[:, None])[:, 0]
    if of == "class":
        return overlap_loss(mine, maps, labels, own)
    others = (logits.sum(1) - mine) / (logits.shape[1] - 1)
    return overlap_loss(mine - others, maps, labels, own, both_signs=True)


def masked(x: Images, labels: Labels, own: Own, *, fill: Fill = "zero") -> Images:
    """The own cell alone, on zeros or on the mean of the crop's background (per channel).

    `"around"` leaves the crop's own background and erases its neighbours only.
    """
    _check_fill(fill)
    if fill == "around":
        return erase_neighbours(x, labels, own)
    ground = torch.zeros_like(x) if fill == "zero" else background_mean(x, labels).expand_as(x)
    return torch.where(own_cell(labels, own), x, ground)


def erase_cell(x: Images, labels: Labels, own: Own, *, fill: Fill = "around") -> Images:
    """The crop without its own cell; see `without_cells` for what is put there."""
    return torch.where(own_cell(labels, own), without_cells(x, labels, fill=fill), x)


def erase_neighbours(x: Images, labels: Labels, own: Own, *, fill: Fill = "around") -> Images:
    """The crop with its own cell as the only one."""
    others = (labels > 0)[:, None] & ~own_cell(labels, own)
    return torch.where(others, without_cells(x, labels, fill=fill), x)


def without_cells(x: Images, labels: Labels, *, fill: Fill = "around") -> Images:
    """The background of each crop, also where there are cells.

    `"around"` copies it from elsewhere in the same crop: the crop shifted around by half its size
    (then by a quarter, along some axes or all of them), wherever the shifted crop shows background.
    So grain and brightness stay, with seams. What no shift covers is the mean of the background.
    """
    _check_fill(fill)
    lost = (labels > 0)[:, None]
    if fill == "zero":
        return torch.where(lost, 0.0, x)
    made = torch.where(lost, background_mean(x, labels), x)
    if fill == "mean":
        return made
    ground, axes = ~lost, space(x)[-2:]
    for part in (2, 4):
        for along in (axes, axes[:1], axes[1:]):
            by = [x.shape[axis] // part for axis in along]
            for sign in (1, -1) if part > 2 else (1,):
                steps = [sign * step for step in by]
                shifted, clear = torch.roll(x, steps, along), torch.roll(ground, steps, along)
                made = torch.where(lost & clear, shifted, made)
                lost = lost & ~clear
    return made


def background_mean(x: Images, labels: Labels) -> Float[Tensor, "b c *o"]:
    """Mean of each channel outside all cells; of the whole crop where cells are everywhere."""
    ground = (labels == 0)[:, None].to(x)
    ground = torch.where(ground.flatten(1).any(1).view(-1, *[1] * (x.ndim - 1)), ground, 1.0)
    axes = space(x)
    total: Tensor = (x * ground).sum(axes, keepdim=True) / ground.sum(axes, keepdim=True)
    return total


def replace_background(x: Images, labels: Labels, donors: Images, donor_labels: Labels) -> Images:
    """All cells of a crop where they are, on the background of another crop."""
    return torch.where((labels > 0)[:, None], x, without_cells(donors, donor_labels))


def replace_surroundings(
    x: Images, labels: Labels, own: Own, donors: Images, donor_labels: Labels, donor_own: Own
) -> tuple[Images, Labels]:
    """The own cell among the neighbours and on the background of another crop, and new labels.

    The donor's own cell is erased first. Its neighbours keep their places behind the pasted cell,
    with numbers above that of the own cell.
    """
    mine = own_cell(labels, own)
    images = torch.where(mine, x, erase_cell(donors, donor_labels, donor_own))
    left = (donor_labels > 0) & ~own_cell(donor_labels, donor_own)[:, 0]
    number = own.view(-1, *[1] * (labels.ndim - 1))
    around = torch.where(left, donor_labels + number, 0)
    return images, torch.where(mine[:, 0], labels, around.to(labels))


def swap_cell(
    x: Images, labels: Labels, own: Own, donors: Images, donor_labels: Labels, donor_own: Own
) -> tuple[Images, Labels, Own]:
    """The own cell of another crop in the surroundings of this one."""
    images, made = replace_surroundings(donors, donor_labels, donor_own, x, labels, own)
    return images, made, donor_own


def _check_fill(fill: str) -> None:
    if fill not in FILLS:
        raise UsageError(f"fill {fill!r}; there are {', '.join(FILLS)}")
