"""A classifier that was made elsewhere, asked where it looks as a user asks it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from attributome.core.files import read_json
from attributome.predictors.card import Card
from attributome.predictors.load import load_predictor, save_predictor
from attributome.predictors.networks import small_cnn
from attributome.profiles.formats import feature_names
from attributome.profiles.single_cells import open_single_cells
from attributome.store import folder_name
from end_to_end.jobs import call, sentence, sets
from end_to_end.profile_data import NAMES, TINY, fields, plates

LAYER = "relu3"
OWN = {
    "features.layers": f'["{LAYER}"]',
    "camo.layer": f'"{LAYER}"',
    "alternatives.which": '["contrastive"]',
    "alternatives.followed": "0",
    "causes.which": '["tests"]',
    "evaluate.draws": "20",
}
KWARGS = {"channels_in": 2, "outputs": 2, "dims": 2, "width": 4}
CARD = Card(
    factory="attributome.predictors.networks:small_cnn",
    kwargs=KWARGS,
    task="classification",
    dims=2,
    inputs=("nucleus", "body"),
    outputs=("core", "granules"),
)


def predictor(folder, card=CARD):
    torch.manual_seed(1)
    net = small_cnn(**card.kwargs).eval()
    save_predictor(folder, net, card)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose cells are cut, and a predictor."""
    home = tmp_path_factory.mktemp("elsewhere")
    data, run = fields(home / "data", plates()), home / "run"
    predictor(home / "theirs")
    words = ("--data", data, *NAMES, *sets(TINY | OWN))
    assert call("profile", "crop", "--out", run, *words) == 0
    return run


@pytest.fixture
def again(run, tmp_path):
    return shutil.copytree(run, tmp_path / "again")


def cells_of(run):
    table = pd.read_parquet(run / "fields.parquet")
    return open_single_cells([run / "parts" / "crops" / folder_name(f) for f in table["field"]])


def test_any_module_is_asked_at_a_layer_that_is_named(run, again):
    theirs = run.parent / "theirs"
    assert call("profile", "run", "--out", again, "--network", theirs) == 0
    assert (again / "report" / "index.html").is_file()
    assert not (again / "network").exists()
    net, _ = load_predictor(theirs)
    cells = cells_of(again)
    rows = np.arange(len(cells))
    x = torch.from_numpy(cells.images(rows))
    kept = {}
    net.get_submodule(LAYER).register_forward_hook(lambda _m, _x, out: kept.update(maps=out))
    logits = net(x)
    maps = kept["maps"]
    table = pd.read_parquet(again / "features.parquet")
    names = feature_names(table)
    assert names[0] == f"Cells_{LAYER}_mean_000"
    np.testing.assert_allclose(table[names], maps.detach().mean((2, 3)), rtol=1e-4, atol=1e-6)
    own = [CARD.outputs.index(name) for name in cells.table["treatment"]]
    slope = torch.autograd.grad(logits[torch.arange(len(x)), own].sum(), maps)[0]
    cam = (slope.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu().detach()
    large = F.interpolate(cam, size=cells.size, mode="bilinear", align_corners=False)[:, 0]
    inside = torch.from_numpy(cells.labels(rows) == cells.own(rows)[:, None, None])
    total = large.sum((1, 2))
    expected = (large * inside).sum((1, 2)) / total
    found = pd.read_parquet(again / "camo.parquet")["score_cell"].to_numpy()
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-5)
    features = pd.read_parquet(again / "camo_features.parquet")
    assert features["feature"].tolist() == names
    part = read_json(again / "evaluation.json")["accuracy"]["held_out_plates"]
    seen = np.flatnonzero(cells.table["plate"] == "P2")
    right = logits.argmax(1).numpy()[seen] == np.array(own)[seen]
    of = np.array(own)[seen]
    assert part["balanced"] == pytest.approx(np.mean([right[of == k].mean() for k in (0, 1)]))
    assert read_json(again / "run.json")["network"]["sha256"]
    assert call("profile", "alternatives", "--out", again) == 0
    kinds = [row["profiles"] for row in read_json(again / "alternatives.json")["features"]]
    assert kinds == ["classifier", "untrained", "contrastive"]


CASES = {
    "image": ({"task": "image"}, (), 2, "is a predictor for image"),
    "scaled": ({"normalise": "zscore"}, (), 2, "put the scaling into the module"),
    "channels": ({"inputs": ("dna", "er")}, (), 2, "reads the channels dna, er; the cells have"),
    "dims": ({"dims": 3}, (), 2, "reads 3-D images"),
    "classes": ({"outputs": ()}, (), 2, "name them in network.classes"),
    "more classes": ({}, ('network.classes=["a","b","c"]',), 2, "3 classes are named (a, b, c)"),
    "layer": ({}, ('features.layers=["body"]',), 2, "features.layers has 'body', and the network"),
    "planes": (
        {"kwargs": KWARGS | {"channels_in": 3}, "inputs": ()},
        (),
        3,
        "cannot read crops of (2, 24, 24)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_refused(again, tmp_path, capsys, case):
    changes, more, code, told = CASES[case]
    theirs = predictor(tmp_path / "theirs", replace(CARD, **changes))
    words = [word for one in (*more, "profiles.camo=none", "camo.features=false") for word in
             ("--set", one)]  # fmt: skip
    capsys.readouterr()
    assert call("profile", "features", "--out", again, "--network", theirs, *words) == code
    assert told in sentence(capsys.readouterr().err)
    assert not (again / "features.parquet").exists()


def test_classes_of_the_job_go_first(again, tmp_path):
    theirs = predictor(tmp_path / "theirs", replace(CARD, outputs=()))
    classes = 'network.classes=["granules","core"]'
    words = ("--network", theirs, "--set", classes)
    assert call("profile", "camo", "--out", again, *words) == 0
    assert len(pd.read_parquet(again / "camo.parquet")) == len(cells_of(again))


def test_a_program_is_run_only_when_it_is_trusted(again, tmp_path, capsys):
    torch.manual_seed(1)
    net = small_cnn(**KWARGS).eval()
    path = tmp_path / "net.pt2"
    with torch.no_grad():
        program = torch.export.export(
            net,
            (torch.zeros(3, 2, 24, 24),),
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )
    torch.export.save(program, path)
    named = ("--network", path, "--set", 'network.classes=["core","granules"]')
    capsys.readouterr()
    assert call("profile", "camo", "--out", again, *named) == 2
    assert "pass trust=True (--trust)" in sentence(capsys.readouterr().err)
    (tmp_path / "bare.safetensors").write_bytes(
        (predictor(tmp_path / "theirs") / "weights.safetensors").read_bytes()
    )
    bare = ("--network", tmp_path / "bare.safetensors")
    assert call("profile", "features", "--out", again, *bare) == 2
    assert "holds weights only" in sentence(capsys.readouterr().err)
    assert call("profile", "evaluate", "--help") == 0


def test_what_needs_training_here_is_refused(again, run, capsys):
    theirs = run.parent / "theirs"
    named = ("--set", f"network.source={json.dumps(str(theirs))}")
    capsys.readouterr()
    assert call("profile", "train", "--out", again, *named, "--remedy", "penalty") == 2
    assert "nothing to train" in sentence(capsys.readouterr().err)
    assert call("profile", "remedies", "--out", again, *named) == 2
    assert "the run's own training" in sentence(capsys.readouterr().err)
