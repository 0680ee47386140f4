"""Regression, classification and stacks: the same job on other planted data."""

import json

import numpy as np
import pytest

from attributome.store import Run
from end_to_end.jobs import call, halves, plant, sentence, summary, tiny

SCALARS = {
    "regression": ("predictor_error", "regress"),
    "classification": ("predictor_accuracy", "class"),
}


@pytest.mark.parametrize("task", SCALARS)
def test_one_number_per_field(tmp_path, task, capsys):
    table, run = plant(tmp_path / "data", fields=8, task=task), tmp_path / "run"
    changes = {
        "predictor__task": f'"{task}"',
        "explain__methods": "{learned_mask = {}, saliency = {}, grad_cam = {layer = 'relu4'}}",
    }
    words = ("run", "--images", table, "--out", run, *tiny(**changes))
    assert call(*words) == 0, capsys.readouterr().err
    key, word = SCALARS[task]
    found = summary(run)
    assert found[key] >= 0
    assert found["fields_test"] == 3
    assert 0 <= found["efficacy_median"] <= 1
    assert {"saliency_mask_efficacy_median", "grad_cam_mask_efficacy_median"} <= found.keys()
    assert halves(run) == []
    panel = Run.open(run).note("panel", Run.open(run).units("panel")[0])
    assert len(panel["prediction"]) == {"regression": 1, "classification": 2}[task]
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert word in page.lower()
    assert "nan" not in page.lower().replace("nanometre", "").split()
    assert call(*words) == 0


def test_a_class_that_the_predictor_does_not_have(tmp_path, capsys):
    table = plant(tmp_path / "data", fields=7, task="classification")
    text = table.read_text().splitlines()
    column = text[0].split(",").index("target")
    rows = [row.split(",") for row in text[1:]]
    for row in rows:
        row[column] = "2.0"
    table.write_text("\n".join([text[0], *(",".join(row) for row in rows)]))
    words = ("train", "predictor", "--images", table, "--out", tmp_path / "run")
    assert call(*words, *tiny(predictor__task='"classification"')) == 3
    assert "a target is class 2, but the predictor has 2 classes" in capsys.readouterr().err


@pytest.mark.parametrize(("task", "kind"), [("regression", "image"), ("image", "regression")])
def test_a_task_that_the_targets_do_not_have(tmp_path, capsys, task, kind):
    table = plant(tmp_path / "data", fields=7, task=kind)
    words = ("train", "predictor", "--images", table, "--out", tmp_path / "run")
    assert call(*words, *tiny(predictor__task=f'"{task}"')) == 3
    said = [line for line in capsys.readouterr().err.splitlines() if " % " not in line]
    assert len(said) == 1
    assert "target" in said[0]


@pytest.mark.slow
def test_a_stack_in_windows_smaller_than_itself(tmp_path, capsys):
    table, run = plant(tmp_path / "data", fields=7, size=(16, 48, 64)), tmp_path / "run"
    changes = {
        "predictor__patch": "[16, 48, 48]",
        "predictor__batch": "2",
        "masks__patch": "[16, 48, 48]",
        "masks__batch": "2",
        "masks__noise_scale": "1.5",
        "masks__threshold": "0.8",
        "explain__window": "[16, 32, 48]",
        "score__sizes": "[0.2]",
        "data__split": "{train = 0.4, validate = 0.2, calibrate = 0.2, test = 0.2}",
        "score__controls": '["random"]',
    }
    words = ("run", "--images", table, "--input", "bright field", "--out", run)
    assert call(*words, *tiny(**changes)) == 0, capsys.readouterr().err
    found = summary(run)
    assert {"efficacy_median", "planted_recall", "guarantee"} <= found.keys()
    opened = Run.open(run)
    for unit in opened.units("explain"):
        maps = opened.array("explain", unit, "map_learned_mask")
        assert maps.shape == (1, 16, 48, 64)
        assert maps.min() >= 0
        assert maps.max() <= 1
        assert np.unique(maps).size > 100
    assert (run / "report" / "index.html").is_file()


def test_windows_change_little_where_the_network_sees_little(finished, again):
    """Blended windows against the whole field: the same away from what a window cannot see."""
    run = again("parts", "report", "summary.json", "choices.json", "masks")
    asked = json.loads((run / "run.json").read_text())
    asked["job"]["explain"] |= {"window": [48, 48], "methods": {"saliency": {}}}
    (run / "run.json").write_text(json.dumps(asked))
    assert call("explain", "--out", run) == 0
    whole, windows = Run.open(finished.run), Run.open(run)
    for unit in windows.units("explain"):
        a = whole.array("explain", unit, "prediction")
        b = windows.array("explain", unit, "prediction")
        assert not np.array_equal(a, b)
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9


def test_stacks_that_are_thinner_than_the_network_takes(tmp_path, capsys):
    table = plant(tmp_path / "data", fields=7, size=(8, 48, 48))
    words = ("train", "predictor", "--images", table, "--out", tmp_path / "run")
    words += ("--input", "bright field")
    changes = {"predictor__patch": "[8, 48, 48]", "masks__patch": "[8, 48, 48]"}
    assert call(*words, *tiny(**changes)) == 2
    said = sentence(capsys.readouterr().err)
    assert said.startswith("predictor.patch is (8, 48, 48), but a U-Net takes 16 pixels or more")
