"""RxRx1 from archives that the test packs, to a manifest of its sites."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attributome.core.errors import DataError, UsageError
from attributome.data.manifest import open_images
from attributome.data.sources.rxrx1 import CHANNELS, index_rxrx1, unpack_rxrx1

SITES = [
    ("HUVEC-01", "1", "B02", "1"),
    ("HUVEC-01", "2", "AA03", "2"),
    ("U2OS-02", "1", "C04", "1"),
]


def pixels(site, stain):
    seed = [*map(ord, "".join(site)), stain]
    return np.random.default_rng(seed).integers(0, 256, (5, 6), np.uint8)


def pack(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, body in members.items():
            packed.writestr(name, body)
    return path


@pytest.fixture
def archives(tmp_path):
    rows, images = [], {}
    for site in SITES:
        experiment, plate, well, number = site
        row = dict(zip(("experiment", "plate", "well", "site"), site, strict=True))
        rows.append(row | {"well_id": f"{experiment}_{plate}_{well}", "sirna": "s20894"})
        for stain in range(1, 7):
            file = io.BytesIO()
            Image.fromarray(pixels(site, stain)).save(file, "PNG")
            name = f"rxrx1/images/{experiment}/Plate{plate}/{well}_s{number}_w{stain}.png"
            images[name] = file.getvalue()
    table = pd.DataFrame(rows).to_csv(index=False)
    images |= {"../evil.png": b"x", "images/../../evil.png": b"x", "rxrx1/notes.html": b"x"}
    return [
        pack(tmp_path / "metadata.zip", {"rxrx1/metadata.csv": table}),
        pack(tmp_path / "images.zip", images),
    ]


def test_archives_become_a_manifest_of_sites(archives, tmp_path):
    out = tmp_path / "out"
    assert unpack_rxrx1(archives, out) == 19
    assert unpack_rxrx1(archives, out) == 0
    assert [*tmp_path.rglob("evil.png")] == []
    table, missing = index_rxrx1(out)
    assert (len(table), missing) == (3, 0)
    manifest = open_images(out / "images.csv", target=["nuclei"])
    assert manifest.ids == ["HUVEC-01_1_B02_1", "HUVEC-01_2_AA03_2", "U2OS-02_1_C04_1"]
    assert manifest.groups("experiment") == ["HUVEC-01", "HUVEC-01", "U2OS-02"]
    assert manifest[1].channels == CHANNELS[1:]
    for sample, site in zip(manifest, SITES, strict=True):
        assert (sample.target[0] == pixels(site, 1)).all()
        assert (sample.image == np.stack([pixels(site, stain) for stain in range(2, 7)])).all()
    assert "NC-SA" in (out / "LICENCE.txt").read_text()


def test_experiments_and_channels_are_chosen_and_absent_images_counted(archives, tmp_path):
    out = tmp_path / "out"
    assert unpack_rxrx1(archives, out, experiments=["HUVEC-01"]) == 13
    assert index_rxrx1(out)[1] == 1
    (out / "images" / "HUVEC-01" / "Plate1" / "B02_s1_w3.png").unlink()
    table, missing = index_rxrx1(out, experiments=["HUVEC-01"])
    assert (table["id"].tolist(), missing) == (["HUVEC-01_2_AA03_2"], 1)
    assert index_rxrx1(out, channels=["golgi", "nuclei"])[1] == 1
    sample = open_images(out / "images.csv")[0]
    assert sample.channels == ("golgi", "nuclei")
    assert (sample.image == np.stack([pixels(SITES[0], stain) for stain in (6, 1)])).all()
    with pytest.raises(DataError, match="the images of none of 1 sites"):
        index_rxrx1(out, experiments=["U2OS-02"])
    with pytest.raises(UsageError, match="has no experiment RPE-01"):
        index_rxrx1(out, experiments=["RPE-01"])
    for channels in (["dna"], [], "golgi"):
        with pytest.raises(UsageError, match="name some of nuclei"):
            index_rxrx1(out, channels=channels)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("site", "place", "no column site"),
        ("B02", "../..", "not named as"),
        ("HUVEC-01,1,B02,1", "U2OS-02,1,C04,1", "more than once"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(archives, tmp_path, old, new, message):
    out = tmp_path / "out"
    unpack_rxrx1(archives, out)
    table = out / "metadata.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        index_rxrx1(out)


def test_archives_that_are_none_and_images_that_are_too_large_are_refused(archives, tmp_path):
    body = archives[1].read_bytes()
    for cut in (body[:100], b""):
        archives[1].write_bytes(cut)
        with pytest.raises(DataError, match="cannot read the archive"):
            unpack_rxrx1(archives, tmp_path / "out")
    big = pack(tmp_path / "b.zip", {"images/A-1/Plate1/B02_s1_w1.png": bytes(2**24 + 1)})
    with pytest.raises(DataError, match="with 16777217 bytes"):
        unpack_rxrx1([big], tmp_path / "out")
