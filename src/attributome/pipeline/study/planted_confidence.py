"""Whether a score of quality ranks fields of new wells by their true error when the data shifts.

Everything is planted (`data/shifted.py`), so that the truth of every field is known. A predictor
and its masks are trained on fields as they should be. A head then learns from wells of every shift
how wrong the predictor is; beside it stand scores that no truth has taught.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from attributome.core.arrays import mix, pearson, top_share
from attributome.core.compute import Compute
from attributome.core.errors import UsageError
from attributome.core.files import plain, write_json, write_text
from attributome.core.fills import fill_for
from attributome.core.probe import predict
from attributome.core.seeds import rng, seed_of
from attributome.core.targets import OutputSum
from attributome.core.training import Plan
from attributome.core.types import Explainer, Images, Progress, silent
from attributome.data.shifted import SHIFTS, ShiftedFields, in_spreads, shifted_fields
from attributome.masks.fit import fit_masks, mask_explainer
from attributome.masks.generator import Design, generator_for
from attributome.masks.objective import PRESETS
from attributome.predictors.confidence import (
    Judged,
    claimed_error,
    confidence_head,
    fit_confidence,
    judged,
)
from attributome.predictors.fit import fit_predictor
from attributome.studies.confidence import fit_error_map
from attributome.studies.shift import Scores, judge_scores

SCORES = {
    "supervised": True,
    "efficacy, mapped": True,
    "efficacy curve": False,
    "efficacy": False,
    "augmentation": False,
    "untrained head": False,
    "chance": False,
}
"""The scores, each rising with the error it expects, and whether it is in units of the error."""

UNTRAINED = 8
"""Heads that learned nothing; the first is judged, and the Spearman of each is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftPlan:
    """How large the experiment is: wells of each part, and how long each network trains.

    `sizes` (of the mask) and `scales` (of the noise, in spreads of a field) are where the efficacy
    curve is measured, by `draws` of noise each; "efficacy" alone is one draw at `single`.
    """

    fit: int = 24
    stop: int = 6
    train: int = 60
    validate: int = 30
    test: int = 50
    per_well: int = 2
    size: tuple[int, ...] = (64, 64)
    folds: int = 2
    predictor_epochs: int = 14
    mask_epochs: int = 3
    mask_steps: int = 12
    head_epochs: int = 12
    sizes: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    scales: tuple[float, ...] = (0.5, 1.5)
    draws: int = 3
    single: tuple[float, float] = (0.1, 1.5)


STANDARD, CPU = ShiftPlan(), Compute()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlantedConfidence:
    """What was found: `fields` has a row per test field, with its true error and every score.

    `judged` holds the tables of `judge_scores`, and `summary` what goes into summary.json.
    """

    fields: pd.DataFrame
    judged: Scores
    summary: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Data:
    """All fields, scaled; row i of each belongs to row i of the table."""

    table: pd.DataFrame
    images: Images
    targets: Images

    def rows(self, part: str) -> np.ndarray:
        return np.flatnonzero((self.table["split"] == part).to_numpy())


