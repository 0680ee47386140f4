"""Does a classifier of cells go by the cell? What it says when the cell, or all else, is changed.

A map says where a network looks, and not what it would say without that place. Here crops are
changed and classified again (`shortcuts` asks what else tells the label).
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, Int64, Shaped
from torch import Tensor, nn

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.probe import predict
from attributome.core.seeds import rng, seed_of
from attributome.metrics.intervals import grouped_interval
from attributome.profiles.learning.classifier import (
    Crops,
    Erase,
    Rows,
    predicted,
    read_crops,
    shown,
    wells_of,
)
from attributome.profiles.learning.remedies import (
    erase_cell,
    erase_neighbours,
    own_cell,
    replace_background,
    replace_surroundings,
    swap_cell,
    without_cells,
)
from attributome.profiles.single_cells import SingleCells

Codes = Int64[np.ndarray, " n"]
Names = Shaped[np.ndarray, " n"]
AS_IT_IS = "as it is"
ERASED = ("cell erased, mean", "cell erased, around", "cell erased, another's background")
EMPTY = "all cells erased"
SWAPPED, FOLLOWED = "cell swapped", "cell swapped: the label of the new cell"
MARGIN = 0.1
LOSS = 0.02
"""Balanced accuracy that may be lost on held-out plates without being told as a reason."""


def _as_it_is(some: Crops, _donors: Crops) -> Crops:
    return some


def _erased(fill: str) -> Callable[[Crops, Crops], Crops]:
    def change(some: Crops, donors: Crops) -> Crops:
        if fill == "donor":
            ground = without_cells(donors.images, donors.labels)
            images = torch.where(own_cell(some.labels, some.own), ground, some.images)
        elif fill == "mean":
            images = erase_cell(some.images, some.labels, some.own, fill="mean")
        else:
            images = erase_cell(some.images, some.labels, some.own)
        return Crops(images, some.labels, some.own)

    return change


def _no_cells(some: Crops, _donors: Crops) -> Crops:
    return Crops(without_cells(some.images, some.labels), some.labels, some.own)


def _no_neighbours(some: Crops, _donors: Crops) -> Crops:
    images = erase_neighbours(some.images, some.labels, some.own)
    return Crops(
        images, torch.where(own_cell(some.labels, some.own)[:, 0], some.labels, 0), some.own
    )


def _other_background(some: Crops, donors: Crops) -> Crops:
    images = replace_background(some.images, some.labels, donors.images, donors.labels)
    return Crops(images, some.labels, some.own)


def _other_surroundings(some: Crops, donors: Crops) -> Crops:
    images, labels = replace_surroundings(
        some.images, some.labels, some.own, donors.images, donors.labels, donors.own
    )
    return Crops(images, labels, some.own)


def _other_cell(some: Crops, donors: Crops) -> Crops:
    return Crops(
        *swap_cell(some.images, some.labels, some.own, donors.images, donors.labels, donors.own)
    )


TESTS: Mapping[str, Callable[[Crops, Crops], Crops]] = {
    AS_IT_IS: _as_it_is,
    ERASED[0]: _erased("mean"),
    ERASED[1]: _erased("around"),
    ERASED[2]: _erased("donor"),
    EMPTY: _no_cells,
    "neighbours erased": _no_neighbours,
    "background replaced": _other_background,
    "surroundings replaced": _other_surroundings,
    SWAPPED: _other_cell,
}
"""What is done to crops, given a donor of another class for each."""


def causal_tests(
    net: nn.Module,
    crops: SingleCells,
    rows: Rows,
    *,
    label: str,
    classes: Sequence[str],
    batch: int = 64,
    compute: Compute,
    erase: Erase = "none",
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Classify the cells of `rows` again after each change in `TESTS`, a row for each.

    Columns: `test`; `balanced`, the mean over classes of the share of their cells that still get
    their own label, with `low` and `high` from drawing wells again; `chance`; `n` cells in `wells`;
    and `change` against the crops as they are (`change_low`, `change_high`: of the same draws).
    With fewer than three wells the intervals are undefined (NaN). Each crop's donor is drawn from
    those of other classes, so what goes by the background falls below chance when that is
    replaced. A last row says how often a swapped-in cell is given its own label instead. `classes`
    names the network's outputs in order; `erase` is as it was in training. Erasing leaves the
    outline of a cell to be guessed from the seam, in each filling in another way.
    """
    codes = _codes(crops, rows, label, classes)
    wells = wells_of(crops)[rows]
    donors = _donors(codes, seed)
    found: dict[str, list[np.ndarray]] = {name: [] for name in TESTS}
    for start in range(0, len(rows), batch):
        some = slice(start, start + batch)
        here = read_crops(crops, rows[some]).to(compute)
        there = read_crops(crops, rows[donors[some]]).to(compute)
        for name, change in TESTS.items():
            with compute.autocast():
                out = predict(net, shown(change(here, there), erase))
            if out.ndim != 2 or out.shape[1] != len(classes):
                raise UsageError(
                    f"the network gives shape {tuple(out.shape)} for {len(classes)} classes"
                )
            found[name].append(out.argmax(1).cpu().numpy())
    said = {name: np.concatenate(parts) for name, parts in found.items()}
    judge = _Judge(wells, draws, confidence, seed)
    whole = judge.again(codes, said[AS_IT_IS] == codes)
    table = [judge.row(name, codes, given == codes, whole) for name, given in said.items()]
    swapped = codes[donors]
    table.append(judge.row(FOLLOWED, swapped, said[SWAPPED] == swapped, whole))
    return pd.DataFrame(table)


