"""Plates that cannot be used, as a user types them: a sentence, an exit code, nothing half done."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from attributome.store import Run
from end_to_end.jobs import call, halves, sentence, sets
from end_to_end.profile_data import NAMES, PLANES, TINY, fields, plates

MINE = ("data.held_out_plates", "data.control")  # which are given by flags here
SMALL = sets({k: v for k, v in TINY.items() if k not in MINE} | {"profiles.least": "3"})
FIRST = "P0_A01_f0"


@pytest.fixture
def data(tmp_path):
    return fields(tmp_path / "data", plates(plates=2, wells=3))


@pytest.fixture
def job(data):
    return ("--data", data, *NAMES, *SMALL, "--control", "core")


def refused(capsys, run, *words, code):
    capsys.readouterr()
    assert call("profile", *words, "--out", run) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert halves(run) == []
    assert not (run / "cells.parquet").exists()
    return sentence(said.err)


CASES = {
    "nothing named": ((), 2, "give data.source in the job, or --data PATH"),
    "no table": (("--data", "nowhere.csv"), 3, "cannot read the table nowhere.csv"),
    "no folder": (("--data", "nowhere"), 3, "there is no nowhere"),
    "a channel that reads not": (("--channel", "=c0"), 2, "must read NAME=THEIRS"),
    "a channel twice": (("--channel", "a=c0", "--channel", "b=c0"), 2, "gives 'c0' two names"),
    "a channel that is not": (("--channel", "dna=c7"), 2, "data.channels has 'c7', and the field"),
    "label": (("--label", "compound"), 2, "data.label has 'compound'; there are field, plate"),
    "control": (("--control", "DMSO"), 2, "data.control has 'DMSO'; there are core, granules"),
    "plate": (("--held-out", "P7"), 2, "data.held_out_plates names P7; there are P0, P1"),
    "plates": (("--held-out", 2), 2, "data.held_out_plates is 2, and there are 2 plates"),
    "column": (("--set", "data.well=wel"), 3, "has no column 'wel' of plates or wells"),
    "key": (("--set", "crops.sise=[4]"), 2, "unknown key 'crops.sise'; did you mean"),
    "axes": (("--set", "crops.size=[8,24,24]"), 2, "give one size for each axis"),
    "no spacing": (
        ("--set", "crops.size=[]", "--set", "crops.size_um=[6.0]"),
        2,
        "crops.size_um needs to know how large a voxel is",
    ),
    "no labels": (("--set", "data.labels.column=masks"), 3, "have no label image, the first is"),
    "illumination": (
        ("--set", "crops.illumination={plats}.npy"),
        2,
        "it may have {plate} and {channel} only",
    ),
    "no illumination": (
        ("--set", "crops.illumination=nowhere_{plate}.npy"),
        3,
        "none of 12 fields can be used; the first, 'P0/A01/1': ",
    ),
    "mechanism": (("--set", "data.mechanism=moa"), 2, "data.mechanism has 'moa'; there are"),
    "network": (("--set", "network.source=nowhere"), 3, "there is no network nowhere"),
    "shard": (("--shard", "3/2"), 2, "must read I/N with 1 <= I <= N"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_is_refused(data, tmp_path, capsys, case):
    words, code, message = CASES[case]
    given = () if case == "nothing named" or "--data" in words else ("--data", data)
    given = (*given, *(() if "--channel" in words else NAMES), *SMALL)
    given = (*given, *(() if "--control" in words else ("--control", "core")))
    assert message in refused(capsys, tmp_path / "run", "crop", *given, *words, code=code)


def rewritten(data, change):
    table = pd.read_csv(data, dtype=str)
    change(table)
    table.to_csv(data, index=False)


def outside(table):
    table.loc[0, "image"] = "../" + table["image"][0]


def twice(table):
    table["site"] = "1"
    table.loc[1, "well"] = table["well"][0]


def of_two_labels(table):
    table.loc[1, ["well", "treatment"]] = [table["well"][0], "rim"]


def gone(table):
    table.loc[2, "cells"] = "nowhere.tif"


def empty(table):
    table.loc[3, "plate"] = np.nan


def unlabelled(table):
    table["treatment"] = np.nan


def meant_already(table):
    table["area"] = "3"


TABLES = {
    outside: (3, "row 1 of", "which is outside"),
    twice: (3, "row 2 of", "plate, well and site name a field together"),
    of_two_labels: (3, "the well P0/A01 has two values of 'treatment'"),
    gone: (3, "row 3 of", "names nowhere.tif in 'cells', which is not there"),
    empty: (3, "row 4 of", "has nothing in 'plate'"),
    unlabelled: (3, "none of 12 fields has a treatment"),
    meant_already: (2, "has a meta 'area', which is a column"),
}


@pytest.mark.parametrize("change", TABLES, ids=lambda change: change.__name__)
def test_a_table_of_fields_that_cannot_be_is_refused(data, job, tmp_path, capsys, change):
    rewritten(data, change)
    code, *messages = TABLES[change]
    said = refused(capsys, tmp_path / "run", "crop", *job, code=code)
    for message in messages:
        assert message in said


def test_fields_that_cannot_be_used_are_listed_and_the_rest_goes_on(data, job, tmp_path, capsys):
    home = data.parent
    broken = home / f"{FIRST}.ome.tif"
    broken.write_bytes(broken.read_bytes()[:300])
    table = pd.read_csv(data)
    shape = tifffile.imread(home / table["cells"][1]).shape
    lost = np.full((2, *shape), np.nan, np.float32)
    tifffile.imwrite(home / table["image"][1], lost, metadata={"axes": "CYX"}, ome=True, **PLANES)
    tifffile.imwrite(home / table["cells"][2], np.ones((8, 8), np.uint16))
    run = tmp_path / "run"
    assert call("profile", "crop", *job, "--out", run) == 0
    assert "3 of 12 fields cannot be used and are left out" in capsys.readouterr().err
    listed = pd.read_csv(run / "rejected.csv").set_index("where")["reason"]
    assert len(listed) == 3
    assert "NaN" in listed.iloc[1]
    assert "labels of shape (8, 8) do not fit an image" in listed.iloc[2]
    assert len(Run.open(run).units("crops")) == 9
    cells = pd.read_parquet(run / "cells.parquet")
    assert not {*listed.index} & {*cells["field"]}


def test_a_field_without_cells_is_done_and_has_none(data, job, tmp_path):
    table = pd.read_csv(data)
    path = data.parent / table["cells"][0]
    tifffile.imwrite(path, np.zeros_like(tifffile.imread(path)))
    run = tmp_path / "run"
    assert call("profile", "crop", *job, "--out", run) == 0
    assert Run.open(run).note("crops", "P0/A01/1")["cells"] == 0
    assert "P0/A01/1" not in {*pd.read_parquet(run / "cells.parquet")["field"]}


@pytest.mark.parametrize("verb", ["train", "features", "camo", "normalise", "evaluate"])
def test_a_verb_before_its_time_says_what_comes_first(job, tmp_path, capsys, verb):
    run = tmp_path / "run"
    first = {"normalise": "features", "evaluate": "normalise"}.get(verb, "crop")
    capsys.readouterr()
    assert call("profile", verb, *job, "--out", run) == 3
    assert f"run `attributome profile {first}` first" in sentence(capsys.readouterr().err)


def test_what_was_used_binds_and_what_was_not_does_not(data, job, tmp_path, capsys):
    run = tmp_path / "run"
    assert call("profile", "crop", *job, "--out", run) == 0
    before = (run / "splits.json").read_bytes()
    # cells are cut, but no network saw them yet: the seed deals the wells anew
    assert call("profile", "train", "--out", run, "--epochs", 1, "--seed", 4) == 0
    assert (run / "splits.json").read_bytes() != before
    for words, key in (
        (("--epochs", 2), "job.train.epochs (1 there, 2 here)"),
        (("--size", 32, "--size", 32), "job.crops.size"),
        (("--seed", 5), "job.seed (4 there, 5 here)"),
        (("--held-out", 1), "job.data.held_out_plates (0 there, 1 here)"),
        (("--set", "data.axes=CYX"), "job.data.axes"),
    ):
        capsys.readouterr()
        assert call("profile", "train", "--out", run, *words) == 3
        assert key in sentence(capsys.readouterr().err)
    # nothing has been made of these
    assert call("profile", "features", "--out", run, "--set", 'features.pools=["mean","max"]') == 0
    assert call("profile", "normalise", "--out", run, "--set", "data.control=[]") == 0
    told = json.loads((run / "profiles" / "profiles.json").read_text())
    assert told["reference"] == "all"
    assert "no negative controls are named" in told["stages"]["sphered"]["reason"]
    assert "there is no Grad-CAMO yet" in told["stages"]["camo"]["reason"]
    capsys.readouterr()
    assert call("profile", "normalise", "--out", run, "--control", "core") == 3
    assert "job.data.control" in sentence(capsys.readouterr().err)
    next(data.parent.glob("*.ome.tif")).write_bytes(b"")
    capsys.readouterr()
    assert call("profile", "features", "--out", run) == 3
    assert "data.sha256" in sentence(capsys.readouterr().err)


def test_a_run_goes_on_where_its_data_have_gone(data, job, tmp_path, capsys):
    run = tmp_path / "run"
    assert call("profile", "crop", *job, "--out", run) == 0
    data.parent.rename(tmp_path / "elsewhere")
    assert call("profile", "train", "--out", run, "--epochs", 1) == 0
    assert call("profile", "features", "--out", run) == 0
    assert call("profile", "normalise", "--out", run) == 0
    assert call("profile", "evaluate", "--out", run) == 0
    found = json.loads((run / "evaluation.json").read_text())
    assert found["channels"] == []
    assert "the fields cannot be read again" in found["channels_reason"]


def test_one_label_is_cut_but_not_trained(data, job, tmp_path, capsys):
    rewritten(data, lambda table: table.__setitem__("treatment", "core"))
    run = tmp_path / "run"
    assert call("profile", "crop", *job, "--out", run) == 0
    capsys.readouterr()
    assert call("profile", "train", "--out", run) == 3
    assert "1 classes of 'treatment' to train on" in sentence(capsys.readouterr().err)


def test_a_layer_that_is_too_coarse_or_unknown_is_refused(data, job, tmp_path, capsys):
    run = tmp_path / "run"
    assert call("profile", "crop", *job, "--out", run) == 0
    assert call("profile", "train", "--out", run, "--epochs", 1) == 0
    features = ("--set", "camo.features=false")
    for words, message in (
        (("--camo-layer", "pool"), "a single voxel, and its map would be constant"),
        (("--camo-layer", "bodi"), "camo.layer has 'bodi', and the network has scale, body"),
    ):
        capsys.readouterr()
        assert call("profile", "camo", "--out", run, *words, *features) == 2
        assert message in sentence(capsys.readouterr().err)
        assert not (run / "parts" / "camo").exists()


def test_a_network_of_other_crops_is_refused(data, job, tmp_path, capsys):
    one, other = tmp_path / "one", tmp_path / "other"
    assert call("profile", "crop", *job, "--out", one) == 0
    assert call("profile", "train", "--out", one, "--epochs", 1) == 0
    assert call("profile", "crop", *job, "--out", other, "--set", "crops.size=[20,20]") == 0
    capsys.readouterr()
    words = ("--out", other, "--network", one / "network")
    assert call("profile", "features", *words) == 2
    said = sentence(capsys.readouterr().err)
    assert "takes crops of 24 x 24 voxels with the channels nucleus, body; the cells have" in said
    assert call("profile", "train", *words) == 2
    assert "so there is nothing to train" in sentence(capsys.readouterr().err)


def test_a_run_of_something_else_is_not_taken_for_one_of_profiles(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"job": {"masks": {}, "data": {}}}))
    assert call("profile", "evaluate", "--out", run) == 2
    assert "holds something else" in sentence(capsys.readouterr().err)
