"""Claimed errors: no head judges a unit that it knows, and what is said of them is right."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import UsageError
from attributome.pipeline.study.confidence import confidence, folds
from attributome.pipeline.study.looked import STAGE, look
from attributome.store import folder_name
from attributome.studies.found import Found
from end_to_end.jobs import halves
from end_to_end.tiny_studies import deep_run, named, studied, tiny_run

SHORT = {"epochs": 1, "steps": 2, "patch": 16, "patches": 6, "folds": 2}


@pytest.fixture(scope="module")
def claimed(small_runs, tmp_path_factory) -> tuple[Path, Found]:
    out = tmp_path_factory.mktemp("claimed")
    return out, confidence(studied(named(small_runs), out, unit="well", confidence=SHORT))


@pytest.mark.parametrize(("count", "units"), [(2, 4), (4, 4), (4, 9), (3, 3), (20, 5)])
def test_every_unit_is_judged_once_and_by_a_head_that_never_saw_it(count, units):
    names = [f"well {i}" for i in range(units) for _ in range(2)]
    found = folds(names, count, seed=1)
    assert len(found) == min(count, units)
    judged = [unit for fold in found for unit in fold.test]
    assert sorted(judged) == sorted(set(names))
    for fold in found:
        parts = [set(fold.train), set(fold.validate), set(fold.test)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts)) == units


def test_the_fold_that_judged_a_unit_trained_on_other_units(claimed):
    tables = claimed[1].tables
    roles = tables["roles"].groupby(["predictor", "fold", "role"])["unit"].agg(set)
    for row in tables["patches"].drop_duplicates(["predictor", "unit"]).to_dict("records"):
        of = roles[row["predictor"]][row["fold"]]
        assert row["unit"] in of["test"]
        assert row["unit"] not in of["train"] | of["validate"]


def test_the_truth_of_a_field_has_no_say_in_what_is_claimed_for_it(small_runs, tmp_path):
    runs, asked = named(small_runs, "nuclei-1", "nuclei-2"), {**SHORT, "folds": 4}
    before = confidence(studied(runs, tmp_path / "a", confidence=asked)).tables["patches"]
    studies = studied(runs, tmp_path / "b", confidence=asked)
    one, field = studies.fields()[0]
    truth = look(studies, one, field).truth
    assert truth is not None
    path = tmp_path / "b" / "parts" / STAGE / folder_name(f"{one.name}/{field}") / "truth.npy"
    other = np.array(truth) ** 3  # constant where it was constant, so that the patches are the same
    path.unlink()
    np.save(path, other)
    after = confidence(studies).tables["patches"]
    mine = before["field"] == field
    assert (before.loc[mine, "error"] != after.loc[mine, "error"]).any()
    pd.testing.assert_series_equal(before.loc[mine, "head"], after.loc[mine, "head"])
    # it trains or stops the heads of all others
    changed = (before["head"] != after["head"])[~mine].groupby(before["field"]).any()
    assert changed.any()


def test_true_errors_are_of_the_patch_and_of_the_whole_field(claimed, small_runs):
    out, found = claimed
    studies = studied(named(small_runs), out, unit="well", confidence=SHORT)
    fields = found.tables["fields"].set_index(["predictor", "field"])
    patches = found.tables["patches"]
    assert len(fields) == 8  # of the other predictor there are two wells
    for one, field in studies.fields("nuclei"):
        seen = look(studies, one, field)
        assert seen.truth is not None
        row = fields.loc[one.name, field]
        pcc = np.corrcoef(seen.prediction.ravel(), seen.truth.ravel())[0, 1]
        assert row["error"] == pytest.approx(1 - abs(pcc), abs=1e-6)
        assert row["unsupervised"] == pytest.approx(1 - seen.note["efficacy"])
        mine = patches[(patches["predictor"] == one.name) & (patches["field"] == field)]
        assert row["head"] == pytest.approx(mine["head"].mean())
        boxes = [(slice(y, y + 16), slice(x, x + 16)) for y in (0, 16, 32) for x in (0, 16, 32)]
        errors = [
            1 - abs(np.corrcoef(seen.prediction[0][box].ravel(), seen.truth[0][box].ravel())[0, 1])
            for box in boxes
        ]
        for error in mine["error"]:
            assert np.isclose(errors, error, atol=1e-5).any()


def test_the_words_say_what_few_units_cannot_tell(claimed):
    found = claimed[1]
    assert any("cannot be told with n = 4 units" in said for said in found.words)
    assert "other: left out, for 2 units are too few." in found.words
    assert set(found.numbers["nuclei"]["patches"]) == {
        "head", "unsupervised", "untrained", "constant",
    }  # fmt: skip
    scores = found.tables["scores"].query("level == 'fields' and score == 'head'")
    for row in scores.to_dict("records"):
        part = found.tables["fields"].query("predictor == @row['predictor']")
        ranks = part[["head", "error"]].rank()
        assert row["spearman"] == pytest.approx(ranks.corr().iloc[0, 1], abs=1e-9)


def test_what_was_claimed_is_kept_and_heads_are_not_trained_again(claimed, small_runs):
    out, found = claimed
    files = sorted((out / "heads").rglob("*.safetensors"))
    before = [path.stat().st_mtime_ns for path in files]
    assert len(files) == 2 * 2  # folds, best and last
    again = confidence(studied(named(small_runs), out, unit="well", confidence=SHORT))
    for name, table in found.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[name])
    assert [path.stat().st_mtime_ns for path in files] == before
    assert not halves(out)


@pytest.mark.slow
def test_stacks(tmp_path, tmp_path_factory):
    run = deep_run(tmp_path_factory)
    asked = {**SHORT, "patches": 2, "folds": 3}
    found = confidence(studied([f"deep={run}"], tmp_path, confidence=asked))
    assert len(found.tables["patches"]) == 6
    assert found.tables["patches"]["fold"].nunique() == 3


def test_too_few_units_and_predictors_without_images_are_refused(
    small_runs, tmp_path, tmp_path_factory
):
    runs = named(small_runs, "nuclei-1", "nuclei-2")
    with pytest.raises(UsageError, match="no predictor has 3 units or more"):
        confidence(studied(runs, tmp_path / "few", unit="well", confidence=SHORT))
    classes = tiny_run(tmp_path / "classes", task="classification")
    with pytest.raises(UsageError, match="answer with images"):
        confidence(studied([f"c={classes}"], tmp_path / "c", confidence=SHORT))
