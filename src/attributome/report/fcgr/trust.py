"""The checks that an explanation must pass before anybody believes it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from attributome.core.bootstrap import cluster_bootstrap
from attributome.report.fcgr.facts import BRANCHES, FcgrFacts
from attributome.report.fcgr.words import BRANCH, method
from attributome.report.numbers import defined, num, number, plain, plural, span

CHECKS = {
    "completeness": (
        "Completeness",
        "How far the map's sum is from the change of the output that it should explain, "
        "relative to that change; 0 is exact.",
    ),
    "off_support": (
        "Off-support evidence",
        "The share of the map that lies on k-mers which the sequence does not hold.",
    ),
    "deletion": (
        "Deletion",
        "How far the output falls when the letters that rank highest are exchanged, against "
        "letters drawn at random.",
    ),
    "insertion": (
        "Insertion",
        "How far the output comes back when only those letters are put back, against random.",
    ),
    "randomisation": (
        "Parameter randomisation",
        "Rank correlation with the map of a network whose weights were drawn at random; a map "
        "that stays alike does not depend on what was learned.",
    ),
    "seed_enrichment": (
        "Seed enrichment",
        "The share of the site's evidence that lies in the seed match, against the share of the "
        "letters that the match takes.",
    ),
    "random_control": (
        "Random attribution",
        "The same measure for a map of random numbers: what a map reaches that knows nothing.",
    ),
    "agreement": (
        "Agreement with mutagenesis",
        "Rank correlation of the track with the effect of exchanging each letter.",
    ),
}
SAME = {
    "completeness_error": "completeness",
    "rank_mutagenesis": "agreement",
    "random_attribution": "random_control",
    "parameter_randomisation": "randomisation",
}


def trust(facts: FcgrFacts) -> dict[str, Any] | None:
    """Checks with a badge each; None where none was made."""
    found = _rows(facts.trust) if facts.trust else measured(facts)
    if not found:
        return None
    rows = [_check(row) for row in found]
    return {
        "checks": rows,
        "failed": sum(row["state"] == "bad" for row in rows),
        "known": sum(row["state"] in ("good", "bad") for row in rows),
        "words": said(facts.trust.get("words")),
    }


def measured(facts: FcgrFacts) -> list[Mapping[str, Any]]:
    """What the scores of the default method say where nobody has judged them yet."""
    table, rows = facts.scores, list[Mapping[str, Any]]()
    if table.empty:
        return rows
    mirna = dict(zip(facts.explained["id"], facts.explained["mirna"], strict=True))
    for column in ("completeness_error", "off_support", "deletion", "insertion"):
        for branch in BRANCHES if column in table else ():
            own = table[(table["method"] == facts.default) & (table["branch"] == branch)]
            if own.empty or own[column].isna().all():
                continue
            groups = own["id"].astype(str).map(mirna).astype(str).to_numpy()
            told = cluster_bootstrap(own[[column]].to_numpy(np.float64), groups).iloc[0]
            values = {name: float(told[name]) for name in ("mean", "low", "high")}
            whose = {"check": column, "method": facts.default, "branch": branch}
            rows.append({**whose, **values, "n": int(told["n"])})
    return rows


def said(value: Any) -> list[str]:
    """Sentences that a run holds, as one string or as several."""
    return [value] if isinstance(value, str) else [str(each) for each in value or []]


def _rows(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Checks as rows, whether they are stored as a list or by their names."""
    if isinstance(found.get("checks"), list):
        return list(found["checks"])
    rows: list[Mapping[str, Any]] = []
    for name, value in found.items():
        if isinstance(value, Mapping):
            rows.append({"check": name, **value})
        elif isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
            rows += [{"check": name, **each} for each in value]
        elif defined(value):
            rows.append({"check": name, "value": value})
    return rows


def _check(row: Mapping[str, Any]) -> dict[str, str]:
    key = str(row.get("check") or row.get("name") or "")
    title, about = CHECKS.get(SAME.get(key, key), (key.replace("_", " "), ""))
    passed = row.get("passed")
    whose = [method(str(row["method"]))[0]] if row.get("method") else []
    whose += [BRANCH.get(str(row["branch"]), str(row["branch"]))] if row.get("branch") else []
    value = row.get("value", row.get("mean"))
    known = defined(value)
    state = "none" if passed is None or not known else "good" if passed else "bad"
    return {
        "title": str(row.get("title") or title),
        "whose": ", ".join(whose),
        "about": str(row.get("words") or about),
        "value": _fine(value) if known else "undefined" if row.get("n") else "not measured",
        "interval": span(number(row.get("low")), number(row.get("high"))),
        "chance": _fine(row["chance"]) if defined(row.get("chance")) else "",
        "n": plural(int(row["n"]), "pair") if defined(row.get("n")) else "",
        "undefined": plain(row["undefined"]) if row.get("undefined") else "",
        "state": state,
        "badge": {"good": "passed", "bad": "failed", "none": "no verdict"}[state],
    }


def _fine(value: Any) -> str:
    """Two decimals, more for what would read as nothing."""
    small = 0 < abs(float(value)) < 0.01
    return f"{value:.1g}".replace("-", "−") if small else num(float(value))
