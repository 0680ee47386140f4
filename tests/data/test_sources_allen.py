"""The Allen archive from a loopback S3: stacks with the right planes, names, sizes and tables."""

import io

import numpy as np
import pandas as pd
import pytest
import tifffile

from attributome.core.errors import DataError, UsageError
from attributome.data.images import probe_image
from attributome.data.manifest import open_images
from attributome.data.sources.allen import build_allen
from attributome.data.sources.allen_stacks import CHANNELS, cell_stack, field_stack, respaced
from attributome.data.sources.allen_tables import GENES
from data.archive_server import Archive

QUICK = {"wait": 0.0, "timeout": 10.0}
FIELDS, CELLS = "aics/pipeline_integrated_cell/", "aics/hipsc_single_cell_image_dataset/"
SIZE = (0.29, 0.1083, 0.1083)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def tiff(array, axes, size=SIZE):
    said = {"axes": axes}
    for axis, length in zip("ZYX", size or (), strict=bool(size)):
        said |= {f"PhysicalSize{axis}": length, f"PhysicalSize{axis}Unit": "µm"}
    file = io.BytesIO()
    tifffile.imwrite(file, array, ome=True, photometric="minisblack", metadata=said)
    return file.getvalue()


def draw(seed, *shape):
    return np.random.default_rng(seed).integers(0, 65536, shape, np.uint16)


def labels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 2, shape, np.uint8) * 255


def put_fields(archive, wells, size=SIZE):
    """One field per entry `(gene, well)`: five channels, in another order for each."""
    rows = []
    for i, (gene, well) in enumerate(wells):
        order = np.random.default_rng(i).permutation(5)[:4]
        archive.put(f"{FIELDS}fovs/{i}.ome.tiff", tiff(draw(i, 5, 4, 6, 8), "CZYX", size))
        row = {"": i, "Gene": gene, "WellId": well, "CellLine": "AICS-1", "target": "odd"}
        row |= {"SourceReadPath": f"fovs/{i}.ome.tiff"}
        columns = ("Brightfield", "405", "638", "Struct")
        row |= {f"ChannelNumber{c}": n for c, n in zip(columns, order, strict=True)}
        for k, part in enumerate(("Nucleus", "Membrane", "Structure")):
            key = f"{part}/{i}.tiff"
            archive.put(FIELDS + key, tiff(labels(100 * k + i, 4, 6, 8), "ZYX"))
            row[f"{part}SegmentationReadPath"] = key
        rows.append(row)
    table = pd.DataFrame(rows)
    archive.put(f"{FIELDS}metadata.csv", table.to_csv(index=False).encode(), etag="0" * 32 + "-2")
    return table


def expected_field(table, i):
    row = table.loc[i]
    source = draw(i, 5, 4, 6, 8)
    columns = ("Brightfield", "405", "638", "Struct")
    stains = [source[row[f"ChannelNumber{c}"]] for c in columns]
    return np.stack([*stains, *(labels(100 * k + i, 4, 6, 8) for k in range(3))])


WELLS = [("TOMM20", 1), ("TOMM20", 1), ("TUBA1B", 2), ("TOMM20", 3), ("TOMM20", 4), ("X", 5)]


