"""A job with several methods: told what it costs, checked, compared, and refused before it runs."""

import json
import math

import pandas as pd

from attributome.store import Run
from end_to_end.jobs import call, plant, summary, tiny

METHODS = (
    "{learned_mask = {}, integrated_gradients = {}, deep_lift = {}, grad_cam = {}, "
    "expected_gradients = {draws = 4}, occlusion = {window = 24}, "
    "kernel_shap = {evaluations = 130}}"
)


def job(tmp_path, *, task="classification", **changes):
    table = plant(tmp_path / "data", fields=12, task=task)
    split = "{train = 0.25, validate = 0.1, calibrate = 0.1, test = 0.55}"
    given = {
        "predictor__task": f'"{task}"',
        "explain__methods": METHODS,
        "explain__background": "2",
        "score__regions": "{evidence = 1, decoy = 2}",
        "data__split": split,
        "score__controls": '["random", "centre", "intensity"]',
    }
    return ("run", "--images", table, "--out", tmp_path / "run", *tiny(**given | changes))


def test_methods_side_by_side(tmp_path, capsys):
    assert call(*job(tmp_path)) == 0
    told = capsys.readouterr().err
    assert "deep_lift: 2 forward and 1 backward passes per image" in told
    assert "learned_mask: its" in told
    run = Run.open(tmp_path / "run")
    fields = len(run.units("score"))
    agreement = run.table("score", "agreement")
    assert len(agreement) == fields * math.comb(7, 2)
    assert agreement["overlap"].between(0, 1).all()
    checks = run.table("score", "checks")
    assert set(checks["method"]) == {"integrated_gradients", "deep_lift", "kernel_shap"}
    exact = checks[checks["method"] != "integrated_gradients"]["completeness_error"]
    assert (exact.dropna() < 1e-2).all()
    board = json.loads((run.root / "leaderboard.json").read_text())["rows"]
    assert {row["method"] for row in board} >= {"deep_lift", "random", "learned_mask"}
    assert [row["median"] for row in board] == sorted((r["median"] for r in board), reverse=True)
    assert all((row["nearest_control"] is None) == (row["kind"] == "control") for row in board)
    regions = run.table("score", "regions")
    assert set(regions["region"]) == {"evidence", "decoy"}
    assert regions["share"].dropna().between(0, 1).all()
    found = summary(run.root)
    assert found["certified_passed"] <= found["certified_fields"] == fields
    assert 0 <= found["predictor_accuracy_low"] <= found["predictor_accuracy"]
    assert found["predictor_accuracy"] <= found["predictor_accuracy_high"] <= 1
    panel = run.units("panel")[0]
    assert {"map_deep_lift", "disagreement"} <= set(run.arrays("panel", panel))
    note = run.note("explain", run.units("explain")[0])
    assert note["target"].startswith("the score of class ")
    assert isinstance(run.table("score", "areas"), pd.DataFrame)


def test_a_target_by_name(tmp_path):
    words = job(tmp_path, task="image", explain__methods="{saliency = {}}")
    assert call(*words, "--set", "explain.target=region:1") == 0
    run = Run.open(tmp_path / "run")
    said = {run.note("explain", unit)["target"] for unit in run.units("explain")}
    assert said == {"the mean of the model's output inside a region"}


def test_what_cannot_be_explained_is_refused_before_the_run(tmp_path, capsys):
    words = job(tmp_path, explain__methods="{grad_cam = {}}")
    assert call(*words, "--set", "explain.target=klass:1") == 2
    assert "no target 'klass:1'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert call(*words, "--set", "explain.layer=relu9") == 2
    assert "explain.layer is 'relu9'; this predictor has" in capsys.readouterr().err
    assert not (tmp_path / "run" / "parts" / "explain").exists()
