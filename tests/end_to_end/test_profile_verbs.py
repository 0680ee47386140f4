"""Every verb on single-cell profiles as a user types it, on plates whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import torch.nn.functional as F
from scipy.linalg import sqrtm

from attributome.core.cropping import cut_boxes
from attributome.pipeline.profile.saving import load_network
from attributome.profiles.camo.features import feature_camo
from attributome.profiles.formats import feature_names, read_about
from attributome.profiles.wells.sphering import load_sphering
from attributome.store import Run
from end_to_end.jobs import halves, summary
from end_to_end.profile_data import cells_of, read

MADE = {
    "camo.json",
    "camo.parquet",
    "camo_features.parquet",
    "causes.json",
    "cells.parquet",
    "evaluation.json",
    "features.parquet",
    "fields.parquet",
    "network/log.csv",
    "network/network.json",
    "network/weights.safetensors",
    "parts/worst/best/maps.npy",
    "parts/worst/worst/cells.parquet",
    "parts/worst/worst/images.npy",
    "parts/worst/worst/labels.npy",
    "profiles/dropped.parquet",
    "profiles/profiles.json",
    "profiles/sphering/matrix.npy",
    "profiles/wells_camo.parquet",
    "profiles/wells_normalised.parquet",
    "profiles/wells_raw.parquet",
    "profiles/wells_selected.parquet",
    "profiles/wells_sphered.parquet",
    "run.json",
    "splits.json",
    "summary.json",
}
"""What the layout of a run promises."""


def test_a_run_has_what_its_layout_says(profiled):
    root = profiled.run
    made = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    assert MADE - made == set()
    assert halves(root) == []
    run, data = Run.open(root), read(root, "run.json")["data"]
    assert {k: data[k] for k in data if k != "sha256"} == {"fields": 24, "plates": 3, "wells": 24}
    assert run.units("features") == run.units("camo")
    table = pd.read_parquet(root / "fields.parquet")
    known = ["field", "plate", "well", "site", "treatment", "control", "images", "labels"]
    assert [*table] == known
    assert table["field"][0] == "P0/A01/1"
    assert table.groupby("treatment")["control"].all().to_dict() == {
        "core": True,
        "granules": False,
    }
    cells = pd.read_parquet(root / "cells.parquet")
    assert cells["row"].tolist() == [*range(len(cells))]
    assert {"id", "field", "plate", "well", "treatment", "own", "area"} <= {*cells}


def test_whole_wells_stand_in_one_part_and_held_out_plates_in_none(profiled):
    parts = read(profiled.run, "splits.json")
    assert parts.pop("held_out_plates") == ["P2"]
    dealt = [well for some in parts.values() for well in some]
    assert len(dealt) == len({*dealt}) == 16
    assert {well.split("/")[0] for well in dealt} == {"P0", "P1"}
    assert {part: len(some) for part, some in parts.items()} == {
        "train": 10,
        "validate": 3,
        "test": 3,
    }
    table = pd.read_parquet(profiled.run / "fields.parquet")
    label = dict(zip(table["plate"] + "/" + table["well"], table["treatment"], strict=True))
    for some in parts.values():
        assert {label[well] for well in some} == {"core", "granules"}


def test_crops_are_boxes_of_their_fields(profiled):
    run = Run.open(profiled.run)
    home = profiled.data.parent
    name = profiled.plates.table["field"].iloc[4]
    image = tifffile.imread(home / f"{name}.ome.tif")
    labels = tifffile.imread(home / f"{name}_own.ome.tif")
    boxes = cut_boxes(image, labels, size=(24, 24), border="pad")
    plate, well, _ = name.split("_")
    unit = f"{plate}/{well}/1"
    np.testing.assert_array_equal(run.array("crops", unit, "images"), boxes.crops)
    np.testing.assert_array_equal(run.array("crops", unit, "labels"), boxes.labels)
    note = run.note("crops", unit)
    assert (note["cells"], note["segmented"]) == (len(boxes), False)
    assert note["channels"] == [*profiled.plates.channels]


def test_features_are_means_of_the_layer(profiled):
    table = pd.read_parquet(profiled.run / "features.parquet")
    net, card = load_network(profiled.run / "network")
    assert read_about(profiled.run / "features.parquet")["weights_sha256"] == card["weights_sha256"]
    cells = cells_of(profiled.run)
    rows = np.array([3, 50, len(cells) - 1])
    with torch.no_grad():
        maps = net.maps(torch.from_numpy(cells.images(rows)))
    names = [f"Cells_body_mean_{i:03d}" for i in range(16)]
    assert feature_names(table) == names
    np.testing.assert_allclose(table[names].iloc[rows], maps.mean((2, 3)), rtol=1e-4, atol=1e-6)
    assert table["Metadata_id"].tolist() == cells.table["id"].tolist()


def share_inside(maps, cells, rows):
    """The share of enlarged maps `(n, h, w)` on each own cell, pixel by pixel."""
    inside = cells.labels(rows) == cells.own(rows)[:, None, None]
    total = maps.sum((1, 2))
    return np.where(total > 0, (maps * inside).sum((1, 2)) / np.where(total > 0, total, 1), np.nan)


def test_grad_camo_is_the_share_of_the_enlarged_map_on_the_own_cell(profiled):
    table = pd.read_parquet(profiled.run / "camo.parquet")
    net, _ = load_network(profiled.run / "network")
    cells = cells_of(profiled.run)
    assert table["cell_id"].tolist() == cells.table["id"].tolist()
    assert set(table["target"]) == {"treatment"}
    rows = np.arange(len(cells))
    classes = sorted(cells.table["treatment"].unique())
    own = torch.tensor([classes.index(name) for name in cells.table["treatment"]])
    with torch.no_grad():
        act = net.maps(torch.from_numpy(cells.images(rows)))
        # the head is linear in the means of the maps, so that its rows are Grad-CAM's weights
        maps = torch.einsum("bc,bchw->bhw", net.head.weight[own], act).relu()[:, None]
        large = F.interpolate(maps, size=cells.size, mode="bilinear", align_corners=False)
    expected = share_inside(large[:, 0].double().numpy(), cells, rows)
    found = table["score_cell"].to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    shares = (cells.labels(rows) == cells.own(rows)[:, None, None]).mean((1, 2))
    np.testing.assert_allclose(table["mask_fraction"], shares, rtol=1e-6)
    told = read(profiled.run, "camo.json")
    defined = found[np.isfinite(found)]
    assert told["median"] == pytest.approx(np.median(defined))
    assert told["low"] <= told["median"] <= told["high"]
    assert (told["cells"], told["undefined"]) == (len(defined), len(found) - len(defined))
    assert told["grid"] == [6, 6]
    assert told["share_above_half"] == pytest.approx((defined > 0.5).mean())
    assert sum(row["cells"] for row in told["by"]) == len(defined)
    assert {row["control"] for row in told["controls"]} >= {"none", "rolled mask", "random weights"}
    assert {row["control"]: row["cells"] + row["undefined"] for row in told["controls"]}[
        "none"
    ] == 20


def test_extreme_cells_lie_beside_their_maps(profiled):
    run, cells = Run.open(profiled.run), cells_of(profiled.run)
    scores = pd.read_parquet(profiled.run / "camo.parquet").set_index("cell_id")["score_cell"]
    ranked = scores.dropna().sort_values()
    for name, expected in (("worst", ranked.head(3)), ("best", ranked.tail(3)[::-1])):
        table = pd.read_parquet(profiled.run / "parts" / "worst" / name / "cells.parquet")
        np.testing.assert_array_equal(table["score_cell"], expected)
        rows = table["row"].to_numpy()
        np.testing.assert_array_equal(run.array("worst", name, "images"), cells.images(rows))
        maps = run.array("worst", name, "maps").astype(float)
        np.testing.assert_allclose(share_inside(maps, cells, rows), expected, rtol=1e-3)


def test_every_feature_has_a_score_of_wells(profiled):
    run, cells = Run.open(profiled.run), cells_of(profiled.run)
    net, _ = load_network(profiled.run / "network")
    scores = np.concatenate([run.array("camo", unit, "features") for unit in run.units("camo")])
    rows = np.arange(0, len(cells), 9)
    again = feature_camo(
        net,
        torch.from_numpy(cells.images(rows)),
        torch.from_numpy(cells.labels(rows)),
        torch.from_numpy(cells.own(rows)),
        layer="body",
        pool="mean",
    )
    np.testing.assert_allclose(scores[rows], again.scores.cell, rtol=1e-3, atol=1e-5)
    table = pd.read_parquet(profiled.run / "camo_features.parquet")
    assert table["feature"].tolist() == [f"Cells_body_mean_{i:03d}" for i in range(16)]
    each = pd.DataFrame(scores).groupby([cells.table["plate"], cells.table["well"]]).median()
    np.testing.assert_allclose(table["median"], each.median(), rtol=1e-6)
    np.testing.assert_array_equal(table["undefined"], np.isnan(scores).sum(0))
    defined = table.dropna()
    assert ((defined["low"] <= defined["median"]) & (defined["median"] <= defined["high"])).all()
    told = read(profiled.run, "camo.json")["features"]
    assert told["above_chance"] == int((table["low"] > table["chance"]).sum())


def test_causes_are_tested_on_wells_that_no_training_saw_and_never_acquit(profiled):
    found = read(profiled.run, "causes.json")
    assert found["part"] == "test"
    assert len(found["tests"]) == 10
    rows = {row["test"]: row for row in found["tests"]}
    wells = read(profiled.run, "splits.json")["test"]
    for row in rows.values():
        assert row["wells"] == len(wells)
        assert row["low"] <= row["balanced"] <= row["high"]
    whole = rows["as it is"]
    if whole["balanced"] > whole["chance"]:
        assert whole["retained"] == pytest.approx(1)
    else:
        assert whole["retained"] is None
    gap = found["gap"]
    assert gap["gap"] == pytest.approx(gap["outside"] - gap["inside"])
    assert gap["inside"] == pytest.approx(whole["balanced"])
    assert {row["what"] for row in found["predictors"]} >= {"plate", "background", "cell"}
    words = "\n".join(summary(profiled.run)["words"])
    assert "not cheating" not in words
    assert summary(profiled.run)["flag"]["level"] == (
        "flagged" if found["flagged"] else "nothing found"
    )


def test_profiles_are_means_in_units_of_their_plate_and_sphered_on_training_controls(profiled):
    home = profiled.run / "profiles"
    cells = pd.read_parquet(profiled.run / "features.parquet")
    names = feature_names(cells)
    raw = pd.read_parquet(home / "wells_raw.parquet")
    means = cells.groupby(["Metadata_plate", "Metadata_well"])[names].mean()
    np.testing.assert_allclose(raw[names], means, rtol=1e-5, atol=1e-7)
    assert raw["Metadata_id"].tolist() == [f"{p}/{w}" for p, w in means.index]
    norm = pd.read_parquet(home / "wells_normalised.parquet")
    kept = feature_names(norm)
    medians = norm[norm["Metadata_control"]].groupby("Metadata_plate")[kept].median()
    np.testing.assert_allclose(medians, 0, atol=1e-9)
    fitted = load_sphering(home / "sphering")
    training = {*read(profiled.run, "splits.json")["train"]}
    controls = {*raw["Metadata_id"][raw["Metadata_control"]]}
    assert {*fitted.wells} == training & controls
    sphered = pd.read_parquet(home / "wells_sphered.parquet")
    expected = (norm[kept].to_numpy() - fitted.mean) @ fitted.matrix
    np.testing.assert_allclose(sphered[feature_names(sphered)], expected, atol=1e-9)
    stages = read(profiled.run, "profiles/profiles.json")["stages"]
    assert stages["normalised"]["references"] == {"P0": 4, "P1": 4, "P2": 4}
    aligned = pd.read_parquet(home / "wells_aligned.parquet")
    z, plate = sphered[feature_names(sphered)].to_numpy(), sphered["Metadata_plate"].to_numpy()
    marks = sphered["Metadata_control"] & (sphered["Metadata_id"].isin(training) | (plate == "P2"))
    assert stages["aligned"]["controls"] == marks.sum()

    def moment(rows):
        return z[rows].T @ z[rows] / rows.sum() + np.eye(z.shape[1])

    for name in ("P0", "P1", "P2"):
        here = plate == name
        expected = z[here] @ np.linalg.inv(sqrtm(moment(marks & here))) @ sqrtm(moment(marks))
        found = aligned[feature_names(aligned)][here]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    looked = pd.read_parquet(profiled.run / "camo_features.parquet")
    above = looked["feature"][looked["low"] > looked["chance"]]
    camo = pd.read_parquet(home / "wells_camo.parquet")
    assert {*feature_names(camo)} <= {*above}
    assert stages["camo"]["cells"] + stages["camo"]["left_out"] == len(cells)


def mean_precision_by_hand(wells):
    """Each treated well looks for treated wells among them and the controls of its own plate."""
    x = wells[feature_names(wells)].to_numpy()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    plate, control = wells["Metadata_plate"].to_numpy(), wells["Metadata_control"].to_numpy()
    scores = []
    for i in np.flatnonzero(~control):
        others = [j for j in range(len(x)) if j != i and (not control[j] or plate[j] == plate[i])]
        far = (1 - x @ x[i]).astype(np.float32)  # of equals, replicates count as nearer
        ranked = sorted(others, key=lambda j: (far[j], control[j]))
        hits = [not control[j] for j in ranked]
        scores.append(np.mean([np.mean(hits[: k + 1]) for k, hit in enumerate(hits) if hit]))
    return np.mean(scores)


def test_an_evaluation_has_units_intervals_and_reasons(profiled):
    found = read(profiled.run, "evaluation.json")
    net, _ = load_network(profiled.run / "network")
    cells = cells_of(profiled.run)
    rows = np.flatnonzero(cells.table["plate"] == "P2")
    with torch.no_grad():
        said = net(torch.from_numpy(cells.images(rows))).argmax(1).numpy()
    truth = cells.table["treatment"].iloc[rows].to_numpy()
    right = np.array(found["classes"])[said] == truth
    recalls = [right[truth == name].mean() for name in found["classes"]]
    row = found["accuracy"]["held_out_plates"]
    assert row["balanced"] == pytest.approx(np.mean(recalls))
    assert (row["n"], row["wells"], row["chance"]) == (len(rows), 8, 0.5)
    assert np.sum(row["confusion"]) == len(rows)
    stages = ["raw", "normalised", "sphered", "aligned", "selected", "camo"]
    assert [r["profiles"] for r in found["retrieval"]] == stages
    for r in found["retrieval"]:
        assert (r["n"], r["wells"], r["reason"]) == (1, 12, "")
        wells = pd.read_parquet(profiled.run / "profiles" / f"wells_{r['profiles']}.parquet")
        assert r["map"] == pytest.approx(mean_precision_by_hand(wells), abs=1e-6)
        assert 0 < r["chance"] < 1
    assert [r["profiles"] for r in found["before_after"]] == stages
    assert {r["of"] for r in found["batches"]} == {"controls"}
    pairs = {(r["where"], r["a"], r["b"]): r for r in found["channels"]}
    assert set(pairs) == {(w, "nucleus", "body") for w in ("all pixels", "in cells")}
    row = pairs["all pixels", "nucleus", "body"]
    images = sorted(profiled.data.parent.glob("*[0-9].ome.tif"))
    each = [np.corrcoef(tifffile.imread(path).reshape(2, -1))[0, 1] for path in images]
    assert row["r"] == pytest.approx(np.tanh(np.mean(np.arctanh(each))), rel=1e-5)
    assert (row["n"], row["fields"]) == (24, 24)
    assert row["low"] <= row["r"] <= row["high"]
    words = "\n".join(found["words"])
    assert "(n = 12 wells)" in words
    assert "plates that it never saw" in words
