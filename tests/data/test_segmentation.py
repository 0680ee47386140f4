"""Label images: planted nuclei found, slices joined as a slow oracle joins them, files beside."""

import importlib.util
import json

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from scipy import ndimage

from attributome.core.errors import DataError, UsageError
from attributome.data.images import read_image, read_labels
from attributome.data.segmentation import (
    cellpose_labels,
    in_reading_order,
    labels_beside,
    segment,
    stitch,
)


def planted(dims, spacing, seed=0, pairs=6, radius=6.0):
    """Balls in touching pairs, blurred and with noise; the truth and the image."""
    random = np.random.default_rng(seed)
    spacing = np.array(spacing[-dims:])
    side, shape = 60.0, None
    shape = tuple(int(side / step) for step in spacing)
    at = np.stack(
        np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    )
    truth = np.zeros(shape, np.int32)
    middles: list[np.ndarray] = []
    while len(middles) < 2 * pairs:
        one = random.uniform(radius, side - radius, dims)
        way = random.normal(size=dims)
        two = one + 1.9 * radius * way / np.linalg.norm(way)
        inside = (two > radius).all() and (two < side - radius).all()
        if inside and all(
            np.linalg.norm(m - t) > 2.6 * radius for m in middles for t in (one, two)
        ):
            middles += [one, two]
        elif random.random() < 0.001:
            middles = []
    far = np.stack([np.sqrt(((at - m.reshape(-1, *[1] * dims)) ** 2).sum(0)) for m in middles])
    nearest = far.argmin(0)
    truth[:] = np.where(far.min(0) <= radius, nearest + 1, 0)
    bright = random.uniform(800, 1200, len(middles))
    clean = np.where(truth > 0, bright[nearest], 100.0)
    image = ndimage.gaussian_filter(clean, 0.7 / spacing) + random.normal(0, 40, shape)
    return truth, image.astype(np.float32)


def found(truth, labels):
    """How many true cells have a label with an intersection over union of at least a half."""
    count = 0
    for cell in np.unique(truth)[1:]:
        mine = truth == cell
        best = np.bincount(labels[mine], minlength=2)
        best[0] = 0
        other = labels == best.argmax()
        count += best.any() and (mine & other).sum() / (mine | other).sum() >= 0.5
    return count


@pytest.mark.parametrize("method", ["otsu", "log"])
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_planted_nuclei_that_touch_are_found(dims, method, scale):
    spacing = (1.5, 1.0, 1.0)
    truth, image = planted(dims, spacing, pairs=4 if dims == 2 else 6)
    image = np.maximum(image, 1)
    labels = segment(image, diameter=12.0, spacing=spacing[-dims:], method=method, scale=scale)
    total = int(truth.max())
    assert found(truth, labels) >= 0.9 * total
    assert labels.max() <= 1.1 * total
    np.testing.assert_array_equal(labels, in_reading_order(labels))


@pytest.mark.parametrize("method", ["otsu", "log"])
def test_the_voxel_is_a_unit_where_no_spacing_is_given(dims, method):
    _, image = planted(dims, (2.0, 2.0, 2.0), pairs=3)
    labels = segment(image, diameter=6.0, method=method)
    halved = segment(image, diameter=3.0, spacing=(0.5,) * dims, method=method)
    np.testing.assert_array_equal(labels, halved)


def test_sizes_borders_and_holes():
    image = np.zeros((60, 60), np.float32)
    image[10:22, 10:22] = 1
    image[14:18, 14:18] = 0  # a hole
    image[40:52, 48:60] = 1  # at the edge
    image[40:43, 10:13] = 1  # small
    options = {"diameter": 12.0, "sigma": 0.3}
    labels = segment(image, **options)
    assert labels.max() == 2
    assert (labels[10:22, 10:22] == 1).all()
    assert (labels[40:52, 48:60] == 2).all()
    assert segment(image, border="drop", **options).max() == 1
    assert segment(image, smallest=1, **options).max() == 3
    assert segment(image, smallest=1, largest=100, **options).max() == 1
    assert segment(image, threshold=2.0, **options).max() == 0
    assert segment(image, threshold=2.0, method="log", **options).max() == 0


def test_a_dim_nucleus_beside_a_bright_one_needs_the_logarithm():
    y, x = np.mgrid[:40, :60]
    image = np.full((40, 60), 100.0)
    image[(y - 20) ** 2 + (x - 15) ** 2 <= 36] = 8000
    image[(y - 20) ** 2 + (x - 45) ** 2 <= 36] = 600
    assert segment(image, diameter=12.0).max() == 1
    assert segment(image, diameter=12.0, scale="log").max() == 2


