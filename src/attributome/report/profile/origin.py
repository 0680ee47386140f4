"""What made the run, what was left out, and how to make it again."""

import json
import shlex
from typing import Any

from attributome.report.numbers import minutes, plain, plural
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.words import ORDER, PARTS, chain
from attributome.report.reading import json_of

REJECTED, WELLS = 200, 48
"""Fields that could not be used and wells of a part that are listed."""


def origin(facts: ProfileFacts) -> dict[str, Any]:
    """Lines of provenance, wells of each part, what is missing, the job and the commands."""
    return {
        "again": [f"attributome profile {v} --out {shlex.quote(facts.root.name)}" for v in ORDER],
        "lines": _lines(facts),
        "splits": [
            {
                "name": PARTS.get(part, part),
                "count": plural(len(names), "plate" if part.endswith("plates") else "well"),
                "wells": ", ".join(map(str, names[:WELLS])),
                "more": max(len(names) - WELLS, 0),
            }
            for part, names in facts.splits.items()
        ],
        "missing": missing(facts),
        "rejected": _rejected(facts),
        "job": json.dumps(facts.job, indent=2, sort_keys=True) if facts.job else "",
    }


def missing(facts: ProfileFacts) -> list[tuple[str, str]]:
    """Parts that the run has not come to, and the command that makes each."""
    given = (facts.job.get("network") or {}).get("source")
    there = {
        "cells": bool(facts.cells),
        "network": bool(facts.network or given),
        "Grad-CAMO": bool(facts.camo),
        "causal tests": bool(facts.causes),
        "profiles of wells": bool(facts.profiles),
        "evaluation": bool(facts.evaluation),
    }
    verbs = ("crop", "train", "camo", "camo", "normalise", "evaluate")
    return [
        (name, chain(facts.root, [verb]))
        for (name, done), verb in zip(there.items(), verbs, strict=True)
        if not done
    ]


def towards(facts: ProfileFacts) -> list[str]:
    """The verbs that are still to be said until it is known where the network looks."""
    given = (facts.job.get("network") or {}).get("source")
    done = {"crop": facts.cells, "train": facts.network or given}
    return [*(verb for verb, there in done.items() if not there), "camo"]


def _rejected(facts: ProfileFacts) -> dict[str, Any] | None:
    if not len(facts.rejected.columns):
        return None
    rows = facts.rejected[["where", "reason"]].astype(str).to_numpy().tolist()
    return {"count": len(rows), "rows": rows[:REJECTED], "more": max(len(rows) - REJECTED, 0)}


def _lines(facts: ProfileFacts) -> list[tuple[str, str]]:
    versions = {
        "attributome": facts.asked.get("attributome", ""),
        **(facts.network.get("versions") or {}),
    }
    told = ", ".join(f"{key} {value}" for key, value in versions.items() if value)
    lines = [("versions", told)] if told else []
    if source := (facts.job.get("data") or {}).get("source"):
        lines.append(("source", str(source)))
    if "seed" in facts.job:
        lines.append(("seed", str(facts.job["seed"])))
    counted = ("fields", "wells", "plates")
    counts = [f"{plain(facts.data[key])} {key}" for key in counted if key in facts.data]
    if facts.cells:
        counts.insert(0, f"{facts.cells:,} cells")
    if counts:
        lines.append(("data", ", ".join(counts)))
    if facts.data.get("sha256"):
        lines.append(("data SHA-256", str(facts.data["sha256"])))
    lines += [*_crops(facts), *_network(facts), *_formula(facts)]
    if facts.times:
        stages = sorted(facts.times, key=lambda name: (*ORDER, name).index(name))
        told = ", ".join(f"{name} {minutes(facts.times[name])}" for name in stages)
        lines.append(("time", told))
    return lines


def _crops(facts: ProfileFacts) -> list[tuple[str, str]]:
    """How crops were cut and who outlined the cells, by the first field."""
    path = min((facts.root / "parts" / "crops").glob("[!.]*/note.json"), default=None)
    if path is None:
        return []
    note = json_of(path)
    told = [f"{' × '.join(map(str, note.get('shape', [])[2:]))} voxels"]
    if note.get("spacing"):
        told.append(f"of {' × '.join(f'{step:g}' for step in note['spacing'])} µm")
    told.append(f"border: {note.get('border', '–')}")
    if note.get("corrected"):
        told.append("illumination corrected")
    made = note.get("segmentation")
    outlines = f"made here: {plain(made)}" if note.get("segmented") else "given with the fields"
    return [("crops", ", ".join(told)), ("outlines of cells", outlines)]


def _network(facts: ProfileFacts) -> list[tuple[str, str]]:
    card = facts.network
    lines = []
    if given := (facts.job.get("network") or {}).get("source"):
        lines.append(("network from", str(given)))
    if card.get("kwargs"):
        lines.append(("network", plain(card["kwargs"])))
    trained = card.get("trained") or {}
    if trained:
        kept = ("remedy", "epochs_done", "best_epoch", "smoothing", "balance", "augment", "seconds")
        told = {key.replace("_", " "): trained[key] for key in kept if key in trained}
        lines.append(("training", plain(told)))
    weights = card.get("weights_sha256") or (facts.asked.get("network") or {}).get("sha256")
    if weights:
        lines.append(("weights SHA-256", str(weights)))
    return lines


def _formula(facts: ProfileFacts) -> list[tuple[str, str]]:
    camo = facts.camo
    if not camo:
        return []
    grid = " × ".join(map(str, camo["grid"]))
    lines = [
        (
            "maps",
            f"{str(camo['method']).replace('_', '-')} of layer {camo['layer']}, {grid} places",
        ),
        ("about the class", str(camo["target"])),
        ("formula", str(camo.get("how") or camo["formula"])),
    ]
    if camo.get("interpolation"):
        lines.append(("enlarged", str(camo["interpolation"])))
    return lines
