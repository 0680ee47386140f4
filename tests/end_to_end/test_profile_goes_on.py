"""What a run of profiles goes on from, and the other ways in which cells and labels come."""

import shutil

import numpy as np
import pandas as pd
import tifffile
import torch

from attributome.pipeline.profile.saving import load_network
from attributome.profiles.formats import feature_names, read_about
from attributome.store import Run
from end_to_end.jobs import call, differing, sentence, sets, start
from end_to_end.profile_data import NAMES, SMALL, TINY, VERBS, cells_of, fields, plates, read


def test_the_same_verbs_do_nothing_again(profiled, profiled_again):
    run = profiled_again()
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    for verb in VERBS:
        assert call("profile", verb, "--out", run) == 0
    changed = {
        p.relative_to(run).as_posix() for p, at in before.items() if p.stat().st_mtime_ns != at
    }
    assert changed <= {"summary.json"}
    assert differing(profiled.run, run) == []


def test_shards_give_what_one_process_gives(profiled, profiled_again, capsys):
    run = profiled_again("parts", "cells.parquet", "features.parquet", "camo.parquet", "camo.json")
    (run / "camo_features.parquet").unlink()
    for verb, what in (("crop", "fields"), ("features", "blocks"), ("camo", "blocks")):
        assert call("profile", verb, "--out", run, "--shard", "2/2") == 0
        assert f"{what}" in capsys.readouterr().out
        if verb == "crop":
            assert call("profile", "train", "--out", run) == 0  # it is trained already
            assert call("profile", "features", "--out", run) == 3
            assert "run `attributome profile crop` first" in sentence(capsys.readouterr().err)
        assert call("profile", verb, "--out", run, "--shard", "1/2") == 0
    assert differing(profiled.run, run) == []


def test_cropping_that_was_killed_goes_on(profiled, profiled_again):
    whole = [name for name in ("cells.parquet", "parts") if (profiled.run / name).exists()]
    run = profiled_again(*whole, "features.parquet", "camo.parquet")
    process = start("profile", "crop", "--out", run)
    while not any((run / "parts" / "crops").glob("[!.]*")):
        assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    assert call("profile", "crop", "--out", run) == 0
    for name in ("cells.parquet", "fields.parquet"):
        one, other = (pd.read_parquet(home / name) for home in (run, profiled.run))
        pd.testing.assert_frame_equal(one, other)
    ours, theirs = cells_of(run), cells_of(profiled.run)
    np.testing.assert_array_equal(
        ours.images(np.arange(len(ours))), theirs.images(np.arange(len(theirs)))
    )


def test_a_training_that_was_killed_goes_on_with_the_same_bits(profiled, profiled_again):
    run = profiled_again(
        "network", "parts/features", "features.parquet", "parts/camo", "camo.parquet"
    )
    for name in ("profiles", "evaluation.json"):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    process = start("profile", "train", "--out", run)
    while not (run / "network" / "last.safetensors").exists():
        assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    assert call("profile", "train", "--out", run) == 0
    ours, theirs = (
        (home / "network" / "weights.safetensors").read_bytes() for home in (run, profiled.run)
    )
    assert ours == theirs


def test_a_network_from_elsewhere_is_not_trained(profiled, tmp_path):
    run = tmp_path / "run"
    words = ("--data", profiled.data, *NAMES, *SMALL)
    assert call("profile", "crop", "--out", run, *words) == 0
    assert call("profile", "features", "--out", run, "--network", profiled.run / "network") == 0
    assert not (run / "network").exists()
    ours, theirs = (pd.read_parquet(home / "features.parquet") for home in (run, profiled.run))
    pd.testing.assert_frame_equal(ours, theirs)


def test_a_network_that_sees_the_cell_alone_is_asked_so(profiled, tmp_path):
    run = tmp_path / "run"
    words = ("--data", profiled.data, *NAMES, *SMALL)
    assert call("profile", "crop", "--out", run, *words) == 0
    assert call("profile", "train", "--out", run, "--remedy", "mask", "--epochs", 1) == 0
    assert call("profile", "features", "--out", run) == 0
    net, card = load_network(run / "network")
    assert card["trained"]["remedy"] == "mask"
    cells = cells_of(run)
    rows = np.arange(0, len(cells), 17)
    own = cells.labels(rows) == cells.own(rows)[:, None, None]
    alone = torch.from_numpy(np.where(own[:, None], cells.images(rows), 0))
    with torch.no_grad():
        expected = net.maps(alone).mean((2, 3))
    table = pd.read_parquet(run / "features.parquet")
    values = table[feature_names(table)].iloc[rows]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


