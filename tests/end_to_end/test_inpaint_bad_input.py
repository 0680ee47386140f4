"""Cells that cannot be used, as a user types them: a sentence, an exit code, nothing half done."""

import io
import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from attributome.inpainting.cells import read_cells, write_cells
from attributome.inpainting.network import Inpainter
from attributome.inpainting.saving import save_inpainter
from data.atlas_server import Atlas
from end_to_end.inpaint_data import TINY, cells, layout, manifest
from end_to_end.jobs import call, halves, sentence, sets

SMALL = sets(TINY)


@pytest.fixture
def data(tmp_path):
    return layout(tmp_path / "data", cells())


def refused(capsys, run, *words, code):
    capsys.readouterr()
    assert call("inpaint", *words, "--out", run) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert halves(run) == []
    assert not (run / "cells" / "prepared" / "cells.json").exists()
    return sentence(said.err)


CASES = {
    "nothing named": ((), 2, "give data.source in the job, or --data FOLDER"),
    "no folder": (("--data", "nowhere"), 3, "there is no nowhere: name a folder"),
    "a layout that is none": (("--data", "nowhere", "--kind", "layout"), 3, "nowhere is no folder"),
    "wrong suffix": (("--channel", "protein=yfp"), 3, "its files end in _gfp, _rfp"),
    "one suffix wrong": (
        ("--channel", "protein=gfp", "--channel", "m=bf"),
        3,
        "has no cell with all of the channels gfp, bf",
    ),
    "a channel that reads not": (("--channel", "protein"), 2, "must read NAME=END"),
    "one channel": (("--channel", "protein=gfp"), 2, "1 targets and 0 markers"),
    "target": (("--target", "dna"), 2, "no channel 'dna'"),
    "group": (("--group", "gene"), 2, "cells are grouped by gene; there are"),
    "key": (("--set", "data.chanel=1"), 2, "unknown key 'data.chanel'; did you mean"),
    "size": (("--set", "data.size=30"), 2, "divisible by 4"),
    "label": (("--set", "evaluate.label=gene"), 2, "evaluate.label has 'gene'; there are"),
    "masks": (("--set", 'features.pools=["masked_max"]'), 2, "needs masks of the own cells"),
    "layer": (("--set", 'features.layers=["conv9"]'), 2, "features.layers has 'conv9'"),
    "too few cells": (("--set", "data.least=17"), 3, "no group has 17 cells"),
    "network": (("--set", "network.source=nowhere"), 3, "there is no network nowhere"),
    "recipe": (("--recipe", "huamn"), 2, "did you mean 'human'?"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_is_refused(data, tmp_path, capsys, case):
    words, code, message = CASES[case]
    given = () if case == "nothing named" or "--data" in words else ("--data", data)
    said = refused(capsys, tmp_path / "run", "prepare", *given, *SMALL, *words, code=code)
    assert message in said


def test_files_that_cannot_be_used_are_listed_and_the_rest_goes_on(data, tmp_path, capsys):
    home = data / "nuclear-0"
    broken = home / "nuclear-0_0_rfp_0_gfp.tif"
    broken.write_bytes(broken.read_bytes()[:300])
    tifffile.imwrite(home / "nuclear-0_0_rfp_1_gfp.tif", np.full((32, 32), np.nan, np.float32))
    tifffile.imwrite(home / "nuclear-0_0_rfp_2_gfp.tif", np.zeros((30, 32), np.float32))
    (home / "nuclear-0_0_rfp_3_rfp.tif").unlink()
    for end in ("gfp", "rfp"):
        alone = data / "alone"
        alone.mkdir(exist_ok=True)
        tifffile.imwrite(alone / f"alone_0_rfp_0_{end}.tif", np.eye(32, dtype=np.float32))
    run = tmp_path / "run"
    assert call("inpaint", "prepare", "--data", data, "--out", run, *SMALL) == 0
    assert "5 cells, fields or groups cannot be used" in capsys.readouterr().err
    listed = pd.read_csv(run / "rejected.csv").set_index("where")["reason"]
    assert "it has no file for rfp" in listed["nuclear-0/nuclear-0_0_rfp_3"]
    assert "1024 pixels that are NaN" in listed["nuclear-0/nuclear-0_0_rfp_1"]
    assert "1 x 30 x 32 and not 1 x 32 x 32" in listed["nuclear-0/nuclear-0_0_rfp_2"]
    assert "nuclear-0/nuclear-0_0_rfp_0" in listed.index
    assert listed["alone"] == "its group has fewer than 2 cells"
    assert len(read_cells(run / "cells" / "prepared")) == 28
    asked = json.loads((run / "run.json").read_text())["data"]
    assert (asked["cells"], asked["rejected"], asked["groups"]) == (28, 5, 2)


def test_a_cell_alone_in_its_group_is_refused_where_it_is_not_left_out(data, tmp_path, capsys):
    for path in sorted((data / "membrane-0").iterdir())[2:]:
        path.unlink()
    run = tmp_path / "run"
    keep = ("--set", "data.least=1", "--set", "data.lonely=refuse")
    words = ("--data", data, "--out", run, *SMALL)
    capsys.readouterr()
    assert call("inpaint", "train", *words, *keep) == 3
    said = sentence(capsys.readouterr().err)
    assert "1 of 17 cells are alone in their group" in said
    assert "the first is of 'membrane-0': leave them out with data.lonely" in said
    assert not (run / "network").exists()
    assert not (run / "splits.json").exists()
    # what the cells are dealt by may change until a network has seen them
    assert call("inpaint", "prepare", "--out", run, "--set", "data.lonely=drop") == 0
    assert "1 of 17 cells are alone" in capsys.readouterr().err


def test_crops_of_a_size_that_no_network_takes(tmp_path, capsys):
    some = cells()
    table = manifest(tmp_path / "data", some)
    for path in (tmp_path / "data").glob("*.npy"):
        np.save(path, np.load(path)[..., :30, :30])
    planes = ("--channel", "a=0", "--channel", "b=1", "--channel", "c=2")
    said = refused(capsys, tmp_path / "run", "prepare", "--data", table, *planes, code=3)
    assert "crops of 30 x 30 pixels cannot be used" in said


def test_a_folder_of_cells_with_a_pixel_that_is_no_number(tmp_path, capsys):
    some = cells()
    some.crops[3, 1, 0, 0] = np.nan
    write_cells(tmp_path / "data", some)
    said = refused(capsys, tmp_path / "run", "prepare", "--data", tmp_path / "data", code=3)
    assert f"the crop of cell {some.table['id'][3]!r} holds a pixel" in said


def test_a_table_of_crops_needs_its_channels(tmp_path, capsys):
    table = manifest(tmp_path / "data", cells())
    said = refused(capsys, tmp_path / "run", "prepare", "--data", table, code=2)
    assert "--channel NAME=0 and on" in said


def test_one_field_cannot_fill_three_parts(tmp_path, capsys):
    data = layout(tmp_path / "data", cells(fields=1, classes=("spots",)))
    capsys.readouterr()
    assert call("inpaint", "prepare", "--data", data, "--out", tmp_path / "run", *SMALL) == 3
    assert "1 fields cannot fill 3 parts" in sentence(capsys.readouterr().err)


def test_a_network_of_other_channels(data, tmp_path, capsys):
    save_inpainter(tmp_path / "net", Inpainter(1, 2, widths=[2] * 5, marker_width=2), {})
    words = ("--data", data, "--network", tmp_path / "net", "--out", tmp_path / "run")
    assert call("inpaint", "features", *words) == 2
    said = sentence(capsys.readouterr().err)
    assert "the network predicts 1 channels beside 2 markers; the cells have" in said
    assert not (tmp_path / "run" / "parts").exists()
    assert call("inpaint", "train", *words) == 2
    assert "so there is nothing to train" in sentence(capsys.readouterr().err)


@pytest.mark.parametrize("verb", ["features", "evaluate", "predict"])
def test_a_verb_before_its_time_says_what_comes_first(data, tmp_path, capsys, verb):
    assert call("inpaint", verb, "--data", data, "--out", tmp_path / "run", *SMALL) == 3
    first = "features" if verb == "evaluate" else "train"
    assert f"run `attributome inpaint {first}` first" in sentence(capsys.readouterr().err)


def test_one_label_is_evaluated_as_far_as_it_can_be(tmp_path, capsys):
    data = layout(tmp_path / "data", cells(classes=("spots",)))
    run = tmp_path / "run"
    assert call("inpaint", "run", "--data", data, "--out", run, *SMALL) == 0
    assert "balanced accuracy is undefined: all 16 cells have the label" in capsys.readouterr().out
    found = json.loads((run / "evaluation.json").read_text())
    assert (found["accuracy"], found["confusion"]) == ([], None)
    assert json.loads((run / "findings.json").read_text())["proteins"] is None


def test_what_was_used_binds_and_what_was_not_does_not(data, tmp_path, capsys):
    run = tmp_path / "run"
    assert call("inpaint", "prepare", "--data", data, "--out", run, *SMALL) == 0
    before = (run / "splits.json").read_bytes()
    # cells are prepared, but no network saw them yet
    assert call("inpaint", "train", "--out", run, "--epochs", 1, "--seed", 4) == 0
    assert (run / "splits.json").read_bytes() != before
    for words, key in (
        (("--epochs", 2), "job.train.epochs (1 there, 2 here)"),
        (("--recipe", "none"), "job.data.recipe ('auto' there, 'none' here)"),
        (("--seed", 5), "job.seed (4 there, 5 here)"),
    ):
        capsys.readouterr()
        assert call("inpaint", "train", "--out", run, *words) == 3
        assert key in sentence(capsys.readouterr().err)
    # nothing has been made of these
    assert call("inpaint", "features", "--out", run, "--layer", "conv1_1") == 0
    assert call("inpaint", "features", "--out", run, "--set", "features.average=group") == 0
    assert (run / "averages.parquet").is_file()
    next(data.glob("*/*.tif")).unlink()
    assert call("inpaint", "train", "--out", run) == 3
    assert "data.sha256" in sentence(capsys.readouterr().err)


def test_a_run_goes_on_where_its_data_have_gone(data, tmp_path):
    run = tmp_path / "run"
    assert call("inpaint", "prepare", "--data", data, "--out", run, *SMALL) == 0
    data.rename(tmp_path / "elsewhere")
    assert call("inpaint", "train", "--out", run) == 0


def test_a_run_of_images_is_not_taken_for_one_of_cells(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"job": {"masks": {}, "data": {}}}))
    assert call("inpaint", "evaluate", "--out", run) == 2
    assert "holds something else" in sentence(capsys.readouterr().err)


