"""How wrong a prediction is for each cell: the head of `confidence.py` on cells in their context.

A cell is seen as [prediction, mask, image, which voxels are its own] in a box around it that is
wider than the cell, and asked for 1 - |PCC| of its own voxels. Fields or wells are the unit: cells
of one field share its light, its focus and each other.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Integer

from attributome.core.compute import Compute
from attributome.core.cropping import Boxes, cut_boxes
from attributome.core.errors import DataError, UsageError
from attributome.core.probe import predict
from attributome.predictors.confidence import ConfidenceHead, Judged

Channels = Float[np.ndarray, "k *s"]
Truth = Float[np.ndarray, "j *t"]
Mask = Float[np.ndarray, "1 *m"]
Image = Float[np.ndarray, "i *u"]
Labels = Integer[np.ndarray, "*field"]

AT_ONCE = 64
"""Cells that are cut out of a field at once."""


def cell_size(fields: Sequence[np.ndarray]) -> tuple[int, ...]:
    """The smallest box that every labelled cell of these fields `(*s)` fits in, by its own box."""
    spans = [
        [part.stop - part.start for part in found]
        for labels in fields
        for found in _boxes(labels)
        if found is not None
    ]
    if not spans:
        raise DataError("no field has a labelled cell: there is no size of a cell")
    return tuple(max(lengths) for lengths in zip(*spans, strict=True))


def judge_cells(
    prediction: Channels,
    mask: Mask,
    truth: Truth,
    labels: Labels,
    *,
    unit: str,
    margin: int,
    size: Sequence[int] | None = None,
    field: str | None = None,
    image: Image | None = None,
) -> list[Judged]:
    """Every labelled cell of a field as the head sees it, with its true error, by rising label.

    The box of a cell is `size` (of the largest cell of this field where it is not said: give
    `cell_size` of all fields, since a head is trained on boxes of one size) and `margin` voxels of
    context on every side, around its centroid; beyond the field it holds each channel's least
    value. Channels: prediction, mask, image where it is given, and 1 in the cell's own voxels. The
    error is 1 - |PCC| over the cell's voxels, all of them, and all channels of the prediction;
    NaN where the truth is constant there, and 1 where the prediction alone is. `id` is
    "`field`:label", `field` being the unit where it is not said.
    """
    _check(prediction, truth, labels)
    seen = _stacked(prediction, mask, image)
    errors = dict(zip(*_errors(prediction, truth, labels), strict=True))
    return [
        Judged(
            inputs=inputs,
            error=float(errors[label]),
            unit=unit,
            id=f"{unit if field is None else field}:{label}",
        )
        for boxes in _cut(seen, labels, margin, size)
        for label, inputs in _inputs(boxes)
    ]


def cell_parts(cells: Sequence[Judged], units: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Rows of the cells of each part's units, for `fit_confidence`: without undefined errors.

    Raises `DataError` for a unit in two parts; cells of units in no part are left out.
    """
    home: dict[str, str] = {}
    for part, names in units.items():
        for name in names:
            if home.setdefault(name, part) != part:
                raise DataError(f"unit {name!r} stands in {home[name]!r} and in {part!r}")
    parts: dict[str, list[int]] = {part: [] for part in units}
    for row, cell in enumerate(cells):
        if cell.unit in home and not np.isnan(cell.error):
            parts[home[cell.unit]].append(row)
    return parts


