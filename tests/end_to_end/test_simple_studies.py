"""Studies of finished runs: opened, looked at once, judged by the run that kept the field."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.files import read_json
from attributome.pipeline.study.everything import study
from attributome.pipeline.study.job import StudyJob
from attributome.pipeline.study.looked import STAGE, Hand, look
from attributome.pipeline.study.opening import Studies, open_studies

Runs = dict[str, Path]


def names(runs: Runs) -> tuple[str, ...]:
    pairs = {"nuclei-1": "nuclei", "nuclei-2": "nuclei", "other": "other"}
    return tuple(f"{name}={runs[run]}" for run, name in pairs.items())


def opened(small: Runs, out: Path, **given: object) -> Studies:
    job = StudyJob.model_validate({"runs": names(small), "unit": "well"} | given)
    return open_studies(job, out, compute=Compute())


def test_a_cross_fitted_predictor_is_judged_on_every_field_once(small_runs: Runs, tmp_path: Path):
    studies = opened(small_runs, tmp_path)
    judged = {(one.root.name, field) for one, field in studies.fields("nuclei")}
    assert len(judged) == len({field for _, field in judged}) == 8
    for root, field in judged:
        splits = read_json(small_runs[root] / "splits.json")
        assert field in splits["test"]
        assert field not in splits["train"] + splits["validate"] + splits["calibrate"]
    assert studies.names == ("nuclei", "other")


def test_two_runs_of_one_name_must_not_judge_the_same_field(small_runs: Runs, tmp_path: Path):
    job = StudyJob(runs=tuple(f"one={small_runs[run]}" for run in ("nuclei-1", "other")))
    with pytest.raises(DataError, match="judged by two runs of 'one'"):
        open_studies(job, tmp_path, compute=Compute()).fields()


def test_what_was_looked_at_is_what_the_networks_say_and_is_not_made_again(
    small_runs: Runs, tmp_path: Path
):
    studies = opened(small_runs, tmp_path)
    one, field = studies.fields("nuclei")[0]
    seen, hand = look(studies, one, field), Hand(one=one, name=field)
    kept = torch.from_numpy(seen.mask[None].astype(np.float32))
    mixed = hand.x * kept + hand.fill * (1 - kept)
    with torch.no_grad():
        want = one.study.model(mixed)[0].numpy()
    np.testing.assert_allclose(seen.noised, want, atol=1e-5)
    assert seen.truth is not None
    flat = np.corrcoef(seen.prediction.ravel(), seen.truth.ravel())[0, 1]
    assert seen.note["pcc"] == pytest.approx(flat, abs=1e-6)
    both = np.corrcoef(seen.prediction.ravel(), seen.noised.ravel())[0, 1]
    assert seen.note["efficacy"] == pytest.approx(both, abs=1e-5)
    assert seen.note["size"] == pytest.approx(seen.mask.mean(), abs=1e-6)
    part = next((tmp_path / "parts" / STAGE).glob("*/prediction.npy"))
    before = part.stat().st_mtime_ns
    look(studies, one, field)
    assert part.stat().st_mtime_ns == before


def test_nothing_is_written_into_a_run(small_runs: Runs, tmp_path: Path):
    def times() -> dict[Path, int]:
        home = small_runs["nuclei-1"].parent
        return {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}

    before = times()
    study(
        opened(small_runs, tmp_path, runs=[str(small_runs["other"])]), ["scores"], command="typed"
    )
    assert times() == before


def test_the_four_simple_studies(small_runs: Runs, tmp_path: Path):
    asked = {"noise": {"scales": [0.0, 3.0]}, "threshold": {"values": [0.0, 0.5, 0.95]}}
    studies = opened(small_runs, tmp_path, **asked)
    done = ["scores", "noise", "threshold", "efficacy"]
    assert study(studies, done, command="as typed") == {}
    summary = read_json(tmp_path / "summary.json")
    assert set(summary) == set(done)

    def table(name: str, key: str) -> pd.DataFrame:
        return pd.read_parquet(tmp_path / "studies" / name / f"{key}.parquet")

    fields = table("scores", "fields")
    assert fields.groupby("predictor").size().to_dict() == {"nuclei": 8, "other": 4}
    wells = fields[fields["predictor"] == "nuclei"].groupby("unit")["pcc"].mean()
    assert summary["scores"]["nuclei"]["mean"] == pytest.approx(wells.mean())
    assert summary["scores"]["nuclei"]["units"] == len(wells) == 4
    noise = table("noise", "fields").pivot_table(index="field", columns="scale", values="efficacy")
    np.testing.assert_allclose(noise[0.0], 1, atol=1e-5)
    assert (noise[3.0] < 0.9).all()
    cut = table("threshold", "fields").pivot_table(
        index=["predictor", "field"], columns="threshold", values=["efficacy", "size"]
    )
    np.testing.assert_allclose(cut["efficacy", 0.0], 1, atol=1e-5)
    np.testing.assert_allclose(cut["size"].to_numpy(), [[1, 0.5, 0.05]] * 12, atol=2e-3)
    assert summary["threshold"]["nuclei"]["of_the_runs"] == [0.3]
    assert summary["threshold"]["nuclei"]["here"] in (0.0, 0.5, 0.95)
    found = read_json(tmp_path / "studies" / "scores" / "found.json")
    assert found["n"] == "8 fields of 4 units, 2 predictors"
    assert found["command"] == "as typed"
    assert len(found["words"]) == 2


def test_what_an_option_changes_is_measured_again_and_nothing_else(
    small_runs: Runs, tmp_path: Path
):
    asked: dict[str, object] = {"runs": [str(small_runs["other"])], "noise": {"scales": [0.0]}}
    asked["threshold"] = {"values": [0.5]}
    study(opened(small_runs, tmp_path, **asked), ["threshold", "noise"], command="first")
    stages = {path.name for path in (tmp_path / "parts").iterdir()}
    asked["threshold"] = {"values": [0.7]}
    study(opened(small_runs, tmp_path, **asked), ["threshold", "noise"], command="second")
    more = {path.name for path in (tmp_path / "parts").iterdir()} - stages
    assert [name.partition("-")[0] for name in more] == ["threshold"]


def test_of_several_studies_one_that_cannot_be_is_left_out_with_its_reason(
    small_runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from attributome.pipeline.study import everything

    def refuses(_: Studies) -> None:
        raise UsageError("no group was asked for")

    monkeypatch.setitem(everything.STUDIES, "noise", refuses)
    left = study(opened(small_runs, tmp_path), ["noise", "scores"], command="all")
    assert [*left] == ["noise"]
    told = json.loads((tmp_path / "studies" / "left_out.json").read_text())
    assert told == {"noise": "no group was asked for"}
    with pytest.raises(UsageError, match="no group"):
        study(opened(small_runs, tmp_path), ["noise"], command="one")


def test_a_run_that_is_not_finished_or_whose_images_changed_is_refused(
    small_runs: Runs, tmp_path: Path
):
    copy = tmp_path / "copy"
    shutil.copytree(small_runs["other"], copy)
    (copy / "choices.json").unlink()
    with pytest.raises(DataError, match="no finished masks"):
        open_studies(StudyJob(runs=(str(copy),)), tmp_path / "a", compute=Compute())
    asked = read_json(small_runs["other"] / "run.json")
    shutil.copy(small_runs["other"] / "choices.json", copy)
    asked["data"]["sha256"] = "0" * 64
    (copy / "run.json").write_text(json.dumps(asked))
    with pytest.raises(DataError, match="not those that it was made with"):
        open_studies(StudyJob(runs=(str(copy),)), tmp_path / "b", compute=Compute())
    with pytest.raises(UsageError, match="no run is named"):
        open_studies(StudyJob(), tmp_path / "c", compute=Compute())
    with pytest.raises(UsageError, match="names no run"):
        open_studies(StudyJob(runs=("dna=",)), tmp_path / "d", compute=Compute())
    with pytest.raises(UsageError, match="no column 'donor'"):
        opened(small_runs, tmp_path / "e", unit="donor")
    assert not (tmp_path / "e").exists()


def test_a_folder_of_studies_of_other_runs_is_refused(small_runs: Runs, tmp_path: Path):
    opened(small_runs, tmp_path)
    with pytest.raises(DataError, match="differs in"):
        open_studies(StudyJob(runs=(str(small_runs["other"]),)), tmp_path, compute=Compute())


def test_every_run_judges_all_fields_of_another_table(small_runs: Runs, tmp_path: Path):
    table = small_runs["other"].parent / "data" / "nuclei-2.csv"
    runs = [str(small_runs[name]) for name in ("nuclei-1", "other")]
    studies = opened(small_runs, tmp_path / "a", runs=runs, table=str(table))
    assert [len(studies.fields(name)) for name in studies.names] == [8, 8]
    study(studies, ["efficacy"], command="typed")
    same = opened(small_runs, tmp_path / "b", runs=[str(small_runs["nuclei-1"])])
    study(same, ["efficacy"], command="typed")
    tables = [pd.read_parquet(tmp_path / k / "studies/efficacy/fields.parquet") for k in "ab"]
    rows = [t[t["predictor"] == "nuclei-1"].set_index("field")["efficacy"] for t in tables]
    pd.testing.assert_series_equal(rows[0][rows[1].index], rows[1], check_exact=True)
    blind = opened(small_runs, tmp_path / "c", runs=runs[:1], table=str(table), truth=False)
    assert look(blind, *blind.fields()[0]).truth is None
    with pytest.raises(UsageError, match="no field has a target"):
        study(blind, ["scores"], command="typed")
