"""Pairs of a miRNA and a site out of files: each row is used as it is meant, or listed as refused.

A pair table has the columns `id`, `mirna`, `site` (clean, 5' to 3'), `family`, where the file has
them `label` (0 or 1) and `split`, and all other columns of the file under their own names.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from attributome.core.errors import DataError, UsageError
from attributome.sequence.alphabet import Unknown, clean, fault
from attributome.sequence.fcgr import check_k
from attributome.sequence.pairs.sources import FASTA, Source, format_of, read_fasta, read_source

SHOWN = 60
"""Letters of a refused value that are listed."""

LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}

_ORDER = ("mirna", "site", "label", "family", "split")
_WHOLE = re.compile(r"-?[1-9]\d{0,17}|0").fullmatch
_NAME = re.compile(r"(?:[a-z]{3,4}-)?(let|mir|bantam|lin|iab)(?:-(\d+))?.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which column of a file holds what; an `id` of "" means the number of the row.

    `mirna` and `site` must be there. The others may be absent as long as their names are these
    defaults: who names a column expects it.
    """

    mirna: str = "mature_miRNA_Transcript"
    site: str = "mRNA_Site_Transcript"
    label: str = "validation"
    id: str = ""
    family: str = "miRNA_family"
    split: str = "split"


UPSTREAM = Columns()
"""The columns of miRAW and its relatives."""


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """Rows to use, and those that cannot be: `row` (from 1), `column`, `value`, `reason`."""

    pairs: pd.DataFrame
    rejected: pd.DataFrame


Refused = tuple[int, str, object, str]


def read_pairs(
    path: Path,
    columns: Columns = UPSTREAM,
    *,
    k: int = 3,
    unknown: Unknown = "skip",
    site_fasta: Path | None = None,
) -> Read:
    """Pairs from a table (CSV, TSV, Parquet), or from two FASTA files that go together in order.

    A row is refused for the first of its faults: a sequence that has no window of `k` letters or
    letters that are none, a label that is not 0 or 1, an empty or repeated id. `family` is the
    file's, that of another row with the same miRNA, or else the seed. A column of the file that
    is called like one of ours and is not mapped to it gets `_in_file` behind its name; another
    column is text, or whole numbers where it holds nothing else.

    Raises `DataError` where the file, or a column, or every row is unusable.
    """
    check_k(k)
    source = _two_fastas(path, site_fasta, columns) if _is_fasta(path) else read_source(path)
    if site_fasta is not None and not _is_fasta(path):
        raise UsageError(f"{path} is a table and has its own sites; {site_fasta} is one too many")
    table = _named(source.table, columns, path)
    count = len(table)
    if not count + len(source.broken):
        raise DataError(f"{path} has no rows")
    rows = np.array(source.rows, np.int64)
    refused: list[Refused] = [(row, "", text, reason) for row, text, reason in source.broken]
    good = np.ones(count, bool)

    def judge(column: str, reasons: Sequence[str], values: pd.Series) -> None:
        for i, reason in enumerate(reasons):
            if reason and good[i]:
                good[i] = False
                refused.append((int(rows[i]), column, values.iloc[i], reason))

    for role in ("mirna", "site"):
        texts, reasons = checked(table[role].tolist(), k=k, unknown=unknown)
        judge(getattr(columns, role), reasons, table[role])
        table[role] = pd.Series(texts, dtype=object)
    if "label" in table:
        labels = [LABELS.get(str(value).strip().lower(), -1) for value in table["label"]]
        words = ["" if label >= 0 else "it is not 0 or 1" for label in labels]
        judge(columns.label, words, table["label"])
        table["label"] = np.array(labels, np.int64)
    table["id"] = [_text(v) for v in table["id"]] if columns.id else [str(row) for row in rows]
    judge(columns.id, _id_faults(table["id"].tolist(), rows.tolist()), table["id"])
    table["family"] = _families(table)
    if "split" in table:
        table["split"] = [_text(value) for value in table["split"]]
    return _read(table, good, refused, path)


def read_sequences(path: Path, *, k: int, unknown: Unknown = "skip") -> Read:
    """One FASTA file as `id` and clean `sequence`, and the records that are refused."""
    check_k(k)
    table = read_fasta(path)
    rows = [*range(1, len(table) + 1)]
    texts, reasons = checked(table["sequence"].tolist(), k=k, unknown=unknown)
    faults = [
        ("sequence", a) if a else ("id", b)
        for a, b in zip(reasons, _id_faults(table["id"].tolist(), rows), strict=True)
    ]
    refused: list[Refused] = [
        (row, column, table[column].iloc[row - 1], reason)
        for row, (column, reason) in zip(rows, faults, strict=True)
        if reason
    ]
    good = np.array([not reason for _, reason in faults])
    return _read(table.assign(sequence=texts), good, refused, path)


def checked(texts: Sequence[object], *, k: int, unknown: Unknown) -> tuple[list[str], list[str]]:
    """Clean sequences ("" where there is none), and for each why it is refused, or ""."""
    plain = re.compile(f"[ACGT]{{{k},}}").fullmatch  # most are, and need no second look
    cleaned = [clean(text) if isinstance(text, str) else "" for text in texts]
    reasons = [
        ""
        if plain(text)
        else fault(given if isinstance(given, str) else text, k=k, unknown=unknown)
        for text, given in zip(cleaned, texts, strict=True)
    ]
    return cleaned, reasons