def claimed_errors(
    net: ConfidenceHead,
    prediction: Channels,
    mask: Mask,
    labels: Labels,
    *,
    margin: int,
    size: Sequence[int] | None = None,
    image: Image | None = None,
    compute: Compute,
) -> pd.DataFrame:
    """The error that the head claims of each cell, where no truth is known; a row per label.

    Columns: `label`, `claimed`, `volume` in voxels, `inside`, the share of them that its box holds,
    and `at_edge`, whether it touches the edge of the field. Boxes are those of `judge_cells`, and
    `AT_ONCE` of them are held at once.
    """
    rows: list[dict[str, float]] = []
    for boxes in _cut(_stacked(prediction, mask, image), labels, margin, size):
        inputs = np.stack([one for _, one in _inputs(boxes)])
        if inputs.shape[1] != net.channels or inputs.ndim != net.dims + 2:
            raise DataError(
                f"cells of shape {inputs.shape[1:]} for a head of {net.channels} channels in "
                f"{net.dims} dimensions: it was made for other channels"
            )
        with compute.autocast():
            claims = predict(net, compute.move(torch.from_numpy(inputs)))[:, 0].float().cpu()
        for i, claim in enumerate(claims.tolist()):
            rows.append({
                "label": int(boxes.own[i]), "claimed": claim, "volume": int(boxes.volumes[i]),
                "inside": float(boxes.inside[i]), "at_edge": bool(boxes.at_edge[i]),
            })  # fmt: skip
    columns = ["label", "claimed", "volume", "inside", "at_edge"]
    found = pd.DataFrame(rows, columns=columns)
    return found.sort_values("label", ignore_index=True)


def cell_table(
    prediction: Channels,
    truth: Truth,
    labels: Labels,
    *,
    unit: str,
    field: str | None = None,
    threshold: float | None = None,
) -> pd.DataFrame:
    """True numbers of each cell: `id`, `unit`, `label`, `volume`, `error`, `ssim`, `iou`, `dice`.

    `error` is that of `judge_cells`. `ssim` is the structural similarity (Wang et al. 2004;
    Gaussian windows of 11 x 11 in each plane, the range that of the truth in the field), averaged
    over the cell's voxels; windows reach 5 voxels beyond the cell. `iou` and `dice` compare what
    lies above `threshold` in the cell: of each image above its own Otsu threshold over all labelled
    voxels of the field where it is not said. NaN is undefined, to be counted and not averaged: a
    constant truth, or nothing above the threshold in either image. All channels count alike.
    """
    _check(prediction, truth, labels)
    ids, error = _errors(prediction, truth, labels)
    at = np.flatnonzero(labels)
    place = np.searchsorted(ids, labels.ravel()[at])
    volume = np.bincount(place, minlength=len(ids))
    like, both, either, sizes = np.zeros((4, len(ids)))
    for a, b in zip(prediction, truth, strict=True):
        like += np.bincount(place, _similarity(a, b).ravel()[at], len(ids)) / volume / len(truth)
        p, t = (_above(one.ravel()[at], threshold) for one in (a, b))
        both += np.bincount(place, p & t, len(ids))
        either += np.bincount(place, p | t, len(ids))
        sizes += np.bincount(place, p.astype(float) + t, len(ids))
    name = unit if field is None else field
    return pd.DataFrame({
        "id": [f"{name}:{label}" for label in ids],
        "unit": unit,
        "label": ids,
        "volume": volume,
        "error": error,
        "ssim": like,
        "iou": _ratio(both, either),
        "dice": _ratio(2 * both, sizes),
    })  # fmt: skip


