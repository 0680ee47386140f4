"""The planted benchmark as a user types it, in its smallest form."""

import json

import pytest

from end_to_end.jobs import call

QUICK = (
    "--task",
    "image",
    "--kind",
    "exact",
    "--fields",
    "2",
    "--method",
    "saliency",
)


def test_a_small_benchmark_goes_on_where_it_was(tmp_path, capsys):
    words = ("benchmark", "planted", "--out", tmp_path / "run", *QUICK)
    assert call(*words) == 0, capsys.readouterr().err
    page = capsys.readouterr().out.removeprefix("report: ").strip()
    text = (tmp_path / "run" / "benchmark.json").read_text()
    names = {row["method"] for row in json.loads(text)["methods"]}
    assert {"saliency", "random", "centre"} <= names
    with open(page, encoding="utf-8") as file:
        assert "saliency" in file.read().lower()
    assert call(*words) == 0
    assert (tmp_path / "run" / "benchmark.json").read_text() == text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--task", "segmentation"), "no planted task 'segmentation': there are image"),
        (("--method", "gradcam"), "no method 'gradcam'; choose from"),
        (("--dims", "4"), "planted fields have 2 or 3 dimensions, not [4]"),
        (("--kind", "linear"), "no planted kind 'linear'"),
        (("--fields", "0"), "0 fields are none: ask for at least 1"),
    ],
)
def test_slips_are_refused_before_anything_is_written(tmp_path, capsys, words, says):
    assert call("benchmark", "planted", "--out", tmp_path / "run", *words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
