"""Videos of cells in the layout of the originals: frames, their markers, mean and masks."""

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.data.sources.cell_cycle import mean_and_std, open_cell_cycle, read_mask
from attributome.data.splits import split

DRAW = np.random.default_rng(0)
VIDEOS = {"b": DRAW.normal(5000, 3, (3, 2, 6, 7)), "a": DRAW.normal(5000, 3, (4, 2, 6, 7))}
LABELS = {name: DRAW.uniform(0, 1, (2, len(v), 2)).astype(np.float16) for name, v in VIDEOS.items()}


@pytest.fixture
def folder(tmp_path):
    for kind, arrays in (("images", VIDEOS), ("labels", LABELS)):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for name, array in arrays.items():
            np.save(tmp_path / "train" / kind / f"{name}.npy", array)
    return tmp_path


@pytest.mark.parametrize(("marker", "row"), [("Cdt1", 0), ("Geminin", 1)])
@pytest.mark.parametrize("cell", [0, 1])
def test_every_frame_is_a_sample_with_its_marker(folder, marker, row, cell):
    frames = open_cell_cycle(folder, "train", marker=marker, channel=1, cell=cell)
    at = [(name, time) for name in "ab" for time in range(len(VIDEOS[name]))]
    assert frames.ids == [f"{name}_t{time:04d}" for name, time in at]
    assert frames.groups() == [name for name, _ in at]
    for sample, (name, time) in zip(frames, at, strict=True):
        assert (sample.image == VIDEOS[name][time, 1:2].astype(np.float32)).all()
        assert sample.target == float(LABELS[name][row, time, cell])
        assert sample.meta["video"] == name
    assert frames.subset([6, 0]).ids == ["b_t0002", "a_t0000"]
    assert frames[2:4].ids == ["a_t0002", "a_t0003"]
    parts = split(frames.table, group="video", fractions={"x": 0.5, "y": 0.5}, seed=0)
    assert sorted(map(sorted, parts.values())) == [[0, 1, 2, 3], [4, 5, 6]]


def test_frames_without_labels(folder):
    (folder / "train" / "labels" / "a.npy").unlink()
    assert open_cell_cycle(folder, "train", marker=None)[0].target is None
    with pytest.raises(DataError, match=r"cannot read .*labels/a\.npy"):
        open_cell_cycle(folder, "train", marker="Cdt1")


def test_mean_and_std_are_of_drawn_frames(folder):
    frames = open_cell_cycle(folder, "train", marker=None)
    pixels = np.stack([sample.image for sample in frames]).astype(np.float64)
    assert mean_and_std(frames) == pytest.approx((pixels.mean(), pixels.std()), rel=1e-9)
    one = [mean_and_std(frames, most=1, seed=seed) for seed in range(20)]
    each = {(image.mean(), image.std()) for image in pixels}
    assert all(min(abs(m - a) + abs(s - b) for a, b in each) < 1e-6 for m, s in one)
    assert len({round(m, 6) for m, _ in one}) > 3
    assert mean_and_std(frames, most=3, seed=1) == mean_and_std(frames, most=3, seed=1)
    with pytest.raises(UsageError, match="and 0 are asked for"):
        mean_and_std(frames, most=0)


def test_masks_of_the_originals(folder):
    place = folder / "test" / "predictions_marker2"
    place.mkdir(parents=True)
    np.save(place / "a_t0003.npy", np.full((6, 7), 0.25))
    assert (read_mask(folder, "test", "Geminin", "a_t0003") == 0.25).all()
    with pytest.raises(DataError, match="cannot read .*predictions_marker1"):
        read_mask(folder, "test", "Cdt1", "a_t0003")
    with pytest.raises(UsageError, match="the marker is 'DNA'"):
        read_mask(folder, "test", "DNA", "a_t0003")
    np.save(place / "b.npy", np.full((6, 7), np.nan))
    with pytest.raises(DataError, match="no numbers"):
        read_mask(folder, "test", "Geminin", "b")


@pytest.mark.parametrize(
    ("kind", "array", "words", "message"),
    [
        ("images", np.zeros((4, 6, 7)), {}, "no numbers along 4 axes"),
        ("images", np.zeros((4, 2, 6, 7), "U3"), {}, "no numbers along 4 axes"),
        ("images", np.array([{}] * 4), {}, "cannot read"),
        ("images", VIDEOS["a"], {"channel": 2}, "has 2 channels, and 2"),
        ("labels", LABELS["b"], {}, "has shape"),
        ("labels", LABELS["a"], {"cell": 2}, "has shape"),
        ("labels", LABELS["a"][:1], {}, "has shape"),
        ("labels", LABELS["a"] + np.float16(2), {}, "must be from 0 to 1"),
        ("labels", LABELS["a"] * np.float16(np.nan), {}, "Cdt1 nan"),
        ("images", VIDEOS["a"] * np.nan, {}, "no numbers"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(folder, kind, array, words, message):
    np.save(folder / "train" / kind / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        list(open_cell_cycle(folder, "train", marker="Cdt1", **words))


def test_what_is_not_there_is_refused(folder):
    with pytest.raises(DataError, match="has no .npy: a split is one of train"):
        open_cell_cycle(folder, "holdout", marker=None)
    with pytest.raises(UsageError, match="it is one of Cdt1, Geminin"):
        open_cell_cycle(folder, "train", marker="DNA")
    with pytest.raises(UsageError, match="have no 'well'"):
        open_cell_cycle(folder, "train", marker=None).groups("well")