@pytest.mark.parametrize("failing", [0.0, 0.2])
def test_fields_become_stacks_with_names_sizes_and_tables(tmp_path, failing):
    seen = []
    with Archive(failing=failing, seed=1) as archive:
        table = put_fields(archive, WELLS)
        report = build_allen(
            tmp_path,
            endpoint=archive.endpoint,
            organelles=["Mitochondria", "Microtubules"],
            images_per_organelle=2,
            tries=8,
            progress=lambda *at: seen.append(at),
            **QUICK,
        )
    wanted = {"Mitochondria_0": 0, "Mitochondria_1": 3, "Microtubules_0": 2}
    assert report["image"].tolist() == [f"{n.split('_')[0]}/{n}.ome.tif" for n in wanted]
    assert set(report["status"]) == {"made"}
    assert seen == [(1, 3), (2, 3), (3, 3)]
    for name, i in wanted.items():
        path = tmp_path / name.split("_")[0] / f"{name}.ome.tif"
        stack = tifffile.imread(path)
        assert stack.dtype == np.uint16
        assert (stack == expected_field(table, i)).all()
        shape, axes, channels, size, _ = probe_image(path)
        assert (shape, axes, channels) == ((7, 4, 6, 8), "CZYX", CHANNELS)
        assert size == pytest.approx(SIZE)
    manifest = open_images(tmp_path / "images.csv", inputs=["bright_field"], target=["structure"])
    assert manifest.ids == ["Microtubules_0", "Mitochondria_0", "Mitochondria_1"]
    assert manifest.groups("WellId") == ["2", "1", "3"]
    assert manifest.groups("label") == ["17", "16", "16"]
    assert (manifest[2].target[0] == expected_field(table, 3)[3]).all()
    one = open_images(tmp_path / "Mitochondria" / "Mitochondria.csv", inputs=["dna"])
    assert one.groups("combined_image_storage_path") == [
        "Mitochondria/Mitochondria_0.ome.tif",
        "Mitochondria/Mitochondria_1.ome.tif",
    ]
    assert one.groups("archive_target") == ["odd", "odd"]
    assert "terms-of-use" in (tmp_path / "LICENCE.txt").read_text()
    assert not (tmp_path / ".sources").exists()
    assert not (tmp_path / "failed.csv").exists()


def test_what_is_there_is_kept_and_override_makes_it_again(tmp_path):
    with Archive() as archive:
        put_fields(archive, WELLS)
        words = {"endpoint": archive.endpoint, "organelles": ["Mitochondria"], **QUICK}
        listed = build_allen(tmp_path, only_metadata=True, images_per_organelle=3, **words)
        assert listed["status"].tolist() == ["listed"] * 3
        assert len(archive.asked) == 2  # the table, and what the bucket says of it
        assert sorted(path.name for path in tmp_path.glob("*/*")) == [
            "Mitochondria.csv",
            "source.json",
        ]
        build_allen(tmp_path, images_per_organelle=2, **words)
        asked = len(archive.asked)
        first = tmp_path / "Mitochondria" / "Mitochondria_0.ome.tif"
        before = first.read_bytes()
        more = build_allen(tmp_path, images_per_organelle=3, **words)
        assert more["status"].tolist() == ["kept", "kept", "made"]
        assert len(archive.asked) == asked + 8
        with pytest.raises(UsageError, match="made with z_step None and not 0.58"):
            build_allen(tmp_path, z_step=0.58, **words)
        again = build_allen(tmp_path, z_step=0.58, override=True, **words)
        assert again["status"].tolist() == ["made"] * 3
        assert first.read_bytes() != before
        assert probe_image(first)[3] == pytest.approx((0.58, *SIZE[1:]))
        assert probe_image(first)[0] == (7, 2, 6, 8)


def test_a_manifest_is_pinned(tmp_path):
    with Archive() as archive:
        put_fields(archive, WELLS)
        words = {"endpoint": archive.endpoint, "organelles": ["Mitochondria"], **QUICK}
        with pytest.raises(DataError, match="and not 00000.*the archive has another version"):
            build_allen(tmp_path / "a", manifest_sha256="0" * 64, **words)
        build_allen(tmp_path / "b", only_metadata=True, **words)
        table = tmp_path / "b" / "metadata.csv"
        table.write_text(table.read_text().replace("AICS-1", "AICS-2"))
        with pytest.raises(UsageError, match="was made with metadata"):
            build_allen(tmp_path / "b", **words)
        put_cells(archive)
        (tmp_path / "b" / "metadata.csv").unlink()
        with pytest.raises(UsageError, match="kind fields and not cells"):
            build_allen(tmp_path / "b", kind="cells", **words)


