"""Every verb as a user types it."""

import json

import pytest

from attributome.data.planted import write_planted
from attributome.store import Run
from end_to_end.jobs import call, differing, halves, results, start, summary, tiny

KEYS = {
    "efficacy_median",
    "mask_size_median",
    "random_mask_efficacy_median",
    "translated_mask_efficacy_median",
    "intensity_mask_efficacy_median",
    "area_ratio_to_intensity",
    "planted_recall",
    "planted_precision",
    "decoy_ratio",
    "guarantee",
    "predictor_pcc",
    "seconds",
}
SCORED = (
    "parts/score",
    "parts/panel",
    "summary.json",
    "comparisons.json",
    "leaderboard.json",
    "provenance.json",
)
REPORT = "report/index.html"


def test_a_job_from_init_to_report(finished):
    found = summary(finished.run)
    assert KEYS - found.keys() == set()
    assert found["fields_test"] == 3
    assert 0 < found["mask_size_median"] <= 1
    assert found["seconds"] > 0
    page = (finished.run / REPORT).read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert f"attributome run {finished.job}" in page
    assert halves(finished.run) == []


def test_the_same_command_does_nothing_again(finished, again):
    run = again()
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    assert call("run", finished.job, "--out", run) == 0
    changed = {
        p.relative_to(run).as_posix() for p, at in before.items() if p.stat().st_mtime_ns != at
    }
    derived = {
        "splits.json",
        "summary.json",
        "comparisons.json",
        "leaderboard.json",
        "provenance.json",
        REPORT,
    }
    assert changed <= derived
    assert differing(finished.run, run) == []


def test_verbs_one_by_one_give_what_run_gives(finished, tmp_path, capsys):
    run, given = tmp_path / "run", (finished.job, "--out", tmp_path / "run")
    assert call("train", "predictor", *given) == 0
    assert capsys.readouterr().out == f"predictor: {run / 'predictor'}\n"
    assert call("train", "masks", *given) == 0
    assert capsys.readouterr().out == f"masks: {run / 'masks'}\n"
    assert call("explain", "--out", run) == 0  # the run knows its job
    assert call("score", "--out", run) == 0
    assert capsys.readouterr().out.endswith(f"summary: {run / 'summary.json'}\n")
    assert call("report", run) == 0
    assert capsys.readouterr().out == f"report: {run / REPORT}\n"
    assert differing(finished.run, run) == []


def test_three_shards_give_what_one_process_gives(finished, again):
    run = again("parts/explain", *SCORED, REPORT)
    for verb in ("explain", "score"):
        for part in ("1/3", "2/3", "3/3"):
            assert call(verb, finished.job, "--out", run, "--shard", part) == 0
            units = Run.open(run).units(verb)
            assert len(units) == int(part[0])
    expected, found = results(finished.run), results(run)
    assert [n for n in expected if n.endswith(".npy") and "panel" not in n]
    assert {n for n in expected if expected[n] != found.get(n)} == set()


@pytest.mark.slow
def test_shards_side_by_side(finished, again):
    run = again("parts/explain", *SCORED, REPORT)
    words = ("explain", finished.job, "--out", run, "--shard")
    both = [start(*words, part) for part in ("1/2", "2/2")]
    assert [one.communicate() and one.returncode for one in both] == [0, 0]
    assert call("score", "--out", run) == 0
    assert set(differing(finished.run, run)) == set()


def test_inspect_says_what_the_trained_predictor_takes(finished, capsys):
    assert call("inspect", finished.run / "predictor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["dims"], found["channels"], found["output"]) == (2, 1, "image")
    assert found["possible"] == {"nothing": None, "gradient": None, "layer": None}
    assert call("inspect", finished.run / "predictor") == 0
    text = capsys.readouterr().out
    assert text.startswith("2-D, 1 channels in, image out (1)")
    assert "layers at" in text
    assert "possible: learned_mask, saliency" in text
    assert f"for Grad-CAM: layer {found['usable_layers'][-1]}" in text


def test_methods_are_listed_with_their_parameters(capsys):
    from attributome.explain import METHODS

    assert call("methods") == 0
    text = capsys.readouterr().out
    assert [name for name in (*METHODS, "learned_mask") if f"{name}(" not in text] == []
    assert "grad_cam(layer)" in text
    assert "occlusion(window=" in text


def test_a_demonstration_in_miniature(tmp_path, capsys):
    run = tmp_path / "demo"
    write_planted(run / "data", fields=10, size=(64, 64))  # the demonstration goes on from there
    assert call("demo", "--out", run, *tiny()) == 0
    assert capsys.readouterr().out.endswith(f"report: {run / REPORT}\n")
    assert KEYS - summary(run).keys() == set()


def test_methods_beside_the_learned_mask(finished, tmp_path):
    run = tmp_path / "run"
    methods = "{saliency = {}, occlusion = {window = 32}, smooth_grad = {draws = 2}}"
    given = ("--images", finished.table, "--predictor", finished.run / "predictor", "--out", run)
    assert call("run", *given, *tiny(explain__methods=methods)) == 0
    scores = Run.open(run).table("score", "scores")
    assert set(scores[scores.kind == "method"].method) == {"occlusion", "smooth_grad"}
    assert set(scores[scores.kind == "signature"].method) == {"saliency"}


@pytest.mark.parametrize(
    ("words", "code"), [(["--help"], 0), (["train", "masks", "-h"], 0), ([], 2), (["train"], 2)]
)
def test_help_is_shown_and_nothing_else(words, code, capsys):
    assert call(*words) == code
    said = capsys.readouterr()
    assert "Usage: attributome" in said.out
    assert said.err == ""
