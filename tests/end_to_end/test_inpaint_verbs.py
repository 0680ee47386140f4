"""Every verb on cells as a user types it, on cells whose answer is known."""

import json
import os
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from attributome.inpainting.cells import read_cells
from attributome.inpainting.saving import load_inpainter
from attributome.profiles.formats import read_about, read_original
from attributome.profiles.neighbours import protocols
from attributome.store import Run
from end_to_end.inpaint_data import TINY, bright_fields, cells, fields, layout, manifest
from end_to_end.jobs import PYTHON, call, differing, halves, sentence, sets, start, summary

SMALL = sets(TINY)
LEAD = ("conv3_1", "max")
MADE = {
    "averages.parquet",
    "cells/prepared/cells.json",
    "cells/prepared/crops.npy",
    "cells/raw/cells.json",
    "evaluation.json",
    "features-conv3_1-max.txt",
    "features.parquet",
    "findings.json",
    "network/examples/prediction-0002.npy",
    "network/log.csv",
    "network/network.json",
    "network/weights.safetensors",
    "predictions/marker.npy",
    "predictions/pairs.parquet",
    "predictions/prediction.npy",
    "predictions/source.npy",
    "predictions/truth.npy",
    "rejected.csv",
    "report/index.html",
    "run.json",
    "splits.json",
    "summary.json",
}
"""What the layout of a run promises."""
MORE = (
    *("--set", "features.average=group", "--set", 'features.forms=["parquet","text"]'),
    *("--set", "data.shares={train=0.5,validate=0.25,test=0.25}"),
)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Four proteins in folders of crops, and the run that `inpaint run` makes of them."""
    home = tmp_path_factory.mktemp("inpaint")
    some = cells(groups=2)
    data, run = layout(home / "data", some), home / "run"
    assert call("inpaint", "run", "--data", data, "--out", run, *SMALL, *MORE) == 0
    return SimpleNamespace(data=data, run=run, cells=some)


@pytest.fixture
def again(planted, tmp_path):
    """A copy of the run without the given parts."""

    def copy(*without):
        run = tmp_path / "again"
        shutil.copytree(planted.run, run)
        for name in without:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return run

    return copy


def test_a_run_has_what_its_layout_says(planted):
    root = planted.run
    made = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert MADE - made == set()
    assert halves(root) == []
    run = Run.open(root)
    data = run.asked["data"]
    assert {k: data[k] for k in data if k != "sha256"} == {
        "cells": 64,
        "rejected": 0,
        "groups": 4,
        "fields": 16,
    }
    assert run.units("features") == [f"{a:08d}-{min(a + 19, 63):08d}" for a in range(0, 64, 20)]
    assert run.note("features", "00000060-00000063")["rows"] == [60, 63]
    card = json.loads((root / "network" / "network.json").read_text())
    assert card["kwargs"]["norm"] == "group"
    assert card["trained"]["epochs_done"] == 2
    assert card["prepared"]["recipe"] == "yeast"


def test_whole_fields_of_every_protein_stand_in_one_part(planted):
    parts = Run.open(planted.run).load("splits")
    assert {part: len(some) for part, some in parts.items()} == {
        "train": 8,
        "validate": 4,
        "test": 4,
    }
    assert len({field for some in parts.values() for field in some}) == 16
    for some in parts.values():
        assert len({field.rpartition("_")[0] for field in some}) == 4


def test_features_say_where_they_come_from(planted):
    table = pd.read_parquet(planted.run / "features.parquet")
    about = read_about(planted.run / "features.parquet")
    net, card = load_inpainter(planted.run / "network")
    assert about["weights_sha256"] == card["weights_sha256"]
    assert (about["layers"], about["pools"]) == ([*net.layers], ["max", "mean"])
    assert (about["recipe"], len(about["cells_sha256"])) == ("yeast", 64)
    ids = read_cells(planted.run / "cells" / "prepared").table["id"]
    assert table["Metadata_id"].tolist() == ids.tolist()
    text = read_original(planted.run / "features-conv3_1-max.txt", "conv3_1_max_")
    names = [name for name in text if name.startswith("conv3_1_max_")]
    assert len(names) == 6
    np.testing.assert_array_equal(text[names], table[names])
    means = pd.read_parquet(planted.run / "averages.parquet")
    assert means["Metadata_group"].tolist() == sorted(table["Metadata_group"].unique())
    by_field = table.groupby(["Metadata_group", "Metadata_field"])[names].mean()
    np.testing.assert_allclose(means[names], by_field.groupby(level=0).mean(), rtol=1e-6)


def test_an_evaluation_has_rivals_intervals_and_the_same_draws(planted):
    found = json.loads((planted.run / "evaluation.json").read_text())
    assert (found["cells"], found["fields"], len(found["classes"])) == (64, 16, 4)
    pretext = found["pretext"]
    assert (pretext["part"], pretext["pairs"], pretext["fields"]) == ("test", 16, 4)
    assert pretext["mse_low"] <= pretext["mse"] <= pretext["mse_high"]
    assert sum(row["pairs"] for row in pretext["by_group"]) == 16
    rows = {(r["features"], r["layer"], r["pool"], r["protocol"]): r for r in found["accuracy"]}
    assert len(rows) == len(found["accuracy"])
    for layer in (f"conv{i}_1" for i in range(1, 6)):
        for pool in ("max", "mean"):
            for who in ("ours", "untrained"):
                row = rows[who, layer, pool, "field folds"]
                assert row["low"] <= row["balanced"] <= row["high"]
                assert (row["n"], row["units"], row["classes"], row["chance"]) == (64, 16, 4, 0.25)
    assert ("raw_intensity", "raw", "", "linear, field folds") in rows
    whitened = rows["ours", "conv3_1", "max", "whitened, field folds"]
    assert whitened["low"] <= whitened["balanced"] <= whitened["high"]
    assert ("prepared_intensity", "prepared", "", "leave field out") in rows
    gaps = {(r["layer"], r["pool"], r["protocol"], r["against"]): r for r in found["differences"]}
    gap = gaps["conv3_1", "max", "field folds", "untrained"]
    mine, theirs = (rows[w, "conv3_1", "max", "field folds"] for w in ("ours", "untrained"))
    assert gap["difference"] == pytest.approx(mine["balanced"] - theirs["balanced"], abs=1e-12)
    assert gap["low"] <= gap["difference"] <= gap["high"]
    assert ("conv3_1", "max", "field folds", "raw_intensity") in gaps
    recalls = {row["label"]: row["recall"] for row in found["recalls"]}
    assert np.mean([*recalls.values()]) == pytest.approx(mine["balanced"])
    counts = np.array(found["confusion"]["counts"])
    assert counts.sum() == 64
    right = dict(zip(found["confusion"]["labels"], counts.diagonal() / counts.sum(1), strict=True))
    assert right == pytest.approx(recalls)
    assert found["looking"] is None


def test_accuracies_are_those_of_the_protocols(planted):
    """What is judged here with its predictions is what `protocols` says of the same features."""
    table = pd.read_parquet(planted.run / "features.parquet")
    names = [name for name in table if name.startswith("conv3_1_max_")]
    labels, of = (table[f"Metadata_{name}"].to_numpy(str) for name in ("group", "field"))
    groups = {"field": of}
    expected = protocols(table[names].to_numpy(), labels, groups, k=3, whitened=True, draws=50)
    found = json.loads((planted.run / "evaluation.json").read_text())["accuracy"]
    ours = [r for r in found if (r["features"], r["layer"], r["pool"]) == ("ours", *LEAD)]
    assert [row["protocol"] for row in ours] == expected["protocol"].tolist()
    for row, other in zip(ours, expected.to_dict("records"), strict=True):
        for name in ("balanced", "low", "high", "n", "units", "classes", "undefined"):
            assert row[name] == pytest.approx(other[name], abs=1e-12)


def test_sets_are_looked_for_in_clusters(planted, again, tmp_path, capsys):
    run, path = again("evaluation.json", "findings.json"), tmp_path / "sets.gmt"
    members = {"inside": ["nuclear-0", "nuclear-1", "membrane-0"], "few": ["nuclear-0"]}
    path.write_text("".join("\t".join([k, "", *v]) + "\n" for k, v in members.items()))
    assert call("inpaint", "evaluate", "--out", run, "--set", f"evaluate.sets={path}") == 0
    rows = json.loads((run / "findings.json").read_text())["enrichment"]
    assert {row["set"] for row in rows} == {"inside"}
    assert f"0 of {len(rows)} tests of a set in a cluster" in capsys.readouterr().out


def test_findings_are_of_the_layer_that_was_fixed_beforehand(planted):
    found = json.loads((planted.run / "findings.json").read_text())
    assert (found["layer"], found["pool"], found["n"]) == ("conv3_1", "max", 64)
    assert sorted(found["proteins"]["order"]) == [0, 1, 2, 3]
    assert np.shape(found["proteins"]["distances"]) == (4, 4)
    assert [row["label"] for row in found["variability"]] == found["proteins"]["labels"]
    assert found["enrichment"] is None


def test_predictions_show_every_group_before_any_twice(planted):
    home = planted.run / "predictions"
    table = pd.read_parquet(home / "pairs.parquet")
    assert table["group"][:4].nunique() == 4
    names = ["source", "target", "group", "field", "mse", "copy_marker", "constant", "zeros"]
    assert [*table.columns] == names
    arrays = {name: np.load(home / f"{name}.npy") for name in ("source", "marker", "truth")}
    drawn = np.load(home / "prediction.npy")
    assert drawn.shape == arrays["truth"].shape == (5, 1, 32, 32)
    mse = ((drawn.astype(float) - arrays["truth"]) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(mse, table["mse"][:5], rtol=1e-5)
    prepared = read_cells(planted.run / "cells" / "prepared")
    at = pd.Index(prepared.table["id"]).get_indexer(pd.Index(table["target"][:5]))
    np.testing.assert_array_equal(arrays["truth"], prepared.target(at))
    np.testing.assert_array_equal(arrays["marker"], prepared.marker(at))


def test_the_summary_has_its_keys_and_words(planted):
    found = summary(planted.run)
    assert found["pretext_mse"] == found["pretext"]["mse"]
    assert found["copy_marker_mse"] == found["pretext"]["copy_marker"]
    assert set(found["pretext"]) == {"mse", "copy_marker", "constant", "zeros"}
    accuracy = found["balanced_accuracy"]
    assert 0 <= accuracy["ours"]["field folds"]["conv3_1_max"] <= 1
    assert 0 <= accuracy["untrained"]["leave one cell out"]["conv5_1_mean"] <= 1
    assert 0 <= accuracy["raw_intensity"]["field folds"]["raw"] <= 1
    assert found["best"]["features"] == "ours"
    assert (found["cells"], found["fields"], found["labels"]) == (64, 16, 4)
    words = "\n".join(found["words"])
    assert "(n = 16 pairs of 4 fields)" in words
    assert "(n = 64 cells of 16 fields, 4 labels)" in words
    assert "an untrained network by field folds: difference" in words


def test_the_same_command_does_nothing_again(planted, again):
    run = again()
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    words = ("--data", planted.data, "--out", run)
    assert call("inpaint", "run", *words, *SMALL, *MORE) == 0
    changed = {
        p.relative_to(run).as_posix() for p, at in before.items() if p.stat().st_mtime_ns != at
    }
    assert changed <= {"summary.json", "report/index.html"}
    assert differing(planted.run, run) == []


def test_verbs_one_by_one_give_what_run_gives(planted, again, capsys):
    run = again("network", "parts", "features.parquet", "evaluation.json", "findings.json")
    shutil.rmtree(run / "predictions")
    where = {
        "prepare": f"cells: {run / 'cells' / 'prepared'}",
        "train": f"network: {run / 'network'}",
        "features": f"features: {run / 'features.parquet'}",
        "evaluate": f"evaluation: {run / 'evaluation.json'}",
        "predict": f"predictions: {run / 'predictions' / 'pairs.parquet'}",
        "report": f"report: {run / 'report' / 'index.html'}",
    }
    for verb, line in where.items():
        capsys.readouterr()
        assert call("inpaint", verb, "--out", run) == 0
        assert capsys.readouterr().out.splitlines()[-1] == line
    assert differing(planted.run, run) == []


def test_shards_give_what_one_process_gives(planted, again, capsys):
    run = again("parts", "features.parquet", "evaluation.json")
    assert call("inpaint", "features", "--out", run, "--shard", "2/2") == 0
    assert Run.open(run).units("features") == ["00000020-00000039", "00000060-00000063"]
    assert "2 blocks of cells are missing yet" in capsys.readouterr().out
    assert call("inpaint", "evaluate", "--out", run) == 3
    assert "run `attributome inpaint features` first" in sentence(capsys.readouterr().err)
    assert call("inpaint", "features", "--out", run, "--shard", "1/2") == 0
    assert call("inpaint", "evaluate", "--out", run) == 0
    assert differing(planted.run, run) == []


def test_a_training_that_was_killed_goes_on_with_the_same_bits(planted, again):
    run = again("network", "parts", "features.parquet", "evaluation.json", "predictions")
    process = start("inpaint", "train", "--out", run)
    while not (run / "network" / "last.safetensors").exists():
        assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    assert call("inpaint", "train", "--out", run) == 0
    ours, theirs = (
        (home / "network" / "weights.safetensors").read_bytes() for home in (run, planted.run)
    )
    assert ours == theirs


def test_processes_train_together_where_cells_are_prepared(planted, again):
    """As `torchrun` starts them: both end well, and one of them has saved the network."""
    run = again("network", "parts", "features.parquet", "evaluation.json", "predictions")
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        port = some.getsockname()[1]
    running = []
    paths = os.pathsep.join(path for path in sys.path if path)
    for rank in (0, 1):
        team = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
        team = {k: str(v) for k, v in team.items()} | {"MASTER_ADDR": "127.0.0.1"}
        if sys.platform == "linux":
            team["GLOO_SOCKET_IFNAME"] = "lo"
        words = ("inpaint", "train", "--out", str(run), "--epochs", "1", "--device", "cpu")
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", PYTHON, *words],
                env=os.environ | team | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        said = [each.communicate(timeout=240)[1] for each in running]
    finally:
        for each in running:
            each.kill()
    assert [each.returncode for each in running] == [0, 0], said
    assert load_inpainter(run / "network")[1]["trained"]["epochs_done"] == 1
    assert halves(run) == []


def test_a_table_of_crops_with_masks_is_looked_at_and_told_apart_by_class(tmp_path, capsys):
    table = manifest(tmp_path / "data", cells())
    planes = [f"--channel={name}={i}" for i, name in enumerate(("protein", "nucleus", "body"))]
    words = ("--data", table, "--set", "data.mask=own", *planes, "--label", "class", *SMALL)
    layers = ("--layer", "conv3_1", "--layer", "conv2_1", "--pool", "masked_max")
    run = tmp_path / "run"
    assert call("inpaint", "run", "--out", run, *words, *layers) == 0
    found = json.loads((run / "evaluation.json").read_text())
    assert found["classes"] == ["membrane", "nuclear"]
    assert [row["layer"] for row in found["looking"]] == ["conv3_1", "conv2_1"]
    protocols = {row["protocol"] for row in found["accuracy"]}
    assert {"leave plate out", "plate folds", "leave field out"} <= protocols
    assert {row["pool"] for row in found["accuracy"] if row["features"] == "ours"} == {"masked_max"}
    assert "lie in the own cell" in capsys.readouterr().out
    names = pd.read_parquet(run / "features.parquet").columns
    assert {name.rsplit("_", 1)[0] for name in names if not name.startswith("Metadata_")} == {
        "conv3_1_masked_max",
        "conv2_1_masked_max",
    }


def test_fields_with_labels_are_cut_into_cells(tmp_path):
    some = cells()
    table = fields(tmp_path / "data", some)
    run = tmp_path / "run"
    names = [f"--channel={name}={i}" for i, name in enumerate(("protein", "nucleus", "body"))]
    words = ("--data", table, *names, "--size", 32, *SMALL)
    assert call("inpaint", "prepare", "--out", run, *words, "--set", "data.axes=CYX") == 0
    made = read_cells(run / "cells" / "prepared")
    assert made.size == (32, 32)
    assert (made.channels, made.targets) == (("protein", "nucleus", "body"), ("protein",))
    assert len(made) == len(some)
    assert made.masks is not None
    assert made.table["group"].value_counts().tolist() == [16, 16]
    assert made.table["field"].nunique() == 8
    assert set(made.table["plate"]) == {"P1"}
    # a box around the own centroid holds the whole of a cell that lies in it
    assert made.table["inside"].mean() > 0.95


def test_fields_without_labels_are_searched_for_nuclei(tmp_path):
    table = fields(tmp_path / "data", cells(), labels=False)
    run = tmp_path / "run"
    names = [f"--channel={name}={i}" for i, name in enumerate(("protein", "nucleus", "body"))]
    found = {"channel": "nucleus", "sigma": 1.0, "holes": 5, "smallest": 12}
    nuclei = [w for k, v in found.items() for w in ("--set", f"data.nuclei.{k}={v}")]
    words = ("--data", table, *names, "--size", 32, "--set", "data.axes=CYX", *nuclei)
    assert call("inpaint", "prepare", "--out", run, *words) == 0
    made = read_cells(run / "cells" / "prepared")
    assert 24 <= len(made) <= 64
    assert made.table["group"].nunique() == 2


def test_yeast_is_found_in_bright_field_light(tmp_path):
    run = tmp_path / "run"
    names = ("--channel", "protein=1", "--channel", "light=0", "--size", 32)
    sets = ("--set", "data.axes=CYX", "--set", "data.yeast.channel=light")
    words = ("--data", bright_fields(tmp_path / "data"), *names, *sets)
    assert (
        call("inpaint", "prepare", "--out", run, *words, "--set", "data.yeast.channel=light") == 0
    )
    made = read_cells(run / "cells" / "prepared")
    assert made.table.groupby("field").size().tolist() == [16, 16, 16]
    assert (made.targets, made.markers) == (("protein",), ("light",))
    # the protein is in the middle of its cell, and the cell is its own mask
    assert made.crops[:, 0, 14:18, 14:18].mean() > 0.7
    assert made.masks[:, 16, 16].all()


def test_prepared_cells_and_a_network_from_elsewhere_need_no_training(planted, tmp_path):
    run = tmp_path / "run"
    words = ("--data", planted.run / "cells" / "prepared", "--network", planted.run / "network")
    shares = ("--set", "data.shares={test=1.0}")
    assert call("inpaint", "run", "--out", run, *words, *shares, *SMALL) == 0
    assert not (run / "network").exists()
    assert not (run / "cells" / "raw").exists()
    ours, theirs = (pd.read_parquet(home / "features.parquet") for home in (run, planted.run))
    pd.testing.assert_frame_equal(ours, theirs)
    found = json.loads((run / "evaluation.json").read_text())
    assert "raw_intensity" not in {row["features"] for row in found["accuracy"]}
    assert found["pretext"]["pairs"] == 64


def test_a_few_whole_fields_stand_for_many(planted, again):
    run = again("evaluation.json", "findings.json")
    assert call("inpaint", "evaluate", "--out", run, "--set", "evaluate.cells=30") == 0
    found = json.loads((run / "evaluation.json").read_text())
    assert (found["cells"], found["fields"], found["cells_in_all"]) == (28, 7, 64)
    assert "28 of 64 cells were told apart" in "\n".join(found["words"])
