"""Folders, patterns and tables into samples that are read when they are asked for."""

import numpy as np
import pandas as pd
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.data import manifest as module
from attributome.data.images import write_tiff
from attributome.data.manifest import Manifest, open_images
from attributome.data.splits import split, split_from_column


@pytest.fixture
def folder(tmp_path):
    """Three fields, each of its own size; channel k (a, b, c) of field i is constant 10 i + k."""
    for i, side in enumerate((8, 9, 10)):
        array = np.arange(3, dtype=np.float32)[:, None, None] + np.full((3, side, 12), 10.0 * i)
        write_tiff(tmp_path / f"f{i}.ome.tif", array.astype(np.float32), "abc", (0.5, 0.25))
        write_tiff(tmp_path / "stain" / f"f{i}.tif", array[:1].astype(np.float32) + 100, ["dna"])
        labels = np.full((1, side, 12), i, np.uint8)
        write_tiff(tmp_path / "regions" / f"f{i}.tif", labels, ["regions"])
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.tif").write_text("not an image either")
    return tmp_path


def table(folder, rows, name="fields.csv"):
    frame = pd.DataFrame(rows)
    if name.endswith(".csv"):
        frame.to_csv(folder / name, index=False)
    else:
        frame.to_parquet(folder / name)
    return folder / name


def test_a_folder_is_a_sequence_in_sorted_order(folder):
    samples = open_images(folder, inputs=["c", "a"], target=["b"])
    assert isinstance(samples, Manifest)
    assert (len(samples), samples.ids) == (3, ["f0", "f1", "f2"])
    one = samples[1]
    assert (one.id, one.channels, one.target_channels) == ("f1", ("c", "a"), ("b",))
    assert one.image[:, 0, 0].tolist() == [12, 10]
    assert one.target.shape == (1, 9, 12)
    assert one.target[0, 0, 0] == 11
    assert (one.pixel_size, one.meta["file"], one.regions) == ((0.5, 0.25), "f1.ome.tif", None)
    assert [s.id for s in samples] == samples.ids
    assert samples[-1].id == "f2"
    assert samples[1:].ids == samples.subset([1, 2]).ids == ["f1", "f2"]
    with pytest.raises(IndexError):
        samples[3]


def test_without_inputs_all_that_is_not_the_target_goes_in(folder):
    assert open_images(folder)[0].channels == ("a", "b", "c")
    assert open_images(folder, target=[1])[0].channels == ("a", "c")
    assert open_images(folder, inputs=[2, "b"])[0].channels == ("c", "b")


def test_a_pattern_an_image_and_a_folder_within(folder):
    assert open_images(str(folder / "f[12]*.tif")).ids == ["f1", "f2"]
    assert open_images(str(folder / "**" / "f0*.tif")).ids == ["f0", "regions/f0", "stain/f0"]
    assert open_images(folder / "f0.ome.tif").ids == ["f0"]


@pytest.mark.parametrize("name", ["fields.csv", "fields.parquet"])
def test_a_table_has_targets_regions_and_metadata(folder, name):
    rows = [
        {"image": f"f{i}.ome.tif", "target": f"stain/f{i}.tif", "regions": f"regions/f{i}.tif",
         "id": f"00{i}", "well": f"1E0{i}", "plate": 7, "dose": 0.5}
        for i in (2, 0, 1)
    ]  # fmt: skip
    rows[1]["note"] = "dim"
    samples = open_images(table(folder, rows, name), inputs=["a"])
    one = samples[0]
    assert samples.ids == ["002", "000", "001"]
    assert one.regions.max() == 2
    assert one.regions.dtype == np.int32
    assert (one.target[0, 0, 0], one.target_channels) == (120, ("dna",))
    assert dict(one.meta) == {"well": "1E02", "plate": 7, "dose": 0.5, "file": "f2.ome.tif"}
    assert samples.groups("well") == ["1E02", "1E00", "1E01"]
    assert samples.groups("plate") == ["7", "7", "7"]
    with pytest.raises(DataError, match=r"sample '002' \(row 1\) has no 'note'; the columns are"):
        samples.groups("note")
    shown = samples.subset([2]).table
    assert shown.loc[0, ["id", "well", "plate"]].tolist() == ["001", "1E01", 7]
    assert shown.loc[0, "target"].endswith("stain/f1.tif")


