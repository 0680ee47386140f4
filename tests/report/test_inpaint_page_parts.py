import base64
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from inpaint_run import (
    add_data,
    add_findings,
    add_network,
    add_predictions,
    begun,
    changed,
    crops,
    evaluated,
)
from PIL import Image

from attributome.core.errors import DataError
from attributome.core.files import write_json, write_text
from attributome.report.forest import Line, Mark, Upright, forest
from attributome.report.inpaint import build_inpaint
from attributome.report.inpaint.answer import verdict
from attributome.report.inpaint.doubts import doubts
from attributome.report.inpaint.facts import read
from attributome.report.inpaint.findings import proteins
from attributome.report.inpaint.maps import POINTS, thinned
from attributome.report.inpaint.strips import strip
from attributome.report.svg import Axis

LEVELS = {"red": "bad", "amber": "watch"}


@pytest.fixture
def run(tmp_path):
    """A run with findings and the names of its channels."""
    run = begun(tmp_path / "demo")
    add_data(run)
    add_findings(run)
    return run


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Yes, by these data."),
        ({"gain": 0.02}, "is not surely more than raw intensities."),
        ({"gain": -0.1}, "is not surely more than raw intensities."),
        ({"fields": 2}, "is not surely more than the same network untrained or raw intensities."),
    ],
)
def test_the_verdict_is_a_yes_only_where_both_rivals_are_surely_beaten(tmp_path, changes, words):
    told = verdict(read(evaluated(tmp_path, **changes)))
    assert words in told
    assert ("Yes, by" in told) == (not changes)


def test_features_no_better_than_guessing_are_not_recommended(tmp_path):
    def guess(found):
        for row in found["accuracy"]:
            if row["protocol"] == "field folds":
                row |= {"low": 0.15, "high": 0.3, "balanced": 0.22}

    found = verdict(read(changed(evaluated(tmp_path), guess)))
    assert "Not shown: they are not surely better than guessing in telling 5 groups apart" in found


def looks(**values):
    return lambda found: [row.update(values) for row in found["looking"]]


@pytest.mark.parametrize(
    ("changes", "change", "level", "words"),
    [
        ({"mse": 0.03}, None, "red", "The network paints no better than the marker."),
        ({"mse": 0.0235}, None, "amber", "It may paint no better than the marker."),
        (
            {},
            lambda found: found["pretext"].update(constant=0.015),
            "red",
            "The network paints no better than an empty or evenly grey picture. "
            "Mean squared error 0.0151 against 0.015 for one grey level everywhere",
        ),
        (
            {"gain": -0.1},
            None,
            "red",
            "Not better than raw intensities. Balanced accuracy −0.10 against raw intensities "
            "(−0.13 to −0.07).",
        ),
        ({"gain": 0.02}, None, "red", "Not surely better than raw intensities."),
        (
            {"gap": 0.28},
            None,
            "amber",
            # (0.99 − 0.71) / (0.99 − 0.20)
            "The features know the field. With neighbours from anywhere it reaches 0.99, across "
            "fields 0.71: 35 % of what is above guessing is the field",
        ),
        ({"fields": 2}, None, "red", "Too few fields. 2 fields: below 3 there are no intervals"),
        ({"fields": 6}, None, "amber", "Few fields. 6 fields: an interval that draws so few"),
        (
            {},
            looks(inside=0.42, excess=0.01, low=-0.01),
            "red",
            "The features do not look at their cell. 42 % of the maxima of conv3_1 lie inside",
        ),
        ({}, looks(inside=0.45), "amber", "Most features look beside their cell."),
        (
            {},
            lambda found: found["recalls"][0].update(recall=None),
            "amber",
            "1 class cannot be judged. Erg6: all cells of each are in one field",
        ),
        (
            {},
            lambda found: [row.update(undefined=40) for row in found["accuracy"] if "n" in row],
            "amber",
            "Cells without a candidate. 40 of 1,280;",
        ),
        (
            {},
            lambda found: found["pretext"]["by_group"].pop(),
            "amber",
            "Groups left out of the pretext's number. The test fields hold 4 of 5 groups.",
        ),
        (
            {},
            lambda found: found["accuracy"].append(
                {**found["accuracy"][0], "features": "imagenet", "balanced": 0.9}
                | {"protocol": "field folds"}
            ),
            "amber",
            "Not better than a network of ImageNet. Balanced accuracy 0.90 against 0.71.",
        ),
    ],
)
def test_what_speaks_against_it_is_said_with_its_numbers(tmp_path, changes, change, level, words):
    run = evaluated(tmp_path, **changes)
    found = doubts(read(changed(run, change) if change else run))
    said = [f"{doubt.state} {doubt.title}. {doubt.words}" for doubt in found]
    assert any(told.startswith(f"{LEVELS[level]} {words}") for told in said), said
    assert said == sorted(said, key=lambda told: not told.startswith("bad"))


