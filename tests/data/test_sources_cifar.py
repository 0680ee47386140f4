"""CIFAR-10 and its corruptions from archives that the test packs, honest ones and others."""

import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest

from attributome.core.errors import DataError, UsageError
from attributome.data.sources.cifar import (
    CORRUPTIONS,
    TEST,
    TRAIN,
    fetch_cifar10,
    fetch_cifar10c,
    read_cifar10,
    read_cifar10c,
    unpack,
)
from data.archive_server import Archive

QUICK = {"wait": 0.0, "timeout": 10.0}
DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (18, 3, 32, 32), np.uint8)
LABELS = DRAW.integers(0, 10, 18, np.uint8)
CORRUPT = DRAW.integers(0, 256, (10, 32, 32, 3), np.uint8)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def npy(array, **words):
    file = io.BytesIO()
    np.save(file, array, **words)
    return file.getvalue()


def tar(members, mode="w:gz"):
    """A tar of (name, bytes or what a link points to)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as packed:
        for name, body in members:
            info = tarfile.TarInfo(name)
            if isinstance(body, str):
                info.type, info.linkname = tarfile.SYMTYPE, body
                packed.addfile(info)
            else:
                info.size = len(body)
                packed.addfile(info, io.BytesIO(body))
    return file.getvalue()


def batches():
    for i, name in enumerate((*TRAIN, *TEST)):
        rows = slice(3 * i, 3 * i + 3)
        flat = np.concatenate([LABELS[rows, None], IMAGES[rows].reshape(3, -1)], axis=1)
        yield f"cifar-10-batches-bin/{name}", flat.tobytes()


def serve(archive, name, body):
    archive.put(name, body)
    return {"url": f"{archive.endpoint}/{name}", "checksum": hashlib.sha256(body).hexdigest()}


def test_cifar10_from_an_archive_to_arrays(tmp_path):
    with Archive() as archive:
        body = tar([*batches(), ("../evil.bin", b"evil"), ("cifar-10-batches-bin/x.html", b"x")])
        words = serve(archive, "cifar-10-binary.tar.gz", body)
        with pytest.raises(DataError, match="SHA-256"):
            fetch_cifar10(tmp_path, **(words | {"checksum": "0" * 64}), **QUICK)
        folder = fetch_cifar10(tmp_path, **words, **QUICK)
        asked = len(archive.asked)
        assert fetch_cifar10(tmp_path, **words, **QUICK) == folder
        assert len(archive.asked) == asked
    assert sorted(path.name for path in folder.iterdir()) == sorted((*TRAIN, *TEST))
    assert not (tmp_path / "evil.bin").exists()
    assert not (tmp_path.parent / "evil.bin").exists()
    train, test = read_cifar10(folder, "train"), read_cifar10(folder, "test")
    assert (train.images == IMAGES[:15]).all()
    assert (train.labels == LABELS[:15]).all()
    assert (test.images == IMAGES[15:]).all()
    assert (test.labels == LABELS[15:]).all()
    assert "Krizhevsky" in (tmp_path / "LICENCE.txt").read_text()


def corrupted(labels):
    for i, name in enumerate(CORRUPTIONS):
        yield f"CIFAR-10-C/{name}.npy", npy(CORRUPT + np.uint8(i))
    yield "CIFAR-10-C/labels.npy", labels


def test_corruptions_have_five_severities_in_order(tmp_path):
    labels = np.tile([3, 7], 5).astype(np.uint8)
    with Archive() as archive:
        words = serve(archive, "CIFAR-10-C.tar", tar(corrupted(npy(labels)), "w"))
        folder = fetch_cifar10c(tmp_path, **words, **QUICK)
    for severity in (1, 5):
        found = read_cifar10c(folder, "fog", severity)
        rows = CORRUPT[2 * severity - 2 : 2 * severity] + np.uint8(CORRUPTIONS.index("fog"))
        assert (found.images == rows.transpose(0, 3, 1, 2)).all()
        assert found.labels.tolist() == [3, 7]
    assert len(CORRUPTIONS) == 19
    for name, severity in (("fog", 0), ("fog", 6), ("mist", 1)):
        with pytest.raises(UsageError, match="use 1 to 5 of brightness"):
            read_cifar10c(folder, name, severity)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (npy(np.zeros(9, np.uint8)), "labels of shape"),
        (npy(np.full(10, 10, np.uint8)), "has the label 10"),
        (npy(np.zeros(10)), "holds no bytes"),
        (npy(np.array([{"a": 1}] * 10), allow_pickle=True), "cannot read"),
        (pickle.dumps([1, 2]), "cannot read"),
        (b"", "cannot read"),
    ],
)
def test_arrays_that_are_no_labels_are_refused(tmp_path, labels, message):
    with Archive() as archive:
        words = serve(archive, "CIFAR-10-C.tar", tar(corrupted(labels), "w"))
        folder = fetch_cifar10c(tmp_path, **words, **QUICK)
    with pytest.raises(DataError, match=message):
        read_cifar10c(folder, "snow", 3)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a/x", "/etc/passwd")], "has no a/x"),
        ([("a/x", "../../y")], "has no a/x"),
        ([("a/../a/x", b"1")], "has no a/x"),
        ([("a/x", b"1"), ("a/x", b"2")], "has a/x twice"),
        ([("a/x", b"1" * 11)], "more than 10 bytes"),
        ([], "has no a/x"),
    ],
)
def test_only_plain_files_of_the_expected_names_are_taken(tmp_path, members, message):
    (tmp_path / "a.tar").write_bytes(tar(members))
    with pytest.raises(DataError, match=message):
        unpack(tmp_path / "a.tar", {"a/x": tmp_path / "x"}, most=10)
    assert not (tmp_path / "x").is_symlink()


def test_archives_and_batches_that_are_cut_are_refused(tmp_path):
    path = tmp_path / "a.tar.gz"
    body = tar([("a/x", DRAW.bytes(20_000))])
    for cut in (body[: len(body) // 2], b"no tar", b""):
        path.write_bytes(cut)
        with pytest.raises(DataError, match="cannot read the archive"):
            unpack(path, {"a/x": tmp_path / "x"})
    assert not (tmp_path / "x").exists()
    (tmp_path / "test_batch.bin").write_bytes(bytes(3072))
    with pytest.raises(DataError, match="no multiple of 3073"):
        read_cifar10(tmp_path, "test")
    with pytest.raises(DataError, match="cannot read .*data_batch_1"):
        read_cifar10(tmp_path, "train")
    (tmp_path / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(DataError, match="has the label 10"):
        read_cifar10(tmp_path, "test")
