"""Every protocol on one set of features, and how two sets compare on the same fields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from attributome.core.bootstrap import group_weights
from attributome.core.errors import Refusal
from attributome.profiles.neighbours import Accuracy, deal, knn_accuracy, linear_accuracy

Names = Shaped[np.ndarray, " n"]
Features = Float[np.ndarray, "n f"]

ANYWHERE = "leave one cell out"
FOLDS = "field folds"
HELD_OUT = (FOLDS, "leave field out", ANYWHERE)
"""The protocol that a headline is of: the first of these that the data allow."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """What one protocol gave: an accuracy, or the reason why there is none.

    `predicted` has a label for each cell, and `judged` says for which of them it counts.
    """

    accuracy: Accuracy | None
    reason: str
    predicted: Names
    judged: Bool[np.ndarray, " n"]
    dropped: int

    def row(self) -> dict[str, Any]:
        """The numbers of a table's row; cells with undefined features count as undefined."""
        if self.accuracy is None:
            return {"reason": self.reason}
        row = self.accuracy.row()
        return {**row, "undefined": row["undefined"] + self.dropped, "reason": ""}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judge:
    """The labels of the cells, their fields (and plates, …), and how they are judged."""

    labels: Names
    groups: Mapping[str, Names]
    k: int
    folds: int
    draws: int
    seed: int

    def judged(self, features: Features, *, fully: bool = False) -> dict[str, Judged]:
        """Protocols as `profiles.neighbours.protocols` names them, each with its predictions.

        A cell with an undefined feature, such as one without a mask, is left out and counted. What
        is fitted, whitening and a linear classifier, comes only if they are to be judged `fully`.
        """
        whole = np.isfinite(features).all(1)
        labels, x = self.labels[whole], features[whole]
        units = next(iter(self.groups.values()))[whole]
        plain: dict[str, Any] = {"draws": self.draws, "seed": self.seed, "units": units}

        def anywhere(_: int) -> Accuracy:
            return knn_accuracy(x, labels, k=self.k, **plain)

        found = {ANYWHERE: self._one(whole, None, anywhere)}
        for name, all_groups in self.groups.items():
            of = all_groups[whole]
            parts = max(2, min(self.folds, len(np.unique(of))))

            def left(_: int, of: Names = of) -> Accuracy:
                return knn_accuracy(x, labels, k=self.k, without=of, **plain)

            def folded(n: int, of: Names = of) -> Accuracy:
                return knn_accuracy(x, labels, k=self.k, without=of, folds=n, **plain)

            def whitened(n: int, of: Names = of) -> Accuracy:
                return knn_accuracy(
                    x, labels, k=self.k, without=of, folds=n, whitened=True, **plain
                )

            def fitted(n: int, of: Names = of) -> Accuracy:
                return linear_accuracy(x, labels, of, folds=n, **plain)

            found[f"leave {name} out"] = self._one(whole, of, left)
            found[f"{name} folds"] = self._one(whole, of, folded, parts)
            if fully and name == next(iter(self.groups)):
                found[f"whitened, {name} folds"] = self._one(whole, of, whitened, parts)
            if fully:
                found[f"linear, {name} folds"] = self._one(whole, of, fitted, parts)
        return found

    def _one(
        self, whole: np.ndarray, of: Names | None, how: Callable[[int], Accuracy], folds: int = 0
    ) -> Judged:
        labels = self.labels[whole]
        predicted = np.full(len(whole), "", object)
        judged = np.zeros(len(whole), bool)
        dropped = int((~whole).sum())
        try:
            found = how(folds)
            apart = np.arange(len(labels)) if of is None else of
            if folds and of is not None:
                apart = deal(labels, of, folds=folds, seed=self.seed)
        except Refusal as refusal:
            return Judged(
                accuracy=None,
                reason=str(refusal),
                predicted=predicted,
                judged=judged,
                dropped=dropped,
            )
        predicted[whole] = found.predicted
        judged[whole] = _judgeable(labels, apart)
        return Judged(
            accuracy=found, reason="", predicted=predicted, judged=judged, dropped=dropped
        )

    def difference(self, a: Judged, b: Judged) -> dict[str, float] | None:
        """Balanced accuracy of a less that of b over the cells that both judged, and its interval.

        Every draw takes whole fields, the same for both; None where fewer than three hold cells.
        """
        both = a.judged & b.judged
        fields = next(iter(self.groups.values()))[both]
        if len(np.unique(fields)) < 3:
            return None
        index, weights = group_weights(fields, draws=self.draws, seed=self.seed)
        names, codes = np.unique(self.labels[both], return_inverse=True)
        shape = (weights.shape[1], len(names))
        cells = np.zeros(shape)
        np.add.at(cells, (index, codes), 1)
        means = []
        for one in (a, b):
            right = np.zeros(shape)
            hit = one.predicted[both] == self.labels[both]
            np.add.at(right, (index[hit], codes[hit]), 1)
            drawn = _recall(weights @ right, weights @ cells)
            means.append((_recall(right.sum(0), cells.sum(0)).mean(), np.nanmean(drawn, axis=1)))
        low, high = np.quantile(means[0][1] - means[1][1], [0.025, 0.975])
        return {
            "difference": float(means[0][0] - means[1][0]),
            "low": float(low),
            "high": float(high),
        }

    def confusion(self, one: Judged) -> tuple[list[str], list[list[int]]]:
        """Labels, and how many cells of each (a row) were taken for which; judged cells alone."""
        names = np.unique(self.labels)
        place = {name: i for i, name in enumerate(names)}
        counts = np.zeros((len(names), len(names)), np.int64)
        truth = [place[name] for name in self.labels[one.judged]]
        np.add.at(counts, (truth, [place[name] for name in one.predicted[one.judged]]), 1)
        return [str(name) for name in names], counts.tolist()


def _judgeable(labels: Names, apart: Names) -> Bool[np.ndarray, " n"]:
    """Whether another part holds a cell of the same label."""
    codes = np.unique(labels, return_inverse=True)[1]
    parts = np.unique(apart, return_inverse=True)[1]
    pairs = np.zeros((codes.max() + 1, parts.max() + 1), bool)
    pairs[codes, parts] = True
    judgeable: np.ndarray = pairs.sum(1)[codes] > 1
    return judgeable


def _recall(right: np.ndarray, cells: np.ndarray) -> np.ndarray:
    shares: np.ndarray = np.divide(right, cells, out=np.full(right.shape, np.nan), where=cells > 0)
    return shares
