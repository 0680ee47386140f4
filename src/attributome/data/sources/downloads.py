"""Files from the web: streamed, resumed, checked, and there whole or not at all.

Until it is whole, `name` is `.name.part`, with `.name.part.json` beside it: the address, the
server's mark of the version (a strong ETag or Last-Modified) and the size. With these a killed
download goes on where it stopped; where the server has another version by then, it starts again.
"""

import email.utils
import http.client
import json
import os
import re
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.core.files import make_folder, sha256, write_json
from attributome.data.sources.pacing import pause, slots

BLOCK = 2**16
LIMIT = 2**34
"""Bytes of the largest file that is fetched, if the caller says nothing."""

PATIENCE = 600.0
"""Seconds that a server may ask us to wait; one that asks for more is left alone."""

_SHA256 = re.compile("[0-9a-f]{64}").fullmatch
_ADDRESS = re.compile(r"https?://[!-~]+", re.IGNORECASE).fullmatch
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)").fullmatch


class DiskError(DataError):
    """The disk cannot take the file: no other file will do better."""


class _Again(Exception):  # noqa: N818 (it asks for another try)
    """What went wrong may pass; `after` are the seconds that the server asks for."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file to fetch: from `url` to `path`, with its SHA-256 and its bytes where known."""

    url: str
    path: Path
    checksum: str | None = None
    expected: int | None = None


def fetch(
    url: str,
    path: Path,
    *,
    checksum: str | None = None,
    expected: int | None = None,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    seed: int = 0,
    limit: int = LIMIT,
    pace: Callable[[], float] | None = None,
    stop: threading.Event | None = None,
    progress: Callable[[int, int | None], object] | None = None,
) -> Path:
    """Fetch `url` to `path`, unless it is there; `checksum` is a SHA-256, `expected` its bytes.

    Dropped connections, bodies that end early, answers 5xx and 429 are tried again, until `tries`
    in a row brought nothing new, after `wait` seconds times 2, 4, 8 … with a jitter from `seed`,
    or as long as Retry-After says. `timeout` is in seconds without a byte, `limit` the bytes that
    are accepted; `pace` says before each request how many seconds to wait; a `stop` that is set
    ends the download, and its partial file stays for the next time. `progress(bytes, all)` is
    called as they come; all is None where nobody says it.

    Raises `UsageError` for what is no address, `DiskError` where it cannot be written, and
    `DataError` for every other answer, or a file (also one that is there) with other contents
    than were promised.
    """
    _check(url, checksum, tries, timeout, wait)
    if path.exists():
        if fault := _fault(path, checksum, expected):
            raise DataError(f"{path} is there, but {fault}; move it away to fetch {url}")
        return path
    stop = stop or threading.Event()
    part = path.with_name(f".{path.name}.part")
    note = path.with_name(f".{path.name}.part.json")
    make_folder(path.parent)
    try:
        with _opened(part, note) as handle:
            failures, best = 0, _size(handle)
            while True:
                _pause(stop, pace() if pace else 0.0, url)
                try:
                    resumed = _receive(
                        url,
                        handle,
                        note,
                        expected=expected,
                        timeout=timeout,
                        limit=limit,
                        stop=stop,
                        progress=progress,
                    )
                    fault = _fault(part, checksum, expected)
                    if fault:
                        handle.truncate(0)
                    if fault and not resumed:
                        raise DataError(f"{url} is not what was promised: {fault}")
                    if fault:
                        raise _Again(f"it was put together from two versions: {fault}")
                    break
                except _Again as error:
                    size = _size(handle)
                    failures, best = (1 if size > best else failures + 1), max(best, size)
                    if failures >= tries or error.after > PATIENCE:
                        raise DataError(
                            f"cannot fetch {url}: {error} (tries in a row that brought nothing "
                            f"new: {failures}); the same request goes on from byte {size}"
                        ) from error
                    delay = pause(url, failures, wait=wait, seed=seed, after=error.after)
                _pause(stop, delay, url)
            os.fsync(handle.fileno())
            part.replace(path)
            note.unlink(missing_ok=True)
    except OSError as error:  # those of the network have been dealt with
        raise DiskError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def fetch_all(
    items: Sequence[Item],
    *,
    threads: int = 4,
    per_second: float | None = None,
    progress: Callable[[int, int], object] | None = None,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    seed: int = 0,
    limit: int = LIMIT,
) -> tuple[list[Path], pd.DataFrame]:
    """The files that are there now, in order, and a table of the others: `url, path, reason`.

    At most `threads` at a time and `per_second` requests; `progress(finished, all)` is called by
    the thread that called. What is there is not fetched again. Ctrl-C (`KeyboardInterrupt`) and a
    `DiskError` end everything; partial files stay, and the same call goes on with them.
    """
    if threads < 1:
        raise UsageError(f"threads is {threads}; give 1 or more")
    twice = [path for path, count in Counter(item.path for item in items).items() if count > 1]
    if twice:
        raise UsageError(f"{len(twice)} paths are named by more than one item, as {twice[0]}")
    pace = slots(per_second) if per_second is not None else None
    stop = threading.Event()
    reasons: dict[int, str] = {}

    def one(item: Item) -> Path:
        return fetch(
            item.url,
            item.path,
            checksum=item.checksum,
            expected=item.expected,
            tries=tries,
            timeout=timeout,
            wait=wait,
            seed=seed,
            limit=limit,
            pace=pace,
            stop=stop,
        )

    with ThreadPoolExecutor(threads) as pool:
        futures: dict[Future[Path], int] = {}
        try:
            futures |= {pool.submit(one, item): i for i, item in enumerate(items)}
            for finished, future in enumerate(as_completed(futures), start=1):
                try:
                    future.result()
                except DiskError:
                    raise
                except (DataError, UsageError) as error:
                    reasons[futures[future]] = str(error)
                if progress is not None:
                    progress(finished, len(items))
        except BaseException:
            stop.set()  # before the pool is left, which waits for its threads
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    done = [item.path for i, item in enumerate(items) if i not in reasons]
    failed = [(items[i].url, str(items[i].path), reasons[i]) for i in sorted(reasons)]
    return done, pd.DataFrame(failed, columns=["url", "path", "reason"])


