"""Folders of many small images as data sets: CIFAR-10, CIFAR-10-C and the cell-cycle videos."""

import tracemalloc

import numpy as np
import pytest

from attributome.config import Data
from attributome.core.errors import DataError, UsageError
from attributome.core.records import Sample
from attributome.data.intensity import Scaling
from attributome.data.small_images import Scaled, open_small_images, training_scaling
from attributome.data.sources.cell_cycle import open_cell_cycle
from attributome.data.sources.cifar import CLASSES, TEST, TRAIN
from attributome.pipeline.fields import fingerprint, open_fields

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (60, 3, 32, 32), np.uint8)
LABELS = DRAW.integers(0, 10, 60, np.uint8)
FOGGY = DRAW.integers(0, 256, (15, 32, 32, 3), np.uint8)
VIDEOS = {"b": DRAW.normal(50, 3, (3, 2, 8, 8)), "a": DRAW.normal(50, 3, (4, 2, 8, 8))}


def cifar10(folder):
    folder.mkdir()
    for i, name in enumerate((*TRAIN, *TEST)):
        rows = slice(10 * i, 10 * i + 10)
        flat = np.column_stack([LABELS[rows], IMAGES[rows].reshape(10, -1)])
        (folder / name).write_bytes(flat.astype(np.uint8).tobytes())
    return folder


def cifar10c(folder):
    folder.mkdir()
    np.save(folder / "fog.npy", FOGGY)
    np.save(folder / "snow.npy", 255 - FOGGY)
    np.save(folder / "labels.npy", np.tile(LABELS[50:53], 5))
    return folder


def cell_cycle(folder, splits=("train", "val", "test"), labels=True):
    for split in splits:
        for kind in ("images", "labels") if labels else ("images",):
            (folder / split / kind).mkdir(parents=True)
        for name, video in VIDEOS.items():
            np.save(folder / split / "images" / f"{name}.npy", video)
            if labels:
                known = np.linspace(0, 1, 2 * len(video)).reshape(2, -1, 1).astype(np.float16)
                np.save(folder / split / "labels" / f"{name}.npy", known)
    return folder


def test_cifar_holds_out_a_tenth_of_its_training_images_and_keeps_its_test(tmp_path):
    images = open_small_images(cifar10(tmp_path / "x"))
    table = images.table
    assert len(images) == 60
    assert table["split"].value_counts().to_dict() == {"train": 45, "validate": 5, "test": 10}
    assert (table["split"] == "test").tolist() == [False] * 50 + [True] * 10
    assert images.ids[:2] == ["train_00000", "train_00001"]
    assert images.ids[-1] == "test_00009"
    again = open_small_images(tmp_path / "x").table
    assert again["split"].tolist() == table["split"].tolist()
    for place, sample in enumerate(images):
        assert (sample.image == IMAGES[place]).all()
        assert sample.target == LABELS[place]
        assert sample.meta["class"] == CLASSES[LABELS[place]] == table["class"][place]
        assert sample.id == images.ids[place]
    assert sample.image.dtype == np.float32
    assert sample.channels == ("red", "green", "blue")


def test_corruptions_are_test_images_that_know_where_they_come_from(tmp_path):
    images = open_small_images(cifar10c(tmp_path / "x"))
    assert len(images) == 2 * 5 * 3
    assert set(images.table["split"]) == {"test"}
    assert [*dict.fromkeys(images.table["corruption"])] == ["fog", "snow"]
    for row, sample in zip(images.table.to_dict("records"), images, strict=True):
        place = 3 * (row["severity"] - 1) + row["image"]
        wanted = FOGGY[place] if row["corruption"] == "fog" else 255 - FOGGY[place]
        assert (sample.image == wanted.transpose(2, 0, 1)).all()
        assert sample.target == LABELS[50 + row["image"]]
        assert sample.id == f"{row['corruption']}_{row['severity']}_{row['image']:05d}"
        assert {k: sample.meta[k] for k in ("corruption", "severity", "image")} == {
            k: row[k] for k in ("corruption", "severity", "image")
        }


