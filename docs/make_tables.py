"""Fill the table of docs/methods/planted.md: `python docs/make_tables.py BENCHMARK.json`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "methods" / "planted.md"
BEGIN, END = "<!-- planted: begin -->", "<!-- planted: end -->"
SHOWN = "iou_at_area"


def table(results: Mapping[str, Any]) -> str:
    """Methods × networks: the median of `iou_at_area`, and how many metrics beat every control."""
    rows: Sequence[Mapping[str, Any]] = results["methods"]
    setups = list(dict.fromkeys(row["setup"] for row in rows))
    roles = {row["method"]: row["role"] for row in rows}
    of = len(results["metrics"])
    shown = {(r["method"], r["setup"]): r["median"] for r in rows if r["metric"] == SHOWN}
    wins: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["method"], row["setup"])
        wins[key] = wins.get(key, 0) + bool(row["beats_controls"])

    def cell(name: str, setup: str) -> str:
        value = shown.get((name, setup))
        if value is None:
            return "–"
        beats = f" ({wins[name, setup]}/{of})" if roles[name] != "control" else ""
        return f"{value:.2f}{beats}"

    def mean(name: str) -> float:
        known = [v for s in setups if (v := shown.get((name, s))) is not None]
        return sum(known) / len(known) if known else -1.0

    order = sorted(roles, key=lambda name: (roles[name] == "control", -mean(name)))
    fields = max(row["n"] + row["undefined"] for row in rows)
    head = ["method", *setups]
    lines = [f"Up to {fields} fields for each network; controls come last, in italics.", ""]
    lines += [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name in order:
        words = f"*{name}*" if roles[name] == "control" else f"`{name}`"
        lines.append(f"| {' | '.join([words, *(cell(name, s) for s in setups)])} |")
    return "\n".join(lines)


def filled(page: str, results: Mapping[str, Any]) -> str:
    """The page with a new table between its two marks."""
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise SystemExit(f"{PAGE.name} has lost its marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table(results)}\n{END}{after}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    results = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    print(f"wrote {PAGE.name}")
