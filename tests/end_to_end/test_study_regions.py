"""Noise in a region touches nothing else, and costs what a slow look at the network says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from attributome.core.compute import Compute
from attributome.core.errors import DataError, UsageError
from attributome.core.targets import RegionSum
from attributome.explain import method
from attributome.pipeline.methods import Backgrounds
from attributome.pipeline.study.drawn import HISTORY, Drawn, drawn, labels_of, remember
from attributome.pipeline.study.inside import map_inside
from attributome.pipeline.study.job import StudyJob
from attributome.pipeline.study.looked import Hand, look
from attributome.pipeline.study.opening import Studies, open_studies
from attributome.pipeline.study.regions import (
    box_around,
    cell_rows,
    field_rows,
    noised_in,
    regions,
)
from attributome.studies.regions import beyond, region_from, region_mask

Runs = dict[str, Path]
BOX = "rectangle:4,6,16,22"
ASKED = {
    "region": BOX, "labels": "regions", "erode": 3, "steps": 1, "placements": 2, "cells": 1,
    "around": 10, "smallest": 5, "first": 3, "dilate": 3, "methods": {"saliency": {}},
}  # fmt: skip


def opened(runs: Runs, out: Path, **given: object) -> Studies:
    job = StudyJob.model_validate(
        {"runs": (f"other={runs['other']}",), "regions": {**ASKED, **given}}
    )
    return open_studies(job, out, compute=Compute())


def at_hand(studies: Studies) -> Hand:
    one, field = studies.fields()[0]
    return Hand(one=one, name=field)


@pytest.fixture(scope="module")
def told(small_runs: Runs, tmp_path_factory):
    studies = opened(small_runs, tmp_path_factory.mktemp("regions"))
    return studies, regions(studies)


def test_noise_lies_in_the_region_and_nowhere_else(small_runs: Runs, tmp_path: Path):
    hand = at_hand(opened(small_runs, tmp_path))
    where = np.zeros(hand.x.shape[2:], bool)
    where[5:11, 7:9] = True
    got = noised_in(hand, where).numpy()
    x, fill = hand.x.numpy(), hand.fill.numpy()
    np.testing.assert_array_equal(got[..., ~where], x[..., ~where])
    np.testing.assert_array_equal(got[..., where], fill[..., where])
    box = (slice(3, 20), slice(5, 30))
    part = noised_in(hand, where[box], box).numpy()
    np.testing.assert_array_equal(part, got[(slice(None), slice(None), *box)])


def test_efficacies_are_those_of_a_slow_look(told):
    studies, found = told
    hand = at_hand(studies)
    table = found.tables["fields"]
    row = table[(table["field"] == hand.name) & (table["place"] == "inside")].set_index(
        ["cell", "step"]
    )
    x, fill = hand.x.numpy(), hand.fill.numpy()

    def slow(image: np.ndarray, noised: np.ndarray) -> float:
        with torch.no_grad():
            a, b = (hand.f(torch.from_numpy(each)).numpy().ravel() for each in (image, noised))
        return float(np.corrcoef(a, b)[0, 1])

    noised = x.copy()
    noised[..., 4:16, 6:22] = fill[..., 4:16, 6:22]
    assert row.loc[("", 0), "efficacy"] == pytest.approx(slow(x, noised), abs=1e-5)
    assert row.loc[("", 0), "share"] == 12 * 16 / 48**2
    noised = x.copy()
    noised[..., 5:15, 7:21] = fill[..., 5:15, 7:21]
    assert row.loc[("", 1), "efficacy"] == pytest.approx(slow(x, noised), abs=1e-5)
    labels = labels_of(hand.one, hand.name, studies.job.regions)
    cell = next(int(name) for name, _ in row.index if name)
    box = box_around(labels == cell, 10)
    assert 0 < row.loc[(str(cell), 0), "share"] <= 1
    assert x[(slice(None), slice(None), *box)].shape[2] <= np.ptp(np.where(labels == cell)[0]) + 21


@pytest.mark.parametrize("shape", [(48, 48), (3, 48, 48)])
def test_a_region_that_is_used_costs_more_than_any_other_place(
    small_runs: Runs, tmp_path: Path, shape
):
    studies = opened(small_runs, tmp_path, cells=3)
    hand = at_hand(studies)
    x = torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(0))
    object.__setattr__(hand, "given", replace(hand.given, x=x))
    labels = np.zeros(shape, np.int32)
    labels[..., 6:14, 6:14], labels[..., 30:38, 28:36] = 1, 2
    used = torch.from_numpy(labels > 0)
    hand.__dict__["f"] = lambda x: x * used if x.shape[2:] == used.shape else x
    region = Drawn(where=labels > 0, labels=labels)
    whole = pd.DataFrame(field_rows(studies, hand, region))
    assert (whole.loc[whole["place"] == "inside", "efficacy"] < 0.95).all()
    elsewhere = whole.loc[whole["place"] == "elsewhere", "efficacy"]
    np.testing.assert_allclose(elsewhere.dropna(), 1, atol=1e-5)
    assert elsewhere.notna().any()
    cells = pd.DataFrame(cell_rows(studies, hand, region))
    assert [*dict.fromkeys(cells["cell"])] == ["1", "2"]
    assert cells.loc[cells["step"] == 0, "share"].nunique() <= 2
    nothing = Drawn(where=np.zeros_like(labels, bool), labels=labels)
    (row,) = field_rows(studies, hand, nothing)
    assert np.isnan(row["efficacy"])
    assert cell_rows(studies, hand, nothing) == []


def test_a_second_call_measures_nothing_and_history_grows_by_other_regions_alone(told):
    studies, found = told
    root = studies.run.root
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    again = regions(studies)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()} == before
    pd.testing.assert_frame_equal(again.tables["effects"], found.tables["effects"])
    known = json.loads((root / HISTORY).read_text())
    assert [entry["field"] for entry in known] == [field for _, field in studies.fields()]
    where = region_mask(region_from(known[0]["region"]), (48, 48))
    np.testing.assert_array_equal(drawn(studies, *studies.fields()[0]).where, where)
    assert known[0]["voxels"] == where.sum() == 192
    kept = look(studies, *studies.fields()[0]).mask[0][where].mean()
    assert known[0]["kept"] == pytest.approx(kept, abs=0.02)
    other = {**known[0], "field": "another"}
    assert remember(studies.run, [known[0], other, other])[len(known) :][:1] == [other]
    (root / HISTORY).write_text('{"not": "a list"}')
    with pytest.raises(DataError, match="not a list of masks"):
        remember(studies.run, [other])
    (root / HISTORY).write_text(json.dumps(known))


def test_a_method_explains_the_output_of_the_region_alone(told):
    studies, found = told
    hand = at_hand(studies)
    where = np.array(drawn(studies, *studies.fields()[0]).where)
    got = map_inside(hand, "saliency", {}, where, Backgrounds(hand.one.work))
    want = method("saliency")(hand.one.study.model, hand.x, RegionSum(torch.from_numpy(where)))
    torch.testing.assert_close(got, want.abs().sum(1, True), atol=1e-5, rtol=1e-4)
    table = found.tables["explained"].set_index(["field", "target"])
    share = float(got[0, 0].numpy()[where].sum() / got.sum())
    assert table.loc[(hand.name, "region"), "inside"] == pytest.approx(share, abs=1e-5)
    inside = table["inside"].unstack("target")
    assert (inside["region"] > inside["field"]).all()


def test_correlations_are_by_plane_by_weight_and_in_the_region(told):
    studies, found = told
    one, field = studies.fields()[0]
    seen, where = look(studies, one, field), drawn(studies, one, field).where
    table = found.tables["slices"]
    row = table[(table["field"] == field) & (table["z"] == -1)].set_index(["of", "inside"])
    for of, other in {"truth": seen.truth, "signature": seen.noised}.items():
        a, b = seen.prediction[0], other[0]
        for inside, flat in {"field": np.ones_like(where), "region": where}.items():
            want = np.corrcoef(a[flat], b[flat])[0, 1]
            assert row.loc[(of, inside), "pcc"] == pytest.approx(want, abs=1e-5)
            assert row.loc[(of, inside), "n"] == flat.sum()
    labels = labels_of(one, field, studies.job.regions)
    heavy = np.zeros_like(where)
    for y, x in np.argwhere(labels > 0):
        heavy[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = True
    want = np.corrcoef(seen.prediction[0][heavy], seen.truth[0][heavy])[0, 1]
    assert row.loc[("truth", "field"), "weighted"] == pytest.approx(want, abs=1e-5)


def test_beyond_is_the_signature_without_the_organelle(small_runs: Runs, tmp_path: Path):
    studies = opened(small_runs, tmp_path, region="beyond")
    one, field = studies.fields()[0]
    got, seen = drawn(studies, one, field), look(studies, one, field)
    organelle = one.work.fields.load(field).sample.regions > 0
    want = beyond(np.asarray(seen.mask[0]), organelle, smallest=5, close=3, erode=3)
    np.testing.assert_array_equal(got.where, want)
    assert not (got.where & organelle).any()
    made = labels_of(one, field, StudyJob().regions.model_copy(update={"diameter": 8}))
    assert made.shape == organelle.shape


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"region": "circle:3"}, UsageError, "no region 'circle'"),
        ({"region": "rectangle:0,0,99,99"}, UsageError, "reaches out of a field"),
        ({"labels": "nuclei"}, UsageError, "no column 'nuclei'"),
        ({"labels": "drug"}, DataError, "does not exist"),
        ({"region": "labels:99"}, DataError, "no cell 99"),
        ({"methods": {"edges": {}}}, UsageError, "asks nothing of the predictor"),
        ({"methods": {"sailency": {}}}, UsageError, "no method 'sailency'"),
        ({"erode": 4}, UsageError, "has no middle"),
    ],
)
def test_what_cannot_be_drawn_is_refused(small_runs: Runs, tmp_path: Path, given, error, said):
    with pytest.raises(error, match=said):
        regions(opened(small_runs, tmp_path, **given))
