"""Trainings against looking beside the cell, compared as a user compares them."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from attributome.core.files import read_json, write_json
from attributome.pipeline.profile.judging import Answers, balanced, gained
from attributome.pipeline.profile.saving import load_network
from attributome.pipeline.profile.telling import compared, gain
from attributome.profiles.single_cells import open_single_cells
from attributome.report.profile import build_profile
from attributome.store import Run, folder_name
from end_to_end.jobs import call, halves, sentence, sets
from end_to_end.profile_data import NAMES, TINY, fields, plates

ORDER = ["none", "penalty", "mask", "background"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose remedies are compared."""
    home = tmp_path_factory.mktemp("remedies")
    data, run = fields(home / "data", plates()), home / "run"
    words = ("--data", data, *NAMES, *sets(TINY))
    for verb in ("crop", "train", "features", "camo", "remedies"):
        assert call("profile", verb, "--out", run, *(words if verb == "crop" else ())) == 0
    return run


def cells_of(run):
    table = pd.read_parquet(run / "fields.parquet")
    return open_single_cells([run / "parts" / "crops" / folder_name(f) for f in table["field"]])


def test_each_remedy_is_a_training_of_its_own_on_the_same_wells(run):
    assert halves(run) == []
    _, own = load_network(run / "network")
    marks = {own["weights_sha256"]}
    for name in ORDER[1:]:
        _, card = load_network(run / "remedies" / name)
        assert card["trained"]["remedy"] == name
        same = ("epochs", "lr", "batch", "seed")
        assert [card["trained"][k] for k in same] == [own["trained"][k] for k in same]
        assert (card["classes"], card["kwargs"]) == (own["classes"], own["kwargs"])
        marks.add(card["weights_sha256"])
    assert len(marks) == 4
    rows = read_json(run / "remedies.json")["remedies"]
    assert [row["remedy"] for row in rows] == ORDER
    assert {row["weights_sha256"] for row in rows} == marks


def test_the_first_row_says_what_the_run_says_of_itself(run):
    row = read_json(run / "remedies.json")["remedies"][0]
    camo, causes = read_json(run / "camo.json"), read_json(run / "causes.json")
    for name, theirs in (("camo_median", "median"), ("camo_low", "low"), ("chance", "chance")):
        assert row[name] == pytest.approx(camo[theirs])
    assert row["flagged"] == causes["flagged"]
    assert row["accuracy_held_out"] == pytest.approx(causes["gap"]["outside"])
    assert "camo_gain" not in row


@pytest.mark.parametrize("name", ORDER[1:])
def test_a_row_is_what_its_network_gives(run, name):
    row = next(r for r in read_json(run / "remedies.json")["remedies"] if r["remedy"] == name)
    net, card = load_network(run / "remedies" / name)
    cells = cells_of(run)
    rows = np.flatnonzero(cells.table["plate"] == "P2")
    images = torch.from_numpy(cells.images(rows))
    if name == "mask":
        own = cells.labels(rows) == cells.own(rows)[:, None, None]
        images = images * torch.from_numpy(own[:, None])
    with torch.no_grad():
        said = net(images).argmax(1).numpy()
    truth = cells.table["treatment"].iloc[rows].to_numpy()
    right = np.array(card["classes"])[said] == truth
    expected = np.mean([right[truth == name].mean() for name in card["classes"]])
    assert row["accuracy_held_out"] == pytest.approx(expected)
    first = read_json(run / "remedies.json")["remedies"][0]
    change = row["accuracy_held_out"] - first["accuracy_held_out"]
    assert row["gain_held_out"] == pytest.approx(change)
    mine = pd.read_parquet(run / "remedies" / name / "camo.parquet")
    theirs = pd.read_parquet(run / "camo.parquet")
    assert mine["cell_id"].tolist() == theirs["cell_id"].tolist() == cells.table["id"].tolist()
    defined = mine["score_cell"].dropna()
    assert row["camo_median"] == pytest.approx(defined.median())
    assert (row["cells"], row["undefined"]) == (
        len(defined),
        pytest.approx(1 - len(defined) / len(mine)),
    )
    moved = (mine["score_cell"] - theirs["score_cell"]).dropna()
    assert row["camo_gain"] == pytest.approx(moved.median())
    assert row["camo_gain_low"] <= row["camo_gain"] <= row["camo_gain_high"]