def test_volumes_are_treated_as_planes_are(tmp_path):
    some = plates(dims=3, size=(8, 24, 24), plates=2, wells=3)
    run = tmp_path / "run"
    volume = {
        "data.held_out_plates": "0",
        "crops.size": "[8, 20, 20]",
        "data.spacing": "[0.6, 0.3, 0.3]",
        "profiles.least": "3",
        "network.width": "2",
        "train.epochs": "1",
        "camo.controls": "0",
        "causes.which": '["tests"]',
        "features.pools": '["mean", "max", "masked_mean"]',
    }
    data = fields(tmp_path / "data", some)
    words = ("--data", data, *NAMES, *sets(TINY | volume))
    assert call("profile", "run", "--out", run, *words) == 0
    assert (run / "report" / "index.html").is_file()
    cells = cells_of(run)
    assert (cells.size, cells.spacing) == ((8, 20, 20), (0.6, 0.3, 0.3))
    told = read(run, "camo.json")
    assert len(told["grid"]) == 3
    assert min(told["grid"]) >= 4
    assert np.load(run / "parts" / "worst" / "worst" / "maps.npy").shape[1:] == (8, 20, 20)
    accuracy = read(run, "evaluation.json")["accuracy"]
    assert "no cell of the part" in accuracy["held_out_plates"]["reason"]
    assert read(run, "causes.json")["part"] == "test"
    table = pd.read_parquet(run / "features.parquet")
    rows = np.array([2, 11])
    net, _ = load_network(run / "network")
    with torch.no_grad():
        maps = net.maps(torch.from_numpy(cells.images(rows)))
    highest = [name for name in feature_names(table) if "_max_" in name]
    np.testing.assert_allclose(table[highest].iloc[rows], maps.amax((2, 3, 4)), rtol=1e-4)
    masked = [name for name in feature_names(table) if "_masked_mean_" in name]
    assert len(masked) == len(highest)
    assert np.isfinite(table[masked].to_numpy()).all()


def test_fields_without_labels_are_segmented(profiled, tmp_path):
    run = tmp_path / "run"
    made = {
        "data.labels.kind": "segment",
        "data.labels.channel": "nucleus",
        "data.labels.diameter": "8",
    }
    words = ("--data", profiled.data, *NAMES, *sets(TINY | made))
    assert call("profile", "crop", "--out", run, *words) == 0
    note = Run.open(run).note("crops", "P0/A01/1")
    assert note["segmented"] is True
    assert note["segmentation"]["tool"] == "attributome"
    assert note["segmentation"]["diameter"] == 8
    made = Run.open(run).array("crops", "P0/A01/1", "segmentation")
    cells = pd.read_parquet(run / "cells.parquet")
    assert made.max() >= cells["own"][cells["field"] == "P0/A01/1"].max()
    assert len(pd.read_parquet(run / "cells.parquet")) >= 24


def test_treatments_come_from_another_table_and_light_is_divided_out(profiled, tmp_path):
    table = pd.read_csv(profiled.data, dtype=str)
    about = table[["plate", "well", "treatment"]].assign(gene="G" + table["well"])
    about.to_csv(tmp_path / "about.csv", index=False)
    bare = profiled.data.with_name("bare.csv")
    table.drop(columns="treatment").to_csv(bare, index=False)
    shape = tifffile.imread(next(profiled.data.parent.glob("*_own.ome.tif"))).shape
    for plate in ("P0", "P1", "P2"):
        for channel in ("nucleus", "body"):
            light = np.full(shape, 2.0, np.float32)
            tifffile.imwrite(tmp_path / f"{plate}_{channel}.tif", light)
    run = tmp_path / "run"
    pattern = f"crops.illumination={tmp_path}/{{plate}}_{{channel}}.tif"
    words = ("--data", bare, "--about", tmp_path / "about.csv", *NAMES, *SMALL, "--set", pattern)
    assert call("profile", "crop", "--out", run, *words) == 0
    cells, plain = cells_of(run), cells_of(profiled.run)
    rows = np.arange(len(plain))
    np.testing.assert_allclose(cells.images(rows), plain.images(rows) / 2, rtol=1e-6)
    assert cells.table["treatment"].tolist() == plain.table["treatment"].tolist()
    assert set(cells.table["gene"]) == {*about["gene"]}


def test_features_are_written_as_the_tree_of_jump(profiled, profiled_again):
    run = profiled_again()
    forms = 'features.forms=["parquet","workspace_dl"]'
    assert call("profile", "features", "--out", run, "--set", forms) == 0
    table = pd.read_parquet(run / "features.parquet")
    mark = read_about(run / "features.parquet")["weights_sha256"][:12]
    home = run / "workspace_dl" / "embeddings" / mark / "profile"
    found = sorted(home.rglob("embedding.parquet"))
    assert len(found) == table["Metadata_field"].nunique()
    assert home / "P0" / "A01" / "1" / "embedding.parquet" in found
    whole = pd.concat([pd.read_parquet(path) for path in found], ignore_index=True)
    order = table.sort_values(["Metadata_plate", "Metadata_well"], kind="stable")
    pd.testing.assert_frame_equal(whole, order.reset_index(drop=True))
