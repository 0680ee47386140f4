"""What each term of the mask loss does: generators trained with other weights, and compared.

Every training begins from the same weights and sees the same patches, so that settings differ in
their weights alone. Their totals add up different things and are never compared. Each setting is
judged twice: after equally many steps ("last"), and at its best epoch ("best"), by one minus the
mean efficacy of binary masks of 2 to 30 % of the validation fields, which means the same under
every weighting. Best epochs are of different lengths of training, which alone makes masks differ;
what is said of a weight is therefore said of the last epoch, with the best beside it.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_file
from torch import Tensor

from attributome.core.arrays import mask_size, top_share
from attributome.core.errors import UsageError
from attributome.core.probe import predict
from attributome.core.seeds import seed_of
from attributome.core.types import Explainer, Images, Maps, Predictor, Target
from attributome.masks.condition import CONDITIONS
from attributome.masks.fit import fit_masks
from attributome.masks.generator import Generator, generator_for, load_generator, save_generator
from attributome.masks.objective import PRESETS, Objective, comparable
from attributome.pipeline.looking import explainer_over
from attributome.pipeline.study.looked import Hand
from attributome.pipeline.study.measuring import Rows, measured
from attributome.pipeline.study.opening import Opened, Studies, marked
from attributome.pipeline.study.saving import shared
from attributome.pipeline.training import design_for, held_out, images, plan_of
from attributome.pipeline.work import Work
from attributome.store import folder_name
from attributome.studies.ablation import ablation as compare
from attributome.studies.ablation import best_epochs, settings
from attributome.studies.found import Found

WEIGHTS = ("agreement", "fidelity", "size")
COMPONENTS = ("size", "efficacy_soft", "efficacy_binary", "difference_soft", "difference_binary")
SWEEPS = "sweeps"
TIMES = ("last", "best")
"""When a generator is judged: after all its steps, and at its best epoch."""
CRITERION = "1 - mean efficacy of binary masks of 2 to 30 % of the validation fields"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """One training: a setting of the weights, by its name, and a seed, for the masks of a run."""

    one: Opened
    setting: str
    weights: dict[str, float]
    seed: int
    goal: Objective
    work: Work
    folder: Path

    @property
    def about(self) -> dict[str, Any]:
        """What a row about this training begins with."""
        known = {f"w_{name}": self.weights[name] for name in WEIGHTS}
        return {"run": self.setting, "seed": self.seed, **known}


def ablation(studies: Studies) -> Found:
    """Train a mask generator for each setting of the weights, and compare what came of each.

    Measured on the judged fields of the runs: the size of the mask, efficacy and squared difference
    of outputs at the soft mask, and both again at a binary signature of exactly that size. Raises
    `UsageError` where no weight is varied, or where the preset's masks have a size that is drawn.
    """
    trials = _trials(studies)
    nets = _trained(studies, trials)
    ones = list({id(trial.one): trial.one for trial in trials}.values())

    def ask(one: Opened, field: str) -> Rows:
        hand = Hand(one=one, name=field)
        return [
            trial.about | {"at": at} | _judged(trial, net, hand)
            for trial, pair in zip(trials, nets, strict=True)
            if trial.one is one
            for at, net in zip(TIMES, pair, strict=True)
        ]

    table = measured(
        studies,
        "ablation",
        ask,
        options={"trials": [trial.folder.name for trial in trials]},
        fields=[pair for pair in studies.fields() if pair[0] in ones],
    )
    return _told(studies, table, _histories(trials))


def _trials(studies: Studies) -> list[Trial]:
    asked = studies.job.ablation
    ones = studies.opened[:1] if asked.runs == "first" else studies.opened
    found = []
    for one in ones:
        preset = asked.preset or f"published_{one.study.card.task or 'image'}"
        if preset not in PRESETS:
            raise UsageError(f"no preset {preset!r} of the loss; there are {', '.join(PRESETS)}")
        base = PRESETS[preset]
        if base.form == "rank":
            raise UsageError(
                f"the masks of preset {preset!r} have a size that training draws, so that no "
                f"weight decides it: take published_image, _regression or _classification"
            )
        for setting, weights in _settings(studies, base).items():
            changes: dict[str, Any] = {"noise": one.goal.noise, **weights}
            goal = replace(base, noise_scale=one.goal.noise_scale, **changes)
            for number in range(asked.seeds):
                found.append(_trial(studies, one, setting, weights, number, goal))
    return found


def _settings(studies: Studies, base: Objective) -> dict[str, dict[str, float]]:
    """The preset's weights, and one weight at a time moved from them; or every combination."""
    asked = studies.job.ablation
    point = {name: float(getattr(base, name)) for name in WEIGHTS}
    values = {name: getattr(asked, name) for name in WEIGHTS}
    if asked.grid:
        every = settings(point, {name: list(values[name]) or [point[name]] for name in WEIGHTS})
        found = {name: one for name, one in every.items() if any(one.values())}
    else:
        moved = [point | {name: value} for name in WEIGHTS for value in values[name]]
        found = {}
        for one in [point, *moved]:
            found |= settings(one, {name: [value] for name, value in one.items()})
    if len(found) < 2:
        raise UsageError(
            f"every value of ablation.agreement, fidelity and size is that of the preset, {point}: "
            f"name another for one of them"
        )
    return found