def test_images_that_cannot_be_made_are_told_and_stand_in_no_table(tmp_path):
    with Archive() as archive:
        table = put_fields(archive, [("TOMM20", i) for i in range(7)])
        del archive.objects[f"{FIELDS}Nucleus/1.tiff"]
        archive.put(f"{FIELDS}fovs/2.ome.tiff", b"no picture")
        archive.put(f"{FIELDS}Membrane/3.tiff", tiff(labels(0, 4, 6, 7), "ZYX"))
        archive.put(f"{FIELDS}Structure/4.tiff", tiff(labels(0, 2, 4, 6, 8), "CZYX"))
        archive.put(f"{FIELDS}fovs/5.ome.tiff", tiff(np.full((5, 4, 6, 8), 0.5), "CZYX"))
        archive.put(f"{FIELDS}fovs/6.ome.tiff", tiff(draw(6, 5, 4, 6, 8), "CZYX", None))
        words = {"endpoint": archive.endpoint, "organelles": ["Mitochondria"], **QUICK}
        report = build_allen(tmp_path, **words)
        assert report["status"].tolist() == ["made", *["failed"] * 6]
        reasons = ("has no Nucleus", "2.ome.tiff", "one grid", "2 channels", "no whole", "no pixel")
        for reason, words_of_it in zip(report["reason"][1:], reasons, strict=True):
            assert words_of_it in reason
        assert open_images(tmp_path / "images.csv").ids == ["Mitochondria_0"]
        assert len(pd.read_csv(tmp_path / "failed.csv")) == 6
        put_fields(archive, [("TOMM20", i) for i in range(7)])
        archive.put(f"{FIELDS}fovs/6.ome.tiff", tiff(draw(6, 5, 4, 6, 8), "CZYX", None))
        with pytest.raises(UsageError, match="made with pixel_size None"):
            build_allen(tmp_path, pixel_size=SIZE, **words)
        report = build_allen(tmp_path, pixel_size=SIZE, override=True, **words)
        assert set(report["status"]) == {"made"}
        path = tmp_path / "Mitochondria" / "Mitochondria_6.ome.tif"
        assert probe_image(path)[3] == pytest.approx(SIZE)
        assert (tifffile.imread(path) == expected_field(table, 6)).all()
        assert not (tmp_path / "failed.csv").exists()


def test_sources_of_a_killed_call_are_used_and_taken_away(tmp_path):
    with Archive() as archive:
        table = put_fields(archive, [("TOMM20", i) for i in range(10)])
        for i, row in table.iterrows():  # folders in folders, for when they are taken away
            key = f"deep/{'er/' * (i % 3)}{i}.tiff"
            archive.put(FIELDS + key, archive.objects[FIELDS + row["NucleusSegmentationReadPath"]])
            table.loc[i, "NucleusSegmentationReadPath"] = key
        archive.put(f"{FIELDS}metadata.csv", table.to_csv(index=False).encode())
        scratch = tmp_path / "scratch"
        (scratch / "fovs").mkdir(parents=True)
        body = archive.objects[f"{FIELDS}fovs/0.ome.tiff"]
        (scratch / "fovs" / "0.ome.tiff").write_bytes(body)
        (scratch / "mine").write_text("mine")
        report = build_allen(
            tmp_path / "out",
            endpoint=archive.endpoint,
            organelles=["Mitochondria"],
            scratch=scratch,
            **QUICK,
        )
        assert len(report) == 10
        assert "/bucket/aics/pipeline_integrated_cell/fovs/0.ome.tiff" not in [
            path for path, _ in archive.asked
        ]
        assert [path.name for path in scratch.iterdir()] == ["mine"]


ROI = (3, 9, 1, 5, 2, 7)


