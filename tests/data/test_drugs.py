"""Fields under drugs: which are taken, from which files, with which channels and segmentation."""

import sys

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.data.images import probe_image, read_image, write_tiff
from attributome.data.manifest import open_images
from attributome.data.recipes import recipe_of, segment
from attributome.data.sources.allen_stacks import CHANNELS
from attributome.data.sources.drugs import build_drugs, drug_stack, read_czi
from data.test_recipes import counts, dice, dots, tube

SIZE = (0.29, 0.1083, 0.1083)
FIELDS = [
    ("Microtubules", "Vehicle", "P1", "a.czi"),
    ("Microtubules", "Paclitaxel 5 uM", "P2", "b.czi"),
    ("Microtubules", "Paclitaxel 5 uM", "P3", "c.czi"),
    ("Microtubules", "Paclitaxel 5 uM", "P2", "d.czi"),
    ("Microtubules", "Paclitaxel 5 uM", "P3", "f.czi"),
    ("Golgi", "Brefeldin", "P1", "plate/e.czi"),
]
ORDER = (3, 1, 5, 2)
"""Channel numbers of bright field, DNA, membrane and structure, from 1."""


def shape_of(structure):
    return dots(3.0, 6) if structure == "Golgi" else tube()


def channels(name, structure="Microtubules"):
    draw = np.random.default_rng([*map(ord, name)])
    stack = draw.integers(100, 4000, (5, 14, 40, 44), np.uint16)
    stack[ORDER[3] - 1] = counts(shape_of(structure), draw)
    return stack


def write_table(folder, fields=FIELDS, **more):
    rows = []
    for structure, drug, plate, name in fields:
        row = {"Structure": structure, "drug_label": drug, "PlateId": plate, "SourceFilename": name}
        columns = ("Brightfield", "405", "638", "Struct")
        row |= {f"ChannelNumber{c}": n for c, n in zip(columns, ORDER, strict=True)}
        rows.append(row | {"time_point": 2, "image_note": "x", "plate": "another"} | more)
    path = folder / "drug_perturbation_dataset_2.csv"
    pd.DataFrame(rows).to_csv(path)
    return path


def write_files(home):
    """The stacks, some in folders, as somebody has saved them who had a CZI reader."""
    for structure, drug, _, name in FIELDS:
        place = home / ("Vehicle" if drug == "Vehicle" else "") / name.split("/")[-1]
        path = place.with_name(place.stem + ".ome.tiff")
        write_tiff(path, channels(name, structure), [f"c{i}" for i in range(5)], SIZE)
    return home


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("czi"))


def build(tmp_path, files, **words):
    if "table" not in words:
        words["table"] = write_table(tmp_path)
    return build_drugs(tmp_path / "out", **({"images": files} | words))


def test_the_first_plate_of_each_drug_becomes_stacks_of_seven_channels(tmp_path, files):
    seen = []
    report = build(tmp_path, files, progress=lambda *at: seen.append(at))
    assert report["status"].tolist() == ["made"] * 4
    assert seen == [(i, 4) for i in range(1, 5)]
    out = tmp_path / "out"
    manifest = open_images(out / "images.csv", inputs=["bright_field"], target=["structure"])
    assert manifest.ids == [
        "Microtubules_Vehicle_0",
        "Microtubules_Paclitaxel-5-uM_0",
        "Microtubules_Paclitaxel-5-uM_1",
        "Golgi_Brefeldin_0",
    ]
    assert manifest.groups("plate") == ["P1", "P2", "P2", "P1"]
    assert manifest.groups("drug")[1] == "Paclitaxel 5 uM"
    assert manifest.groups("SourceFilename") == ["a.czi", "b.czi", "d.czi", "plate/e.czi"]
    assert manifest.groups("source_plate") == ["another"] * 4
    for name, number in (("a.czi", 0), ("b.czi", 1), ("d.czi", 2), ("plate/e.czi", 3)):
        path = out / manifest.rows[number].meta["file"]
        shape, axes, names, size, kind = probe_image(path)
        assert (shape, axes, names) == ((7, 14, 40, 44), "CZYX", CHANNELS)
        assert size == pytest.approx(SIZE)
        assert kind == np.uint16
        structure = str(manifest.rows[number].meta["structure"])
        source, made = channels(name, structure), read_image(path).array
        assert (made[:4] == source[[n - 1 for n in ORDER]]).all()
        assert (made[4:6] == 0).all()
        assert {*np.unique(made[6])} == {0, 255}
        assert dice(made[6] > 0, shape_of(structure)) > 0.4
        found = segment(source[ORDER[3] - 1], recipe_of(structure))
        assert ((made[6] > 0) == found).all()
    assert "terms-of-use" in (out / "LICENCE.txt").read_text()
    assert not (out / "failed.csv").exists()


def test_what_is_there_is_kept_and_more_is_added(tmp_path, files):
    build(tmp_path, files, drugs=["Vehicle"])
    path = tmp_path / "out" / "Microtubules" / "Microtubules_Vehicle_0.ome.tif"
    before = path.stat().st_mtime_ns
    report = build(tmp_path, files, structures=["Microtubules"], images_per_drug=1)
    assert report["status"].tolist() == ["kept", "made"]
    build(tmp_path, files, structures=["Golgi"])
    assert path.stat().st_mtime_ns == before
    assert len(open_images(tmp_path / "out" / "images.csv")) == 3
    with pytest.raises(UsageError, match="made with format tiff and not zarr"):
        build(tmp_path, files, format="zarr")
    report = build(tmp_path, files, format="zarr", override=True, drugs=["Vehicle"])
    assert report["image"].tolist() == ["Microtubules/Microtubules_Vehicle_0.ome.zarr"]
    manifest = open_images(tmp_path / "out" / "images.csv", inputs=["dna"])
    assert manifest.ids == ["Microtubules_Vehicle_0"]
    assert (manifest[0].image[0] == channels("a.czi")[ORDER[1] - 1]).all()


