"""Lists, float16 stacks and score tables as the originals' scripts wrote them."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from attributome.core.errors import DataError, UsageError
from attributome.data.images import probe_image
from attributome.data.manifest import open_images
from attributome.data.sources.allen_stacks import CHANNELS
from attributome.data.sources.originals import (
    convert_list,
    open_list,
    read_by_threshold,
    read_list,
    read_scores,
    read_stack,
)

COUNTS = np.random.default_rng(0).integers(0, 2048, (2, 7, 3, 5, 6))


def save(path, array):
    tifffile.imwrite(path, array, photometric="minisblack")


def write_list(folder, names, start="***", **words):
    """As pandas wrote it: with an index that has no name."""
    numbers = {"channel_signal": 0, "channel_target": 3, "channel_dna": 1, "channel_membrane": 2}
    numbers |= {"membrane_seg": 5, "structure_seg": 6, "label": 14} | words
    rows = [{"path_tiff": f"{start}/{name}", **numbers} for name in names]
    path = folder / "image_list_train.csv"
    pd.DataFrame(rows).to_csv(path)
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Golgi").mkdir()
    for i, counts in enumerate(COUNTS):
        save(tmp_path / "Golgi" / f"Golgi_{i}.tiff", counts.astype(np.float16))
    return tmp_path


NAMES = ["Golgi/Golgi_0.tiff", "Golgi/Golgi_1.tiff"]


@pytest.mark.parametrize("start", ["***", "/sise/group/full_cells_fovs"])
def test_a_list_is_samples_of_its_channels(folder, start):
    path = write_list(folder, NAMES, start)
    table = read_list(path, folder=folder, was=start)
    assert table["path_tiff"].tolist() == [str(folder / name) for name in NAMES]
    assert table["label"].tolist() == [14, 14]
    manifest = open_list(path, folder=folder, was=start)
    assert manifest.ids == ["Golgi/Golgi_0", "Golgi/Golgi_1"]
    assert manifest.groups("label") == ["14", "14"]
    for sample, counts in zip(manifest, COUNTS, strict=True):
        assert (sample.image == counts[:1]).all()
        assert (sample.target == counts[3:4]).all()
    both = open_list(path, folder=folder, was=start, inputs=["channel_dna", "channel_membrane"])
    assert (both[1].image == COUNTS[1, 1:3]).all()


@pytest.mark.parametrize(
    ("names", "words", "message"),
    [
        (["../secret.tiff"], {}, "row 1 .* leaves"),
        ([""], {}, "row 1"),
        (NAMES, {"start": "/elsewhere"}, r"does not begin with \*\*\*"),
        (NAMES, {"channel_dna": "x"}, "channel_dna in row 1 .* is x"),
        (NAMES, {"label": -3}, "label in row 1"),
        ([NAMES[0], NAMES[0]], {}, "names 1 stacks more than once"),
    ],
)
def test_lists_that_cannot_be_followed_are_refused(folder, names, words, message):
    with pytest.raises(DataError, match=message):
        open_list(write_list(folder, names, **words), folder=folder)


def test_lists_of_two_kinds_and_of_none_are_refused(folder):
    path = write_list(folder, NAMES)
    table = pd.read_csv(path, index_col=0)
    with pytest.raises(UsageError, match="there is no dna; use channel_signal"):
        open_list(path, folder=folder, inputs=["dna"])
    table["channel_target"] = [3, 4]
    table.to_csv(path)
    with pytest.raises(DataError, match="channel_target .* differs between rows"):
        open_list(path, folder=folder)
    table.drop(columns=["channel_dna", "membrane_seg"]).to_csv(path)
    with pytest.raises(DataError, match="no column channel_dna, membrane_seg"):
        read_list(path, folder=folder)


def test_a_stack_is_the_counts_that_it_was_made_from(folder):
    stack, lost = read_stack(folder / NAMES[1])
    assert (stack == COUNTS[1]).all()
    assert (stack.dtype, lost) == (np.uint16, 0)
    every = np.arange(65536, dtype=np.uint16)
    old = np.zeros((7, 1, 256, 256), np.uint16)
    old[0, 0] = every.reshape(256, 256)
    with np.errstate(over="ignore"):
        half = old.astype(np.float16)
    save(folder / "all.tiff", half)
    stack, lost = read_stack(folder / "all.tiff")
    off = np.abs(stack[0, 0].ravel().astype(int) - every)
    assert lost == 16
    assert off[:2049].max() == 0
    assert off.max() == 16
    assert off[-16:].max() == 15
    assert (stack[0, 0].ravel()[-16:] == 65535).all()


@pytest.mark.parametrize("value", [0.5, -1.0, np.nan, -np.inf])
def test_what_was_never_a_count_is_refused(folder, value):
    half = COUNTS[0].astype(np.float16)
    half[2, 0, 0, 0] = value
    save(folder / "a.tiff", half)
    with pytest.raises(DataError, match="has 1 pixels that are no whole numbers"):
        read_stack(folder / "a.tiff")
    save(folder / "b.tiff", half[:6])
    with pytest.raises(DataError, match="a stack is"):
        read_stack(folder / "b.tiff")


def test_stacks_are_converted_with_names_and_sizes(folder, tmp_path):
    half = COUNTS[0].astype(np.float16)
    half[3, 1, 2, 3] = np.inf
    save(folder / NAMES[0], half)
    path = write_list(folder, NAMES)
    out = tmp_path / "out"
    made = convert_list(path, out, folder=folder, pixel_size=(0.29, 0.1083, 0.1083))
    assert made["overflowed"].tolist() == [1, 0]
    manifest = open_images(out / "images.csv", inputs=["bright_field"], target=["structure"])
    assert manifest.groups("label") == ["14", "14"]
    assert (manifest[1].target == COUNTS[1, 3:4]).all()
    assert manifest[0].target[0, 1, 2, 3] == 65535
    _, axes, channels, size, dtype = probe_image(out / "Golgi" / "Golgi_1.ome.tif")
    assert (axes, channels, dtype) == ("CZYX", CHANNELS, np.uint16)
    assert size == pytest.approx((0.29, 0.1083, 0.1083))


def test_scores_of_models_one_by_one_and_none_is_not_minus_one(tmp_path):
    path = tmp_path / "all.csv"
    pd.DataFrame(
        {
            "path_tiff": ["a", "b"],
            "CellLine": ["AICS-1", "AICS-2"],
            "../mg_model_golgi_1.5": [0.9, -1],
            "../unet_model_22_05": [0.5, 0.25],
        }
    ).to_csv(path)
    fields, scores = read_scores(path)
    assert [*fields.columns] == ["path_tiff", "CellLine"]
    assert scores["path_tiff"].tolist() == ["a", "b", "a", "b"]
    assert scores["kind"].tolist() == ["efficacy", "efficacy", "pcc", "pcc"]
    assert scores["model"].tolist()[::2] == ["mg_model_golgi_1.5", "unet_model_22_05"]
    np.testing.assert_equal(scores["score"].to_numpy(), [0.9, np.nan, 0.5, 0.25])
    path.write_text("path_tiff,a\nx,1\n")
    with pytest.raises(DataError, match="no column of a model"):
        read_scores(path)
    path.write_text("path_tiff,../mg_model_a\nx,high\n")
    with pytest.raises(DataError, match="is no number"):
        read_scores(path)


def test_columns_of_thresholds_are_numbers_in_order(tmp_path):
    path = tmp_path / "efficacy.csv"
    columns = [0.9, 0.1, 0.1 + 0.2]
    pd.DataFrame([[0.5, 0.75, -1.0], [0.25, 1.0, 0.0]], columns=columns).to_csv(path)
    assert "0.30000000000000004" in path.read_text()
    table = read_by_threshold(path)
    assert [*table.columns] == [0.1, 0.3, 0.9]
    np.testing.assert_equal(table.to_numpy(), [[0.75, np.nan, 0.5], [1.0, 0.0, 0.25]])
    for text, message in (("a,0.1\n1,2\n", "no thresholds"), ("0.1,0.10\n1,2\n", "there once")):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_by_threshold(path)
