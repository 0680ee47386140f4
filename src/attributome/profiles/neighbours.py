"""How well features tell labelled cells apart: nearest neighbours and a linear classifier.

Cells of one field share its light and staining, so that features which know the field know the
label: an accuracy means something only where what judges a cell comes from other fields. All
protocols are therefore reported side by side.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer, Shaped

from attributome.core.errors import DataError, Refusal, UsageError
from attributome.core.seeds import rng, seed_of

Features = Float[np.ndarray, "n f"]
Names = Shaped[np.ndarray, " _"]
Codes = Integer[np.ndarray, " n"]
Rows = Integer[np.ndarray, " _"]

BLOCK = 2**22
"""Distances that are held at a time."""
SHRINKAGE = 0.05
"""Of the covariance within groups: its part that is put on the diagonal."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Accuracy:
    """Balanced accuracy: the mean over classes of the share of their cells that are recognised.

    `low` and `high` come from drawing whole `units` again (their number), with the predictions as
    they are; a draw without a cell of some class is a mean over the others, and below three
    units they are undefined. A cell none of whose own class may judge it cannot be recognised: it
    is not judged but counted in `undefined`, and a class of only such cells has no recall (NaN)
    and does not enter the mean. `n` cells were judged and `constant` features dropped. `classes`
    has a row for each label: `label`, `n`, `undefined`, `recall`. `predicted` has the label given
    to each cell, also to those not judged. `chance` is one over the number of classes judged.
    """

    balanced: float
    low: float
    high: float
    chance: float
    n: int
    undefined: int
    units: int
    constant: int
    classes: pd.DataFrame
    predicted: Names

    def row(self) -> dict[str, float | int]:
        """The numbers of a table's row; `classes` is how many were judged."""
        names = ("balanced", "low", "high", "chance", "n", "undefined", "units", "constant")
        judged = int(self.classes["recall"].notna().sum())
        return {name: getattr(self, name) for name in names} | {"classes": judged}