def _trial(
    studies: Studies,
    one: Opened,
    setting: str,
    weights: dict[str, float],
    number: int,
    goal: Objective,
) -> Trial:
    asked = studies.job.ablation
    seed = seed_of(studies.job.seed, "ablation", number)
    short = {"epochs": asked.epochs, "steps": asked.steps, "patience": None, "minutes": None}
    masks = one.work.job.masks.model_copy(update=short)
    job = one.work.job.model_copy(update={"masks": masks, "seed": seed})
    options = {
        "goal": asdict(goal),
        "masks": masks.model_dump(mode="json"),
        "seed": seed,
        "data": one.work.run.asked["data"],
        "splits": one.work.fields.splits,
        "predictor": one.study.mark,
    }
    name = marked(f"{one.name} {setting} seed {number}", options)
    return Trial(
        one=one,
        setting=setting,
        weights=weights,
        seed=number,
        goal=goal,
        work=replace(one.work, job=job),
        folder=studies.run.root / SWEEPS / folder_name(name),
    )


def _trained(studies: Studies, trials: list[Trial]) -> list[tuple[Generator, Generator]]:
    """The generators of each trial at `TIMES`, trained where it is not finished yet."""
    progress = studies.bars("loss weights")
    todo = [n for n, trial in enumerate(trials) if not (trial.folder / "generator.json").is_file()]
    for done, n in enumerate(todo):
        trial = trials[n]

        def tell(share: float, words: str, done: int = done, trial: Trial = trial) -> None:
            overall = min((done + share) / len(todo), 0.999)
            progress(overall, f"{trial.setting} ({done + 1} of {len(todo)}): {words}")

        _train(trial, tell)
    progress(1.0, f"{len(trials)} generators trained")
    return [(_placed(trial, _last(trial)), _placed(trial, _best(trial))) for trial in trials]


def _best(trial: Trial) -> Generator:
    return load_generator(trial.folder, predictor=trial.one.study.mark)


def _last(trial: Trial) -> Generator:
    """The generator as its last epoch left it: what a training would go on from."""
    tensors = load_file(trial.folder / "last.safetensors")
    net = generator_for(design_for(trial.work, trial.one.study), seed=trial.work.job.seed)
    net.load_state_dict({n[4:]: value for n, value in tensors.items() if n.startswith("net.")})
    return net


def _placed(trial: Trial, net: Generator) -> Generator:
    return trial.work.compute.place(net, trial.one.study.inspection.dims).eval()


def _train(trial: Trial, progress: Callable[[float, str], None]) -> None:
    work, study = trial.work, trial.one.study
    asked, dims = work.job.masks, study.inspection.dims
    together = study.inspection.output != "image"
    generator = generator_for(design_for(work, study), seed=work.job.seed)
    cache = work.fields.cache("train")

    def batches(epoch: int) -> Iterator[Tensor]:
        return images(work, asked, cache, epoch)

    fit_masks(
        work.compute.place(generator, dims),
        study.model,
        study.target,
        goal=trial.goal,
        plan=plan_of(asked),
        batches=batches,
        steps=asked.steps,
        validation=[work.compute.move(x) for x, _ in held_out(work, asked, together=together)],
        compute=work.compute,
        seed=work.job.seed,
        starts=1,
        folder=trial.folder,
        identity={"trial": trial.folder.name},
        progress=progress,
    )
    save_generator(trial.folder, generator, {"setting": trial.setting, "criterion": CRITERION})


def soft_mask(generator: Generator) -> Explainer:
    """The generator as training saw it: how much of each pixel is kept, not how it ranks."""

    def soft(model: Predictor, x: Images, target: Target) -> Maps:
        seen = CONDITIONS[generator.design.condition](model, x, predict(model, x), target)
        kept: Maps = predict(lambda rows: generator.logits(rows).sigmoid(), seen)
        return kept

    return soft


def _judged(trial: Trial, net: Generator, hand: Hand) -> dict[str, float]:
    one, goal = trial.one, trial.goal
    soft = explainer_over(one.work, one.study, hand.given, soft_mask(net), one.study.target)(hand.x)
    share = mask_size(soft).item()
    row = {"size": share}
    for kind, mask in (("soft", soft), ("binary", top_share(soft, share))):
        out = hand.noised(mask)
        gap = comparable(goal, out) - comparable(goal, hand.prediction)
        row |= {
            f"efficacy_{kind}": hand.efficacy(out),
            f"difference_{kind}": gap.square().mean().item(),
        }
    return row


