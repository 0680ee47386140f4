"""Can a second network say how wrong a prediction is? Judged where the truth is known.

The head sees patches of a prediction and of its importance mask, and answers with 1 - |PCC|. Units
are folded: the head that judges a unit was trained and stopped on others, so that a claim never
comes from a network that knows the field, or another field of its well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.seeds import rng, seed_of
from attributome.core.training import Plan
from attributome.data.patches import grid_patches
from attributome.pipeline.study.looked import Looked, look
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies, each_field, marked
from attributome.pipeline.study.saving import shared
from attributome.predictors.confidence import (
    ConfidenceHead,
    Judged,
    claimed_error,
    confidence_head,
    fit_confidence,
    judged,
)
from attributome.store import folder_name
from attributome.studies.confidence import judge_confidence
from attributome.studies.found import Found

BATCH = 16
LR = 3e-3
LEAST = 3
"""Units: one trains, one stops the training, one is judged."""
FEW = 10
"""Units below which an interval of resampled units is too narrow to be believed."""
DRAWS = 1000
SCORES = {
    "head": "trained head",
    "unsupervised": "1 - efficacy",
    "untrained": "untrained head",
    "constant": "mean error of the training fields",
}
"""What claims an error: the two that are studied, and two that know nothing of errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Units by what they serve for in one fold; no unit stands twice."""

    train: tuple[str, ...]
    validate: tuple[str, ...]
    test: tuple[str, ...]

    def plain(self) -> dict[str, list[str]]:
        """As JSON has it."""
        return {role: [*getattr(self, role)] for role in ("train", "validate", "test")}


def confidence(studies: Studies) -> Found:
    """Fit a head in folds over units, and judge what it claims, patch by patch and field by field.

    The claim for a field is the mean of those for its patches; its true error is that of all of it.
    Raises `UsageError` below three units and for predictors of numbers and classes, and `DataError`
    where no field has a target image.
    """
    for one in studies.opened:
        if one.study.inspection.output != "image":
            raise UsageError(
                f"errors are claimed for predictors that answer with images, and {one.root} "
                f"answers with {one.study.inspection.output}"
            )
    fields, patches, roles = [], [], []
    few: dict[str, int] = {}
    for name in studies.names:
        known = _known(studies, name)
        units = {studies.unit(*pair) for pair in known}
        if not known:
            continue
        if len(units) < LEAST:
            few[name] = len(units)
            continue
        table, cut = _claimed(studies, name, known)
        patches.append(table)
        fields.append(_by_field(studies, known, table))
        roles += [
            {"predictor": name, "fold": number, "unit": unit, "role": role}
            for number, fold in enumerate(cut)
            for role, units in fold.plain().items()
            for unit in units
        ]
    if few and not patches:
        raise UsageError(
            f"no predictor has {LEAST} units or more ({few}): one trains, one stops the training "
            f"and one is judged"
        )
    if not patches:
        raise DataError("no field has a target image, so that no claimed error can be judged")
    return _told(
        studies,
        pd.concat(fields, ignore_index=True),
        pd.concat(patches, ignore_index=True),
        pd.DataFrame(roles),
        few,
    )


def folds(units: Sequence[str], count: int, *, seed: int) -> list[Fold]:
    """At most `count` folds over units: each is judged once, by a head that never saw it.

    Of the units that are not judged in a fold, a quarter and at least one stops the training.
    """
    names = sorted(set(units))
    if len(names) < LEAST or (len(names) == LEAST and count < LEAST):
        raise UsageError(
            f"{len(names)} units in {count} folds are too few to claim errors for: of three units "
            f"or more one trains, one stops the training and one is judged"
        )
    order = [names[i] for i in rng(seed, "confidence folds").permutation(len(names))]
    found = []
    for part in np.array_split(np.arange(len(order)), min(count, len(order))):
        test = [order[i] for i in part]
        rest = [name for name in order if name not in test]
        stop = max(1, len(rest) // 4)
        found.append(Fold(train=(*rest[stop:],), validate=(*rest[:stop],), test=(*test,)))
    return found


def _known(studies: Studies, name: str) -> list[tuple[Opened, str]]:
    """The fields of a predictor whose truth is an image."""
    found = []
    for one, field in each_field(studies, f"look at {name}", studies.fields(name)):
        if look(studies, one, field).truth is not None:
            found.append((one, field))
    return found


def _claimed(
    studies: Studies, name: str, known: list[tuple[Opened, str]]
) -> tuple[pd.DataFrame, list[Fold]]:
    """A row for each patch: its true error, and what each score claims."""
    asked = studies.job.confidence
    cut = folds([studies.unit(*pair) for pair in known], asked.folds, seed=studies.job.seed)
    spaces = [look(studies, *pair).x.shape[1:] for pair in known]
    size = tuple(min(asked.patch, *axis) for axis in zip(*spaces, strict=True))
    by_unit: dict[str, list[tuple[Opened, str]]] = {}
    for pair in known:
        by_unit.setdefault(studies.unit(*pair), []).append(pair)
    fold_of = {unit: number for number, fold in enumerate(cut) for unit in fold.test}
    heads: dict[int, tuple[ConfidenceHead, float]] = {}
    options = asked.model_dump(mode="json")
    options |= {"size": list(size), "folds": [fold.plain() for fold in cut]}

    def samples(units: Sequence[str]) -> list[Judged]:
        found = []
        for unit in units:
            for one, field in by_unit[unit]:
                found += [each for each, _ in _patches(studies, one, field, size)]
        return found

    def ask(one: Opened, field: str) -> Rows:
        number = fold_of[studies.unit(one, field)]
        if number not in heads:
            heads[number] = _head(studies, name, number, cut[number], samples, options, one)
        net, constant = heads[number]
        compute = one.work.compute
        fresh = confidence_head(net.channels, net.dims, seed=studies.job.seed)
        compute.place(fresh, net.dims)
        return [
            {
                "fold": number,
                "patch": at,
                "error": each.error,
                "head": claimed_error(net, each.inputs, compute=compute),
                "unsupervised": lost,
                "untrained": claimed_error(fresh, each.inputs, compute=compute),
                "constant": constant,
            }
            for at, (each, lost) in enumerate(_patches(studies, one, field, size))
        ]

    stage = f"confidence {folder_name(name)}"
    return measured(studies, stage, ask, options=options, fields=known), cut


def _head(
    studies: Studies,
    name: str,
    number: int,
    fold: Fold,
    samples: Callable[[Sequence[str]], list[Judged]],
    options: dict[str, Any],
    one: Opened,
) -> tuple[ConfidenceHead, float]:
    """The head of a fold, trained on its units; and the mean error of what trained it."""
    asked = studies.job.confidence
    seed = seed_of(studies.job.seed, "confidence", number)
    train, validate = samples(fold.train), samples(fold.validate)
    if not train or not validate:
        raise DataError(f"the truths of {name} are constant in every patch of fold {number}")
    draw, most = rng(seed, "confidence patches"), asked.steps * BATCH
    train = [train[i] for i in sorted(draw.permutation(len(train))[:most])]
    validate = [validate[i] for i in sorted(draw.permutation(len(validate))[: most // 2])]
    both = [*train, *validate]
    net = confidence_head(len(both[0].inputs), both[0].inputs.ndim - 1, seed=seed)
    rows = list(range(len(both)))
    fit_confidence(
        net,
        both,
        {"train": rows[: len(train)], "validate": rows[len(train) :]},
        plan=Plan(lr=LR, weight_decay=0.01, epochs=asked.epochs),
        batch=BATCH,
        seed=seed,
        compute=one.work.compute,
        folder=studies.run.root / "heads" / folder_name(marked(f"{name} fold {number}", options)),
        progress=studies.bars(f"head of {name}, fold {number + 1}"),
    )
    return net, float(np.mean([each.error for each in train]))


def _patches(
    studies: Studies, one: Opened, field: str, size: tuple[int, ...]
) -> list[tuple[Judged, float]]:
    """Patches of a field with their true error, and one minus the efficacy inside each.

    At most `confidence.patches` of those that tile it, drawn by the field's name. Those whose truth
    is constant have no error and are left out.
    """
    seen, unit = look(studies, one, field), studies.unit(one, field)
    boxes = grid_patches(seen.x.shape[1:], size, overlap=0)
    draw = rng(studies.job.seed, "confidence boxes", one.name, field)
    found = []
    for at in sorted(draw.permutation(len(boxes))[: studies.job.confidence.patches]):
        box = (slice(None), *boxes[at])
        truth = np.asarray(_truth(seen)[box])
        if truth.min() == truth.max():
            continue
        said, mask = np.asarray(seen.prediction[box]), np.asarray(seen.maps[box])
        each = judged(said, mask, truth, unit=unit)
        found.append((each, _error(np.asarray(seen.noised[box]), said)))
    return found


def _truth(seen: Looked) -> np.ndarray:
    assert seen.truth is not None  # only fields with one are asked
    return seen.truth


def _error(a: np.ndarray, b: np.ndarray) -> float:
    """1 - |PCC|; 1 where one is constant."""
    x, y = (each.astype(np.float64).ravel() - each.mean(dtype=np.float64) for each in (a, b))
    power = float(x @ x) * float(y @ y)
    return 1 - min(1.0, abs(float(x @ y)) / float(np.sqrt(power))) if power > 0 else 1.0


def _by_field(
    studies: Studies, known: list[tuple[Opened, str]], patches: pd.DataFrame
) -> pd.DataFrame:
    """Claims for whole fields beside the error of all of each."""
    means = patches.groupby("field")[["head", "untrained", "constant"]].mean()
    claims: dict[Any, Any] = means.to_dict("index")
    rows = []
    for one, field in known:
        if field not in claims:
            continue
        seen = look(studies, one, field)
        row = studies.about(one, field) | {
            "fold": int(patches.loc[patches["field"] == field, "fold"].iloc[0]),
            "error": _error(np.asarray(seen.prediction), _truth(seen)),
            "unsupervised": 1 - float(seen.note["efficacy"]),
        }
        rows.append(row | claims[field])
    return pd.DataFrame(rows)


def _told(
    studies: Studies,
    fields: pd.DataFrame,
    patches: pd.DataFrame,
    roles: pd.DataFrame,
    few: dict[str, int],
) -> Found:
    scores, calibration, coverage = [], [], []
    numbers: dict[str, Any] = {}
    for level, table in (("fields", fields), ("patches", patches)):
        for name, part in table.groupby("predictor", sort=False):
            for score in SCORES:
                told = judge_confidence(
                    part.reset_index(drop=True),
                    unit="unit",
                    score=score,
                    claims="error",
                    by="field" if level == "patches" else None,
                    draws=DRAWS,
                    seed=studies.job.seed,
                )
                key = {"predictor": name, "level": level, "score": score}
                kept = told.scores[told.scores["scope"] != "group"]
                scores.append(kept.assign(**key))
                calibration.append(told.calibration.assign(**key))
                coverage.append(told.coverage.assign(**key))
                numbers.setdefault(str(name), {}).setdefault(level, {})[score] = _short(kept)
    return Found(
        numbers=numbers,
        n=f"{shared(fields)}, {len(patches)} patches",
        test="Spearman and areas with intervals from drawing units again; no p, and nothing is "
        "corrected",
        words=(
            *_words(numbers, fields),
            *(f"{name}: left out, for {n} units are too few." for name, n in few.items()),
        ),
        tables={
            "fields": fields,
            "patches": patches,
            "roles": roles,
            "scores": pd.concat(scores, ignore_index=True),
            "calibration": pd.concat(calibration, ignore_index=True),
            "coverage": pd.concat(coverage, ignore_index=True),
        },
    )


def _short(kept: pd.DataFrame) -> dict[str, Any]:
    """The row of all pairs, and the rank correlation inside fields where that was asked."""
    row = kept[kept["scope"] == "all"].iloc[0]
    names = ("n", "units", "spearman", "spearman_low", "spearman_high", "gain", "bias")
    found = {name: row[name] for name in names}
    inside = kept[kept["scope"] == "within groups"]
    return found | ({"spearman_inside_fields": inside["spearman"].iloc[0]} if len(inside) else {})


def _words(numbers: dict[str, Any], fields: pd.DataFrame) -> tuple[str, ...]:
    said = []
    for name, levels in numbers.items():
        for level, scores in levels.items():
            told = [f"{SCORES[key]} {_rank(scores[key])}" for key in list(SCORES)[:3]]
            bias = scores["head"]["bias"]
            said.append(
                f"{name}, {level}: rank correlation of claimed and true error: {'; '.join(told)}. "
                f"The head's claims are {abs(bias):.3f} too {'low' if bias > 0 else 'high'} on "
                f"average."
            )
        units = fields.loc[fields["predictor"] == name, "unit"].nunique()
        if units < FEW:
            said.append(
                f"{name}: whether claims rank new fields cannot be told with n = {units} units; "
                f"the intervals are too narrow, and patches of one field do not make up for it."
            )
    said.append(
        "A claim for a field is the mean of those for its patches, whose errors are another thing "
        "than that of the field: its rank counts, and not its value. Heads of different folds "
        "start from different mean errors, which alone lowers rank correlations over folds: the "
        "mean error of the training fields, as a claim, shows by how much."
    )
    return tuple(said)


def _rank(row: dict[str, Any]) -> str:
    if row["spearman"] != row["spearman"]:
        return "none (all claims are the same)"
    told = f"{row['spearman']:+.2f}"
    if row["spearman_low"] == row["spearman_low"]:
        told += f" ({row['spearman_low']:+.2f} to {row['spearman_high']:+.2f})"
    return told
