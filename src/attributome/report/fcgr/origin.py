"""What made the run, and how to make it again."""

import json
from collections.abc import Mapping
from typing import Any

from attributome.report.fcgr.data import parts
from attributome.report.fcgr.facts import FcgrFacts
from attributome.report.fcgr.words import NETWORKS, method
from attributome.report.numbers import listing, plain

SKIPPED = ("encoding", "arguments", "keywords", "versions", "metrics")


def origin(facts: FcgrFacts) -> dict[str, Any]:
    """Lines of provenance, the job, and the commands."""
    return {
        "lines": _lines(facts),
        "job": json.dumps(facts.job, indent=2, sort_keys=True) if facts.job else "",
        "again": again(facts),
        "methods": [
            (method(name)[0], method(name)[1], _params(facts.params[name]))
            for name in facts.methods
        ],
    }


def again(facts: FcgrFacts) -> list[str]:
    """The verbs that make a run like this one from its job, in their order."""
    return [
        f"attributome fcgr {verb} --out {facts.root.name}"
        for verb in ("audit", "train", "evaluate", "explain", "motifs", "compare", "report")
    ]


def _params(params: Any) -> str:
    if not isinstance(params, Mapping) or not params:
        return "no parameters"
    return ", ".join(f"{key} = {plain(value)}" for key, value in params.items())


def _lines(facts: FcgrFacts) -> list[tuple[str, str]]:
    data, network = facts.asked.get("data") or {}, facts.network
    versions = {
        "attributome": facts.asked.get("attributome", ""),
        **(network.get("versions") or {}),
    }
    lines = [("versions", ", ".join(f"{key} {value}" for key, value in versions.items() if value))]
    if "seed" in facts.job:
        lines.append(("seed", str(facts.job["seed"])))
    if found := parts(facts):
        lines.append(("pairs", listing([f"{count} {part}" for part, count in found])))
    if how := (facts.job.get("data") or {}).get("split"):
        lines.append(("split by", str(how)))
    if data.get("sha256"):
        lines.append(("data SHA-256", str(data["sha256"])))
    if network:
        kind = str(network.get("kind", ""))
        lines.append(("network", NETWORKS.get(kind, (kind, ""))[0]))
        for key in ("arguments", "keywords", "encoding"):
            if network.get(key):
                lines.append((f"network {key}", plain(network[key])))
        lines += [
            ("network SHA-256" if key == "sha256" else f"network {key}", plain(value))
            for key, value in network.items()
            if key not in (*SKIPPED, "kind")
        ]
    return lines
