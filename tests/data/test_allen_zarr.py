"""Stacks as OME-Zarr: read back as the OME-TIFF is, whole or not there, and never mixed."""

import json
import os

import numpy as np
import pytest
import tifffile

from attributome.core.errors import DataError, UsageError
from attributome.data.images import probe_image, read_image
from attributome.data.manifest import open_images
from attributome.data.sources.allen import build_allen
from attributome.data.sources.allen_stacks import CHANNELS
from attributome.data.sources.allen_tables import organelle_named
from attributome.data.sources.stack_files import suffix_of, write_stack, write_zarr
from data.archive_server import Archive
from data.test_sources_allen import QUICK, SIZE, WELLS, expected_field, put_cells, put_fields

NAMES = ("one", "two")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def counts(seed=0, shape=(2, 3, 5, 6)):
    return np.random.default_rng(seed).integers(0, 65536, shape, np.uint16)


@pytest.mark.parametrize("size", [SIZE, None])
@pytest.mark.parametrize("shape", [(2, 3, 5, 6), (2, 19, 5, 6), (2, 1, 270, 260)])
def test_a_zarr_is_read_as_the_tiff_of_it_is(tmp_path, size, shape):
    stack = counts(shape=shape)
    paths = [tmp_path / name for name in ("a.ome.zarr", "a.ome.tif")]
    for path in paths:
        write_stack(path, stack, NAMES, size)
    zarr, tiff = map(read_image, paths)
    assert (zarr.array == stack.reshape(zarr.array.shape)).all()
    assert (zarr.array == tiff.array).all()
    assert zarr.channels == tiff.channels == NAMES
    assert (zarr.pixel_size, zarr.axes) == (tiff.pixel_size, tiff.axes)
    assert probe_image(paths[0])[4] == np.uint16
    said = json.loads((paths[0] / "zarr.json").read_text())["attributes"]["ome"]
    assert said["version"] == "0.5"
    window = said["omero"]["channels"][1]["window"]
    assert (window["start"], window["end"]) == (stack[1].min(), stack[1].max())
    array = json.loads((paths[0] / "0" / "zarr.json").read_text())
    assert array["dimension_names"] == ["c", "z", "y", "x"]
    assert [*tmp_path.glob(".*")] == []


def test_another_zarr_takes_the_place_of_one_that_is_there(tmp_path):
    path = tmp_path / "a.ome.zarr"
    write_zarr(path, counts(), NAMES, SIZE)
    (path / "0" / "c" / "notes").write_text("of the old one")
    write_zarr(path, counts(1, (2, 2, 4, 4)), NAMES, SIZE)
    assert (read_image(path).array == counts(1, (2, 2, 4, 4))).all()
    assert not (path / "0" / "c" / "notes").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ome.zarr"]


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    path = tmp_path / "a.ome.zarr"
    with pytest.raises(DataError, match="1 channel names were given for 2"):
        write_zarr(path, counts(), ("one",), SIZE)
    write_zarr(path, counts(), NAMES, SIZE)
    with pytest.raises(TypeError):
        write_zarr(path, counts(), (object(), object()), SIZE)  # no name that JSON can hold
    assert (read_image(path).array == counts()).all()  # the old one
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ome.zarr"]
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(DataError, match="cannot make the folder"):
        write_zarr(blocked / "a.ome.zarr", counts(), NAMES, SIZE)


def test_fields_and_cells_of_the_archive_as_zarr(tmp_path):
    with Archive(failing=0.1, seed=2) as archive:
        table = put_fields(archive, WELLS)
        words = {"endpoint": archive.endpoint, "organelles": ["Mitochondria"], "tries": 8, **QUICK}
        zarr, tiff = tmp_path / "zarr", tmp_path / "tiff"
        report = build_allen(zarr, format="zarr", z_step=0.58, images_per_organelle=2, **words)
        build_allen(tiff, z_step=0.58, images_per_organelle=2, **words)
        assert report["status"].tolist() == ["made", "made"]
        assert report["image"].tolist()[0] == "Mitochondria/Mitochondria_0.ome.zarr"
        again = build_allen(zarr, format="zarr", z_step=0.58, images_per_organelle=2, **words)
        assert again["status"].tolist() == ["kept", "kept"]
        plain = build_allen(tmp_path / "p", format="zarr", images_per_organelle=1, **words)
        put_cells(archive)
        words |= {"kind": "cells"}
        build_allen(tmp_path / "cells", format="zarr", **words)
    assert plain["status"].tolist() == ["made"]
    first = read_image(tmp_path / "p" / "Mitochondria" / "Mitochondria_0.ome.zarr")
    assert (first.array == expected_field(table, 0)).all()
    assert first.channels == CHANNELS
    assert first.pixel_size == pytest.approx(SIZE)
    words = {"inputs": ["bright_field"], "target": ["structure"]}
    samples = [open_images(home / "images.csv", **words) for home in (zarr, tiff)]
    assert samples[0].ids == samples[1].ids == ["Mitochondria_0", "Mitochondria_1"]
    for a, b in zip(*samples, strict=True):
        assert (a.image == b.image).all()
        assert (a.target == b.target).all()
        assert a.pixel_size == b.pixel_size == pytest.approx((0.58, *SIZE[1:]))
    assert len(open_images(tmp_path / "cells" / "images.csv")) == 3


def test_formats_are_not_mixed_and_override_changes_them(tmp_path):
    with Archive() as archive:
        put_fields(archive, WELLS)
        words = {"endpoint": archive.endpoint, "organelles": ["Mitochondria"], **QUICK}
        build_allen(tmp_path, format="zarr", images_per_organelle=2, **words)
        with pytest.raises(UsageError, match="made with format zarr and not tiff"):
            build_allen(tmp_path, images_per_organelle=2, **words)
        build_allen(tmp_path, images_per_organelle=1, override=True, **words)
        names = sorted(path.name for path in (tmp_path / "Mitochondria").iterdir())
        assert names == ["Mitochondria.csv", "Mitochondria_0.ome.tif", "source.json"]
        assert tifffile.imread(tmp_path / "Mitochondria" / names[1]).dtype == np.uint16
        build_allen(tmp_path, images_per_organelle=1, format="zarr", override=True, **words)
        assert len(open_images(tmp_path / "images.csv")) == 1
        assert os.listdir(tmp_path / "Mitochondria").count("Mitochondria_0.ome.tif") == 0
    with pytest.raises(UsageError, match="the format is 'n5'; it is one of tiff, zarr"):
        suffix_of("n5")


@pytest.mark.parametrize(
    ("name", "organelle"), [("Golgi", "Golgi"), ("TOMM20", "Mitochondria"), ("ER", "ER")]
)
def test_organelles_go_by_their_names_and_genes(name, organelle):
    assert organelle_named(name) == organelle


def test_a_name_that_is_unknown_meets_the_nearest_ones():
    with pytest.raises(UsageError, match="named 'mitochondria'; did you mean Mitochondria"):
        organelle_named("mitochondria")
    with pytest.raises(UsageError, match="did you mean TOMM20"):
        organelle_named("TOMM2O")
    with pytest.raises(UsageError, match="there are Plasma-membrane, "):
        organelle_named("@@@@")