def planted_confidence(
    *,
    seed: int,
    folder: Path,
    plan: ShiftPlan = STANDARD,
    compute: Compute = CPU,
    draws: int = 2000,
    progress: Progress = silent,
) -> PlantedConfidence:
    """Run the experiment of `seed` and write it into `folder`; the same call again goes on.

    The fields of the part `fit` train the predictor and its mask generator, `stop` says when to
    stop. No error that the head learns from is of a field that trained the network it is of: each
    fold of `fit` is predicted and masked by networks of the other folds (cross-fitting), and wells
    of the part `train` trained none. `validate` stops the head and fits the map from efficacy to
    error, `test` is judged. No well is in two parts.

    Scores, all rising with the expected error: `supervised`, the head's claim from prediction and
    mask; `efficacy`, 1 - PCC of the prediction with that of the field noised outside its mask, by
    one draw; `efficacy curve`, its mean over sizes, noise scales and draws; `efficacy, mapped`,
    this mean in units of error by an isotonic map; `augmentation`, how far predictions of the eight
    turned and mirrored fields disagree; `untrained head`, and `chance`. Only the first and the
    mapped one have seen a truth. An untrained head is no chance: it sees how a prediction looks,
    and its Spearman spreads widely around 0 from one head to the next (`untrained_heads`). Writes
    `fields.csv`, `scores.csv`, `calibration.csv`, `coverage.csv`, `summary.json`, and the networks.
    """
    if plan.folds < 2 or plan.fit < plan.folds or min(plan.test, plan.validate) < 3:
        raise UsageError(
            f"{plan.folds} folds of {plan.fit} wells, {plan.validate} wells to validate and "
            f"{plan.test} to test: at least 2 folds of a well each, and 3 wells of the others"
        )
    data = _simulated(plan, seed)
    progress(0.1, f"{len(data.table)} fields simulated")
    train = partial(_networks, data, plan, seed=seed, folder=folder, compute=compute)
    fit = data.rows("fit")
    number = pd.factorize(data.table["well"])[0]
    samples: dict[int, Judged] = {}
    for fold in range(plan.folds):
        out = number[fit] % plan.folds == fold
        net, masks = train(fit[~out], f"fold{fold}")
        samples |= _judged(data, net, masks, fit[out], compute)
        progress(0.1 + 0.4 * (fold + 1) / (plan.folds + 1), f"fold {fold + 1} of {plan.folds}")
    net, masks = train(fit, "all")
    held = np.concatenate([data.rows("validate"), data.rows("test")])
    samples |= _judged(data, net, masks, np.concatenate([data.rows("train"), held]), compute)
    progress(0.5, "a predictor, masks, and errors of every field")

    errors_of = pd.Series({i: one.error for i, one in samples.items()})
    table = data.table.assign(error=errors_of)
    table = table.join(_unsupervised(data, net, masks, held, plan, seed, compute))
    progress(0.7, "what masks and turned fields say")
    used = sorted(samples)
    place = {row: at for at, row in enumerate(used)}
    parts = {
        "train": [place[i] for i in (*fit.tolist(), *data.rows("train").tolist())],
        "validate": [place[i] for i in data.rows("validate").tolist()],
    }
    head = confidence_head(2, len(plan.size), width=4, seed=seed)
    fit_confidence(
        head, [samples[i] for i in used], parts, plan=Plan(lr=0.01, epochs=plan.head_epochs),
        seed=seed, compute=compute, folder=folder / "head",
    )  # fmt: skip
    progress(0.9, "the head")
    errors = fit_error_map(
        table.loc[held], unit="well", efficacy="efficacy curve", direction="rises"
    )
    test = table.loc[data.rows("test")].reset_index(drop=True)
    inputs = [samples[i].inputs for i in data.rows("test")]
    blank = [confidence_head(2, len(plan.size), width=4, seed=seed_of(seed, "untrained", i))
             for i in range(UNTRAINED)]  # fmt: skip
    idle = [[claimed_error(one, x, compute=compute) for x in inputs] for one in blank]
    test["supervised"] = [claimed_error(head, x, compute=compute) for x in inputs]
    test["efficacy, mapped"] = errors.claims(test["efficacy curve"].to_numpy())
    test["untrained head"] = idle[0]
    test["chance"] = rng(seed, "chance").uniform(size=len(test))
    test = test[["id", "well", "shift", "strength", "error", *SCORES]]
    scores = judge_scores(test, SCORES, draws=draws, seed=seed)
    summary = {
        "seed": seed,
        "plan": asdict(plan),
        "n": len(test),
        "wells": int(test["well"].nunique()),
        "scores": scores.summary,
        "untrained_heads": [test["error"].corr(pd.Series(one), "spearman") for one in idle],
        "error_map": errors.to_dict(),
        "error_by_shift": test.groupby("shift")["error"].mean().to_dict(),
    }
    found = PlantedConfidence(fields=test, judged=scores, summary=plain(summary))
    _write(found, folder)
    progress(1.0, f"supervised Spearman {scores.summary['supervised']['spearman']:.2f}")
    return found


def _simulated(plan: ShiftPlan, seed: int) -> _Data:
    """Targets in spreads of those that train the predictor, images in those of any such field."""
    parts = ("fit", "stop", "train", "validate", "test")
    fields: ShiftedFields = shifted_fields(
        wells={part: getattr(plan, part) for part in parts},
        per_well=plan.per_well,
        size=plan.size,
        shifts={part: ["none"] if part in ("fit", "stop") else SHIFTS for part in parts},
        seed=seed,
    )
    table, samples = fields.table(), list(fields)
    targets = np.stack([np.asarray(one.target, np.float64) for one in samples])
    seen = targets[(table["split"] == "fit").to_numpy()]
    return _Data(
        table=table,
        images=torch.from_numpy(np.stack([in_spreads(one) for one in samples])),
        targets=torch.from_numpy((targets - seen.mean()) / seen.std()).float(),
    )


