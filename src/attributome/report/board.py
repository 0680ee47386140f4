"""The planted benchmark as a page: every method on networks whose answer is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from attributome.core.errors import DataError
from attributome.report.looks import look
from attributome.report.methods import Mark
from attributome.report.numbers import listing, num, plural, share, span
from attributome.report.pictures import SIGNED, colour_bar
from attributome.report.shots import Shot, shot
from attributome.report.writing import write_page
from attributome.store import Run

NEEDED = ("metrics", "methods", "networks", "optimum", "seconds", "refused", "pictures")
METRICS = {
    "iou_at_area": ("Overlap", "of its top pixels, as many as the truth has, with the truth (IoU)"),
    "average_precision": ("Precision", "average precision of its ranking of pixels"),
    "relevance_mass": ("Mass", "share of its positive evidence that lies on the truth"),
    "pointing_game": ("Pointing", "1 where its highest pixel lies on the truth, else 0"),
    "efficacy_area": ("Efficacy", "area under its curve of efficacy against kept area"),
}
EDITS = {
    "evidence": "the evidence is taken away",
    "other": "the granules of the other marker are taken away",
    "decoy": "the decoy is taken away",
    "suppressor": "the suppressors are taken away",
}
OPTIMUM = (
    ("dims", "Dimensions", "plain"),
    ("exact_pixels", "Pixels of the exact answer", "plain"),
    ("mask_pixels", "Pixels of the fitted mask", "plain"),
    ("area_error", "Error of its area", "share"),
    ("outside", "Of it outside the answer", "share"),
    ("fewest_blocks", "Fewest blocks that suffice", "plain"),
    ("mask_blocks", "Blocks of the fitted mask", "plain"),
)
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One metric of one method: median, interval, and whether it beats every control there."""

    median: str
    interval: str
    undefined: str
    mark: Mark | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One line of the table of a network; `won` counts the metrics with every control beaten."""

    key: str
    label: str
    control: bool
    scores: list[Score]
    won: int
    seconds: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One network of the benchmark."""

    name: str
    words: str
    n: str
    lead: str
    lines: list[Contender]
    refused: list[tuple[str, str]]
    shot: Shot | None


def build_board(found: Run | Path | str) -> Path:
    """Write `report/index.html` of a planted benchmark, given its run or its folder."""
    run = found if isinstance(found, Run) else Run.open(Path(found))
    return write_page(run, "board.html.j2", board(run))


def board(run: Run) -> dict[str, Any]:
    """Everything that the template needs."""
    found = run.load("benchmark")
    if not found or (lost := [key for key in NEEDED if key not in found]):
        gone = f"its benchmark.json has no {lost[0]!r}" if found else "it has no benchmark.json"
        raise DataError(f"{run.root} is no finished planted benchmark: {gone}; run it to its end")
    metrics = [str(name) for name in found["metrics"]]
    names = list(dict.fromkeys(str(row["setup"]) for row in found["methods"]))
    setups = [_setup(run, found, name, metrics, n) for n, name in enumerate(names, 1)]
    return {
        "version": str(run.asked.get("attributome", "")),
        "metrics": [(_label(m), METRICS.get(m, (m, ""))[1]) for m in metrics],
        "level": f"{found.get('level', 0.01):g}",
        "setups": setups,
        "overview": _overview(setups, len(metrics)),
        "sentence": _sentence(setups, len(metrics)),
        "edits": [_edit(row) for row in found["networks"]],
        "optimum": {
            "heads": [words for _, words, _ in OPTIMUM],
            "rows": [
                [_plain(row.get(k), form) for k, _, form in OPTIMUM] for row in found["optimum"]
            ],
        },
        "signed_bar": colour_bar(SIGNED),
        "asked": [(str(key), _asked(value)) for key, value in run.asked.items()],
    }


def _setup(run: Run, found: Mapping[str, Any], name: str, metrics: list[str], n: int) -> Setup:
    rows = [row for row in found["methods"] if row["setup"] == name]
    keys = list(dict.fromkeys(str(row["method"]) for row in rows))
    seconds = {r["method"]: r["seconds"] for r in found["seconds"] if r["setup"] == name}
    refused = {r["method"]: r["reason"] for r in found["refused"] if r["setup"] == name}
    controls = {str(row["method"]) for row in rows if row["role"] == "control"}
    cells = {(str(row["method"]), str(row["metric"])): row for row in rows}
    keys = [key for key in keys if key not in refused]
    keys.sort(key=lambda key: -_height(cells.get((key, metrics[0]))))
    lines = [
        Contender(
            key=key,
            label=look(key).label,
            control=key in controls,
            scores=[_score(cells.get((key, metric)), controls) for metric in metrics],
            won=sum(bool((cells.get((key, m)) or {}).get("beats_controls")) for m in metrics),
            seconds=_time(seconds.get(key)),
        )
        for key in keys
    ]
    fields = max(int(row["n"]) + int(row["undefined"]) for row in rows)
    units = [unit for unit in found["pictures"] if unit.rpartition("-")[0] == name]
    return Setup(
        name=name,
        words=_words(name),
        n=plural(fields, "field"),
        lead=_lead(lines, len(metrics)) + _too_few(lines, fields, float(found.get("level", 0.01))),
        lines=lines,
        refused=[(look(key).label, str(why)) for key, why in refused.items()],
        shot=shot(run, units[0], keys, n, found, metrics[0], _label(metrics[0]).lower())
        if units
        else None,
    )


