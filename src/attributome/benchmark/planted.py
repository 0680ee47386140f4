"""The planted benchmark: every method on networks whose answer is known, beside its controls.

It owns a `Run`: the trained parts under `networks/` and `masks/`, the edits that verified each
network as parts of "networks", one part of "fields" per network and field, "optimum" for linear
networks, and what was concluded in `benchmark.json`. A killed benchmark goes on by the same call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd
import torch

from attributome import __version__
from attributome.benchmark.counterfactuals import refuse_unverified, verify
from attributome.benchmark.judging import LEVEL, METRICS, judge
from attributome.benchmark.networks import planted_network
from attributome.benchmark.optimum import linear_optimum
from attributome.benchmark.scenes import CHANNELS, Task, field
from attributome.benchmark.scoring import (
    CHEAPER,
    LEARNED,
    SUITED,
    Subject,
    all_methods,
    case,
    explainers,
    pixel_size,
    score_field,
)
from attributome.benchmark.training import Effort, Preferred, trained_masks, trained_network
from attributome.core.errors import UsageError
from attributome.core.files import digest
from attributome.core.probe import predict
from attributome.core.seeds import seed_of
from attributome.core.targets import OutputSum
from attributome.core.types import Explainer, Images, Progress, silent
from attributome.explain import METHODS
from attributome.masks.fit import mask_explainer
from attributome.predictors.inspect import inspect_predictor
from attributome.store import Run

Kind = Literal["exact", "trained"]
Results = dict[str, pd.DataFrame]

FIELDS, NETWORKS, OPTIMUM = "fields", "networks", "optimum"
PICTURES = 3
"""Fields per network whose maps are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a benchmark is; `edits` are the fields on which a network is verified."""

    fields: int
    network: Effort
    masks: Effort
    edits: int
    spaces: dict[int, tuple[int, ...]]
    cheaper: bool


SPACES = {2: (64, 64), 3: (8, 48, 48)}
SIZES: dict[str, Size] = {
    "small": Size(
        fields=24,
        network=Effort(fields=160, epochs=10, steps=40),
        masks=Effort(fields=96, epochs=5, steps=25),
        edits=12,
        spaces=SPACES,
        cheaper=True,
    ),
    "full": Size(
        fields=60,
        network=Effort(fields=320, epochs=16, steps=40),
        masks=Effort(fields=192, epochs=12, steps=40),
        edits=24,
        spaces=SPACES,
        cheaper=False,
    ),
}


@dataclass(frozen=True, slots=True)
class Setup:
    """One network of the benchmark."""

    task: Task
    dims: int
    kind: Kind

    @property
    def name(self) -> str:
        return f"{self.task}-{self.dims}d-{self.kind}"


def run_benchmark(
    out: Path | str,
    *,
    tasks: Sequence[str] = ("image", "classification", "regression"),
    dims: Sequence[int] = (2,),
    kinds: Sequence[str] = ("exact", "trained"),
    methods: Sequence[str] | None = None,
    fields: int | None = None,
    optimum: bool = True,
    size: Literal["small", "full"] | Size = "small",
    seed: int = 0,
    progress: Progress = silent,
) -> Results:
    """Every method on every network and field, and which of them beat all controls.

    `methods` are names of the table of methods or `learned_mask`: all of them unless given; without
    a control in it nothing can be beaten. Returns the tables `methods` (the leaderboard, see
    `judge`), `comparisons`, `scores` (one row per network, field and method), `networks` (see
    `verify`) and `optimum`. Numbers other than seconds depend on the arguments alone, however often
    it was interrupted. A network that fails its counterfactual edits is refused.
    """
    plan = SIZES[size] if isinstance(size, str) else size
    asked = tuple(methods) if methods is not None else (*all_methods(), LEARNED)
    setups = _setups(tasks, dims, kinds)
    _check(asked, dims, fields)
    names, masks = tuple(name for name in asked if name != LEARNED), LEARNED in asked
    count = fields or plan.fields
    run = Run.begin(Path(out), _asked(names, setups, masks, count, plan, seed))
    clock = _Clock(progress, len(setups), count, trainings=1 + masks)
    for setup in setups:
        subject = _subject(run, setup, plan, masks, seed, clock)
        for index in range(count):
            _score(run, subject, setup, names, plan, seed, index)
            clock.tick(1, f"{setup.name}, field {index + 1} of {count}")
    for d in sorted(set(dims)):
        if optimum and not run.has(OPTIMUM, f"{d}d"):
            run.write(OPTIMUM, f"{d}d", tables={"optimum": linear_optimum(d, seed=seed)})
    return conclude(run)


def conclude(run: Run) -> Results:
    """Judge what a run holds, and note it in `benchmark.json`."""
    scores = run.table(FIELDS, "scores")
    board, pairs = judge(scores)
    optimum = run.table(OPTIMUM, "optimum")
    tables = {
        "methods": board,
        "comparisons": pairs,
        "scores": scores,
        "networks": run.table(NETWORKS, "edits"),
        "optimum": optimum,
    }
    refused = scores[scores.reason.notna()].groupby(["setup", "method"]).reason.first()
    seconds = scores.groupby(["setup", "method"]).seconds.median().reset_index()
    run.save(
        "benchmark",
        {
            "level": LEVEL,
            "metrics": list(METRICS),
            "channels": list(CHANNELS),
            "pixel_size": {str(d): list(pixel_size(d)) for d in (2, 3)},
            "methods": _rows(board),
            "comparisons": _rows(pairs),
            "networks": _rows(tables["networks"]),
            "optimum": _rows(optimum),
            "seconds": _rows(seconds),
            "refused": _rows(refused.reset_index()),
            "pictures": [u for u in run.units(FIELDS) if "truth" in run.arrays(FIELDS, u)],
        },
    )
    return tables


def _subject(
    run: Run, setup: Setup, plan: Size, masks: bool, seed: int, clock: "_Clock"
) -> Subject:
    """The network, trained if it must be, verified, and its mask generator."""
    space = plan.spaces[setup.dims]
    if setup.kind == "exact":
        model = planted_network(setup.task, setup.dims)
        clock.tick(clock.training, f"{setup.name}, set by hand")
    else:
        model = trained_network(
            setup.task,
            space,
            effort=plan.network,
            seed=seed,
            folder=run.root / "networks" / setup.name,
            progress=clock.during(f"{setup.name}, training the network"),
        )
    if not run.has(NETWORKS, setup.name):
        edits = verify(model, setup.task, space, fields=plan.edits, seed=seed_of(seed, "edits"))
        refuse_unverified(setup.name, edits)
        run.write(NETWORKS, setup.name, tables={"edits": edits.assign(setup=setup.name)})
    learned: Explainer | None = None
    if masks:
        generator = trained_masks(
            model,
            Preferred() if setup.task == "classification" else OutputSum(),
            setup.task,
            space,
            effort=plan.masks,
            seed=seed,
            mark=setup.name,
            folder=run.root / "masks" / setup.name,
            progress=clock.during(f"{setup.name}, training masks"),
        )
        learned = mask_explainer(generator)
    background = _background(setup.task, space, seed)
    layers = inspect_predictor(model, channels=3, dims=setup.dims).usable_layers
    return Subject(
        name=setup.name,
        task=setup.task,
        exact=setup.kind == "exact",
        size=space,
        model=model,
        layer=layers[-1] if layers else None,
        background=background,
        spread=float(predict(model, background).std()),
        masks=learned,
    )


def _score(
    run: Run,
    subject: Subject,
    setup: Setup,
    names: Sequence[str],
    plan: Size,
    seed: int,
    index: int,
) -> None:
    """One part: the scores of a field, and for the first fields every map."""
    unit = f"{setup.name}-{index:03d}"
    if run.has(FIELDS, unit):
        return
    seen = case(subject, seed=seed, index=index)
    asked = explainers(subject, names, seed=seed, index=index, cheaper=plan.cheaper)
    rows, maps = score_field(subject, seen, asked, seed=seed, index=index)
    arrays: dict[str, np.ndarray] = {}
    if index < PICTURES:
        arrays = {f"map_{name}": one for name, one in maps.items()}
        arrays |= {"image": seen.x[0].numpy(), "truth": seen.truth[0, 0].numpy()}
        if setup.task == "image":
            arrays["output"] = seen.out[0].numpy()
    table = rows.assign(setup=setup.name, field=index)
    note = {"setup": setup.name, "field": index, "methods": list(maps)}
    run.write(FIELDS, unit, tables={"scores": table}, arrays=arrays, note=note)


def _background(task: Task, space: tuple[int, ...], seed: int) -> Images:
    """Fields that stand for the average image; none of them is benchmarked or trained on."""
    apart = seed_of(seed, "background")
    drawn = [field(task, space, seed=apart, index=i).image for i in range(8)]
    return torch.from_numpy(np.stack(drawn))


def _setups(tasks: Sequence[str], dims: Sequence[int], kinds: Sequence[str]) -> list[Setup]:
    for word, given, known in (("task", tasks, get_args(Task)), ("kind", kinds, get_args(Kind))):
        if unknown := [one for one in given if one not in known]:
            raise UsageError(f"no planted {word} {unknown[0]!r}: there are {', '.join(known)}")
    known_tasks = cast("Sequence[Task]", tasks)
    known_kinds = cast("Sequence[Kind]", kinds)
    return [Setup(task, d, kind) for task, d, kind in product(known_tasks, dims, known_kinds)]


def _check(names: Sequence[str], dims: Sequence[int], fields: int | None) -> None:
    if unknown := [name for name in names if name not in (*METHODS, LEARNED)]:
        raise UsageError(f"no method {unknown[0]!r}; choose from {sorted([*METHODS, LEARNED])}")
    if not dims or set(dims) - {2, 3}:
        raise UsageError(f"planted fields have 2 or 3 dimensions, not {list(dims)}")
    if fields is not None and fields < 1:
        raise UsageError(f"{fields} fields are none: ask for at least 1")


def _asked(
    names: Sequence[str], setups: Sequence[Setup], masks: bool, count: int, plan: Size, seed: int
) -> dict[str, Any]:
    """What makes two benchmarks the same; plain JSON."""
    return {
        "benchmark": "planted",
        "seed": seed,
        "setups": [setup.name for setup in setups],
        "methods": list(names),
        "learned_mask": masks,
        "fields": count,
        "plan": digest({"plan": repr(plan), "suited": SUITED, "cheaper": CHEAPER}),
        "version": __version__,
    }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """As JSON has it: what is undefined is null."""
    plain = table.astype(object).where(table.notna(), None)
    return [{str(k): _plain(v) for k, v in row.items()} for row in plain.to_dict("records")]


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


@dataclass(slots=True)
class _Clock:
    """How much of the benchmark is done. A class because it counts."""

    progress: Progress
    setups: int
    fields: int
    trainings: int
    training: float = 10.0  # in fields: what a training takes
    done: float = 0.0

    def tick(self, much: float, words: str) -> None:
        """So much more is done."""
        self.done += much
        self._tell(self.done, words)

    def during(self, words: str) -> Progress:
        """The progress of one training within the whole."""
        before = self.done
        self.done += self.training
        return lambda share, _words: self._tell(before + self.training * share, words)

    def _tell(self, done: float, words: str) -> None:
        total = self.setups * (self.fields + self.trainings * self.training)
        self.progress(min(1.0, done / total), words)