def _networks(
    data: _Data,
    plan: ShiftPlan,
    rows: np.ndarray,
    name: str,
    *,
    seed: int,
    folder: Path,
    compute: Compute,
) -> tuple[nn.Module, Explainer]:
    """A predictor and the masks for it, both trained on these rows."""
    stop = data.rows("stop")
    identity = {"seed": seed, "plan": asdict(plan), "rows": rows.tolist()}
    net = _small_network(len(plan.size), seed)
    take = max(1, min(4, len(rows)))
    steps = len(rows) // take

    def pairs(epoch: int) -> list[tuple[Tensor, Tensor]]:
        order = rng(seed, "shift pairs", name, epoch).permutation(rows)[: steps * take]
        return [(data.images[some], data.targets[some]) for some in order.reshape(steps, take)]

    fit_predictor(
        net, batches=pairs, steps=steps, validation=[(data.images[stop], data.targets[stop])],
        task="image", plan=Plan(lr=3e-3, epochs=plan.predictor_epochs), compute=compute,
        folder=folder / name / "predictor", identity=identity,
    )  # fmt: skip
    design = Design(
        channels=2, dims=len(plan.size), condition="prediction", predictor=name,
        features=(8, 8, 16, 16, 16, 8),
    )  # fmt: skip
    masks = compute.place(generator_for(design, seed=seed), len(plan.size))

    def images(epoch: int) -> list[Images]:
        draw, at_once = rng(seed, "shift masks", name, epoch), min(8, len(rows))
        return [
            compute.move(data.images[draw.choice(rows, at_once, replace=False)])
            for _ in range(plan.mask_steps)
        ]

    fit_masks(
        masks, net, OutputSum(), goal=PRESETS["image"],
        plan=Plan(lr=5e-3, epochs=plan.mask_epochs), batches=images, steps=plan.mask_steps,
        validation=[compute.move(data.images[stop])], compute=compute, seed=seed, starts=2,
        folder=folder / name / "masks", identity=identity,
    )  # fmt: skip
    return net, mask_explainer(masks)


def _small_network(dims: int, seed: int) -> nn.Module:
    """Three layers, which see 13 pixels: wrong on what they were not trained on, in a second."""
    conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for before in (1, 8, 8):
            layers += [conv(before, 8, 5, padding=2), nn.ReLU()]
        return nn.Sequential(*layers, conv(8, 1, 1))


def _judged(
    data: _Data, net: nn.Module, masks: Explainer, rows: np.ndarray, compute: Compute
) -> dict[int, Judged]:
    found: dict[int, Judged] = {}
    wells = data.table["well"].tolist()
    for i in rows.tolist():
        x = compute.move(data.images[i : i + 1])
        out, mask = predict(net, x), masks(net, x, OutputSum())
        found[i] = judged(
            out[0].cpu().numpy(), mask[0].cpu().numpy(), data.targets[i].numpy(), unit=wells[i]
        )
    return found


def _unsupervised(
    data: _Data,
    net: nn.Module,
    masks: Explainer,
    rows: np.ndarray,
    plan: ShiftPlan,
    seed: int,
    compute: Compute,
) -> pd.DataFrame:
    """What can be said of a field without any truth; a row per field, indexed as the table is."""
    ids = data.table["id"].tolist()
    told: list[dict[str, float]] = []
    for i in rows.tolist():
        x = compute.move(data.images[i : i + 1])
        out, mask = predict(net, x), masks(net, x, OutputSum())

        def lost(
            size: float, scale: float, draw: int, x: Tensor = x, out: Tensor = out,
            mask: Tensor = mask, name: str = ids[i],
        ) -> float:  # fmt: skip
            fill = fill_for(x, [name], "gaussian", scale=scale, seed=seed, draw=draw)
            kept = mix(x, top_share(mask, size), fill)
            return 1 - float(pearson(predict(net, kept), out))

        curve = [
            lost(size, scale, draw)
            for size in plan.sizes for scale in plan.scales for draw in range(plan.draws)
        ]  # fmt: skip
        told.append({
            "efficacy": lost(*plan.single, 0),
            "efficacy curve": float(np.mean(curve)),
            "augmentation": _disagreement(partial(predict, net), x),
        })  # fmt: skip
    return pd.DataFrame(told, index=rows)


def _disagreement(look: Callable[[Tensor], Tensor], x: Images) -> float:
    """1 - the mean PCC with their mean of the predictions of a field turned and mirrored."""
    outs: list[Tensor] = []
    for turns in range(4):
        for mirrored in (False, True):
            seen = torch.rot90(x, turns, (-2, -1))
            out = look(seen.flip(-1) if mirrored else seen)
            outs.append(torch.rot90(out.flip(-1) if mirrored else out, -turns, (-2, -1)))
    every = torch.cat(outs)
    return 1 - float(pearson(every, every.mean(0, keepdim=True).expand_as(every)).mean())


def _write(found: PlantedConfidence, folder: Path) -> None:
    tables: Sequence[tuple[str, pd.DataFrame]] = (
        ("fields", found.fields),
        ("scores", found.judged.scores),
        ("calibration", found.judged.calibration),
        ("coverage", found.judged.coverage),
    )
    for name, table in tables:
        write_text(folder / f"{name}.csv", table.to_csv(index=False))
    write_json(folder / "summary.json", found.summary)