def test_several_processes_do_not_prepare(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = refused(capsys, tmp_path / "run", "train", "--data", data, *SMALL, code=2)
    assert "run `attributome inpaint prepare` first" in said


def picture(seed):
    """A JPEG of 512 x 512 with nine nuclei, each in a cell."""
    draw = np.random.default_rng(seed)
    y, x = np.ogrid[:512, :512]
    planes = np.zeros((512, 512, 3))
    for i in range(9):
        at = np.array([110 + 145 * (i // 3), 110 + 145 * (i % 3)]) + draw.integers(-8, 9, 2)
        far = np.hypot(y - at[0], x - at[1])
        planes += np.stack([60 * (far < 60), 90 * (far < 40), 200 * (far < 30)], 2)
    noisy = np.clip(planes + draw.normal(12, 4, planes.shape), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noisy).save(out, "JPEG", quality=95)
    return out.getvalue()


def test_proteins_of_the_atlas_are_fetched_and_cut(tmp_path, capsys, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    proteins = tmp_path / "proteinlist.txt"
    genes = [(f"ENSG{n:011d}", f"GENE{n}") for n in range(1, 4)]
    lines = ["Gene\tGene name", *("\t".join(gene) for gene in genes)]
    proteins.write_text("\n".join(lines) + "\n")
    run = tmp_path / "run"
    with Atlas() as server:
        for n, (gene, _) in enumerate(genes):
            urls = [
                server.put(f"/{n}/{n + 7}_A1_{i}_blue_red_green.jpg", picture(9 * n + i))
                for i in (1, 2)
            ]
            inside = "".join(f"<image><imageUrl>{url}</imageUrl></image>" for url in urls)
            page = (
                f'<a><antibody id="HPA1"><subAssay type="human">{inside}</subAssay></antibody></a>'
            )
            server.put(f"/{gene}.xml", page.encode())
        words = ("--data", proteins, "--site", server.site, "--limit", 2, "--size", 64)
        nuclei = ("--set", "data.nuclei.sigma=1.0")
        assert call("inpaint", "prepare", "--out", run, *words, *nuclei) == 0
        assert len([path for path in server.paths() if path.endswith(".jpg")]) == 4
    assert "LICENCE.txt before you pass them on" in capsys.readouterr().err
    made = read_cells(run / "cells" / "prepared")
    assert made.size == (32, 32)
    assert made.channels == ("protein", "nucleus", "microtubules")
    assert sorted(made.table["group"].unique()) == ["GENE1_7_A1", "GENE2_8_A1"]
    assert made.table["field"].nunique() == 4
    assert set(made.table["antibody"]) == {"HPA1"}
    assert 4 <= len(made) <= 36
    assert (run / "downloads" / "GENE1" / "7_A1_1_blue_red_green.jpg").is_file()
