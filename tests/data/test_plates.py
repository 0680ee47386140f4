"""Tables of fields from small trees of the three layouts, and the images that they name."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from attributome.core.errors import DataError, UsageError
from attributome.data.images import read_labels
from attributome.data.plates import (
    deepprofiler_fields,
    described,
    jump_fields,
    ngff_fields,
    read_field,
    read_locations,
)
from attributome.data.tables import read_table


def group_at(path, version, attributes):
    group = zarr.open_group(str(path), mode="a", zarr_format=3 if version == "0.5" else 2)
    told = {"ome": {"version": "0.5", **attributes}} if version == "0.5" else attributes
    group.attrs.update(told)
    return group


def image_at(path, version, array):
    axes = [{"name": n, "type": "channel" if n == "c" else "space"} for n in "czyx"[-array.ndim :]]
    said = {"multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    group_at(path, version, said).create_array("0", data=array)


@pytest.fixture(params=["0.4", "0.5"])
def plate(tmp_path, request):
    """Two wells, the second with two fields; labels beside all."""
    version, home = request.param, tmp_path / "P7.ome.zarr"
    wells = [{"path": "B/3", "rowIndex": 1, "columnIndex": 2}, {"path": "H/12"}]
    group_at(home, version, {"plate": {"wells": wells, "rows": [], "columns": []}})
    for well, sites in (("B/3", ["0"]), ("H/12", ["0", "1"])):
        images = [{"path": site, "acquisition": int(site)} for site in sites]
        group_at(home / well, version, {"well": {"images": images}})
        for site in sites:
            at = home / well / site
            image_at(at, version, np.full((2, 3, 4, 4), int(site), np.uint16))
            group_at(at / "labels", version, {"labels": ["nuclei"]})
            image_at(at / "labels" / "nuclei", version, np.full((3, 4, 4), 9, np.int32))
    return home, version


def test_a_plate_in_ome_zarr(plate):
    home, version = plate
    fields = ngff_fields(home)
    assert fields["field"].tolist() == ["P7/B03/0", "P7/H12/0", "P7/H12/1"]
    assert fields["well"].tolist() == ["B03", "H12", "H12"]
    assert fields["acquisition"].tolist() == [0, 0, 1]
    row = fields.iloc[2]
    assert row["image"] == (str(home / "H/12/1"),)
    picture = read_field(row)
    assert (picture.array == 1).all()
    assert (picture.array.shape, picture.axes) == ((2, 3, 4, 4), "CZYX")
    assert (read_labels(home / "H/12/1/labels/nuclei") == 9).all()
    assert row["labels"] == str(home / "H/12/1/labels/nuclei")
    assert ngff_fields(home, labels="nuclei").equals(fields)
    with pytest.raises(DataError, match="has no labels 'cells'; there are nuclei"):
        ngff_fields(home, labels="cells")
    wells = [{"path": "../other"}]
    group_at(home, version, {"plate": {"name": "x", "wells": wells}})
    (home.parent / "other").mkdir()
    with pytest.raises(DataError, match="is outside"):
        ngff_fields(home)
    group_at(home, version, {"plate": {"name": "x", "wells": [{"path": "C/1"}]}})
    with pytest.raises(DataError, match="does not exist"):
        ngff_fields(home)
    group_at(home, version, {"plate": {"name": "x", "wells": [{"row": 1}]}})
    with pytest.raises(DataError, match="has no path"):
        ngff_fields(home)
    group_at(home, version, {"plate": {"name": "x", "wells": [{"path": "B/3/0"}]}})
    with pytest.raises(DataError, match="is not a well"):
        ngff_fields(home)
    with pytest.raises(DataError, match="is not a plate"):
        ngff_fields(home / "B" / "3")


def write(path, value, shape=(4, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.full(shape, value, np.uint16), photometric="minisblack")


@pytest.fixture
def jump(tmp_path):
    """Two plates, two channels, one field of two planes in the second."""
    first = tmp_path / "images" / "BR01__2020-11-08-Measurement1" / "Images"
    for well in ("r04c08", "r27c14"):
        for channel in (1, 5):
            write(first / f"{well}f05p01-ch{channel}sk1fk1fl1.tiff", channel)
    write(first / "r04c08f05p01-ch5sk1fk1fl1_cp_masks.tiff", 3)
    for channel in (1, 5):
        for plane in (1, 2):
            name = f"r01c02f01p{plane:02d}-ch{channel}sk1fk1fl1.tiff"
            write(tmp_path / "images" / "BR02" / name, 10 * channel + plane)
    write(tmp_path / "images" / "BR02" / "thumbnail.tiff", 0)
    return tmp_path / "images"


def test_the_names_of_jump(jump):
    fields = jump_fields(jump, labels="ch5")
    assert fields["field"].tolist() == ["BR01/AA14/5", "BR01/D08/5", "BR02/A02/1"]
    assert fields["labels"].isna().tolist() == [True, False, True]
    assert (read_labels(jump / fields["labels"][1]) == 3).all()
    planes = read_field(fields.iloc[2])
    assert (planes.channels, planes.axes) == (("ch1", "ch5"), "CZYX")
    assert planes.array[:, :, 0, 0].tolist() == [[11, 12], [51, 52]]
    named = jump_fields(jump, channels={5: "DNA"})
    assert [*named] == ["field", "plate", "well", "site", "image_DNA", "labels"]
    flat = read_field(named.iloc[0])
    assert (flat.array.shape, flat.channels, flat.axes) == ((1, 4, 5), ("DNA",), "CYX")
    with pytest.raises(UsageError, match="no channel 'ER'"):
        jump_fields(jump, labels="ER")


def test_a_field_that_lacks_a_channel_or_a_plane(jump):
    (jump / "BR02" / "r01c02f01p02-ch5sk1fk1fl1.tiff").unlink()
    write(jump / "BR02" / "r01c03f01p02-ch5sk1fk1fl1.tiff", 1)
    with pytest.raises(DataError, match="BR02/A02/1 has no file image_ch5 of plane 2"):
        jump_fields(jump)
    kept = jump_fields(jump, incomplete="drop")
    assert set(kept["plate"]) == {"BR01"}


def test_names_of_jump_that_cannot_be_used(jump, tmp_path):
    write(jump / "BR02" / "Images" / "r01c02f01p01-ch1sk1fk1fl1.tiff", 1)
    with pytest.raises(DataError, match="are the same plane of the same field"):
        jump_fields(jump)
    with pytest.raises(DataError, match="is not a folder"):
        jump_fields(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no fields"):
        jump_fields(tmp_path / "empty")
    write(tmp_path / "away" / "p.tiff", 1)
    (tmp_path / "empty" / "r01c01f01p01-ch1sk1fk1fl1.tiff").symlink_to(tmp_path / "away/p.tiff")
    with pytest.raises(DataError, match="is outside"):
        jump_fields(tmp_path / "empty")
    write(tmp_path / "zero" / "r00c01f01p01-ch1sk1fk1fl1.tiff", 1)
    with pytest.raises(DataError, match="no row 0"):
        jump_fields(tmp_path / "zero")


def test_files_that_hold_all_channels_and_what_a_table_says(tmp_path):
    for name, well in (("FK-866", "r04c08"), ("DMSO", "r04c14")):
        write(tmp_path / "P1" / f"{name}_{well}f05p01.ome.tif", 1, (3, 4, 5))
    fields = jump_fields(tmp_path)
    assert fields["file"].tolist() == ["FK-866_r04c08f05p01.ome.tif", "DMSO_r04c14f05p01.ome.tif"]
    picture = read_field(fields.iloc[0], axes="CYX")
    assert picture.channels == ("c0", "c1", "c2")
    about = pd.DataFrame({"file": fields["file"], "well": ["D08", "D14"], "dose": [1.5, 0.0]})
    told = described(fields, about[::-1])
    assert told["dose"].tolist() == [1.5, 0.0]
    assert told["field"].tolist() == fields["field"].tolist()
    by_well = pd.DataFrame({"Metadata_Well": ["D14"], "Metadata_treatment": ["DMSO"]})
    assert described(fields, by_well)["treatment"].isna().tolist() == [True, False]
    with pytest.raises(DataError, match="well D08 stands twice"):
        described(fields, pd.DataFrame({"well": ["D08", "D08"], "dose": [1, 2]}))
    with pytest.raises(DataError, match="has none of file, plate, well, site"):
        described(fields, pd.DataFrame({"dose": [1]}))
    for column in ("labels", "image_DNA"):
        with pytest.raises(UsageError, match=f"have a column '{column}' already"):
            described(fields, pd.DataFrame({"well": ["D08"], column: ["x"]}))


@pytest.fixture
def project(tmp_path):
    """A project with two fields, one of them with locations."""
    inputs = tmp_path / "inputs"
    rows = []
    for well, site in (("A01", "f01"), ("B02", "7")):
        files = {name: f"P1/{well}_{site}_{name}.tif" for name in ("DNA", "ER")}
        for value, file in enumerate(files.values()):
            write(inputs / "images" / file, value)
        place = {"Metadata_Plate": "P1", "Metadata_Well": well, "Metadata_Site": site}
        rows.append({**place, **files, "Treatment": "DMSO", "Metadata_pert_type": "control"})
    (inputs / "metadata").mkdir()
    pd.DataFrame(rows).to_csv(inputs / "metadata" / "index.csv", index=False)
    (inputs / "locations" / "P1").mkdir(parents=True)
    (inputs / "locations" / "P1" / "A01-f01-Nuclei.csv").write_text(
        "Nuclei_Location_Center_X,Nuclei_Location_Center_Y\n219,34\n1065.5,51\n"
    )
    return tmp_path


def test_a_project_of_deepprofiler(project):
    fields = deepprofiler_fields(project)
    assert fields["field"].tolist() == ["P1/A01/f01", "P1/B02/7"]
    assert fields["Treatment"].tolist() == ["DMSO", "DMSO"]
    assert fields["pert_type"].tolist() == ["control", "control"]
    picture = read_field(fields.iloc[1])
    assert picture.channels == ("DNA", "ER")
    assert picture.array[:, 0, 0].tolist() == [0, 1]
    centres = read_locations(Path(fields["locations"][0]))
    assert centres.to_numpy().tolist() == [[34, 219], [51, 1065.5]]
    assert [*centres] == ["y", "x"]
    assert fields["locations"].isna().tolist() == [False, True]
    assert deepprofiler_fields(project / "inputs").equals(fields)
    one = deepprofiler_fields(project, channels=["ER"])
    assert "image_DNA" not in one
    assert one["DNA"][0] == "P1/A01_f01_DNA.tif"


def _index(project, change):
    path = project / "inputs" / "metadata" / "index.csv"
    change(read_table(path)).to_csv(path, index=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="Metadata_Site"), "no column Metadata_Site"),
        (lambda t: t.assign(DNA="../../../a.tif"), "which is outside"),
        (lambda t: t.assign(DNA="P1/gone.tif"), "which does not exist"),
        (lambda t: t.assign(Metadata_Plate=[None, "P1"]), "row 1 of .*index.csv has no plate"),
        (
            lambda t: t.assign(Metadata_Well="A01", Metadata_Site="f01"),
            "the field P1/A01/f01 twice",
        ),
        (lambda t: t.drop(columns=["DNA", "ER"]), "no column in which every cell"),
        (lambda t: t.assign(plate="P2"), "beside another of that meaning"),
        (lambda t: t.assign(image_id="3"), "beside another of that meaning"),
        (lambda t: t.assign(Metadata_field="3"), "which the table makes itself"),
    ],
)
def test_projects_that_cannot_be_used(project, change, words):
    _index(project, change)
    with pytest.raises(DataError, match=words):
        deepprofiler_fields(project)


def test_channels_that_a_project_does_not_have(project):
    with pytest.raises(UsageError, match="no column 'Mito'"):
        deepprofiler_fields(project, channels=["Mito"])
    _index(project, lambda t: t.assign(ER=[None, "x.tif"]))
    with pytest.raises(DataError, match="row 1 of .* names no image of the channel 'ER'"):
        deepprofiler_fields(project, channels=["ER"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Nuclei_Location_Center_X\n3\n", "no column Nuclei_Location_Center_Y"),
        ("Nuclei_Location_Center_X,Nuclei_Location_Center_Y\n3,a\n", "is no number"),
        ("Nuclei_Location_Center_X,Nuclei_Location_Center_Y\n3,\n", "missing"),
    ],
)
def test_locations_that_cannot_be_read(tmp_path, text, words):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        read_locations(tmp_path / "a.csv")


def test_images_of_one_field_must_fit(tmp_path):
    write(tmp_path / "a.tif", 1)
    write(tmp_path / "b.tif", 1, (4, 6))
    write(tmp_path / "c.tif", 1, (3, 4, 5))
    paths = {name: str(tmp_path / f"{name}.tif") for name in "abc"}
    with pytest.raises(DataError, match="b.tif has the shape"):
        read_field({"image_x": (paths["a"],), "image_y": (paths["b"],)})
    with pytest.raises(DataError, match="a field without a column"):
        read_field({"field": "f"})
    with pytest.raises(DataError, match="one of 2 planes and a stack itself"):
        read_field({"image_x": (paths["c"], paths["c"])}, axes="ZYX")
    both = read_field({"image_x": (paths["c"],), "image_y": (paths["c"],)}, axes="CYX")
    assert both.channels == tuple(f"{n}_c{i}" for n in "xy" for i in range(3))


def test_tables_of_fields_go_to_parquet_and_back(jump, tmp_path):
    fields = jump_fields(jump, channels={1: "Mito"})
    fields.to_parquet(tmp_path / "fields.parquet")
    again = pd.read_parquet(tmp_path / "fields.parquet")
    row = again.iloc[2]
    np.testing.assert_array_equal(read_field(row).array, read_field(fields.iloc[2]).array)
    assert os.path.isfile(row["image_Mito"][1])


@pytest.mark.real
def test_the_fields_of_jump(real_data):
    folder = real_data / "jump_brightfield"
    fields = described(jump_fields(folder), read_table(folder / "fields.csv"))
    assert len(fields) == 8
    one = fields.set_index("compound").loc["FK-866"]
    assert (one["well"], one["site"], one["target_gene"]) == ("D08", "5", "NAMPT")
    assert read_field(one).array.shape == (8, 512, 512)
