"""Is a classifier right where its mask says so? Judged on test images, and on corrupted ones."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.records import Sample
from attributome.core.seeds import rng
from attributome.data.small_images import SmallImages, open_small_images
from attributome.pipeline.study.correctness import measure_correctness
from attributome.pipeline.study.looked import Hand
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies, marked
from attributome.studies.correctness import Correctness, efficacy_and_correctness
from attributome.studies.found import Found

STAGE = "correctness"
CLEAN = "as it is"


def correctness(studies: Studies) -> Found:
    """Efficacy, and the predictor's own probability, as scores of being right.

    The threshold on each is chosen on validation images. With `correctness.data`, folders such as
    that of CIFAR-10-C, every corruption and severity is a group of its own, and an image in all its
    corruptions is one unit. Raises `UsageError` where a predictor is no classifier.
    """
    if studies.job.table:
        raise UsageError(
            "correctness needs validation images, which another table does not have: name further "
            "folders in correctness.data"
        )
    for one in studies.opened:
        if one.study.card.task != "classification":
            raise UsageError(
                f"correctness is studied of classifiers, and the predictor of {one.root} is none"
            )
    numbers: dict[str, Any] = {}
    words: list[str] = []
    tables: dict[str, list[pd.DataFrame]] = {"images": [], "scores": [], "gains": []}
    for name in studies.names:
        rows = _rows(studies, [one for one in studies.opened if one.name == name])
        found = efficacy_and_correctness(
            rows,
            unit="unit",
            groups=("data",) if rows["data"].nunique() > 1 else (),
            seed=studies.job.seed,
        )
        numbers[name] = _numbers(found)
        words += _words(name, found)
        for key, table in (("images", rows), ("scores", found.scores), ("gains", found.gains)):
            tables[key].append(table.assign(predictor=name))
    images = pd.concat(tables["images"], ignore_index=True)
    tested = images[images["split"] == "test"]
    return Found(
        numbers=numbers,
        n=f"{len(tested)} images of {tested['unit'].nunique()} units, {len(images) - len(tested)} "
        f"that chose the thresholds, {len(studies.names)} predictor"
        f"{'s' * (len(studies.names) != 1)}",
        test="whole units permuted, two-sided, Benjamini and Hochberg over groups; intervals from "
        "drawing units again",
        words=tuple(words),
        tables={key: pd.concat(parts, ignore_index=True) for key, parts in tables.items()},
    )


def _rows(studies: Studies, runs: list[Opened]) -> pd.DataFrame:
    """A row for each image of a predictor: split, data, unit, and what was measured."""
    small = [one for one in runs if one.work.fields.scaling is not None]
    if small and len(small) == len(runs):
        return pd.concat([_of_small(studies, one) for one in runs], ignore_index=True)
    if studies.job.correctness.data:
        raise UsageError(
            "correctness.data needs predictors whose images are normalised by the training "
            "(data.normalise = 'training'): nothing else is the same for corrupted images"
        )
    pairs = [
        (one, field)
        for one in runs
        for part in ("validate", "test")
        for field in one.work.fields.part(part)
    ]
    parts = {(one.name, f): "test" for one in runs for f in one.work.fields.part("test")}
    table = measured(studies, STAGE, _ask, options={}, fields=pairs)
    asked = zip(table["predictor"], table["field"], strict=True)
    split = [parts.get(pair, "validate") for pair in asked]
    return table.drop(columns="predictor").assign(split=split, data=CLEAN)


def _ask(one: Opened, field: str) -> Rows:
    hand = Hand(one=one, name=field)
    truth = hand.given.sample.target
    if not isinstance(truth, float | int):
        raise DataError(f"sample {field!r} has no class as its target")
    before = hand.prediction.softmax(1)
    chance, top = before.max(1)
    kept = hand.noised(hand.mask)
    told = {"truth": int(truth), "top": int(top), "probability": float(chance)}
    right = int(int(top) == int(truth))
    return [told | {"correct": right, "efficacy": hand.efficacy(kept)}]


def _of_small(studies: Studies, one: Opened) -> pd.DataFrame:
    """Validation and test images of a run, and the images of further folders, in batches."""
    fields, most = one.work.fields, studies.job.correctness.most
    asked: list[tuple[str, str, Sequence[Sample]]] = []
    for part in ("validate", "test"):
        rows = [fields.places[name] for name in fields.part(part)]
        asked.append((part, CLEAN, fields.manifest.subset(_some(rows, most, part))))
    for folder in studies.job.correctness.data:
        asked += [("test", label, each) for label, each in _corrupted(Path(folder), most)]
    stage = marked(STAGE, {"most": most, "data": list(studies.job.correctness.data)})
    progress = studies.bars("correctness")
    tables = []
    for done, (part, label, samples) in enumerate(asked):
        unit = f"{one.name}/{one.root.name}/{part}/{label}"
        progress(done / len(asked), f"{one.name}, {part} {label} ({done + 1} of {len(asked)})")
        if not studies.run.has(stage, unit):
            table = _measured(one, samples).assign(split=part, data=label)
            studies.run.write(stage, unit, tables={"rows": table}, note={"data": label})
        tables.append(studies.run.unit_table(stage, unit, "rows"))
    progress(1.0, f"{len(asked)} done")
    return pd.concat(tables, ignore_index=True)


def _measured(one: Opened, samples: Iterable[Sample]) -> pd.DataFrame:
    scaling = one.work.fields.scaling
    assert scaling is not None  # `_rows` has looked
    table = measure_correctness(
        one.study.model,
        one.mask,
        samples,
        one.goal,
        task="classification",
        scaling=scaling,
        threshold=one.threshold,
        per=one.per,
        compute=one.work.compute,
    )
    # an image in all its corruptions is one unit; others are units of their own
    own = table["image"].astype(str) if "image" in table else table["id"]
    kept = ["id", "truth", "top", "probability", "correct", "efficacy", "mask_size"]
    return table[kept].assign(unit=own)


def _corrupted(folder: Path, most: int) -> list[tuple[str, SmallImages]]:
    """The images of a folder by corruption and severity, the same ones of each."""
    opened = open_small_images(folder)
    if opened is None:
        raise DataError(
            f"{folder} is in no layout of small images: correctness.data names folders such as "
            f"that of CIFAR-10-C"
        )
    table = opened.table
    if "corruption" not in table:
        rows = np.flatnonzero(table["split"] == "test").tolist()
        return [(folder.name, opened.subset(_some(rows, most, "test")))]
    found = []
    for (kind, severity), part in table.groupby(["corruption", "severity"], sort=True):
        rows = _some([int(row) for row in part.index], most, "test")
        found.append((f"{kind}, {severity}", opened.subset(rows)))
    return found


def _some(rows: list[int], most: int, part: str) -> list[int]:
    """At most so many, drawn by their places, so that corruptions have the same images."""
    order = rng(0, "correctness", part).permutation(len(rows))[:most]
    return [rows[place] for place in sorted(order.tolist())]


def _numbers(found: Correctness) -> dict[str, Any]:
    whole = found.scores[found.scores["scope"] == "all"].set_index("score")
    keys = ["n", "units", "accuracy", "r", "auroc", "auroc_low", "auroc_high", "p"]
    keys += ["balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high"]
    keys += ["precision", "coverage"]
    told = {str(name): row[keys].to_dict() for name, row in whole.iterrows()}
    for cut in found.cuts:
        told[cut.score]["threshold"] = cut.threshold
    gains = found.gains[found.gains["scope"] == "all"]
    told["gain_in_auroc"] = {
        str(row["baseline"]): {key: row[key] for key in ("difference", "low", "high", "p")}
        for row in gains.to_dict("records")
    }
    inside = found.scores[found.scores["scope"] == "within groups"]
    if not inside.empty:
        told["within_groups"] = {str(r["score"]): r["auroc"] for r in inside.to_dict("records")}
    return told


def _words(name: str, found: Correctness) -> list[str]:
    said = []
    for row in found.scores[found.scores["scope"] == "all"].to_dict("records"):
        score = {"efficacy": "efficacy", "probability": "its own top probability"}[row["score"]]
        said.append(
            f"{name}: {score} tells right from wrong answers with an AUROC of {row['auroc']:.3f} "
            f"({row['auroc_low']:.3f} to {row['auroc_high']:.3f}; chance 0.5)."
        )
    for row in found.gains[found.gains["scope"] == "all"].to_dict("records"):
        sure = row["low"] > 0 or row["high"] < 0
        verdict = (
            f"efficacy {'adds to' if row['difference'] > 0 else 'is worse than'} what anyone has"
            if sure
            else "which of the two is better cannot be told"
        )
        said.append(
            f"{name}: against its own probability that is {row['difference']:+.3f} "
            f"({row['low']:+.3f} to {row['high']:+.3f}): {verdict}."
        )
    return said
