"""Every cell of the published layout is read as it is meant, or listed with its reason."""

import numpy as np
import pytest
import tifffile

from attributome.core.errors import DataError, UsageError
from attributome.inpainting import cells as cells_module
from attributome.inpainting.layout import HUMAN, read_layout, read_planes


@pytest.fixture
def write(tmp_path, random):
    """Put a plane at `<group>/<name>`; what was written is returned."""

    def write(name, plane=None):
        plane = random.random((6, 6)).astype(np.float32) if plane is None else plane
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        np.save(path, plane) if path.suffix == ".npy" else tifffile.imwrite(path, plane)
        return plane

    return write


def yeast(write, group, field, cell):
    stem = f"{group}/{group}_{field}_rfp_{cell}"
    return np.stack([write(f"{stem}_gfp.tif"), write(f"{stem}_rfp.tif")])


def reasons(cells):
    return {where: reason for where, _, reason in cells.rejected.to_numpy()}


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("block", [1, 2**26])
def test_names_in_which_a_channel_also_stands_in_the_stem(
    tmp_path, write, monkeypatch, on_disk, block
):
    monkeypatch.setattr(cells_module, "BLOCK", block)
    wanted = [yeast(write, "AAC1", 1, 10), yeast(write, "AAC1", 2, 9), yeast(write, "AAH1", 1, 10)]
    folder = tmp_path / "cells" if on_disk else None
    cells = read_layout(tmp_path, names="yeast", folder=folder)
    np.testing.assert_array_equal(cells.crops, wanted)
    names = [*cells.table.columns]
    assert names == ["id", "group", "field", "folder", "protein", "cell"]
    assert cells.table.to_numpy().tolist() == [
        ["AAC1/AAC1_1_rfp_10", "AAC1", "AAC1_1", "AAC1", "AAC1", "10"],
        ["AAC1/AAC1_2_rfp_9", "AAC1", "AAC1_2", "AAC1", "AAC1", "9"],
        ["AAH1/AAH1_1_rfp_10", "AAH1", "AAH1_1", "AAH1", "AAH1", "10"],
    ]
    assert (cells.channels, cells.targets, cells.markers) == (
        ("protein", "cytosol"),
        ("protein",),
        ("cytosol",),
    )
    assert not len(cells.rejected)


def test_groups_are_folders_or_any_columns(tmp_path, write):
    for field, cell in ((1, 1), (1, 2), (2, 1)):
        yeast(write, "A", field, cell)
    assert read_layout(tmp_path).table["group"].tolist() == ["A"] * 3
    assert read_layout(tmp_path).table["field"].tolist() == ["A"] * 3
    by_field = read_layout(tmp_path, names="yeast", group=["folder", "field"])
    assert by_field.table["group"].tolist() == ["A/A_1", "A/A_1", "A/A_2"]
    own = read_layout(tmp_path, names=r".*_(?P<number>\d+)", group=["number"])
    assert own.table["group"].tolist() == ["1", "2", "1"]
    with pytest.raises(UsageError, match="grouped by plate; there are id, group, field"):
        read_layout(tmp_path, group=["plate"])
    with pytest.raises(UsageError, match="grouped by nothing"):
        read_layout(tmp_path, group=[])


def test_any_number_of_channels_targets_and_any_size(tmp_path, write, random):
    channels = {"a": "one", "b": "two", "raw_b": "three", "c": "four"}
    planes = random.random((4, 5, 9)).astype(np.float32)
    for end, plane in zip(channels, planes, strict=True):
        write(f"g/cell_{end}.npy", plane)
    cells = read_layout(tmp_path, channels=channels, targets=["four", "one"])
    assert (cells.targets, cells.markers) == (("four", "one"), ("two", "three"))
    np.testing.assert_array_equal(cells.crops, planes[None])
    np.testing.assert_array_equal(cells.source(np.array([0]))[0], planes[[3, 0, 1, 2]])


def test_what_cannot_be_used_is_listed(tmp_path, write):
    for i in range(30):
        yeast(write, "g", 1, i)
    write("g/g_1_rfp_90_gfp.tif")  # no marker
    write("g/g_1_rfp_91_rfp.tif")  # no protein
    yeast(write, "g", "x", 1)
    for name, spoil in (
        ("92", lambda path: path.write_bytes(b"II*\0 and no more")),
        ("93", lambda path: path.write_bytes(path.read_bytes()[:-20])),
        ("94", lambda path: tifffile.imwrite(path, np.zeros((6, 7), np.float32))),
        ("95", lambda path: tifffile.imwrite(path, np.full((6, 6), np.nan, np.float32))),
        ("96", lambda path: tifffile.imwrite(path, np.zeros((2, 6, 6), np.float32))),
        ("97", lambda path: path.write_bytes(b"")),
    ):
        yeast(write, "g", 1, name)
        spoil(tmp_path / "g" / f"g_1_rfp_{name}_gfp.tif")
    write("g/g_1_rfp_1_bf.tif")
    (tmp_path / "g" / "notes.txt").write_text("hello")
    (tmp_path / "g" / ".hidden_gfp.tif").write_text("hello")
    cells = read_layout(tmp_path, names="yeast")
    assert len(cells) == 30
    assert cells.about["other_files"] == 1
    found = reasons(cells)
    assert set(found) == {f"g/g_1_rfp_{i}" for i in range(90, 98)} | {"g/g_x_rfp_1"}
    assert found["g/g_1_rfp_90"] == "it has no file for rfp"
    assert found["g/g_1_rfp_91"] == "it has no file for gfp"
    assert found["g/g_x_rfp_1"].startswith("its name is not ")
    assert found["g/g_1_rfp_92"] == "it holds 0 images and not one"
    assert found["g/g_1_rfp_93"].startswith("it is cut short")
    assert found["g/g_1_rfp_94"] == "it is 1 x 6 x 7 and not 1 x 6 x 6"
    assert found["g/g_1_rfp_95"] == "it has 36 pixels that are NaN or infinite"
    assert found["g/g_1_rfp_96"] == "it is 2 x 6 x 6 and not 1 x 6 x 6"
    assert found["g/g_1_rfp_97"].startswith("it cannot be read: ")