def held_out_gap(
    net: nn.Module,
    crops: SingleCells,
    inside: Rows,
    outside: Rows,
    *,
    label: str,
    classes: Sequence[str],
    batch: int = 64,
    compute: Compute,
    erase: Erase = "none",
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """Balanced accuracy in other wells of the training plates, on held-out plates, and the gap.

    `inside`, `outside` and `gap` (outside − inside), each with `_low` and `_high`, and `chance`;
    wells of either are drawn again by themselves.
    """
    values: dict[str, float] = {}
    again = []
    for name, rows in (("inside", inside), ("outside", outside)):
        codes = _codes(crops, rows, label, classes)
        said = predicted(net, crops, rows, batch=batch, compute=compute, erase=erase)
        judge = _Judge(wells_of(crops)[rows], draws, confidence, seed_of(seed, name))
        value, drawn = judge.again(codes, said == codes)
        low, high = judge.ends(drawn)
        values |= {name: value, f"{name}_low": low, f"{name}_high": high}
        again.append(drawn)
    low, high = judge.ends(again[1] - again[0])
    gap = values["outside"] - values["inside"]
    return values | {"gap": gap, "gap_low": low, "gap_high": high, "chance": 1 / len(classes)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Whether a classifier is flagged, by which findings, and all that was found, in sentences."""

    flagged: bool
    reasons: tuple[str, ...]
    words: tuple[str, ...]


def found(
    tests: pd.DataFrame,
    *,
    camo: Float[np.ndarray, " n"],
    chance: Float[np.ndarray, " n"],
    wells: Names,
    gap: Mapping[str, float] | None = None,
    margin: float = MARGIN,
    confidence: float = 0.95,
    seed: int = 0,
) -> Findings:
    """What the tests found; a classifier is flagged by any of three findings.

    1. Grad-CAMO is not clearly above chance: the interval of the median over cells of (Grad-CAMO −
    chance), drawing wells, reaches down to `margin` or below. 2. The cell is not needed: with it
    erased accuracy stays above chance, its interval as well, however it is filled. 3. On held-out
    plates accuracy is lower by more than `LOSS` (`held_out_gap`), by its interval. Cells with an
    undefined map (NaN) are counted and not averaged. Nothing found is no proof that nothing is
    there, and the words do not say so.
    """
    reasons, words = [], []
    defined = np.isfinite(camo)
    lost = f"{int((~defined).sum())} of {len(camo)} cells have no map"
    if not defined.any():
        reasons.append(f"Grad-CAMO is undefined: {lost}")
    else:
        excess, low, high = grouped_interval(
            (camo - chance)[defined], wells[defined], confidence=confidence, seed=seed
        )
        words.append(
            f"Grad-CAMO is {float(np.median(camo[defined])):.2f} in the median, {excess:+.2f} "
            f"{_span(low, high, '+.2f')} against chance ({int(defined.sum())} cells, "
            f"{len(np.unique(wells[defined]))} wells; {lost})"
        )
        if low <= margin:
            reasons.append(
                f"Grad-CAMO is not clearly above chance ({excess:+.2f}, from {low:+.2f})"
            )
    for row in tests.to_dict("records"):
        words.append(
            f"{row['test']}: balanced accuracy {row['balanced']:.2f} "
            f"{_span(row['low'], row['high'])}, chance {row['chance']:.2f} ({row['n']} cells, "
            f"{row['wells']} wells)"
        )
    erased = tests[tests["test"].isin(ERASED)]
    if len(erased) and (erased["low"] > erased["chance"]).all():
        least = float(erased["balanced"].min())
        reasons.append(
            f"with the cell erased, balanced accuracy stays at {least:.2f} or more{_left(tests)}"
        )
    if gap is not None:
        words.append(
            f"balanced accuracy is {gap['inside']:.2f} on other wells of the training plates and "
            f"{gap['outside']:.2f} on held-out plates, {gap['gap']:+.2f} "
            f"{_span(gap['gap_low'], gap['gap_high'], '+.2f')}"
        )
        if gap["gap_high"] < -LOSS:
            reasons.append(f"held-out plates lose {-gap['gap']:.2f} of balanced accuracy")
    if not reasons:
        words.append("none of these tests found that anything beside the cell is gone by")
    return Findings(flagged=bool(reasons), reasons=tuple(reasons), words=tuple(words))


def _left(tests: pd.DataFrame) -> str:
    """Whether it is the neighbours or the background that tells, where both were looked at."""
    rows = tests[tests["test"] == EMPTY].to_dict("records")
    if not rows:
        return ""
    value, above = rows[0]["balanced"], rows[0]["low"] > rows[0]["chance"]
    return (
        f"; the background alone gives {value:.2f}"
        if above
        else f", and with all cells erased it is {value:.2f}, not surely above chance: the "
        f"neighbours tell"
    )


def _span(low: float, high: float, form: str = ".2f") -> str:
    """An interval in words; below three wells there is none."""
    if not np.isfinite([low, high]).all():
        return "[interval undefined]"
    return f"[{low:{form}}, {high:{form}}]"


def untrained(net: nn.Module, *, seed: int = 0) -> nn.Module:
    """A copy with weights drawn anew, as each layer draws its own: what training adds to a map."""
    copy = deepcopy(net)
    with torch.random.fork_rng(devices=[]):  # the layers draw from the global generator only
        torch.manual_seed(seed)
        for module in copy.modules():
            reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
    return copy


def shifted(labels: Int[Tensor, "b *s"]) -> Int[Tensor, "b *s"]:
    """Labels moved by half the crop in the plane, around its edges: masks of the wrong place."""
    return torch.roll(labels, [labels.shape[axis] // 2 for axis in (-2, -1)], (-2, -1))


def permuted_labels(table: pd.DataFrame, label: str, *, seed: int = 0) -> pd.Series:
    """Labels dealt anew to the wells of each plate: what is learned from them is not treatment."""
    made = table[label].copy()
    for plate, cells in table.groupby("plate", sort=True):
        of_well = cells.groupby("well", sort=True)[label]
        if (of_well.nunique() > 1).any():
            raise DataError(f"plate {plate!r} has wells of two values of {label!r}")
        first = of_well.first()
        draw = rng(seed, "permuted labels", str(plate)).permutation(len(first))
        dealt = dict(zip(first.index, first.to_numpy()[draw], strict=True))
        made.loc[cells.index] = cells["well"].map(dealt)
    return made


class _Judge:
    """Balanced accuracy with intervals that draw the same wells for every test."""

    def __init__(self, wells: Names, draws: int, confidence: float, seed: int) -> None:
        if not 0 < confidence < 1 or draws < 1:
            raise UsageError(f"confidence {confidence} and {draws} draws; such as 0.95 and 1000")
        self.confidence = confidence
        names, self.wells = np.unique(wells, return_inverse=True)
        self.count = len(names)
        even = np.full(self.count, 1 / self.count)
        self.weights = rng(seed, "wells drawn again").multinomial(self.count, even, size=draws)

    def again(self, codes: Codes, right: Bool[np.ndarray, " n"]) -> tuple[float, np.ndarray]:
        """The balanced accuracy, and that of every draw; a class without cells does not enter."""
        cells, hits = np.zeros((2, self.count, int(codes.max()) + 1))
        np.add.at(cells, (self.wells, codes), 1)
        np.add.at(hits, (self.wells[right], codes[right]), 1)
        of = np.vstack([np.ones(self.count), self.weights])
        total = of @ cells
        recall = np.divide(of @ hits, total, out=np.full(total.shape, np.nan), where=total > 0)
        values = np.nanmean(recall, axis=1)
        return float(values[0]), values[1:]

    def ends(self, drawn: np.ndarray) -> tuple[float, float]:
        """Both ends of the interval, undefined below three wells."""
        if self.count < 3:
            return float("nan"), float("nan")
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail])
        return float(low), float(high)

    def row(
        self,
        name: str,
        codes: Codes,
        right: Bool[np.ndarray, " n"],
        whole: tuple[float, np.ndarray],
    ) -> dict[str, Any]:
        """A row of the table of tests."""
        value, drawn = self.again(codes, right)
        low, high = self.ends(drawn)
        change_low, change_high = self.ends(drawn - whole[1])
        return {
            "test": name, "balanced": value, "low": low, "high": high,
            "chance": 1 / len(np.unique(codes)), "n": len(codes), "wells": self.count,
            "change": value - whole[0], "change_low": change_low, "change_high": change_high,
        }  # fmt: skip


def _codes(crops: SingleCells, rows: Rows, label: str, classes: Sequence[str]) -> Codes:
    number = {name: code for code, name in enumerate(classes)}
    names = [str(name) for name in crops.table[label].iloc[rows]]
    lost = [name for name in names if name not in number]
    if lost or not names:
        raise DataError(
            f"{len(lost)} of {len(names)} cells are of no class that the network knows "
            f"({', '.join(classes)}), the first {lost[0]!r}"
            if lost
            else "there are no cells to test"
        )
    return np.array([number[name] for name in names], np.int64)


def _donors(codes: Codes, seed: int) -> Int64[np.ndarray, " n"]:
    """For each cell another one of another class."""
    draw, made = rng(seed, "donors"), np.zeros(len(codes), np.int64)
    for code in np.unique(codes):
        others = np.flatnonzero(codes != code)
        if not len(others):
            raise DataError("the cells are of one class, and donors must be of another")
        mine = np.flatnonzero(codes == code)
        made[mine] = others[draw.integers(len(others), size=len(mine))]
    return made
