"""Every format into `(c, *s)` with its metadata, and every way in which a file can be wrong."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from attributome.core.errors import DataError, UsageError
from attributome.data.images import probe_image, read_image, read_labels, write_tiff
from data.zarr_images import ome_zarr

PLANES = np.arange(2 * 3 * 8 * 9, dtype=np.uint16).reshape(2, 3, 8, 9) * 7


def guess(kind, a, b, c):
    """What each PNG filter expects from the bytes to the left, above, and above left."""
    nearest = min((a, b, c), key=lambda value: abs(a + b - c - value))
    return (0, a, b, (a + b) // 2, nearest)[kind]


def png(path, array):
    """A 16-bit RGB PNG by hand, each row with another of the five filters."""
    h, w, _ = array.shape
    raw = array.astype(">u2").tobytes()
    stride, rows, last = w * 6, [], bytes(w * 6)
    for y in range(h):
        row = raw[y * stride : (y + 1) * stride]
        left, corner = bytes(6) + row[:-6], bytes(6) + last[:-6]
        triples = zip(row, left, last, corner, strict=False)
        coded = [(v - guess(y % 5, *near)) % 256 for v, *near in triples]
        rows.append(bytes([y % 5, *coded]))
        last = row

    def chunk(name, body):
        check = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0)
    body = (
        chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def test_ome_tiff_with_names_and_units(tmp_path):
    path = tmp_path / "a.ome.tif"
    said = {
        "axes": "CZYX",
        "Channel": {"Name": ["BF", "DNA"]},
        "PhysicalSizeX": 290.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.3,  # without a unit OME means µm
        "PhysicalSizeZ": 0.001,
        "PhysicalSizeZUnit": "mm",
    }
    tifffile.imwrite(path, PLANES, ome=True, photometric="minisblack", metadata=said)
    picture = read_image(path)
    assert np.array_equal(picture.array, PLANES)
    assert picture.array.dtype == np.float32
    assert (picture.channels, picture.axes) == (("BF", "DNA"), "CZYX")
    assert picture.pixel_size == pytest.approx((1.0, 0.3, 0.29))
    shape, axes, channels, pixel_size, dtype = probe_image(path)
    assert (shape, axes, channels, dtype) == ((2, 3, 8, 9), "CZYX", ("BF", "DNA"), np.uint16)
    assert pixel_size == picture.pixel_size


def test_what_write_tiff_writes_is_read_back(tmp_path, random):
    volume = random.random((2, 3, 8, 9), np.float32)
    write_tiff(tmp_path / "deep" / "v.ome.tif", volume, ["a", "b"], (0.5, 0.29, 0.29))
    picture = read_image(tmp_path / "deep" / "v.ome.tif")
    assert np.array_equal(picture.array, volume)
    assert (picture.channels, picture.pixel_size) == (("a", "b"), (0.5, 0.29, 0.29))
    write_tiff(tmp_path / "p.tif", volume[:1, 0], ["a"])
    picture = read_image(tmp_path / "p.tif")
    assert np.array_equal(picture.array, volume[:1, 0])
    assert (picture.channels, picture.pixel_size, picture.axes) == (("a",), None, "CYX")


def test_write_tiff_wants_a_name_per_channel(tmp_path):
    with pytest.raises(DataError, match="1 channel names were given for 2 channels"):
        write_tiff(tmp_path / "a.tif", np.zeros((2, 4, 4), np.float32), ["a"])


def test_imagej_tiff_has_resolution_unit_and_spacing(tmp_path):
    path = tmp_path / "ij.tif"
    tifffile.imwrite(
        path,
        PLANES.transpose(1, 0, 2, 3),
        imagej=True,
        resolution=(4.0, 2.0),
        metadata={"axes": "ZCYX", "unit": "um", "spacing": 1.5, "Labels": ["x"] * 6},
    )
    picture = read_image(path)
    assert np.array_equal(picture.array, PLANES)
    assert picture.pixel_size == pytest.approx((1.5, 0.5, 0.25))
    assert picture.channels == ("c0", "c1")  # labels of planes are not names of channels


def test_an_imagej_stack_without_spacing_has_no_pixel_size(tmp_path):
    said = {"axes": "ZYX", "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", PLANES[0], imagej=True, resolution=(4, 4), metadata=said)
    assert read_image(tmp_path / "a.tif").pixel_size is None


def test_a_plain_tiff_and_its_72_dpi_say_nothing_of_micrometres(tmp_path):
    path = tmp_path / "a.tiff"
    tifffile.imwrite(path, PLANES[0, 0], resolution=(72, 72), resolutionunit="INCH")
    picture = read_image(path)
    assert (picture.pixel_size, picture.channels, picture.axes) == (None, ("c0",), "CYX")


def test_rgb_tiff_has_three_channels(tmp_path, random):
    colours = random.integers(0, 255, (8, 9, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    picture = read_image(tmp_path / "a.tif")
    assert picture.channels == ("R", "G", "B")
    assert np.array_equal(picture.array, colours.transpose(2, 0, 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_png(tmp_path, random, dtype):
    grey = random.integers(0, np.iinfo(dtype).max, (8, 9)).astype(dtype)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png").array, grey[None])
    assert probe_image(tmp_path / "a.png")[4] == dtype


def test_rgb_png_of_8_and_of_16_bits(tmp_path, random):
    colours = random.integers(0, 65535, (11, 9, 3)).astype(np.uint16)
    png(tmp_path / "16.png", colours)
    Image.fromarray((colours >> 8).astype(np.uint8)).save(tmp_path / "8.png")
    deep, shallow = read_image(tmp_path / "16.png"), read_image(tmp_path / "8.png")
    assert np.array_equal(deep.array, colours.transpose(2, 0, 1))
    assert np.array_equal(shallow.array, colours.transpose(2, 0, 1) // 256)
    assert deep.channels == shallow.channels == ("R", "G", "B")


def test_npy_axes_are_inferred_or_given(tmp_path):
    np.save(tmp_path / "a.npy", PLANES)
    np.save(tmp_path / "b.npy", PLANES[0])
    np.save(tmp_path / "c.npy", PLANES[0, 0])
    assert read_image(tmp_path / "a.npy").array.shape == (2, 3, 8, 9)
    assert read_image(tmp_path / "b.npy").channels == ("c0", "c1", "c2")
    assert read_image(tmp_path / "b.npy", axes="ZYX").array.shape == (1, 3, 8, 9)
    assert read_image(tmp_path / "b.npy", axes="YXC").array.shape == (9, 3, 8)
    assert read_image(tmp_path / "c.npy").array.shape == (1, 8, 9)


def test_a_single_plane_loses_its_z(tmp_path):
    path = ome_zarr(tmp_path / "a.zarr", PLANES[:1, :1], [(n, "micrometer") for n in "czyx"])
    picture = read_image(path)
    assert (picture.array.shape, picture.axes, picture.pixel_size) == ((1, 8, 9), "CYX", (2.5, 3.5))


def test_labels_are_whole_numbers_of_one_channel(tmp_path):
    labels = np.arange(72, dtype=np.uint16).reshape(8, 9)
    write_tiff(tmp_path / "a.tif", labels[None], ["regions"])
    found = read_labels(tmp_path / "a.tif")
    assert found.dtype == np.int32
    assert np.array_equal(found, labels)
    np.save(tmp_path / "b.npy", labels > 3)
    assert read_labels(tmp_path / "b.npy").max() == 1
    for name, wrong, message in (
        ("float", labels.astype(float), "holds float64 values: labels are whole numbers"),
        ("two", np.stack([labels, labels]), "has 2 channels: a label image has one"),
        ("minus", labels.astype(np.int16) - 1, "has labels from -1 to 70: they must be 0"),
    ):
        np.save(tmp_path / f"{name}.npy", wrong)
        with pytest.raises(DataError, match=message):
            read_labels(tmp_path / f"{name}.npy")


@pytest.mark.parametrize("axes", ["cyx", "CYXQ", "CY", "CYXX", ""])
def test_a_wrong_spelling_of_axes_is_a_usage_error(tmp_path, axes):
    np.save(tmp_path / "a.npy", PLANES)
    with pytest.raises(UsageError, match=f"axes {axes!r} are not an image.*such as 'CZYX'"):
        read_image(tmp_path / "a.npy", axes=axes)


def test_axes_that_do_not_fit_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", PLANES)
    with pytest.raises(DataError, match=r"has 4 axes \(shape .*\), not the 3 of axes='CYX'"):
        read_image(tmp_path / "a.npy", axes="CYX")
    np.save(tmp_path / "b.npy", PLANES[None])
    with pytest.raises(DataError, match=r"has axes '\?\?\?\?\?'.*give axes='TCZYX'"):
        read_image(tmp_path / "b.npy")
    tifffile.imwrite(tmp_path / "c.tif", PLANES[0], photometric="minisblack", metadata=None)
    with pytest.raises(DataError, match="has axes '[QI]YX'.*give axes='ZYX' or 'CYX'"):
        read_image(tmp_path / "c.tif")
    assert read_image(tmp_path / "c.tif", axes="ZYX").array.shape == (1, 3, 8, 9)


def test_time_points_are_refused_with_a_way_out(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", PLANES[0], ome=True, metadata={"axes": "TYX"})
    with pytest.raises(DataError, match=r"holds 3 time points .* save each time point as a file"):
        read_image(tmp_path / "a.ome.tif")


def huge_tiff(path, dtype="uint16", side=46341):
    """A TIFF header that declares `side` squared pixels, over a few bytes of data."""
    tifffile.imwrite(path, np.zeros((16, 16), dtype), metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages[0].tags[name].overwrite(side)


def test_declared_sizes_are_refused_before_reading(tmp_path):
    huge_tiff(tmp_path / "a.tif")
    zeros = ome_zarr(
        tmp_path / "b.zarr", (65536, 65536), [("y", None), ("x", None)],
        dtype="uint8", chunks=(1024, 1024),
    )  # fmt: skip
    assert sum(f.stat().st_size for f in zeros.rglob("*") if f.is_file()) < 9000
    with (tmp_path / "c.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (32768, 32768)}
        )
        file.truncate(2**32 + file.tell())  # a sparse file takes no room on the disk
    head = struct.pack(">IIBBBBB", 2**16, 2**16, 8, 0, 0, 0, 0)
    (tmp_path / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + head)
    for name, declared, needed in (
        ("a.tif", "46341 x 46341 pixels of uint16", 46341**2 * 4),
        ("b.zarr", "65536 x 65536 pixels of uint8", 2**34),
        ("c.npy", "32768 x 32768 pixels of float32", 2**32),
        ("d.png", "65536 x 65536 pixels of uint8", 2**34),
    ):
        message = f"declares {declared}, which need {needed} bytes.*limit is 4294967296 bytes"
        for read in (read_image, read_labels):
            with pytest.raises(DataError, match=message):
                read(tmp_path / name)


def test_the_limit_is_an_argument(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(100, dtype=np.uint8).reshape(10, 10))
    assert read_image(tmp_path / "a.npy", max_bytes=401).array.shape == (1, 10, 10)
    with pytest.raises(DataError, match="which need 400 bytes in memory, and the limit is 400"):
        read_image(tmp_path / "a.npy", max_bytes=400)


@pytest.mark.parametrize("kind", ["plain", "ome", "imagej", "zlib", "tiled"])
def test_a_tiff_cut_anywhere_is_refused(tmp_path, kind, random):
    path = tmp_path / "a.tif"
    array = random.integers(0, 4000, (3, 64, 64)).astype(np.uint16)
    options = {
        "plain": {"metadata": {"axes": "CYX"}},
        "ome": {"ome": True, "metadata": {"axes": "CYX"}},
        "imagej": {"imagej": True, "metadata": {"axes": "CYX"}},
        "zlib": {"compression": "zlib", "metadata": {"axes": "CYX"}},
        "tiled": {"tile": (32, 32), "metadata": {"axes": "CYX"}},
    }[kind]
    tifffile.imwrite(path, array, photometric="minisblack", **options)
    whole = path.read_bytes()
    assert np.array_equal(read_image(path).array, array)
    for share in np.linspace(0, 0.98, 25):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError) as refused:
            read_image(path)
        assert "\n" not in str(refused.value)


def test_a_tiff_with_flipped_bytes_is_refused_or_read(tmp_path, random):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, random.integers(0, 9, (16, 16)).astype(np.uint8), compression="zlib")
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert np.isfinite(read_image(path, axes="YX", max_bytes=2**20).array).all()
        except DataError:
            continue


def test_a_tiff_whose_planes_lie_elsewhere_is_refused(tmp_path):
    said = {"axes": "CYX"}
    tifffile.imwrite(tmp_path / "a.ome.tif", PLANES[0], ome=True, metadata=said)
    with tifffile.TiffFile(tmp_path / "a.ome.tif", mode="r+") as file:
        text = file.ome_metadata.replace('SizeC="3"', 'SizeC="4"')
        file.pages[0].tags["ImageDescription"].overwrite(text.encode())
    with pytest.raises(DataError, match="lacks plane 3|cannot be read|is cut short"):
        read_image(tmp_path / "a.ome.tif")


def test_a_tiff_of_several_images_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(PLANES[0, 0], metadata=None)
        file.write(PLANES[0, 0, :5], metadata=None)
    with pytest.raises(DataError, match="holds 2 images: save the one you mean"):
        read_image(tmp_path / "a.tif")


def test_a_codec_that_is_missing_is_named(tmp_path):
    grey = Image.fromarray(np.arange(72, dtype=np.uint8).reshape(8, 9))
    grey.save(tmp_path / "a.tif", compression="tiff_lzw")
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from pathlib import Path\n"
        "from attributome.core.errors import DataError\n"
        "from attributome.data.images import read_image\n"
        "try: read_image(Path(sys.argv[1]))\n"
        "except DataError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "is compressed with LZW: install attributome[codecs] to read it" in done.stdout


def test_what_is_not_an_image_is_refused(tmp_path):
    for name, body, message in (
        ("a.tif", b"not a tiff at all", "a.tif is not a TIFF that can be read"),
        ("a.png", b"not a png at all, but long enough", "a.png is not a PNG: its first bytes are"),
        ("a.npy", b"not an array", "a.npy is not an NPY array of numbers"),
        ("empty.tif", b"", "empty.tif is not a TIFF"),
        ("empty.png", b"", "empty.png is not a PNG"),
        ("empty.npy", b"", "empty.npy is not an NPY"),
        ("a.jpg", b"", "a.jpg is not an image: the formats are .tif, .tiff, .png, .npy, .zarr"),
    ):
        (tmp_path / name).write_bytes(body)
        with pytest.raises(DataError, match=message):
            read_image(tmp_path / name)
    with pytest.raises(DataError, match=r"nothing.tif does not exist"):
        read_image(tmp_path / "nothing.tif")


def test_a_pickle_in_an_npy_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[{}, 1]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="not an NPY array of numbers"):
        read_image(tmp_path / "a.npy")


def test_complex_and_empty_arrays_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 4), complex))
    with pytest.raises(DataError, match="holds complex128 values: an image holds real numbers"):
        read_image(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.ones((0, 4)))
    with pytest.raises(DataError, match=r"\(0, 4\): it holds no pixels|not an NPY array"):
        read_image(tmp_path / "b.npy")


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_alpha_and_palettes_are_refused(tmp_path, mode):
    Image.new(mode, (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"PNG: save it as grey or RGB"):
        read_image(tmp_path / "a.png")


def test_a_png_that_is_cut_short_is_refused(tmp_path, random):
    Image.fromarray(random.integers(0, 255, (64, 64)).astype(np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is a PNG whose pixels cannot be read"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_pixels_that_are_no_numbers_are_counted_and_placed(tmp_path, value):
    array = np.ones((2, 4, 5))
    array[1, 2, 3] = array[1, 3, 0] = value
    np.save(tmp_path / "a.npy", array)
    message = r"holds 2 pixels that are NaN or infinite, the first at c=1, y=2, x=3"
    with pytest.raises(DataError, match=message):
        read_image(tmp_path / "a.npy")
