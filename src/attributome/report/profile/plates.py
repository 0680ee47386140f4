"""Plates as they stand on the bench: the median Grad-CAMO of each well, in its place."""

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from markupsafe import Markup
from matplotlib import colormaps

from attributome.report.forms import Row
from attributome.report.numbers import num, number, plural
from attributome.report.pictures import SCALE
from attributome.report.profile.facts import ProfileFacts
from attributome.report.svg import tag

FORMATS = ((8, 12), (16, 24), (32, 48))
"""Rows and columns of plates of 96, 384 and 1536 wells."""
PLATES, ROWS = 12, 400
"""Plates that are drawn, and wells in the table."""
SIDE, LEFT, TOP = 26, 30, 22
NUMBERED = 24
"""Columns up to which numbers fit into the wells."""

Place = tuple[int, int]


def plates(facts: ProfileFacts) -> dict[str, Any] | None:
    """A drawing of each plate, and the wells as a table; None where nobody has looked."""
    if not facts.by_well:
        return None
    held: dict[str, dict[str, Row]] = {}
    for row in facts.by_well:
        wells = held.setdefault(str(row["plate"]), {})
        before = wells.get(str(row["well"]))
        if before is None or int(row["cells"] or 0) > int(before["cells"] or 0):
            wells[str(row["well"])] = row
    size = _format([name for wells in held.values() for name in wells])
    names = sorted(held)
    rows = sorted(facts.by_well, key=lambda r: (_last(r["median"]), str(r["plate"])))
    return {
        "drawings": [
            (name, plural(len(held[name]), "well"), drawn(name, held[name], size))
            for name in names[:PLATES]
        ]
        if size
        else [],
        "more": max(len(names) - PLATES, 0),
        "rows": [
            [
                f"{row['plate']}/{row['well']}",
                str(row.get("treatment", row.get(facts.label, "–"))),
                num(number(row["median"])),
                num(number(row["chance"])),
                f"{int(row['cells'] or 0):,}",
                f"{int(row.get('undefined') or 0):,}",
            ]
            for row in rows[:ROWS]
        ],
        "left": max(len(rows) - ROWS, 0),
    }


def well_place(name: str) -> Place | None:
    """Row and column of a well, from 0 on: A01 is (0, 0), AF48 is (31, 47)."""
    found = re.fullmatch(r"([A-Za-z]{1,2})0*(\d{1,2})", name)
    if not found or found[2] == "0":
        return None
    row = 0
    for letter in found[1].upper():
        row = 26 * row + ord(letter) - 64
    return row - 1, int(found[2]) - 1


def drawn(name: str, wells: Mapping[str, Row], size: Place) -> Markup:
    """One plate; a well that is not there is empty, one without any map is crossed out."""
    rows, columns = size
    parts = []
    for column in range(columns):
        at = LEFT + SIDE * (column + 0.5)
        parts.append(tag("text", str(column + 1), x=at, y=TOP - 7, class_="middle"))
    for row in range(rows):
        at = TOP + SIDE * (row + 0.5) + 4
        parts.append(tag("text", _letters(row), x=LEFT - 7, y=at, class_="end"))
    placed = {place: (well, row) for well, row in wells.items() if (place := well_place(well))}
    for row in range(rows):
        for column in range(columns):
            x, y = LEFT + SIDE * column, TOP + SIDE * row
            parts.append(_well(placed.get((row, column)), x, y, columns <= NUMBERED))
    width, height = LEFT + SIDE * columns + 2, TOP + SIDE * rows + 2
    known = [number(r["median"]) for r in wells.values() if r["median"] is not None]
    range_ = f", from {num(min(known))} to {num(max(known))}" if known else ""
    alt = f"Plate {name}: median Grad-CAMO of {plural(len(wells), 'well')}{range_}."
    return tag("svg", *parts, viewBox=f"0 0 {width} {height}", width=width, class_="chart plate",
               role="img", aria_label=alt)  # fmt: skip


def _well(found: tuple[str, Row] | None, x: float, y: float, numbered: bool) -> Markup:
    box = {"x": x + 1, "y": y + 1, "width": SIDE - 2, "height": SIDE - 2, "rx": 4}
    if found is None:
        return tag("rect", class_="hole", **box)
    well, row = found
    value = number(row["median"])
    told = (
        f"{well}, {row.get('treatment', '')}: Grad-CAMO {num(value)}, chance "
        f"{num(number(row['chance']))}, n = {int(row['cells'] or 0)}"
    )
    if not isfinite(value):
        cross = f"M{x + 7} {y + 7}l12 12m0 -12l-12 12"
        words = tag("title", told)
        return tag("g", words, tag("rect", class_="hole", **box), tag("path", d=cross, class_="no"))
    red, green, blue, _ = colormaps[SCALE](min(max(value, 0.0), 1.0), bytes=True)
    fill = f"#{red:02x}{green:02x}{blue:02x}"
    parts = [tag("title", told), tag("rect", fill=fill, **box)]
    if numbered:
        # digits after the point; magma is light from about two thirds on
        digits = "1" if value > 0.995 else f"{100 * value:02.0f}"
        ink = "#000" if value > 0.62 else "#fff"
        where = {"x": x + SIDE / 2, "y": y + SIDE / 2 + 4}
        parts.append(tag("text", digits, style=f"fill:{ink}", class_="middle", **where))
    return tag("g", *parts)


def _format(names: Sequence[str]) -> Place | None:
    """The smallest plate that has all of these wells; None where they are not named so."""
    places = [well_place(name) for name in names]
    known = [place for place in places if place is not None]
    if len(known) < len(places) or not known:
        return None
    for rows, columns in FORMATS:
        if all(row < rows and column < columns for row, column in known):
            return rows, columns
    return None


def _letters(row: int) -> str:
    return chr(65 + row) if row < 26 else f"{chr(64 + row // 26)}{chr(65 + row % 26)}"


def _last(value: Any) -> float:
    return 2.0 if value is None else float(value)