def knn_accuracy(
    features: Features,
    labels: Names,
    *,
    k: int = 11,
    without: Names | None = None,
    folds: int | None = None,
    whitened: bool = False,
    units: Names | None = None,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Accuracy:
    """Recognise each cell by the k nearest others (k = 11 as published, Lu et al. 2019).

    Features are z-scored over all cells, without those that are constant. Neighbours of a cell are
    all other cells; with `without`, the name of a group for each cell (its field, its plate), those
    of other groups only. Where each group holds one class, that takes candidates from the right
    class alone and so understates: with `folds`, the groups are dealt to so many folds of
    alike classes, by `seed`, and neighbours come from other folds. With `whitened`, distances are
    measured in the directions that tell the groups `without` apart from what varies within them
    (Fisher's, with a shrunk covariance): fitted for each group or fold on the others, and without
    labels, but of use only where each group holds one class. `units` are what the interval
    draws again (fields, say); without them the groups, or else the cells, whose interval is
    then too narrow. Of equally far cells the earlier counts, of equally frequent labels the first
    in their sorted order, as in scikit-learn.
    """
    names, codes = _checked(features, labels, without, units)
    _check_interval(confidence, draws)
    if k < 1:
        raise UsageError(f"k = {k} neighbours; give at least 1")
    scaled, constant = _scaled(features)
    apart = np.arange(len(codes)) if without is None else _codes(without)
    if folds is not None:
        if without is None:
            raise UsageError("folds are made of groups; give `without` with a group for each cell")
        apart = deal(labels, without, folds=folds, seed=seed)
    most = len(apart) - np.bincount(apart).max()
    if most < k:
        raise UsageError(
            f"k = {k} neighbours, but some cell has only {most} candidates outside its own group"
        )
    votes = np.zeros((len(codes), len(names)), np.int64)
    everyone = np.arange(len(codes))
    spaces = _whitened(scaled, codes, without, apart) if whitened else [(everyone, scaled)]
    for those, z in spaces:
        for rows, near in _neighbours(z, apart, k, those):
            np.add.at(votes, (np.repeat(rows, k), codes[near].ravel()), 1)
    drawn = _codes(units if units is not None else apart if without is None else without)
    return _judged(
        names, codes, votes.argmax(1), _judgeable(codes, apart), drawn, constant, confidence, draws,
        seed,
    )  # fmt: skip


def linear_accuracy(
    features: Features,
    labels: Names,
    groups: Names,
    *,
    folds: int = 5,
    strengths: Sequence[float] = (0.001, 0.01, 0.1),
    units: Names | None = None,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Accuracy:
    """Recognise each cell by a logistic regression that was trained on other groups' cells.

    Groups (fields) are dealt to folds of alike classes by `seed`; scaling is fitted within the
    training part, and classes weigh alike. Of several `strengths` (the inverse of the penalty, C in
    scikit-learn) the best by balanced accuracy is chosen within each training part, by three inner
    folds of its groups; where that part has too few groups for them, the smallest. A cell whose
    class is not in the training part is undefined. The interval draws `units`, or else `groups`.
    """
    names, codes = _checked(features, labels, groups, units)
    _check_interval(confidence, draws)
    if not strengths or min(strengths) <= 0:
        raise UsageError(f"strengths {[*strengths]}; give one or more above 0")
    kept = features[:, _varying(features)].astype(np.float64)
    fold = deal(labels, groups, folds=folds, seed=seed)
    predicted = np.zeros(len(codes), np.int64)
    for held in range(folds):
        train = fold != held
        if len(np.unique(codes[train])) < 2:
            raise DataError(
                f"the cells outside fold {held + 1} of {folds} are of one class; there are too few "
                f"groups to train on"
            )
        strength = _strength(kept[train], codes[train], _codes(groups)[train], strengths, seed)
        predicted[~train] = _linear(kept[train], codes[train], strength).predict(kept[~train])
    return _judged(
        names, codes, predicted, _judgeable(codes, fold),
        _codes(groups if units is None else units), features.shape[1] - kept.shape[1], confidence,
        draws, seed,
    )  # fmt: skip


def protocols(
    features: Features,
    labels: Names,
    groups: Mapping[str, Names],
    *,
    k: int = 11,
    folds: int = 4,
    whitened: bool = False,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """All protocols of `knn_accuracy` and `linear_accuracy`, a row of numbers for each.

    `groups` names each cell's field, plate, … in the order of what they are: the first is the unit
    of all intervals. Rows are `leave one cell out`, and for each name `leave <name> out`,
    `<name> folds` and `linear, <name> folds`; if asked, of the first also `whitened, <name> folds`.
    A protocol that these groups do not allow (there is
    one plate, say) has a row with its `reason` and no numbers.
    """
    if not groups:
        raise UsageError("no groups; name at least the field of each cell")
    for of in groups.values():
        _checked(features, labels, of, None)
    plain = partial(
        knn_accuracy, features, labels, k=k, units=next(iter(groups.values())),
        confidence=confidence, draws=draws, seed=seed,
    )  # fmt: skip
    linear = partial(
        linear_accuracy, features, labels, units=next(iter(groups.values())),
        confidence=confidence, draws=draws, seed=seed,
    )  # fmt: skip
    rows: list[dict[str, Any]] = [{"protocol": "leave one cell out", **plain().row(), "reason": ""}]
    for name, of in groups.items():
        parts = max(2, min(folds, len(np.unique(of))))
        plans: dict[str, Callable[[], Accuracy]] = {
            f"leave {name} out": partial(plain, without=of),
            f"{name} folds": partial(plain, without=of, folds=parts),
        }
        if whitened and name == next(iter(groups)):
            plans[f"whitened, {name} folds"] = partial(
                plain, without=of, folds=parts, whitened=True
            )
        plans[f"linear, {name} folds"] = partial(linear, of, folds=parts)
        for plan, judge in plans.items():
            try:
                rows.append({"protocol": plan, **judge().row(), "reason": ""})
            except Refusal as refusal:
                rows.append({"protocol": plan, "reason": str(refusal)})
    return pd.DataFrame(rows)


def deal(labels: Names, groups: Names, *, folds: int, seed: int = 0) -> Codes:
    """A fold (0 to folds − 1) for each cell: whole groups, with classes as even as they go."""
    from sklearn.model_selection import StratifiedGroupKFold

    codes, of = _codes(labels), _codes(groups)
    count = int(of.max()) + 1
    if folds < 2 or folds > count:
        raise UsageError(f"{folds} folds of {count} groups; give from 2 to as many as groups")
    if folds > np.bincount(codes).max():
        raise UsageError(f"{folds} folds are more than any class has cells")
    kind = StratifiedGroupKFold(
        folds, shuffle=True, random_state=seed_of(seed, "deal groups") % 2**32
    )
    fold = np.zeros(len(codes), np.int64)
    with warnings.catch_warnings():  # of rare classes, which are counted as undefined instead
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for number, (_, held) in enumerate(kind.split(np.zeros(len(codes)), codes, of)):
            fold[held] = number
    if len(np.unique(fold)) < folds:
        raise UsageError(f"{folds} folds of {count} groups leave a fold empty; give fewer")
    return fold


def _whitened(
    x: Float[np.ndarray, "n f"], codes: Codes, without: Names | None, apart: Codes
) -> Iterator[tuple[Rows, Float[np.ndarray, "n d"]]]:
    """For each part its rows, and all cells in directions that were fitted on the other parts."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.feature_selection import VarianceThreshold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if without is None:
        raise UsageError("features are whitened within groups; give `without` with each cell's")
    groups = _codes(without)
    mixed = pd.Series(codes).groupby(groups).nunique().gt(1)
    if mixed.any():
        raise DataError(
            f"{mixed.sum()} of {len(mixed)} groups hold several classes: what tells groups apart "
            f"need not tell their classes apart"
        )
    for part in range(int(apart.max()) + 1):
        others = apart != part
        count, most = len(np.unique(groups[others])), int(others.sum())
        if count < 2 or most <= count:
            raise DataError(
                f"{most} cells in {count} groups are left to whiten by; there must be two groups, "
                f"and more cells than groups"
            )
        fisher = make_pipeline(
            VarianceThreshold(),
            StandardScaler(),
            LinearDiscriminantAnalysis(solver="eigen", shrinkage=SHRINKAGE),
        )
        try:
            fisher.fit(x[others], groups[others])
        except (ValueError, np.linalg.LinAlgError) as error:  # no variation to divide by
            raise DataError(
                f"features of {most} cells cannot be whitened within {count} groups: {error}"
            ) from error
        yield np.flatnonzero(~others), fisher.transform(x)


def _neighbours(
    z: Float[np.ndarray, "n f"], apart: Codes, k: int, those: Rows
) -> Iterator[tuple[Rows, Integer[np.ndarray, "b k"]]]:
    """The k nearest rows of some rows among those of other groups, nearest first, in blocks.

    A product of matrices finds who may be near, and the distances of those are then computed one by
    one: equal distances stay equal, whatever library multiplies and however rows are cut.
    """
    squares = (z**2).sum(1)
    slack = 8 * np.finfo(np.float64).eps * (z.shape[1] + 8) * (squares + squares.max())
    step = max(1, BLOCK // len(z))
    for start in range(0, len(those), step):
        some = those[start : start + step]
        rough = squares[some, None] + squares - 2 * z[some] @ z.T
        rough[apart[some, None] == apart] = np.inf
        bound = np.partition(rough, k - 1, axis=1)[:, k - 1] + slack[some]
        near = np.empty((len(rough), k), np.int64)
        for i, row in enumerate(rough):
            may = np.flatnonzero(row <= bound[i])
            far = ((z[may] - z[some[i]]) ** 2).sum(1)
            near[i] = may[np.argsort(far, kind="stable")[:k]]
        yield some, near


def _linear(x: np.ndarray, y: Codes, strength: float) -> Any:
    """A fitted logistic regression on features that are scaled by these cells alone."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    net = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=strength, class_weight="balanced", max_iter=2000),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return net.fit(x, y)
        except ConvergenceWarning as error:
            raise DataError(
                f"a logistic regression of {x.shape[1]} features with C = {strength} did not "
                f"converge in 2000 steps; give a smaller strength"
            ) from error


def _strength(
    x: np.ndarray, y: Codes, groups: Codes, strengths: Sequence[float], seed: int
) -> float:
    """The best strength by balanced accuracy in inner folds; of equals the smallest."""
    ordered = sorted(strengths)
    if len(ordered) == 1 or len(np.unique(groups)) < 3 or np.bincount(y).max() < 3:
        return ordered[0]
    fold = deal(y, groups, folds=3, seed=seed_of(seed, "inner folds"))
    judged = _judgeable(y, fold)
    parts = [fold == held for held in range(3)]
    if not judged.any() or any(len(np.unique(y[~part])) < 2 for part in parts):
        return ordered[0]
    scores = []
    for strength in ordered:
        right = np.zeros(len(y), bool)
        for part in parts:
            right[part] = _linear(x[~part], y[~part], strength).predict(x[part]) == y[part]
        scores.append(np.mean([right[judged & (y == c)].mean() for c in np.unique(y[judged])]))
    return ordered[int(np.argmax(scores))]


def _judgeable(codes: Codes, apart: Codes) -> Bool[np.ndarray, " n"]:
    """Whether another group holds a cell of the same class."""
    pairs = np.zeros((codes.max() + 1, apart.max() + 1), bool)
    pairs[codes, apart] = True
    judgeable: np.ndarray = pairs.sum(1)[codes] > 1
    return judgeable


def _judged(
    names: Names,
    codes: Codes,
    predicted: Codes,
    judged: Bool[np.ndarray, " n"],
    units: Codes,
    constant: int,
    confidence: float,
    draws: int,
    seed: int,
) -> Accuracy:
    if not judged.any():
        raise DataError("no class has cells in two groups, so that no cell can be judged by others")
    count = int(units.max()) + 1
    cells, right = np.zeros((2, count, len(names)))
    np.add.at(cells, (units[judged], codes[judged]), 1)
    hit = judged & (predicted == codes)
    np.add.at(right, (units[hit], codes[hit]), 1)
    recall = _recall(right.sum(0), cells.sum(0))
    used = np.flatnonzero(cells.sum(1))
    low = high = float("nan")
    if len(used) >= 3:
        weights = rng(seed, "bootstrap of an accuracy").multinomial(
            len(used), np.full(len(used), 1 / len(used)), size=draws
        )
        again = np.nanmean(_recall(weights @ right[used], weights @ cells[used]), axis=1)
        tail = (1 - confidence) / 2
        low, high = map(float, np.quantile(again, [tail, 1 - tail]))
    totals = np.bincount(codes, minlength=len(names))
    classes = pd.DataFrame(
        {
            "label": names,
            "n": cells.sum(0).astype(np.int64),
            "undefined": totals - cells.sum(0).astype(np.int64),
            "recall": recall,
        }
    )
    return Accuracy(
        balanced=float(np.nanmean(recall)),
        low=low,
        high=high,
        chance=1 / int(np.isfinite(recall).sum()),
        n=int(judged.sum()),
        undefined=int((~judged).sum()),
        units=len(used),
        constant=constant,
        classes=classes,
        predicted=names[predicted],
    )


def _recall(right: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The share of cells that are right, and NaN where there are no cells."""
    shares: np.ndarray = np.divide(right, cells, out=np.full(right.shape, np.nan), where=cells > 0)
    return shares


def _scaled(features: Features) -> tuple[Float[np.ndarray, "n g"], int]:
    """Features with mean 0 and standard deviation 1 over all cells; how many were constant."""
    kept = features[:, _varying(features)].astype(np.float64)
    return (kept - kept.mean(0)) / kept.std(0), features.shape[1] - kept.shape[1]


def _varying(features: Features) -> Bool[np.ndarray, " f"]:
    varying: np.ndarray = features.max(0) > features.min(0)
    if not varying.any():
        raise DataError(f"all {features.shape[1]} features are the same for every cell")
    return varying


def _codes(names: Names) -> Codes:
    codes: np.ndarray = np.unique(names, return_inverse=True)[1]
    return codes


def _checked(
    features: Features, labels: Names, groups: Names | None, units: Names | None
) -> tuple[Names, Codes]:
    """The sorted labels and each cell's number among them."""
    for given, what in ((labels, "labels"), (groups, "groups"), (units, "units")):
        if given is None:
            continue
        if len(given) != len(features):
            raise DataError(f"{len(features)} cells came with {len(given)} {what}")
        if pd.isna(given).any():
            raise DataError(f"cell {int(pd.isna(given).argmax())} (from 0) has none of the {what}")
    wrong = ~np.isfinite(features).all(1)
    if wrong.any():
        raise DataError(
            f"{wrong.sum()} of {len(features)} cells have undefined features (the first is number "
            f"{int(wrong.argmax())}, counted from 0): leave them out, and report how many"
        )
    names, codes = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise DataError(f"{len(features)} cells of {len(names)} class; at least two are needed")
    return names, codes


def _check_interval(confidence: float, draws: int) -> None:
    if not 0 < confidence < 1 or draws < 1:
        raise UsageError(f"confidence {confidence} and {draws} draws; such as 0.95 and 1000")
