"""What speaks against the classifier and its profiles, the worst first."""

from dataclasses import dataclass
from math import isfinite

from attributome.report.numbers import listing, num, number, plural, share, span
from attributome.report.profile.facts import ProfileFacts
from attributome.report.profile.words import (
    CONTROLS,
    HELD_OUT,
    PARTS,
    PREDICTORS,
    Estimate,
    estimate,
    quoted,
    sentence,
)

LEAST, FEW = 3, 10
"""Wells without which there is no interval, or only a rough one."""
EMPTY, COARSE, LARGE = 0.2, 7, 0.5
"""Share of empty maps that is much, places per axis that are few, share of a mask that is large."""
LINEAR = "linear, well folds"
MEANING = {
    "Grad-CAMO is not clearly above chance": (
        "Grad-CAMO is at chance, or not clearly above it",
        "A map that knows nothing of the cell would lie on it about as much.",
    ),
    "with the cell erased": (
        "Accuracy is kept without the cell",
        "What tells the label is still there when the cell is gone: background, neighbours, or the "
        "shape of the hole.",
    ),
    "held-out plates lose": (
        "Accuracy is lost on plates that it has not seen",
        "A part of what it learnt is of the plates that it was trained on.",
    ),
    "Grad-CAMO is undefined": (
        "No cell has a map",
        "Nothing in the layer speaks for the class, in any cell.",
    ),
}
"""What a reason of the tests is called, and what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A title, a sentence with the numbers, and how bad it is: bad (red) or watch (amber)."""

    state: str
    title: str
    words: str


def doubts(facts: ProfileFacts) -> list[Doubt]:
    """All doubts of a run, as far as it has come."""
    found = [
        *_flag(facts),
        *_guessing(facts),
        *_plate(facts),
        *_empty(facts),
        *_few(facts),
        *_controls(facts),
        *_coarse(facts),
        *_trained(facts),
        *_shortcuts(facts),
        *_replicates(facts),
        *_held_out(facts),
        *_rejected(facts),
    ]
    return sorted(found, key=lambda doubt: doubt.state != "bad")


def _flag(facts: ProfileFacts) -> list[Doubt]:
    """Every reason for which the tests flag the classifier."""
    found = []
    for reason in facts.flag.get("reasons", ()):
        named = next((m for start, m in MEANING.items() if str(reason).startswith(start)), None)
        title, means = named or ("The classifier is flagged", "")
        words = f"{sentence(str(reason))} {means}".strip()
        found.append(Doubt(state="bad", title=title, words=words))
    return found


def _guessing(facts: ProfileFacts) -> list[Doubt]:
    """Whether the classifier has learnt anything at all, on cells that it has not seen."""
    part, row = facts.held_out
    if not row:
        return []
    found = estimate(row, "balanced")
    least = found.low if isfinite(found.low) else found.value
    if least > found.chance:
        return []
    words = (
        f"Balanced accuracy on {PARTS[part]} is {found.words}, guessing {num(found.chance)}. What "
        f"a network looks at that cannot tell the {facts.label} says little of cells."
    )
    return [Doubt(state="bad", title="It is not surely better than guessing", words=words)]


def _plate(facts: ProfileFacts) -> list[Doubt]:
    """Whether the last profiles still tell the plate."""
    rows = facts.of(facts.batches, LINEAR)
    if not rows:
        return []
    last = rows[-1]
    found = estimate(last, "balanced")
    if not found.low > found.chance:
        return []
    first = rows[0] if rows[0] is not last else None
    before = f"; from {quoted(first['profiles'])} {num(first['balanced'])}" if first else ""
    words = (
        f"From {quoted(last['profiles'])} of {last['of']} the plate is told with balanced "
        f"accuracy {found.words}, guessing {num(found.chance)} (n = {int(last['n'] or 0)} wells)"
        f"{before}. What is compared across plates is the plate in part."
    )
    return [Doubt(state="bad", title="The plate is still in the profiles", words=words)]


def _empty(facts: ProfileFacts) -> list[Doubt]:
    if not facts.camo or not facts.camo["undefined"]:
        return []
    lost, cells = int(facts.camo["undefined"]), int(facts.camo["cells"] or 0)
    part = lost / (lost + cells)
    words = (
        f"In {lost:,} of {lost + cells:,} cells ({share(part)}) nothing in layer "
        f"{facts.camo['layer']} speaks for the class. They are counted, and in no number here."
    )
    state = "bad" if part > EMPTY else "watch"
    return [Doubt(state=state, title="Some cells have no map", words=words)]


def _few(facts: ProfileFacts) -> list[Doubt]:
    wells = int((facts.camo.get("wells") if facts.camo else facts.data.get("wells")) or 0)
    if wells < LEAST:
        words = f"{plural(wells, 'well')}: below {LEAST} there are no intervals and no proof."
        return [Doubt(state="bad", title="Too few wells", words=words)]
    if wells < FEW:
        words = f"{plural(wells, 'well')}: an interval that draws so few again is rough."
        return [Doubt(state="watch", title="Few wells", words=words)]
    return []


