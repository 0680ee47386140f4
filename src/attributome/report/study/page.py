"""What the template shows, study by study; no number is made in the template."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from attributome.core.errors import DataError
from attributome.report.numbers import listing, plain, plural, short
from attributome.report.reading import json_of
from attributome.report.scripts import source
from attributome.report.study.facts import FOLDER, StudyFacts, Told
from attributome.report.study.figures import Shown, lying
from attributome.report.study.words import first, own, sentence
from attributome.studies.catalogue import CATALOGUE

PAGE = "report"
SHORT, ROWS, COLUMNS = 12, 100, 12
"""Rows of a table that is simply shown, rows of one that unfolds, and columns of either."""
PIXELS = 96 / 72 * 1.12
"""Of a point: a figure is a little larger than its inches, so that its smallest words are read."""
NEEDED = ("n", "test", "words", "command")
Row = Mapping[str, Any]


def page(facts: StudyFacts, figures: Mapping[str, Sequence[Shown]]) -> dict[str, Any]:
    """Everything that the template needs."""
    others = extra(facts)
    studies = [_study(facts, told, figures[told.name]) for told in facts.told]
    studies += [_study(facts, told, lying(told)) for told in others]
    return {
        "name": str(facts.options.get("name") or facts.root.name),
        "version": str(facts.asked.get("attributome", "")),
        "answer": _answer(facts, len(studies)),
        "runs": _runs(facts),
        "studies": studies,
        "left": [
            _left(facts, name, why)
            for name, why in facts.left_out.items()
            if name not in {told.name for told in facts.told}
        ],
        "open": _open(facts),
        "origin": _origin(facts),
        "commands": list(dict.fromkeys(study["command"] for study in studies)),
        "job": json.dumps(facts.options, indent=2, sort_keys=True) if facts.options else "",
        "summary": (facts.root / "summary.json").is_file(),
        "style": Markup(source("study.css")),
    }


def extra(facts: StudyFacts) -> list[Told]:
    """Studies of somebody's own: folders that the catalogue does not know."""
    home = facts.root / FOLDER
    return [
        Told(name=path.parent.name, folder=path.parent, found=json_of(path))
        for path in sorted(home.glob("*/found.json"))
        if path.parent.name not in CATALOGUE
    ]


def _study(facts: StudyFacts, told: Told, figures: Sequence[Shown]) -> dict[str, Any]:
    found, entry = told.found, CATALOGUE.get(told.name)
    if lost := [key for key in NEEDED if key not in found]:
        raise DataError(f"{told.folder / 'found.json'} does not say {lost[0]!r}: make it again")
    title = str(found.get("title") or told.name.replace("_", " ").capitalize())
    words = [str(each) for each in found["words"]]
    tables = [_table(told, key) for key in found.get("tables", [])]
    return {
        "id": f"study-{told.name}",
        "name": told.name,
        "title": entry.title if entry else title,
        "question": entry.question if entry else str(found.get("question") or title),
        "words": words,
        "first": first(words),
        "n": str(found["n"]),
        "test": sentence(str(found["test"])),
        "command": own(str(found["command"]), told.name),
        "figures": [_figure(one) for one in figures],
        "tables": tables,
        "open": next((table["key"] for table in _by_use(tables) if table["short"]), ""),
    }


def _by_use(tables: Sequence[Row]) -> list[Row]:
    """Tables of few rows first: what was concluded, before what was measured."""
    return sorted(tables, key=lambda table: table["count"])


def _figure(one: Shown) -> dict[str, Any]:
    return {
        "title": one.title,
        "source": one.source,
        "width": round(one.size[0] * PIXELS),
        "height": round(one.size[1] * PIXELS),
        "shows": sentence(one.shows),
        "bad": sentence(one.bad),
        "files": [(path.suffix[1:].upper(), _link(path)) for path in one.files],
    }


