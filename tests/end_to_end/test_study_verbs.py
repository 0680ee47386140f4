import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from attributome.cli.study_flags import KEYS
from attributome.pipeline.study.everything import STUDIES
from attributome.pipeline.study.job import read_job
from attributome.studies.catalogue import CATALOGUE
from end_to_end.jobs import call, sentence, sets, summary

TINY = {
    "noise.scales": "[0.0, 2.0]",
    "threshold.values": "[0.0, 0.5]",
    "methods.volumes": "[0.3, 0.7]",
    "methods.methods": "{saliency = {}}",
    "regions.steps": "1",
    "regions.erode": "3",
    "regions.smallest": "4",
    "regions.placements": "1",
    "regions.cells": "1",
    "spatial.window": "16",
    "spatial.step": "8",
    "dremi.draws": "19",
    "ablation.agreement": "[0.0]",
    "ablation.epochs": "1",
    "ablation.steps": "2",
    "gallery.fields": "1",
    "confidence.folds": "2",
    "confidence.epochs": "1",
    "confidence.steps": "2",
    "confidence.patch": "16",
    "confidence.patches": "4",
}
PAGE = Path(__file__).parents[2] / "docs" / "studies.md"
LIGHT = "import sys\nfrom attributome.cli import run_cli\n"


def commands():
    """The command lines on the page on studies."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def found(out, name):
    return json.loads((out / "studies" / name / "found.json").read_text(encoding="utf-8"))


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def code_and_sentence(capsys, *words):
    """How a command ends, and its one complaint, below the questions that it had begun with."""
    capsys.readouterr()
    code = call("study", *words)
    lines = capsys.readouterr().err.splitlines()
    asked = {f"{entry.title}: {entry.question}" for entry in CATALOGUE.values()}
    return code, sentence("\n".join(line for line in lines if line not in asked))


@pytest.fixture(scope="module")
def named(small_runs):
    """Two predictors, of which one is cross-fitted."""
    folders = {"nuclei-1": "nuclei", "nuclei-2": "nuclei", "other": "other"}
    return [f"{name}={small_runs[folder]}" for folder, name in folders.items()]


@pytest.fixture(scope="module")
def studied(small_runs, tmp_path_factory):
    """Every study, by the command of the page on studies, and how it ended."""
    out = tmp_path_factory.mktemp("studies") / "out"
    before = [files(run) for run in small_runs.values()]
    (line,) = (line for line in commands() if " study all " in line)
    line = line.replace("--out runs/studies", f"--out {out}")
    line = line.replace("=runs/", f"={small_runs['other'].parent}/")
    groups = ["--by", "drug", "--control", "control"]
    code = call(*shlex.split(line)[1:], *groups, *sets(TINY))
    assert before == [files(run) for run in small_runs.values()], "a run was written into"
    return out, code


@pytest.fixture(scope="module")
def few(named, tmp_path_factory):
    """Two studies of them that take little time."""
    out = tmp_path_factory.mktemp("few") / "out"
    for name in ("efficacy", "threshold"):
        words = [*named, "--out", out, "--unit", "well", "--set", "threshold.values=[0.0, 0.5]"]
        assert call("study", name, *words) == 0
    return out


@pytest.fixture
def one(small_runs, tmp_path):
    """A copy of a run and of its images, which may be spoilt."""
    home = tmp_path / "copy"
    run, data = home / "run", home / "data"
    shutil.copytree(small_runs["other"], run)
    shutil.copytree(small_runs["other"].parent / "data", data)
    asked = json.loads((run / "run.json").read_text(encoding="utf-8"))
    asked["job"]["data"]["source"] = str(data / "other.csv")
    (run / "run.json").write_text(json.dumps(asked), encoding="utf-8")
    return run, data


def test_one_study_says_what_it_found_and_where_the_page_lies(small_runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert call("study", "scores", small_runs["nuclei-1"], "--out", out) == 0
    said = capsys.readouterr().out
    assert "Predictor scores: nuclei-1: correlation with the truth" in said
    assert f"report: {out / 'report' / 'index.html'}" in said
    assert [*summary(out)] == ["scores"]
    assert (out / "report" / "index.html").is_file()
    table = pd.read_csv(out / "studies" / "scores" / "fields.csv")
    assert table["field"].tolist() == [f"field{i:04d}" for i in range(4)]


def test_all_studies_are_done_or_left_out_with_a_reason(studied):
    out, code = studied
    assert code == 0
    left = json.loads((out / "studies" / "left_out.json").read_text(encoding="utf-8"))
    done = {*summary(out)} - {"method_comparison"}
    assert done | {*left} == {*STUDIES}
    assert not done & {*left}
    assert {"scores", "noise", "threshold", "efficacy"} <= {*summary(out)}
    page = (out / "report" / "index.html").read_text(encoding="utf-8")
    for name in done:
        assert f'id="study-{name}"' in page
        assert found(out, name)["n"]
        assert found(out, name)["words"]


def test_runs_of_one_name_are_one_predictor(studied):
    out, _ = studied
    table = pd.read_parquet(out / "studies" / "scores" / "fields.parquet")
    nuclei = table[table["predictor"] == "nuclei"]
    assert sorted(nuclei["field"]) == [f"field{i:04d}" for i in range(8)]
    assert found(out, "scores")["n"] == "8 fields of 4 units, 2 predictors"


def test_the_page_is_made_again_with_the_same_bytes(few, capsys):
    page = few / "report" / "index.html"
    before = page.read_bytes()
    page.unlink()
    assert call("study", "report", few) == 0
    assert page.read_bytes() == before
    assert f"report: {page}" in capsys.readouterr().out


def test_studies_go_on_with_the_same_runs_and_settings(few, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(few, out)
    before = files(out / "parts")
    assert call("study", "threshold", "--out", out) == 0
    assert files(out / "parts") == before, "what was measured is not measured again"
    assert found(out, "threshold") == found(few, "threshold") | {
        "command": found(out, "threshold")["command"]
    }
    assert call("study", "threshold", "--out", out, "--set", "threshold.values=[0.2]") == 0
    assert len(files(out / "parts")) > len(before)
    curves = pd.read_csv(out / "studies" / "threshold" / "curves.csv")
    assert curves["value"].unique().tolist() == [0.2]


def test_the_command_that_is_told_makes_the_study_again(few, tmp_path):
    other = tmp_path / "out"
    words = shlex.split(found(few, "threshold")["command"])
    assert words[:2] == ["attributome", "study"]
    assert "--unit" in words
    words[words.index("--out") + 1] = str(other)
    assert call(*words[1:]) == 0
    assert found(other, "threshold")["numbers"] == found(few, "threshold")["numbers"]
    assert found(other, "threshold")["options"] == found(few, "threshold")["options"]


def test_a_job_is_written_read_and_never_overwritten(named, tmp_path, capsys):
    path, out = tmp_path / "mine.toml", tmp_path / "out"
    assert call("study", "init", path, "--unit", "well", "--set", "noise.floor=0.5") == 0
    assert read_job(path).unit == "well"
    assert read_job(path).noise.floor == 0.5
    assert read_job(path).name == "mine"
    assert call("study", "efficacy", *named[:1], "--job", path, "--out", out) == 0
    assert json.loads((out / "options.json").read_text())["noise"]["floor"] == 0.5
    code, said = code_and_sentence(capsys, "init", path)
    assert (code, "exists already" in said) == (2, True)


def test_the_other_commands_of_the_page_run(small_runs, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    for name, run in small_runs.items():
        (tmp_path / "runs" / name).symlink_to(run)
    monkeypatch.chdir(tmp_path)
    typed = [line for line in commands() if " study all " not in line]
    assert len(typed) > 6
    assert {line: code for line in typed if (code := call(*shlex.split(line)[1:]))} == {}


def test_the_page_names_every_study_and_flag():
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in CATALOGUE if f"| `{name}` |" not in page] == []
    assert [key for key in KEYS.values() if f"| `{key}` |" not in page] == []


def test_help_and_the_list_need_no_torch():
    code = LIGHT + (
        "assert run_cli(['study', '--help']) == 0\n"
        "assert run_cli(['study', 'list']) == 0\n"
        "assert run_cli(['study', 'efficasy', 'x']) == 2\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "did you mean 'efficacy'?" in done.stderr
    assert [name for name in CATALOGUE if name not in done.stdout] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("scres", "RUN"), "no study 'scres'; did you mean 'scores'?"),
        (("zzzz", "RUN"), "no study 'zzzz'; there are scores, noise"),
        (("scores",), "no run is named"),
        (("scores", "RUN", "--unit", "wel"), "has no column 'wel'"),
        (("scores", "RUN", "--set", "nois.floor=1"), "did you mean 'noise'?"),
        (("scores", "nuclei="), "names no run"),
        (("report", "RUN", "RUN"), "a page is of one folder of studies, not of 2"),
        (("init", "RUN", "RUN"), "a job is one file, not 2"),
        (("groups", "RUN", "--out", "RUN"), "holds something else than studies"),
    ],
)
def test_what_cannot_be_meant_ends_with_2(small_runs, tmp_path, capsys, words, says):
    folder = str(small_runs["nuclei-1"])
    typed = [folder if word == "RUN" else word for word in words]
    if "--out" not in words:
        typed += ["--out", str(tmp_path / "out")]
    code, said = code_and_sentence(capsys, *typed)
    assert (code, says in said) == (2, True), said


def test_a_folder_of_another_kind_ends_with_3(tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.json").write_text('{"job": {}, "data": {}}', encoding="utf-8")
    code, said = code_and_sentence(capsys, "scores", other, "--out", tmp_path / "out")
    assert (code, "studies are of `attributome run`" in said) == (3, True)
    code, said = code_and_sentence(capsys, "scores", tmp_path / "no", "--out", tmp_path / "out")
    assert (code, "is not a run" in said) == (3, True)
    code, said = code_and_sentence(capsys, "report", other)
    assert (code, "has no studies" in said) == (3, True)


def test_changed_images_end_with_3(one, tmp_path, capsys):
    run, data = one
    assert call("study", "scores", run, "--out", tmp_path / "first") == 0
    path = sorted((data / "images").iterdir())[0]
    tifffile.imwrite(path, np.ones((48, 48), np.uint16))
    code, said = code_and_sentence(capsys, "scores", run, "--out", tmp_path / "second")
    assert (code, "are not those that it was made with" in said) == (3, True)


def test_a_run_without_masks_ends_with_3_and_the_command(one, tmp_path, capsys):
    run, _ = one
    (run / "choices.json").unlink()
    code, said = code_and_sentence(capsys, "scores", run, "--out", tmp_path / "out")
    assert (code, f"`attributome run --out {run}` goes on" in said) == (3, True)


@pytest.mark.parametrize("name", ["scores", "all"])
def test_two_runs_that_judge_one_field_end_with_3(small_runs, tmp_path, capsys, name):
    twice = [f"same={small_runs[run]}" for run in ("nuclei-1", "other")]
    capsys.readouterr()
    assert call("study", name, *twice, "--out", tmp_path / "out", *sets(TINY)) == 3
    assert "is judged by two runs of 'same'" in capsys.readouterr().err


def test_other_runs_are_not_mixed_into_a_folder_of_studies(few, small_runs, capsys):
    code, said = code_and_sentence(capsys, "scores", small_runs["other"], "--out", few)
    assert (code, "holds a run that differs in" in said) == (3, True)
