"""The examples run as a user runs them, and print what they promise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PADDED = "fields of 150x210 were padded to 152x216 and cropped back"
WINDOWS = "fields of 150x210 were predicted in overlapping windows of 64x64"


def said(name: str) -> list[str]:
    """The lines that an example prints; it must not complain."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py")],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("name", "size_note", "grad_cam"),
    [
        ("predictor_torchscript", PADDED, "cannot be watched"),
        ("predictor_exported", WINDOWS, "none can be watched"),
        ("predictor_weights", PADDED, "possible"),
    ],
)
def test_predictors_from_elsewhere(name, size_note, grad_cam):
    takes, cam, note, saliency, random = said(name)
    assert takes.startswith("takes 1 channel, 2-D")
    assert note.startswith(size_note)
    assert grad_cam in cam
    kept, chance = (float(line.rpartition(" ")[2]) for line in (saliency, random))
    assert kept > chance + 0.25


def test_methods_side_by_side():
    lines = said("methods_side_by_side")
    missed = {line.split(":")[0]: float(line.split()[-2]) for line in lines[:5]}
    agreed = {
        line.split(":")[0]: [float(word) for word in line.split("agrees ")[1].split()]
        for line in lines[5:]
    }
    assert [name for name, percent in missed.items() if percent <= 1] == [
        "integrated_gradients",
        "deep_lift",
        "owen",
    ]
    assert list(agreed) == list(missed)
    assert [row[place] for place, row in enumerate(agreed.values())] == [1.0] * 5
    assert agreed["integrated_gradients"][1] > agreed["integrated_gradients"][4]