def _score(row: Mapping[str, Any] | None, controls: set[str]) -> Score:
    if row is None:
        return Score(median="–", interval="", undefined="", mark=None)
    lost = row.get("undefined") or 0
    return Score(
        median=num(row.get("median")),
        interval=span(row.get("low"), row.get("high")),
        undefined=f"undefined in {lost}" if lost else "",
        mark=_verdict(row, controls),
    )


def _verdict(row: Mapping[str, Any], controls: set[str]) -> Mark | None:
    if row.get("beats_controls") is None:
        return None
    if row["beats_controls"]:
        return Mark(words="beats every control", state="good")
    ahead = [name for name in str(row.get("not_beaten") or "").split(", ") if name]
    if not ahead or set(ahead) >= controls:
        return Mark(words="sure against no control", state="bad")
    more = f" and {len(ahead) - 2} more" if len(ahead) > 2 else ""
    names = [look(name).label for name in ahead]
    return Mark(
        words=f"not sure against {', '.join(names[:2]) if more else listing(names)}{more}",
        state="bad",
    )


def _overview(
    setups: Sequence[Setup], metrics: int
) -> list[tuple[str, list[tuple[str, int]], int]]:
    """Methods against networks: on how many metrics each beats every control; the best first."""
    keys = list(dict.fromkeys(c.key for s in setups for c in s.lines if not c.control))
    table = []
    for key in keys:
        won = [next((c.won for c in s.lines if c.key == key), None) for s in setups]
        cells = [
            ("–", 0) if w is None else (f"{w} of {metrics}", round(60 * w / metrics)) for w in won
        ]
        table.append((look(key).label, cells, sum(w or 0 for w in won)))
    return sorted(table, key=lambda row: -row[2])


def _sentence(setups: Sequence[Setup], metrics: int) -> str:
    table, most = _overview(setups, metrics), len(setups) * metrics
    if not table or not table[0][2]:
        return "No method beats every control on any metric of any network."
    best = [label for label, _, won in table if won == table[0][2]]
    none = [label for label, _, won in table if not won]
    verb = "beats" if len(best) == 1 else "beat"
    said = (
        f"{listing(best)} {verb} every control most often: in {table[0][2]} of "
        f"{plural(most, 'comparison')} (a metric on a network)."
    )
    return f"{said[0].upper()}{said[1:]}" + (f" Never: {listing(none)}." if none else "")


def _lead(lines: Sequence[Contender], metrics: int) -> str:
    methods = [line for line in lines if not line.control]
    whole = [line.label for line in methods if line.won == metrics]
    if whole:
        return f"Every control is beaten on all {metrics} metrics by {listing(whole)}."
    best = max((line.won for line in methods), default=0)
    if not best:
        return "No method beats every control on any metric here."
    names = [line.label for line in methods if line.won == best]
    return f"No method wins on all metrics; on {best} of {metrics} does {listing(names)}."


def _too_few(lines: Sequence[Contender], fields: int, level: float) -> str:
    """Said where even a method that wins in every field could not be told from chance."""
    controls = sum(line.control for line in lines)
    comparisons = controls * (len(lines) - controls)
    if not comparisons or comparisons * 2.0 ** (1 - fields) < level:
        return ""
    return (
        f" With {plural(fields, 'field')} that could not be otherwise: a method that is better in "
        f"every field still has p above {level:g} after the correction for {comparisons} "
        f"comparisons. More fields are needed."
    )


def _words(name: str) -> str:
    """A network's name in words."""
    task, dims, kind = (*name.split("-"), "", "")[:3]
    made = {"exact": "its weights set by hand", "trained": "trained, and verified by edits"}
    said = [task, dims.replace("d", "-D"), made.get(kind, kind)]
    return ", ".join(part for part in said if part)


def _edit(row: Mapping[str, Any]) -> dict[str, Any]:
    least = row["edit"] == "evidence"
    return {
        "setup": str(row["setup"]),
        "edit": EDITS.get(str(row["edit"]), str(row["edit"])),
        "effect": num(row.get("median")),
        "interval": span(row.get("low"), row.get("high")),
        "bound": f"{'at least' if least else 'at most'} {num(row.get('bound'))}",
        "mark": Mark(words="passed", state="good")
        if row.get("passed")
        else Mark(words="failed", state="bad"),
        "n": str(row.get("fields", "–")),
    }


def _label(metric: str) -> str:
    return METRICS.get(metric, (metric.replace("_", " "), ""))[0]


def _height(row: Mapping[str, Any] | None) -> float:
    value = None if row is None else row.get("median")
    return -1.0 if value is None or pd.isna(value) else float(value)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds:.0f} s"


def _plain(value: Any, form: str) -> str:
    if value is None:
        return "–"
    return share(float(value)) if form == "share" else f"{value:g}"


def _asked(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
