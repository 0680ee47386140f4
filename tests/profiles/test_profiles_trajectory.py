"""Planes of many epochs are brought onto each other, and an animation of them is bounded."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from scipy.linalg import orthogonal_procrustes

from attributome.core.errors import DataError, UsageError
from attributome.profiles.learning import trajectory as module
from attributome.profiles.learning.trajectory import (
    aligned,
    read_frames,
    trajectory,
    write_animation,
)


def frames(epochs=4, n=60, f=6):
    """Features in which three groups move apart, epoch by epoch."""
    random = np.random.default_rng(0)
    centres, noise = 6 * random.normal(size=(3, f)), random.normal(size=(n, f))
    of = np.arange(n) % 3
    return [
        (noise + step / (epochs - 1) * centres[of]).astype(np.float32) for step in range(epochs)
    ]


def turned(plane, angle, mirrored, shift):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return plane @ turn @ np.diag([1, -1 if mirrored else 1]) + shift


def test_a_plane_that_was_only_moved_comes_back(random):
    plane = random.normal(size=(30, 2))
    moved = [
        turned(plane, 2.0, True, [3, 4]),
        turned(plane, -0.5, False, [-9, 1]),
        turned(plane, 3.1, True, 0),
        plane,
    ]
    found = aligned(np.stack(moved))
    assert found.dtype == np.float32
    for one in found:
        np.testing.assert_allclose(one, plane, atol=1e-5)


def test_planes_are_moved_as_the_reference_moves_them_and_never_scaled(random):
    planes = random.normal(size=(3, 25, 2)) * np.array([1, 5, 2])[:, None, None]
    found = aligned(planes)
    np.testing.assert_allclose(found[2], planes[2], rtol=1e-6)
    for now in (1, 0):
        mine = planes[now] - planes[now].mean(0)
        onto = found[now + 1].astype(np.float64)
        turn, _ = orthogonal_procrustes(mine, onto - onto.mean(0))
        np.testing.assert_allclose(found[now], mine @ turn + onto.mean(0), atol=1e-5)
        before, after = (
            np.linalg.norm(p[:, None] - p[None], axis=2) for p in (planes[now], found[now])
        )
        np.testing.assert_allclose(after, before, atol=1e-5)


def test_components_are_those_of_scikit_learn_and_do_not_jump():
    from sklearn.decomposition import PCA

    given = frames()
    given[1] = np.concatenate([given[1], np.ones((60, 1), np.float32)], 1)  # one that is constant
    told = []
    places = trajectory(given, how="pca", progress=lambda done, words: told.append((done, words)))
    assert places.shape == (4, 60, 2)
    assert told[-1] == (1.0, "4 of 4 epochs")
    x = given[3].astype(np.float64)
    wanted = PCA(2).fit_transform((x - x.mean(0)) / x.std(0))
    np.testing.assert_allclose(np.abs(places[3]), np.abs(wanted), rtol=1e-4, atol=1e-4)
    for one, other in pairwise(places[1:]):
        flipped = [np.abs(one * signs - other).mean() for signs in ((-1, 1), (1, -1), (-1, -1))]
        assert np.abs(one - other).mean() < min(flipped)
    # no frame knows of another, but for where it lies
    alone = trajectory(given[:2], how="pca")
    between = np.linalg.norm(alone[0][:, None] - alone[0][None], axis=2)
    np.testing.assert_allclose(
        np.linalg.norm(places[0][:, None] - places[0][None], axis=2), between, atol=1e-4
    )


@pytest.mark.slow  # its first call compiles for half a minute
def test_umap_of_each_epoch_shows_groups_when_they_are_there():
    from sklearn.metrics import silhouette_score

    places = trajectory(frames(), seed=1)
    of = np.arange(60) % 3
    assert silhouette_score(places[-1], of) > 0.5
    assert silhouette_score(places[0], of) < 0.2
    np.testing.assert_array_equal(places, trajectory(frames(), seed=1))
    for one, other in pairwise(places):
        np.testing.assert_allclose(one.mean(0), other.mean(0), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda f: [], UsageError, "no frames"),
        (lambda f: [f[0], f[1][:9]], DataError, "frame 1 has the shape"),
        (lambda f: [f[0], np.where(f[1] > 1, np.nan, f[1])], DataError, "frame 1, .*undefined"),
        (lambda f: [f[0] * 0], DataError, "frame 0, .* 0 of 6 features differ"),
    ],
)
def test_frames_without_a_plane_are_refused(change, error, words):
    with pytest.raises(error, match=words):
        trajectory(change(frames()), how="pca")


def test_frames_are_read_in_order_and_without_a_gap(tmp_path):
    given = frames(11)
    for number, frame in enumerate(given, 1):
        np.save(tmp_path / f"{number:04d}.npy", frame)
    for one, other in zip(read_frames(tmp_path), given, strict=True):
        np.testing.assert_array_equal(one, other)
    np.save(tmp_path / "0004.npy", np.arange(3))
    with pytest.raises(DataError, match="no features of cells"):
        read_frames(tmp_path)
    (tmp_path / "0004.npy").write_bytes(b"torn")
    with pytest.raises(DataError, match="cannot read"):
        read_frames(tmp_path)
    (tmp_path / "0004.npy").unlink()
    with pytest.raises(DataError, match="without a gap"):
        read_frames(tmp_path)
    with pytest.raises(DataError, match="0 frames"):
        read_frames(tmp_path / "nowhere")


def pictures_of(path):
    with Image.open(path) as image:
        found = []
        for i in range(image.n_frames):
            image.seek(i)
            found.append((np.asarray(image.convert("RGB")), image.info["duration"]))
        return found, image.info.get("loop")


def names_of(n=60):
    return [["DMSO", "$taxol$", "_blank"][i % 3] for i in range(n)]


def test_an_animation_goes_from_the_first_epoch_to_the_last(tmp_path):
    places = trajectory(frames(3), how="pca")
    path = tmp_path / "sub" / "moves.gif"
    titles = ["epoch 1", "epoch 2", "epoch $3$"]
    assert write_animation(path, places, names_of(), titles, between=1, side=200) == 5
    found, loop = pictures_of(path)
    assert [image.shape for image, _ in found] == [(200, 200, 3)] * 5
    assert [lasts for _, lasts in found] == [400] * 4 + [2000]
    assert loop == 0
    # three colours that the colour-blind tell apart, and the points move
    first, last = found[0][0].astype(int), found[-1][0].astype(int)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)):
        near = [(np.abs(image - colour).max(2) < 24).sum() for image in (first, last)]
        assert min(near) > 20
    assert (np.abs(first - last).max(2) > 60)[20:160].sum() > 200
    again = tmp_path / "again.gif"
    write_animation(again, places, names_of(), titles, between=1, side=200)
    assert again.read_bytes() == path.read_bytes()
    assert [*tmp_path.glob("sub/*")] == [path]


def test_an_animation_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PICTURES", 7)
    monkeypatch.setattr(module, "CELLS", 20)
    places = np.random.default_rng(0).normal(size=(30, 50, 2)).cumsum(0)
    path = tmp_path / "a.gif"
    labels = [f"label {i}" for i in range(50)]
    titles = [str(i) for i in range(30)]
    assert write_animation(path, places, labels, titles, side=160) == 7
    assert write_animation(path, places[:3], labels, titles[:3], between=9, side=160) == 7
    assert write_animation(path, places[:1], labels, titles[:1], side=160) == 1
    assert path.stat().st_size < 40_000


def test_rare_labels_are_drawn_together():
    texts = np.array([f"name {i:02d}" for i in range(25) for _ in range(1 + (i % 2))])
    groups = module._groups(texts, np.arange(len(texts)))
    assert len(groups) == 21
    assert groups[0][:3] == ("5 others", module.REST, ".")
    told = {(colour, mark) for _, colour, mark, _ in groups[1:]}
    assert len(told) == 20
    rows = np.concatenate([rows for *_, rows in groups])
    assert sorted(rows) == [*range(len(texts))]
    assert all({*texts[rows]} == {name} for name, _, _, rows in groups[1:])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"path": "a.mp4"}, UsageError, ".gif"),
        ({"labels": ["a"]}, UsageError, "1 labels"),
        ({"titles": ["a"] * 9}, UsageError, "9 titles"),
        ({"between": -1}, UsageError, "between=-1"),
        ({"seconds": 0.0}, UsageError, "seconds=0"),
        ({"side": 5000}, UsageError, "side=5000"),
        ({"places": np.full((3, 60, 2), np.nan)}, DataError, "no numbers"),
    ],
    ids=["suffix", "labels", "titles", "between", "seconds", "side", "places"],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, change, error, words):
    given = {"places": np.zeros((3, 60, 2)), "labels": names_of(), "titles": [*"abc"]} | change
    path = tmp_path / given.pop("path", "a.gif")
    with pytest.raises(error, match=words):
        write_animation(path, **given)
    assert [*tmp_path.iterdir()] == []
