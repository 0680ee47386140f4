"""What a run comes to: the headline numbers, each with its n and its interval."""

from collections.abc import Mapping
from typing import Any

from attributome.core.files import plain
from attributome.pipeline.inpaint.judging import HELD_OUT
from attributome.pipeline.inpaint.pretext import ERRORS
from attributome.pipeline.inpaint.work import CellWork


def sum_up(work: CellWork) -> dict[str, Any]:
    """Write `summary.json` from what is there so far; returns it."""
    counts = work.run.asked["data"]
    summary: dict[str, Any] = {name: counts.get(name) for name in ("cells", "fields", "groups")}
    summary |= {"rejected": counts.get("rejected"), "labels": None, "pretext": None}
    summary |= {"pretext_mse": None, "copy_marker_mse": None, "balanced_accuracy": {}, "best": None}
    words: list[str] = []
    if found := work.run.load("evaluation"):
        summary |= _evaluated(found)
        words += found["words"]
    if found := work.run.load("findings"):
        words += _findings(found)
    times = sorted((work.run.root / "times").glob("*.json"))
    seconds = [float((work.run.load(f"times/{path.stem}") or {})["seconds"]) for path in times]
    summary |= {"words": words, "seconds": round(sum(seconds), 1)}
    summary = plain(summary)
    work.run.save("summary", summary)
    return summary


def _evaluated(found: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"labels": len(found["classes"])}
    if pretext := found["pretext"]:
        told["pretext"] = {name: pretext[name] for name in ERRORS.values()}
        told |= {"pretext_mse": pretext["mse"], "copy_marker_mse": pretext["copy_marker"]}
        told |= {f"pretext_mse_{end}": pretext[f"mse_{end}"] for end in ("low", "high")}
        told |= {"pairs_evaluated": pretext["pairs"], "part": pretext["part"]}
    accuracy: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in found["accuracy"]:
        name = "_".join(word for word in (row["layer"], row["pool"]) if word)
        values = accuracy.setdefault(row["features"], {}).setdefault(row["protocol"], {})
        values[name] = row.get("balanced")
    told["balanced_accuracy"] = accuracy
    told["best"] = _best(found["accuracy"])
    return told


def _best(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The highest accuracy of ours on held-out fields, which was chosen after the fact."""
    for protocol in HELD_OUT:
        mine = [
            row
            for row in rows
            if (row["features"], row["protocol"]) == ("ours", protocol)
            and row.get("balanced") is not None
        ]
        if mine:
            top = max(mine, key=lambda row: float(row["balanced"]))
            names = ("features", "layer", "pool", "protocol", "balanced", "low", "high", "n")
            return {name: top[name] for name in names}
    return None


def _findings(found: Mapping[str, Any]) -> list[str]:
    said = []
    if tree := found["proteins"]:
        count = len({row["cluster"] for row in tree["clusters"]})
        said.append(f"{tree['n']} labels fall into {count} clusters (n = {found['n']} cells)")
    if found["enrichment"] is not None:
        sure = sum(row["q"] < 0.05 for row in found["enrichment"])
        said.append(
            f"{sure} of {len(found['enrichment'])} tests of a set in a cluster have q below 0.05"
        )
    return said
