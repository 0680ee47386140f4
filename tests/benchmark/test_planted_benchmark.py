"""The benchmark itself: who is judged, by what, and that an interruption changes no number."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from attributome.benchmark import planted
from attributome.benchmark.judging import METRICS, judge
from attributome.benchmark.networks import planted_network
from attributome.benchmark.planted import Size, conclude, run_benchmark
from attributome.benchmark.scoring import (
    Subject,
    all_methods,
    case,
    explainers,
    in_one,
    score_field,
)
from attributome.benchmark.training import Effort
from attributome.core.errors import DataError, UsageError
from attributome.core.probe import predict
from attributome.explain import CONTROLS, saliency
from attributome.store import Run

TINY = Size(
    fields=3,
    network=Effort(fields=16, epochs=1, steps=2),
    masks=Effort(fields=8, epochs=1, steps=2),
    edits=3,
    spaces={2: (64, 64), 3: (8, 48, 48)},
    cheaper=True,
)
QUICK = ("saliency", "grad_cam", "random", "intensity", "edges")


def subject(task, dims=2, size=None):
    model = planted_network(task, dims)
    size = size or TINY.spaces[dims]
    return Subject(
        name="by hand",
        task=task,
        exact=True,
        size=size,
        model=model,
        layer="relu",
        background=torch.zeros(2, 3, *size),
        spread=1.0,
        masks=None,
    )


def benchmark(folder, **options):
    given = {
        "tasks": ["regression"],
        "kinds": ["exact"],
        "methods": QUICK,
        "size": TINY,
        "optimum": False,
    }
    return run_benchmark(folder, **{**given, **options})


def numbers(tables):
    scores = tables["scores"].drop(columns="seconds")
    return scores.sort_values(["setup", "field", "method"], ignore_index=True)


@pytest.mark.parametrize(
    ("task", "names"),
    [("classification", all_methods()), ("image", ("saliency", "occlusion", *CONTROLS))],
)
def test_every_method_has_a_row_and_what_it_cannot_do_a_reason(task, names):
    study = subject(task, size=(48, 48))
    seen = case(study, seed=0, index=1)
    asked = explainers(study, names, seed=0, index=1, cheaper=True)
    rows, maps = score_field(study, seen, asked, seed=0, index=1)
    assert tuple(rows.method) == names
    refused = rows[rows.reason.notna()]
    assert set(maps) == set(rows.method) - set(refused.method)
    assert len(refused) < len(rows) / 2
    assert set(rows[rows.role == "control"].method) == set(CONTROLS)
    for one in maps.values():
        assert one.shape == (48, 48)


def test_the_truth_is_perfect_and_beats_every_control_and_noise_none():
    """The oracle shows the truth; a second random map is a method like any other."""
    study, tables = subject("regression"), []
    for index in range(16):
        seen = case(study, seed=0, index=index)
        asked = explainers(study, tuple(CONTROLS), seed=0, index=index)
        truth = seen.truth.float()
        noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(index))
        asked |= {"oracle": lambda *_, it=truth: it, "noise": lambda *_, it=noise: it}
        rows, _ = score_field(study, seen, asked, seed=0, index=index)
        tables.append(rows.assign(setup="x", field=index))
    board, _ = judge(pd.concat(tables))
    oracle = board[board.method == "oracle"].set_index("metric")
    localised = ["iou_at_area", "average_precision", "relevance_mass", "pointing_game"]
    assert (oracle.loc[localised, "median"] == 1).all()
    assert oracle.loc["iou_at_area", "beats_controls"]
    assert oracle.loc["average_precision", "not_beaten"] == ""
    noise = board[board.method == "noise"].set_index("metric")
    assert not noise.beats_controls.any()
    assert all("random" in lost for lost in noise.not_beaten)


def board_of(values, roles):
    rows = [
        {"setup": "s", "field": i, "method": name, "role": roles[name]}
        | {metric: float(value) for metric in METRICS}
        for name, of in values.items()
        for i, value in enumerate(of)
    ]
    return judge(pd.DataFrame(rows))


def test_one_control_is_enough_to_fail():
    base = np.linspace(0, 1, 20)
    values = {"good": base + 1, "half": base + 0.5, "weak": base, "strong": base + 0.7}
    roles = {"good": "method", "half": "method", "weak": "control", "strong": "control"}
    board, pairs = board_of(values, roles)
    told = board[board.metric == "iou_at_area"].set_index("method")
    assert told.beats_controls["good"] is True
    assert told.beats_controls["half"] is False
    assert told.not_beaten["half"] == "strong"
    assert told.beats_controls["weak"] is None
    # every one of 20 differences has the same sign: 2 / 2^20, times the four tests at most
    assert len(pairs) == 4 * len(METRICS)
    assert (pairs.holm >= pairs.p).all()


def test_few_fields_prove_nothing():
    base = np.linspace(0, 1, 5)
    board, _ = board_of({"good": base + 1, "weak": base}, {"good": "method", "weak": "control"})
    assert not board[board.method == "good"].beats_controls.any()


def test_what_is_undefined_is_counted_and_not_averaged():
    base = np.linspace(0, 1, 20)
    holes = base + 1
    holes[:3] = np.nan
    nothing = np.full(20, np.nan)
    board, pairs = board_of(
        {"holes": holes, "never": nothing, "weak": base},
        {"holes": "method", "never": "method", "weak": "control"},
    )
    told = board[board.metric == "efficacy_area"].set_index("method")
    assert told.undefined.to_dict() == {"holes": 3, "never": 20, "weak": 0}
    assert told["median"]["holes"] == np.median(holes[3:])
    assert told.beats_controls["never"] is False
    assert pairs.n.unique().tolist() == [17]


def test_sensitivities_are_lengths_and_all_else_sums():
    maps = torch.tensor([[[[3.0]], [[-4.0]]]])
    assert in_one("saliency", maps).item() == 5
    assert in_one("input_x_gradient", maps).item() == -1
    assert in_one("anything", maps[:, 1:]).item() == -4


def test_it_goes_on_where_it_was_killed(tmp_path):
    whole = benchmark(tmp_path / "whole")
    half = tmp_path / "half"
    benchmark(half)
    shutil.rmtree(half / "parts" / "fields" / "regression-2d-exact-001")
    (half / "benchmark.json").unlink()
    again = benchmark(half)
    pd.testing.assert_frame_equal(numbers(whole), numbers(again))
    pd.testing.assert_frame_equal(whole["methods"], again["methods"])
    pd.testing.assert_frame_equal(whole["methods"], conclude(Run.open(half))["methods"])


def test_what_was_asked_may_not_change(tmp_path):
    benchmark(tmp_path, methods=("saliency", "random"))
    with pytest.raises(DataError, match="differs in methods"):
        benchmark(tmp_path, methods=("saliency", "intensity"))


def test_the_folder_holds_what_a_report_needs(tmp_path):
    names = ("saliency", "random", "learned_mask")
    tables = benchmark(tmp_path, optimum=True, tasks=["image"], methods=names, fields=2)
    run = Run.open(tmp_path)
    told = run.load("benchmark")
    assert told["pictures"] == ["image-2d-exact-000", "image-2d-exact-001"]
    arrays = run.arrays("fields", told["pictures"][-1])
    assert set(arrays) == {"image", "truth", "output", *(f"map_{name}" for name in names)}
    assert len(told["methods"]) == len(names) * len(METRICS) == len(tables["methods"])
    known = {(row["method"], row["metric"]): row["median"] for row in told["methods"]}
    assert known["saliency", "iou_at_area"] == 1
    assert {row["edit"] for row in told["networks"]} == {"evidence", "other", "decoy", "suppressor"}
    assert told["optimum"][0]["area_error"] <= 0.05


def test_a_trained_network_that_has_not_learned_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be a judge of methods"):
        benchmark(tmp_path, tasks=["regression"], kinds=["trained"])


def test_progress_rises_to_the_end(tmp_path):
    told = []
    benchmark(tmp_path, progress=lambda done, words: told.append((done, words)))
    shares = [done for done, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert "field 3 of 3" in told[-1][1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": ["magic"]}, "no method 'magic'"),
        ({"tasks": ["segmentation"]}, "no planted task 'segmentation'"),
        ({"kinds": ["borrowed"]}, "no planted kind 'borrowed'"),
        ({"dims": (4,)}, "2 or 3 dimensions"),
        ({"fields": 0}, "ask for at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        benchmark(tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()


def test_saliency_of_the_network_set_by_hand_is_the_truth(dims):
    study = subject("regression", dims)
    seen = case(study, seed=0, index=0)
    found = in_one("saliency", saliency(study.model, seen.x, seen.target)) > 0
    assert (found == seen.truth).float().mean() > 0.999
    assert torch.equal(predict(study.model, seen.x), seen.out)
    assert planted.SIZES.keys() == {"small", "full"}