def pixels(source):
    raw = base64.b64decode(source.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(raw)))


def test_pictures_of_a_pair_share_one_grey_scale_that_is_said(run):
    source, marker, truth = (array.astype(np.float64) for array in crops(2, seed=7))
    painted = truth / 2 + 0.1
    arrays = {"source": source, "marker": marker, "truth": truth}
    made = strip(read(run), "pair", arrays, 1, {"painted": painted}, error=True)
    assert [picture.name for picture in made.pictures] == [
        "source cell, GFP", "target cell, RFP", "target cell, GFP: truth", "painted",
        "painted − truth",
    ]  # fmt: skip
    seen = np.concatenate([source[1, :1].ravel(), truth[1].ravel()]).astype(np.float32)
    low, high = np.percentile(seen.astype(np.float64), [0.5, 99.5])
    for at, array in ((0, source[1, 0]), (2, truth[1, 0]), (3, painted[1, 0])):
        grey = np.round(255 * np.clip((array.astype(np.float32) - low) / (high - low), 0, 1))
        np.testing.assert_array_equal(pixels(made.pictures[at].source), grey)
    top = np.abs(painted[1, 0] - truth[1, 0]).max()
    assert f"white {high:.3g}; RFP black" in made.scale
    assert f"red +{top:.3g}, blue −{top:.3g}" in made.scale


def test_points_are_thinned_field_by_field():
    rare, frequent = 400, 9600
    fields = ["a"] * rare + ["b"] * frequent
    table = pd.DataFrame({"id": np.arange(len(fields)).astype(str), "field": fields})
    mixed = table.sample(frac=1, random_state=0)
    kept = thinned(mixed)
    assert len(kept) == POINTS
    assert (kept["field"] == "a").sum() == rare * POINTS // (rare + frequent)
    assert kept["id"].tolist() == thinned(table)["id"].tolist()
    assert len(thinned(table.head(300))) == 300


@pytest.mark.parametrize(
    "change",
    [
        {"order": [0, 1, 2, 3, 3]},
        {"merges": [[0, 1, 0.1, 2]]},
        {"merges": [[0, 1, 0.1, 2], [0, 2, 0.2, 3], [3, 4, 0.3, 2], [6, 7, 0.4, 5]]},
        {"merges": [[0, 9, 0.1, 2], [1, 2, 0.2, 3], [3, 4, 0.3, 2], [6, 7, 0.4, 5]]},
        {"distances": [[0.0, 1.0]]},
        {"labels": None},
    ],
)
def test_what_is_no_tree_is_refused(run, change):
    found = {**run.load("findings")["proteins"], **change}
    with pytest.raises(DataError, match=r"here: "):
        proteins(found, "here")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: f.update(accuracy={}), "'accuracy' is a dict, not a list of rows"),
        (lambda f: f["accuracy"][0].pop("protocol"), r"accuracy\[0\] has no 'protocol'"),
        (lambda f: f["accuracy"][0].update(balanced="0.7"), "balanced = '0.7', which is no number"),
        (lambda f: f["accuracy"][0].update(balanced=None), "neither a number nor a reason"),
        (lambda f: f["pretext"].pop("copy_marker"), "'pretext' has no 'copy_marker'"),
        (lambda f: f["looking"][0].pop("chance"), r"looking\[0\] has no 'chance'"),
        (lambda f: f["differences"][0].update(low=True), "low = True, which is no number"),
        (lambda f: f["recalls"].insert(0, "Erg6"), r"recalls\[0\] is a str, not an object"),
        (lambda f: f["confusion"]["counts"].pop(), "as many rows and columns"),
        (lambda f: f["confusion"].update(counts=[1, 2, 3, 4, 5]), "as many rows and columns"),
    ],
)
def test_an_evaluation_of_another_form_is_refused(tmp_path, change, match):
    run = changed(evaluated(tmp_path), change)
    with pytest.raises(DataError, match=match):
        build_inpaint(run)