def test_images_that_cannot_be_segmented(dims, random):
    image = random.random([12] * dims)
    with pytest.raises(DataError, match="of the one value 3 "):
        segment(np.full([12] * dims, 3), diameter=4.0)
    for value in (np.nan, np.inf):
        with pytest.raises(DataError, match="1 voxels are NaN"):
            segment(
                np.where(np.arange(12**dims).reshape(image.shape) == 5, value, image), diameter=4.0
            )
    with pytest.raises(DataError, match="no plane"):
        segment(image[..., 0, 0] if dims == 2 else image[None], diameter=4.0)
    for options in (
        {"diameter": 0.0},
        {"diameter": 4.0, "sigma": -1.0},
        {"diameter": float("nan")},
    ):
        with pytest.raises(UsageError, match="cannot be meant"):
            segment(image, **options)
    for spacing in ((1.0,), (1.0,) * (dims - 1) + (0.0,)):
        with pytest.raises(UsageError, match="does not fit an image"):
            segment(image, diameter=4.0, spacing=spacing)
    with pytest.raises(DataError, match="needs values above 0"):
        segment(image - 0.9, diameter=4.0, scale="log")


def slow_stitch(slices, threshold, gap):
    """Sets of pixels, the best pair again and again, and then numbers in reading order."""
    planes = [
        {int(v): {tuple(p) for p in np.argwhere(plane == v)} for v in np.unique(plane) if v}
        for plane in slices
    ]
    cells: list[dict[int, int]] = []  # slice to mask
    for z, plane in enumerate(planes):
        free = dict(plane)
        for back in range(1, gap + 2):
            while True:
                best = None
                for number, cell in enumerate(cells):
                    if max(cell) != z - back:
                        continue
                    for mask, pixels in free.items():
                        old = planes[z - back][cell[z - back]]
                        overlap = len(old & pixels) / len(old | pixels)
                        if overlap >= threshold and (best is None or overlap > best[0]):
                            best = overlap, number, mask
                if best is None:
                    break
                cells[best[1]][z] = best[2]
                del free[best[2]]
        cells += [{z: mask} for mask in free]
    out = np.zeros(slices.shape, np.int32)
    for number, cell in enumerate(cells, 1):
        for z, mask in cell.items():
            out[z][slices[z] == mask] = number
    return in_reading_order(out)


@pytest.mark.parametrize("gap", [0, 1, 2])
@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.6])
def test_slices_are_joined_as_by_the_oracle(gap, threshold):
    for seed in range(6):
        random = np.random.default_rng(seed)
        slices = np.zeros((6, 14, 14), np.int64)
        for plane in slices:
            if random.random() < 0.2:
                continue
            for label in random.permutation(7)[: random.integers(1, 7)] + 1:
                top, left = random.integers(0, 11, 2)
                high, wide = random.integers(2, 6, 2)
                plane[top : top + high, left : left + wide] = label * 11
        got = stitch(slices, threshold=threshold, gap=gap)
        np.testing.assert_array_equal(got, slow_stitch(slices, threshold, gap))


def test_a_missed_slice_splits_a_cell_unless_a_gap_is_allowed():
    slices = np.zeros((5, 8, 8), np.int32)
    slices[[0, 1, 3, 4], 2:6, 2:6] = [[[4]], [[9]], [[4]], [[1]]]
    assert [stitch(slices)[z].max() for z in range(5)] == [1, 1, 0, 2, 2]
    joined = stitch(slices, gap=1)
    assert [joined[z].max() for z in range(5)] == [1, 1, 0, 1, 1]
    np.testing.assert_array_equal(joined > 0, slices > 0)


def test_cells_that_never_touch_are_not_joined_over_an_empty_slice():
    slices = np.zeros((3, 8, 8), np.int32)
    slices[0, 1:3, 1:3] = slices[2, 5:7, 5:7] = 1
    for gap in (0, 1):
        assert stitch(slices, gap=gap).max() == 2


def test_slices_that_cannot_be_joined():
    ones = np.ones((2, 3, 3), np.int32)
    assert (stitch(ones) == 1).all()
    for options in ({"threshold": 0.0}, {"threshold": 1.1}, {"gap": -1}):
        with pytest.raises(UsageError, match="is in"):
            stitch(ones, **options)
    with pytest.raises(DataError, match="negative"):
        stitch(-ones)
    with pytest.raises(DataError, match="no pixels"):
        stitch(ones[:0])


@pytest.mark.parametrize("image", ["a.tif", "a.ome.tif"])
@pytest.mark.parametrize("labels", ["a_cp_masks.tif", "a_cp_masks.png", "a_masks.npy"])
def test_labels_beside_an_image(tmp_path, image, labels, random):
    truth = random.integers(0, 900, (6, 7)).astype(np.uint16)
    tifffile.imwrite(tmp_path / image, truth)
    assert labels_beside(tmp_path / image) is None
    if labels.endswith("png"):
        Image.fromarray(truth).save(tmp_path / labels)
    elif labels.endswith("npy"):
        np.save(tmp_path / labels, truth)
    else:
        tifffile.imwrite(tmp_path / labels, truth)
    path = labels_beside(tmp_path / image)
    assert path == tmp_path / labels
    np.testing.assert_array_equal(read_labels(path), truth)


