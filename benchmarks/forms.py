"""Which form of mask to train: all of them against one predictor, patches, seeds and budget."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from attributome.config import MasksJob, PredictorJob
from attributome.core.arrays import pearson
from attributome.core.compute import Compute, choose
from attributome.core.files import write_json
from attributome.core.fills import fill_for
from attributome.core.probe import predict
from attributome.core.records import Sample
from attributome.core.targets import OutputSum
from attributome.core.training import Plan
from attributome.core.types import Explainer
from attributome.data.manifest import open_images
from attributome.data.patches import FieldCache, random_patches
from attributome.data.planted import planted
from attributome.data.samples import Samples
from attributome.explain.controls import intensity, random
from attributome.masks.fit import fit_masks, mask_explainer
from attributome.masks.generator import Design, generator_for
from attributome.masks.objective import FORMS, PRESETS, Objective
from attributome.metrics.faithfulness import efficacy, efficacy_curve, smallest_size
from attributome.predictors.fit import fit_predictor
from attributome.predictors.networks import unet

RESULTS = Path(__file__).with_name("forms.json")
CONTROLS: dict[str, Explainer] = {"intensity": intensity, "random": random}
SIZES = (0.05, 0.1, 0.2)
FLOOR = 0.9
LEAK = 0.45
NOISE = 1.5
EPOCH = 25

# what may choose its own mask size is paid for a small one, with what the published form asks
HARD = Objective(size=1.0, agreement=10.0, enough=0.9, pool="batch")
GOALS = {
    "rank": PRESETS["image"],
    "soft": PRESETS["published_image"],
    "bernoulli": replace(HARD, form="bernoulli"),
    "concrete": replace(HARD, form="concrete"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What every training is given."""

    steps: int
    predictor_steps: int
    minutes: float | None
    batch: int
    patch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Fields in the units that networks see, and a predictor that was trained on them."""

    train: FieldCache
    validate: list[tuple[Tensor, Tensor]]
    test: list[tuple[str, Tensor, Tensor]]
    net: nn.Module
    predictor_pcc: list[float]


def prepare(
    train: Samples, validate: Samples, test: Samples, *, budget: Budget, compute: Compute
) -> Data:
    """Train the predictor that every form is to explain."""
    cache, held, new = FieldCache(samples=train), pairs(validate, compute), pairs(test, compute)
    x, y = held[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = unet(x.shape[1], y.shape[1], 2, features=PredictorJob().features)
    steps = min(EPOCH, budget.predictor_steps)

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for images, targets in patches(cache, epoch, steps, 0, budget):
            yield torch.from_numpy(images), torch.from_numpy(targets)

    plan = plan_for(PredictorJob(), budget.predictor_steps, steps, budget)
    fit_predictor(
        net,
        batches=batches,
        steps=steps,
        validation=held,
        task="image",
        plan=plan,
        compute=compute,
    )
    net.eval()
    with compute.autocast():
        scores = [pearson(predict(net, x), y).item() for x, y in new]
    named = [(test[i].id, x, y) for i, (x, y) in enumerate(new)]
    return Data(train=cache, validate=held, test=named, net=net, predictor_pcc=scores)


def pairs(samples: Samples, compute: Compute) -> list[tuple[Tensor, Tensor]]:
    """Normalised fields and targets on the device, each `(1, c, *s)`."""
    cache = FieldCache(samples=samples)
    both = [cache.get(i) for i in range(len(samples))]
    return [
        (compute.move(torch.from_numpy(x)[None]), compute.move(torch.as_tensor(y)[None]))
        for x, y in both
    ]


def patches(cache: FieldCache, epoch: int, steps: int, seed: int, budget: Budget) -> Any:
    """The same patches for the same (seed, epoch), whatever is trained on them."""
    size = (budget.patch, budget.patch)
    return random_patches(cache, size=size, batch=budget.batch, steps=steps, seed=seed, epoch=epoch)


def plan_for(job: MasksJob | PredictorJob, total: int, steps: int, budget: Budget) -> Plan:
    """The job's default pace for `total` steps, or for the minutes if they are over first."""
    return Plan(
        lr=job.lr,
        weight_decay=job.weight_decay,
        epochs=-(-total // steps),
        minutes=budget.minutes,
    )


def train_form(
    form: str, data: Data, *, seed: int, grain: int, budget: Budget, compute: Compute
) -> tuple[Explainer, dict[str, float]]:
    """A mask generator of one form, and how its training went."""
    goal = replace(GOALS[form], noise_scale=NOISE)
    x, y = data.validate[0]
    design = Design(
        channels=x.shape[1] + y.shape[1],
        dims=2,
        condition="prediction",
        predictor="forms",
        features=MasksJob().features,
        grain=grain,
    )
    generator = compute.place(generator_for(design, seed=seed), 2)
    steps, started = min(EPOCH, budget.steps), time.monotonic()

    def batches(epoch: int) -> Iterator[Tensor]:
        for images, _ in patches(data.train, epoch, steps, seed, budget):
            yield compute.move(torch.from_numpy(images))

    story = fit_masks(
        generator,
        data.net,
        OutputSum(),
        goal=goal,
        plan=plan_for(MasksJob(), budget.steps, steps, budget),
        batches=batches,
        steps=steps,
        validation=[x for x, _ in data.validate],  # one by one, so that each PCC is a field's
        compute=compute,
        seed=seed,
    )
    return mask_explainer(generator), {
        "held_out_loss": story.best,
        "best_epoch": story.best_epoch + 1,
        "epochs": len(story.rows),
        "seconds": round(time.monotonic() - started, 1),
    }


def judge(explainer: Explainer, data: Data, compute: Compute) -> dict[str, Any]:
    """Binary masks of the test fields: the smallest area that keeps the floor, and efficacies."""
    smallest, curves = [], []
    for name, x, _ in data.test:
        with compute.autocast():
            maps = explainer(data.net, x, OutputSum()).float()
            fill, wanted = noise(name, x), predict(data.net, x)
            area = smallest_size(data.net, x, maps, fill, floor=FLOOR, reference=wanted).item()
            curve = efficacy_curve(data.net, x, maps, fill, SIZES, reference=wanted)[0].tolist()
        smallest.append(area if area == area else None)  # NaN: not even the whole field keeps it
        curves.append(curve)
    return {
        "smallest_area": smallest,
        "efficacy": {f"{s:g}": [c[i] for c in curves] for i, s in enumerate(SIZES)},
    }


def noise(name: str, x: Tensor) -> Tensor:
    """The one draw of a field, which every form sees; another than in training."""
    return fill_for(x, [name], "gaussian", scale=NOISE, seed=1)


def leak(data: Data, compute: Compute) -> list[float]:
    """Efficacy of a soft mask that is the same everywhere and so says nothing, per test field."""
    with compute.autocast():
        return [
            efficacy(data.net, x, torch.full_like(x[:, :1], LEAK), noise(name, x)).item()
            for name, x, _ in data.test
        ]


def planted_data(budget: Budget, compute: Compute) -> Data | None:
    """Simulated fields."""
    fields = planted(fields=60, size=(192, 192))
    return prepare(fields[:44], fields[44:50], fields[50:], budget=budget, compute=compute)


def jump_data(budget: Budget, compute: Compute) -> Data | None:
    """Bright field to DNA of the JUMP fields, by name: 5 train, 1 validates, 2 test."""
    folder = Path(os.environ.get("ATTRIBUTOME_DATA", "../shared/data")) / "jump_brightfield"
    if not folder.is_dir():
        print(f"no JUMP fields at {folder}: set ATTRIBUTOME_DATA", file=sys.stderr)
        return None
    manifest = open_images(str(folder / "*.ome.tif"), inputs=["ch6", "ch7", "ch8"], target=["ch5"])
    order = sorted(range(len(manifest)), key=lambda row: manifest.ids[row])
    fields: list[Sample] = [manifest[row] for row in order]
    return prepare(fields[:5], fields[5:6], fields[6:8], budget=budget, compute=compute)


DATA: dict[str, Callable[[Budget, Compute], Data | None]] = {
    "planted": planted_data,
    "jump": jump_data,
}


def compare(data: Data, seeds: int, grain: int, budget: Budget, compute: Compute) -> dict[str, Any]:
    """Every form and the controls on one data set."""
    forms: dict[str, Any] = {}
    for form in FORMS:
        tries = []
        for seed in range(seeds):
            explainer, story = train_form(
                form, data, seed=seed, grain=grain, budget=budget, compute=compute
            )
            tries.append({"seed": seed, **story, **judge(explainer, data, compute)})
            print(f"{form}, seed {seed}: {story}", file=sys.stderr)
        forms[form] = {"objective": asdict(GOALS[form]), **summed(tries), "tries": tries}
    controls = {}
    for name, control in CONTROLS.items():
        found = judge(control, data, compute)
        controls[name] = {**summed([found]), "tries": [found]}
    leaks = leak(data, compute)
    return {
        "predictor_pcc": data.predictor_pcc,
        "uniform_soft_mask": LEAK,
        "uniform_soft_efficacy": leaks,
        "uniform_soft_efficacy_median": median(leaks),
        "forms": forms,
        "controls": controls,
    }


def summed(tries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over test fields and seeds; an area that keeps the floor nowhere counts as 1."""
    losses = [t["held_out_loss"] for t in tries if "held_out_loss" in t]
    areas = [1.0 if area is None else area for t in tries for area in t["smallest_area"]]
    curves = {f"{s:g}": [v for t in tries for v in t["efficacy"][f"{s:g}"]] for s in SIZES}
    return {
        "held_out_loss_median": median(losses) if losses else None,
        "smallest_area_median": median(areas),
        "efficacy_median": {size: median(values) for size, values in curves.items()},
    }


def table(name: str, found: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"### {name}",
        "",
        f"Predictor PCC on test fields {median(found['predictor_pcc']):.3f}. "
        f"A uniform soft mask of {LEAK} keeps PCC {found['uniform_soft_efficacy_median']:.3f}.",
        "",
        f"| mask | held-out loss | smallest area with PCC {FLOOR} (each) | "
        + " | ".join(f"PCC at {s:.0%}" for s in SIZES)
        + " |",
        "|" + "---|" * (3 + len(SIZES)),
    ]
    for mask, row in {**found["forms"], **found["controls"]}.items():
        loss = row["held_out_loss_median"]
        each = [a for t in row["tries"] for a in t["smallest_area"]]
        cells = [
            mask,
            "" if loss is None else f"{loss:.4f}",
            f"{row['smallest_area_median']:.3f} "
            f"({', '.join('never' if a is None else f'{a:.3f}' for a in each)})",
            *(f"{value:.3f}" for value in row["efficacy_median"].values()),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500, help="of each mask training")
    parser.add_argument("--predictor-steps", type=int, default=600)
    parser.add_argument("--minutes", type=float, help="the most that each training may take")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each form")
    parser.add_argument("--grain", type=int, default=MasksJob().grain, help="of every form")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--data", nargs="+", choices=sorted(DATA), default=list(DATA))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    compute = choose(asked.device)
    budget = Budget(
        steps=asked.steps,
        predictor_steps=asked.predictor_steps,
        minutes=asked.minutes,
        batch=asked.batch,
        patch=asked.patch,
    )
    told: dict[str, Any] = {
        "budget": asdict(budget),
        "seeds": asked.seeds,
        "grain": asked.grain,
        "noise_scale": NOISE,
        "device": compute.device,
        "precision": compute.precision,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    for name in asked.data:
        data = DATA[name](budget, compute)
        if data is not None:
            told[name] = compare(data, asked.seeds, asked.grain, budget, compute)
            write_json(asked.out, told)
            print(table(name, told[name]), flush=True)


if __name__ == "__main__":
    main()