def test_the_target_file_has_channels_of_its_own(folder):
    path = table(folder, [{"image": "stain/f0.tif", "target": "f0.ome.tif"}])
    one = open_images(path, inputs=["dna"], target=["c"])[0]
    assert (one.channels, one.target_channels) == (("dna",), ("c",))
    with pytest.raises(DataError, match="there is no channel 'dna': .* has the 3 channels a, b, c"):
        open_images(path, target=["dna"])


def test_numbers_are_targets(folder):
    rows = [{"image": f"f{i}.ome.tif", "target": t} for i, t in enumerate((0.5, "1", "1e-3"))]
    path = table(folder, rows)
    assert [s.target for s in open_images(path)] == [0.5, 1.0, 0.001]
    with pytest.raises(UsageError, match="has a numeric target column and target="):
        open_images(path, target=["a"])


def test_one_column_per_channel(folder):
    rows = [{"image_bf": "stain/f0.tif", "image_dna": "stain/f0.tif"}]
    one = open_images(table(folder, rows), inputs=["bf"], target=["dna"])[0]
    assert (one.channels, one.target_channels, one.image.shape) == (("bf",), ("dna",), (1, 8, 12))
    path = table(folder, [{"image_bf": "f0.ome.tif", "image_dna": "stain/f0.tif"}])
    with pytest.raises(DataError, match="has 3 channels and stands in the column image_bf for one"):
        _ = open_images(path)[0]
    path = table(folder, [{"image_bf": "stain/f1.tif", "image_dna": "stain/f0.tif"}])
    with pytest.raises(DataError, match="the channels of sample 'stain/f1' do not fit together"):
        _ = open_images(path)[0]


@pytest.mark.parametrize("column", ["file", "path_tiff"])
def test_other_names_of_the_image_column(folder, column):
    path = table(folder, [{"": 0, column: "f0.ome.tif", "site": 5}])  # an index without a name
    assert dict(open_images(path)[0].meta) == {"site": 5, "file": "f0.ome.tif"}


def test_pixels_are_read_when_a_sample_is_asked_for(folder, monkeypatch):
    reads = []
    real = module.read_image
    monkeypatch.setattr(
        module, "read_image", lambda path, **k: reads.append(path.name) or real(path, **k)
    )
    samples = open_images(folder, inputs=["a"], target=["b"])
    assert (len(samples), samples.ids, len(samples.table)) == (3, ["f0", "f1", "f2"], 3)
    assert reads == []
    _ = samples[2]
    assert reads == ["f2.ome.tif"]  # once, although the target is in it too


def test_axes_hold_for_targets_and_labels_too(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 8, 8), np.float32))
    np.save(tmp_path / "t.npy", np.ones((3, 2, 8, 8), np.float32))
    np.save(tmp_path / "r.npy", np.ones((3, 8, 8), np.uint8))
    path = table(tmp_path, [{"image": "a.npy", "target": "a.npy", "regions": "r.npy"}])
    one = open_images(path, axes="CZYX")[0]
    assert (one.image.shape, one.target.shape, one.regions.shape) == (
        (2, 3, 8, 8), (2, 3, 8, 8), (3, 8, 8),
    )  # fmt: skip