def short_array(run):
    np.save(run.root / "predictions" / "truth.npy", np.zeros((3, 1, 4, 4), np.float32))


def flat_array(run):
    np.save(run.root / "network" / "examples" / "truth.npy", np.zeros((4, 32, 32), np.float32))


def undefined_array(run):
    np.save(run.root / "network" / "examples" / "marker.npy", np.full((4, 1, 32, 32), np.nan))


def broken_file(run):
    write_text(run.root / "network" / "examples" / "source.npy", "no array")


def other_table(run):
    pd.DataFrame({"cell": ["a"]}).to_parquet(run.root / "umap.parquet")


def no_table(run):
    write_text(run.root / "umap.parquet", "no table")


def other_log(run):
    write_text(run.root / "network" / "log.csv", "step,loss\n1,0.5\n")


def words_in_log(run):
    write_text(run.root / "network" / "log.csv", "epoch,loss\n1,much\n")


def other_splits(run):
    write_json(run.root / "splits.json", {"train": "field-01"})


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (short_array, "pictures of different numbers of pairs"),
        (flat_array, r"crops are floats \(n, c, h, w\)"),
        (undefined_array, "values that are not finite"),
        (broken_file, "cannot read .*source.npy"),
        (other_table, "has no column 'id'"),
        (no_table, "cannot read .*umap.parquet"),
        (other_log, "has no column 'epoch'"),
        (words_in_log, "cannot read .*log.csv"),
        (other_splits, "'train' is a str, not a list"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, spoil, match):
    run = begun(tmp_path / "demo")
    add_network(run, epochs=2)
    add_predictions(run)
    spoil(run)
    with pytest.raises(DataError, match=match):
        build_inpaint(run)


def test_the_lead_is_what_was_fixed_beforehand_and_not_the_best(tmp_path):
    run = evaluated(tmp_path)

    def forget(found):
        found |= {"confusion": None, "recalls": []}

    changed(run, forget)
    assert read(run).lead == ("conv3_1", "max")
    asked = json.loads((run.root / "run.json").read_text())
    asked["job"]["evaluate"] |= {"layer": "conv2_1", "pool": "mean"}
    write_json(run.root / "run.json", asked)
    assert read(run).lead == ("conv2_1", "mean")
    found = verdict(read(run))
    assert "balanced accuracy 0.60 (95 % interval 0.56–0.64" in found


def test_marks_rules_and_intervals_lie_where_their_values_are():
    marks = [Mark(value=0.25, low=0.0, high=0.5, hue="blue"), Mark(value=float("nan"))]
    x = Axis(label="x", low=0.0, high=1.0)
    drawn = forest(
        [Line(name="a", marks=marks)], x, alt="words", rules=[Upright(value=1, name="r")]
    )
    wide = drawn.split("</svg>")[0]
    axis = re.search(r'd="M([\d.]+) [\d.]+H([\d.]+)" class="axis"', wide)
    left, right = float(axis[1]), float(axis[2])
    at = [float(value) for value in re.findall(r'<circle cx="([\d.]+)"', wide)]
    assert at == pytest.approx([left + 0.25 * (right - left)], abs=0.1)
    ends = re.search(r'd="M([\d.]+) [\d.]+H([\d.]+)M[^"]*" class="whisker"', wide)
    assert float(ends[1]) == pytest.approx(left, abs=0.1)
    assert float(ends[2]) == pytest.approx((left + right) / 2, abs=0.1)
    rule = re.search(r'd="M([\d.]+) [^"]*" class="rule"', wide)
    assert float(rule[1]) == pytest.approx(right, abs=0.1)


@pytest.mark.parametrize(("joined", "apart"), [(False, 11.0), (True, 0.0)])
def test_marks_of_a_row_lie_below_each_other_or_on_one_thread(joined, apart):
    marks = [Mark(value=0.2), Mark(value=0.7)]
    x = Axis(label="x", low=0.0, high=1.0)
    drawn = forest([Line(name="a", marks=marks)], x, alt="words", joined=joined)
    first, second = map(float, re.findall(r' cy="([\d.]+)"', drawn.split("</svg>")[0]))
    assert second - first == pytest.approx(apart, abs=0.1)
    assert ('class="thread"' in drawn) == joined
