"""The benchmark runs to its end; what its figures are is for a quiet machine to say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
def test_a_quick_benchmark_measures_every_figure(tmp_path):
    out = tmp_path / "results.json"
    command = [sys.executable, BENCHMARKS / "run.py", "--quick", "--threads", "1", "--out", out]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert out.is_file(), done.stderr
    found = json.loads(out.read_text())
    assert found["quick"] is True
    for run in found["runs"]:
        for name, figure in run["figures"].items():
            assert 0 < figure["ratio"] < 100, name
    assert {"mask_step_over_floor", "field_over_floor"} <= {*found["runs"][0]["figures"]}