def _controls(facts: ProfileFacts) -> list[Doubt]:
    """Controls that score no less than the network itself, on the same cells."""
    own = next((r for r in facts.controls if r["control"] == "none"), None)
    if own is None or own["median"] is None:
        return []
    least = number(own["low"]) if own["low"] is not None else number(own["median"])
    found = []
    for row in facts.controls:
        if row is own or row["median"] is None or not number(row["median"]) >= least:
            continue
        name = CONTROLS.get(str(row["control"]), str(row["control"]))
        random = row["control"] == "random weights"
        title = (
            "A network that learnt nothing scores as high"
            if random
            else f"With {name} it scores as high"
        )
        words = (
            f"Grad-CAMO {num(number(row['median']))} against {num(number(own['median']))} "
            f"({span(number(own['low']), number(own['high'])) or 'no interval'}) on the same "
            f"cells: the score does not come from {'learning' if random else 'this very cell'}."
        )
        found.append(Doubt(state="watch", title=title, words=words))
    return found


def _coarse(facts: ProfileFacts) -> list[Doubt]:
    if not facts.camo:
        return []
    found = []
    grid = [int(n) for n in facts.camo["grid"]]
    size = [int(n) for n in facts.network.get("size") or ()]
    shrunk = [n for n, whole in zip(grid, size or [COARSE] * len(grid), strict=False) if n < whole]
    if shrunk and min(shrunk) < COARSE:
        words = (
            f"Layer {facts.camo['layer']} has {' × '.join(map(str, grid))} places for a crop: what "
            f"lies just outside an outline may have come from just inside, and the reverse."
        )
        found.append(Doubt(state="watch", title="The maps are coarse", words=words))
    chance = number(facts.camo["chance"])
    if chance > LARGE:
        words = (
            f"In the median a cell fills {share(chance)} of its crop, so that “more than half of "
            f"the map on the cell” says little here. Compare with chance, or cut larger crops."
        )
        found.append(Doubt(state="watch", title="The cells fill their crops", words=words))
    return found


def _trained(facts: ProfileFacts) -> list[Doubt]:
    """A training after which a high Grad-CAMO says less than it seems to."""
    remedy = (facts.network.get("trained") or {}).get("remedy")
    if remedy == "mask":
        words = (
            "The network was shown nothing but the cell, so that its maps can hardly lie "
            "elsewhere: a high Grad-CAMO is no finding. Only the outline can still mislead."
        )
        return [Doubt(state="watch", title="The crops were masked", words=words)]
    if remedy == "penalty":
        words = (
            "The training was rewarded for maps on the cell, so that a high Grad-CAMO was to be "
            "expected. What the network needs is said by the tests, not by its maps."
        )
        return [Doubt(state="watch", title="Grad-CAMO was trained for", words=words)]
    return []


def _shortcuts(facts: ProfileFacts) -> list[Doubt]:
    """What tells the label beside the cell: possible ways around it, whether taken or not."""
    told: dict[str, Estimate] = {}
    for row in facts.predictors:
        found = estimate(row, "balanced")
        name = str(row["what"])
        if not row.get("reason") and name != "cell" and found.low > found.chance:
            known = told.get(name)
            if known is None or found.value > known.value:
                told[name] = found
    if not told:
        return []
    each = [
        f"{PREDICTORS.get(name, name)} {num(found.value)} ({span(found.low, found.high)}, "
        f"guessing {num(found.chance)})"
        for name, found in told.items()
    ]
    words = (
        f"Balanced accuracy of a linear classifier: {listing(each)}. A network can take such a "
        f"way around the cell; whether this one does is what the tests ask."
    )
    title = f"The {facts.label} can be told without looking at cells"
    return [Doubt(state="watch", title=title, words=words)]


def _replicates(facts: ProfileFacts) -> list[Doubt]:
    rows = facts.of(facts.retrieval)
    if not rows:
        return []
    last = rows[-1]
    found = estimate(last, "map")
    if not found.known or found.low > found.chance:
        return []
    ends = span(found.low, found.high)
    words = (
        f"Mean average precision of {quoted(last['profiles'])} is {found.words}, guessing "
        f"{num(found.chance)}."
    )
    title = "Replicates are not surely found" if ends else "Nobody can say if replicates are found"
    return [Doubt(state="watch", title=title, words=words)]


def _held_out(facts: ProfileFacts) -> list[Doubt]:
    if not facts.splits or facts.splits.get(HELD_OUT):
        return []
    words = (
        "All plates took part in the training. What would be lost on a plate of another day "
        "cannot be said."
    )
    return [Doubt(state="watch", title="No plate was held out", words=words)]


def _rejected(facts: ProfileFacts) -> list[Doubt]:
    found = []
    if count := len(facts.rejected):
        words = f"{count:,} of {facts.data.get('fields', '?')}, listed under “How it was made”."
        found.append(Doubt(state="watch", title="Fields could not be used", words=words))
    unknown = number(facts.camo.get("unknown")) if facts.camo else 0.0
    if isfinite(unknown) and unknown:
        words = f"{int(unknown):,} are of no class that the network knows."
        found.append(Doubt(state="watch", title="Cells without a score", words=words))
    return found
