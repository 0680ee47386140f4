"""Methods at equal noised volume: the same share, the same noise, and the truth found first."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from attributome.core.compute import Compute
from attributome.core.errors import UsageError
from attributome.core.targets import OutputSum
from attributome.explain import method
from attributome.pipeline.methods import Backgrounds
from attributome.pipeline.study.job import StudyJob
from attributome.pipeline.study.looked import Hand
from attributome.pipeline.study.methods import (
    LEARNED,
    NOTHING_KNOWN,
    curve_of,
    maps_of,
    methods,
    middle,
)
from attributome.pipeline.study.opening import Studies, open_studies
from attributome.studies.found import POOLED

Runs = dict[str, Path]
VOLUMES = (0.3, 0.8, 0.9)
ASKED = {"methods": {"saliency": {}, "grad_cam": {}}, "volumes": VOLUMES}
NAMES = (LEARNED, "saliency", "grad_cam", *NOTHING_KNOWN)


def opened(runs: Runs, out: Path, **given: object) -> Studies:
    named = {"nuclei-1": "nuclei", "nuclei-2": "nuclei", "other": "other"}
    job = StudyJob.model_validate(
        {"runs": tuple(f"{name}={runs[run]}" for run, name in named.items()), "methods": ASKED}
        | given
    )
    return open_studies(job, out, compute=Compute())


@pytest.fixture(scope="module")
def told(small_runs: Runs, tmp_path_factory):
    studies = opened(small_runs, tmp_path_factory.mktemp("methods"))
    return studies, methods(studies)


def times(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in (root / "parts").rglob("*")}


def test_every_method_may_leave_the_same_share(told):
    _, found = told
    table = found.tables["fields"]
    assert {*table["method"]} == {*NAMES}
    assert len(table.groupby(["predictor", "field", "method"])) == (8 + 4) * len(NAMES)
    whole = table[table["method"].isin(["saliency", "random", "edges"])]
    pixels = 48 * 48
    assert np.abs(whole["volume"] - whole["wanted"]).max() <= 1.5 / pixels
    ends = table[table["volume"] == 0]["efficacy"]
    np.testing.assert_allclose(ends, 1, atol=1e-5)
    nothing = table[table["volume"] == 1].groupby(["predictor", "field"])["efficacy"]
    assert (nothing.nunique() == 1).all()
    assert (nothing.size() == len(NAMES)).all()


@pytest.mark.parametrize("name", ["saliency", "edges"])
def test_an_efficacy_is_that_of_the_largest_voxels_under_the_one_noise(told, name):
    studies, found = told
    one, field = studies.fields("nuclei")[1]
    hand = Hand(one=one, name=field)
    maps = method(name)(one.study.model, hand.x, OutputSum())
    importance = maps.abs().sum(1)[0].numpy()
    order = sorted(range(importance.size), key=lambda at: -importance.flat[at])
    rows = found.tables["fields"]
    rows = rows[(rows["field"] == field) & (rows["predictor"] == "nuclei")]
    for volume in VOLUMES:
        kept = np.zeros(importance.size, np.float32)
        kept[order[: round((1 - volume) * importance.size)]] = 1
        mask = torch.from_numpy(kept.reshape(1, 1, *importance.shape))
        with torch.no_grad():
            out = one.study.model(hand.x * mask + hand.fill * (1 - mask))
            whole = one.study.model(hand.x)
        want = np.corrcoef(out.numpy().ravel(), whole.numpy().ravel())[0, 1]
        at = (rows["method"] == name) & (rows["wanted"] == volume)
        assert rows.loc[at, "efficacy"].item() == pytest.approx(want, abs=2e-3)


def test_what_a_predictor_uses_is_found_before_all_else(small_runs: Runs, tmp_path: Path):
    studies = opened(small_runs, tmp_path)
    hand = Hand(one=studies.opened[0], name=studies.fields("nuclei")[0][1])
    used = torch.zeros_like(hand.x)
    used[..., 10:20, 8:28] = 1  # not a tenth of the field, and all that the predictor looks at
    hand.__dict__["f"] = lambda x: x * used
    ends = {0.0: 1.0, 1.0: hand.efficacy(hand.noised(torch.zeros_like(used)))}
    draw = np.random.default_rng(0)
    jitter = 0.1 * draw.random(hand.x.shape[2:])
    truth, blind = used[0, 0].numpy() + jitter, jitter
    scores = {
        name: [row["efficacy"] for row in curve_of(hand, name, values, VOLUMES, ends)]
        for name, values in {"oracle": truth, "random": blind}.items()
    }
    np.testing.assert_allclose(scores["oracle"][:-1], 1, atol=1e-5)
    assert all(score < 0.98 for score in scores["random"][1:])
    assert scores["oracle"][-1] == scores["random"][-1] == ends[1.0]


def test_equal_values_stay_together_and_volumes_are_those_reached(small_runs: Runs, tmp_path: Path):
    studies = opened(small_runs, tmp_path)
    hand = Hand(one=studies.opened[0], name=studies.fields("nuclei")[0][1])
    steps = np.zeros(hand.x.shape[2:])
    steps[:12] = 1  # a quarter
    rows = curve_of(hand, "steps", steps, (0.2, 0.5, 0.7, 0.9), {0.0: 1.0, 1.0: 0.0})
    assert [row["volume"] for row in rows] == [0.0, 0.75, 1.0]


def test_numbers_are_means_over_fields_and_the_pooled_ones_over_predictors(told):
    _, found = told
    table, numbers = found.tables["fields"], found.numbers
    exact = table[table["method"] == "saliency"]
    for volume in VOLUMES:
        means = {
            name: part.loc[part["wanted"] == volume, ["field", "efficacy"]].set_index("field")
            for name, part in exact.groupby("predictor")
        }
        for name, part in means.items():
            got = numbers["method_comparison"][name]["saliency"][f"{volume:g}"]
            assert got == pytest.approx(part["efficacy"].mean(), abs=2e-3)
        both = pd.concat(means.values(), axis=1).mean(axis=1).mean()
        got = numbers["method_comparison"][POOLED]["saliency"][f"{volume:g}"]
        assert got == pytest.approx(both, abs=2e-3)
    at = found.tables["efficacies"]
    at = at[(at["predictor"] == "nuclei") & (at["volume"] == 0.8)]
    wide = at.pivot(index="field", columns="method", values="efficacy")
    win = numbers["learned_wins"]["nuclei"]["random"]["0.8"]
    assert win["of"] == 8
    assert win["fields"] == sum(wide[LEARNED] > wide["random"])
    assert win["above"] == (wide[LEARNED].mean() > wide["random"].mean())
    assert set(numbers["area_pairs"][POOLED]) == {*NAMES} - {LEARNED}
    assert any("With 8 units no p is below 0.0078" in line for line in found.words)


def test_one_field_of_each_predictor_is_kept_to_be_shown(told):
    studies, found = told
    shown = found.numbers["shown"]
    assert [one["predictor"] for one in shown] == ["nuclei", "other"]
    assert shown[0]["field"] == studies.fields("nuclei")[0][1]
    ranks = found.arrays["shown_0_ranks"]
    assert ranks.dtype == np.uint8
    assert ranks.shape == (len(NAMES), 48, 48)
    at = shown[0]["methods"].index("edges")
    assert np.mean((ranks[at] + 0.5) / 256 > 0.8) == pytest.approx(0.2, abs=0.01)


def test_a_second_call_measures_nothing_again(told):
    studies, found = told
    before = times(studies.run.root)
    again = methods(studies)
    assert times(studies.run.root) == before
    pd.testing.assert_frame_equal(again.tables["fields"], found.tables["fields"])
    assert again.numbers == found.numbers


def test_windows_and_whole_fields_give_controls_that_are_the_same(small_runs: Runs, tmp_path: Path):
    studies = opened(small_runs, tmp_path)
    one, field = studies.fields("nuclei")[0]
    hand = Hand(one=one, name=field)
    got = dict(maps_of(hand, ["intensity", "random"], {}, Backgrounds(one.work)))
    x = hand.x[0].double().numpy()
    want = np.abs(x - x.mean((1, 2), keepdims=True)).mean(0)
    np.testing.assert_allclose(got["intensity"], want, atol=1e-5)
    assert abs(np.corrcoef(got["random"].ravel(), want.ravel())[0, 1]) < 0.1


def test_of_a_stack_the_middle_plane_is_shown():
    stack = np.random.default_rng(0).random((5, 300, 20))
    np.testing.assert_array_equal(middle(stack), (stack[2, 22:278] * 256).astype(np.uint8))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"volumes": (0.5,)}, "two or more between 0 and 1, rising"),
        ({"volumes": (0.5, 0.2)}, "two or more between 0 and 1, rising"),
        ({"volumes": (0.5, 1.0)}, "two or more between 0 and 1, rising"),
        ({"methods": {}}, "name what to compare"),
        ({"methods": {LEARNED: {}}}, "always compared"),
        ({"methods": {"sailency": {}}}, "no method 'sailency'"),
        ({"methods": {"saliency": {"steps": 3}}}, "no parameter"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_measured(
    small_runs: Runs, tmp_path: Path, given, said
):
    studies = opened(small_runs, tmp_path, methods={**ASKED, **given})
    with pytest.raises(UsageError, match=said):
        methods(studies)
    assert not (tmp_path / "parts").exists()


def test_no_predictor_is_called_what_all_are_together(small_runs: Runs, tmp_path: Path):
    job = StudyJob(runs=(f"{POOLED}={small_runs['other']}",))
    studies = open_studies(job, tmp_path, compute=Compute())
    with pytest.raises(UsageError, match="what all together are called"):
        methods(studies)
