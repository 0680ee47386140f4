"""Grad-CAMO of a class: the share of its Grad-CAM that lies on the cell the crop is centred on.

For a target y of the outputs and a layer's activation A on a grid of N places, the map is
H = ReLU(Σₖ aₖ Aᵏ) with aₖ the mean of ∂y/∂Aᵏ over the grid (Grad-CAM, Selvaraju et al. 2017), or
H = ReLU(Σₖ ∂y/∂Aᵏ · Aᵏ) (HiResCAM, Draelos & Carin 2020). No minimum is subtracted and no maximum
divided by; the ReLU comes before the enlargement, which is linear. The score is the share of the
enlarged map inside the mask of the cell; `camo_scores` has what stands beside it, chance above all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from attributome.core.arrays import space
from attributome.core.errors import UsageError
from attributome.core.fidelity import check_gradient_target
from attributome.core.probe import layer_gradient
from attributome.core.targets import describe
from attributome.core.types import Images, Layer, Predictor, Target
from attributome.explain.cam import need_grid
from attributome.profiles.camo.scores import INTERPOLATION, Overlap, overlap

Method = Literal["grad_cam", "hires_cam", "argmax"]
FORMULA = "camo-1"
"""Changes when a score of the same map would."""
LEAST = 4
"""Places of a grid along each axis below which a map does not say where."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camo:
    """Scores of a batch, and how they were made; column j of `scores` is about `targets[j]`.

    `grid` and `crop` are the sizes of the layer and of the images; `finely` says whether IoU, Dice
    and pointing look at the enlarged map or at the grid. `formula` is the version of the formula.
    """

    scores: Overlap
    targets: tuple[str, ...]
    layer: str
    grid: tuple[int, ...]
    crop: tuple[int, ...]
    method: Method
    level: float
    dilate: tuple[int, ...]
    finely: bool
    interpolation: str = INTERPOLATION
    formula: str = FORMULA

    def how(self) -> str:
        """Everything but layer, grid and method that a score depends on, in one line."""
        enlarged = "box of a place" if self.method == "argmax" else self.interpolation
        places = "enlarged map" if self.finely else "grid"
        return (
            f"{self.formula}; {enlarged}; crop {_by(self.crop)}; dilated by {_by(self.dilate)}; "
            f"level {self.level:g} on the {places}"
        )

    def table(self, ids: Sequence[object]) -> pd.DataFrame:
        """A row for each cell and target, cell by cell; `ids` names the cells of the batch.

        Columns: `cell_id`, `target`, `layer`, `grid`, `method`, `score_cell`, `score_neighbour`,
        `score_background`, `mask_fraction` (chance), `enrichment`, `corrected`, `iou`, `dice`,
        `pointing`, `undefined` (whether the map is 0 everywhere), `formula` (see `how`).
        """
        scores = self.scores
        cells, count = scores.cell.shape
        if len(ids) != cells:
            raise UsageError(f"{len(ids)} ids for the scores of {cells} cells: give one for each")
        numbers = {
            "score_cell": scores.cell,
            "score_neighbour": scores.neighbours,
            "score_background": scores.background,
            "mask_fraction": scores.chance,
            "enrichment": scores.enrichment,
            "corrected": scores.corrected,
            "iou": scores.iou,
            "dice": scores.dice,
            "pointing": scores.pointing,
            "undefined": scores.undefined,
        }
        return pd.DataFrame(
            {
                "cell_id": [one for one in ids for _ in range(count)],
                "target": [*self.targets] * cells,
                "layer": self.layer,
                "grid": _by(self.grid),
                "method": self.method,
                **{name: of.detach().flatten().cpu().numpy() for name, of in numbers.items()},
                "formula": self.how(),
            }
        )


