"""`attributome data ...` typed against servers of this process: done, failing, stopped, refused."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attributome.data.images import probe_image, read_image
from attributome.data.manifest import open_images
from attributome.data.sources.cifar import CORRUPTIONS, read_cifar10, read_cifar10c
from data.archive_server import Archive
from data.atlas_server import Atlas
from data.test_drugs import write_files, write_table
from data.test_sources_allen import FIELDS, SIZE, WELLS, expected_field, put_cells, put_fields
from data.test_sources_cifar import CORRUPT, IMAGES, LABELS, batches, npy, tar
from data.test_sources_jump import put_plate
from data.test_sources_originals import COUNTS, save, write_list
from end_to_end.jobs import call, sentence

QUICK = ("--wait", "0", "--timeout", "10", "--tries", "8")
PLACE = ("--batch", "B1", "--plate", "P1", "--source", "source_4")
PYTHON = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from attributome.cli import main; main()"
)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def said(capsys):
    """Type a verb; its exit code, its lines, and what it complains of."""

    def typed(*words):
        code = call("data", *words)
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err

    return typed


def ends_with(lines, table, *words):
    """The licence comes first, the table and how to go on come last."""
    assert lines[0].startswith("licence: ")
    assert lines[0].endswith("LICENCE.txt")
    assert lines[-2].endswith(f": {table}")
    assert lines[-1].startswith(f"go on: attributome run --images {table}")
    assert all(word in lines[-1] for word in words)


def test_fields_of_an_archive_that_fails_now_and_then(tmp_path, said):
    with Archive(failing=0.2, seed=4) as archive:
        table = put_fields(archive, WELLS)
        words = ("allen-fields", "--out", tmp_path, "--endpoint", archive.endpoint, *QUICK)
        words += ("--organelle", "Microtubules", "--gene", "TOMM20")
        code, lines, err = said(*words, "--images-per-organelle", 2, "--only-metadata")
        assert code == 0
        assert lines[1] == "3 listed"
        assert lines[-1] == "go on: the same command without --only-metadata"
        listed = [pd.read_csv(line.removeprefix("table: ")) for line in lines[-3:-1]]
        assert [table["Gene"].tolist() for table in listed] == [["TUBA1B"], ["TOMM20"] * 2]
        assert [*tmp_path.rglob("*.tif")] == []
        code, lines, err = said(*words, "--images-per-organelle", 2)
        assert (code, lines[1]) == (0, "3 made")
        assert "allen-fields: 100 % after" in err
        assert sum(archive.faults.values()) > archive.faults[""]
    ends_with(lines, tmp_path / "images.csv", "--input bright_field --target structure")
    manifest = open_images(tmp_path / "images.csv", inputs=["bright_field"], target=["structure"])
    assert manifest.ids == ["Microtubules_0", "Mitochondria_0", "Mitochondria_1"]
    assert (manifest[2].image[0] == expected_field(table, 3)[0]).all()


def test_fields_as_zarr_with_other_planes_and_again_with_others(tmp_path, said):
    with Archive() as archive:
        table = put_fields(archive, WELLS[:1], size=None)
        words = ("allen-fields", "--out", tmp_path / "out", "--endpoint", archive.endpoint, *QUICK)
        words += ("--gene", "TOMM20", "--format", "zarr", "--scratch", tmp_path / "scratch")
        size = ("--pixel-size", "0.29,0.1083,0.1083")
        code, _, err = said(*words)
        assert code == 3
        assert "give one as pixel_size" in sentence(err)
        assert said(*words, *size, "--override", "--z-step", 0.58)[0] == 0
        path = tmp_path / "out" / "Mitochondria" / "Mitochondria_0.ome.zarr"
        assert probe_image(path)[3] == pytest.approx((0.58, *SIZE[1:]))
        code, _, err = said(*words, *size)
        assert code == 2
        assert "made with z_step 0.58 and not None" in sentence(err)
        code, lines, _ = said(*words, *size, "--override")
        assert (code, lines[1]) == (0, "1 made")
        assert [*(tmp_path / "scratch").iterdir()] == []
    assert (read_image(path).array == expected_field(table, 0)).all()


def test_cells_without_their_surroundings(tmp_path, said):
    with Archive() as archive:
        put_cells(archive)
        words = ("allen-cells", "--out", tmp_path, "--endpoint", archive.endpoint, *QUICK)
        code, lines, _ = said(*words, "--organelle", "Mitochondria", "--masked", "--dilate", 3)
        assert (code, lines[1]) == (0, "3 made")
        every = (*words[:2], tmp_path / "all", *words[3:], "--gene", "TOMM20")
        assert said(*every, "--without-stage", "")[1][1] == "4 made"
    ends_with(lines, tmp_path / "images.csv")
    [first, *_] = open_images(tmp_path / "images.csv")
    inside = first.image[first.channels.index("membrane_segmentation")] > 0
    assert (first.image[:, ~inside] == 0).any()


def test_what_is_damaged_for_good_is_told_and_the_rest_is_there(tmp_path, said):
    with Archive() as archive:
        put_fields(archive, [("TOMM20", i) for i in range(2)])
        key = f"{FIELDS}fovs/1.ome.tiff"
        archive.put(key, archive.objects[key], etag="0" * 32)  # the sum of something else
        words = ("--out", tmp_path, "--endpoint", archive.endpoint, "--wait", 0, "--tries", 2)
        code, lines, err = said("allen-fields", *words, "--organelle", "Mitochondria")
        assert code == 4
        assert "its MD5 is" in sentence(err)
        assert lines[1] == "1 made, 1 failed"
        code, _, err = said(
            "allen-fields", *words, "--gene", "TOMM20", "--manifest-sha256", "0" * 64
        )
        assert code == 3
        assert "the archive has another version now" in sentence(err)
    assert len(open_images(tmp_path / "images.csv")) == 1


def test_stopped_by_ctrl_c_and_gone_on_with(tmp_path, said):
    with Archive(pause=0.15) as archive:
        table = put_fields(archive, [("TOMM20", i) for i in range(5)])
        words = ["data", "allen-fields", "--out", tmp_path, "--endpoint", archive.endpoint, *QUICK]
        words += ["--organelle", "Mitochondria", "--threads", 2]
        paths = os.pathsep.join(path for path in sys.path if path)
        running = subprocess.Popen(
            [sys.executable, "-c", PYTHON, *map(str, words)],
            env=os.environ | {"PYTHONPATH": paths},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while running.poll() is None and len(files(archive)) < 7:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
        assert running.returncode == 130, err
        assert "the same command goes on" in sentence(err)
        assert [*tmp_path.rglob("*.ome.tif")] == []
        home = tmp_path / ".sources"
        whole = {  # these wait for a look at their sums
            f"/bucket/{FIELDS}{path.parent.relative_to(home)}/{path.name[1:-10]}"
            for path in home.rglob(".*.unchecked")
        }
        before = files(archive)
        assert whole
        assert whole < {*before}
        archive.pause = 0.0
        assert said(*words[1:])[0] == 0
        assert not whole & {*files(archive)[len(before) :]}
    stacks = open_images(tmp_path / "images.csv")
    assert len(stacks) == 5
    for i, sample in enumerate(stacks):
        assert (sample.image == expected_field(table, i)).all()
    assert not home.exists()


def files(archive):
    """The sources that were asked for, in order."""
    return [path for path, _ in archive.asked if "?" not in path and "metadata" not in path]


@pytest.mark.parametrize(
    ("words", "sentence_of_it"),
    [
        (("allen-fields",), "name some with --organelle or --gene"),
        (("allen-fields", "--organelle", "Mitochondra"), "did you mean Mitochondria"),
        (("allen-cells", "--gene", "TOM20"), "did you mean TOMM20"),
        (
            ("allen-fields", "--gene", "TOMM20", "--every-organelle"),
            "or all with --every-organelle",
        ),
        (("allen-fields", "--gene", "TOMM20", "--pixel-size", "1,2"), "must read Z,Y,X"),
        (("jump", *PLACE, "--moved", "x"), "must read OLD=NEW"),
        (("cifar10", "--url", "http://127.0.0.1:1/x"), "--url and --sha256 go together"),
        (("rxrx1", "--channel", "dna"), "there is no channel dna"),
        (("allen-fields", "--format", "png"), "'png' is not one of 'tiff', 'zarr'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_sentence(tmp_path, said, words, sentence_of_it):
    code, _, err = said(*words, "--out", tmp_path / "out")
    assert code == 2
    assert sentence_of_it in sentence(err)
    assert not (tmp_path / "out").exists()


def test_drugs_from_a_folder(tmp_path, said):
    home, table = write_files(tmp_path / "czi"), write_table(tmp_path)
    words = ("drugs", "--table", table, "--images", home, "--structure", "Microtubules")
    code, lines, _ = said(*words, "--out", tmp_path / "out", "--only-metadata")
    assert (code, lines[1]) == (0, "3 listed")
    assert lines[-2] == f"table: {tmp_path / 'out' / 'listed.csv'}"
    code, lines, err = said(*words, "--out", tmp_path / "out", "--images-per-drug", 1)
    assert (code, lines[1]) == (0, "2 made")
    assert "drugs: 100 % after" in err
    ends_with(lines, tmp_path / "out" / "images.csv")
    assert said(*words, "--out", tmp_path / "out")[1][1] == "2 kept, 1 made"
    code, _, err = said(*words, "--out", tmp_path / "out", "--drug", "Water")
    assert code == 2
    assert "it has Paclitaxel 5 uM, Vehicle" in sentence(err)
    (home / "d.ome.tiff").write_bytes(b"cut")
    code, lines, err = said(*words, "--out", tmp_path / "again")
    assert (code, lines[1]) == (4, "2 made, 1 failed")
    assert "is not a TIFF that can be read" in sentence(err)


def test_wells_of_a_plate(tmp_path, said):
    with Archive(failing=0.2, seed=3) as archive:
        put_plate(archive)
        words = ("jump", "--out", tmp_path, "--endpoint", archive.endpoint, *QUICK, *PLACE)
        code, lines, _ = said(*words, "--only-metadata")
        assert (code, lines[1]) == (0, "4 sites of 2 wells, channels DNA, AGP, Brightfield")
        code, lines, _ = said(
            *words, "--well", "B12", "--channel", "Brightfield", "--channel", "DNA"
        )
        assert (code, lines[1]) == (0, "2 sites of 1 wells are whole")
        ends_with(lines, tmp_path / "images.csv", "--input Brightfield --target DNA")
        code, _, err = said(*words, "--well", "Z99")
        assert code == 2
        assert "has no well Z99" in sentence(err)
        key = next(k for k in archive.objects if k.endswith("A01-1-DNA.tiff"))
        archive.put(key, archive.objects[key][:-9], etag="0" * 32)
        archive.failing = 0.0
        some = ("--well", "A01", "--tries", 2, "--channel", "DNA", "--channel", "Brightfield")
        code, lines, err = said(*words, *some)
        assert (code, lines[1]) == (4, "1 sites of 1 wells are whole")
        assert "its MD5 is" in sentence(err)
    assert open_images(tmp_path / "images.csv").ids == ["P1_A01_2", "P1_B12_1", "P1_B12_2"]


def test_cifar_and_its_corruptions(tmp_path, said):
    clean = tar([*batches()])
    parts = [(f"CIFAR-10-C/{name}.npy", npy(CORRUPT)) for name in CORRUPTIONS]
    corrupt = tar([*parts, ("CIFAR-10-C/labels.npy", npy(LABELS[:10]))], "w")
    with Atlas() as atlas:
        for verb, body, home in (
            ("cifar10", clean, "cifar-10-batches-bin"),
            ("cifar10c", corrupt, "CIFAR-10-C"),
        ):
            url = atlas.put(f"/{verb}.tar", body, faults=["500", "short"])
            words = (verb, "--out", tmp_path, "--url", url, *QUICK, "--sha256")
            code, _, err = said(*words, "0" * 64)
            assert code == 3
            assert "its SHA-256 is" in sentence(err)
            code, lines, err = said(*words, hashlib.sha256(body).hexdigest())
            assert code == 0
            assert f"{verb}: 100 % after" in err
            ends_with(lines, tmp_path / home, "predictor.task=classification")
    assert (read_cifar10(tmp_path / "cifar-10-batches-bin", "train").images == IMAGES[:15]).all()
    fog = read_cifar10c(tmp_path / "CIFAR-10-C", "fog", 2)
    assert (fog.labels == LABELS[2:4]).all()


def test_chosen_experiments_of_rxrx1(tmp_path, said):
    rows, images = [], io.BytesIO()
    with zipfile.ZipFile(images, "w") as packed:
        for experiment in ("HUVEC-01", "U2OS-02"):
            rows.append({"experiment": experiment, "plate": 1, "well": "B02", "site": 1})
            for stain in range(1, 7):
                file = io.BytesIO()
                Image.fromarray(np.full((4, 5), stain, np.uint8)).save(file, "PNG")
                packed.writestr(f"images/{experiment}/Plate1/B02_s1_w{stain}.png", file.getvalue())
    with zipfile.ZipFile(tmp_path / "metadata.zip", "w") as packed:
        packed.writestr("rxrx1/metadata.csv", pd.DataFrame(rows).to_csv(index=False))
    with Atlas() as atlas:
        url = atlas.put("/images.zip", images.getvalue(), faults=["503", "drop"])
        words = ("rxrx1", tmp_path / "metadata.zip", url, "--out", tmp_path / "out", *QUICK)
        code, lines, _ = said(*words, "--experiment", "U2OS-02", "--channel", "nuclei")
        assert code == 0
        assert lines[1:3] == ["7 new files", "1 sites are whole, 0 lack an image"]
        ends_with(lines, tmp_path / "out" / "images.csv", "data.group=experiment")
        cut = atlas.put("/cut.zip", images.getvalue()[:-40])
        code, _, err = said(*words[:2], cut, *words[3:])
        assert code == 3
        assert "cannot read the archive" in sentence(err)
    assert open_images(tmp_path / "out" / "images.csv")[0].image.shape == (1, 4, 5)


def test_a_list_of_the_originals(tmp_path, said):
    (tmp_path / "Golgi").mkdir()
    for i, counts in enumerate(COUNTS):
        save(tmp_path / "Golgi" / f"Golgi_{i}.tiff", counts.astype(np.float16))
    path = write_list(tmp_path, ["Golgi/Golgi_0.tiff", "Golgi/Golgi_1.tiff"])
    words = ("list", path, "--folder", tmp_path, "--out", tmp_path / "out")
    code, lines, err = said(*words, "--pixel-size", "0.29,0.1083,0.1083")
    assert (code, lines[1]) == (0, "2 stacks; in 0 of them float16 had overflowed")
    assert "list: 100 % after" in err
    ends_with(lines, tmp_path / "out" / "images.csv")
    kept = tmp_path / "out" / "Golgi" / "Golgi_1.ome.tif"
    before = kept.stat().st_mtime_ns
    (tmp_path / "out" / "images.csv").unlink()  # as if it had been stopped
    assert said(*words, "--pixel-size", "0.29,0.1083,0.1083")[0] == 0
    assert kept.stat().st_mtime_ns == before
    code, _, err = said(*words)
    assert code == 2
    assert "made with pixel_size" in sentence(err)
    assert said(*words, "--override")[0] == 0
    assert read_image(kept).pixel_size is None
    assert (read_image(kept).array == COUNTS[1]).all()
    code, _, err = said(*words, "--was", "/elsewhere")
    assert code == 3
    assert "does not begin with /elsewhere" in sentence(err)


def test_help_lists_every_verb_in_one_line_each(said):
    code, lines, err = said("--help")
    assert (code, err) == (0, "")
    verbs = ("allen-fields", "allen-cells", "drugs", "jump", "rxrx1", "cifar10", "cifar10c")
    for verb in (*verbs, "list", "split"):
        [line] = [line for line in lines if line.startswith(f"│ {verb} ")]
        assert line.rstrip("│ ").endswith(".")


def test_help_needs_no_torch_and_no_tables():
    loaded = "{'torch', 'monai', 'pandas', 'scipy', 'skimage', 'zarr'} & sys.modules.keys()"
    code = f"import sys; from attributome.cli import run_cli; run_cli(['data', '--help']); {loaded}"
    code = code.replace(f"; {loaded}", f"; print(json.dumps(sorted({loaded})))")
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", f"import json; {code}"],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [], done.stderr
