"""Files from a web server that fails in every way it can, whole on the disk in the end."""

import email.utils
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from attributome.core.errors import DataError, UsageError
from attributome.data.sources.downloads import (
    DiskError,
    Item,
    fetch,
    fetch_all,
)
from attributome.data.sources.pacing import pause, slots
from data.atlas_server import Atlas

BODY = random.Random(0).randbytes(300_000)
SUM = hashlib.sha256(BODY).hexdigest()
QUICK = {"wait": 0.0, "timeout": 10.0}


class Told(threading.Event):
    """Keeps the waits that it is asked for, and does not wait."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        return False


@pytest.fixture
def atlas(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Atlas() as server:
        yield server


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_there_whole_and_is_not_fetched_again(atlas, tmp_path):
    url = atlas.put("/a.bin", BODY)
    path = tmp_path / "deep" / "a.bin"
    for _ in range(2):
        assert fetch(url, path, checksum=SUM.upper(), expected=len(BODY), **QUICK) == path
        assert path.read_bytes() == BODY
    assert names(path.parent) == ["a.bin"]
    assert atlas.asked == [("/a.bin", None)]


@pytest.mark.parametrize(
    "faults",
    [["drop"], ["short"], ["500"], ["503", "429"], ["drop", "500", "short", "drop"]],
    ids=" ".join,
)
@pytest.mark.parametrize("words", [{}, {"ranges": False}, {"tag": None}, {"tag": 'W/"one"'}])
def test_what_may_pass_is_tried_again(atlas, tmp_path, faults, words):
    url = atlas.put("/a.bin", BODY, faults=[*faults], **words)
    fetch(url, tmp_path / "a.bin", checksum=SUM, **QUICK)
    assert len(atlas.asked) == len(faults) + 1
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("words", "goes_on"),
    [
        ({}, True),
        ({"tag": None, "date": "Sat, 01 Jan 2022 00:00:00 GMT"}, True),
        ({"tag": 'W/"weak"'}, False),
        ({"tag": None}, False),
    ],
)
def test_a_body_that_ended_early_goes_on_where_the_server_marks_its_versions(
    atlas, tmp_path, words, goes_on
):
    url = atlas.put("/a.bin", BODY, faults=["short"], **words)
    fetch(url, tmp_path / "a.bin", **QUICK)
    half = f"bytes={len(BODY) // 2}-" if goes_on else None
    assert atlas.asked == [("/a.bin", None), ("/a.bin", half)]
    assert (tmp_path / "a.bin").read_bytes() == BODY


@pytest.mark.parametrize("words", [{"chunked": True}, {"length": False}], ids=str)
def test_a_body_of_unknown_length(atlas, tmp_path, words):
    url = atlas.put("/a.bin", BODY, **words)
    assert fetch(url, tmp_path / "whole", **QUICK).read_bytes() == BODY
    atlas.put("/a.bin", BODY, faults=["short"], **words)
    fetch(url, tmp_path / "again", expected=len(BODY), **QUICK)
    assert (tmp_path / "again").read_bytes() == BODY
    with pytest.raises(DataError, match="has more than 1000 bytes"):
        fetch(url, tmp_path / "big", limit=1000, **QUICK)
    assert names(tmp_path) == ["again", "whole"]


def test_tries_count_only_while_nothing_new_comes(atlas, tmp_path):
    url = atlas.put("/a.bin", BODY, faults=["short"] * 6)
    fetch(url, tmp_path / "a.bin", checksum=SUM, tries=2, **QUICK)
    assert len(atlas.asked) == 7
    url = atlas.put("/b.bin", BODY, faults=["short"] * 6, ranges=False)
    with pytest.raises(DataError, match=r"ended after 150000 of 300000 bytes \(tries .*: 2\)"):
        fetch(url, tmp_path / "b.bin", tries=2, **QUICK)


def test_a_download_that_was_given_up_goes_on_another_day(atlas, tmp_path):
    url = atlas.put("/a.bin", BODY, faults=["short", "500", "500"])
    with pytest.raises(DataError, match="500 Internal Server Error .*: 3.* from byte 150000"):
        fetch(url, tmp_path / "a.bin", tries=3, **QUICK)
    assert names(tmp_path) == [".a.bin.part", ".a.bin.part.json"]
    fetch(url, tmp_path / "a.bin", checksum=SUM, **QUICK)
    assert [where for _, where in atlas.asked] == [None, *["bytes=150000-"] * 3]
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("trusting", [False, True])
def test_two_versions_are_never_put_together(atlas, tmp_path, trusting):
    url = atlas.put("/a.bin", BODY, faults=["short", "500"])
    with pytest.raises(DataError):
        fetch(url, tmp_path / "a.bin", tries=1, **QUICK)
    newer = bytes(len(BODY))
    atlas.put("/a.bin", newer, tag='"two"', trusting=trusting)
    assert fetch(url, tmp_path / "a.bin", **QUICK).read_bytes() == newer
    again = [None] if trusting else []  # If-Range spares the second request
    assert [where for _, where in atlas.asked] == [None, "bytes=150000-", *again]


def test_an_end_that_was_announced_is_not_waited_for(atlas, tmp_path):
    told = Told()
    url = atlas.put("/a.bin", BODY, faults=["linger"])
    fetch(url, tmp_path / "a.bin", checksum=SUM, stop=told, wait=1.0, timeout=0.5)
    assert told.waits == []


def test_a_partial_file_of_another_address_is_not_used(atlas, tmp_path):
    first = atlas.put("/a.bin", bytes(len(BODY)), faults=["short"])
    second = atlas.put("/b.bin", BODY)
    with pytest.raises(DataError):
        fetch(first, tmp_path / "x", tries=1, **QUICK)
    assert fetch(second, tmp_path / "x", **QUICK).read_bytes() == BODY


def test_a_partial_file_that_was_damaged_is_fetched_anew(atlas, tmp_path):
    url = atlas.put("/a.bin", BODY, faults=["short"])
    with pytest.raises(DataError):
        fetch(url, tmp_path / "a.bin", tries=1, **QUICK)
    part = tmp_path / ".a.bin.part"
    part.write_bytes(bytes([BODY[0] ^ 1]) + part.read_bytes()[1:])
    fetch(url, tmp_path / "a.bin", checksum=SUM, **QUICK)
    assert [where for _, where in atlas.asked] == [None, "bytes=150000-", None]


@pytest.mark.parametrize("size", [len(BODY), len(BODY) + 10])
def test_a_partial_file_that_needs_no_more_or_is_too_long(atlas, tmp_path, size):
    url = atlas.put("/a.bin", BODY, faults=["short"])
    with pytest.raises(DataError):
        fetch(url, tmp_path / "a.bin", tries=1, **QUICK)
    (tmp_path / ".a.bin.part").write_bytes((BODY + bytes(10))[:size])
    assert fetch(url, tmp_path / "a.bin", **QUICK).read_bytes() == BODY
    assert len(atlas.asked) == (1 if size == len(BODY) else 3)


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_4xx_is_an_answer(atlas, tmp_path, status):
    url = atlas.put("/a.bin", BODY, status=status)
    with pytest.raises(DataError, match=f"/a.bin answers {status}"):
        fetch(url, tmp_path / "a.bin", **QUICK)
    assert len(atlas.asked) == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("promise", "message"),
    [
        ({"checksum": "0" * 64}, f"its SHA-256 is {SUM} and not 0000"),
        ({"expected": 299_999}, "300000 bytes, which is more than 299999"),
        ({"limit": 299_999}, "300000 bytes, which is more than 299999"),
        ({"expected": 300_001}, "it has 300000 bytes and not 300001"),
    ],
)
def test_another_file_than_was_promised_is_not_kept(atlas, tmp_path, promise, message):
    url = atlas.put("/a.bin", BODY)
    with pytest.raises(DataError, match=message):
        fetch(url, tmp_path / "a.bin", **promise, **QUICK)
    assert names(tmp_path) == []
    assert len(atlas.asked) == 1


def test_a_file_that_is_there_is_never_written_over(atlas, tmp_path):
    url = atlas.put("/a.bin", BODY)
    (tmp_path / "a.bin").write_text("mine")
    with pytest.raises(DataError, match=r"a\.bin is there, but its SHA-256 is .* move it away"):
        fetch(url, tmp_path / "a.bin", checksum=SUM, **QUICK)
    assert (tmp_path / "a.bin").read_text() == "mine"
    assert atlas.asked == []


@pytest.mark.parametrize("kind", ["file", "ftp", "loop", "broken", "port"])
def test_redirects_stay_on_the_web(atlas, tmp_path, kind):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    target = {"file": secret.as_uri(), "ftp": "ftp://127.0.0.1/a", "loop": "/bad"}
    target = {**target, "broken": "http://[x/a", "port": "http://127.0.0.1:port/a"}[kind]
    atlas.put("/a.bin", BODY, faults=["short"])
    good = atlas.put("/good", b"", status=302, headers={"Location": "/a.bin"})
    bad = atlas.put("/bad", b"", status=302, headers={"Location": target})
    fetch(good, tmp_path / "a.bin", checksum=SUM, **QUICK)
    assert atlas.asked[-1] == ("/a.bin", "bytes=150000-")
    with pytest.raises(DataError):
        fetch(bad, tmp_path / "b.bin", **QUICK)
    assert names(tmp_path) == ["a.bin", "secret"]


@pytest.mark.parametrize(
    ("url", "words", "message"),
    [
        ("file:///a/b", {}, "is not an address of the web"),
        ("ftp://host/a", {}, "is not an address of the web"),
        ("a.bin", {}, "is not an address of the web"),
        ("http://", {}, "is not an address of the web"),
        ("http://[host/a", {}, "is not an address of the web"),
        ("http://host/a b", {}, "is not an address of the web"),
        ("http://host/a\r\nHost: b", {}, "is not an address of the web"),
        ("http://host/a", {"checksum": "abc"}, "the checksum 'abc' is not"),
        ("http://host/a", {"tries": 0}, "tries is 0"),
        ("http://host/a", {"timeout": 0.0}, "timeout 0.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, url, words, message):
    with pytest.raises(UsageError, match=message):
        fetch(url, tmp_path / "a", **words)


def test_packed_bytes_are_not_taken_for_the_file(atlas, tmp_path):
    url = atlas.put("/a.bin", BODY, headers={"Content-Encoding": "gzip"})
    with pytest.raises(DataError, match="in the encoding gzip"):
        fetch(url, tmp_path / "a.bin", **QUICK)


def test_nobody_listens(tmp_path, atlas):
    with Atlas() as other:
        gone = other.site
    with pytest.raises(DataError, match=r"cannot fetch .* no connection: .*: 2\)"):
        fetch(f"{gone}/a", tmp_path / "a", tries=2, **QUICK)


def test_a_server_that_falls_silent_is_asked_again(atlas, tmp_path):
    url = atlas.put("/a.bin", BODY, faults=["stall"])
    fetch(url, tmp_path / "a.bin", checksum=SUM, wait=0.0, timeout=0.2)
    assert atlas.asked[1] == ("/a.bin", "bytes=150000-")


def test_pauses_double_up_to_a_minute_and_differ_between_files():
    waits = [pause("u", n, wait=1.0, seed=0) for n in range(1, 12)]
    assert waits == [pause("u", n, wait=1.0, seed=0) for n in range(1, 12)]
    for n, seconds in enumerate(waits):
        assert 0.5 <= seconds / min(2**n, 60) < 1.5
    assert len({pause(url, 3, wait=1.0, seed=s) for url in "uv" for s in (0, 1)}) == 4
    assert pause("u", 1, wait=1.0, seed=0, after=40.0) == 40.0


@pytest.mark.parametrize("status", ["429", "503"])
def test_a_server_says_when_to_come_back(atlas, tmp_path, status):
    told = Told()
    url = atlas.put("/a.bin", BODY, faults=[status], headers={"Retry-After": "77"})
    fetch(url, tmp_path / "a.bin", stop=told, wait=0.001)
    assert told.waits == [77.0]
    later = email.utils.formatdate(time.time() + 3e6, usegmt=True)
    url = atlas.put("/a.txt", BODY, faults=[status], headers={"Retry-After": "tomorrow"})
    fetch(url, tmp_path / "a.txt", stop=told, wait=0.0)
    for name, words in (("b", "601"), ("c", later)):
        url = atlas.put(f"/{name}", BODY, faults=[status], headers={"Retry-After": words})
        with pytest.raises(DataError, match=f"it answers {status}"):
            fetch(url, tmp_path / name, stop=told)
    assert told.waits == [77.0]


def test_waits_grow_with_each_failure(atlas, tmp_path):
    told = Told()
    url = atlas.put("/a.bin", BODY, faults=["500"] * 4)
    fetch(url, tmp_path / "a.bin", stop=told, wait=3.0, seed=5)
    assert told.waits == [pause(url, n, wait=3.0, seed=5) for n in (1, 2, 3, 4)]


def test_slots_are_evenly_apart_and_are_not_saved_up():
    now = [100.0]
    pace = slots(4.0, lambda: now[0])
    assert [pace() for _ in range(4)] == [0.0, 0.25, 0.5, 0.75]
    now[0] += 0.9
    assert pace() == pytest.approx(0.1)
    now[0] += 50
    assert [pace(), pace()] == [0.0, 0.25]
    with pytest.raises(UsageError, match="per_second is 0"):
        slots(0.0)


def test_each_request_waits_for_its_slot(atlas, tmp_path):
    told, turns = Told(), iter([1.0, 2.0, 3.0])
    url = atlas.put("/a.bin", BODY, faults=["500", "500"])
    fetch(url, tmp_path / "a.bin", pace=lambda: next(turns), stop=told, wait=0.0)
    assert told.waits == [1.0, 2.0, 3.0]


def test_many_files_and_the_reasons_for_those_that_failed(atlas, tmp_path):
    items = [
        Item(
            url=atlas.put(f"/{i}", BODY[: 1000 * i], faults=["500"] * (i % 3)),
            path=tmp_path / f"{i}",
        )
        for i in range(8)
    ]
    items[2] = Item(url=atlas.site + "/nothing", path=tmp_path / "2")
    items[5] = Item(url=items[5].url, path=tmp_path / "5", checksum="0" * 64)
    items[6] = Item(url="file:///a", path=tmp_path / "6")
    seen = []
    words = {**QUICK, "progress": lambda *at: seen.append(at), "per_second": 1e6}
    done, failed = fetch_all(items, threads=3, **words)
    assert done == [tmp_path / f"{i}" for i in (0, 1, 3, 4, 7)]
    assert all(path.read_bytes() == BODY[: 1000 * int(path.name)] for path in done)
    assert failed["path"].tolist() == [str(tmp_path / f"{i}") for i in (2, 5, 6)]
    for reason, word in zip(failed["reason"], ("404", "SHA-256", "address"), strict=True):
        assert word in reason
    assert seen == [(n, 8) for n in range(1, 9)]
    atlas.asked.clear()
    again, _ = fetch_all(items, **QUICK)
    assert again == done
    assert sorted(set(atlas.paths())) == ["/5", "/nothing"]
    assert names(tmp_path) == ["0", "1", "3", "4", "7"]


def test_so_many_at_a_time_as_threads(atlas, tmp_path):
    atlas.gate = threading.Barrier(3, timeout=20)  # passed only by three requests at once
    items = [Item(url=atlas.put(f"/{i}", BODY), path=tmp_path / f"{i}") for i in range(6)]
    done, _ = fetch_all(items, threads=3, **QUICK)
    assert (len(done), atlas.most) == (6, 3)


def test_two_items_for_one_path_and_no_threads_are_refused(tmp_path):
    items = [Item(url=f"http://host/{i}", path=tmp_path / "a") for i in range(2)]
    with pytest.raises(UsageError, match="1 paths are named by more than one item"):
        fetch_all(items)
    with pytest.raises(UsageError, match="threads is 0"):
        fetch_all(items[:1], threads=0)
    assert fetch_all([])[0] == []


def test_a_disk_that_cannot_take_it_ends_everything(atlas, tmp_path):
    url = atlas.put("/a", BODY)
    items = [Item(url=url, path=tmp_path / ("x" * 252)), Item(url=url, path=tmp_path / "b")]
    with pytest.raises(DiskError, match="cannot write .*: File name too long"):
        fetch_all(items, threads=1, **QUICK)


def test_two_processes_do_not_write_one_file(atlas, tmp_path):
    import fcntl

    url = atlas.put("/a.bin", BODY)
    with (tmp_path / ".a.bin.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"another process is fetching .*\.part"):
            fetch(url, tmp_path / "a.bin", **QUICK)
    fetch(url, tmp_path / "a.bin", checksum=SUM, **QUICK)


def test_a_stopped_download_leaves_what_it_has(atlas, tmp_path):
    stop = threading.Event()
    stop.set()
    url = atlas.put("/a.bin", BODY)
    with pytest.raises(DataError, match="was stopped"):
        fetch(url, tmp_path / "a.bin", stop=stop)
    assert atlas.asked == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_process_goes_on_where_it_was(atlas, tmp_path, how):
    at = 123_456
    url = atlas.put("/a.bin", BODY, stall_at=at)
    items = f"[Item(url={url!r}, path=Path('a.bin')), Item(url={url!r}, path=Path('b.bin'))]"
    code = (
        "import signal\n"
        "from pathlib import Path\n"
        "from attributome.data.sources.downloads import Item, fetch_all\n"
        # a shell in the background has its children ignore Ctrl-C
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"fetch_all({items}, threads=1, tries=10**6, timeout=0.1, wait=0.01)\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
    )
    part = tmp_path / ".a.bin.part"
    while not part.exists() or part.stat().st_size < at:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -how, said
    assert names(tmp_path) == [".a.bin.part", ".a.bin.part.json"]
    assert part.stat().st_size == at
    atlas.asked.clear()
    atlas.things["/a.bin"].stall_at = None
    done, _ = fetch_all([Item(url=url, path=tmp_path / n) for n in ("a.bin", "b.bin")], **QUICK)
    assert [path.read_bytes() == BODY for path in done] == [True, True]
    assert sorted(str(where) for _, where in atlas.asked) == ["None", f"bytes={at}-"]
