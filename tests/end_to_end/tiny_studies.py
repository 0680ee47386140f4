"""Runs so small that they take seconds, and studies of them."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from attributome.config import job_from, put
from attributome.core.compute import Compute
from attributome.pipeline.study.job import job_from as study_job_from
from attributome.pipeline.study.opening import Studies, open_studies
from attributome.pipeline.training import train_masks, train_predictor
from attributome.pipeline.work import Bars, begin, quiet
from end_to_end.jobs import plant

FLAT, DEEP = (64, 64), (16, 48, 48)
PATCH = {2: [32, 32], 3: [16, 32, 32]}
NARROW = [4, 4, 4, 8, 8, 4]


def tiny_run(
    home: Path,
    *,
    size: tuple[int, ...] = FLAT,
    parts: str = "train validate test test test",
    task: str = "image",
    **more: Any,
) -> Path:
    """A run on planted fields, whose parts are named in order, as far as studies need it.

    Keywords `masks__lr` change the key `masks.lr` of its job.
    """
    split = parts.split()
    table = plant(home / "data", fields=len(split), size=size, task=task)
    pd.read_csv(table, dtype=str).assign(split=split).to_csv(table, index=False)
    short = {"features": NARROW, "epochs": 1, "steps": 2, "batch": 2, "patch": PATCH[len(size)]}
    values: dict[str, Any] = {
        "data": {"source": str(table), "inputs": ["bright field"]},
        "predictor": {**short, "task": task},
        "masks": {**short, "starts": 1, "noise_scale": 1.5, "threshold": 0.7, "grain": 2},
    }
    put(values, {key.replace("__", "."): value for key, value in more.items()})
    work = begin(job_from(values, "a test"), home / "run", compute=Compute())
    train_predictor(work)
    train_masks(work)
    return home / "run"


def deep_run(factory: pytest.TempPathFactory) -> Path:
    """A run on stacks, made once a session."""
    return _deep(factory.getbasetemp())


@cache
def _deep(base: Path) -> Path:
    return tiny_run(base / "stacks", size=DEEP)


def studied(runs: Sequence[str], out: Path, bars: Bars = quiet, **options: Any) -> Studies:
    """Studies of runs, each NAME=FOLDER."""
    job = study_job_from({"runs": [*runs], **options}, "a test")
    return open_studies(job, out, compute=Compute(), bars=bars)


def named(small: Mapping[str, Path], *without: str) -> list[str]:
    """The runs of `small_runs`, two of them as one predictor that is cross-fitted."""
    return [f"{run.split('-')[0]}={path}" for run, path in small.items() if run not in without]