def test_frames_keep_the_parts_of_their_folders_and_one_marker(tmp_path):
    folder = cell_cycle(tmp_path, ("train", "val", "test", "perturbations"))
    images = open_small_images(folder, target=["Geminin"])
    parts = ["train", "validate", "test", "perturbations"]
    assert images.table["split"].tolist() == [part for part in parts for _ in range(7)]
    assert len(set(images.ids)) == 28
    frames = [f for s in ("train", "val") for f in open_cell_cycle(folder, s, marker="Geminin")]
    for sample, frame in zip(images[:14], frames, strict=True):
        assert (sample.image == frame.image).all()
        assert sample.target == frame.target
        assert sample.id.endswith(f"_{frame.id}")
        assert sample.meta["video"] == frame.meta["video"]
    assert images[0].id == "train_a_t0000"
    assert images[7].id == "val_a_t0000"


def test_videos_without_markers_can_still_be_looked_at(tmp_path):
    folder = cell_cycle(cell_cycle(tmp_path), ("perturbations",), labels=False)
    images = open_small_images(folder, target=["Cdt1"])
    assert [s.target is None for s in images] == [False] * 21 + [True] * 7
    assert all(s.target is None for s in open_small_images(folder))


@pytest.mark.parametrize("make", [cifar10, cifar10c, cell_cycle])
def test_a_part_of_the_images_is_those_and_in_that_order(make, tmp_path):
    images = open_small_images(make(tmp_path / "x"))
    order = [5, 0, 11]
    some = images.subset(order)
    assert some.ids == [images.ids[i] for i in order] == [s.id for s in some]
    assert some.table["id"].tolist() == some.ids
    assert (some[2].image == images[11].image).all()
    assert images[4:9].subset([1]).ids == [images.ids[5]]
    assert some[0:2].ids == some.ids[:2]


def test_frames_are_read_when_they_are_asked_for(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / "train" / part).mkdir(parents=True)
    np.save(tmp_path / "train" / "images" / "v.npy", np.zeros((200, 1, 64, 64)))
    np.save(tmp_path / "train" / "labels" / "v.npy", np.zeros((2, 200, 1), np.float16))
    tracemalloc.start()
    images = open_small_images(tmp_path, target=["Cdt1"])
    assert images[199].image.shape == (1, 64, 64)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 200 * 64 * 64 * 8 / 4


def test_other_folders_are_left_to_others(tmp_path):
    (tmp_path / "train").mkdir()
    np.save(tmp_path / "labels.npy", np.zeros(3))
    assert open_small_images(tmp_path) is None


@pytest.mark.parametrize(
    ("make", "words", "says"),
    [
        (cifar10, {"target": ["red"]}, "the target of .* is the class"),
        (cifar10, {"inputs": ["blue"]}, "the input of .* is red, green, blue"),
        (cifar10c, {"inputs": [0, 1]}, "the input of"),
        (cell_cycle, {"target": ["Cdt1", "Geminin"]}, "a network is trained for one marker"),
        (cell_cycle, {"target": ["DNA"]}, "Cdt1 or Geminin"),
        (cell_cycle, {"inputs": [1]}, "the input of .* is bright_field"),
    ],
)
def test_channels_that_a_layout_does_not_have_are_refused(make, words, says, tmp_path):
    with pytest.raises(UsageError, match=says):
        open_small_images(make(tmp_path / "x"), **words)


def test_half_a_cifar_is_refused(tmp_path):
    folder = cifar10(tmp_path / "x")
    (folder / TRAIN[2]).unlink()
    with pytest.raises(DataError, match="cannot read .*data_batch_3"):
        open_small_images(folder)


def sample(image, name="s"):
    image = np.asarray(image, np.float32)
    return Sample(id=name, image=image, channels=tuple("abc"[: len(image)]))


