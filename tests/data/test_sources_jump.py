"""Chosen wells of a loopback Cell Painting Gallery, from its tables to a manifest."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest
import tifffile

from attributome.core.errors import DataError, UsageError
from attributome.data.manifest import open_images
from attributome.data.sources.jump import build_jump, fetch_load_data, read_load_data
from data.archive_server import Archive

QUICK = {"wait": 0.0, "timeout": 10.0}
PLACE = {"project": "cpg0016-jump", "source": "source_4", "batch": "B1", "plate": "P1"}
IMAGES = "cpg0016-jump/source_4/images/B1/images/P1__2021/Images"
CHANNELS = ("DNA", "AGP", "Brightfield")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def pixels(well, site, channel):
    seed = [*map(ord, f"{well}{site}{channel}")]
    return np.random.default_rng(seed).integers(0, 65536, (6, 7), np.uint16)


def put_plate(archive, *, urls=True, packed=True):
    rows = []
    for well in ("A01", "B12"):
        for site in ("1", "2"):
            row = {"Metadata_Plate": "P1", "Metadata_Well": well, "Metadata_Site": site}
            row["Metadata_Batch"] = "B1"
            for channel in CHANNELS:
                file = io.BytesIO()
                tifffile.imwrite(file, pixels(well, site, channel), photometric="minisblack")
                name = f"{well}-{site}-{channel}.tiff"
                archive.put(f"{IMAGES}/{name}", file.getvalue())
                if urls:
                    row[f"URL_Orig{channel}"] = f"s3://cellpainting-gallery/{IMAGES}/{name}"
                else:
                    row[f"FileName_Orig{channel}"] = name
                    row[f"PathName_Orig{channel}"] = f"/mnt/bucket/images/{IMAGES[-21:]}/"
            rows.append(row)
    text = pd.DataFrame(rows).to_csv(index=False).encode()
    key = "cpg0016-jump/source_4/workspace/load_data_csv/B1/P1/load_data.csv"
    archive.put(key + ".gz" * packed, gzip.compress(text) if packed else text)
    return archive


@pytest.mark.parametrize("failing", [0.0, 0.2])
@pytest.mark.parametrize("packed", [True, False])
def test_chosen_wells_become_a_manifest(tmp_path, failing, packed):
    with Archive(failing=failing, seed=2) as archive:
        put_plate(archive, packed=packed)
        words = {"endpoint": archive.endpoint, "tries": 8, **QUICK}
        table = fetch_load_data(tmp_path, **PLACE, **words)
        rows = build_jump(tmp_path, table, wells=["B12"], **words)
        assert rows["site"].tolist() == ["1", "2"]
        build_jump(tmp_path, table, wells=["A01"], sites=["2"], **words)
        got = {path for path, _ in archive.asked if IMAGES in path and path.endswith(".tiff")}
    assert len(got) == 9
    manifest = open_images(tmp_path / "images.csv", inputs=["Brightfield"], target=["DNA"])
    assert manifest.ids == ["P1_A01_2", "P1_B12_1", "P1_B12_2"]
    assert manifest.groups("well") == ["A01", "B12", "B12"]
    assert manifest.groups("batch") == ["B1"] * 3
    assert (manifest[1].image[0] == pixels("B12", "1", "Brightfield")).all()
    assert (manifest[0].target[0] == pixels("A01", "2", "DNA")).all()
    assert "CC0" in (tmp_path / "LICENCE.txt").read_text()
    assert not (tmp_path / "failed.csv").exists()


def test_a_site_that_lacks_a_channel_is_told_and_not_listed(tmp_path):
    with Archive() as archive:
        put_plate(archive)
        words = {"endpoint": archive.endpoint, **QUICK}
        table = fetch_load_data(tmp_path, **PLACE, **words)
        del archive.objects[f"{IMAGES}/A01-1-AGP.tiff"]
        rows = build_jump(tmp_path, table, wells=["A01"], **words)
        assert rows["site"].tolist() == ["2"]
        assert pd.read_csv(tmp_path / "failed.csv")["key"].tolist() == [f"{IMAGES}/A01-1-AGP.tiff"]
        rows = build_jump(tmp_path / "two", table, wells=["A01"], channels=["DNA"], **words)
        assert len(rows) == 2
        assert open_images(tmp_path / "two" / "images.csv")[0].channels == ("DNA",)
        with pytest.raises(DataError, match="has other columns"):
            build_jump(tmp_path, table, wells=["A01"], channels=["DNA"], **words)
        archive.objects.clear()
        with pytest.raises(DataError, match="no site of 4 is whole; the first reason: the bucket"):
            build_jump(tmp_path / "new", table, **words)


def test_paths_of_another_machine_need_to_be_told(tmp_path):
    with Archive() as archive:
        put_plate(archive, urls=False)
        words = {"endpoint": archive.endpoint, **QUICK}
        table = fetch_load_data(tmp_path, **PLACE, **words)
        with pytest.raises(DataError, match="say as moved"):
            build_jump(tmp_path, table, **words)
        moved = (f"/mnt/bucket/images/{IMAGES[-21:]}", IMAGES)
        rows = build_jump(tmp_path, table, moved=moved, **words)
        assert len(rows) == 4
        assert rows["image_DNA"][0] == f"{IMAGES}/A01-1-DNA.tiff"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Metadata_Site", "Site", "no column Metadata_Site"),
        ("URL_Orig", "Orig", "has no column URL_Orig"),
        ("s3://cellpainting-gallery", "s3://other", "not in the bucket"),
        ("B12", "12B", "the well '12B'"),
        ("B12", "A01", "more than once"),
        ("OrigDNA", "Orig ../DNA", "a channel is named"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, old, new, message):
    with Archive() as archive:
        put_plate(archive, packed=False)
        words = {"endpoint": archive.endpoint, **QUICK}
        path = fetch_load_data(tmp_path, **PLACE, **words)
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(DataError, match=message):
            build_jump(tmp_path, path, **words)


def test_what_is_not_there_is_refused(tmp_path):
    with Archive() as archive:
        words = {"endpoint": archive.endpoint, **QUICK}
        with pytest.raises(DataError, match="has no cpg0016-jump/.*load_data.csv"):
            fetch_load_data(tmp_path, **PLACE, **words)
        put_plate(archive)
        path = fetch_load_data(tmp_path, **PLACE, **words)
        for choice, message in (
            ({"wells": ["Z99"]}, "has no well Z99"),
            ({"sites": ["9"]}, "has no site 9"),
            ({"channels": ["RNA"]}, r"no channel \['RNA'\]"),
        ):
            with pytest.raises(UsageError, match=message):
                build_jump(tmp_path, path, **choice, **words)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="cannot read the table"):
        read_load_data(path)