def test_what_is_there_stays_and_what_is_missing_is_made_again(run, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(run, again)
    (again / "remedies.json").unlink()
    shutil.rmtree(again / "remedies" / "mask")
    before = {p: p.stat().st_mtime_ns for p in (again / "remedies").rglob("*") if p.is_file()}
    assert call("profile", "remedies", "--out", again) == 0
    assert all(p.stat().st_mtime_ns == at for p, at in before.items())
    ours, theirs = (json.loads((home / "remedies.json").read_text()) for home in (again, run))
    for found in (ours, theirs):
        for row in found["remedies"]:
            row.pop("seconds")
    assert ours == theirs


def test_a_run_with_a_remedy_is_compared_with_none(run, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(run, again)
    for name in ("remedies.json", "remedies/mask"):
        path = again / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("network", "remedies"):  # as if it had been asked for so from the start
        shutil.rmtree(again / name)
    for name in ("parts/features", "features.parquet", "parts/camo", "camo.parquet", "camo.json"):
        path = again / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (again / "causes.json").unlink()
    shutil.rmtree(again / "parts" / "worst")
    assert call("profile", "train", "--out", again, "--remedy", "mask") == 0
    assert call("profile", "camo", "--out", again) == 0
    assert call("profile", "remedies", "--out", again, "--remedy", "mask") == 0
    rows = read_json(again / "remedies.json")["remedies"]
    assert [(row["remedy"], row["own"]) for row in rows] == [("mask", True), ("none", False)]


def test_the_page_shows_them_and_what_they_are_worth(run):
    page = build_profile(Run.open(run)).read_text(encoding="utf-8")
    row = read_json(run / "remedies.json")["remedies"][1]
    inside = page.split('<section id="remedies"')[1].split("</section>")[0]
    assert "overlap penalty" in inside
    assert f"{row['camo_median']:.2f}" in inside
    assert "against the network of this run" in inside


def test_what_cannot_be_compared_is_refused(run, tmp_path, capsys):
    home = tmp_path / "run"
    shutil.copytree(run, home)
    for name in ("remedies.json", "causes.json"):
        (home / name).unlink()
    assert call("profile", "remedies", "--out", home) == 3
    assert "run `attributome profile camo`" in sentence(capsys.readouterr().err)
    assert call("profile", "remedies", "--out", home, "--remedy", "none") == 2
    assert "remedies.which" in sentence(capsys.readouterr().err)
    other = tmp_path / "other"
    words = ("--data", run.parent / "data" / "fields.csv", *NAMES, *sets(TINY))
    assert call("profile", "crop", "--out", other, *words) == 0
    capsys.readouterr()
    named = ("--set", f"network.source={json.dumps(str(run / 'network'))}")
    assert call("profile", "remedies", "--out", other, *named) == 2
    assert "compared with the run's own training" in sentence(capsys.readouterr().err)


def test_a_gain_is_paired_by_wells():
    truth, wells = np.tile([0, 1], 20), np.repeat([*"abcdefgh"], 5)
    worse = np.where(np.arange(40) % 10 < 5, truth, 1 - truth)
    one = Answers(truth=truth, said=worse, wells=wells)
    same = gained(one, one, draws=50, seed=0)
    assert same == {"gain": 0.0, "low": 0.0, "high": 0.0}
    other = Answers(truth=truth, said=truth, wells=wells)
    found = gained(one, other, draws=200, seed=0)
    apart = balanced(truth, worse, wells, draws=200, seed=0)
    assert found["gain"] == pytest.approx(1 - apart["balanced"])
    # a perfect network is perfect in every draw: what varies is the other one alone
    assert found["low"] == pytest.approx(1 - apart["high"])
    assert found["high"] == pytest.approx(1 - apart["low"])


def row(remedy, *, moved, right, own=False):
    found = {"remedy": remedy, "own": own, "camo_median": 0.7, "camo_low": 0.6, "camo_high": 0.8}
    found |= {"chance": 0.3, "undefined": 0.0, "cells": 90, "wells": 9, "flagged": False}
    for key in ("held_out", "test"):
        found |= {f"accuracy_{key}": 0.6, f"low_{key}": 0.5, f"high_{key}": 0.7}
        found |= {f"n_{key}": 30, f"wells_{key}": 5, f"gain_{key}": right}
        found |= {f"gain_low_{key}": right - 0.05, f"gain_high_{key}": right + 0.05}
    found |= {"camo_gain": moved, "camo_gain_low": moved - 0.05, "camo_gain_high": moved + 0.05}
    return found


def test_a_penalty_that_moves_the_map_alone_is_said_to_be_gamed():
    assert "can be gamed" in gain(row("penalty", moved=0.4, right=0.0))
    assert "both rose" in gain(row("penalty", moved=0.4, right=0.2))
    assert "did not clearly rise with it" in gain(row("background", moved=0.4, right=0.0))
    assert "accuracy is clearly lower" in gain(row("penalty", moved=0.4, right=-0.2))
    assert "only its accuracy is" in gain(row("mask", moved=0.6, right=0.2))
    assert "Grad-CAMO did not clearly rise" in gain(row("penalty", moved=0.0, right=0.2))
    said = compared([row("none", moved=0, right=0, own=True), row("penalty", moved=0.4, right=0)])
    assert len(said) == 3
    assert "Grad-CAMO +0.400 (+0.350 to +0.450)" in said[2]
    none = row("penalty", moved=0.4, right=0.0) | {"accuracy_held_out": None, "accuracy_test": None}
    assert "no accuracy says what that is worth" in gain(none)


def test_rows_without_words_are_still_a_page(run, tmp_path):
    home = tmp_path / "run"
    shutil.copytree(run, home)
    rows = read_json(home / "remedies.json")["remedies"]
    write_json(home / "remedies.json", rows)
    assert build_profile(Run.open(home)).is_file()
