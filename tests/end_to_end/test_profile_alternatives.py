"""Features that are learnt without labels, beside those of the classifier, as a user asks."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from attributome.core.files import read_json
from attributome.inpainting.cells import read_cells
from attributome.inpainting.saving import load_inpainter
from attributome.pipeline.profile.learning import CONTRASTIVE
from attributome.pipeline.profile.saving import load_network
from attributome.predictors.cells import cell_network
from attributome.profiles.formats import feature_names
from attributome.profiles.single_cells import open_single_cells
from attributome.report.profile import build_profile
from attributome.store import Run, folder_name
from end_to_end.jobs import call, halves, sentence, sets
from end_to_end.profile_data import NAMES, TINY, fields, plates

MORE = {"alternatives.widths": "[4, 4, 8, 8, 4]", "alternatives.followed": "12"}
KINDS = ["classifier", "untrained", "contrastive", "inpainting"]
VERBS = ("crop", "train", "features", "alternatives")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with features of four kinds."""
    home = tmp_path_factory.mktemp("alternatives")
    data, run = fields(home / "data", plates()), home / "run"
    words = ("--data", data, *NAMES, *sets(TINY | MORE))
    for verb in VERBS:
        assert call("profile", verb, "--out", run, *(words if verb == "crop" else ())) == 0
    return run


def cells_of(run):
    table = pd.read_parquet(run / "fields.parquet")
    return open_single_cells([run / "parts" / "crops" / folder_name(f) for f in table["field"]])


def test_every_kind_has_features_of_every_cell(run):
    assert halves(run) == []
    ids = cells_of(run).table["id"].tolist()
    for kind in KINDS[1:]:
        table = pd.read_parquet(run / "alternatives" / kind / "features.parquet")
        assert table["Metadata_id"].tolist() == ids
        assert np.isfinite(table[feature_names(table)].to_numpy()).all()


def test_features_are_those_of_their_networks(run):
    cells = cells_of(run)
    rows = np.array([1, 20, len(cells) - 1])
    x = torch.from_numpy(cells.images(rows))
    own, card = load_network(run / "network")
    blank = cell_network(**card["kwargs"])
    blank.scale.load_state_dict(own.scale.state_dict())
    learnt, theirs = load_network(run / "alternatives" / "contrastive", kind=CONTRASTIVE)
    assert theirs["trained"]["epochs_done"] == 2
    for kind, net in (("untrained", blank.eval()), ("contrastive", learnt)):
        table = pd.read_parquet(run / "alternatives" / kind / "features.parquet")
        with torch.no_grad():
            expected = net.maps(x).mean((2, 3))
        np.testing.assert_allclose(
            table[feature_names(table)].iloc[rows], expected, rtol=1e-4, atol=1e-6
        )
    prepared = read_cells(run / "alternatives" / "inpainting" / "cells")
    net, _ = load_inpainter(run / "alternatives" / "inpainting")
    assert (prepared.targets, prepared.markers) == (("body",), ("nucleus",))
    where = [*prepared.channels].index("body"), [*prepared.channels].index("nucleus")
    source = torch.from_numpy(np.array(prepared.crops[rows][:, list(where)]))
    with torch.no_grad():
        maps = net.encode(source)["conv3_1"]
    table = pd.read_parquet(run / "alternatives" / "inpainting" / "features.parquet")
    assert feature_names(table)[0] == "conv3_1_max_000"
    np.testing.assert_allclose(
        table[feature_names(table)].iloc[rows], maps.amax((2, 3)), rtol=1e-4, atol=1e-6
    )
    assert (prepared.table["group"] == prepared.table["plate"] + "/" + prepared.table["well"]).all()


def test_features_are_compared_on_the_same_wells(run):
    found = read_json(run / "alternatives.json")
    assert [row["profiles"] for row in found["features"]] == KINDS
    assert found["reasons"] == {}
    for of, count in (("all wells", 12), ("unseen wells", None)):
        rows = [row for row in found["retrieval"] if row["of"] == of]
        assert [row["profiles"] for row in rows] == KINDS
        counts = {row["wells"] for row in rows if not row["reason"]}
        assert len(counts) == 1
        if count:
            assert counts == {count}
    splits = read_json(run / "splits.json")
    fields = pd.read_parquet(run / "fields.parquet")
    treated = fields[~fields["control"]]
    wells = treated["plate"] + "/" + treated["well"]
    unseen = wells.isin(splits["test"]) | treated["plate"].isin(splits["held_out_plates"])
    assert found["retrieval"][-1]["wells"] == unseen.sum()
    protocols = {row.get("protocol") for row in found["neighbours"]}
    assert {"leave plate out", "linear, plate folds"} <= protocols
    assert {row["of"] for row in found["batches"]} == {"controls"}
    words = "\n".join(found["words"])
    assert "contrastive features find replicates in unseen wells" in words