def test_most_cells_and_not_the_first_decide_the_size(tmp_path, write):
    write("g/a_gfp.tif", np.zeros((8, 8), np.float32))
    write("g/a_rfp.tif", np.zeros((8, 8), np.float32))
    for i in range(3):
        yeast(write, "g", 1, i)
    assert len(read_layout(tmp_path)) == 3
    assert len(read_layout(tmp_path, size=(8, 8))) == 1


@pytest.mark.parametrize(
    ("dtype", "value", "wanted"),
    [
        (np.uint8, 51, 0.2),
        (np.uint16, 65535, 1),
        (np.float64, 7.5, 7.5),
        (np.int16, 32767, 1),
        (bool, True, 1),
    ],
)
def test_whole_numbers_are_shares_of_the_largest(tmp_path, write, dtype, value, wanted):
    write("g/x.tif" if dtype is not bool else "g/x.npy", np.full((3, 4), value, dtype))
    path = next((tmp_path / "g").iterdir())
    made = read_planes(path)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, np.full((1, 3, 4), wanted, np.float32))


def test_a_pickle_and_a_line_are_no_planes(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "b.npy", np.zeros(5))
    np.save(tmp_path / "c.npy", np.full((2, 2), 1e300))
    for name, words in (("a", "cannot be read"), ("b", "no planes"), ("c", "4 pixels that are")):
        with pytest.raises(DataError, match=words):
            read_planes(tmp_path / f"{name}.npy")


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"channels": {"red": "r"}}, DataError, "for the channels red; its files end in _"),
        ({"channels": {"gfp": "p", "bf": "m"}}, DataError, "are incomplete or named otherwise"),
        ({"names": "human"}, DataError, "are incomplete or named otherwise"),
        ({"names": "("}, UsageError, "neither one of yeast, human nor a pattern"),
        ({"names": "(?P<group>.*)"}, UsageError, "finds a 'group'"),
        ({"targets": ["gfp"]}, UsageError, "no channel 'gfp'"),
        ({"targets": ["protein", "cytosol"]}, UsageError, "2 targets and 0 markers"),
        ({"size": (9, 9)}, DataError, "no cell can be used: 1 were refused"),
    ],
)
def test_a_request_that_finds_nothing(tmp_path, write, options, kind, words):
    yeast(write, "A", 1, 1)
    with pytest.raises(kind, match=words):
        read_layout(tmp_path, **options)


def test_folders_that_hold_nothing(tmp_path, write):
    with pytest.raises(DataError, match="is no folder"):
        read_layout(tmp_path / "none")
    with pytest.raises(DataError, match="has no `<folder>/<cell>_<channel>.tif`"):
        read_layout(tmp_path)
    (tmp_path / "g").mkdir()
    for end in ("gfp", "rfp"):
        (tmp_path / "g" / f"a_{end}.tif").write_bytes(b"no")
    with pytest.raises(DataError, match="none of 1 cells can be read"):
        read_layout(tmp_path)
    write("g/a_gfp.npy")
    with pytest.raises(DataError, match="are one channel of one cell"):
        read_layout(tmp_path)


@pytest.mark.real
def test_the_published_cells(real_data):
    yeast = read_layout(real_data / "yeast_inpainting" / "images", names="yeast")
    assert yeast.crops.shape == (12, 2, 64, 64)
    assert set(yeast.table["field"]) == {"AAC1_1"}
    human = read_layout(real_data / "human_inpainting", channels=HUMAN, names="human")
    assert human.crops.shape == (40, 3, 128, 128)
    counts = human.table.groupby("field").size().to_dict()
    assert counts == {"A1CF_762_F2_1": 18, "A1CF_762_F2_2": 16, "A4GALT_1645_H1_6_6": 6}
    assert not len(human.rejected)
    row = human.table["id"].tolist().index("A1CF_762_F2/762_F2_1_10")
    means = human.crops[row].mean((1, 2), dtype=float)
    np.testing.assert_allclose(means, [0.159052, 0.143322, 0.100817], atol=6e-7)