def family_of(name_or_sequence: str) -> str:
    """The family of a miRNA: of a sequence its seed (nt 2-8), of a name its stem (`mir-92`)."""
    text = clean(name_or_sequence)
    if re.fullmatch("[ACGTN]+", text):
        return text[1:8]
    found = _NAME.fullmatch(name_or_sequence.strip().lower())
    if found is None:
        raise DataError(f"{name_or_sequence!r} is neither a miRNA's sequence nor its name")
    return "-".join(part for part in found.groups() if part)


def labels_of(pairs: pd.DataFrame) -> Int[np.ndarray, " n"]:
    """The labels of a pair table; refused where it has none."""
    if "label" not in pairs:
        raise DataError("the pairs have no labels: map a column of 0 and 1 to `label`")
    labels: np.ndarray = pairs["label"].to_numpy(np.int64)
    return labels


def _is_fasta(path: Path) -> bool:
    return format_of(path) in FASTA


def _two_fastas(path: Path, site_fasta: Path | None, columns: Columns) -> Source:
    """MiRNAs and sites in order, as a table with the headers' names beside them."""
    if site_fasta is None:
        raise UsageError(f"{path} is a FASTA file of miRNAs: give the FASTA file of sites as well")
    mirnas, sites = read_fasta(path), read_fasta(site_fasta)
    if len(mirnas) != len(sites):
        raise DataError(
            f"{path} has {len(mirnas)} sequences and {site_fasta} {len(sites)}: they are pairs in "
            f"order, so their numbers must be equal"
        )
    table = pd.DataFrame(
        {
            columns.mirna: mirnas["sequence"],
            columns.site: sites["sequence"],
            "mirna_name": mirnas["id"],
            "site_name": sites["id"],
        }
    )
    return Source(table, [*range(1, len(table) + 1)], [])


def _named(table: pd.DataFrame, columns: Columns, path: Path) -> pd.DataFrame:
    """The table with our names for the columns that are mapped, ours first."""
    has = [str(name) for name in table.columns]
    wanted = {field.name: getattr(columns, field.name) for field in fields(Columns)}
    mapped: dict[str, str] = {}
    for role, name in wanted.items():
        if name in has:
            if name in mapped:
                raise UsageError(f"the column {name!r} cannot be both {mapped[name]} and {role}")
            mapped[name] = role
        elif role in ("mirna", "site") or name != getattr(UPSTREAM, role):
            near = difflib.get_close_matches(name, has, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(
                f"{path} has no column {name!r} for the {role}{hint} (it has "
                f"{', '.join(has) or 'none'})"
            )
    names = {name: mapped.get(name, name) for name in has}
    for name in has:
        if name in wanted and name not in mapped:
            names[name] = f"{name}_in_file"
    ours = [
        role for role in ("mirna", "site", "label", "family", "split") if role in names.values()
    ]
    named = table.rename(columns=names)
    if not named.columns.is_unique:
        raise DataError(f"{path} has a column that ends in `_in_file` beside one to be called so")
    rest = [name for name in named.columns if name not in {*ours, "id"}]
    if "id" not in named:
        named["id"] = ""
    for name in rest:
        named[name] = _whole(named[name])
    return named[["id", *ours, *rest]]


def _whole(values: pd.Series) -> pd.Series:
    """A column of texts as numbers where each of them is written as a whole number."""
    if not all(isinstance(value, str) and _WHOLE(value) for value in values):
        return values
    return values.astype(np.int64)


def _id_faults(ids: Sequence[str], rows: Sequence[int]) -> list[str]:
    first: dict[str, int] = {}
    faults = []
    for name, row in zip(ids, rows, strict=True):
        home = first.setdefault(name, row)
        faults.append("it is empty" if not name else f"row {home} has it" if home != row else "")
    return faults


def _families(table: pd.DataFrame) -> list[str]:
    """What the file says, or what it says of the same miRNA elsewhere, or the seed."""
    given = [_text(value) for value in table["family"]] if "family" in table else [""] * len(table)
    mirnas = table["mirna"].tolist()
    known = {mirna: name for mirna, name in zip(mirnas, given, strict=True) if name}
    return [
        name or known.get(mirna) or mirna[1:8] for mirna, name in zip(mirnas, given, strict=True)
    ]


def _text(value: object) -> str:
    """A cell as text; a missing one is "" whatever its type."""
    nothing = value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))
    return "" if nothing else str(value).strip()


def _read(table: pd.DataFrame, good: np.ndarray, refused: list[Refused], path: Path) -> Read:
    listed = [
        (row, column, _text(value)[:SHOWN], reason)
        for row, column, value, reason in sorted(refused, key=lambda one: one[0])
    ]
    rejected = pd.DataFrame(listed, columns=["row", "column", "value", "reason"])
    if not good.any():
        row, column, value, reason = listed[0]
        where = f"{column} {value!r}" if column else repr(value)
        raise DataError(
            f"{path} has no row that can be used: {len(listed)} were refused, the first, row "
            f"{row}, because of {where}: {reason}"
        )
    return Read(table[good].reset_index(drop=True), rejected)