def put_cells(archive, ratio=3):
    """Cells in two fields: crops six planes deep, of which every third is one of the field."""
    rows = []
    size = (SIZE[0] / ratio, *SIZE[1:])
    for field in range(2):
        archive.put(f"{CELLS}fov/{field}.tiff", tiff(draw(field, 5, 4, 6, 8), "CZYX"))
        archive.put(f"{CELLS}struct/{field}.tiff", tiff(labels(field, 4, 6, 8), "ZYX"))
    for i, stage in enumerate(("M1", "M0", "M4M5", None)):
        raw, seg = draw(50 + i, 3, 6, 4, 5), labels(60 + i, 3, 6, 4, 5)
        archive.put(f"{CELLS}raw/{i}.tif", tiff(raw, "CZYX", size))
        archive.put(f"{CELLS}seg/{i}.tif", tiff(seg, "CZYX", size))
        names = {"crop_raw": ["membrane", "dna", "structure"]}
        names |= {"crop_seg": ["other", "dna_segmentation", "membrane_segmentation"]}
        row = {"structure_name": "TOMM20", "cell_stage": stage, "roi": str([*ROI])}
        row |= {"name_dict": str(names), "ChannelNumberBrightfield": 2, "FOVId": i % 2}
        row |= {"fov_path": f"fov/{i % 2}.tiff", "struct_seg_path": f"struct/{i % 2}.tiff"}
        row |= {"crop_raw": f"raw/{i}.tif", "crop_seg": f"seg/{i}.tif"}
        row |= {f"feature{n}": n for n in range(60)}
        rows.append(row)
    archive.put(f"{CELLS}metadata.csv", pd.DataFrame(rows).to_csv(index=False).encode())


def test_cells_have_the_planes_of_the_field_and_the_nearest_of_the_crop(tmp_path):
    with Archive() as archive:
        put_cells(archive)
        words = {"endpoint": archive.endpoint, "organelles": ["Mitochondria"], "kind": "cells"}
        report = build_allen(tmp_path, **words, **QUICK)
        masked = build_allen(tmp_path / "m", masked=True, dilate=3, **words, **QUICK)
    assert report["status"].tolist() == ["made"] * 3
    assert len(masked) == 3
    for number, i in enumerate((0, 2, 3)):
        name = f"Mitochondria/Mitochondria_{number}.ome.tif"
        stack = tifffile.imread(tmp_path / name)
        z = slice(1, 3)  # planes 3 to 8 of the crop are planes 1 and 2 of the field
        near = [1, 4]  # the middle one of each three
        raw, seg = draw(50 + i, 3, 6, 4, 5), labels(60 + i, 3, 6, 4, 5)
        expected = [
            draw(i % 2, 5, 4, 6, 8)[2, z, 1:5, 2:7],
            *(raw[k][near] for k in (1, 0, 2)),
            *(seg[k][near] for k in (1, 2)),
            labels(i % 2, 4, 6, 8)[z, 1:5, 2:7],
        ]
        assert (stack == np.stack(expected)).all()
        assert probe_image(tmp_path / name)[3] == pytest.approx(SIZE)
        inside = seg[2][near] > 0
        wide = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
        wide = np.any([wide[:, y : y + 4, x : x + 5] for y in range(3) for x in range(3)], axis=0)
        assert (tifffile.imread(tmp_path / "m" / name) == stack * wide).all()
    table = pd.read_csv(tmp_path / "Mitochondria" / "Mitochondria.csv")
    assert table["is_masked"].tolist() == [False] * 3
    assert table["cell_stage"].tolist()[:2] == ["M1", "M4M5"]
    assert "feature30" in table
    assert "feature50" not in table


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("roi", "__import__('os').system('true')", "is no list or dict"),
        ("roi", "[0, 1, 2]", "must be six whole numbers"),
        ("roi", "[0, 1, 2, 2, 0, 5]", "each end must be behind"),
        ("roi", "[3, 9, 1, 6, 2, 7]", "has shape"),
        ("roi", "[90, 96, 1, 5, 2, 7]", "no plane of the field"),
        ("roi", "[3, 9, 4, 8, 2, 7]", "is larger than"),
        ("roi", "(" * 500, "is no list or dict"),
        ("name_dict", "[1]", "must name the channels"),
        ("name_dict", "{'crop_raw': ['dna'], 'crop_seg': []}", "there is no membrane"),
        ("ChannelNumberBrightfield", "9", "5 channels, and ChannelNumberBrightfield says 9"),
        ("ChannelNumberBrightfield", None, "says None"),
    ],
)
def test_cells_whose_row_makes_no_sense_are_refused(column, value, message, tmp_path):
    archive = Archive()
    put_cells(archive)
    row = pd.read_csv(io.BytesIO(archive.objects[f"{CELLS}metadata.csv"]), dtype=str).loc[0]
    archive.server.server_close()
    files = {}
    for name in ("fov_path", "crop_raw", "crop_seg", "struct_seg_path"):
        files[name] = tmp_path / row[name].replace("/", "_")
        files[name].write_bytes(archive.objects[CELLS + row[name]])
    assert cell_stack(row.to_dict(), files)[0].shape == (7, 2, 4, 5)
    with pytest.raises(DataError, match=message):
        cell_stack({**row.to_dict(), column: value}, files)