def _table(told: Told, key: str) -> dict[str, Any]:
    path = told.folder / f"{key}.csv"
    table = told.table(key)
    if not path.is_file() or not len(table.columns):
        raise DataError(f"{told.folder} has lost its table {key!r}: make the study again")
    count, columns = table.shape
    return {
        "key": key,
        "name": key.replace("_", " "),
        "count": count,
        "about": f"{plural(count, 'row')}, {plural(columns, 'column')}",
        "short": 0 < count <= SHORT and columns <= COLUMNS,
        "heads": [str(name).replace("_", " ") for name in table.columns[:COLUMNS]],
        "rows": [
            [_cell(value) for value in row] for row in table.iloc[:ROWS, :COLUMNS].to_numpy(object)
        ],
        "more": max(count - ROWS, 0),
        "wider": max(columns - COLUMNS, 0),
        "link": _link(path),
    }


def _cell(value: Any) -> str:
    """A cell of a table; what is undefined is a dash."""
    if pd.api.types.is_float(value):
        return short(float(value)) if value == value else "–"
    if value is None or value is pd.NA:
        return "–"
    return plain(bool(value) if pd.api.types.is_bool(value) else value)


def _answer(facts: StudyFacts, count: int) -> str:
    names = list(dict.fromkeys(str(run["name"]) for run in facts.asked.get("runs", [])))
    studies = "1 study" if count == 1 else f"{count} studies"
    return f"{studies} of {plural(len(names), 'predictor')}: {listing(names)}."


def _runs(facts: StudyFacts) -> list[dict[str, Any]]:
    """Each predictor, the runs that it is judged by, and how many fields and units it has."""
    judged = _judged(facts)
    found = []
    for name in dict.fromkeys(str(run["name"]) for run in facts.asked.get("runs", [])):
        asked = judged[judged["predictor"] == name]
        found.append(
            {
                "name": name,
                "folders": [
                    str(run["root"]) for run in facts.asked["runs"] if str(run["name"]) == name
                ],
                "fields": plain(int(asked["field"].nunique())) if len(asked) else "–",
                "units": plain(int(asked["unit"].nunique())) if len(asked) else "–",
            }
        )
    return found


def _judged(facts: StudyFacts) -> pd.DataFrame:
    """Every field that a study here has asked, by predictor."""
    keys = ["predictor", "field", "unit"]
    tables = [told.table(key) for told in facts.told for key in told.found.get("tables", [])]
    parts = [table[keys].astype(str) for table in tables if {*keys} <= {*table.columns}]
    return pd.concat(parts).drop_duplicates() if parts else pd.DataFrame(columns=keys)


def _left(facts: StudyFacts, name: str, why: str) -> dict[str, str]:
    entry = CATALOGUE.get(name)
    return {
        "title": entry.title if entry else name,
        "question": entry.question if entry else "",
        "why": why,
        "needs": entry.needs if entry else "",
        "command": _again(facts, name),
    }


def _open(facts: StudyFacts) -> list[dict[str, str]]:
    """Studies that were not done, and not left out of those that were asked for last."""
    known = {told.name for told in facts.told} | {*facts.left_out}
    return [_left(facts, name, "") for name in CATALOGUE if name not in known]


def _again(facts: StudyFacts, name: str) -> str:
    return shlex.join(["attributome", "study", name, "--out", str(facts.root)])


def _origin(facts: StudyFacts) -> list[tuple[str, str]]:
    job = facts.options
    lines = [("versions", f"attributome {facts.asked.get('attributome', '')}")]
    lines += [("fields", f"those of the split “{job['split']}”")] if job.get("split") else []
    lines.append(("what is independent", str(job.get("unit") or "a field of view")))
    lines += [("seed", str(job["seed"]))] if "seed" in job else []
    for run in facts.asked.get("runs", []):
        marks = {"predictor": run.get("predictor"), "masks": run.get("masks")}
        told = ", ".join(f"{key} {plain(value)}" for key, value in marks.items() if value)
        lines.append((str(run["root"]), f"{run['name']}: {told}"))
    return lines


def _link(path: Path) -> str:
    """A file of a study, as the page in `report/` names it."""
    return Path(os.path.relpath(path, path.parents[2] / PAGE)).as_posix()
