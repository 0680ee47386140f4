"""What made the run, what was left out, and how to make it again."""

import json
import shlex
from typing import Any

from attributome.report.inpaint.facts import InpaintFacts
from attributome.report.inpaint.words import ORDER, PARTS
from attributome.report.numbers import minutes, plain, plural

REJECTED = 200
FIELDS = 40
"""Rejected rows and fields of a part that are listed."""


def origin(facts: InpaintFacts) -> dict[str, Any]:
    """Lines of provenance, fields of each part, rejected rows, the job and the commands."""
    return {
        "again": again(facts),
        "lines": _lines(facts),
        "splits": [
            {
                "name": PARTS.get(part, part),
                "count": plural(len(fields), "field"),
                "fields": ", ".join(map(str, fields[:FIELDS])),
                "more": max(len(fields) - FIELDS, 0),
            }
            for part, fields in facts.splits.items()
        ],
        "rejected": _rejected(facts),
        "job": json.dumps(facts.job, indent=2, sort_keys=True) if facts.job else "",
    }


def again(facts: InpaintFacts) -> list[str]:
    """The verbs that make a run like this one from its job, in their order."""
    name = shlex.quote(facts.root.name)
    return [f"attributome inpaint {verb} --out {name}" for verb in ORDER]


def towards(facts: InpaintFacts) -> list[str]:
    """The verbs that are still to be said until there is an evaluation."""
    trained = facts.network or (facts.job.get("network") or {}).get("source")
    done = {"prepare": facts.card, "train": trained, "features": facts.about}
    return [*(verb for verb, there in done.items() if not there), "evaluate"]


def _rejected(facts: InpaintFacts) -> dict[str, Any] | None:
    if not len(facts.rejected.columns):
        return None
    rows = facts.rejected[["where", "value", "reason"]].astype(str).to_numpy().tolist()
    return {"count": len(rows), "rows": rows[:REJECTED], "more": max(len(rows) - REJECTED, 0)}


def _lines(facts: InpaintFacts) -> list[tuple[str, str]]:
    network, data = facts.network, facts.data
    versions = {
        "attributome": facts.asked.get("attributome", ""),
        **(network.get("versions") or {}),
    }
    told = ", ".join(f"{key} {value}" for key, value in versions.items() if value)
    lines = [("versions", told)] if told else []
    if source := (facts.job.get("data") or {}).get("source"):
        lines.append(("source", str(source)))
    if "seed" in facts.job:
        lines.append(("seed", str(facts.job["seed"])))
    counted = ("cells", "groups", "fields", "rejected")
    counts = [f"{plain(data[key])} {key}" for key in counted if key in data]
    if counts:
        lines.append(("data", ", ".join(counts)))
    if data.get("sha256"):
        lines.append(("data SHA-256", str(data["sha256"])))
    for key in ("targets", "markers"):
        if names := facts.card.get(key):
            lines.append((key, plain(names)))
    lines += _network(facts)
    if facts.about:
        kept = ("layers", "pools", "recipe", "weights_sha256")
        given = {key: facts.about[key] for key in kept if key in facts.about}
        for key, value in given.items():
            lines.append((f"features: {key.replace('_sha256', ' SHA-256')}", plain(value)))
    if facts.times:
        stages = sorted(facts.times, key=lambda stage: (*ORDER, stage).index(stage))
        told = ", ".join(f"{stage} {minutes(facts.times[stage])}" for stage in stages)
        lines.append(("time", told))
    return lines


def _network(facts: InpaintFacts) -> list[tuple[str, str]]:
    network = facts.network
    lines = []
    if network.get("kwargs"):
        lines.append(("network", plain(network["kwargs"])))
    weights = network.get("weights_sha256") or (facts.asked.get("network") or {}).get("sha256")
    if weights:
        lines.append(("weights SHA-256", str(weights)))
    return lines
