"""Whether the classifier looks at the cell: what was found, in sentences, and the key numbers."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from attributome.report.numbers import listing, num, number, share, span
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.words import (
    AS_IT_IS,
    ERASED,
    PARTS,
    Estimate,
    counted,
    estimate,
    negative,
    sentence,
)

PUBLISHED = 0.30
"""Cells above 50 % overlap as published for 3-D Cell Painting (Hep G2, readme of 2024)."""


def question(facts: ProfileFacts) -> str:
    """What was asked."""
    data = facts.data
    counts = [counted(data[k], k[:-1]) for k in ("fields", "wells", "plates") if k in data]
    cells = [f"{facts.cells:,} cells"] if facts.cells else []
    told = f" {listing([*cells, *counts])}." if counts else ""
    return f"A network learnt to tell the {facts.label} of a cell. Does it look at the cell?{told}"


def answer(facts: ProfileFacts) -> list[str]:
    """The verdict, then what it rests on; empty while nobody asked where the network looks."""
    if not facts.camo:
        return []
    return [verdict(facts), *_half(facts), *_accuracy(facts), *_without(facts)]


def verdict(facts: ProfileFacts) -> str:
    """One sentence: what was found in which tests, and never more than that."""
    camo = facts.camo
    if camo["median"] is None:
        return f"Nobody can say: the maps of all {camo['undefined']:,} cells are empty."
    found = estimate(camo, "median")
    told = (
        f"in the median {num(found.value)} of a cell’s map lies on the cell "
        f"({_interval(found)} over {counted(camo['wells'], 'well')}), where a map without "
        f"any preference would have {num(found.chance)}"
    )
    reasons = [negative(str(reason)) for reason in facts.flag["reasons"]]
    if facts.flag["flagged"]:
        return f"Flagged: {'; '.join(reasons)}. {sentence(told)}"
    if not facts.causes:
        return f"Its maps lie on the cell: {told}. Whether it needs the cell was not tested yet."
    return (
        f"Its maps lie on the cell: {told}; and none of the tests below found that it goes by "
        f"anything else. What they do not test, they do not exclude."
    )


def erased(facts: ProfileFacts) -> list[Estimate]:
    """Accuracy with the cell erased, in each filling."""
    rows = [row for row in facts.tests if str(row["test"]).startswith(ERASED)]
    return [estimate(row, "balanced") for row in rows if row["balanced"] is not None]


def words(facts: ProfileFacts) -> list[str]:
    """All that the run says of itself."""
    return [sentence(str(each)) for each in facts.summary.get("words") or []]


def cards(facts: ProfileFacts) -> list[dict[str, Any]]:
    """Key numbers: the number, what it is, a remark, and the hue of its kind."""
    found: list[dict[str, Any]] = []
    if facts.camo and facts.camo["median"] is not None:
        camo = facts.camo
        middle = estimate(camo, "median")
        of = f"n = {int(camo['cells']):,} cells of {counted(camo['wells'], 'well')}"
        remark = f"chance {num(middle.chance)}; {_interval(middle)}; {of}"
        found.append(_card(num(middle.value), "of a map lies on its cell, in the median", remark))
        ends = _shares(number(camo["share_low"]), number(camo["share_high"]))
        uniform = share(number(camo["chance_above_half"]))
        told = f"a uniform map: {uniform}; {ends}"
        value = share(number(camo["share_above_half"]))
        found.append(_card(value, "of cells have more than half of their map on them", told))
    part, row = facts.held_out
    if row:
        seen = estimate(row, "balanced")
        remark = f"chance {num(seen.chance)}; {_interval(seen)}; n = {int(row['n'] or 0):,} cells"
        found.append(_card(num(seen.value), f"balanced accuracy on {PARTS[part]}", remark))
    if without := erased(facts):
        remark = f"chance {num(without[0].chance)}; {_as_it_is(facts)}{_count(len(without))}"
        told = "balanced accuracy without the cell"
        found.append(_card(_range(without), told, remark, "orange"))
    return found


def _half(facts: ProfileFacts) -> list[str]:
    camo = facts.camo
    if camo["share_above_half"] is None:
        return []
    ends = _shares(number(camo["share_low"]), number(camo["share_high"]))
    told = (
        f"{share(number(camo['share_above_half']))} of {counted(camo['cells'], 'cell')} ({ends}) "
        f"have more than half of their map on them; of uniform maps, which look nowhere, "
        f"{share(number(camo['chance_above_half']))} would."
    )
    if facts.dims == 3:
        told += (
            f" For context: {share(PUBLISHED)} was published for one classifier of 3-D Cell "
            f"Painting, in other cells and other crops, so that the two are not to be ranked."
        )
    return [told]


def _accuracy(facts: ProfileFacts) -> list[str]:
    part, row = facts.held_out
    if not row:
        return []
    found = estimate(row, "balanced")
    return [
        f"Balanced accuracy on {PARTS[part]} is {found.words}; guessing reaches "
        f"{num(found.chance)} (n = {int(row['n'] or 0):,} cells of "
        f"{counted(row['wells'], 'well')})."
    ]


def _without(facts: ProfileFacts) -> list[str]:
    found = erased(facts)
    if not found:
        return []
    kept = all(each.low > each.chance for each in found)
    same = "stays above guessing" if kept else "does not surely stay above guessing"
    return [
        f"With the cell erased it is {_range(found)} {_by_filling(len(found))}against "
        f"{_as_it_is(facts) or 'an unknown accuracy as it is'}: it {same} ({num(found[0].chance)})."
    ]


def _by_filling(count: int) -> str:
    return f"by {count} ways to fill the hole, " if count > 1 else ""


def _count(count: int) -> str:
    return f"; {count} ways to erase it" if count > 1 else ""


def _as_it_is(facts: ProfileFacts) -> str:
    whole = next((row for row in facts.tests if row["test"] == AS_IT_IS), None)
    return "" if whole is None else f"{num(number(whole['balanced']))} as it is"


def _range(found: Sequence[Estimate]) -> str:
    low, high = num(min(e.value for e in found)), num(max(e.value for e in found))
    return low if low == high else f"{low}–{high}"


def _interval(found: Estimate) -> str:
    ends = span(found.low, found.high)
    return f"95 % interval {ends}" if ends else "no interval"


def _shares(low: float, high: float) -> str:
    if not (isfinite(low) and isfinite(high)):
        return "no interval"
    return f"95 % interval {share(low).removesuffix(' %')}–{share(high)}"


def _card(value: str, label: str, remark: str, hue: str = "blue") -> dict[str, Any]:
    return {"value": value, "label": label, "remark": remark, "hue": hue}