def _check(url: str, checksum: str | None, tries: int, timeout: float, wait: float) -> None:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not _ADDRESS(url) or not host:
        raise UsageError(f"{url!r} is not an address of the web: it must begin with https://")
    if checksum is not None and not _SHA256(checksum.lower()):
        raise UsageError(f"the checksum {checksum!r} is not a SHA-256 of 64 hexadecimal digits")
    if tries < 1 or timeout <= 0 or wait < 0:
        raise UsageError(
            f"tries is {tries}, timeout {timeout} and wait {wait}; give 1 or more, above 0, 0 or "
            f"more"
        )


def _fault(path: Path, checksum: str | None, expected: int | None) -> str:
    """Why a file is not the one that was promised, or ""."""
    size = path.stat().st_size
    if expected is not None and size != expected:
        return f"it has {size} bytes and not {expected}"
    if checksum is not None and (found := sha256(path)) != checksum.lower():
        return f"its SHA-256 is {found} and not {checksum.lower()}"
    return ""


@contextmanager
def _opened(part: Path, note: Path) -> Iterator[BinaryIO]:
    """The partial file, ours alone; an empty one is not left behind."""
    with open(os.open(part, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as handle:
        try:
            if sys.platform != "win32":
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # who had the lock may have renamed the file into place since we opened it
            ours = os.path.samestat(os.fstat(handle.fileno()), part.stat())
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise DataError(f"another process is fetching {part}; wait for it")
        try:
            yield handle
        finally:
            if _size(handle) == 0:
                part.unlink(missing_ok=True)
                note.unlink(missing_ok=True)


def _size(handle: BinaryIO) -> int:
    return handle.seek(0, os.SEEK_END)


def _pause(stop: threading.Event, seconds: float, url: str) -> None:
    if seconds > 0:
        stop.wait(seconds)
    if stop.is_set():
        raise DataError(f"{url} was stopped before it was whole")


def _receive(
    url: str,
    handle: BinaryIO,
    note: Path,
    *,
    expected: int | None,
    timeout: float,
    limit: int,
    stop: threading.Event,
    progress: Callable[[int, int | None], object] | None,
) -> bool:
    """One request, from where the partial file ends; whether that was not its beginning."""
    size = _size(handle)
    known = _known(note, url) if size else {}
    if known.get("total") == size:
        return True  # it was ended between the last byte and its new name
    headers = {"User-Agent": "attributome", "Accept-Encoding": "identity"}
    if known.get("version"):
        headers |= {"Range": f"bytes={size}-", "If-Range": str(known["version"])}
    with _answer(url, headers, timeout, handle) as response:
        resumed = response.status == 206
        if resumed:
            total = _rest(response, size, known, handle)
        else:
            handle.truncate(0)
            size, total = handle.seek(0), response.length
            try:
                write_json(note, {"url": url, "version": _version(response), "total": total})
            except DataError as error:
                raise DiskError(str(error)) from error
        most = min(value for value in (total, expected, limit) if value is not None)
        if total is not None and total > most:
            raise DataError(f"{url} has {total} bytes, which is more than {most}")
        # an end that the server announced is an end, also where it keeps the connection
        while total is None or size < total:
            with _network():
                block = response.read1(BLOCK)
            if not block:
                break
            size += len(block)
            if size > most:
                handle.truncate(0)
                raise DataError(f"{url} has more than {most} bytes")
            handle.write(block)
            if progress is not None:
                progress(size, total)
            _pause(stop, 0.0, url)
    handle.flush()
    whole = total if total is not None else expected
    if whole is not None and size < whole:
        raise _Again(f"it ended after {size} of {whole} bytes")
    return resumed


def _known(note: Path, url: str) -> dict[str, Any]:
    """What was noted of the partial file, if it is of this address."""
    try:
        told = json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) and told.get("url") == url else {}


def _version(response: http.client.HTTPResponse) -> str | None:
    """What marks the exact bytes of this version; a weak ETag does not."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _rest(
    response: http.client.HTTPResponse, size: int, known: dict[str, Any], handle: BinaryIO
) -> int | None:
    """The bytes of the whole file; refused where the answer does not go on from `size`."""
    found = _RANGE(response.headers.get("Content-Range", ""))
    other = _version(response) not in (None, known.get("version"))
    if found is None or int(found[1]) != size or other:
        handle.truncate(0)
        raise _Again("its answer does not go on from the partial file")
    if found[2] != "*":
        return int(found[2])
    return None if response.length is None else size + response.length


@contextmanager
def _answer(
    url: str, headers: dict[str, str], timeout: float, handle: BinaryIO
) -> Iterator[http.client.HTTPResponse]:
    """The answer 200 or 206 with plain bytes, to a request that follows redirects to the web."""
    # not build_opener: it would also follow to ftp
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    try:
        with _network():
            response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and "Range" in headers:
                handle.truncate(0)
                raise _Again("it has no such rest as the partial file lacks") from error
            if error.code == 429 or error.code >= 500:
                after = _after(error.headers.get("Retry-After", ""))
                raise _Again(f"it answers {error.code} {error.reason}", after) from error
            raise DataError(f"{url} answers {error.code} {error.reason}") from error
    with response:
        coded = response.headers.get("Content-Encoding", "identity")
        if response.status not in (200, 206) or coded != "identity":
            raise DataError(
                f"{url} answers {response.status} in the encoding {coded}; 200 and plain bytes "
                f"were asked for"
            )
        if response.status == 206 and "Range" not in headers:
            raise DataError(f"{url} answers with a part though all was asked for")
        yield response


@contextmanager
def _network() -> Iterator[None]:
    """Faults of the network that may pass become `_Again`; the others say what they are."""
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        lasting = isinstance(error.reason, ssl.SSLCertVerificationError | str)
        kind = DataError if lasting else _Again
        raise kind(f"no connection: {error.reason}") from error
    except ValueError as error:  # an address, of a redirect, that is none
        raise DataError(f"the answer cannot be used: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Again(f"the connection broke: {error or type(error).__name__}") from error


def _after(text: str) -> float:
    """Seconds that a Retry-After asks for, which may be a number or a date."""
    if re.fullmatch("[0-9]{1,18}", text.strip()):
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0  # neither: then our own pause is all
    return max(0.0, when - time.time())
