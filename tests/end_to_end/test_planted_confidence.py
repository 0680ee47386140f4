"""The planted shift study from simulation to its files; small here, whole among the slow tests."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from attributome.core.errors import UsageError
from attributome.data.shifted import SHIFTS
from attributome.pipeline.study.planted_confidence import SCORES, ShiftPlan, planted_confidence

TINY = ShiftPlan(
    fit=4, stop=1, train=5, validate=5, test=10, per_well=1, size=(48, 48), predictor_epochs=1,
    mask_epochs=1, mask_steps=1, head_epochs=1, sizes=(0.2,), scales=(1.5,), draws=1,
)  # fmt: skip
FILES = ("fields.csv", "scores.csv", "calibration.csv", "coverage.csv", "summary.json")


def test_a_small_study_is_whole_and_the_same_again(tmp_path):
    found = planted_confidence(seed=3, folder=tmp_path, plan=TINY, draws=50)
    written = {name: (tmp_path / name).read_bytes() for name in FILES}
    fields = pd.read_csv(tmp_path / "fields.csv")
    assert len(fields) == fields["well"].nunique() == 10
    assert set(fields["shift"]) == set(SHIFTS)
    assert fields[["error", *SCORES]].notna().all(axis=None)

    told = json.loads(written["summary.json"])
    assert told == found.summary
    assert list(told["scores"]) == list(SCORES)
    for name, one in told["scores"].items():
        assert one["spearman"] == pytest.approx(spearmanr(fields[name], fields["error"])[0])
        assert (one["n"], one["wells"]) == (10, 10)
        assert one["low"] <= one["spearman"] <= one["high"]
        assert {kind: part["n"] for kind, part in one["by_shift"].items()} == dict.fromkeys(
            SHIFTS, 2
        )
        assert ("ece" in one) == SCORES[name]
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert len(scores) == len(SCORES) * (1 + len(SHIFTS) + 1)
    calibrated = {name for name, claims in SCORES.items() if claims}
    assert set(pd.read_csv(tmp_path / "calibration.csv")["score"]) == calibrated
    assert set(pd.read_csv(tmp_path / "coverage.csv")["score"]) == set(SCORES)

    planted_confidence(seed=3, folder=tmp_path, plan=TINY, draws=50)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == written


@pytest.mark.parametrize("change", [{"folds": 1}, {"fit": 1}, {"test": 2}, {"validate": 2}])
def test_an_experiment_without_folds_or_wells_is_refused(tmp_path, change):
    with pytest.raises(UsageError, match="at least 2 folds"):
        planted_confidence(seed=0, folder=tmp_path, plan=ShiftPlan(**change))


@pytest.mark.slow
def test_scores_rank_new_wells_by_their_true_error(tmp_path):
    found = planted_confidence(seed=11, folder=tmp_path, draws=1000)
    said = found.summary["scores"]
    for name in ("supervised", "efficacy curve", "efficacy, mapped"):
        assert said[name]["spearman"] >= 0.6
        assert said[name]["low"] > 0.4
        assert said[name]["within_shifts"]["low"] > 0.3
    assert said["efficacy curve"]["spearman"] > said["efficacy"]["spearman"] - 0.05
    assert said["chance"]["low"] < 0 < said["chance"]["high"]
    assert abs(np.mean(found.summary["untrained_heads"])) < 0.5
    assert abs(said["supervised"]["bias"]) < 0.1
