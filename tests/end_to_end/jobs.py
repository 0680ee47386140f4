"""Jobs so small that a whole run takes seconds, and the command line as a user types it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from attributome.cli import run_cli
from attributome.data.planted import write_planted

TOLD = ("choices.json", "comparisons.json", "splits.json")
NARROW = "[4, 4, 4, 8, 8, 4]"
TINY = {
    "seed": "7",
    "data.group": '"well"',
    "data.split": "{train = 0.3, validate = 0.15, calibrate = 0.15, test = 0.4}",
    "predictor.features": NARROW,
    "predictor.epochs": "2",
    "predictor.steps": "3",
    "predictor.batch": "4",
    "predictor.patch": "[48, 48]",
    "masks.features": NARROW,
    "masks.epochs": "2",
    "masks.steps": "3",
    "masks.batch": "4",
    "masks.patch": "[48, 48]",
    "masks.noise_floor": "0.9",
    "score.controls": '["random", "translated", "intensity"]',
    "score.sizes": "[0.1, 0.3]",
    "score.known": "{evidence = 1, decoy = 2}",
    "score.panels": "1",
}
PYTHON = (
    "import signal, sys, torch; torch.set_num_threads(1); "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell may have ignored it
    "from attributome.cli import main; main()"
)


def sets(changes: Mapping[str, str]) -> list[str]:
    """`--set` words for changes in TOML."""
    return [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]


def tiny(**changes: str) -> list[str]:
    """`--set` words of a tiny job; a keyword `a__b` is the key `a.b`."""
    return sets(TINY | {key.replace("__", "."): value for key, value in changes.items()})


def call(*words: object) -> int:
    """The exit code of a command line, typed in this process."""
    typed = list(map(str, words))
    before, sys.argv = sys.argv, ["attributome", *typed]
    try:
        return run_cli(typed)
    finally:
        sys.argv = before


def start(*words: object) -> subprocess.Popen[str]:
    """A command line in a process of its own."""
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-c", PYTHON, *map(str, words)],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def plant(folder: Path, fields: int = 7, size: tuple[int, ...] = (64, 64), task="image") -> Path:
    """Planted fields, one per well, and their table without a column `split`."""
    table = write_planted(folder, task, fields=fields, size=size, seed=3)
    rows = pd.read_csv(table, dtype=str).drop(columns="split")
    rows["well"] = [f"A{i:02d}" for i in range(fields)]
    rows.to_csv(table, index=False)
    return table


def edit(path: Path, changes: Mapping[str, str]) -> None:
    """Change keys of a job as a person with an editor does."""
    section, lines, left = "", [], dict(changes)
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        key = section + line.partition(" = ")[0]
        lines.append(f"{key.rpartition('.')[2]} = {left.pop(key)}" if key in left else line)
    assert not left, f"the job has no {sorted(left)}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


def results(run: Path) -> dict[str, bytes | str]:
    """Everything a run has found, as bytes; left out is only what holds times of the clock."""
    found: dict[str, bytes | str] = {}
    files = [p for p in run.rglob("*") if p.is_file() and not hidden(p, run)]
    for path in sorted(files):
        name = path.relative_to(run).as_posix()
        if path.suffix in (".npy", ".csv") or name in TOLD:
            found[name] = path.read_bytes()
        elif path.suffix == ".parquet":
            found[name] = pd.read_parquet(path).to_json(double_precision=15)
        elif path.suffix == ".safetensors" and path.stem != "last":
            weights = load_file(path)
            found[name] = "".join(f"{k}{weights[k].tobytes().hex()}" for k in sorted(weights))
        elif name == "summary.json":
            numbers = summary(run)
            numbers.pop("seconds")
            found[name] = json.dumps(numbers)
    return found


def hidden(path: Path, run: Path) -> bool:
    """Whether this is what a killed process has left behind, which counts for nothing."""
    return any(part.startswith(".") for part in path.relative_to(run).parts)


def differing(a: Path, b: Path) -> list[str]:
    """Names of results that are not bit for bit the same in two runs."""
    one, other = results(a), results(b)
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def halves(run: Path) -> list[str]:
    """Files of a run that are not whole: none, whatever happened."""
    found = [p for p in run.rglob("*") if p.name.startswith(".")]
    for path in run.rglob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
    for path in run.rglob("*.npy"):
        np.load(path, allow_pickle=False)
    for path in run.rglob("*.safetensors"):
        load_file(path)
    found += [p for p in run.glob("parts/*/*") if not (p / "note.json").is_file()]
    return [p.relative_to(run).as_posix() for p in found]


def sentence(text: str) -> str:
    """The one line that complains, without its name; progress and forecasts are let through."""
    lines = [line for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("attributome: ")]
    told = (" % after ", " passes per image")
    others = [line for line in lines if line not in said and not any(t in line for t in told)]
    assert (len(said), others) == (1, []), text
    return said[0].removeprefix("attributome: ")