def test_the_classifier_is_judged_as_in_the_run_itself(run, tmp_path):
    again = tmp_path / "run"
    shutil.copytree(run, again)
    for verb in ("camo", "normalise", "evaluate"):
        assert call("profile", verb, "--out", again) == 0
    own = read_json(again / "evaluation.json")
    theirs = next(row for row in own["retrieval"] if row["profiles"] == "normalised")
    found = read_json(run / "alternatives.json")["retrieval"][0]
    assert {k: found[k] for k in theirs if k != "profiles"} == {
        k: theirs[k] for k in theirs if k != "profiles"
    }


def test_cells_are_followed_over_the_epochs(run):
    told = read_json(run / "alternatives.json")["trajectory"]
    assert told == {"file": "trajectory.gif", "how": "pca", "epochs": 2, "cells": 12, "reason": ""}
    with Image.open(run / "trajectory.gif") as picture:
        assert (picture.format, picture.n_frames) == ("GIF", 5)
    frame = np.load(run / "alternatives" / "contrastive" / "frames" / "0002.npy")
    assert frame.shape == (12, 16)


def test_nothing_is_learnt_again(run, tmp_path):
    again = tmp_path / "run"
    shutil.copytree(run, again)
    (again / "alternatives.json").unlink()
    (again / "trajectory.gif").unlink()
    before = {p: p.stat().st_mtime_ns for p in (again / "alternatives").rglob("*") if p.is_file()}
    assert call("profile", "alternatives", "--out", again) == 0
    assert all(p.stat().st_mtime_ns == at for p, at in before.items())
    ours, theirs = (read_json(home / "alternatives.json") for home in (again, run))
    assert ours == theirs
    assert (again / "trajectory.gif").read_bytes() == (run / "trajectory.gif").read_bytes()


def test_volumes_and_single_channels_have_no_inpainting(run, tmp_path, capsys):
    some = plates(dims=3, size=(8, 24, 24), plates=2, wells=3)
    home = tmp_path / "run"
    volume = {
        "data.held_out_plates": "0",
        "crops.size": "[8, 20, 20]",
        "data.spacing": "[0.6, 0.3, 0.3]",
        "profiles.least": "3",
        "network.width": "2",
        "train.epochs": "1",
        "alternatives.followed": "0",
    }
    data = fields(tmp_path / "data", some)
    words = ("--data", data, *NAMES, *sets(TINY | volume))
    for verb in VERBS:
        assert call("profile", verb, "--out", home, *(words if verb == "crop" else ())) == 0
    found = read_json(home / "alternatives.json")
    assert "crops are volumes" in found["reasons"]["inpainting"]
    assert [row["profiles"] for row in found["features"]] == KINDS[:3]
    assert "followed" in found["trajectory"]["reason"]
    assert "none, because paired inpainting reads planes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("alternatives.layer=conv6_1",), "alternatives.layer has 'conv6_1'; there are conv1_1"),
        (("alternatives.recipe=yest",), "did you mean 'yeast'?"),
        (('alternatives.marker=["dna"]',), "alternatives.marker has 'dna'; there are nucleus"),
    ],
)
def test_what_cannot_be_learnt_is_refused(run, tmp_path, capsys, words, told):
    again = tmp_path / "run"
    shutil.copytree(run, again)
    (again / "alternatives.json").unlink()
    shutil.rmtree(again / "alternatives")
    capsys.readouterr()
    flags = [flag for word in words for flag in ("--set", word)]
    which = ("--set", 'alternatives.which=["inpainting"]')
    assert call("profile", "alternatives", "--out", again, *flags, *which) == 2
    assert told in sentence(capsys.readouterr().err)


def test_the_page_shows_them(run):
    page = build_profile(Run.open(run)).read_text(encoding="utf-8")
    assert "contrastive" in page.split('<section id="profiles"')[1].split("</section>")[0]
