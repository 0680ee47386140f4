"""Public buckets of S3: what is in them, and objects of them as files, without an account.

A bucket is named by its address, as `https://allencell.s3.amazonaws.com`, so that a mirror, or a
server of one's own, serves as well. Listing is ListObjectsV2, and everything that is asked of a
bucket goes through `downloads.fetch`: that is all that an open bucket needs, and a library of S3
would bring an event loop and a signer of requests that nobody signs.
"""

import hashlib
import re
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_plus, urlencode, urlsplit
from xml.etree import ElementTree

import pandas as pd

from attributome.core.errors import DataError, UsageError
from attributome.data.sources.downloads import LIMIT, Item, fetch, fetch_all
from attributome.data.sources.pacing import pause

AT_ONCE = 64
"""Objects whose contents are compared with what the bucket says, before the next are fetched."""

PAGE_BYTES = 2**26

_MD5 = re.compile("[0-9a-f]{32}").fullmatch
_S3 = re.compile("s3://(?P<bucket>[a-z0-9][a-z0-9.-]*)/(?P<key>.+)", re.DOTALL).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An object of a bucket: its key, its bytes, and the bucket's mark of its contents.

    `etag` is the MD5 of the contents where it has 32 hexadecimal digits; that of an object that
    was put there in parts is another sum, with a dash.
    """

    key: str
    size: int
    etag: str = ""

    @property
    def md5(self) -> str | None:
        """The MD5 of the contents, if the bucket says it."""
        return self.etag if _MD5(self.etag) else None


def address(endpoint: str, key: str) -> str:
    """Where an object is on the web."""
    return f"{_bucket(endpoint)}/{quote(key, safe='/~')}"


def split_address(text: str) -> tuple[str, str]:
    """Bucket and key of an address `s3://bucket/key`."""
    found = _S3(text)
    if found is None:
        raise DataError(f"{text!r} is not the address of an object: write s3://bucket/key")
    return found["bucket"], found["key"]


def list_objects(
    endpoint: str,
    prefix: str = "",
    *,
    most: int | None = None,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    seed: int = 0,
) -> list[Entry]:
    """The objects whose keys begin with `prefix`, in the bucket's order, at most `most`.

    Raises `DataError` where the answers are no listing, or do not come to an end.
    """
    if most is not None and most < 1:
        raise UsageError(f"most is {most} objects; give 1 or more")
    terms = {"tries": tries, "timeout": timeout, "wait": wait, "seed": seed}
    asked = {"prefix": prefix} | ({"max-keys": str(min(most, 1000))} if most else {})
    found: list[Entry] = []
    for page in _pages(endpoint, asked, terms):
        found += [_entry(endpoint, element, page) for element in page.iterfind("{*}Contents")]
        if most is not None and len(found) >= most:
            return found[:most]
    return found


def list_folders(
    endpoint: str,
    prefix: str = "",
    *,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    seed: int = 0,
) -> list[str]:
    """What follows `prefix` in the keys, up to and with the next slash, each once."""
    terms = {"tries": tries, "timeout": timeout, "wait": wait, "seed": seed}
    return [
        _plain(page, element.findtext("{*}Prefix") or "")
        for page in _pages(endpoint, {"prefix": prefix, "delimiter": "/"}, terms)
        for element in page.iterfind("{*}CommonPrefixes")
    ]


def find_objects(
    endpoint: str,
    keys: Sequence[str],
    *,
    threads: int = 4,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    seed: int = 0,
) -> list[Entry | None]:
    """What the bucket says of each key; None where it has no such object."""
    if threads < 1:
        raise UsageError(f"threads is {threads}; give 1 or more")

    def one(key: str) -> Entry | None:
        terms = {"tries": tries, "timeout": timeout, "wait": wait, "seed": seed}
        # in the bucket's order a key comes before all that it begins
        entries = list_objects(endpoint, key, most=1, **terms)  # type: ignore[arg-type]
        return entries[0] if entries and entries[0].key == key else None

    pool = ThreadPoolExecutor(threads)
    try:
        return [*pool.map(one, keys)]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def download(
    entries: Collection[Entry],
    folder: Path,
    *,
    endpoint: str,
    strip: str = "",
    threads: int = 4,
    per_second: float | None = None,
    progress: Callable[[int, int], object] | None = None,
    tries: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    seed: int = 0,
    limit: int = LIMIT,
) -> tuple[dict[str, Path], pd.DataFrame]:
    """Fetch objects into `folder`, and return key → file and a table `key, path, reason`.

    A file is named as its key, without `strip` before it. It has that name only when it has the
    bytes, and where the bucket says it the MD5, of its entry; contents that are wrong are fetched
    again, `tries` times. What is there is checked and not fetched again, and one that is there
    with other contents is a failure. A killed download goes on where it was.

    Raises `UsageError` for keys that are no file of the folder, and `DiskError` as `fetch_all`.
    """
    places = {entry.key: (entry, folder / _relative(entry.key, strip)) for entry in entries}
    if len(places) < len(entries):
        raise UsageError(f"{len(entries) - len(places)} objects are asked for more than once")
    reasons: dict[str, str] = {}
    wanted: list[str] = []
    for key, (entry, path) in places.items():
        if not path.exists():
            wanted.append(key)
        elif fault := _fault(path, entry):
            reasons[key] = f"{path} is there, but {fault}; move it away"
    finished = len(places) - len(wanted)
    for start in range(0, len(wanted), AT_ONCE):
        batch = wanted[start : start + AT_ONCE]
        for attempt in range(1, tries + 1):
            before = len(batch)
            items = [
                Item(url=address(endpoint, key), path=_unchecked(places[key][1])) for key in batch
            ]
            _, failed = fetch_all(
                items,
                threads=threads,
                per_second=per_second,
                tries=tries,
                timeout=timeout,
                wait=wait,
                seed=seed,
                limit=limit,
            )
            lost = dict(zip(failed["path"], failed["reason"], strict=True))
            batch = _settle(batch, places, lost, reasons)
            finished += before - len(batch)
            if progress is not None:
                progress(finished, len(places))
            if not batch:
                break
            if attempt < tries:
                time.sleep(pause(batch[0], attempt, wait=wait, seed=seed))
    done = {key: path for key, (_, path) in places.items() if key not in reasons}
    _tidy({*done.values()})
    rows = [(key, str(places[key][1]), reasons[key]) for key in places if key in reasons]
    return done, pd.DataFrame(rows, columns=["key", "path", "reason"])


def _settle(
    batch: list[str],
    places: dict[str, tuple[Entry, Path]],
    lost: dict[str, str],
    reasons: dict[str, str],
) -> list[str]:
    """Files that are right get their names; returned are those to be fetched again."""
    again = []
    for key in batch:
        entry, path = places[key]
        unchecked = _unchecked(path)
        if (reason := lost.get(str(unchecked))) is not None:
            reasons[key] = reason
        elif fault := _fault(unchecked, entry):
            unchecked.unlink()
            reasons[key] = f"{key} is not what the bucket lists: {fault}"
            again.append(key)
        else:
            reasons.pop(key, None)
            unchecked.replace(path)
    return again


def _tidy(paths: set[Path]) -> None:
    """Take away what processes that were killed while they wrote left beside whole files."""
    for folder in {path.parent for path in paths}:
        for left in folder.glob(".*.unchecked.*"):
            if folder / left.name[: left.name.rindex(".unchecked.")].lstrip(".") in paths:
                left.unlink(missing_ok=True)


def _fault(path: Path, entry: Entry) -> str:
    """Why a file is not the object, or ""."""
    size = path.stat().st_size
    if size != entry.size:
        return f"it has {size} bytes and not {entry.size}"
    if entry.md5 is None:
        return ""
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, _md5).hexdigest()
    return "" if found == entry.md5 else f"its MD5 is {found} and not {entry.md5}"


def _md5() -> "hashlib._Hash":
    """The sum that S3 uses, against accidents and not attackers: also where MD5 is forbidden."""
    return hashlib.md5(usedforsecurity=False)


def _unchecked(path: Path) -> Path:
    """The name of a file whose contents nobody has looked at."""
    return path.with_name(f".{path.name}.unchecked")


def _relative(key: str, strip: str) -> Path:
    """The path of an object in a folder, which it must not leave."""
    rest = key.removeprefix(strip)
    parts = rest.split("/")
    if any(not part or part.startswith(".") for part in parts) or re.search(
        r"[\\:\x00-\x1f]", rest
    ):
        raise UsageError(f"the key {key!r} cannot be the name of a file here")
    return Path(*parts)


def _bucket(endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise UsageError(
            f"{endpoint!r} is not the address of a bucket: write it as "
            f"https://allencell.s3.amazonaws.com"
        )
    return endpoint.rstrip("/")


def _pages(
    endpoint: str, asked: dict[str, str], terms: dict[str, float]
) -> Iterator[ElementTree.Element]:
    """The pages of a listing, each whole."""
    query = {"list-type": "2", "encoding-type": "url", **asked}
    seen: set[str] = set()
    while True:
        page = _page(f"{_bucket(endpoint)}/?{urlencode(query)}", terms)
        yield page
        if (page.findtext("{*}IsTruncated") or "").strip() != "true":
            return
        token = page.findtext("{*}NextContinuationToken") or ""
        if not token or token in seen:
            raise DataError(f"the listing of {endpoint} goes on and does not say where")
        seen.add(token)
        query["continuation-token"] = token


def _page(url: str, terms: dict[str, float]) -> ElementTree.Element:
    """One page; one that is no XML was damaged on the way, and is asked for again."""
    tries, wait, seed = int(terms["tries"]), terms["wait"], int(terms["seed"])
    attempt = 0
    while True:
        attempt += 1
        with tempfile.TemporaryDirectory() as folder:
            path = fetch(url, Path(folder, "page.xml"), limit=PAGE_BYTES, **terms)  # type: ignore[arg-type]
            try:
                parser = ElementTree.XMLParser(target=_NoDoctype())
                root = ElementTree.parse(path, parser).getroot()
                break
            except (ElementTree.ParseError, LookupError, ValueError) as error:
                if attempt >= tries:
                    raise DataError(f"{url} is no listing of a bucket: {error}") from error
        time.sleep(pause(url, attempt, wait=wait, seed=seed))
    if root.tag.rpartition("}")[2] != "ListBucketResult":
        raise DataError(f"{url} is no listing of a bucket: it is a <{root.tag}>")
    return root


class _NoDoctype(ElementTree.TreeBuilder):
    """The standard library's builder, asked here before expat reads any entity."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(f"it has a DOCTYPE ({name}), and listings have none")


def _entry(endpoint: str, element: ElementTree.Element, page: ElementTree.Element) -> Entry:
    key, size = element.findtext("{*}Key"), (element.findtext("{*}Size") or "").strip()
    if not key or not re.fullmatch("[0-9]{1,18}", size):
        raise DataError(f"the listing of {endpoint} has an object {key!r} of size {size!r}")
    etag = (element.findtext("{*}ETag") or "").strip().strip('"').lower()
    return Entry(key=_plain(page, key), size=int(size), etag=etag)


def _plain(page: ElementTree.Element, text: str) -> str:
    """A key as it is; servers that were asked to write it as in an address say whether they did."""
    return unquote_plus(text) if page.findtext("{*}EncodingType") == "url" else text