def test_new_planes_are_slabs_of_the_same_volume():
    stack = np.zeros((7, 6, 1, 1), np.uint16)
    stack[:] = (np.arange(6) * 100).reshape(1, 6, 1, 1)
    assert (respaced(stack, 1.0) == stack).all()
    assert respaced(stack, 3.0)[0, :, 0, 0].tolist() == [100, 400]
    assert respaced(stack, 2.0)[0, :, 0, 0].tolist() == [50, 250, 450]
    assert respaced(stack, 2.0)[6, :, 0, 0].tolist() == [100, 300, 500]
    finer = respaced(stack, 0.5)[0, :, 0, 0].tolist()
    assert finer == [0, 25, 75, 125, 175, 225, 275, 325, 375, 425, 475, 500]
    assert respaced(stack, 100.0).shape == (7, 1, 1, 1)


def test_a_field_takes_its_size_from_its_row_where_the_file_has_none(tmp_path):
    archive = Archive()
    table = put_fields(archive, WELLS[:1], size=None)
    archive.server.server_close()
    row = {str(k): str(v) for k, v in table.loc[0].items()}
    files = {}
    for name in [column for column in row if column.endswith("ReadPath")]:
        files[name] = tmp_path / row[name].replace("/", "_")
        files[name].write_bytes(archive.objects[FIELDS + row[name]])
    scale = dict(zip(("PixelScaleZ", "PixelScaleY", "PixelScaleX"), map(str, SIZE), strict=True))
    assert field_stack(row | scale, files)[1] == SIZE
    with pytest.raises(DataError, match="say no pixel size"):
        field_stack(row, files)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"organelles": ["Golgi", "Eye"]}, "name some of"),
        ({"organelles": ["Golgi", "Golgi"]}, "once"),
        ({"organelles": []}, "0 organelles"),
        ({"images_per_organelle": 0}, "images_per_organelle is 0"),
        ({"z_step": 0.0}, "must be above 0"),
        ({"dilate": -1}, "dilate -1"),
        ({"masked": True}, "are of cells"),
        ({"kind": "cells", "z_step": 1.0}, "z_step is of fields"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, words, message):
    with pytest.raises(UsageError, match=message):
        build_allen(tmp_path, endpoint="http://127.0.0.1:1/b", **words)


def test_another_table_and_no_table_are_refused(tmp_path):
    with Archive() as archive:
        words = {"endpoint": archive.endpoint, "organelles": ["Golgi"], **QUICK}
        with pytest.raises(DataError, match="has no aics/pipeline_integrated_cell/metadata.csv"):
            build_allen(tmp_path / "a", **words)
        archive.put(f"{FIELDS}metadata.csv", b"a,b\n1,2\n")
        with pytest.raises(DataError, match="has no column ChannelNumber405"):
            build_allen(tmp_path / "b", **words)
        put_fields(archive, [("TOMM20", 1)])
        with pytest.raises(DataError, match="has no fields of Golgi"):
            build_allen(tmp_path / "c", **words)
        archive.objects = {k: v for k, v in archive.objects.items() if k.endswith(".csv")}
        with pytest.raises(DataError, match="no image of 1 could be had"):
            build_allen(tmp_path / "d", **(words | {"organelles": ["Mitochondria"]}))
    assert len(GENES) == len({*GENES.values()}) == 18
