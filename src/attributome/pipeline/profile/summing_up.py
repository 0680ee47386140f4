"""What a run comes to: the headline numbers, each with its n and its interval."""

from typing import Any

from attributome.core.files import plain
from attributome.pipeline.profile.crop import failures
from attributome.pipeline.profile.telling import looked, tested
from attributome.pipeline.profile.work import CELLS, ProfileWork

CAMO = (
    "median", "low", "high", "chance", "excess", "excess_low", "excess_high", "share_above_half",
    "share_low", "share_high", "cells", "wells", "undefined",
)  # fmt: skip


def sum_up(work: ProfileWork) -> dict[str, Any]:
    """Write `summary.json` from what is there so far; returns it."""
    counts = work.run.asked["data"]
    summary: dict[str, Any] = {name: counts[name] for name in ("fields", "plates", "wells")}
    summary |= {"cells": _cells(work), "fields_rejected": len(failures(work))}
    summary |= {"camo": None, "flag": None, "accuracy": None, "retrieval": None}
    words: list[str] = []
    if found := work.run.load("camo"):
        summary["camo"] = {name: found[name] for name in CAMO}
        summary["flag"] = found["flag"]
        words += looked(found)
    if found := work.run.load("causes"):
        level = "flagged" if found["flagged"] else "nothing found"
        summary["flag"] = {"level": level, "reasons": found["reasons"], "words": found["words"]}
        words += tested(found)
    if found := work.run.load("evaluation"):
        summary["label"], summary["classes"] = found["label"], found["classes"]
        summary["accuracy"] = {
            part: {name: row.get(name) for name in ("balanced", "low", "high", "chance", "n")}
            for part, row in found["accuracy"].items()
        }
        summary["retrieval"] = {row["profiles"]: row.get("map") for row in found["retrieval"]}
        summary["before_after"] = found["before_after"]
        words += found["words"]
    times = sorted((work.run.root / "times").glob("*.json"))
    seconds = [float((work.run.load(f"times/{path.stem}") or {})["seconds"]) for path in times]
    summary |= {"words": words, "seconds": round(sum(seconds), 1)}
    summary = plain(summary)
    work.run.save("summary", summary)
    return summary


def _cells(work: ProfileWork) -> int | None:
    """How many cells there are, once all fields are cut."""
    import pyarrow.parquet as pq

    path = work.run.root / CELLS
    return int(pq.read_metadata(path).num_rows) if path.is_file() else None
