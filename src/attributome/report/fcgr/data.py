"""What the audit found in the pairs: flags, counts, leakage, rows that were rejected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attributome.report.fcgr.facts import FcgrFacts
from attributome.report.fcgr.words import METRICS, predictor
from attributome.report.numbers import defined, plain, share, span

LEVELS = {"red": "bad", "amber": "watch", "green": "good"}
SHOWN = 200
WHAT = {
    "pair": "the same pair",
    "mirna": "the same miRNA",
    "family": "a miRNA of the same family",
    "site": "the same site",
    "near site": "a site that shares a word of 20 letters",
}
PARTS = {"train": "training", "validate": "validation", "test": "test"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A small table: its heads, and rows of text."""

    heads: list[str]
    rows: list[list[str]]


def flags(facts: FcgrFacts, *levels: str) -> list[dict[str, str]]:
    """Flags of these levels, the worst first."""
    found = [
        {
            "level": str(flag["level"]),
            "state": LEVELS.get(str(flag["level"]), "watch"),
            "title": str(flag["title"]),
            "words": str(flag.get("words") or ""),
        }
        for flag in facts.audit.get("flags") or []
        if not levels or flag["level"] in levels
    ]
    return sorted(found, key=lambda flag: list(LEVELS.values()).index(flag["state"]))


def audit(facts: FcgrFacts) -> dict[str, Any] | None:
    """Everything of the section; None where the data were not audited."""
    if not facts.audit:
        return None
    return {
        "flags": flags(facts),
        "counts": [
            (
                str(key).replace("_", " ").replace("mirna", "miRNA").replace("with n", "with an N"),
                plain(value),
            )
            for key, value in (facts.audit.get("counts") or {}).items()
        ],
        "leakage": leakage(facts.audit.get("leakage") or []),
        "trivial": table(facts.audit.get("trivial") or []),
    }


def parts(facts: FcgrFacts) -> list[tuple[str, str]]:
    """How many pairs are in each part."""
    return [(PARTS.get(part, part), f"{len(ids):,}") for part, ids in facts.splits.items()]


def rejected(facts: FcgrFacts) -> dict[str, Any] | None:
    """Rows of the data that were not used, and why; None where nobody looked."""
    if not len(facts.rejected.columns):
        return None
    rows = facts.rejected[["row", "column", "value", "reason"]].astype(str).to_numpy().tolist()
    return {"count": len(rows), "rows": rows[:SHOWN], "more": max(len(rows) - SHOWN, 0)}


def leakage(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Shares of the rows of each part that training has as well; None where nobody looked."""
    if not rows:
        return None
    found = {(str(row["what"]), str(row.get("part", "test"))): row for row in rows}
    parts, kinds = (list(dict.fromkeys(key[n] for key in found)) for n in (1, 0))
    counts = {
        part: next(row["n"] for key, row in found.items() if key[1] == part) for part in parts
    }
    return Table(
        heads=["in training there is", *(f"{PARTS.get(p, p)}, n = {counts[p]:,}" for p in parts)],
        rows=[
            [WHAT.get(kind, kind), *(_seen(found.get((kind, part))) for part in parts)]
            for kind in kinds
        ],
    )


def _seen(row: Mapping[str, Any] | None) -> str:
    if row is None or not defined(row["share"]):
        return "not measured"
    return share(row["share"]) if row["share"] else "none"


def table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Rows of an audit as text, in the columns that they have; None where there are none."""
    if not rows:
        return None
    heads = list(dict.fromkeys(key for row in rows for key in row))
    if {"low", "high"} <= set(heads):
        heads = [head for head in heads if head != "high"]
    return Table(
        heads=[
            "95 % interval" if head == "low" and "high" in rows[0] else _head(head)
            for head in heads
        ],
        rows=[[_text(row, head) for head in heads] for row in rows],
    )


def _text(row: Mapping[str, Any], head: str) -> str:
    value = row.get(head)
    if head == "low" and "high" in row:
        return span(row["low"], row["high"]) or "–"
    if head in ("predictor", "name"):
        return predictor(str(value))[0]
    if head == "metric":
        return METRICS.get(str(value), str(value))
    return plain(value)


def _head(name: str) -> str:
    named = {"n": "n", "auc": "AUC", "ap": "average precision", "mirna": "miRNA"}
    words = named.get(name, name.replace("_", " "))
    return words[:1].upper() + words[1:] if name != "n" else "n"