def test_one_scaling_is_that_of_all_pixels_of_the_images():
    some = [sample(DRAW.normal(5000, 3, (2, 4, 5 + i)) + 70 * i) for i in range(7)]
    scaling = training_scaling(some)
    for channel in range(2):
        pixels = np.concatenate([one.image[channel].ravel() for one in some]).astype(np.float64)
        assert scaling.center[channel] == pytest.approx(pixels.mean(), rel=1e-12)
        assert scaling.scale[channel] == pytest.approx(pixels.std(), rel=1e-9)
    scaled = Scaled(samples=some, scaling=scaling)
    assert len(scaled) == 7
    wanted = (some[3].image[0] - scaling.center[0]) / scaling.scale[0]
    np.testing.assert_allclose(scaled[3].image[0], wanted, rtol=1e-5, atol=1e-6)
    few = training_scaling(some, most=2, seed=3)
    assert few == training_scaling(some, most=2, seed=3)
    assert few != scaling


@pytest.mark.parametrize(
    ("some", "words", "error", "says"),
    [
        ([], {}, UsageError, "there are 0 images"),
        ([sample([[[1, 2]]])], {"most": 0}, UsageError, "0 are asked for"),
        ([sample([[[3, 3]]])] * 2, {}, DataError, "channel 0 is constant over 2"),
        ([sample([[[1, 2]]]), sample([[[1, 2]]] * 2)], {}, DataError, "the same channels"),
    ],
)
def test_images_that_have_no_scaling_are_refused(some, words, error, says):
    with pytest.raises(error, match=says):
        training_scaling(some, **words)


def test_a_job_normalises_every_part_by_the_training_images(tmp_path):
    data = Data(source=str(cifar10(tmp_path / "x")), normalise="training", most={"test": 4})
    fields = open_fields(data, 0)
    assert {name: len(ids) for name, ids in fields.splits.items()} == {
        "train": 45, "validate": 5, "test": 4,
    }  # fmt: skip
    rows = [fields.places[name] for name in fields.part("train")]
    pixels = IMAGES[rows].transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float64)
    name = fields.part("test")[1]
    wanted = (IMAGES[fields.places[name]] - pixels.mean(1)[:, None, None]) / pixels.std(1)[
        :, None, None
    ]
    np.testing.assert_allclose(fields.load(name).x[0], wanted, rtol=1e-4, atol=1e-5)
    assert fields.load(name).y.tolist() == [[LABELS[fields.places[name]]]]
    image, target = fields.cache("train").get(2)
    np.testing.assert_array_equal(image, fields.load(fields.part("train")[2]).x[0].numpy())
    assert target == LABELS[rows[2]]
    assert fields.dims == 2
    assert open_fields(data, 0).splits == fields.splits
    assert open_fields(data, 1).splits["test"] != fields.splits["test"]


def test_corruptions_have_no_training_images_of_their_own(tmp_path):
    data = Data(source=str(cifar10c(tmp_path / "x")), normalise="training")
    with pytest.raises(UsageError, match="no fields are for training"):
        open_fields(data, 0).load("fog_1_00000")
    known = Scaling(kind="zscore", center=(100.0, 110.0, 120.0), scale=(50.0, 60.0, 70.0))
    found = open_fields(data, 0, scaling=known).load("fog_1_00002").x[0, 1]
    np.testing.assert_allclose(found, (FOGGY[2, :, :, 1] - 110.0) / 60, rtol=1e-5, atol=1e-6)
    own = data.model_copy(update={"normalise": "zscore"})
    assert abs(open_fields(own, 0, scaling=known).load("fog_1_00002").x.mean()) < 1e-5


def test_at_most_so_many_of_a_part_that_is_not_there(tmp_path):
    data = Data(source=str(cifar10(tmp_path / "x")), most={"calibrate": 3})
    with pytest.raises(UsageError, match="data.most names 'calibrate'; the split has"):
        open_fields(data, 0)


def test_the_fingerprint_sees_another_byte_and_another_file(tmp_path):
    folder = cifar10(tmp_path / "x")
    before = fingerprint(open_small_images(folder))
    assert fingerprint(open_small_images(folder)) == before
    assert fingerprint(open_small_images(folder).subset([0])) != before
    flat = bytearray((folder / TEST[0]).read_bytes())
    flat[-1] ^= 1
    (folder / TEST[0]).write_bytes(bytes(flat))
    assert fingerprint(open_small_images(folder)) != before