def test_a_channel_that_is_not_there_is_refused_with_the_nearest(folder):
    write_tiff(folder / "x" / "a.tif", np.zeros((2, 4, 4), np.float32), ["nucleus", "actin"])
    with pytest.raises(
        DataError, match="no channel 'nuclei': .* channels nucleus, actin; did you mean 'nucleus'"
    ):
        open_images(folder / "x", inputs=["nuclei"])
    with pytest.raises(DataError, match="no channel 2: .* numbered from 0"):
        open_images(folder / "x", target=[2])
    with pytest.raises(UsageError, match=r"inputs='nucleus' is not a list.* write \['nucleus'\]"):
        open_images(folder / "x", inputs="nucleus")
    with pytest.raises(UsageError, match="has no channel left for the input"):
        open_images(folder / "x", target=[0, 1])
    write_tiff(folder / "y" / "a.tif", np.zeros((2, 4, 4), np.float32), ["n", "n"])
    with pytest.raises(DataError, match="the name 'n' is not enough: .*; give its number"):
        open_images(folder / "y", inputs=["n"])


def test_sources_without_images_are_refused(folder):
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images found in .*empty: the formats are .tif"):
        open_images(folder / "empty")
    with pytest.raises(DataError, match="no images found in"):
        open_images(str(folder / "*.nothing"))
    with pytest.raises(DataError, match="nowhere does not exist: name a folder"):
        open_images(folder / "nowhere")
    (folder / "none.csv").write_text("image\n")
    with pytest.raises(DataError, match="no images found in"):
        open_images(folder / "none.csv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"picture": "f0.ome.tif"}], r"needs one column `image`.*; it has picture"),
        ([{"image": "f0.ome.tif", "file": "f0.ome.tif"}], "needs one column `image`"),
        ([{"image": "f0.ome.tif"}, {"image": "f0.ome.tif"}], r"the id 'f0' 2 times \(rows 1, 2\)"),
        ([{"image": f"f{i}.ome.tif", "id": 1} for i in (0, 1)], "the id '1' 2 times"),
        ([{"image": "f7.tif"}], "image in row 1 of .* is f7.tif, and .*f7.tif does not exist"),
        ([{"image": "f0.ome.tif", "x": 1}, {"x": 2}], "row 2 of .* has nothing in column 'image'"),
        ([{"image": "f0.ome.tif", "target": "poscon"}], "target in row 1 .* is poscon, and"),
        ([{"image": "f0.ome.tif", "target": "nan"}], "target in row 1 .* must be a finite number"),
        (
            [{"image": "f0.ome.tif", "target": 1}, {"image": "f1.ome.tif"}],
            "the column 'target' of .* mixes files, numbers and empty cells",
        ),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_meant_are_refused(folder, rows, message):
    with pytest.raises(DataError, match=message):
        open_images(table(folder, rows))


def test_tables_that_cannot_be_read_are_refused(folder):
    (folder / "a.csv").write_bytes(b"")
    (folder / "b.csv").write_bytes(b"\xff\xfe\x00")
    (folder / "c.parquet").write_bytes(b"PAR1 no")
    for name in ("a.csv", "b.csv", "c.parquet", "d.csv"):
        with pytest.raises(DataError, match=f"cannot read the table .*{name}"):
            open_images(folder / name)


def test_paths_stay_inside_their_root(folder):
    inner = folder / "inner"
    inner.mkdir()
    outside = "is outside|which is outside"
    for value in ("../f0.ome.tif", str(folder / "f0.ome.tif"), "x/../../f0.ome.tif"):
        path = table(inner, [{"image": value}])
        with pytest.raises(DataError, match=outside):
            open_images(path)
        if "x/" not in value:
            assert open_images(path, root=folder)[0].image[0, 0, 0] == 0
            assert open_images(path, root="/")[0].image[0, 0, 0] == 0
    (inner / "link.tif").symlink_to(folder / "f0.ome.tif")
    with pytest.raises(DataError, match=outside):
        open_images(table(inner, [{"image": "link.tif"}]))
    path = table(inner, [{"image": "here.tif", "target": "../f0.ome.tif"}])
    write_tiff(inner / "here.tif", np.zeros((1, 8, 12), np.float32), "a")
    with pytest.raises(DataError, match=outside):
        open_images(path)
    assert open_images(table(inner, [{"image": str(inner / "here.tif")}]))[0].channels == ("a",)


@pytest.mark.parametrize("column", ["target", "regions"])
def test_what_is_not_registered_is_refused(folder, column):
    path = table(folder, [{"image": "stain/f0.tif", column: "regions/f1.tif"}])
    message = (
        r"f1.tif has shape .*9, 12\), which is not registered to .*f0.tif of shape \(1, 8, 12\)"
    )
    with pytest.raises(DataError, match=message):
        _ = open_images(path)[0]


def test_the_limit_of_bytes_reaches_the_reader(folder):
    with pytest.raises(DataError, match="limit is 1000 bytes"):
        _ = open_images(folder, max_bytes=1000)[0]


WELLS = pd.DataFrame({"well": [f"w{i // 3}" for i in range(30)], "split": ["a", "b", "b"] * 10})
PARTS = {"train": 0.7, "val": 0.1, "test": 0.2}


def test_whole_groups_go_to_one_part():
    parts = split(WELLS, group="well", fractions=PARTS, seed=1)
    wells = {part: {WELLS.well[i] for i in rows} for part, rows in parts.items()}
    assert sorted(i for rows in parts.values() for i in rows) == list(range(30))
    assert {part: len(w) for part, w in wells.items()} == {"train": 7, "val": 1, "test": 2}
    assert sum(map(len, wells.values())) == 10
    assert split(WELLS, group="well", fractions=PARTS, seed=1) == parts
    assert split(WELLS, group="well", fractions=PARTS, seed=2) != parts
    turned = WELLS.iloc[::-1].reset_index(drop=True)  # a group keeps its part wherever it stands
    again = split(turned, group="well", fractions=PARTS, seed=1)
    assert {part: {turned.well[i] for i in rows} for part, rows in again.items()} == wells


def test_every_part_gets_a_group():
    few = WELLS.iloc[:9]
    parts = split(few, group="well", fractions=PARTS, seed=0)
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 3, "val": 3, "test": 3}
    eight = {"train": 5 / 8, "val": 1 / 8, "test": 2 / 8}
    parts = split(WELLS.iloc[:8], group=None, fractions=eight, seed=0)
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 5, "val": 1, "test": 2}