def test_several_labels_are_told_apart_by_name(tmp_path):
    for name in ("a.tif", "a_cp_masks.tif", "a_labels.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((4, 4), np.uint8))
    with pytest.raises(UsageError, match="has the labels cp_masks, labels: say which"):
        labels_beside(tmp_path / "a.tif")
    assert labels_beside(tmp_path / "a.tif", name="labels") == tmp_path / "a_labels.tif"
    with pytest.raises(DataError, match="no labels 'nuclei'; there are cp_masks, labels"):
        labels_beside(tmp_path / "a.tif", name="nuclei")


def test_a_stack_of_cellpose_masks_is_a_stack(tmp_path, random):
    truth = random.integers(0, 9, (5, 6, 7)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a_cp_masks.tif", truth)  # as Cellpose writes it, without axes
    np.testing.assert_array_equal(read_labels(tmp_path / "a_cp_masks.tif", axes="ZYX"), truth)


def test_a_pickle_of_cellpose_is_refused(tmp_path):
    (tmp_path / "a.tif").touch()
    np.save(tmp_path / "a_seg.npy", {"masks": np.ones(3)}, allow_pickle=True)
    with pytest.raises(DataError, match="a_seg.npy is a pickle"):
        labels_beside(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "a_cp_masks.tif", np.zeros((4, 4), np.uint8))
    assert labels_beside(tmp_path / "a.tif") == tmp_path / "a_cp_masks.tif"


def ngff(path, array, version):
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if version == "0.5" else 2)
    group.create_array("0", data=array)
    said = {
        "multiscales": [
            {
                "axes": [
                    {"name": axis, "type": "space", "unit": "micrometer"}
                    for axis in "zyx"[-array.ndim :]
                ],
                "datasets": [{"path": "0"}],
            }
        ]
    }
    group.attrs.update({"ome": {"version": "0.5", **said}} if version == "0.5" else said)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_in_an_ome_zarr(tmp_path, version, dims, random):
    truth = random.integers(0, 70000, [5] * dims).astype(np.int32)
    image = tmp_path / "field.zarr"
    ngff(image, truth.astype(np.float32), version)
    assert labels_beside(image) is None
    names = ["nuclei"]
    group = zarr.open_group(
        str(image / "labels"), mode="w", zarr_format=3 if version == "0.5" else 2
    )
    for names in (["nuclei"], ["nuclei", "cells"]):
        group.attrs.update({"ome": {"labels": names}} if version == "0.5" else {"labels": names})
        ngff(image / "labels" / names[-1], truth + len(names), version)
        path = labels_beside(image, name=names[-1])
        np.testing.assert_array_equal(read_labels(path), truth + len(names))
    assert labels_beside(image, name="nuclei") == image / "labels" / "nuclei"
    with pytest.raises(UsageError, match="say which"):
        labels_beside(image)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"labels": ["../other"]}, "not inside it"),
        ({"labels": [3]}, "not inside it"),
        ({"labels": ["gone"]}, "has none of that name"),
        ({"labels": "nuclei"}, "no list"),
        ({"ome": []}, "no object"),
        ([], "not a JSON object"),
    ],
)
def test_labels_that_an_ome_zarr_should_not_list(tmp_path, said, words):
    image = tmp_path / "field.zarr"
    ngff(image, np.zeros((3, 3), np.uint8), "0.4")
    (image / "labels").mkdir()
    (image / "labels/.zattrs").write_text(json.dumps(said))
    with pytest.raises(DataError, match=words):
        labels_beside(image)


def test_cellpose_is_asked_for_where_it_is_absent(random):
    assert importlib.util.find_spec("cellpose") is None, "this environment has Cellpose"
    with pytest.raises(UsageError, match=r"install attributome\[cellpose\]"):
        cellpose_labels(random.random((1, 8, 8)))


@pytest.mark.real
@pytest.mark.parametrize(("stage", "least"), [(8, 7), (16, 16)])
def test_nuclei_of_a_mouse_embryo(real_data, stage, least):
    folder = real_data / "volumes_3d"
    image = read_image(folder / f"qcanet_images_raw__{stage}_cell_stage.tif", axes="ZYX").array[0]
    given = read_labels(folder / f"qcanet_images_nsn__{stage}_cell_stage.tif", axes="ZYX")
    truth, count = ndimage.label(given > 0, np.ones((3, 3, 3)))
    assert count == stage
    labels = segment(image, diameter=16.0, scale="log")
    assert labels.max() == stage
    assert found(truth, labels) >= least


@pytest.mark.real
def test_crowded_flat_nuclei(real_data):
    folder = real_data / "volumes_3d"
    image = read_image(folder / "stardist_img3d.tif", axes="ZYX").array[0]
    truth = read_labels(folder / "stardist_mask3d.tif", axes="ZYX")
    counts = {}
    for method in ("otsu", "log"):
        labels = segment(image, diameter=14.0, spacing=(2.0, 1.0, 1.0), method=method)
        counts[method] = found(truth, labels)
    assert len(np.unique(truth)) == 52
    assert counts["log"] >= 38 > counts["otsu"]
