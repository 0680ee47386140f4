"""Features are those of convolutions written out, whatever the file, the batch and the scale."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from attributome.core.errors import DataError, UsageError
from attributome.inpainting.cells import Cells
from attributome.profiles.formats import feature_names, values
from attributome.profiles.imagenet import LAYERS, imagenet_features

PUBLISHED = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512)
"""Widths of the convolutions of VGG16 (configuration D), up to the tenth; M is a pooling."""


@pytest.fixture(scope="module")
def weights():
    """Under torchvision's names, with what comes later in its network."""
    draw = torch.Generator().manual_seed(0)
    state, before, place = {}, 3, 0
    for width in PUBLISHED:
        if width != "M":
            spread = (2 / (9 * before)) ** 0.5
            state[f"features.{place}.weight"] = spread * torch.randn(
                width, before, 3, 3, generator=draw
            )
            state[f"features.{place}.bias"] = 0.3 * torch.randn(width, generator=draw)
            before, place = width, place + 1
        place += 1
    state["features.24.weight"] = torch.zeros(2, 2)
    state["classifier.0.bias"] = torch.zeros(2)
    return state


@pytest.fixture
def path(tmp_path, weights):
    save_file(weights, tmp_path / "vgg16.safetensors")
    return tmp_path / "vgg16.safetensors"


def crops(n=3, size=(16, 24), targets=("gfp",)):
    images = np.random.default_rng(1).random((n, 2, *size)).astype(np.float32)
    return Cells(
        table=pd.DataFrame(
            {"id": [f"c{i}" for i in range(n)], "group": "g", "field": [f"f{i}" for i in range(n)]}
        ),
        crops=images,
        channels=("rfp", "gfp"),
        targets=targets,
        markers=tuple(name for name in ("rfp", "gfp") if name not in targets) or ("rfp",),
    )


def planes(image, preprocessing):
    """One crop as the published code and torchvision's transforms make it, plane by plane."""
    grey = np.rint(255 * image.astype(np.float64))
    red, green, blue = grey, grey, grey
    if preprocessing == "torchvision":
        means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        return [(c / 255 - m) / d for c, m, d in zip((red, green, blue), means, deviations,
                                                     strict=True)]  # fmt: skip
    turned = [blue - 103.939, green - 116.779, red - 123.68]
    return turned if preprocessing == "caffe" else turned[::-1]


def slow(image, weights, preprocessing):
    """Every published layer's maxima, in float64 by unfolding, one image at a time."""
    x = torch.from_numpy(np.stack(planes(image, preprocessing)))[None]
    found, place = [], 0
    for width in PUBLISHED:
        if width == "M":
            x = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).amax((3, 5))
        else:
            kernel = weights[f"features.{place}.weight"].double().flatten(1)
            out = kernel @ F.unfold(x, 3, padding=1)[0]
            out = (out + weights[f"features.{place}.bias"].double()[:, None]).clamp(min=0)
            x = out.reshape(1, width, *x.shape[2:])
            found.append(x[0].flatten(1).max(1).values.numpy())
            place += 1
        place += 1
    return found


def joined(blocks):
    return pd.concat(list(blocks), ignore_index=True)


@pytest.mark.parametrize("preprocessing", ["torchvision", "caffe", "caffe_rgb"])
def test_features_are_those_of_convolutions_written_out(path, weights, preprocessing):
    cells = crops()
    table = joined(imagenet_features(cells, path, preprocessing=preprocessing, batch=2))
    assert list(table["Metadata_id"]) == ["c0", "c1", "c2"]
    assert feature_names(table)[:2] == ["vgg16_block1_conv1_max_000", "vgg16_block1_conv1_max_001"]
    assert len(LAYERS) == 10
    for i in range(3):
        for layer, wanted in zip(LAYERS, slow(cells.crops[i, 1], weights, preprocessing),
                                 strict=True):  # fmt: skip
            found = values(table, f"vgg16_{layer}_max_")[i]
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=1e-4 * wanted.max())


def test_a_cell_does_not_depend_on_the_others_and_layers_come_as_asked(path):
    cells = crops()
    whole = joined(imagenet_features(cells, path))
    one = joined(
        imagenet_features(cells, path, rows=np.array([2]), layers=["block3_conv2", "block1_conv1"])
    )
    assert feature_names(one)[0] == "vgg16_block3_conv2_max_000"
    assert len(feature_names(one)) == 256 + 64
    for name in feature_names(one):
        np.testing.assert_allclose(one[name][0], whole[name][2], rtol=1e-4, atol=1e-4)
    other = joined(imagenet_features(cells, path, channel="rfp", layers=["block1_conv1"]))
    assert (values(other) != values(whole, "vgg16_block1_conv1_")).any()


def test_a_file_of_torch_says_the_same(path, weights, tmp_path):
    torch.save(weights, tmp_path / "vgg16.pth")
    options = {"layers": ["block2_conv1"]}
    one, other = (
        joined(imagenet_features(crops(), p, **options)) for p in (path, tmp_path / "vgg16.pth")
    )
    pd.testing.assert_frame_equal(one, other)


def broken(change):
    def write(folder, weights):
        state = dict(weights)
        change(state)
        save_file(state, folder / "w.safetensors")
        return folder / "w.safetensors"

    return write


def text(folder, _weights):
    (folder / "w.pth").write_text("no weights")
    return folder / "w.pth"


def program(folder, _weights):
    torch.save(torch.nn.Linear(2, 2), folder / "w.pth")
    return folder / "w.pth"


def numbers(folder, _weights):
    torch.save({"epoch": 3}, folder / "w.pth")
    return folder / "w.pth"


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (broken(lambda s: s.pop("features.5.bias")), "torchvision names them: features.5.bias is"),
        (broken(lambda s: s.update({"stem": torch.ones(1)})), "stem is unknown"),
        (broken(lambda s: s.update({"features.0.weight": torch.ones(64, 1, 3, 3)})), "64, 1, 3, 3"),
        (broken(lambda s: s.update({"features.0.bias": torch.full((64,), torch.nan)})), "finite"),
        (text, "no file of tensors alone"),
        (program, "a pickle of more can run code"),
        (numbers, "holds no weights by name"),
        (lambda folder, _w: folder / "w.safetensors", "cannot read"),
        (lambda folder, _w: folder / "w.pth", "cannot read"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, weights, write, words):
    with pytest.raises(DataError, match=words) as refusal:
        imagenet_features(crops(), write(tmp_path, weights))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"layers": ["block5_conv1"]}, UsageError, "block5_conv1"),
        ({"layers": []}, UsageError, "give some of"),
        ({"preprocessing": "keras"}, UsageError, "torchvision, caffe"),
        ({"channel": "bf"}, UsageError, "no channel 'bf'; there are rfp, gfp"),
        ({"rows": np.array([3])}, UsageError, "from 0 to 2"),
        ({"batch": 0}, UsageError, "batches of 0"),
    ],
)
def test_requests_that_cannot_be_meant_are_refused(path, options, error, words):
    with pytest.raises(error, match=words):
        imagenet_features(crops(), path, **options)


def test_cells_that_are_no_grey_photographs_are_refused(path):
    with pytest.raises(UsageError, match="too small"):
        imagenet_features(crops(size=(4, 16)), path)
    cells = crops()
    for value in (1.5, -0.1, np.nan):
        cells.crops[1, 1, 0, 0] = value
        with pytest.raises(DataError, match="'gfp' of cell 'c1' has values that are not from 0"):
            next(imagenet_features(cells, path))