def test_splits_that_cannot_be_are_refused():
    with pytest.raises(
        DataError, match=r"2 groups \(well\) cannot fill 3 parts \(train, val, test\)"
    ):
        split(WELLS.iloc[:6], group="well", fractions=PARTS, seed=0)
    with pytest.raises(DataError, match="no column 'plate': it has well, split"):
        split(WELLS, group="plate", fractions=PARTS, seed=0)
    for wrong in ({"a": 0.5, "b": 0.6}, {"a": 1.0, "b": 0.0}, {}):
        with pytest.raises(UsageError, match="must be above 0 and sum to 1"):
            split(WELLS, group="well", fractions=wrong, seed=0)
    holes = WELLS.assign(well=[None, *WELLS.well[1:]])
    with pytest.raises(DataError, match="column 'well' is empty in row 1"):
        split(holes, group="well", fractions=PARTS, seed=0)


def test_a_column_can_name_the_parts():
    parts = split_from_column(WELLS)
    assert list(parts) == ["a", "b"]
    assert parts["a"] == list(range(0, 30, 3))
    with pytest.raises(
        DataError, match="well 'w0' stands in the parts 'a' and 'b' of column 'split'"
    ):
        split_from_column(WELLS, group="well")
    with pytest.raises(DataError, match="no column 'part'"):
        split_from_column(WELLS, column="part")


@pytest.mark.real
def test_the_real_fields_open(real_data):
    samples = open_images(
        real_data / "jump_brightfield" / "fields.csv", inputs=["ch6", "ch7", "ch8"], target=["ch5"]
    )
    assert len(samples) == 8
    assert samples[0].image.shape == (3, 512, 512)
    assert samples[0].target.shape == (1, 512, 512)
    assert samples[0].pixel_size is None
