"""OME-Zarr into `(c, *s)` with its metadata, and the ways in which one can be wrong."""

import numpy as np
import pytest
import zarr

from attributome.core.errors import DataError
from attributome.data.images import probe_image, read_image
from data.zarr_images import ome_zarr

PLANES = np.arange(2 * 3 * 8 * 9, dtype=np.uint16).reshape(2, 3, 8, 9) * 7


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(tmp_path, version):
    axes = [("t", "second"), ("c", None), ("z", "nanometer"), ("y", "micrometer"), ("x", "mm")]
    omero = {"omero": {"channels": [{"label": "BF"}, {"color": "FFFFFF"}]}}
    path = ome_zarr(tmp_path / "a.zarr", PLANES[None], axes, version=version, ome=omero)
    picture = read_image(path)
    assert np.array_equal(picture.array, PLANES)
    assert (picture.channels, picture.axes) == (("BF", "c1"), "CZYX")
    assert picture.pixel_size == pytest.approx((0.0025, 3.5, 4500))
    assert probe_image(path)[4] == np.uint16


def test_ome_zarr_multiplies_the_scale_of_the_whole_image(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PLANES[0, 0], [("y", "micrometer"), ("x", "micrometer")])
    group = zarr.open_group(str(path), mode="r+")
    said = dict(group.attrs["ome"])
    said["multiscales"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [2.0, 4.0]}]
    group.attrs["ome"] = said
    assert read_image(path).pixel_size == (1.0, 6.0)


def test_a_zarr_without_units_has_no_pixel_size(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PLANES[0], [("c", None), ("y", None), ("x", None)])
    assert read_image(path).pixel_size is None


def test_a_small_zarr_of_huge_chunks_is_refused(tmp_path):
    path = ome_zarr(
        tmp_path / "a.zarr", (8, 8), [("y", None), ("x", None)],
        dtype="uint8", chunks=(65536, 65536),
    )  # fmt: skip
    with pytest.raises(DataError, match="declares 8 x 8 pixels of uint8, which need 4294967296"):
        read_image(path)


def test_zarrs_that_are_no_image_say_what_they_are(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    with pytest.raises(DataError, match="is a Zarr without `multiscales`"):
        read_image(tmp_path / "a.zarr")
    group.attrs["ome"] = {"plate": {"wells": [{"path": "A/1"}]}}
    with pytest.raises(
        DataError, match=r"is a plate: name one field of it, such as .*a.zarr/A/1/0"
    ):
        read_image(tmp_path / "a.zarr")
    group.attrs["ome"] = {"bioformats2raw.layout": 3}
    with pytest.raises(DataError, match=r"is a collection of images.* such as .*a.zarr/0"):
        read_image(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(DataError, match=r"b.zarr is not an OME-Zarr image that can be read"):
        read_image(tmp_path / "b.zarr")


def test_a_zarr_cannot_point_outside_itself(tmp_path):
    ome_zarr(tmp_path / "secret.zarr", PLANES[0, 0], [("y", None), ("x", None)])
    path = ome_zarr(tmp_path / "a.zarr", PLANES[0, 0], [("y", None), ("x", None)])
    group = zarr.open_group(str(path), mode="r+")
    said = dict(group.attrs["ome"])
    said["multiscales"][0]["datasets"][0]["path"] = "../secret.zarr/0"
    group.attrs["ome"] = said
    with pytest.raises(DataError, match="is not an OME-Zarr image that can be read"):
        read_image(path)


def test_a_zarr_with_a_broken_chunk_is_refused(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PLANES[0, 0], [("y", None), ("x", None)])
    (path / "0" / "c" / "0" / "0").write_bytes(b"broken")
    with pytest.raises(DataError, match="has chunks that cannot be read"):
        read_image(path)
