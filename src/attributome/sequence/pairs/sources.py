"""What stands in a file of sequences, as it stands there: CSV, TSV, Parquet, FASTA, also gzip.

Nothing is judged here but the file itself; what becomes of a row is said in `reading.py`.
"""

import csv
import gzip
import io
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from attributome.core.errors import DataError, UsageError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
FASTA = (".fasta", ".fa", ".fna")
FORMATS = (*DELIMITERS, ".parquet", *FASTA)
MAX_BYTES = 2**32
"""A file of more bytes than this, after gzip, is refused before it fills the memory."""

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A table as it stands in a file: `rows` are the numbers of its rows of data, from 1.

    `broken` are (row, text, reason) of rows that do not fit under the header.
    """

    table: pd.DataFrame
    rows: list[int]
    broken: list[tuple[int, str, str]]


def format_of(path: Path) -> str:
    """The suffix that says how a file is read, `.gz` aside."""
    bare = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    if (suffix := bare.suffix.lower()) not in FORMATS:
        raise UsageError(
            f"{path} has no name of a known format: it must end in {', '.join(FORMATS)}, and may "
            f"have .gz behind that"
        )
    return suffix


def read_source(path: Path) -> Source:
    """A table from CSV, TSV (every cell a text, an empty cell "") or Parquet (types kept)."""
    suffix = format_of(path)
    if suffix in FASTA:
        raise UsageError(f"{path} is a FASTA file and not a table")
    data = contents(path)
    source = _parquet(path, data) if suffix == ".parquet" else _text(path, data, DELIMITERS[suffix])
    names = Counter(source.table.columns)
    if names and max(names.values()) > 1:
        raise DataError(
            f"{path} has several columns named {max(names, key=lambda name: names[name])!r}: each "
            f"needs a name of its own"
        )
    return source


def read_fasta(path: Path) -> pd.DataFrame:
    """The records of a FASTA file as columns `id` (its header's first word) and `sequence`.

    Lines of one record are joined; letters stay as they are, and nothing is checked but that each
    record has a name and that there is one.
    """
    if format_of(path) not in FASTA:
        raise UsageError(f"{path} is no FASTA file: its name must end in {', '.join(FASTA)}")
    lines = [line.strip() for line in _decoded(path, contents(path)).splitlines()]
    names: list[str] = []
    parts: list[list[str]] = []
    for number, line in enumerate(lines, start=1):
        if line.startswith(">"):
            if not line[1:].split():
                raise DataError(f"line {number} of {path} is a FASTA header without a name")
            names.append(line[1:].split()[0])
            parts.append([])
        elif line and not names:
            raise DataError(f"{path} is no FASTA file: its first line does not begin with '>'")
        elif line:
            parts[-1].append(line)
    if not names:
        raise DataError(f"{path} has no sequences")
    return pd.DataFrame({"id": names, "sequence": ["".join(part) for part in parts]}, dtype=object)


def contents(path: Path) -> bytes:
    """The bytes of a file, taken out of gzip where they are in it."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} has more than {MAX_BYTES} bytes: give it in parts")
        data = path.read_bytes()
        if data.startswith(_GZIP):
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path}: {reason}") from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path} holds more than {MAX_BYTES} bytes: give it in parts")
    return data


def _decoded(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"cannot read {path}: line {line} is not UTF-8 text (byte {error.start} is "
            f"0x{data[error.start]:02x})"
        ) from error


def _text(path: Path, data: bytes, delimiter: str) -> Source:
    reader = csv.reader(
        io.StringIO(_decoded(path, data), newline=""), delimiter=delimiter, strict=True
    )
    try:
        header = next((row for row in reader if row), [])
        lines = [row for row in reader if row]
    except csv.Error as error:
        raise DataError(f"cannot read {path}: line {reader.line_num}: {error}") from error
    width = len(header)
    broken = [
        (n, delimiter.join(line), f"it has {len(line)} cells where the header has {width}")
        for n, line in enumerate(lines, start=1)
        if len(line) != width
    ]
    rows = [n for n, line in enumerate(lines, start=1) if len(line) == width]
    kept = [line for line in lines if len(line) == width] if broken else lines
    table = pd.DataFrame(kept, columns=[name.strip() for name in header], dtype=object)
    return Source(table, rows, broken)


def _parquet(path: Path, data: bytes) -> Source:
    try:
        table = pd.read_parquet(io.BytesIO(data))
    except (OSError, ValueError) as error:  # pyarrow derives its errors from these
        raise DataError(f"cannot read {path}: {error}") from error
    named = [name for name in table.index.names if name is not None]
    table = table.reset_index(drop=not named).rename(columns=str)
    return Source(table, [*range(1, len(table) + 1)], [])
