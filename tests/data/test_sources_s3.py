"""Buckets of a loopback S3 that drops, cuts, lies and answers 500, into files that are right."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from attributome.core.errors import DataError, UsageError
from attributome.data.sources.s3 import (
    Entry,
    address,
    download,
    find_objects,
    list_folders,
    list_objects,
    split_address,
)
from data.archive_server import Archive

QUICK = {"wait": 0.0, "timeout": 10.0}
ODD = ["a b/c+d%2F.tif", "a&b/<c>.tif", "é/ü.tif", "plain/0.tif"]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def archive():
    with Archive() as server:
        yield server


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("page", [1, 3, 1000])
@pytest.mark.parametrize("encode", [True, False])
def test_a_listing_is_read_to_its_end_page_by_page(page, encode):
    with Archive(page=page, encode=encode) as archive:
        for key in [*ODD, "other", "plain/1.tif"]:
            archive.put(key, key.encode())
        found = list_objects(archive.endpoint, **QUICK)
        assert [entry.key for entry in found] == sorted(archive.objects)
        for entry in found:
            assert entry.md5 == hashlib.md5(archive.objects[entry.key]).hexdigest()
            assert entry.size == len(archive.objects[entry.key])
        assert len(archive.asked) == -(-6 // page)
        assert [e.key for e in list_objects(archive.endpoint, "plain/")] == [
            "plain/0.tif",
            "plain/1.tif",
        ]
        assert [e.key for e in list_objects(archive.endpoint, most=4)] == sorted(archive.objects)[
            :4
        ]
        assert list_folders(archive.endpoint) == ["a b/", "a&b/", "plain/", "é/"]
        assert list_objects(archive.endpoint, "nothing") == []


def test_keys_of_every_kind_become_files_of_that_name(archive, tmp_path):
    for key in ODD:
        archive.put(f"top/{key}", key.encode())
    entries = list_objects(archive.endpoint)
    done, failed = download(entries, tmp_path, endpoint=archive.endpoint, strip="top/", **QUICK)
    assert failed.empty
    assert {key: path.read_bytes().decode() for key, path in done.items()} == {
        f"top/{key}": key for key in ODD
    }
    assert names(tmp_path) == sorted(ODD)


def test_what_the_bucket_says_of_single_keys(archive):
    archive.put("a", b"1")
    archive.put("a.b", b"22", etag="0" * 32 + "-7")
    found = find_objects(archive.endpoint, ["a.b", "a", "a.", "b"], threads=2, **QUICK)
    assert [entry and (entry.key, entry.size) for entry in found] == [
        ("a.b", 2),
        ("a", 1),
        None,
        None,
    ]
    assert found[0].md5 is None
    assert found[1].md5 == hashlib.md5(b"1").hexdigest()


def watch(folder, expected, stop, wrong):
    """Looks at every file with a final name, again and again, until it is told to stop."""
    while not stop.is_set():
        for path in folder.rglob("*"):
            if path.name.startswith(".") or not path.is_file():
                continue
            if path.read_bytes() != expected[path.relative_to(folder).as_posix()]:
                wrong.append(path)


def test_a_fifth_of_the_requests_fails_and_200_objects_are_right(tmp_path):
    draw = random.Random(1)
    with Archive(failing=0.2, seed=3, page=37) as archive:
        for i in range(200):
            archive.put(f"set/{i % 7}/{i:03d}.bin", draw.randbytes(draw.randrange(1, 30_000)))
        expected = dict(archive.objects)
        stop, wrong, seen = threading.Event(), [], []
        watcher = threading.Thread(target=watch, args=(tmp_path, expected, stop, wrong))
        watcher.start()
        try:
            entries = list_objects(archive.endpoint, "set/", **QUICK)
            done, failed = download(
                entries,
                tmp_path,
                endpoint=archive.endpoint,
                threads=8,
                progress=lambda *at: seen.append(at),
                tries=8,
                **QUICK,
            )
        finally:
            stop.set()
            watcher.join()
        assert failed.empty
        assert wrong == []
        assert {key: path.read_bytes() for key, path in done.items()} == expected
        assert names(tmp_path) == sorted(expected)
        assert seen[-1] == (200, 200)
        asked = len(archive.asked)
        share = 1 - archive.faults[""] / asked
        assert 0.15 < share < 0.27, archive.faults
        assert all(archive.faults[kind] >= 3 for kind in ("drop", "short", "lie", "500", "wrong"))
        archive.failing = 0.0
        download(entries, tmp_path, endpoint=archive.endpoint)
        assert len(archive.asked) == asked


# one process imports, and for each line that it is sent makes another one, which downloads
DOWNLOADS = """
import os, sys
from pathlib import Path
from attributome.data.sources.s3 import Entry, download
lines = Path(sys.argv[1]).read_text().splitlines()
entries = [Entry(key=k, size=int(s), etag=e) for k, s, e in map(str.split, lines)]
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        code = 99
        try:
            terms = {"threads": 2, "tries": 10, "wait": 0.0}
            code = len(download(entries, Path(sys.argv[2]), endpoint=sys.argv[3], **terms)[1])
        finally:
            os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def test_a_download_that_is_killed_ten_times_goes_on(tmp_path):
    draw = random.Random(2)
    with Archive(failing=0.2, seed=5, pause=0.02) as archive:
        for i in range(90):
            archive.put(f"{i:03d}.bin", draw.randbytes(40_000))
        expected = dict(archive.objects)
        table, out = tmp_path / "entries.txt", tmp_path / "out"
        table.write_text(
            "\n".join(f"{e.key} {e.size} {e.etag}" for e in list_objects(archive.endpoint, **QUICK))
        )
        paths = os.pathsep.join(path for path in sys.path if path)
        with subprocess.Popen(
            [sys.executable, "-c", DOWNLOADS, table, out, archive.endpoint],
            env=os.environ | {"PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        ) as process:

            def start():
                process.stdin.write("go\n")
                return int(process.stdout.readline())

            had = 0
            for _ in range(10):
                until, pid = len(archive.asked) + draw.randrange(2, 7), start()
                while len(archive.asked) < until:
                    os.kill(pid, 0)  # an error where it is gone
                    time.sleep(0.001)
                time.sleep(draw.uniform(0, 0.05))
                os.kill(pid, signal.SIGKILL)
                assert process.stdout.readline() == f"{-signal.SIGKILL}\n"
                whole = [p for p in out.rglob("*") if p.is_file() and not p.name.startswith(".")]
                assert all(path.read_bytes() == expected[path.name] for path in whole)
                assert len(whole) >= had
                had = len(whole)
            start()
            assert process.stdout.readline() == "0\n"
            process.stdin.close()
        assert {name: (out / name).read_bytes() for name in names(out)} == expected
        assert any(where for _, where in archive.asked), "nothing was gone on with"


@pytest.mark.parametrize(
    ("etag", "right"), [("0" * 32, False), ("0" * 32 + "-2", True), ("", True)]
)
def test_only_a_sum_of_the_contents_can_be_wrong(archive, tmp_path, etag, right):
    archive.put("a", b"abc", etag=etag)
    done, failed = download(
        list_objects(archive.endpoint), tmp_path, endpoint=archive.endpoint, tries=2, **QUICK
    )
    assert names(tmp_path) == (["a"] if right else [])
    assert list(done) == (["a"] if right else [])
    assert len(archive.asked) == (2 if right else 3)
    if not right:
        assert "its MD5 is 900150983cd24fb0d6963f7d28e17f72 and not 0000" in failed["reason"][0]


@pytest.mark.parametrize("size", [2, 4])
def test_an_object_of_another_size_than_listed_is_not_kept(archive, tmp_path, size):
    archive.put("a", b"abc")
    entry = Entry(key="a", size=size)
    _, failed = download([entry], tmp_path, endpoint=archive.endpoint, tries=2, **QUICK)
    assert f"it has 3 bytes and not {size}" in failed["reason"][0]
    assert names(tmp_path) == []


def test_what_is_gone_is_told_and_the_rest_is_there(archive, tmp_path):
    archive.put("a/0", b"")
    archive.put("b", b"abc")
    entries = [*list_objects(archive.endpoint), Entry(key="c", size=1)]
    done, failed = download(entries, tmp_path, endpoint=archive.endpoint, **QUICK)
    assert {key: path.read_bytes() for key, path in done.items()} == {"a/0": b"", "b": b"abc"}
    assert failed["key"].tolist() == ["c"]
    assert "answers 404" in failed["reason"][0]


def test_a_file_that_is_there_with_other_contents_is_left_alone(archive, tmp_path):
    archive.put("a", b"abc")
    (tmp_path / "a").write_text("xyz")
    _, failed = download(list_objects(archive.endpoint), tmp_path, endpoint=archive.endpoint)
    assert "is there, but its MD5 is" in failed["reason"][0]
    assert (tmp_path / "a").read_text() == "xyz"


@pytest.mark.parametrize("key", ["../a", "a/../../b", "/a", "a//b", ".hidden", "a\\b", "c:a", "a/"])
def test_keys_stay_in_the_folder(tmp_path, key):
    with pytest.raises(UsageError, match="cannot be the name of a file"):
        download([Entry(key=key, size=0)], tmp_path, endpoint="http://127.0.0.1:1/b")
    assert names(tmp_path) == []


def test_a_page_that_is_no_listing_is_refused(archive):
    bomb = '<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult>&a;</ListBucketResult>'
    for text, message in (
        ("<html/>", "it is a <html>"),
        ("{}", "is no listing"),
        (bomb, "has a DOCTYPE"),
        ("<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", "not say where"),
        ("<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>", "of size ''"),
    ):
        archive.listing = lambda query, text=text: text
        with pytest.raises(DataError, match=message):
            list_objects(archive.endpoint, tries=2, **QUICK)


def test_a_listing_that_goes_in_circles_is_left(archive):
    again = "<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
    archive.listing = lambda query: f"<ListBucketResult>{again}</ListBucketResult>"
    with pytest.raises(DataError, match="goes on and does not say where"):
        list_objects(archive.endpoint, **QUICK)
    assert len(archive.asked) == 2


@pytest.mark.parametrize(
    "endpoint", ["s3://allencell", "allencell", "https://", "http://[x", "https://host/?a=b"]
)
def test_what_is_no_bucket_is_refused(endpoint):
    with pytest.raises(UsageError, match="is not the address of a bucket"):
        list_objects(endpoint)


def test_addresses():
    assert address("https://b.example/", "a b/é+~.tif") == "https://b.example/a%20b/%C3%A9%2B~.tif"
    assert split_address("s3://cellpainting-gallery/a/b.tiff") == (
        "cellpainting-gallery",
        "a/b.tiff",
    )
    for text in ("s3://", "s3://b", "s3://b/", "https://b/a", "s3://B_/a"):
        with pytest.raises(DataError, match="write s3://bucket/key"):
            split_address(text)
    with pytest.raises(UsageError, match="asked for more than once"):
        download([Entry(key="a", size=0)] * 2, Path("x"), endpoint="http://h")
    with pytest.raises(UsageError, match="most is 0"):
        list_objects("http://h", most=0)