def class_camo(
    net: Predictor,
    x: Images,
    labels: Int[Tensor, "n *z"],
    own: Int[Tensor, " m"],
    *,
    layer: str,
    target: Target,
    method: Literal["grad_cam", "hires_cam"] = "grad_cam",
    level: float = 0.5,
    dilate: int | Sequence[int] = 0,
    least: int = LEAST,
    chunk: int | None = None,
) -> Camo:
    """Grad-CAMO of one target per cell, such as `Logit(classes)` with each cell's true class.

    `labels` are the label images of the crops `x`, with all cells, and `own` which of them each
    crop is about. Which class is meant changes the score, so there is no default. Scores follow
    `overlap`; `chunk` bounds how many cells run at once. A layer whose grid has fewer than `least`
    places along an axis that it has shrunk is refused (UsageError).
    """
    need_labels(x, labels, own)
    maps = class_maps(net, x, layer=layer, target=target, method=method, least=least, chunk=chunk)
    scores = overlap(maps, labels, own, level=level, dilate=dilate)
    return record(
        scores, (describe(target),), maps, x, layer=layer, method=method, level=level,
        dilate=dilate, finely=True,
    )  # fmt: skip


def class_maps(
    net: Predictor,
    x: Images,
    *,
    layer: str,
    target: Target,
    method: Literal["grad_cam", "hires_cam"] = "grad_cam",
    least: int = LEAST,
    chunk: int | None = None,
) -> Float[Tensor, "b 1 *t"]:
    """The maps that `class_camo` scores, not negative, on the grid of the layer."""
    need_method(method, ("grad_cam", "hires_cam"))
    check_gradient_target(target)
    act, grad = layer_gradient(net, layer, x, target, chunk=chunk)
    need_places(act, x, layer, least)
    act, grad = single(act), single(grad)
    weights = grad.mean(space(grad), keepdim=True) if method == "grad_cam" else grad
    return (weights * act).sum(1, keepdim=True).relu()


def need_places(act: Layer, x: Images, layer: str, least: int) -> None:
    """Refuse the activation of a layer that is too coarse to say where in the crop.

    An axis that the layer has not shrunk is as fine as the crop, however short it is.
    """
    need_grid(act, x, layer)
    grid, crop = tuple(act.shape[2:]), tuple(x.shape[2:])
    if any(places < min(least, size) for places, size in zip(grid, crop, strict=True)):
        raise UsageError(
            f"layer {layer!r} has a grid of {_by(grid)} for crops of {_by(crop)}, fewer than "
            f"{least} places along an axis, which cannot tell a cell from what is around it: "
            f"choose an earlier layer, larger crops, or smaller strides along that axis"
        )


def need_labels(x: Images, labels: Int[Tensor, "n *z"], own: Int[Tensor, " m"]) -> None:
    """Refuse label images that are not those of the crops."""
    if labels.shape != (len(x), *x.shape[2:]) or len(own) != len(x):
        raise UsageError(
            f"labels of shape {tuple(labels.shape)} and {len(own)} own labels for crops of shape "
            f"{tuple(x.shape)}: give a label image of the same size and an own label for each"
        )


def need_method(method: str, known: Sequence[str] = get_args(Method)) -> None:
    """Refuse a method that is not among those meant here."""
    if method not in known:
        raise UsageError(f"no method {method!r} here; choose one of {', '.join(known)}")


def single(maps: Tensor) -> Tensor:
    """In single precision at least: sums over a grid are too long for half of it."""
    return maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps


def record(
    scores: Overlap,
    targets: tuple[str, ...],
    maps: Layer,
    x: Images,
    *,
    layer: str,
    method: Method,
    level: float,
    dilate: int | Sequence[int],
    finely: bool,
) -> Camo:
    """Scores with where they come from: `maps` and `x` give the sizes."""
    axes = x.ndim - 2
    return Camo(
        scores=scores,
        targets=targets,
        layer=layer,
        grid=tuple(maps.shape[2:]),
        crop=tuple(x.shape[2:]),
        method=method,
        level=level,
        dilate=(dilate,) * axes if isinstance(dilate, int) else tuple(dilate),
        finely=finely,
    )


def _by(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
