"""Pictures of one pair side by side: source, marker, truth and what was painted."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from attributome.core.errors import DataError
from attributome.report.inpaint.facts import InpaintFacts
from attributome.report.numbers import short
from attributome.report.pictures import Range, grey_pixels, grey_range, signed_pixels

CHANNELS = 2
"""Targets and markers that are shown of each crop; a page is read by people."""
Crops = Float[np.ndarray, "_ _ _ _"]
Crop = Float[np.ndarray, "_ _ _"]
"""Crops are (n, c, h, w); channels of source, marker and truth differ, so that none is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG as a data address, its name, and words for who cannot see it."""

    name: str
    source: str
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The pictures of a pair, and what is black and white in them."""

    title: str
    pictures: list[Picture]
    scale: str
    remark: str = ""


def loaded(path: Path) -> Crops:
    """Crops (n, c, h, w) that lie in a file, read as they are asked for."""
    try:
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if found.ndim != 4 or found.dtype.kind != "f" or 0 in found.shape[1:]:
        raise DataError(
            f"{path} holds {found.dtype} of shape {found.shape}; crops are floats (n, c, h, w)"
        )
    return found


def strip(
    facts: InpaintFacts,
    title: str,
    arrays: Mapping[str, Crops],
    row: int,
    painted: Mapping[str, Crops],
    *,
    remark: str = "",
    error: bool = False,
) -> Strip:
    """One pair; with `error` also painted − truth of the last of `painted`, by its own scale."""
    source, marker, truth = (_one(arrays, name, row) for name in ("source", "marker", "truth"))
    drawn = {name: _one(painted, name, row) for name in painted}
    for name, crop in drawn.items():
        if crop.shape != truth.shape:
            raise DataError(f"{title}: {name} has shape {crop.shape}, the truth {truth.shape}")
    targets, markers = _names(facts, len(truth), len(marker))
    if len(source) < len(truth):
        raise DataError(f"{title}: {len(source)} source channels, but {len(truth)} targets")
    grey = grey_range(np.concatenate([source[: len(truth)], truth]))
    pictures, scales = [], [f"protein (all its pictures alike) {grey.words}"]
    for c in range(min(len(truth), CHANNELS)):
        pictures.append(_grey(f"source cell, {targets[c]}", source[c], grey))
    for c in range(min(len(marker), CHANNELS)):
        own = grey_range(marker[c])
        pictures.append(_grey(f"target cell, {markers[c]}", marker[c], own))
        scales.append(f"{markers[c]} {own.words}")
    for c in range(min(len(truth), CHANNELS)):
        pictures.append(_grey(f"target cell, {targets[c]}: truth", truth[c], grey))
        for name, crop in drawn.items():
            label = name if len(truth) == 1 else f"{name}, {targets[c]}"
            pictures.append(_grey(label, crop[c], grey))
    if error:
        off = next(reversed(drawn.values()))[0] - truth[0]
        top = float(np.abs(off).max()) or 1.0
        alt = f"painted minus truth of {title}"
        where = f"{targets[0]}: painted − truth" if len(truth) > 1 else "painted − truth"
        pictures.append(Picture(name=where, source=signed_pixels(off, top), alt=alt))
        scales.append(f"painted − truth red +{short(top)}, blue −{short(top)}")
    return Strip(title=title, pictures=pictures, scale="; ".join(scales), remark=remark)


def _one(arrays: Mapping[str, Crops], name: str, row: int) -> Crop:
    if row >= len(arrays[name]):
        raise DataError(f"there are {len(arrays[name])} pictures of {name!r}, and no row {row}")
    crop = np.asarray(arrays[name][row], np.float32)
    if not np.isfinite(crop).all():
        raise DataError(f"the picture of {name!r} in row {row} has values that are not finite")
    return crop


def _grey(name: str, image: Float[np.ndarray, "h w"], shown: Range) -> Picture:
    return Picture(name=name, source=grey_pixels(image, shown), alt=name)


def _names(facts: InpaintFacts, targets: int, markers: int) -> tuple[list[str], list[str]]:
    """What channels are called, where the run says it."""
    found = []
    for key, count, word in (("targets", targets, "protein"), ("markers", markers, "marker")):
        told = facts.card.get(key) or facts.network.get(key)
        if isinstance(told, list) and len(told) == count:
            found.append([str(name) for name in told])
        else:
            found.append([word if count == 1 else f"{word} {n + 1}" for n in range(count)])
    return found[0], found[1]
