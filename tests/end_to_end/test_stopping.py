"""Whatever stops a run, the same command goes on, and the result is that of a quiet day."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from end_to_end.jobs import call, differing, halves, results, sentence, start, tiny

MADE = {
    ("train", "masks"): {"best.safetensors", "choices.json", "generator.safetensors", "log.csv"},
    ("explain",): {"map_learned_mask.npy", "prediction.npy"},
}
UNTIL = {
    ("train", "masks"): ("masks", "parts", "report", "choices.json"),
    ("explain",): ("parts", "report"),
}


@pytest.mark.parametrize(
    "verb",
    [pytest.param(("train", "masks"), marks=pytest.mark.slow), ("explain",)],
    ids=["train masks", "explain"],
)
def test_killed_at_ten_random_moments(finished, again, tmp_path, verb):
    base = again(*UNTIL[verb], "summary.json", "comparisons.json", "provenance.json", "times")
    paths = os.pathsep.join(path for path in sys.path if path)
    driver = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, str(driver), "5", str(base), str(finished.job), str(tmp_path), *verb],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["kills"]) == 10
    assert set(told["codes"]) == {0, -signal.SIGKILL}, done.stderr
    quiet = results(tmp_path / "undisturbed")
    assert {n: quiet[n] == found for n, found in results(finished.run).items() if n in quiet} == (
        dict.fromkeys(quiet, True)
    )
    made = {name.rpartition("/")[2] for name in quiet.keys() - results(base).keys()}
    assert made == MADE[verb]
    for n in range(told["runs"]):
        assert differing(tmp_path / "undisturbed", tmp_path / f"killed{n}") == []


def test_ctrl_c_says_one_sentence_and_the_same_command_goes_on(finished, tmp_path):
    run = tmp_path / "run"
    words = ("train", "predictor", "--images", finished.table, "--out", run)
    words += ("--input", "bright field", *tiny(predictor__epochs="12"))
    process = start(*words)
    while not (run / "predictor" / "log.csv").exists():  # the last that an epoch writes
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert sentence(err) == "stopped; the same command goes on from here"
    assert halves(run) == []
    epochs = len((run / "predictor" / "log.csv").read_text().splitlines()) - 1
    assert 1 <= epochs < 12
    assert call(*words) == 0
    assert len((run / "predictor" / "log.csv").read_text().splitlines()) - 1 == 12
    spent = json.loads((run / "times" / "train_predictor.json").read_text())["seconds"]
    assert spent > 0


def test_what_a_dead_process_left_behind_is_no_obstacle(finished, again):
    """In a container every process has the same number, and so had the one that was killed."""
    run = again("parts", "report", "summary.json")
    for unit in json.loads((run / "splits.json").read_text())["test"]:
        left = run / "parts" / "explain" / f".{unit}.{os.getpid()}"
        left.mkdir(parents=True)
        (left / "prediction.npy").write_bytes(b"half of it")
    assert call("explain", finished.job, "--out", run) == 0
    assert call("run", finished.job, "--out", run) == 0
    assert differing(finished.run, run) == []