def test_all_plates_and_only_what_would_be_made(tmp_path, files):
    report = build(tmp_path, files, every_plate=True, only_metadata=True)
    assert report["plate"].tolist() == ["P1", "P2", "P3", "P2", "P3", "P1"]
    assert {*report["status"]} == {"listed"}
    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == ["LICENCE.txt", "listed.csv", "source.json"]


def test_fields_that_cannot_be_made_are_told(tmp_path, files):
    fields = [*FIELDS[:2], ("Golgi", "Vehicle", "P1", "lost.czi")]
    fields.append(("Golgi", "Vehicle", "P1", "../../etc/passwd"))
    report = build(tmp_path, files, table=write_table(tmp_path, fields))
    assert report["status"].tolist() == ["made", "made", "failed", "failed"]
    assert "one stack named lost.czi, and has none" in report["reason"][2]
    failed = pd.read_csv(tmp_path / "out" / "failed.csv")
    assert len(failed) == 2
    words = {"drugs": ["Vehicle"], "structures": ["Golgi"]}
    with pytest.raises(DataError, match="no field of 2 could be made; the first, Golgi/Golgi_V"):
        build(tmp_path, files, table=write_table(tmp_path, fields), **words)


def test_two_files_of_one_name_are_refused_and_others_come_before_a_czi(tmp_path, files):
    home = tmp_path / "more"
    write_tiff(home / "x" / "a.tif", channels("a.czi"), list("abcde"), SIZE)
    (home / "a.czi").write_bytes(b"no picture")
    words = {"images": home, "drugs": ["Vehicle"]}
    assert build(tmp_path, files, **words)["status"].tolist() == ["made"]
    write_tiff(home / "y" / "a.ome.tif", channels("a.czi"), list("abcde"), SIZE)
    with pytest.raises(DataError, match=r"one stack named a.czi, and has x.a.tif, y.a.ome.tif"):
        build(tmp_path, files, override=True, **words)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"drugs": ["Water"]}, UsageError, "no drug_label Water; it has Brefeldin, Pacli"),
        ({"structures": ["ER"]}, UsageError, "no Structure ER; it has Golgi, Micro"),
        ({"images_per_drug": 0}, UsageError, "images_per_drug is 0"),
        ({"drugs": ["Brefeldin"], "structures": ["Microtubules"]}, UsageError, "no drug_label Bre"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, files, words, error, message):
    with pytest.raises(error, match=message):
        build(tmp_path, files, **words)


def test_other_tables_are_refused(tmp_path, files):
    table = write_table(tmp_path)
    rows = pd.read_csv(table, dtype=str)
    rows.drop(columns="PlateId").to_csv(table, index=False)
    with pytest.raises(DataError, match="no column PlateId"):
        build(tmp_path, files, table=table)
    rows.assign(drug_label=["a", None, *"bcde"]).to_csv(table, index=False)
    with pytest.raises(DataError, match="row 2 of .* has no drug_label"):
        build(tmp_path, files, table=table)
    rows.assign(drug_label=["a b", "a-b", *"cdef"]).to_csv(table, index=False)
    with pytest.raises(DataError, match="make one name of file: Microtubules_a-b_0"):
        build(tmp_path, files, table=table)
    rows.assign(Structure="Centrosome").to_csv(table, index=False)
    with pytest.raises(UsageError, match="no recipe for 'Centrosome'"):
        build(tmp_path, files, table=table)
    with pytest.raises(UsageError, match="is no folder"):
        build(tmp_path, files, images=tmp_path / "none")


@pytest.mark.parametrize("number", ["0", "6", "", "2.5"])
def test_channels_are_numbered_from_1(tmp_path, files, number):
    row = dict.fromkeys(("ChannelNumberBrightfield", "ChannelNumber405"), "5")
    row |= {"ChannelNumber638": number, "ChannelNumberStruct": "2"}
    path = files / "b.ome.tiff"
    with pytest.raises(DataError, match="5 channels, numbered from 1, and ChannelNumber638 says"):
        drug_stack(row, path, recipe_of("Microtubules"))
    stack, _ = drug_stack(row | {"ChannelNumber638": "1"}, path, recipe_of("Microtubules"))
    assert (stack[2] == channels("b.czi")[0]).all()
    bare = tmp_path / "b.tif"
    write_tiff(bare, channels("b.czi"), list("abcde"))
    row |= {"ChannelNumber638": "1"}
    with pytest.raises(DataError, match="says no pixel size"):
        drug_stack(row, bare, recipe_of("Microtubules"))
    assert drug_stack(row, bare, recipe_of("Microtubules"), pixel_size=SIZE)[1] == SIZE


def test_without_its_reader_a_czi_is_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bioio", None)
    path = tmp_path / "a.czi"
    path.write_bytes(b"ZISRAWFILE")
    with pytest.raises(DataError, match="is a CZI: install bioio and bioio-czi"):
        read_czi(path, 2**30)