def _histories(trials: list[Trial]) -> pd.DataFrame:
    """Every epoch of every training; `best` marks the one that was chosen."""
    parts = []
    for trial in trials:
        log = pd.read_csv(trial.folder / "log.csv")
        for at, (key, value) in enumerate(({"predictor": trial.one.name} | trial.about).items()):
            log.insert(at, key, value)
        log.insert(0, "training", trial.folder.name)
        best = best_epochs(log, by="val_loss", run="training")["epoch"].iloc[0]
        parts.append(log.assign(best=log["epoch"] == best))
    return pd.concat(parts, ignore_index=True)


def _told(studies: Studies, table: pd.DataFrame, histories: pd.DataFrame) -> Found:
    asked = studies.job.ablation
    runs, pairs, said = [], [], []
    numbers: dict[str, Any] = {}
    weights = [f"w_{name}" for name in WEIGHTS]
    for name in dict.fromkeys(map(str, table["predictor"])):
        wide = {}
        for at in TIMES:
            mine = table[(table["predictor"] == name) & (table["at"] == at)]
            keys = ["run", "field", "unit", *weights]
            means = mine.groupby(keys, sort=False, as_index=False)[list(COMPONENTS)].mean()
            found = compare(means, COMPONENTS, weights, unit="unit", seed=studies.job.seed)
            runs.append(found.runs.assign(predictor=name, at=at))
            pairs.append(found.pairs.assign(predictor=name, at=at))
            wide[at] = found.runs.pivot(index="run", columns="component", values="mean")
            numbers.setdefault(name, {})[at] = {
                str(run): row[list(COMPONENTS)].to_dict() for run, row in wide[at].iterrows()
            }
        of = histories[(histories["predictor"] == name) & histories["best"]]
        numbers[name]["best_epochs"] = {
            str(run): part["epoch"].tolist() for run, part in of.groupby("run", sort=False)
        }
        said += _sentences(name, pairs[-2], wide)
    said.append(
        f"Each setting was trained {_times(asked.seeds)}, for {asked.epochs} epochs of "
        f"{asked.steps} batches: short trainings say which way a term pulls, not how far it would "
        f"go. The best epoch is that with the least {CRITERION}."
    )
    if asked.seeds == 1:
        said.append("One training of each: how much another seed changes cannot be told.")
    return Found(
        numbers=numbers,
        n=f"{shared(table)}, {table['run'].nunique()} settings trained {_times(asked.seeds)}",
        test="settings that differ in one weight, field by field: signs of the units' differences "
        "flipped, Holm over all components and pairs of a predictor; intervals are Student's",
        words=tuple(said),
        tables={
            "fields": table,
            "runs": pd.concat(runs, ignore_index=True),
            "pairs": pd.concat(pairs, ignore_index=True),
            "histories": histories,
        },
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _sentences(name: str, pairs: pd.DataFrame, wide: dict[str, pd.DataFrame]) -> list[str]:
    """What each weight changed, beside the setting that differs in it alone."""
    said = []
    for (first, second), part in pairs.groupby(["first", "second"], sort=False):
        row = part.set_index("component")
        weight = str(row["weight"].iloc[0]).removeprefix("w_")
        change = partial(_change, row, wide, first, second)
        told = [
            change("size", "the mask keeps a share of"),
            change("efficacy_soft", "the efficacy of the soft mask is"),
            change("efficacy_binary", "that of a binary signature of the same size"),
        ]
        units = int(row["units"].min())
        least = 2 / 2**units
        end = f" With n = {units} no p can be below {least:.2g}." if least > 0.05 else ""
        said.append(
            f"{name}, {weight} weighted {row['to'].iloc[0]:g} and not {row['from'].iloc[0]:g} "
            f"({first}; {second}): {', '.join(told)}.{end}"
        )
    return said


def _change(
    row: pd.DataFrame,
    wide: dict[str, pd.DataFrame],
    first: Any,
    second: Any,
    component: str,
    label: str,
) -> str:
    one = row.loc[component]
    last, best = ([wide[at].loc[run, component] for run in (first, second)] for at in TIMES)
    told = f"{label} {last[0]:.3f} rather than {last[1]:.3f}"
    more = [f"best epochs: {best[0]:.3f}, {best[1]:.3f}"]
    if one["difference_low"] == one["difference_low"]:
        low, high = one["difference_low"], one["difference_high"]
        more.insert(0, f"difference {low:+.3f} to {high:+.3f}, p {one['holm']:.2g} after Holm")
    return f"{told} ({'; '.join(more)})"