def _errors(
    prediction: np.ndarray, truth: np.ndarray, labels: np.ndarray
) -> tuple[Integer[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Labels, and 1 - |PCC| within each, by sums over the labelled voxels only."""
    flat = labels.ravel()
    at = np.flatnonzero(flat)
    ids, place = np.unique(flat[at], return_inverse=True)
    count = np.bincount(place, minlength=len(ids)) * len(truth)
    a, b = (one.reshape(len(truth), -1)[:, at].astype(np.float64) for one in (prediction, truth))
    flats = [_constant(one, place, len(ids)) for one in (a, b)]
    for one in (a, b):
        one -= (sum(np.bincount(place, row, len(ids)) for row in one) / count)[place]
    ab, aa, bb = (
        np.asarray(sum(np.bincount(place, p * q, len(ids)) for p, q in zip(x, y, strict=True)))
        for x, y in ((a, b), (a, a), (b, b))
    )
    power = np.sqrt(aa) * np.sqrt(bb)
    correlation = np.divide(ab, power, out=np.zeros(len(ids)), where=~flats[0] & (power > 0))
    error = 1 - np.abs(correlation).clip(max=1)
    return ids, np.where(flats[1], np.nan, error)


def _constant(rows: np.ndarray, place: np.ndarray, count: int) -> Bool[np.ndarray, " n"]:
    """Whether all values of a cell are one and the same; exact, where a variance is rounded."""
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    for row in rows:
        np.minimum.at(low, place, row)
        np.maximum.at(high, place, row)
    return np.asarray(low == high)


def _cut(
    seen: np.ndarray, labels: np.ndarray, margin: int, size: Sequence[int] | None
) -> Iterator[Boxes]:
    """Boxes of some cells at a time: memory is the field and a few of them."""
    if margin < 0 or (size is not None and len(size) != labels.ndim):
        raise UsageError(
            f"a margin of {margin} and a size of {None if size is None else tuple(size)} for "
            f"labels of shape {labels.shape}: a margin from 0 on, and a length for each axis"
        )
    if seen.shape[1:] != labels.shape:
        raise DataError(f"labels of shape {labels.shape} do not fit channels of {seen.shape}")
    ids = np.unique(labels[labels != 0])
    if not len(ids):
        return
    wide = tuple(length + 2 * margin for length in (size or cell_size([labels])))
    for start in range(0, len(ids), AT_ONCE):
        some = np.where(np.isin(labels, ids[start : start + AT_ONCE]), labels, 0)
        yield cut_boxes(seen, some, size=wide, border="pad")


def _inputs(boxes: Boxes) -> Iterator[tuple[int, np.ndarray]]:
    for crop, near, own in zip(boxes.crops, boxes.labels, boxes.own.tolist(), strict=True):
        yield own, np.concatenate([crop, (near == own)[None].astype(np.float32)])


def _stacked(
    prediction: np.ndarray, mask: np.ndarray, image: np.ndarray | None
) -> Float[np.ndarray, "c *s"]:
    shown = [prediction, mask] + ([image] if image is not None else [])
    if wrong := [one.shape for one in shown if one.shape[1:] != prediction.shape[1:]]:
        raise DataError(
            f"a mask or image of shape {wrong[0]} is not registered to a prediction of "
            f"{prediction.shape}"
        )
    return np.concatenate(shown).astype(np.float32)


def _similarity(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "*s"]:
    from skimage.metrics import structural_similarity

    span = float(b.max() - b.min())
    if span == 0 or min(a.shape[-2:]) < 11:
        return np.full(a.shape, np.nan)
    planes = zip(a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:]), strict=True)
    maps = [
        structural_similarity(
            p.astype(np.float64), t.astype(np.float64), data_range=span, gaussian_weights=True,
            use_sample_covariance=False, full=True,
        )[1]
        for p, t in planes
    ]  # fmt: skip
    return np.stack(maps).reshape(a.shape)


def _above(values: np.ndarray, threshold: float | None) -> Bool[np.ndarray, " n"]:
    from skimage.filters import threshold_otsu

    if threshold is None:
        if not len(values) or values.min() == values.max():
            return np.zeros(len(values), bool)
        threshold = float(threshold_otsu(values))
    return np.asarray(values > threshold)


def _boxes(labels: np.ndarray) -> list[tuple[slice, ...] | None]:
    """The box of each label; labels are numbered anew, since they may be sparse."""
    from scipy.ndimage import find_objects

    ids, dense = np.unique(labels, return_inverse=True)
    if not len(ids):
        return []
    if ids[0] < 0:
        raise DataError("an image of labels holds negative numbers; 0 is where no cell is")
    dense = dense.reshape(labels.shape) + int(ids[0] > 0)  # 0 is where no cell is
    return list(find_objects(dense.astype(np.int32)))


def _ratio(above: np.ndarray, below: np.ndarray) -> Float[np.ndarray, " n"]:
    out = np.full(len(above), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out


def _check(prediction: np.ndarray, truth: np.ndarray, labels: np.ndarray) -> None:
    if prediction.shape != truth.shape or labels.shape != truth.shape[1:]:
        raise DataError(
            f"a prediction of shape {prediction.shape}, a truth of {truth.shape} and labels of "
            f"{labels.shape}: the first two are equal, and labels are the size of one channel"
        )
    if not (np.isfinite(prediction).all() and np.isfinite(truth).all()):
        raise DataError("a prediction or a truth is not finite everywhere")
